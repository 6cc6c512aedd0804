# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds of crashes, actions and stops at an engine that ends at a random moment of each round. A cut-off act leaves the state open."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import docker.errors
import requests.exceptions

from .lab import Lab
from .own_engine import OwnEngine
from .supervisors import Supervising, rows_of

_OURS = ("start", "stop", "restart", "kill")
_ACTS = ("nothing", "nothing", "crash", "crash", *_OURS, "docker stop", "docker kill")
_QUIET_SECONDS = 90.0
#: Rarely, an engine that dies together with its containerd leaves files by which a container cannot start again.
_LEFT_BEHIND = "failed to start shim: mkdir"


@dataclass
class Expected:
    """A server, whether it should be up (None: open), and the acts on it in this round."""

    uuid: str
    dice: random.Random
    wish: bool | None = True
    acts: list[str] = field(default_factory=list)

    def say(self, act: str, wish: bool | None) -> None:
        self.acts.append(f"{time.time():.3f} {act} -> {wish}")
        self.wish = wish


class EngineRounds:
    """Servers with one supervisor, on an engine that ends in each round."""

    def __init__(self, lab: Lab, own: OwnEngine, supervising: Supervising, uuids: list[str], seed: int) -> None:
        self._lab, self._own, self._supervising = lab, own, supervising
        self._chaos = random.Random(seed)
        self._servers = [Expected(uuid, random.Random(f"{seed} {number}")) for number, uuid in enumerate(uuids)]
        self._events: list[str] = []

    def play(self) -> None:
        """Play a round. The supervisor may be dead when the engine ends."""
        for server in self._servers:
            server.acts.clear()
        self._events.clear()
        threads = [threading.Thread(target=self._act, args=(server,)) for server in self._servers]
        for thread in threads:
            thread.start()
        time.sleep(self._chaos.uniform(0, 2.0))
        is_dead = self._chaos.random() < 0.4
        if is_dead:
            self._note("the supervisor dies")
            self._supervising.kill()
            time.sleep(self._chaos.choice((0.0, 0.5)))
        ends = self._chaos.choice((self._own.shut_down, self._own.kill))
        self._note(ends.__name__)
        ends()
        self._note("the engine is gone")
        for thread in threads:
            thread.join()
        if is_dead and self._chaos.random() < 0.5:
            self._supervising.begin_again()
            is_dead = False
        self._own.start()
        self._note("the next engine answers")
        if is_dead:
            self._supervising.begin_again()

    def _note(self, what: str) -> None:
        self._events.append(f"{time.time():.3f} {what}")

    def _act(self, server: Expected) -> None:
        for _number in range(server.dice.choice((1, 1, 2))):
            time.sleep(server.dice.uniform(0, 1.5))
            act = server.dice.choice(_ACTS)
            if act == "crash":
                self._crash(server)
            elif act in _OURS:
                self._power(server, act)
            elif act != "nothing":
                self._docker(server, act)

    def _crash(self, server: Expected) -> None:
        with contextlib.suppress(requests.exceptions.RequestException, ProcessLookupError, docker.errors.APIError):
            found = self._lab.container(server.uuid)
            if found is not None and found["State"]["Running"]:
                os.kill(found["State"]["Pid"], signal.SIGKILL)
                server.say("crash", server.wish)

    def _power(self, server: Expected, act: str) -> None:
        with self._lab.actor(act, server.uuid, wait_seconds=20, stop_timeout=2, wait_for="container") as actor:
            if server.dice.random() < 0.15:
                time.sleep(server.dice.uniform(0.3, 1.0))
                actor.kill()
                server.say(f"{act}, killed", None)
                return
            result = actor.result(90)
        how = f"{act} {result['outcome']} {result.get('code', '')}"
        server.say(how, act in ("start", "restart") if result["outcome"] in ("done", "unchanged") else None)

    def _docker(self, server: Expected, act: str) -> None:
        call = self._lab.client.stop if act == "docker stop" else self._lab.client.kill
        try:
            was_up = self._lab.is_up(server.uuid)
            call(server.uuid)
        except (requests.exceptions.RequestException, docker.errors.APIError) as error:
            server.say(f"{act}: {str(error)[:60]}", None)
            return
        server.say(f"{act}, up: {was_up}", False if was_up else None)

    def await_quiet(self) -> None:
        """Wait until every server that should be up is up, and no start is due."""
        deadline = time.monotonic() + _QUIET_SECONDS
        while time.monotonic() < deadline and not all(self._is_quiet(server) for server in self._servers):
            time.sleep(0.5)
        time.sleep(1.0)

    def _is_quiet(self, server: Expected) -> bool:
        rows, found = rows_of(self._lab, server.uuid), self._lab.container(server.uuid)
        if any(row.due and _LEFT_BEHIND in row.msg for row in rows):
            self._lab.client.remove_container(server.uuid, force=True)
            server.say(f"removed, then start {self._lab.power('start', server.uuid).outcome.value}", True)
        if any(row.due or row.verdict.value == "pending" for row in rows):
            return False
        if found is None or found["State"]["Running"]:
            return found is not None
        return not server.wish and (found["Id"], found["State"]["StartedAt"]) in ((row.run.container, row.run.started_at) for row in rows)

    def violations(self) -> Iterator[str]:
        """Differences from the expected states. A server with an open state keeps its present one."""
        for server in self._servers:
            rows, up = rows_of(self._lab, server.uuid), self._lab.is_up(server.uuid)
            wrong = [f"it is {'up' if up else 'down'}"] if server.wish is not None and up is not server.wish else []
            wrong += ["a start is still due"] if any(row.due for row in rows) else []
            runs = [row.run for row in rows]
            wrong += ["two rows for one run"] if len(set(runs)) != len(runs) else []
            if not server.acts and server.wish and rows and rows[0].verdict.value != "engine_stopped":
                wrong.append(f"no act touched it, but the verdict of its end is {rows[0].verdict.value}")
            if wrong:
                lines = [
                    f"{row.run.started_at} - {row.ended_at} {row.verdict.value} {row.exit_code} {row.tries} {row.code} {row.msg}"
                    for row in rows[:5]
                ]
                yield "\n  ".join([server.uuid, *wrong, *self._events, *server.acts, *lines])
            if server.wish is None:
                intent = self._lab.node().journal.intents.of(server.uuid)
                server.wish = True if up and intent is not None and intent.up else None
