# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema of the journal: its tables, its number, and its migrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..model.schema import read_fields

if TYPE_CHECKING:
    import sqlite3

    Connection = sqlite3.Connection
else:
    # Some Pythons have no SQLite. They do all but the journal.
    Connection = Any

T = TypeVar("T")
#: Statements on the journal, as a rule in one transaction.
Work = Callable[[Connection], object]

#: Stored in SQLite's ``user_version``. It grows with every change of `TABLES`.
SCHEMA = 1

#: Each step migrates the schema with its number to the next number. All steps run in one transaction.
MIGRATIONS: Mapping[int, Work] = {}

KEPT_OPERATIONS, KEPT_RUNS = 100, 100

MSG_LIMIT = 2000

#: An operation that is in progress, was done or failed. The last such row names the last actor on a server.
TELLS = "(outcome IS NULL OR outcome NOT IN ('unchanged', 'skipped'))"

#: For the node: an empty uuid. The first freeze makes the table in an older journal. Earlier versions ignore it, so `SCHEMA` is the same.
FREEZES = """CREATE TABLE IF NOT EXISTS freezes (
    uuid TEXT PRIMARY KEY, name TEXT NOT NULL, until TEXT NOT NULL, at TEXT NOT NULL, origin TEXT NOT NULL, reason TEXT NOT NULL,
    supervisor INTEGER NOT NULL, boot TEXT NOT NULL, ends_at REAL NOT NULL)"""

#: The last proof of each server; see `Proof`. The first proof makes the table in an older journal, as for freezes.
PROVING = """CREATE TABLE IF NOT EXISTS proving (
    uuid TEXT PRIMARY KEY, operation TEXT NOT NULL, at TEXT NOT NULL, ended TEXT NOT NULL, proof TEXT NOT NULL,
    earlier TEXT NOT NULL DEFAULT '')"""

TABLES = (
    """CREATE TABLE operations (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, uuid TEXT NOT NULL, name TEXT NOT NULL, action TEXT NOT NULL,
        origin TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '', mark TEXT NOT NULL DEFAULT '',
        requested_at TEXT NOT NULL, accepted_at TEXT NOT NULL, begun_at TEXT, ended_at TEXT,
        outcome TEXT, code TEXT, msg TEXT, changed INTEGER, state_before TEXT, state TEXT,
        stop_how TEXT, forced INTEGER, stop_seconds REAL, waited_seconds REAL, phases TEXT)""",
    "CREATE INDEX operations_of_server ON operations (uuid, number)",
    # Ten times faster if a play asks for the same state every few minutes.
    f"CREATE INDEX operations_that_tell ON operations (uuid, number) WHERE {TELLS}",
    """CREATE TABLE intents (
        uuid TEXT PRIMARY KEY, name TEXT NOT NULL, up INTEGER NOT NULL, operation TEXT NOT NULL, origin TEXT NOT NULL, at TEXT NOT NULL)""",
    """CREATE TABLE runs (
        uuid TEXT PRIMARY KEY, container TEXT NOT NULL, started_at TEXT NOT NULL, generation INTEGER NOT NULL,
        engine TEXT NOT NULL, spoilt INTEGER NOT NULL DEFAULT 0, console_stop INTEGER NOT NULL DEFAULT 0,
        answers INTEGER NOT NULL, stop_signal INTEGER, matchers INTEGER, matched INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE ended_runs (
        number INTEGER PRIMARY KEY, uuid TEXT NOT NULL, name TEXT NOT NULL, container TEXT NOT NULL, started_at TEXT NOT NULL,
        verdict TEXT NOT NULL, ended_at TEXT NOT NULL DEFAULT '', exit_code INTEGER, oom_killed INTEGER NOT NULL DEFAULT 0, seconds REAL,
        log TEXT NOT NULL DEFAULT '[]', operation TEXT NOT NULL DEFAULT '', origin TEXT NOT NULL DEFAULT '', at TEXT NOT NULL DEFAULT '',
        due INTEGER NOT NULL DEFAULT 0, consecutive_crashes INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
        boot TEXT NOT NULL DEFAULT '', next_at REAL NOT NULL DEFAULT 0, attempt TEXT NOT NULL DEFAULT '',
        code TEXT NOT NULL DEFAULT '', msg TEXT NOT NULL DEFAULT '', next_container TEXT NOT NULL DEFAULT '',
        next_started_at TEXT NOT NULL DEFAULT '', definition TEXT NOT NULL DEFAULT '',
        seen TEXT NOT NULL DEFAULT '', generation INTEGER, UNIQUE (container, started_at))""",
    "CREATE INDEX ended_runs_of_server ON ended_runs (uuid, number)",
    # Each look at all servers counts crashes. The index avoids reading the rows with their logs.
    "CREATE INDEX ended_runs_by_verdict ON ended_runs (uuid, verdict, at)",
    # Counts by verdict. They stay when rows are pruned.
    "CREATE TABLE ended_totals (verdict TEXT PRIMARY KEY, runs INTEGER NOT NULL)",
    "CREATE TABLE supervisor (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE acceptances (
        id TEXT PRIMARY KEY, wait_seconds INTEGER NOT NULL, deadline TEXT NOT NULL, generation INTEGER, boot TEXT NOT NULL,
        boot_seconds REAL NOT NULL, players TEXT, wait_for TEXT NOT NULL, wait_timeout INTEGER NOT NULL)""",
    FREEZES,
    PROVING,
    """CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, type TEXT NOT NULL, uuid TEXT NOT NULL, name TEXT NOT NULL,
        at TEXT NOT NULL, data TEXT NOT NULL)""",
    "CREATE INDEX outbox_of_server ON outbox (uuid, number)",
    # The id of the open outbox, and the ages of its events.
    "CREATE TABLE outbox_about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE receivers (
        name TEXT PRIMARY KEY, outbox TEXT NOT NULL, cursor INTEGER NOT NULL, lanes TEXT NOT NULL, tries INTEGER NOT NULL,
        next_at REAL NOT NULL, is_off INTEGER NOT NULL, failing_since TEXT NOT NULL, error TEXT NOT NULL, dropped INTEGER NOT NULL,
        unreported INTEGER NOT NULL, sent INTEGER NOT NULL, sent_at TEXT NOT NULL)""",
)


class JournalUnusable(Exception):
    """The journal cannot be used now. The text is the reason."""


class EntryRefused(JournalUnusable):
    """The journal works, but it cannot have this entry, now or later."""


def storable(value: str) -> str:
    """Return text that SQLite can store: undecodable bytes of a command line or the environment are replaced."""
    return value.encode("utf-8", "replace").decode("utf-8")


def shortened(msg: str) -> str:
    return storable(msg)[:MSG_LIMIT]


def insertion(table: str, columns: Sequence[str]) -> str:
    """Return the statement that inserts a row of named parameters."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)})"


def replacing(columns: Sequence[str]) -> str:
    """Return the part of an upsert that replaces the values of columns."""
    return f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in columns)}"


def text(value: object) -> str:
    """Return a value of a row as text; "" for NULL."""
    return "" if value is None else str(value)


#: Larger numbers in a row count as damage.
_MOST = 2**53


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and abs(value) < _MOST else None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and abs(value) < _MOST else None


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "str": text,
    "bool": bool,
    "bool | None": lambda value: None if value is None else bool(value),
    "int": lambda value: _number(value) or 0,
    "int | None": _number,
    "float": lambda value: _real(value) or 0.0,
    "float | None": _real,
}


def value_of(kind: type[T], row: Mapping[str, Any], **given: Any) -> T:
    """Return a dataclass with ``given`` fields and those of a row, whose values may have any type."""
    return read_fields(kind, _READERS, row.__getitem__, **given)
