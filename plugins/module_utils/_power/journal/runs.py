# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs in the journal.

Table ``runs`` has one row for each server: its newest run that was started here or seen up. Table ``ended_runs`` has one row for each ended
run: its verdict, and whether a start is due after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..events.event import Event
from ..model.clock import engine_time, timestamp
from ..model.records import dataclass, field, replace
from ..model.server import Run
from ..model.supervision import EndedRun, Limits, SeenRun, Verdict, wait_before
from . import outbox, rows
from .schema import KEPT_RUNS, Connection, shortened
from .store import JournalStore, each_of

_LIMITS = Limits()


class Runs:
    """The newest run of each server. Starts and the supervisor write it."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store
        self._held: dict[str, SeenRun | None] = {}

    def see(self, uuid: str, seen: SeenRun) -> bool:
        """Write that a run was started or seen up. Return False, with a warning, if it cannot be written.

        It cancels due starts of earlier runs. A run that already has an ended row replaces no other run.
        """

        def work(connection: Connection) -> None:
            parameters = {**vars(seen), **rows.keys_of(uuid, seen.run)}
            if connection.execute(rows.OF_RUN, (seen.run.container, seen.run.started_at)).fetchone() is None:
                # The event depends on the run that the next statement replaces.
                outbox.tell(connection, lambda: _recovery(connection, uuid, seen.run))
                connection.execute(rows.SEE, parameters)
            connection.execute(rows.CLOSE_BEFORE, parameters)

        return self._store.write(work)

    def record_match(self, uuid: str, run: Run) -> None:
        self._mark(rows.MATCH, uuid, run)

    def spoil(self, uuid: str, run: Run) -> bool:
        """Write that the engine sent a run a signal that does not stop it by default."""
        return self._mark(rows.SPOIL, uuid, run)

    def stop_by_console(self, uuid: str, run: Run, at: datetime) -> bool:
        """Write the time of a stop command from our own console."""
        return self._mark(rows.STOP_BY_CONSOLE, uuid, run, int(at.timestamp()))

    def of(self, uuid: str) -> SeenRun | None:
        """Return a server's newest run; None if it has none or, with a warning, if the journal cannot be read."""
        return self._held[uuid] if uuid in self._held else self.of_each([uuid]).get(uuid)

    def of_each(self, uuids: Iterable[str]) -> dict[str, SeenRun]:
        return {str(row["uuid"]): rows.seen_run(row) for row in self._store.rows_for(rows.SEEN, uuids)}

    def hold(self, uuids: Sequence[str]) -> None:
        """Cache the newest runs of these servers for `of`. Only in a read-only journal, which opens the file for each read."""
        if self._store.read_only:
            self._held = {**dict.fromkeys(uuids), **self.of_each(uuids)}

    def known_of(self, uuid: str) -> SeenRun | None:
        """Return a server's newest run. Raises `JournalUnusable`, OSError."""
        return self._store.read_or_raise(lambda connection: _seen_of(connection, uuid), None)

    def uuids(self) -> set[str]:
        """Return the servers that have a run. Raises `JournalUnusable`, OSError."""
        return {str(row["uuid"]) for row in self._store.rows_or_raise(rows.SEEN_UUIDS)}

    def open(self) -> set[str]:
        """Return the servers whose newest run has no row in ``ended_runs``. Raises `JournalUnusable`, OSError."""
        return {str(row["uuid"]) for row in self._store.rows_or_raise(rows.SEEN_OPEN)}

    def _mark(self, statement: str, uuid: str, run: Run, at: int = 0) -> bool:
        return self._store.execute(statement, {**rows.keys_of(uuid, run), "at": at})


class SupervisorValues:
    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def value(self, name: str) -> str | None:
        """Return a value, or None. Raises `JournalUnusable`, OSError."""
        return next((str(row["value"]) for row in self._store.rows_or_raise(rows.VALUE, (name,))), None)

    def set_values(self, values: Iterable[tuple[str, str]]) -> bool:
        """Write values by name. Return False, with a warning, if they cannot be written."""
        kept = tuple(values)
        return self._store.write(lambda connection: _set_values(connection, kept))


@dataclass(frozen=True)
class RunHistory:
    """The last ended runs of each server, the newest first, and its number of recent crashes. Servers without any are missing."""

    latest: Mapping[str, Sequence[EndedRun]] = field(default_factory=dict)
    crashes: Mapping[str, int] = field(default_factory=dict)


class EndedRuns:
    """The last ended runs of each server. Methods that decisions need raise if the journal cannot be read."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def write(self, row: EndedRun, limits: Limits = _LIMITS, *, values: Sequence[tuple[str, str]] = ()) -> bool:
        """Write the row of an end, unless its run has a verdict. Return False, with a warning, if it cannot be written.

        The same transaction counts consecutive crashes, from the row that started this run, sets the time of the next try, and writes
        ``values``, see `SupervisorValues`.
        """

        def work(connection: Connection) -> None:
            _close_earlier(connection, row)
            counted = _counted(connection, row, limits)
            written = connection.execute(rows.WRITE, rows.parameters_of(counted)).rowcount
            if written == 1 and row.verdict is not Verdict.PENDING:
                connection.execute(rows.COUNT, (row.verdict.value,))
                outbox.tell(connection, lambda: (*rows.of_end(counted, limits), *_late_recovery(connection, counted)))
            connection.execute(rows.PRUNE, {"uuid": row.server.uuid, "kept": KEPT_RUNS})
            _set_values(connection, values)

        return self._store.write(work)

    def note_attempt(self, number: int, operation: str) -> bool:
        """Write the operation that will start the server for a row. Return False if that fails."""
        return self._store.execute(rows.NOTE_ATTEMPT, {"number": number, "attempt": operation})

    def put_off(self, row: EndedRun) -> bool:
        """Write the time of the next try for a row, and why the last one failed."""
        return self._store.execute(rows.PUT_OFF, {**vars(row), "msg": shortened(row.msg)})

    def revive(self, row: EndedRun) -> bool:
        """Make a start due again after a closed row, from the row's ``next_at`` on."""
        return self._store.execute(rows.REVIVE, vars(row))

    def close(self, number: int, code: str = "", msg: str = "") -> bool:
        """Cancel the due start of a row."""
        return self._store.execute(rows.CLOSE, {"number": number, "code": code, "msg": shortened(msg)})

    def of_run(self, run: Run) -> EndedRun | None:
        """Return the row of a run; None if it has none. Raises `JournalUnusable`, OSError."""
        return next(iter(self._known(rows.OF_RUN, (run.container, run.started_at))), None)

    def due(self) -> list[EndedRun]:
        """Return the rows with a due start, the oldest first. Raises `JournalUnusable`, OSError."""
        return self._known(rows.DUE, ())

    def pending(self, uuid: str | None = None) -> list[EndedRun]:
        """Return the rows without a verdict, of one server or of all, the oldest first. Raises `JournalUnusable`, OSError."""
        return self._known(rows.PENDING, ()) if uuid is None else self._known(rows.PENDING_OF, (uuid,))

    def numbered(self, number: int) -> EndedRun | None:
        """Return one row. Raises `JournalUnusable`, OSError."""
        return next(iter(self._known(rows.NUMBERED, (number,))), None)

    def hung_since(self, uuid: str, moment: datetime) -> int:
        """Return how often the supervisor has restarted a server because it hung. Raises `JournalUnusable`, OSError."""
        return int(self._store.rows_or_raise(rows.HUNG, (uuid, timestamp(moment)))[0]["runs"])

    def newest_of_each(self, uuids: Iterable[str]) -> dict[str, EndedRun]:
        """Return the newest row of each server that has any. Raises `JournalUnusable`, OSError."""
        found = (row for uuid in uuids for row in self._known(rows.NEWEST.format(holes="?"), (uuid,)))
        return {row.server.uuid: row for row in found}

    def history(self, uuids: Iterable[str], limit: int, since: datetime) -> RunHistory | None:
        """Return at most ``limit`` rows of each server, at least the last, and its recent crashes. None, with a warning, if unreadable."""
        wanted = list(uuids)
        latest = rows.NEWEST if limit <= 1 else rows.LATEST.format(limit=limit)
        # A timestamp has neither quotes nor braces.
        crashes = rows.CRASHES.format(since=timestamp(since))

        def work(connection: Connection) -> RunHistory:
            found: dict[str, list[EndedRun]] = {}
            for row in each_of(connection, latest, wanted):
                found.setdefault(str(row["uuid"]), []).append(rows.ended_run(row))
            return RunHistory(found, {str(row["uuid"]): int(row["crashes"]) for row in each_of(connection, crashes, wanted)})

        return self._store.read_if_known(work, RunHistory())

    def totals(self) -> dict[Verdict, int] | None:
        """Return the number of ended runs since the journal began, by verdict. None, with a warning, if it is unreadable."""
        found = self._store.rows_if_known(rows.COUNTED)
        counted = None if found is None else {str(row["verdict"]): int(row["runs"]) for row in found}
        return None if counted is None else {each: counted.get(each.value, 0) for each in Verdict if each is not Verdict.PENDING}

    def _known(self, statement: str, parameters: Sequence[Any]) -> list[EndedRun]:
        return [rows.ended_run(row) for row in self._store.rows_or_raise(statement, parameters)]


def _close_earlier(connection: Connection, row: EndedRun) -> None:
    began = engine_time(row.run.started_at)
    for each in connection.execute(rows.DUE_OF, (row.server.uuid,)).fetchall():
        due = rows.ended_run(each)
        before = engine_time(due.run.started_at)
        # A row without a valid time is earlier than any run.
        if due.run != row.run and began is not None and (before is None or before < began):
            connection.execute(rows.FOLLOWED, {**rows.keys_of(row.server.uuid, row.run), "number": due.number})


def _counted(connection: Connection, row: EndedRun, limits: Limits) -> EndedRun:
    """Return a row with its count of consecutive crashes, and the time of its next try."""
    if row.verdict is Verdict.PENDING:
        seen = _seen_of(connection, row.server.uuid)
        return row if seen is None or seen.run != row.run else replace(row, seen=seen)
    is_calm = row.seconds is not None and row.seconds >= limits.reset_after
    answered = None if is_calm else connection.execute(rows.ANSWERED_BY, rows.keys_of(row.server.uuid, row.run)).fetchone()
    consecutive_crashes = int(row.counts) + (0 if answered is None else int(answered["consecutive_crashes"]))
    wait = wait_before(consecutive_crashes, 0, limits) if row.counts else 0.0
    return replace(row, consecutive_crashes=consecutive_crashes, next_at=row.next_at + wait)


def _late_recovery(connection: Connection, row: EndedRun) -> tuple[Event, ...]:
    """Return the event of a recovery, if a newer run was seen before this crash was written."""
    seen = _seen_of(connection, row.server.uuid) if row.is_crash else None
    began, before = None if seen is None else engine_time(seen.run.started_at), engine_time(row.run.started_at)
    if seen is None or began is None or before is None or began <= before:
        return ()
    is_over = connection.execute(rows.OF_RUN, (seen.run.container, seen.run.started_at)).fetchone() is not None
    return () if is_over else (rows.of_recovery(row, seen.run),)


def _recovery(connection: Connection, uuid: str, run: Run) -> tuple[Event, ...]:
    """Return the event of a recovery, if this run is new and the run before it crashed."""
    before = _seen_of(connection, uuid)
    if before is not None and before.run == run:
        return ()
    newest = connection.execute(rows.NEWEST.format(holes="?"), (uuid,)).fetchone()
    crash = None if newest is None else rows.ended_run(newest)
    return () if crash is None or not crash.is_crash else (rows.of_recovery(crash, run),)


def _seen_of(connection: Connection, uuid: str) -> SeenRun | None:
    found = connection.execute(rows.SEEN.format(holes="?"), (uuid,)).fetchone()
    return None if found is None else rows.seen_run(found)


def _set_values(connection: Connection, values: Sequence[tuple[str, str]]) -> None:
    for name, value in values:
        connection.execute(rows.SET_VALUE, {"name": name, "value": value})
