# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal as a process has it that accepts actions: what it promised, began or ended is written, if need be later."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ..._power.journal import journal_rows as rows
from ..._power.journal.journal import Journal
from ..._power.journal.journal_rows import JournalUnusable, OperationRow
from ..._power.model.clock import Clock
from ..._power.model.errors import InterruptedBySignal
from ..._power.model.model import PowerAction, Result, Server

if TYPE_CHECKING:
    import sqlite3

#: What is written to the journal in one go.
Write = Callable[["sqlite3.Connection"], None]

#: Writes that may be owed to the journal at a time.
_MOST_OWED = 10_000
_OPERATION_OF = rows.OPERATIONS_NUMBERED.format(holes="SELECT number FROM operations WHERE id = ? AND uuid = ?")


class BufferedJournal(Journal):
    """A journal in which what was accepted stays accepted where it was interrupted before it had begun: the next process runs it.

    What has begun or ended must not read as accepted: where that cannot be written, it is owed, and written by `settle`. Nor may it after
    a power loss, so a begin is on the disk before anything is done.
    """

    _begins_durably = True

    def __init__(self, state_directory: str, lock_directory: str, group: str, clock: Clock) -> None:
        super().__init__(state_directory, lock_directory, group, clock)
        #: Called in whatever thread could not write.
        self.on_owed: Callable[[], None] = _nobody
        self._owed: deque[Write] = deque(maxlen=_MOST_OWED)
        self._writes_due = False
        self._failed = False

    @property
    def owes(self) -> bool:
        """Whether anything is still to be written."""
        return bool(self._owed)

    def begin(self, *, operation: str, server: Server, action: PowerAction, origin: str, reason: str, requested_at: datetime) -> None:
        """Record that ``operation`` has begun, now or as soon as that can be written."""
        with self._due():
            super().begin(operation=operation, server=server, action=action, origin=origin, reason=reason, requested_at=requested_at)

    def end(self, result: Result, phases: Sequence[tuple[str, float]] = (), *, origin: str = "", reason: str = "") -> None:
        """Record how an operation ended, now or as soon as that can be written, unless it never began because of a signal."""
        if not was_put_off(result):
            with self._due():
                super().end(result, phases, origin=origin, reason=reason)

    def enqueue(self, write: Write) -> None:
        """Have it written by `settle`, after what is owed already. Beyond a great many the oldest is given up."""
        with self._mutex:
            self._owed.append(write)

    def settle(self) -> None:
        """Write all that is owed; it is on the disk when this returns. Raises `JournalUnusable`, OSError: then it is still owed."""
        with self._mutex:
            owed = list(self._owed)

            def work(connection: sqlite3.Connection) -> None:
                for each in owed:
                    each(connection)

            try:
                if owed:
                    self.write_durably(work)
            except (JournalUnusable, OSError):
                raise
            except Exception:
                # A fault of ours would come again for ever, and keep all else from being written.
                self._owed.clear()
                raise
            self._owed.clear()

    def recorded(self, uuid: str, limit: int) -> list[OperationRow]:
        """As `operations`, but raises `JournalUnusable` or OSError where the journal cannot be read."""
        return self._rows(rows.OPERATIONS_OF, (uuid, limit))

    def recorded_one(self, uuid: str, operation: str) -> OperationRow | None:
        """One operation of a server, None if there is none. Raises `JournalUnusable`, OSError."""
        found = self._rows(_OPERATION_OF, (operation, uuid))
        return found[0] if found else None

    def _rows(self, statement: str, parameters: tuple[object, ...]) -> list[OperationRow]:
        with self._mutex:
            found = self._file().read(lambda connection: connection.execute(statement, parameters).fetchall())
        return self._settled([rows.operation_row(row) for row in found or ()])

    @contextlib.contextmanager
    def _due(self) -> Iterator[None]:
        with self._mutex:
            self._writes_due, self._failed = True, False
            try:
                yield
            finally:
                self._writes_due = False
            failed = self._failed
        if failed:
            self.on_owed()

    def _write(self, work: Write, *, durable: bool = False) -> None:
        with self._mutex:
            self._failed = False
            super()._write(work, durable=durable)
            if self._failed and self._writes_due:
                self._owed.append(work)

    def _trouble(self, sentence: str) -> None:
        self._failed = True
        super()._trouble(sentence)


def _nobody() -> None:
    """Nobody is told."""


def was_put_off(result: Result) -> bool:
    """Whether an action ended only because this process ends, and nothing was done."""
    return result.code == InterruptedBySignal.code
