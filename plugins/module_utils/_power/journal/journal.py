# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what was done to the servers of a node, by whom, and what they were meant to be.

A power action never fails because of the journal: no method that an action calls raises for it. What goes wrong is one sentence in
``warnings``, and the method returns what it would return of an empty journal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ..model.clock import Clock, timestamp
from ..model.errors import INTERRUPTED, PowerError
from ..model.model import Outcome, PowerAction, Result, Run, Server
from . import journal_rows as rows
from .journal_rows import Intent, JournalUnusable, OperationRow, StartedRun
from .mark import ProcessMark, mark_is_alive

if TYPE_CHECKING:
    import sqlite3
    from types import ModuleType

    from .journal_file import JournalFile

T = TypeVar("T")

# SQLite's oldest limit on the parameters of a statement is 999.
_CHUNK = 500


class Journal:
    """The journal in ``state_directory``, opened when first needed. Safe between threads.

    All threads share one connection behind a mutex: SQLite lets one writer in at a time anyway, and threads that queue here wait less
    than connections that poll the file. ``read_only`` creates and changes nothing: writing methods do nothing, reading ones read.
    """

    #: Whether a begin is on the disk before the action goes on: for whom another process would do again what has not begun.
    _begins_durably = False

    def __init__(self, state_directory: str, lock_directory: str, group: str, clock: Clock, *, read_only: bool = False) -> None:
        self.warnings: list[str] = []
        self._state_directory = state_directory
        self._lock_directory = lock_directory
        self._group = group
        self._clock = clock
        self._read_only = read_only
        self._mutex = threading.RLock()
        self._opened: JournalFile | None = None
        self._mark: ProcessMark | None = None
        self._in_trouble = False
        self._runs_held: dict[str, StartedRun | None] = {}

    def begin(self, *, operation: str, server: Server, action: PowerAction, origin: str, reason: str, requested_at: datetime) -> None:
        """Record that ``operation`` has begun in this process. One that had begun or ended before is left as it is."""
        if self._read_only:
            return
        parameters = {
            "id": operation,
            "uuid": server.uuid,
            "name": rows.storable(server.name),
            "action": action.value,
            "origin": rows.storable(origin),
            "reason": rows.storable(reason),
            "mark": self._mark_name(),
            "requested_at": timestamp(requested_at),
            "begun_at": timestamp(self._clock.now()),
        }
        self._execute(rows.BEGIN, parameters, durable=self._begins_durably)

    def end(self, result: Result, phases: Sequence[tuple[str, float]] = (), *, origin: str = "", reason: str = "") -> None:
        """Record how an operation ended, ``phases`` being (name, seconds), and let go of the server's oldest ones.

        ``origin`` and ``reason`` are used only for an operation that never began: the journal has those of the others.
        """
        parameters = rows.ending(result, phases, origin, reason)

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute(rows.END, parameters).rowcount == 0:
                connection.execute(rows.END_UNBEGUN, parameters)
            server = {"uuid": result.server.uuid, "id": result.operation, "kept": rows.KEPT_OPERATIONS}
            for number, mark in connection.execute(rows.UNENDED, server).fetchall():
                if not self._lives(mark):
                    interrupted = (Outcome.FAILED.value, INTERRUPTED, rows.INTERRUPTED_MSG, number)
                    connection.execute(rows.END_INTERRUPTED, interrupted)
            connection.execute(rows.PRUNE, server)

        self._write(work)

    def set_intent(
        self,
        server: Server,
        up: bool,
        *,
        operation: str,
        origin: str,
        at: datetime,
        only_if_newer: bool = False,
        keep_since: datetime | None = None,
    ) -> None:
        """Record what ``server`` is meant to be. That it is to be down survives a power loss: else it would come up after that.

        ``only_if_newer``: an intent as young as ``at``, or younger, stays. ``keep_since``: so does one that is as young as that and says
        the same.
        """
        parameters = {
            "uuid": server.uuid,
            "name": rows.storable(server.name),
            "up": int(up),
            "operation": operation,
            "origin": rows.storable(origin),
            "at": timestamp(at),
            "only_if_newer": int(only_if_newer),
            "keep_since": None if keep_since is None else timestamp(keep_since),
        }
        self._execute(rows.SET_INTENT, parameters, durable=not up)

    def record_run(self, uuid: str, run: Run, *, matchers: bool) -> None:
        """Record that this collection started ``run``, and whether its definition says how readiness shows."""
        parameters = {"uuid": uuid, "container": run.container, "started_at": run.started_at, "matchers": int(matchers)}
        self._execute(rows.RECORD_RUN, parameters)

    def record_match(self, uuid: str, run: Run) -> None:
        """Record that the readiness line of ``run`` was seen. Nothing happens if it is not the server's latest recorded run."""
        self._execute(rows.RECORD_MATCH, {"uuid": uuid, "container": run.container, "started_at": run.started_at})

    def intent(self, uuid: str) -> Intent | None:
        """What the server is meant to be; None if no action of ours ended on it."""
        return self.intents([uuid]).get(uuid)

    def intents(self, uuids: Iterable[str]) -> dict[str, Intent]:
        """The intents of those servers that have one."""
        return {row["uuid"]: rows.intent_of(row) for row in self._select(rows.INTENTS, uuids)}

    def meant_up(self) -> list[Server] | None:
        """The servers whose intent is up, with the names they had, by UUID; None if nobody can tell, which ``warnings`` explains.

        That is so where the journal cannot be read, and where it was damaged and has just been begun anew.
        """
        told = len(self.warnings)
        none: list[Any] = []
        found = self._read(lambda connection: connection.execute(rows.MEANT_UP).fetchall(), none)
        if self._in_trouble or len(self.warnings) > told:
            return None
        return [Server(str(row["uuid"]), str(row["name"])) for row in found]

    def run(self, uuid: str) -> StartedRun | None:
        """The latest run this collection started; None if it never started one."""
        return self._runs_held[uuid] if uuid in self._runs_held else self.runs([uuid]).get(uuid)

    def hold_runs(self, uuids: Sequence[str]) -> None:
        """If this journal is read-only, read the latest runs of all those servers now; ``run`` answers from them from now on.

        A read-only one is opened anew for each question, which is dear for hundreds. Any other stays open, and holds nothing.
        """
        if self._read_only:
            self._runs_held = {**dict.fromkeys(uuids), **self.runs(uuids)}

    def runs(self, uuids: Iterable[str]) -> dict[str, StartedRun]:
        """The latest runs of those servers that were ever started by this collection."""
        return {row["uuid"]: rows.started_run(row) for row in self._select(rows.RUNS, uuids)}

    def has_run(self, uuid: str) -> bool:
        """Whether this collection ever started the server on this node."""
        return self.run(uuid) is not None

    def last_operation(self, uuid: str) -> OperationRow | None:
        """The operation recorded last."""
        return self.last_operations([uuid]).get(uuid)

    def last_operations(self, uuids: Iterable[str]) -> dict[str, OperationRow]:
        """The operation recorded last of each server that has one."""
        found = [rows.operation_row(row) for row in self._select(rows.LAST_OPERATIONS, uuids)]
        return {row.server.uuid: row for row in self._settled(found)}

    def latest_operations(self, uuids: Iterable[str], limit: int) -> dict[str, list[OperationRow]]:
        """At most ``limit`` operations of each server that has any, the one recorded last first."""
        found: dict[str, list[OperationRow]] = {}
        for row in self._settled([rows.operation_row(row) for row in self._select(rows.LATEST_OPERATIONS.format(limit=limit), uuids)]):
            found.setdefault(row.server.uuid, []).append(row)
        return found

    def operations(self, uuid: str, limit: int = 100) -> list[OperationRow]:
        """The server's operations, the one recorded last first."""
        empty: list[Any] = []
        found = self._read(lambda connection: connection.execute(rows.OPERATIONS_OF, (uuid, limit)).fetchall(), empty)
        return self._settled([rows.operation_row(row) for row in found])

    def operations_under(self, key: str, uuid: str, action: PowerAction, *, but: str) -> list[OperationRow]:
        """The server's operations of one kind whose reason is ``key`` or begins with it, the one recorded last first, without ``but``."""
        parameters = {"key": rows.storable(key), "uuid": uuid, "action": action.value, "but": but}
        empty: list[Any] = []
        found = self._read(lambda connection: connection.execute(rows.OPERATIONS_UNDER, parameters).fetchall(), empty)
        return self._settled([rows.operation_row(row) for row in found])

    def write_durably(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Run ``work`` in a transaction that is on the disk when this returns: for what is promised to somebody before it is done.

        Raises `JournalUnusable` and OSError, as no other method does.
        """
        with self._mutex:
            self._file().write(work, durable=True)
            self._in_trouble = False

    def try_to_write(self) -> None:
        """Write what is there already, durably. Raises as `write_durably`."""
        with self._mutex:
            self._file().touch()

    def close(self) -> None:
        """Close the file and give up this process's mark: what it began and did not end reads as interrupted from now on."""
        with self._mutex:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            mark, self._mark = self._mark, None
            if mark is not None:
                try:
                    mark.close()
                except OSError as error:
                    self._warn(f"Cannot remove this process's mark in {self._lock_directory}: {_reason(error)}")

    def _settled(self, found: Sequence[OperationRow]) -> list[OperationRow]:
        """The same operations; those whose process is dead as interrupted."""
        dead = [row.number for row in found if row.under_way and not self._lives(row.mark)]
        if not dead:
            return list(found)
        # The process may have ended its operation, and itself, between the row and the look at its mark.
        again = {row["number"]: rows.operation_row(row) for row in self._select(rows.OPERATIONS_NUMBERED, dead)}
        return [_as_ended(again.get(row.number, row)) if row.number in dead else row for row in found]

    def _lives(self, mark: str) -> bool:
        try:
            return bool(mark) and mark_is_alive(self._lock_directory, mark)
        except OSError:
            # Nobody can tell: what may still be running must not be called dead.
            return True

    def _mark_name(self) -> str:
        with self._mutex:
            if self._mark is None:
                mark = ProcessMark(self._lock_directory, self._group)
                try:
                    mark.open()
                except (OSError, PowerError) as error:
                    self._warn(f"Cannot mark this process in {self._lock_directory}: {_reason(error)}; its actions may read as interrupted")
                    return ""
                self._mark = mark
            return self._mark.name

    def _execute(self, statement: str, parameters: Mapping[str, Any], *, durable: bool = False) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(statement, parameters)

        self._write(work, durable=durable)

    def _select(self, statement: str, keys: Iterable[Any]) -> list[Any]:
        wanted = list(keys)

        def work(connection: sqlite3.Connection) -> list[Any]:
            found: list[Any] = []
            for chunk in _chunks(wanted):
                holes = ",".join("?" * len(chunk))
                found += connection.execute(statement.format(holes=holes), chunk).fetchall()
            return found

        return self._read(work, []) if wanted else []

    def _write(self, work: Callable[[sqlite3.Connection], None], *, durable: bool = False) -> None:
        if self._read_only:
            return
        with self._mutex:
            try:
                self._file().write(work, durable=durable)
                self._in_trouble = False
            except (JournalUnusable, OSError) as error:
                self._trouble(f"Cannot write the journal in {self._state_directory}: {_reason(error)}; what is done is not recorded")

    def _read(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        with self._mutex:
            try:
                found = self._read_without_trace(work) if self._read_only else self._file().read(work)
            except (JournalUnusable, OSError) as error:
                self._trouble(f"Cannot read the journal in {self._state_directory}: {_reason(error)}; what was done before is not known")
                return otherwise
            return otherwise if found is None else found

    def _file(self) -> JournalFile:
        if self._opened is None:
            self._opened = _sqlite_part().JournalFile(self._state_directory, self._group, self._warn)
        return self._opened

    def _read_without_trace(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        found: T | None = _sqlite_part().read_without_trace(self._state_directory, work)
        return found

    def _trouble(self, sentence: str) -> None:
        """Warn once of a journal that cannot be used, however many calls meet it, until it could be written again."""
        if not self._in_trouble:
            self._in_trouble = True
            self._warn(sentence)

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)


def _sqlite_part() -> ModuleType:
    try:
        from . import journal_file
    except ImportError as error:
        raise JournalUnusable(f"this Python has no SQLite ({error})") from error
    return journal_file


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))


def _as_ended(row: OperationRow) -> OperationRow:
    return row.interrupted() if row.under_way else row


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
