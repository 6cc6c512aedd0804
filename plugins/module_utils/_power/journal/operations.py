# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations in the journal: what was done to each server, by whom, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..model.clock import Clock, timestamp
from ..model.errors import INTERRUPTED
from ..model.request import PowerAction
from ..model.result import Outcome, Result
from ..model.server import Server
from . import journal_rows as rows
from . import outbox
from .journal_rows import OperationRow
from .mark import ProcessMarks
from .store import JournalStore
from .told_events import of_operation

if TYPE_CHECKING:
    import sqlite3


class RecordedOperations:
    """The last operations of each server; one whose process is dead reads as interrupted."""

    def __init__(self, store: JournalStore, marks: ProcessMarks, clock: Clock) -> None:
        self._store = store
        self._marks = marks
        self._clock = clock

    def begin(self, *, operation: str, server: Server, action: PowerAction, origin: str, reason: str, requested_at: datetime) -> None:
        """Record that ``operation`` has begun in this process. One that had begun or ended before is left as it is."""
        if self._store.read_only:
            return
        parameters = {
            "id": operation,
            "uuid": server.uuid,
            "name": rows.storable(server.name),
            "action": action.value,
            "origin": rows.storable(origin),
            "reason": rows.storable(reason),
            "mark": self._marks.own_name(),
            "requested_at": timestamp(requested_at),
            "begun_at": timestamp(self._clock.now()),
        }

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(rows.BEGIN, parameters)

        self._write_begin(server.uuid, work)

    def end(self, result: Result, *, origin: str = "", reason: str = "", is_told: bool = True) -> None:
        """Record how an operation ended, and let go of the server's oldest ones.

        ``origin`` and ``reason`` are used only for an operation that never began: the journal has those of the others. ``is_told``: it is
        an event, too.
        """
        parameters = rows.ending(result, origin, reason)

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute(rows.END, parameters).rowcount == 0:
                connection.execute(rows.END_UNBEGUN, parameters)
            if is_told:
                tell_end(connection, result.operation, parameters["ended_at"])
            server = {"uuid": result.server.uuid, "id": result.operation, "kept": rows.KEPT_OPERATIONS}
            for row in connection.execute(rows.UNENDED, server).fetchall():
                self._end_dead(connection, row)
            connection.execute(rows.PRUNE, server)

        self._write_end(result.server.uuid, work)

    def settle_dead(self) -> bool:
        """End, as interrupted, every operation whose process has died; return False if that cannot be written.

        Readers see it so anyway: this is for those who are told. One that could make no mark may live; the server's next one ends it.
        """

        def work(connection: sqlite3.Connection) -> None:
            for row in connection.execute(rows.ALL_UNENDED).fetchall():
                if row["mark"]:
                    self._end_dead(connection, row)

        return self._store.write(work)

    def last(self, uuid: str) -> OperationRow | None:
        """Return the operation of a server that was recorded last, whatever became of it."""
        return next(iter(self.of(uuid, 1)), None)

    def last_acts(self, uuids: Iterable[str]) -> dict[str, OperationRow]:
        """Return the operation of each server that tells who acted on it last: under way, done, or gone wrong.

        One that changed nothing, or was passed over, is it only where a server has no other.
        """
        return {row.server.uuid: row for row in self._settled(self._store.rows_for(rows.LAST_ACTS, uuids))}

    def latest_of_each(self, uuids: Iterable[str], limit: int) -> dict[str, list[OperationRow]]:
        """Return at most ``limit`` operations of each server that has any, the one recorded last first."""
        found: dict[str, list[OperationRow]] = {}
        for row in self._settled(self._store.rows_for(rows.LATEST_OPERATIONS.format(limit=limit), uuids)):
            found.setdefault(row.server.uuid, []).append(row)
        return found

    def of(self, uuid: str, limit: int = 100) -> list[OperationRow]:
        """Return a server's operations, the one recorded last first."""
        return self._settled(self._store.rows(rows.OPERATIONS_OF, (uuid, limit)))

    def waits(self, operation: str) -> bool | None:
        """Tell if an operation was accepted and has neither begun nor ended; None if nobody can tell."""
        return self._store.read_if_known(lambda connection: connection.execute(rows.WAITING, (operation,)).fetchone() is not None, False)

    def under(self, key: str, uuid: str, action: PowerAction, *, but: str) -> list[OperationRow]:
        """Return a server's operations of one kind whose reason is ``key`` or begins with it, the last first, without ``but``."""
        parameters = {"key": rows.storable(key), "uuid": uuid, "action": action.value, "but": but}
        return self._settled(self._store.rows(rows.OPERATIONS_UNDER, parameters))

    def _end_dead(self, connection: sqlite3.Connection, row: sqlite3.Row) -> None:
        if not self._marks.is_alive(row["mark"]):
            connection.execute(rows.END_INTERRUPTED, (Outcome.FAILED.value, INTERRUPTED, rows.INTERRUPTED_MSG, row["number"]))
            tell_end(connection, row["id"], timestamp(self._clock.now()))

    def _write_begin(self, _uuid: str, work: Callable[[sqlite3.Connection], None]) -> None:
        self._store.write(work)

    def _write_end(self, _uuid: str, work: Callable[[sqlite3.Connection], None]) -> None:
        self._store.write(work)

    def _settled(self, read: Sequence[Any]) -> list[OperationRow]:
        """Return the operations of rows; those whose process is dead as interrupted."""
        found = [rows.operation_row(row) for row in read]
        dead = [row.number for row in found if row.under_way and not self._marks.is_alive(row.mark)]
        if not dead:
            return found
        # The process may have ended its operation, and itself, between the row and the look at its mark.
        again = {row["number"]: rows.operation_row(row) for row in self._store.rows_for(rows.OPERATIONS_NUMBERED, dead)}
        return [_as_ended(again.get(row.number, row)) if row.number in dead else row for row in found]


def _as_ended(row: OperationRow) -> OperationRow:
    return row.interrupted() if row.under_way else row


def tell_end(connection: sqlite3.Connection, operation: str, at: str) -> None:
    """Put the event of an operation that has just been ended into the outbox, if there is one."""
    outbox.tell(connection, lambda: of_operation(connection.execute(rows.OPERATION_NAMED, (operation,)).fetchone(), at))
