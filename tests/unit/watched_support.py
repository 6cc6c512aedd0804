# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A supervised server on a fake engine, with clocks that a test sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node import run_end
from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import ContainerEvent
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun
from ansible_collections.fleet.power.plugins.module_utils._supervisor import observer, service, starter
from ansible_collections.fleet.power.plugins.module_utils._supervisor.end_reports import EndReports
from ansible_collections.fleet.power.plugins.module_utils._supervisor.engine_link import EngineLink
from ansible_collections.fleet.power.plugins.module_utils._supervisor.observer import Observer
from ansible_collections.fleet.power.plugins.module_utils._supervisor.prover import Prover
from ansible_collections.fleet.power.plugins.module_utils._supervisor.restarter import Restarter
from ansible_collections.fleet.power.plugins.module_utils._supervisor.starter import Starter, StartOptions
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

_LIFE = "00000000-0000-4000-8000-000000000000/1/1"


class Watched:
    """A server under a supervisor, and the clock of its boot."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake = FakeNode(root)
        self.boot, self.seconds = "b1", 1000.0
        self.troubles = 0
        for module in (service, run_end, observer, starter):
            monkeypatch.setattr(module, "boot_id", lambda: self.boot)
            monkeypatch.setattr(module, "boot_seconds", lambda: self.seconds)
        self.begin_anew()

    def begin_anew(self) -> None:
        self.fake.node = self.fake.build()
        self.reports = EndReports()
        self.observer = Observer(lambda: self.fake.node, self.reports, EngineLink(_LIFE), lambda: ())
        self.starter = Starter(lambda: self.fake.node, StartOptions(stagger=0), self._note_trouble)
        self.starter.remember(self.fake.node.journal.ended_runs.due())
        self.restarter = Restarter(lambda: self.fake.node, self._note_trouble)
        self.prover = Prover(lambda: self.fake.node, lambda: True, self._note_trouble)

    def _note_trouble(self) -> None:
        self.troubles += 1

    def up(self) -> None:
        assert self.fake.perform("start").outcome.value == "done"
        self.observer.look(UUID)

    def end(self, code: int = 3, *, after: float = 1.0, signalled: bool = False) -> EndedRun:
        """End the server's run after ``after`` seconds, by itself or ``signalled`` through the engine; return the row."""
        self.pass_seconds(after)
        found = self.fake.seen()
        self.fake.engine.end(UUID, code)
        now = self.fake.clock.now()
        self.fake.engine.change(UUID, finished_at=timestamp(now))
        at = int(now.timestamp() * 10**9)
        if signalled:
            self.reports.add(ContainerEvent(at, "kill", found.id, UUID, signal=15))
        self.reports.add(ContainerEvent(at + 1, "die", found.id, UUID, exit_code=code))
        (row,) = self.observer.look(UUID).rows
        self.starter.remember([row])
        return row

    def crash(self) -> EndedRun:
        self.up()
        return self.end()

    def crash_twice(self) -> EndedRun:
        """Let the server crash, start, and crash again: the next start is due in ten seconds."""
        self.crash()
        self.await_start()
        return self.end()

    def pass_seconds(self, seconds: float) -> None:
        self.fake.clock.sleep(seconds)
        self.seconds += seconds

    def turn(self) -> bool:
        """Do the due starts; return True if the server is up."""
        self.starter.begin()
        self.starter.join()
        self.observer.look(UUID)
        return self.fake.live

    def await_start(self) -> float:
        """Let time pass until the next start, and do it; return the seconds."""
        left = self.starter.seconds_left()
        assert left is not None
        self.pass_seconds(left)
        self.turn()
        return left

    @property
    def row(self) -> EndedRun:
        return self.fake.node.journal.ended_runs.newest_of_each([UUID])[UUID]

    @property
    def starts(self) -> int:
        return self.fake.engine.calls.count(("start",))
