# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations in the journal: each action on a server, its origin and its end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ..model.clock import Clock, timestamp
from ..model.errors import INTERRUPTED, NOT_DURABLE
from ..model.records import dataclass, replace
from ..model.request import PowerAction, Request
from ..model.result import Outcome, Result
from ..model.server import Server
from . import outbox
from .late_writes import LateWrites
from .mark import ProcessMarks
from .rows import of_operation
from .schema import KEPT_OPERATIONS, TELLS, Connection, insertion, replacing, shortened, storable, text, value_of
from .store import JournalStore

BEGIN = """INSERT INTO operations (id, uuid, name, action, origin, reason, mark, requested_at, accepted_at, begun_at)
    VALUES (:id, :uuid, :name, :action, :origin, :reason, :mark, :requested_at, :begun_at, :begun_at)
    ON CONFLICT (id) DO UPDATE SET begun_at = excluded.begun_at, mark = excluded.mark WHERE begun_at IS NULL AND outcome IS NULL"""

_OF_AN_END = (
    *("ended_at", "outcome", "code", "msg", "changed", "state_before", "state"),
    *("stop_how", "forced", "stop_seconds", "waited_seconds", "phases"),
)
#: An action that never began, or whose row a new journal lacks, gets a whole row.
ENDED = ("id", "uuid", "name", "action", "origin", "reason", "requested_at", "accepted_at", *_OF_AN_END)
KEEP_END = f"ON CONFLICT (id) {replacing(_OF_AN_END)}"
_END = f"{insertion('operations', ENDED)} {KEEP_END}"

_UNENDED = "SELECT number, id, mark FROM operations WHERE begun_at IS NOT NULL AND outcome IS NULL"
UNENDED = _UNENDED + " AND uuid = :uuid AND id <> :id"
ALL_UNENDED = _UNENDED + " ORDER BY number"

INTERRUPTED_MSG = "The process that ran this action ended before the action did"

NOT_DURABLE_MSG = "after a power cut the journal may lack this"

#: The end of an interrupted operation has no time: it is unknown.
END_INTERRUPTED = "UPDATE operations SET outcome = ?, code = ?, msg = ? WHERE number = ?"

# Operations that did nothing go first, so that repeated requests remove no others. The row of this end stays: the last operation is always
# readable.
PRUNE = """DELETE FROM operations WHERE number IN (
    SELECT number FROM operations WHERE uuid = :uuid AND outcome IS NOT NULL AND id <> :id
    ORDER BY outcome IN ('unchanged', 'refused') DESC, number
    LIMIT max(0, (SELECT count(*) FROM operations WHERE uuid = :uuid AND outcome IS NOT NULL) - :kept))"""

OPERATIONS_OF = "SELECT * FROM operations WHERE uuid = ? ORDER BY number DESC LIMIT ?"
OPERATIONS_UNDER = """SELECT * FROM operations WHERE uuid = :uuid AND action = :action AND id <> :but
    AND (reason = :key OR substr(reason, 1, length(:key) + 2) = :key || ': ') ORDER BY number DESC"""
WAITING = "SELECT 1 FROM operations WHERE id = ? AND begun_at IS NULL AND outcome IS NULL"
OPERATION_NAMED = "SELECT * FROM operations WHERE id = ?"
OPERATIONS_NUMBERED = "SELECT * FROM operations WHERE number IN ({holes})"
LAST_ACTS = f"""SELECT * FROM operations WHERE number IN (SELECT coalesce(
    (SELECT number FROM operations AS own WHERE own.uuid = each.uuid AND {TELLS} ORDER BY number DESC LIMIT 1), each.newest)
    FROM (SELECT uuid, max(number) AS newest FROM operations WHERE uuid IN ({{holes}}) GROUP BY uuid) AS each)"""
# Not a window function: the SQLite of some systems has none. The index serves the inner statement.
LATEST_OPERATIONS = """SELECT * FROM operations WHERE uuid IN ({{holes}}) AND number IN
    (SELECT number FROM operations AS own WHERE own.uuid = operations.uuid ORDER BY number DESC LIMIT {limit:d}) ORDER BY number DESC"""


@dataclass(frozen=True)
class OperationRow:
    """One operation as the journal has it. Times are ISO 8601; unknown or missing values are ``""`` or None.

    ``outcome`` is ``""`` during the operation. If its process is dead, it reads as ``failed``, code ``interrupted``.
    """

    id: str
    server: Server
    action: str
    origin: str = ""
    reason: str = ""
    requested_at: str = ""
    begun_at: str = ""
    ended_at: str = ""
    outcome: str = ""
    code: str = ""
    msg: str = ""
    changed: bool = False
    state_before: str = ""
    state: str = ""
    stop_how: str = ""
    forced: bool | None = None
    stop_seconds: float | None = None
    waited_seconds: float | None = None
    phases: tuple[tuple[str, float], ...] = ()
    number: int = 0
    mark: str = ""

    @property
    def under_way(self) -> bool:
        """Tell if it has begun and its row has no end."""
        return bool(self.begun_at) and not self.outcome

    def interrupted(self) -> OperationRow:
        """Return the operation as it reads after the death of its process."""
        return replace(self, outcome=Outcome.FAILED.value, code=INTERRUPTED, msg=INTERRUPTED_MSG)


_Ended = TypeVar("_Ended", Result, OperationRow)


def not_durable(ended: _Ended) -> _Ended:
    """Return it with code ``not_durable``, unless it has a code: a power cut may remove it from the journal."""
    return ended if ended.code else replace(ended, code=NOT_DURABLE, msg="; ".join(filter(None, (ended.msg, NOT_DURABLE_MSG))))


def request_columns(operation: str, server: Server, action: PowerAction, origin: str, requested_at: datetime) -> dict[str, Any]:
    """Return the values of the columns that say what was requested."""
    return {
        "id": operation,
        "uuid": server.uuid,
        "name": storable(server.name),
        "action": action.value,
        "origin": storable(origin),
        "requested_at": timestamp(requested_at),
    }


def ending(result: Result, origin: str, reason: str) -> dict[str, Any]:
    """Return the values of the columns `ENDED`. Without log lines, plans and definitions: they may hold secrets."""
    stop = result.stop
    return {
        **request_columns(result.operation, result.server, result.action, origin, result.requested_at),
        "reason": storable(reason),
        "accepted_at": timestamp(result.requested_at),
        "ended_at": timestamp(result.ended_at),
        "outcome": result.outcome.value,
        "code": result.code,
        "msg": shortened(result.msg),
        "changed": int(result.changed),
        "state_before": None if result.state_before is None else result.state_before.value,
        "state": None if result.state is None else result.state.value,
        "stop_how": None if stop is None else storable(stop.how),
        "forced": None if stop is None else int(stop.forced),
        "stop_seconds": None if stop is None else round(stop.seconds, 3),
        "waited_seconds": round(result.waited_seconds, 3),
        "phases": json.dumps([[name, round(seconds, 3)] for name, seconds in result.phases]),
    }


def operation_row(row: Mapping[str, Any]) -> OperationRow:
    """Return the value of a row of ``operations``. The row may hold values of any type."""
    return value_of(OperationRow, row, server=Server(text(row["uuid"]), text(row["name"])), phases=_phases(row["phases"]))


def _phases(value: object) -> tuple[tuple[str, float], ...]:
    try:
        return tuple((str(name), float(seconds)) for name, seconds in json.loads(text(value)))
    except (ValueError, TypeError):
        return ()


class RecordedOperations:
    """The last operations of each server. An operation of a dead process reads as interrupted."""

    #: Whether a begin is on the disk before the work.
    durable_begins = False

    def __init__(self, store: JournalStore, marks: ProcessMarks, clock: Clock, late_writes: LateWrites) -> None:
        self._store = store
        self._late_writes = late_writes
        self._marks = marks
        self._clock = clock

    def begin(self, request: Request, server: Server) -> None:
        """Write that an operation has begun in this process, unless its row has a beginning or an end."""
        if self._store.read_only:
            return
        parameters = {
            **request_columns(request.operation, server, request.action, request.origin, request.requested_at),
            "reason": storable(request.reason),
            "mark": self._marks.own_name(),
            "begun_at": timestamp(self._clock.now()),
        }
        self._late_writes.write(server.uuid, lambda connection: connection.execute(BEGIN, parameters), durable=self.durable_begins)

    def end(self, result: Result, *, origin: str = "", reason: str = "", with_event: bool = True) -> bool:
        """Write an end, and prune. Return False if it is late.

        ``origin`` and ``reason``: only for an action that never began. ``with_event``: with an event.
        """
        parameters = ending(result, origin, reason)

        def work(connection: Connection) -> None:
            connection.execute(_END, parameters)
            if with_event:
                tell_end(connection, result.operation, parameters["ended_at"])
            server = {"uuid": result.server.uuid, "id": result.operation, "kept": KEPT_OPERATIONS}
            for row in connection.execute(UNENDED, server).fetchall():
                self._end_dead(connection, row)
            connection.execute(PRUNE, server)

        return self._late_writes.write(result.server.uuid, work)

    def end_all_dead(self) -> bool:
        """Write an interrupted end for each operation of a dead process with a mark, for its event. Return False if that fails."""

        def work(connection: Connection) -> None:
            for row in connection.execute(ALL_UNENDED).fetchall():
                if row["mark"]:
                    self._end_dead(connection, row)

        return self._store.write(work)

    def last(self, uuid: str) -> OperationRow | None:
        return next(iter(self.of(uuid, 1)), None)

    def last_acts(self, uuids: Iterable[str]) -> dict[str, OperationRow]:
        """Return the last operation of each server that is in progress, was done or failed; else the last that changed nothing."""
        return {row.server.uuid: row for row in self._as_operations(self._store.rows_for(LAST_ACTS, uuids))}

    def latest_of_each(self, uuids: Iterable[str], limit: int) -> dict[str, list[OperationRow]]:
        """Return at most ``limit`` operations of each server that has any, the newest first."""
        found: dict[str, list[OperationRow]] = {}
        for row in self._as_operations(self._store.rows_for(LATEST_OPERATIONS.format(limit=limit), uuids)):
            found.setdefault(row.server.uuid, []).append(row)
        return found

    def of(self, uuid: str, limit: int = 100) -> list[OperationRow]:
        return self._as_operations(self._store.rows(OPERATIONS_OF, (uuid, limit)))

    def waits(self, operation: str) -> bool | None:
        """Tell if an operation was accepted and has neither begun nor ended; None if the journal cannot be read."""
        return self._store.read_if_known(lambda connection: connection.execute(WAITING, (operation,)).fetchone() is not None, False)

    def under(self, key: str, uuid: str, action: PowerAction, *, but: str) -> list[OperationRow]:
        """Return a server's operations of one action whose reason begins with ``key``, the newest first, without ``but``.

        Raises `JournalUnusable`, OSError if the journal cannot be read, or was damaged and has just been replaced.
        """
        parameters = {"key": storable(key), "uuid": uuid, "action": action.value, "but": but}
        return self._as_operations(self._store.known_rows(OPERATIONS_UNDER, parameters))

    def _end_dead(self, connection: Connection, row: Mapping[str, Any]) -> None:
        if not self._marks.is_alive(row["mark"]):
            connection.execute(END_INTERRUPTED, (Outcome.FAILED.value, INTERRUPTED, INTERRUPTED_MSG, row["number"]))
            tell_end(connection, row["id"], timestamp(self._clock.now()))

    def _as_operations(self, read: Sequence[Any]) -> list[OperationRow]:
        """Return rows of the table as operations; an unended operation of a dead process as interrupted."""
        found = [operation_row(row) for row in read]
        dead = [row.number for row in found if row.under_way and not self._marks.is_alive(row.mark)]
        if not dead:
            return found
        # The process may have ended its operation and then died after the row was read.
        again = {row["number"]: operation_row(row) for row in self._store.rows_for(OPERATIONS_NUMBERED, dead)}
        now = [again.get(row.number, row) for row in found]
        # A row that could not be read again may have an end.
        return [row.interrupted() if row.number in again and row.under_way else row for row in now]


def tell_end(connection: Connection, operation: str, at: str) -> None:
    """Write the event of an operation's end, if the outbox is open."""
    outbox.tell(connection, lambda: of_operation(connection.execute(OPERATION_NAMED, (operation,)).fetchone(), at))
