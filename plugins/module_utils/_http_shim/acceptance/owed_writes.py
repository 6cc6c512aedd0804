# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is owed to the journal: writes that could not be done when they were due, to be done later, in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..._power.journal.schema import JournalUnusable
from ..._power.journal.store import JournalStore

if TYPE_CHECKING:
    import sqlite3

#: What is written to the journal in one go.
Write = Callable[["sqlite3.Connection"], None]

#: Writes of one server that may be owed when another of its actions is accepted. Those of accepted actions go beyond it: none is lost.
MOST_OWED = 200


class OwedWrites:
    """The writes that are owed to a journal's ``store``; its length is their number. Threads may share it."""

    def __init__(self, store: JournalStore) -> None:
        #: Called when another write is owed since it could not be done, in whatever thread that happened.
        self.on_more: Callable[[], None] = _nobody
        self._store = store
        #: Each with the UUID of its server.
        self._owed: list[tuple[str, Write]] = []
        self._numbers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._owed)

    def of(self, uuid: str) -> int:
        """Return how many are owed of a server."""
        return self._numbers[uuid]

    def write(self, uuid: str, work: Write, *, durable: bool = False) -> None:
        """Write something of a server now, or as soon as that can be done."""
        with self._store.mutex:
            if self._store.write(work, durable=durable):
                return
            self.add(uuid, work)
        self.on_more()

    def add(self, uuid: str, work: Write) -> None:
        """Have it written by `settle`, after what is owed already."""
        with self._store.mutex:
            self._owed.append((uuid, work))
            self._numbers[uuid] += 1

    def settle(self) -> None:
        """Write all that is owed; it is on the disk when this returns. Raises `JournalUnusable`, OSError: then it is still owed."""
        with self._store.mutex:
            try:
                self._write_first(len(self._owed))
            except (JournalUnusable, OSError):
                raise
            except Exception:
                self._settle_each()

    def _settle_each(self) -> None:
        """Write one by one, and raise the last fault of ours: it would come again for ever, and keep all else from being written."""
        fault: Exception | None = None
        while self._owed:
            try:
                self._write_first(1)
            except (JournalUnusable, OSError):
                raise
            except Exception as error:
                fault = error
                self._forget_first(1)
        if fault is not None:
            raise fault

    def _write_first(self, count: int) -> None:
        first = self._owed[:count]

        def work(connection: sqlite3.Connection) -> None:
            for _uuid, each in first:
                each(connection)

        if first:
            self._store.write_durably(work)
            self._forget_first(count)

    def _forget_first(self, count: int) -> None:
        self._numbers -= Counter(uuid for uuid, _work in self._owed[:count])
        del self._owed[:count]


def _nobody() -> None:
    """Nobody is told."""
