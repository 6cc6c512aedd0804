# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seen runs in the journal: the newest run of each server that was seen up, and what the supervisor keeps besides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..events.event import Event
from ..model.server import Run
from ..model.supervision import SeenRun
from . import outbox
from . import supervision_rows as rows
from .store import JournalStore
from .told_events import of_recovery

if TYPE_CHECKING:
    import sqlite3


class SeenRuns:
    """The newest run of each server that was seen up."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def see(self, uuid: str, seen: SeenRun) -> bool:
        """Write that a run was seen up, or is dated anew by a start that finds it up; return False if it cannot be written.

        A newer run closes the rows that asked for one.
        """

        def work(connection: sqlite3.Connection) -> None:
            see_in(connection, uuid, seen)

        return self._store.write(work)

    def spoil(self, uuid: str, run: Run) -> bool:
        """Write that a signal which stops nothing was sent to a run through the engine."""
        return self._store.write(lambda connection: _mark(connection, rows.SPOIL, uuid, run))

    def stop_by_console(self, uuid: str, run: Run, at: datetime) -> bool:
        """Write when the stop command went to a run through our own console."""
        return self._store.write(lambda connection: _mark(connection, rows.STOP_BY_CONSOLE, uuid, run, int(at.timestamp())))

    def of(self, uuid: str) -> SeenRun | None:
        """Return a server's newest seen run. Raises `JournalUnusable`, OSError."""
        return next(map(rows.seen_run, rows.known(self._store, rows.SEEN, rows.SEEN_OF, (uuid,))), None)

    def all(self) -> dict[str, SeenRun]:
        """Return the newest seen run of each server. Raises `JournalUnusable`, OSError."""
        return {str(row["uuid"]): rows.seen_run(row) for row in rows.known(self._store, rows.SEEN, rows.SEEN_ALL)}

    def open(self) -> set[str]:
        """Return the servers whose newest seen run has no row: it is up, or not judged yet. Raises `JournalUnusable`, OSError."""
        return {str(row["uuid"]) for row in rows.known(self._store, rows.SEEN, rows.SEEN_OPEN)}

    def value(self, name: str) -> str | None:
        """Return what the supervisor keeps under a name. Raises `JournalUnusable`, OSError."""
        return next((str(row["value"]) for row in rows.known(self._store, rows.VALUES, rows.VALUE, (name,))), None)

    def set_values(self, values: Iterable[tuple[str, str]]) -> bool:
        """Write what the supervisor keeps under names; return False if it cannot be written."""
        kept: Sequence[tuple[str, str]] = tuple(values)

        def work(connection: sqlite3.Connection) -> None:
            rows.make_tables(connection)
            for name, value in kept:
                connection.execute(rows.SET_VALUE, {"name": name, "value": value})

        return self._store.write(work)


def see_in(connection: sqlite3.Connection, uuid: str, seen: SeenRun) -> None:
    """Write a seen run within a transaction. One whose end has a row is up no more, and whoever says so is late, but it was a run."""
    rows.make_tables(connection)
    is_over = connection.execute(rows.OF_RUN, (seen.run.container, seen.run.started_at)).fetchone() is not None
    parameters = {
        "uuid": uuid,
        "container": seen.run.container,
        "started_at": seen.run.started_at,
        "generation": seen.generation,
        "engine": seen.engine,
        "answers": seen.answers,
        "stop_signal": seen.stop_signal,
    }
    if not is_over:
        # Before the run that was seen last is replaced.
        outbox.tell(connection, lambda: _recovery(connection, uuid, seen.run))
        connection.execute(rows.SEE, parameters)
    connection.execute(rows.CLOSE_BEFORE, parameters)


def _mark(connection: sqlite3.Connection, statement: str, uuid: str, run: Run, at: int = 0) -> None:
    rows.make_tables(connection)
    connection.execute(statement, {"uuid": uuid, "container": run.container, "started_at": run.started_at, "at": at})


def _recovery(connection: sqlite3.Connection, uuid: str, run: Run) -> tuple[Event, ...]:
    """Return that a server is up again, where this run is new and the one before it crashed."""
    before = connection.execute(rows.SEEN_OF, (uuid,)).fetchone()
    if before is not None and rows.seen_run(before).run == run:
        return ()
    newest = connection.execute(rows.NEWEST.format(holes="?"), (uuid,)).fetchone()
    crash = None if newest is None else rows.ended_run(newest)
    return () if crash is None or not crash.is_crash else (of_recovery(crash, run),)
