# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds of bad updates on several servers, while actors, supervisor, engine and people interfere."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.model.server import NEVER_STARTED

from .lab import IMAGE, Lab, wait_until
from .own_engine import OwnEngine
from .supervisors import Supervising, rows_of

SETTLE, WAIT_TIMEOUT = 2, 3
#: A proof with each of its waits, a revert, and an engine that starts on a busy machine.
QUIET_SECONDS = 90.0
#: A stop whose actor and engine died is awaited for its timeout.
STOP = {"type": "command", "value": "stop", "timeout": 5}
#: Bad versions, by environment; the last one has a broken command.
BAD: Mapping[str, Mapping[str, object]] = {
    "exits at once": {"CRASH_AFTER": 0.05, "EXIT_CODE": 3, "READY_LINE": "never"},
    "never ready": {"READY_LINE": "never"},
    "exits after it was ready": {"CRASH_AFTER": 1.2, "EXIT_CODE": 4},
    "broken variable": {"BOOT_SECONDS": "no number"},
    "broken command": {},
}
#: Acts beside an update; most updates go without.
ACTS = ("", "", "", "actor dies", "actor dies", "kill", "stop")


@dataclass
class Story:
    """One server, with the acts and ends of its updates."""

    uuid: str
    dice: random.Random
    container: str = ""
    known: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    version: int = 1
    #: A person wanted it down, and it was down already. Such rows leave the journal first.
    was_down: bool = False
    begun: threading.Event = field(default_factory=threading.Event)


class RevertRounds:
    """Servers of one node with a supervisor and an engine of its own."""

    def __init__(self, lab: Lab, engine: OwnEngine, supervising: Supervising, count: int, seed: int) -> None:
        self._lab, self._engine, self._supervising = lab, engine, supervising
        self._chaos = random.Random(seed)
        self._broken = lab.image('ENTRYPOINT ["/nonexistent"]')
        self.stories = [Story(lab.up(stop=STOP, VERSION=0), random.Random(f"{seed} {number}")) for number in range(count)]
        self.ends: dict[str, int] = {}

    def play(self) -> Iterator[str]:
        """Play one bad update on each server. Yield what is wrong at the end."""
        for story in self.stories:
            story.told.clear()
        threads = [threading.Thread(target=self._play, args=(story,)) for story in self.stories]
        for thread in threads:
            thread.start()
        self._interfere()
        for thread in threads:
            thread.join()
        for story in self.stories:
            yield from self._fault(story)

    def _interfere(self) -> None:
        """Kill the supervisor, the engine or nothing at a random moment.

        Before an update has begun, the supervisor would start the changed definition after the engine, as any start does.
        """
        act = self._chaos.choice(("", "supervisor", "supervisor", "engine"))
        for story in self.stories:
            story.begun.wait(60)
        time.sleep(self._chaos.uniform(0.0, 6.0))
        if act == "supervisor":
            self._supervising.kill()
            time.sleep(self._chaos.choice((0.0, 0.5, 2.0)))
            self._supervising.begin_again()
        elif act == "engine":
            self._engine.kill()
            self._engine.start()

    def _play(self, story: Story) -> None:
        lab, uuid, dice = self._lab, story.uuid, story.dice
        story.version += 1
        story.begun.clear()
        story.was_down = False
        story.known = {row.id for row in lab.operations(uuid)}
        kind = dice.choice(tuple(BAD))
        found = lab.container(uuid)
        story.container = "" if found is None else str(found["Id"])
        container = {"image": self._broken} if kind == "broken command" else {"image": IMAGE}
        lab.edit(uuid, environment={"VERSION": story.version, **BAD[kind]}, container=container)
        act = dice.choice(ACTS)
        story.told.append(f"{kind}, {act or 'no act'}")
        fields = {"on_failed_start": "revert", "settle": SETTLE, "wait_timeout": WAIT_TIMEOUT, "stop_timeout": 2, "wait_seconds": 60}
        with lab.actor("restart", uuid, **fields) as actor:
            wait_until(lambda: self._has_begun(story), "the update has begun", 60.0)
            story.begun.set()
            if act:
                time.sleep(dice.choice((dice.uniform(0.0, 1.0), dice.uniform(0.0, 6.0))))
            if act == "actor dies":
                actor.kill()
            elif act:
                with lab.actor(act, uuid, wait_seconds=60, stop_timeout=2) as person:
                    said = person.result(120)
                    story.told.append(f"{act}: {_told(said)}")
                    story.was_down = said["outcome"] == "unchanged"
            if act != "actor dies":
                story.told.append(f"restart: {_told(actor.result(200))}")

    def _has_begun(self, story: Story) -> bool:
        with contextlib.closing(self._lab.node().journal) as journal:
            proof = journal.proofs.of(story.uuid)
        return proof is not None and proof.operation not in story.known

    def _fault(self, story: Story) -> Iterator[str]:
        uuid, lab = story.uuid, self._lab
        try:
            wait_until(lambda: self._is_quiet(story), f"the proof of {uuid} is over", QUIET_SECONDS)
        except AssertionError as error:
            yield self._shown(story, str(error))
            return
        expected, version = self._expected(story), self._version(uuid)
        is_up = lab.is_up(uuid)
        proof = lab.node().journal.proofs.of(uuid)
        end = proof.ended.value if proof is not None else "no proof"
        self.ends[end] = self.ends.get(end, 0) + 1
        if expected is not None and is_up != expected:
            yield self._shown(story, f"{'up' if is_up else 'down'} in version {version}")
        elif expected and version != "0":
            yield self._shown(story, f"up in version {version}")
        left = [name for name in self._names() if name == f"{uuid}-previous"]
        if left:
            yield self._shown(story, f"left: {left}")
        # A kill that fails, because the engine dies, ends the proof and leaves the bad version.
        if not is_up or version != "0":
            lab.edit(uuid, environment={"VERSION": 0}, container={"image": IMAGE})
            result = lab.power("restart", uuid, wait_for="running", wait_seconds=60)
            if result.outcome.value not in ("done", "unchanged"):
                yield self._shown(story, f"cannot start again: {result.msg}")

    def _is_quiet(self, story: Story) -> bool:
        """Tell if nothing is to come: the proof is over, no start is due, and the end of the last run has its row."""
        uuid = story.uuid
        with contextlib.closing(self._lab.node().journal) as journal:
            proof = journal.proofs.of(uuid)
            due = any(row.server.uuid == uuid for row in journal.ended_runs.due())
        if (proof is not None and proof.is_open) or self._lab.node().locks.holder(uuid) is not None:
            return False
        if self._expected(story) is None:
            # The supervisor tries the new version again and again.
            return True
        if due:
            return False
        found = self._lab.container(uuid)
        run = None if found is None else (found["Id"], found["State"]["StartedAt"])
        if found is None or found["State"]["Running"] or found["State"]["StartedAt"] == NEVER_STARTED:
            return True
        return any((row.run.container, row.run.started_at) == run for row in rows_of(self._lab, uuid))

    def _expected(self, story: Story) -> bool | None:
        """Tell if the server should be up; None if that is open. The last of restart, stop and kill decides, in the order of the lock."""
        if story.was_down:
            return False
        rows = [row for row in self._lab.operations(story.uuid) if row.id not in story.known and row.origin == "actor"]
        # The newest first. A refused action has no begin.
        rows.sort(key=lambda row: row.begun_at or row.requested_at, reverse=True)
        if not rows or rows[0].action == "restart":
            return True
        return False if rows[0].outcome in ("done", "unchanged") else None

    def _version(self, uuid: str) -> str:
        found = self._lab.container(uuid)
        environment = [] if found is None else found["Config"]["Env"]
        return next((each.partition("=")[2] for each in environment if each.startswith("VERSION=")), "")

    def _names(self) -> list[str]:
        return [str(each["Names"][0]).lstrip("/") for each in self._lab.client.containers(all=True)]

    def _shown(self, story: Story, fault: str) -> str:
        proof = self._lab.node().journal.proofs.of(story.uuid)
        rows = [
            f"{each.requested_at} {each.begun_at} {each.action} {each.origin} {each.outcome} {each.code} {each.msg}"
            for each in self._lab.operations(story.uuid)[:5]
        ]
        return "\n  ".join([f"{story.uuid}: {fault}", *story.told, str(proof), *rows])


def _told(result: Mapping[str, Any]) -> str:
    return f"{result['outcome']} {result.get('code', '')} {result.get('msg', '')}"
