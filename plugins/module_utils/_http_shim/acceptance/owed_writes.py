# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is owed to the journal: writes that could not be done when they were due, to be done later, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..._power.journal.journal_rows import JournalUnusable
from ..._power.journal.store import JournalStore

if TYPE_CHECKING:
    import sqlite3

#: What is written to the journal in one go.
Write = Callable[["sqlite3.Connection"], None]

#: Writes that may be owed to the journal at a time; beyond that the oldest is given up.
_MOST_OWED = 10_000


class OwedWrites:
    """The writes that are owed to a journal's ``store``; its length is their number. Threads may share it."""

    def __init__(self, store: JournalStore) -> None:
        #: Called when another write is owed since it could not be done, in whatever thread that happened.
        self.on_more: Callable[[], None] = _nobody
        self._store = store
        self._owed: deque[Write] = deque(maxlen=_MOST_OWED)

    def __len__(self) -> int:
        return len(self._owed)

    def write(self, work: Write, *, durable: bool = False) -> None:
        """Write now, or as soon as that can be done."""
        with self._store.mutex:
            if self._store.write(work, durable=durable):
                return
            self._owed.append(work)
        self.on_more()

    def add(self, work: Write) -> None:
        """Have it written by `settle`, after what is owed already."""
        with self._store.mutex:
            self._owed.append(work)

    def settle(self) -> None:
        """Write all that is owed; it is on the disk when this returns. Raises `JournalUnusable`, OSError: then it is still owed."""
        with self._store.mutex:
            owed = list(self._owed)

            def work(connection: sqlite3.Connection) -> None:
                for each in owed:
                    each(connection)

            try:
                if owed:
                    self._store.write_durably(work)
            except (JournalUnusable, OSError):
                raise
            except Exception:
                # A fault of ours would come again for ever, and keep all else from being written.
                self._owed.clear()
                raise
            self._owed.clear()


def _nobody() -> None:
    """Nobody is told."""
