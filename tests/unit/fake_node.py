# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node with a fake engine and a fake clock. Locks, generations, journal, definitions and data directories are real files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.context import ActionContext
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import Node
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.progress import Progress
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.games.game import NoGame
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.locking.countdown import Countdowns
from ansible_collections.fleet.power.plugins.module_utils._power.locking.generation import KillGenerations
from ansible_collections.fleet.power.plugins.module_utils._power.locking.lock import Locks, PowerLock
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import WingsUnknown
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request, WaitFor, new_operation_id
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.sources.source_set import SourceSet
from ansible_collections.fleet.power.plugins.module_utils._power.sources.sources import Sources
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock, FakeEngine

UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
NO_GROUP = "no-such-group-here"
OTHER = "another-operation"


class FakeGame:
    """A game with the players that a test sets: ``online`` None is unknown. ``heard`` has the announcements, unless it is ``deaf``."""

    def __init__(self) -> None:
        self.online: int | None = 0
        self.deaf = ""
        self.heard: list[str] = []
        self.looks = 0

    def players(self) -> PlayerCount:
        self.looks += 1
        return PlayerCount(self.online, 20) if self.online is not None else PlayerCount(why="no answer")

    def announce(self, text: str) -> str:
        if not self.deaf:
            self.heard.append(text)
        return self.deaf


class FakeGames:
    """The games of a node: one for every server, or no game if ``game`` is None."""

    def __init__(self) -> None:
        self.game: FakeGame | None = FakeGame()

    def of(self, server: Server, snapshot: Snapshot, definition: Definition | None) -> FakeGame | None:
        return self.game

    def why_none(self, server: Server, definition: Definition | None) -> NoGame | None:
        return None if self.game is not None else NoGame("no game profile", "set settings.meta.game")


class FakeNode:
    """A node with one server, ``UUID``, defined in the directory. Tests change its settings, definition and engine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.engine = FakeEngine(self.clock)
        self.games = FakeGames()
        self.interrupted = False
        self.wings: int | None = None
        self.wings_unknown = False
        self.task: list[object] = []
        self._journals: list[Journal] = []
        self._system: dict[str, Any] = {
            "definitions": str(root / "servers"),
            "lock_directory": str(root / "locks"),
            "state_directory": str(root / "state"),
            "data": str(root / "volumes"),
            "group": NO_GROUP,
            "timezone": "UTC",
            "user": {"uid": os.geteuid(), "gid": os.getegid()},
        }
        self._settings: dict[str, Any] = {"docker": {"network": {"network_mode": "none"}}}
        (root / "servers").mkdir()
        self.define()
        self.node = self.build()

    def configure(self, *, system: Mapping[str, Any] | None = None, **sections: Any) -> Node:
        self._system.update(system or {})
        self._settings.update(sections)
        self.node = self.build()
        return self.node

    def _wings_pid(self) -> int | None:
        if self.wings_unknown:
            raise WingsUnknown("Cannot tell whether Wings runs: Too many open files")
        return self.wings

    def build(self, *, read_only: bool = False) -> Node:
        settings = parse_settings({"system": self._system, **self._settings}, where="config.yml")
        journal = Journal(settings.state_directory, settings.lock_directory, settings.group, self.clock, read_only=read_only)
        self._journals.append(journal)
        return Node(
            settings=settings,
            engine=self.engine,
            sources=Sources(SourceSet(settings, task=self.task, containers=self.engine.servers)),
            locks=Locks(settings.lock_directory, settings.group),
            generations=KillGenerations(settings.state_directory, settings.group),
            journal=journal,
            clock=self.clock,
            countdowns=Countdowns(settings.lock_directory, settings.group),
            games=self.games,
            caller=Caller(lambda: self.interrupted),
            wings_pid=self._wings_pid,
        )

    def close(self) -> None:
        for journal in self._journals:
            journal.close()

    @property
    def file(self) -> Path:
        return self.root / "servers" / f"{UUID}.json"

    def definition(self, *, process: Mapping[str, Any] | None = None, **given: Any) -> dict[str, Any]:
        """A definition of the server: keys of ``settings`` and of ``process_configuration``."""
        settings = {"uuid": UUID, "meta": {"name": "Cobalt"}, "container": {"image": "game:1"}, **given}
        stop = {"type": "signal", "value": "SIGTERM"}
        return {"settings": settings, "process_configuration": {"stop": stop, **(process or {})}}

    def define(self, **given: Any) -> None:
        """Write a definition of the server into the directory, atomically."""
        fresh = self.root / "fresh.json"
        fresh.write_text(json.dumps(self.definition(**given)))
        fresh.replace(self.file)

    def request(self, action: str, **fields: Any) -> Request:
        if "wait_for" in fields:
            fields["wait_for"] = WaitFor(fields["wait_for"])
        request = Request(
            server=UUID,
            action=PowerAction(action),
            operation=new_operation_id(),
            requested_at=self.clock.now(),
            generations={} if action == "kill" else {UUID: self.node.generations.read(UUID)},
            origin="alice@web1",
        )
        return replace(request, **fields)

    def perform(self, action: str, **fields: Any) -> Result:
        return perform(self.request(action, **fields), self.node)

    def up(self, **fields: Any) -> Snapshot:
        """Start the server, then change the engine's facts about it."""
        assert self.perform("start").outcome.value == "done"
        self.engine.calls.clear()
        return self.engine.change(UUID, **fields)

    def down(self) -> Snapshot:
        self.up()
        self.engine.end(UUID)
        return self.seen()

    def seen(self) -> Snapshot:
        found = self.engine.find(UUID)
        assert found is not None
        return found

    @property
    def volume(self) -> Path:
        return self.root / "volumes" / UUID

    @property
    def live(self) -> bool:
        found = self.engine.find(UUID)
        return found is not None and found.live

    def lock(self, action: str = "restart", operation: str = OTHER, *, wait_seconds: float = 0, node: Node | None = None) -> PowerLock:
        return (node or self.node).locks.acquire(
            UUID,
            Request(UUID, PowerAction(action), operation, self.clock.now(), origin="bob@web2"),
            wait_seconds=wait_seconds,
            clock=self.clock,
        )

    def leave(self, phase: Phase, run: Run, action: str = "start") -> None:
        """Leave an unfinished request in the lock file, like a process that died or gave up."""
        with self.lock(action) as lock:
            lock.enter(phase, run=run)
            lock.keep()

    def progress(self, action: str = "start", **fields: Any) -> Progress:
        progress = Progress(self.request(action, **fields), self.clock)
        progress.server = Server(UUID, "Cobalt")
        return progress

    def context(self, progress: Progress) -> ActionContext:
        return ActionContext(progress.request, self.node, progress)

    def kill_elsewhere(self) -> None:
        """Raise the kill generation, like the first step of another process's kill."""
        self.node.generations.raise_for(UUID)
