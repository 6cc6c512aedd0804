# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of the journal: reads, writes and syncs its file, one thread at a time, and turns faults into warnings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..host.library_faults import reason_of
from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK
from .schema import Connection, JournalUnusable, Work

if TYPE_CHECKING:
    from types import ModuleType

    from .journal_file import JournalFile

T = TypeVar("T")

# SQLite's oldest limit on the parameters of a statement is 999.
_CHUNK = 500

#: Seconds between the starts of two syncs. The first thread syncs at once; threads that come meanwhile share the next sync.
_APART_SECONDS = 0.05


class JournalStore:
    """The journal's file in ``state_directory``, opened on demand. Thread-safe.

    All threads share one connection behind a mutex: SQLite allows one writer anyway, and this queue is faster than polling connections. A
    ``read_only`` store creates and changes no file: methods that write do nothing.
    """

    def __init__(self, state_directory: str, group: str, *, read_only: bool = False) -> None:
        self.warnings: list[str] = []
        self.read_only = read_only
        self.mutex = threading.RLock()
        self._state_directory = state_directory
        self._group = group
        self._opened: JournalFile | None = None
        self._in_trouble = False
        self._reported = 0
        #: Writes, and reads that may have found news: in total, and at the last sync.
        self._uses = 0
        self._synced_uses = 0
        self._group_sync = GroupSync(self._sync_now)

    def write(self, work: Work, *, durable: bool = False) -> bool:
        """Run ``work`` in one transaction; ``durable``: synced. Return False, with a warning, if it cannot be written."""
        if self.read_only:
            return True
        with self.mutex:
            try:
                self._write(work, durable)
            except (JournalUnusable, OSError) as error:
                self._trouble(f"Cannot write the journal in {self._state_directory}: {reason_of(error)}; actions are not recorded")
                return False
        return True

    def write_durably(self, work: Work) -> None:
        """Run ``work`` in a transaction, synced to the disk before the return. Raises `JournalUnusable` and OSError."""
        with self.mutex:
            self._write(work, durable=True)

    def rewrite(self) -> None:
        """Try to write and sync, without a change. Raises `JournalUnusable` and OSError."""
        with self.mutex:
            self._file().touch()

    def read(self, work: Callable[[Connection], T], otherwise: T) -> T:
        """Return the result of ``work``; ``otherwise`` without a journal or, with a warning, if it cannot be read."""
        with self.mutex:
            try:
                return self.read_or_raise(work, otherwise)
            except (JournalUnusable, OSError) as error:
                self._trouble(f"Cannot read the journal in {self._state_directory}: {reason_of(error)}; earlier actions are unknown")
                return otherwise

    def read_or_raise(self, work: Callable[[Connection], T], otherwise: T) -> T:
        """Return the result of ``work``; ``otherwise`` without a journal. Raises `JournalUnusable` and OSError."""
        with self.mutex:
            found: T | None
            found = _sqlite_part().read_without_trace(self._state_directory, work) if self.read_only else self._file().read(work)
            self._uses += self.read_only or self._file().has_news()
        return otherwise if found is None else found

    def execute(self, statement: str, parameters: Mapping[str, Any]) -> bool:
        return self.write(lambda connection: connection.execute(statement, parameters))

    def rows_or_raise(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        return self.read_or_raise(lambda connection: connection.execute(statement, parameters).fetchall(), [])

    def known_rows(self, statement: str, parameters: Mapping[str, Any]) -> list[Any]:
        """As `rows_or_raise`; raises `JournalUnusable` also if the journal was damaged and has just been replaced."""
        with self.mutex:
            known = len(self.warnings)
            found = self.rows_or_raise(statement, parameters)
            if len(self.warnings) > known:
                raise JournalUnusable(self.warnings[-1])
        return found

    def rows(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        return self.read(lambda connection: connection.execute(statement, parameters).fetchall(), [])

    def rows_for(self, statement: str, keys: Iterable[Any]) -> list[Any]:
        """Return the rows of a statement that has ``{holes}`` for any number of keys; see `read`."""
        wanted = list(keys)
        return self.read(lambda connection: list(each_of(connection, statement, wanted)), []) if wanted else []

    def rows_if_known(self, statement: str) -> list[Any] | None:
        return self.read_if_known(lambda connection: connection.execute(statement).fetchall(), [])

    def read_if_known(self, work: Callable[[Connection], T], otherwise: T) -> T | None:
        """As `read`, but None, with a warning, if the journal cannot be read, or was damaged and has just been replaced."""
        with self.mutex:
            known = len(self.warnings)
            found = self.read(work, otherwise)
            return None if self._in_trouble or len(self.warnings) > known else found

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def new_warnings(self) -> list[str]:
        """Return the warnings since the last call. Only for the one thread that logs them."""
        # Without the mutex: an event loop calls this, and a write may hold the mutex for long.
        new = self.warnings[self._reported :]
        self._reported += len(new)
        return new

    def close(self) -> None:
        """Sync and close the file. The next use opens it again."""
        with self.mutex:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
        # After the close: if this is the last process, SQLite has synced the file.
        self.sync()

    def sync(self) -> str:
        """Sync everything that was read or written here to the disk. Call it before this process reports any of it.

        Return a sentence, also a warning, if that fails; else "". Calls within a moment share one sync.
        """
        if self._synced_uses >= self._uses:
            return ""
        try:
            self._group_sync()
        except OSError as error:
            why = f"{reason_of(error)}; after a power cut it may lack what was done"
            fault = f"Cannot sync the journal in {self._state_directory} to the disk: {why}"
            with self.mutex:
                self.warn(fault)
            return fault
        return ""

    def _sync_now(self) -> None:
        uses = self._uses
        _sqlite_part().sync_log(self._state_directory)
        self._synced_uses = uses

    def _file(self) -> JournalFile:
        if self._opened is None:
            self._opened = _sqlite_part().JournalFile(self._state_directory, self._group, self.warn)
        return self._opened

    def _write(self, work: Work, durable: bool) -> None:
        self._file().write(work, durable=durable)
        self._uses += 1
        self._in_trouble = False

    def _trouble(self, sentence: str) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            self.warn(sentence)


class _SharedSync:
    def __init__(self) -> None:
        self.is_over = False
        self.error: BaseException | None = None


class GroupSync:
    """Calls ``sync`` for many threads, as seldom as possible. Thread-safe."""

    def __init__(self, sync: Callable[[], None]) -> None:
        """``sync`` syncs all earlier writes to the disk, or raises OSError. Its calls never overlap."""
        self._sync = sync
        self._turn = threading.Condition()
        self._is_running = False
        self._moment = Deadline(SYSTEM_CLOCK, 0.0)
        #: The next sync. It covers the earlier writes of each thread that joins it.
        self._next = _SharedSync()

    def __call__(self) -> None:
        """Return after a sync that began after this call. Raises the error of that sync."""
        with self._turn:
            mine = self._next
            if not self._is_mine_to_run(mine):
                if mine.error is not None:
                    raise mine.error
                return
            self._next = _SharedSync()
            self._is_running = True
            self._moment = Deadline.after(SYSTEM_CLOCK, _APART_SECONDS)
        try:
            self._sync()
        except BaseException as error:
            mine.error = error
            raise
        finally:
            with self._turn:
                mine.is_over = True
                self._is_running = False
                self._turn.notify_all()

    def _is_mine_to_run(self, mine: _SharedSync) -> bool:
        """Return True once this thread may run its sync; False once another thread has run it."""
        while not mine.is_over:
            is_free = mine is self._next and not self._is_running
            if is_free and self._moment.is_over:
                return True
            self._turn.wait(self._moment.left if is_free else None)
        return False


def _sqlite_part() -> ModuleType:
    try:
        from . import journal_file
    except ImportError as error:
        raise JournalUnusable(f"this Python has no SQLite ({error})") from error
    return journal_file


def each_of(connection: Connection, statement: str, keys: Sequence[Any]) -> Iterator[Any]:
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        yield from connection.execute(statement.format(holes=",".join("?" * len(chunk))), chunk)
