# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal as a process has it that accepts actions: what it promised, began or ended is written, if need be later."""

from __future__ import annotations

from ..._power.journal.journal import Journal
from ..._power.journal.mark import ProcessMarks
from ..._power.journal.operations import OPERATIONS_NUMBERED, OPERATIONS_OF, OperationRow, RecordedOperations, not_durable
from ..._power.journal.store import JournalStore
from ..._power.model.clock import Clock
from ..._power.model.errors import InterruptedBySignal
from ..._power.model.result import Result
from .owed_writes import OwedWrites, Write

_OPERATION_OF = OPERATIONS_NUMBERED.format(holes="SELECT number FROM operations WHERE id = ? AND uuid = ?")


class BufferedJournal(Journal):
    """A journal in which what was accepted stays accepted where it was interrupted before it had begun: the next process runs it.

    What has begun or ended must not read as accepted: where that cannot be written, it is ``owed``. Nor may it after a power loss, so a
    begin is on the disk before anything is done.
    """

    operations: AcceptedOperations

    def __init__(self, state_directory: str, lock_directory: str, group: str, clock: Clock) -> None:
        super().__init__(state_directory, lock_directory, group, clock)
        self.owed = OwedWrites(self.store)
        self.operations = AcceptedOperations(self.store, self.marks, clock, self.owed)


class AcceptedOperations(RecordedOperations):
    """Operations whose begin and end are owed where they cannot be written."""

    def __init__(self, store: JournalStore, marks: ProcessMarks, clock: Clock, owed: OwedWrites) -> None:
        super().__init__(store, marks, clock)
        self._owed = owed

    def end(self, result: Result, *, origin: str = "", reason: str = "", is_told: bool = True) -> None:
        """Record how an operation ended, unless it never began because of a signal."""
        if not was_put_off(result):
            super().end(result, origin=origin, reason=reason, is_told=is_told)

    def recorded(self, uuid: str, limit: int) -> list[OperationRow]:
        """As `of`, on the disk, so that they may be told. Raises `JournalUnusable` or OSError where the journal cannot be read."""
        return self._rows_or_raise(OPERATIONS_OF, (uuid, limit))

    def recorded_one(self, uuid: str, operation: str) -> OperationRow | None:
        """Return one operation of a server, as `recorded` does; None if there is none. Raises `JournalUnusable`, OSError."""
        found = self._rows_or_raise(_OPERATION_OF, (operation, uuid))
        return found[0] if found else None

    def _rows_or_raise(self, statement: str, parameters: tuple[object, ...]) -> list[OperationRow]:
        found = self._settled(self._store.rows_or_raise(statement, parameters))
        return [not_durable(row) if row.outcome else row for row in found] if self._store.sync() else found

    def _write_begin(self, uuid: str, work: Write) -> None:
        self._owed.write(uuid, work, durable=True)

    def _write_end(self, uuid: str, work: Write) -> None:
        self._owed.write(uuid, work)


def was_put_off(result: Result) -> bool:
    """Tell if an action ended only because this process ends, and nothing was done."""
    return result.code == InterruptedBySignal.code
