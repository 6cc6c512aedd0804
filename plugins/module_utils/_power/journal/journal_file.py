# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal's SQLite file: how it is made, opened, written, read and, after damage, replaced.

A lock file of our own (flock) covers cases that SQLite does not: two processes make the file, or a process replaces a damaged one. The
last writer may delete the write-ahead log while a read-only reader looks for it. We open the database itself only to create it: closing a
descriptor of it would drop SQLite's POSIX locks in this process.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar

from ..host.own_files import open_own
from . import schema
from .journal_sqlite import (
    PATIENCE,
    SHORT_PATIENCE,
    attempts,
    bring_up_to_date,
    connect,
    exclusive_guard,
    identity_of,
    is_busy,
    is_damage,
    path_in,
    refuse_other,
    schema_of,
    shared_guard,
    status_of,
    transact,
    unmoved,
)
from .schema import EntryRefused, JournalUnusable, Work

T = TypeVar("T")

#: Faults of a row or a value, and not of the disk or the file.
_OF_THE_ENTRY = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)

# Serializes opening, creating and closing within this process (see the module's docstring on descriptors).
_OPENING = threading.Lock()


class JournalFile:
    """The file in ``state_directory``. Not thread-safe. ``report`` gets a sentence after a damaged file was replaced."""

    def __init__(self, state_directory: str, group: str, report: Callable[[str], None]) -> None:
        self.path = path_in(state_directory)
        self._directory = os.path.dirname(self.path)
        self._group = group
        self._report = report
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._patience = PATIENCE
        self._synchronous = "NORMAL"
        self._version: int | None = None
        self._set_now: dict[str, str] = {}

    def write(self, work: Work, *, durable: bool = False) -> None:
        """Run ``work`` in one transaction, again after a replacement; ``durable``: synced. Raises JournalUnusable, OSError."""
        for last in attempts():
            try:
                connection = self._open()
                # Inside a transaction the setting would apply only to the next one.
                self._set(connection, "synchronous", "FULL" if durable and self._synchronous == "NORMAL" else self._synchronous)
                transact(connection, work)
                self._patience = PATIENCE
                if self._in_place():
                    return
                self._drop()
            except sqlite3.Error as error:
                self._recover(error, last)
        raise JournalUnusable("it is replaced again and again")

    def touch(self) -> None:
        """Try to write, without a change. Raises as `write`."""
        self.write(bring_up_to_date, durable=True)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return the result of ``work``; None if there is no journal yet. Raises JournalUnusable, OSError."""
        for last in attempts():
            try:
                if self._connection is not None and not self._in_place():
                    self._drop()
                if self._connection is None and status_of(self.path) is None:
                    return None
                return work(self._open())
            except sqlite3.Error as error:
                if self._in_place() and not is_damage(error) and not is_busy(error) and not _has_unread_log(self.path):
                    # On a full or read-only disk SQLite cannot create its files beside the database.
                    return read_without_trace(self._directory, work)
                self._recover(error, last)
        return None

    def has_news(self) -> bool:
        """Tell if another process may have written since the last call."""
        if self._connection is None:
            return False
        try:
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return True
        before, self._version = self._version, version
        return bool(before != version)

    def close(self) -> None:
        """Close the file. The last process to close it merges the write-ahead log and deletes it."""
        if self._connection is not None and self._in_place():
            # Under the lock: the log must stay while a read-only reader looks for it, and SQLite must not delete the log of a replacement.
            # A stuck lock holder is not waited for.
            with _OPENING, suppress(OSError, JournalUnusable), exclusive_guard(self.path, self._group, 0.25):
                self._drop()
        self._drop()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            with _OPENING:
                self._connection = self._attach()
                if self._connection is None:
                    self._establish(suspect=False)
                    self._connection = self._attach()
            if self._connection is None:
                raise JournalUnusable("it is replaced again and again")
        self._set(self._connection, "busy_timeout", str(int(self._patience * 1000)))
        return self._connection

    def _set(self, connection: sqlite3.Connection, name: str, value: str) -> None:
        """Set a value of the connection if it differs: each call costs as much as a write."""
        if self._set_now.get(name) != value:
            connection.execute(f"PRAGMA {name} = {value}")
            self._set_now[name] = value

    def _attach(self) -> sqlite3.Connection | None:
        """Return a connection to the file; None if it is no journal yet, or has an earlier schema.

        Holds the lock up to the first look into the file: SQLite opens the log by name, and must not open that of a replacement.
        """
        with shared_guard(self.path):
            status = status_of(self.path)
            if status is None or not stat.S_ISREG(status.st_mode) or status.st_size == 0:
                return None
            self._identity = (status.st_dev, status.st_ino)
            connection = connect(self.path, "mode=rw", self._patience)
            try:
                found = schema_of(connection)
                refuse_other(found)
                # Without a log `sync_log` has nothing to sync, so each transaction syncs at its end.
                self._synchronous = "NORMAL" if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal" else "EXTRA"
                # SQLite needs it to undo one statement. A temporary file would cost more than the statement.
                connection.execute("PRAGMA temp_store = MEMORY")
            except (sqlite3.Error, JournalUnusable):
                connection.close()
                raise
            if found == schema.SCHEMA:
                return connection
            connection.close()
            return None

    def _in_place(self) -> bool:
        try:
            return self._identity is not None and self._identity == identity_of(self.path)
        except OSError:
            return False

    def _drop(self) -> None:
        connection, self._connection, self._set_now, self._version = self._connection, None, {}, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _recover(self, error: sqlite3.Error, last: bool) -> None:
        if is_busy(error):
            self._patience = SHORT_PATIENCE
        moved = not self._in_place()
        if last or not (moved or is_damage(error)):
            kind = EntryRefused if isinstance(error, _OF_THE_ENTRY) else JournalUnusable
            raise kind(str(error)) from error
        self.close()
        if moved:
            return
        try:
            with _OPENING:
                self._establish(suspect=True)
        except sqlite3.Error as again:
            raise JournalUnusable(str(again)) from again

    def _establish(self, *, suspect: bool) -> None:
        # Only the first call waits long for a stuck lock holder.
        patience, self._patience = self._patience, SHORT_PATIENCE
        with exclusive_guard(self.path, self._group, patience):
            self._patience = patience
            status = status_of(self.path)
            if status is not None and stat.S_ISLNK(status.st_mode):
                raise OSError(errno.ELOOP, "it is a symbolic link", self.path)
            if status is not None and (not stat.S_ISREG(status.st_mode) or (suspect and _damaged(self.path))):
                self._set_aside()
                status = None
            if status is None:
                os.close(open_own(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            with closing(connect(self.path, "mode=rw", PATIENCE)) as connection:
                if schema_of(connection) == 0:
                    # Some file systems do not support it. Then the journal is slower.
                    connection.execute("PRAGMA journal_mode = WAL")
                if schema_of(connection) != schema.SCHEMA:
                    transact(connection, bring_up_to_date)

    def _set_aside(self) -> None:
        aside = f"{self.path}.damaged-{uuid.uuid4().hex[:12]}"
        os.rename(self.path, aside)
        for suffix in ("-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.rename(self.path + suffix, aside + suffix)
        self._report(f"The journal {self.path} was damaged: it was renamed to {os.path.basename(aside)} and a new one was begun")


def read_without_trace(state_directory: str, work: Callable[[sqlite3.Connection], T]) -> T | None:
    """Return the result of ``work`` on the journal of ``state_directory``, without a change to any file; None without a journal.

    Raises JournalUnusable, OSError. It reads no write-ahead log without its index, such as that of a backup: SQLite would make the index.
    """
    path = path_in(state_directory)
    for last in attempts():
        before = status_of(path)
        if before is None or before.st_size == 0:
            return None
        if not stat.S_ISREG(before.st_mode):
            raise JournalUnusable("it is not a regular file")
        with shared_guard(path):
            # With an empty log, all of it is in the database. On a full disk, SQLite cannot open such a log.
            logged = _has_log(path) and os.path.exists(path + "-shm")
            try:
                found = _read_once(path, "mode=ro" if logged else "mode=ro&immutable=1", work)
            except sqlite3.Error as error:
                if last or unmoved(path, before):
                    raise JournalUnusable(str(error)) from error
                continue
        # SQLite reads an immutable file without locks, so a concurrent write makes the result unusable.
        if logged or last or unmoved(path, before):
            return found
    return None


def _has_log(path: str) -> bool:
    with suppress(FileNotFoundError):
        return os.stat(path + "-wal").st_size > 0
    return False


def _has_unread_log(path: str) -> bool:
    """Tell if the newest transactions cannot be read without a change to any file."""
    return _has_log(path) and not os.path.exists(path + "-shm")


def sync_log(state_directory: str) -> None:
    """Sync every transaction of the journal in ``state_directory`` to the disk, also of other processes. Raises OSError.

    Only the log needs this. SQLite syncs the log before it copies from it, the database before it reuses or removes the log, and the
    directory with the first header of a log. SQLite has no locks on the log, so its descriptor may close at any time.
    """
    path = f"{path_in(state_directory)}-wal"
    with suppress(FileNotFoundError, NotADirectoryError), os.fdopen(open_own(path, os.O_RDONLY), "rb") as log:
        os.fdatasync(log.fileno())


def _read_once(path: str, options: str, work: Callable[[sqlite3.Connection], T]) -> T | None:
    with closing(connect(path, options, SHORT_PATIENCE)) as connection:
        found = schema_of(connection)
        refuse_other(found)
        if 0 < found < schema.SCHEMA:
            raise JournalUnusable(f"its schema {found} is older than {schema.SCHEMA}; the next power action on this node migrates it")
        return None if found == 0 else work(connection)


def _damaged(path: str) -> bool:
    with closing(connect(path, "mode=rw", PATIENCE)) as connection:
        try:
            # A newer version may use features that our SQLite cannot read.
            if schema_of(connection) > schema.SCHEMA:
                return False
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok")
        except sqlite3.Error as error:
            if is_damage(error):
                return True
            raise
