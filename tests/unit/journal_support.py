# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node with a journal, and processes that share it or die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Intent, Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun

FORK = multiprocessing.get_context("fork")
NOON = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=timezone.utc)
ALPHA = Server("aaaaaaaa-0000-4000-8000-000000000001", "alpha")
BETA = Server("bbbbbbbb-0000-4000-8000-000000000002", "beta")


class FixedClock:
    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Node:
    """A state and a lock directory, and journals that are all closed at the end."""

    def __init__(self, root: Path) -> None:
        self.state = root / "state"
        self.locks = root / "locks"
        self.file = self.state / "journal.sqlite"
        self.opened: list[Journal] = []

    def journal(self, *, read_only: bool = False) -> Journal:
        journal = Journal(str(self.state), str(self.locks), "no-such-group", FixedClock(), read_only=read_only)
        self.opened.append(journal)
        return journal

    def listing(self) -> dict[str, int]:
        return {str(path): path.stat().st_size for path in sorted(self.state.parent.rglob("*"))}

    def set_aside(self) -> list[Path]:
        return sorted(self.state.glob("journal.sqlite.damaged-*[0-9a-f]"))

    def count(self) -> int:
        with closing(sqlite3.connect(self.file)) as connection:
            return int(connection.execute("SELECT count(*) FROM operations WHERE outcome IS NOT NULL").fetchone()[0])


def waited_for_the_disk(journal: Journal) -> bool:
    """Whether SQLite synced the last write to the disk."""
    normal, full = 1, 2
    connection = journal.store._file()._connection
    assert connection is not None
    synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    assert synchronous in (normal, full)
    return bool(synchronous == full)


def begin(journal: Journal, operation: str = "op-1", server: Server = ALPHA) -> None:
    journal.operations.begin(Request(server.uuid, PowerAction.RESTART, operation, NOON, origin="alice@web1", reason="update"), server)


def result(operation: str = "op-1", server: Server = ALPHA, outcome: Outcome = Outcome.DONE, **more: Any) -> Result:
    return Result(server, PowerAction.RESTART, outcome, operation, NOON, NOON + timedelta(seconds=2), **more)


def perform(journal: Journal, operation: str = "op-1", server: Server = ALPHA, outcome: Outcome = Outcome.DONE) -> None:
    begin(journal, operation, server)
    journal.operations.end(result(operation, server, outcome))


#: The phases that `act` records.
PHASES = (("stop", 1.5), ("preboot", 0.25), ("start", 0.125))


def act(journal: Journal, operation: str, server: Server) -> None:
    """Write all rows of a restart in its order, with the readiness match."""
    run = Run(f"container of {operation}", operation)
    begin(journal, operation, server)
    journal.runs.see(server.uuid, SeenRun(run, matchers=True))
    journal.intents.set(server, Intent(True, operation, "alice@web1", timestamp(NOON)))
    journal.runs.record_match(server.uuid, run)
    journal.operations.end(replace(result(operation, server), phases=PHASES))


def in_processes(count: int, work: Callable[[int, Any], None], seconds: float = 60) -> None:
    """Run ``work(number, barrier)`` in forked processes; each must exit with 0."""
    barrier = FORK.Barrier(count)
    processes = [FORK.Process(target=work, args=(number, barrier)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds)
    assert [process.exitcode for process in processes] == [0] * count


def killed_after(work: Callable[[], None]) -> None:
    """Run ``work`` in a forked process, then kill it with SIGKILL."""
    done, notify = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(notify, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(notify)
    with os.fdopen(done, "rb") as pipe:
        assert pipe.read(1) == b"x"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
