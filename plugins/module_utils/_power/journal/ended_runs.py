# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ended runs in the journal: one row for each, with what it is taken for and whether a start is due after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..events.event import Event
from ..model.clock import engine_time
from ..model.server import Run
from ..model.supervision import EndedRun, Limits, Verdict, wait_before
from . import outbox
from . import supervision_rows as rows
from .store import JournalStore
from .told_events import of_end, of_recovery

if TYPE_CHECKING:
    import sqlite3


_LIMITS = Limits()


class EndedRuns:
    """The last ended runs of each server. What is asked of it for a decision raises where it cannot be known."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def write(self, row: EndedRun, limits: Limits = _LIMITS, *, values: Sequence[tuple[str, str]] = ()) -> bool:
        """Write the row of an end, unless its run has one; return False, with a warning, if it cannot be written.

        Which crash in a row it is, and so when the next try comes, is counted from the rows before, in the same transaction: the row that
        this run was started for is the one before it. ``values`` (`Supervisor`) are written with it.
        """

        def work(connection: sqlite3.Connection) -> None:
            rows.make_tables(connection)
            _close_earlier(connection, row)
            counted = _counted(connection, row, limits)
            written = connection.execute(rows.WRITE, rows.parameters_of(counted)).rowcount
            if written == 1 and row.verdict is not Verdict.PENDING:
                connection.execute(rows.COUNT, (row.verdict.value,))
                outbox.tell(connection, lambda: (*of_end(counted, limits), *_late_recovery(connection, counted)))
            connection.execute(rows.PRUNE, {"uuid": row.server.uuid, "kept": rows.KEPT_RUNS})
            for name, value in values:
                connection.execute(rows.SET_VALUE, {"name": name, "value": value})

        return self._store.write(work)

    def note_attempt(self, number: int, operation: str) -> bool:
        """Note which operation is about to start the server for a row; return False if that cannot be written."""
        return self._write(rows.NOTE_ATTEMPT, {"number": number, "attempt": operation})

    def put_off(self, row: EndedRun) -> bool:
        """Write when the next try for a row comes, and why the last one did not bring its server up."""
        names = ("number", "code", "tries", "consecutive_crashes", "boot", "next_at", "definition")
        return self._write(rows.PUT_OFF, {**{name: getattr(row, name) for name in names}, "msg": rows.shortened(row.msg)})

    def revive(self, row: EndedRun) -> bool:
        """Have a start due after a row that was closed, from the moment that it says on."""
        return self._write(rows.REVIVE, {"number": row.number, "boot": row.boot, "next_at": row.next_at})

    def close(self, number: int, code: str = "", msg: str = "") -> bool:
        """Ask for no start after that row any more."""
        return self._write(rows.CLOSE, {"number": number, "code": code, "msg": rows.shortened(msg)})

    def of_run(self, run: Run) -> EndedRun | None:
        """Return the row of a run; None if it has none. Raises `JournalUnusable`, OSError."""
        return next(iter(self._known(rows.OF_RUN, (run.container, run.started_at))), None)

    def due(self) -> list[EndedRun]:
        """Return the rows after which a start is due, the oldest first. Raises `JournalUnusable`, OSError."""
        return self._known(rows.DUE, ())

    def noted(self, uuid: str | None = None) -> list[EndedRun]:
        """Return the rows without a verdict, of one server or of all, the oldest first. Raises `JournalUnusable`, OSError."""
        return self._known(rows.NOTED, ()) if uuid is None else self._known(rows.NOTED_OF, (uuid,))

    def numbered(self, number: int) -> EndedRun | None:
        """Return one row. Raises `JournalUnusable`, OSError."""
        return next(iter(self._known(rows.NUMBERED, (number,))), None)

    def newest_of_each(self, uuids: Iterable[str]) -> dict[str, EndedRun]:
        """Return the row written last of each server that has any. Raises `JournalUnusable`, OSError."""
        found = (row for uuid in uuids for row in self._known(rows.NEWEST.format(holes="?"), (uuid,)))
        return {row.server.uuid: row for row in found}

    def _known(self, statement: str, parameters: Sequence[Any]) -> list[EndedRun]:
        return [rows.ended_run(row) for row in rows.known(self._store, rows.ENDED, statement, parameters)]

    def _write(self, statement: str, parameters: dict[str, Any]) -> bool:
        def work(connection: sqlite3.Connection) -> None:
            rows.make_tables(connection)
            connection.execute(statement, parameters)

        return self._store.write(work)


def _close_earlier(connection: sqlite3.Connection, row: EndedRun) -> None:
    """Ask for no start after the ends that were before this run."""
    began = engine_time(row.run.started_at)
    for each in connection.execute(rows.DUE_OF, (row.server.uuid,)).fetchall():
        due = rows.ended_run(each)
        before = engine_time(due.run.started_at)
        # One that names no run that is known was of none.
        if due.run != row.run and began is not None and (before is None or before < began):
            names = {"number": due.number, "container": row.run.container, "started_at": row.run.started_at}
            connection.execute(rows.FOLLOWED, names)


def _counted(connection: sqlite3.Connection, row: EndedRun, limits: Limits) -> EndedRun:
    """Return a row with its place among the crashes in a row, and the moment of its next try."""
    if row.verdict is Verdict.PENDING:
        found = connection.execute(rows.SEEN_OF, (row.server.uuid,)).fetchone()
        seen = None if found is None else rows.seen_run(found)
        return row if seen is None or seen.run != row.run else replace(row, seen=seen)
    counts = int(row.verdict is Verdict.CRASHED or (row.verdict is Verdict.ENDED and row.due))
    is_calm = row.seconds is not None and row.seconds >= limits.reset_after
    before = 0 if is_calm else _in_row_before(connection, row)
    consecutive_crashes = before + counts
    wait = wait_before(consecutive_crashes, 0, limits) if counts else 0.0
    return replace(row, consecutive_crashes=consecutive_crashes, next_at=row.next_at + wait)


def _in_row_before(connection: sqlite3.Connection, row: EndedRun) -> int:
    """Return the count of the row that this run was started for; 0 where somebody else started it."""
    names = {"uuid": row.server.uuid, "container": row.run.container, "started_at": row.run.started_at}
    found = connection.execute(rows.ANSWERED_BY, names).fetchone()
    return 0 if found is None else int(found["consecutive_crashes"])


def _late_recovery(connection: sqlite3.Connection, row: EndedRun) -> tuple[Event, ...]:
    """Return that a server is up again, where a newer run was seen before its crash was told."""
    found = connection.execute(rows.SEEN_OF, (row.server.uuid,)).fetchone() if row.is_crash else None
    seen = None if found is None else rows.seen_run(found).run
    began, before = (None, None) if seen is None else (engine_time(seen.started_at), engine_time(row.run.started_at))
    if seen is None or began is None or before is None or began <= before:
        return ()
    is_over = connection.execute(rows.OF_RUN, (seen.container, seen.started_at)).fetchone() is not None
    return () if is_over else (of_recovery(row, seen),)
