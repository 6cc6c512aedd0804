# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps actions in one of their phases until a test lets them continue, without chance."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import build_node
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.tests.unit.lock_support import as_nobody_below

from .engine_proxy import EngineProxy, Hold
from .lab import Actor, Lab, wait_until

#: Longer than each test.
_FOR_EVER = 600
CREATE, RENAME, PULL = r"/containers/create", r"/containers/[^/]+/rename", r"/images/create"


def named(cases: Sequence[Sequence[str]]) -> list[str]:
    return ["-".join(case) for case in cases]


def start_of(_uuid: str) -> str:
    """The path of a start request for any container: its id is not known yet."""
    return r"/containers/[^/]+/start$"


def inspect_of(uuid: str) -> str:
    return rf"/containers/{uuid}/json$"


def kill_of(uuid: str) -> str:
    return rf"/containers/{uuid}/kill"


@dataclass
class Kept:
    """An action kept in a phase. ``hold`` is the request that it waits for; None: it waits for the server."""

    uuid: str
    actor: Actor
    hold: Hold | None

    def let_go(self, *, lost: bool = False) -> None:
        if self.hold is not None:
            if lost:
                self.hold.drop()
            else:
                self.hold.release()


#: All phases of all actions. "create": makes the container, still in the phase of the pull. "wait": started, with the lock released.
PHASES = {
    "start": ("prepare", "pull", "create", "preboot", "start", "observe", "wait"),
    "restart": ("prepare", "pull", "create", "stop", "preboot", "start", "observe", "wait"),
    "stop": ("prepare", "stop"),
    "kill": ("prepare", "kill"),
}
EVERY_PHASE = [(action, phase) for action, phases in PHASES.items() for phase in phases]
BOOTS = [(action, phase) for action, phase in EVERY_PHASE if action in ("start", "restart")]


def server_for(lab: Lab, action: str, phase: str) -> str:
    """A server that ``action`` changes: offline for a start, ready for the others."""
    slow = {"BOOT_SECONDS": 0.5} if phase == "wait" else {}
    uuid = lab.server(MARK=1, STOP_SECONDS=_FOR_EVER if phase == "stop" else 0, **slow)
    if action != "start":
        assert lab.power("start", uuid, wait_for="running").outcome.value == "done"
    return uuid


def _change_definition(lab: Lab, uuid: str, action: str, phase: str) -> None:
    environment = {**lab.definition(uuid)["settings"]["environment"], "CHANGED": 1}
    if phase == "pull":
        lab.edit(uuid, container={"image": f"fleet-power/absent:{uuid}"})
    elif phase == "wait":
        lab.edit(uuid, environment={**environment, "BOOT_SECONDS": _FOR_EVER})
    elif phase in ("create", "preboot") and action == "restart":
        lab.edit(uuid, environment=environment)


def _hold(proxy: EngineProxy, uuid: str, action: str, phase: str) -> Hold | None:
    if phase == "prepare":
        # A kill sends its first signal before it prepares; the others look at the container once before they lock.
        return proxy.hold("POST", kill_of(uuid)) if action == "kill" else proxy.hold("GET", inspect_of(uuid), skip=1)
    holds: dict[str, Callable[[], Hold]] = {
        "kill": lambda: proxy.hold("POST", kill_of(uuid), skip=1),
        "pull": lambda: proxy.hold("POST", PULL),
        "create": lambda: proxy.hold("POST", CREATE),
        "preboot": lambda: proxy.hold("POST", RENAME),
        "start": lambda: proxy.hold("POST", start_of(uuid)),
        "observe": lambda: proxy.hold("GET", r"/containers/[^/]+/json$", after=start_of(uuid)),
    }
    return holds[phase]() if phase in holds else None


@contextmanager
def kept_in(lab: Lab, proxy: EngineProxy, action: str, phase: str, **fields: Any) -> Iterator[Kept]:
    uuid = server_for(lab, action, phase)
    _change_definition(lab, uuid, action, phase)
    hold = _hold(proxy, uuid, action, phase)
    if phase == "wait":
        fields["wait_for"] = "running"
    before = lab.container(uuid)
    with lab.at(proxy.host).actor(action, uuid, **fields) as actor:
        if hold is not None:
            hold.await_arrival()
        elif phase == "stop":
            wait_until(lambda: "got command stop" in lab.log(uuid), "the stop arrived")
        else:
            wait_until(lambda: _is_new_run(lab, uuid, before) and lab.node().locks.holder(uuid) is None, "started, and the lock released")
        if phase != "wait":
            lab.await_phase(uuid, "pull" if phase == "create" else phase)
        yield Kept(uuid, actor, hold)


def _is_new_run(lab: Lab, uuid: str, before: dict[str, Any] | None) -> bool:
    now = lab.container(uuid)
    return now is not None and now["State"]["Running"] and (before is None or now["State"]["StartedAt"] != before["State"]["StartedAt"])


@contextmanager
def meanwhile(action: Callable[[], Result]) -> Iterator[Future[Result]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(action)


def by_nobody(lab: Lab, action: str, uuid: str) -> dict[str, Any]:
    """The result of an action by an unprivileged user, in a separate process."""
    # Does the late imports now: the other user may have no right to read the files.
    warm = build_node({"config": str(lab.config), "docker_host": lab.docker_host}, read_only=True)
    with suppress(EngineUnreachable):
        warm.engine.inspect(uuid)
    warm.journal.runs.of(uuid)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with as_nobody_below(lab.root / "run"):
                result = lab.power(action, uuid)
            os.write(writing, json.dumps({**entry(result, check=False, all_steps=True), "warnings": list(result.warnings)}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as source:
        output = source.read()
    os.waitpid(child, 0)
    loaded: dict[str, Any] = json.loads(output)
    return loaded


def starts_since(lab: Lab, uuid: str, moment: float) -> list[float]:
    """The times of the starts of the server's container since ``moment``, by the engine's events."""
    events = lab.client.events(
        since=moment, until=time.time(), filters={"type": "container", "container": uuid, "event": "start"}, decode=True
    )
    return [event["timeNano"] / 1e9 for event in events]


def waiting_containers(lab: Lab, uuid: str) -> list[str]:
    """The temporary names of a server's containers that have not taken their place."""
    found = lab.client.containers(all=True, filters={"name": uuid})
    return [name for row in found for name in row["Names"] if name != f"/{uuid}"]
