# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries that the journal refused, such as on a full disk. They are tried again, in order."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable

from .schema import Connection, EntryRefused, JournalUnusable, Work
from .store import JournalStore


class LateWrites:
    """The late writes of a journal's ``store``; its length is their number. No write overtakes an earlier one. Safe between threads."""

    def __init__(self, store: JournalStore) -> None:
        #: Called in any thread after a write has become late, or after late ones were tried again.
        self.on_change: Callable[[], None] = lambda: None
        #: Called in any thread with the fault of a late write that was dropped.
        self.on_fault: Callable[[Exception], None] = lambda _fault: None
        self._store = store
        self._writes: list[tuple[str, Work]] = []
        self._numbers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._writes)

    def of(self, uuid: str) -> int:
        return self._numbers[uuid]

    def write(self, uuid: str, work: Work, *, durable: bool = False, later: Work | None = None) -> bool:
        """Write an entry of a server now, or as soon as possible. Return False if it is late.

        ``later`` is the work of a late entry; default: ``work``.
        """
        with self._store.mutex:
            if not self._writes and self._store.write(work, durable=durable):
                return True
            self.add(uuid, later or work)
            # A write that failed just now waits for the next try.
            if len(self._writes) > 1:
                with contextlib.suppress(JournalUnusable, OSError):
                    self.write_all()
            is_written = not self._writes
        self.on_change()
        return is_written

    def add(self, uuid: str, work: Work) -> None:
        """Have `write_all` write it, after the earlier ones."""
        with self._store.mutex:
            self._writes.append((uuid, work))
            self._numbers[uuid] += 1

    def write_all(self) -> None:
        """Write all late entries to the disk, in order. Raises `JournalUnusable` and OSError; then they stay. If an entry is faulty, it
        writes them one by one and drops the faulty ones, which would block all others."""
        with self._store.mutex:
            count = len(self._writes)
            while self._writes:
                try:
                    self._write_first(count)
                except Exception as error:
                    if isinstance(error, (JournalUnusable, OSError)) and not isinstance(error, EntryRefused):
                        raise
                    if count == 1:
                        self._forget_first(1)
                        self.on_fault(error)
                    count = 1

    def _write_first(self, count: int) -> None:
        first = self._writes[:count]

        def work(connection: Connection) -> None:
            for _uuid, each in first:
                each(connection)

        self._store.write_durably(work)
        self._forget_first(count)

    def _forget_first(self, count: int) -> None:
        self._numbers -= Counter(uuid for uuid, _work in self._writes[:count])
        del self._writes[:count]
