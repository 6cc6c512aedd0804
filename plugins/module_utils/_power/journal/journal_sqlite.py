# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQLite and the lock file for the journal: connections, transactions, schema numbers, and the meaning of errors."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..host.own_files import open_or_make, open_own
from ..model.cancellation import Deadline, wait_until
from ..model.clock import SYSTEM_CLOCK
from . import schema
from .schema import JournalUnusable, Work

_NAME = "journal.sqlite"

#: Seconds that a transaction waits for its turn, normally and after a failed wait.
PATIENCE = 5.0
SHORT_PATIENCE = 0.1

_ATTEMPTS = 3
_TRY_SECONDS = 0.005


def path_in(state_directory: str) -> str:
    return os.path.join(os.path.abspath(state_directory), _NAME)


@contextmanager
def exclusive_guard(path: str, group: str, seconds: float) -> Iterator[None]:
    """Hold the lock file of the journal ``path`` alone; create it and its directory. Raises JournalUnusable after ``seconds``, OSError."""
    with os.fdopen(open_or_make(_guard_path(path), os.O_RDWR, group), "rb") as guard:
        if not _flock(guard.fileno(), fcntl.LOCK_EX, seconds):
            raise JournalUnusable("its lock file is held by another process")
        yield


@contextmanager
def shared_guard(path: str) -> Iterator[None]:
    """Keep writers from making, replacing or closing the file. Without the lock file, or if its holder is stuck, continue."""
    try:
        guard = os.fdopen(open_own(_guard_path(path), os.O_RDONLY), "rb")
    except OSError:
        yield
        return
    with guard:
        _flock(guard.fileno(), fcntl.LOCK_SH, 1.0)
        yield


def _guard_path(path: str) -> str:
    return os.path.join(os.path.dirname(path), "journal.lock")


def _flock(descriptor: int, kind: int, seconds: float) -> bool:
    def is_held() -> bool:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    return wait_until(is_held, Deadline.after(SYSTEM_CLOCK, seconds), every=_TRY_SECONDS)


def attempts() -> Iterator[bool]:
    """Yield for each attempt whether it is the last."""
    return (turn == _ATTEMPTS for turn in range(1, _ATTEMPTS + 1))


def connect(path: str, options: str, patience: float) -> sqlite3.Connection:
    """Return a connection without implicit transactions. ``options`` are URI parameters; ``patience`` is the busy timeout in seconds."""
    # Without a mode SQLite would create the file with the permissions of the umask.
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(f"file://{escaped}?{options}", uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def transact(connection: sqlite3.Connection, work: Work) -> None:
    """Run ``work`` in a transaction that holds the write lock from the beginning. If it raises, nothing changes."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        work(connection)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file, or migrate an earlier schema, and write its number, in a transaction. Raises `JournalUnusable`."""
    found = schema_of(connection)
    refuse_other(found)
    if found == 0:
        for statement in schema.TABLES:
            connection.execute(statement)
    else:
        for number in range(found, schema.SCHEMA):
            schema.MIGRATIONS[number](connection)
    connection.execute(f"PRAGMA user_version = {schema.SCHEMA}")


def schema_of(connection: sqlite3.Connection) -> int:
    """Return the schema number; 0 for a file without tables."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_other(number: int) -> None:
    """Raise `JournalUnusable` for the schema of another version, unless it can be migrated."""
    if number > schema.SCHEMA:
        raise JournalUnusable(
            f"its schema {number} is newer than {schema.SCHEMA}, the newest this version of fleet.power knows; update fleet.power"
        )
    if number != 0 and any(each not in schema.MIGRATIONS for each in range(number, schema.SCHEMA)):
        raise JournalUnusable(f"its schema {number} is older than {schema.SCHEMA}, and fleet.power cannot migrate it; move the file away")


def is_damage(error: sqlite3.Error) -> bool:
    """Tell if SQLite reports a damaged file, or one that is no database."""
    # Exactly this class: Python gives SQLITE_CORRUPT and SQLITE_NOTADB no subclass, and error codes exist only since 3.11.
    return error.__class__ is sqlite3.DatabaseError


def is_busy(error: sqlite3.Error) -> bool:
    """Tell if SQLite's busy timeout is over."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def status_of(path: str) -> os.stat_result | None:
    """Return the status of ``path`` without following links; None if nothing is there."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def identity_of(path: str) -> tuple[int, int] | None:
    """Return device and inode of ``path``; None if nothing is there."""
    status = status_of(path)
    return None if status is None else (status.st_dev, status.st_ino)


def unmoved(path: str, before: os.stat_result) -> bool:
    """Tell if the file at ``path`` is that of ``before`` and unchanged since."""
    now = status_of(path)
    return now is not None and (now.st_ino, now.st_size, now.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
