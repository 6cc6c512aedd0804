# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outbox in the journal: events that wait to be sent, and that are read from a cursor.

An event is written in the transaction of what it tells, where there is an outbox: the process that sends makes one, and a node on which
none was ever installed has none. Numbers grow by one and are never used again, so that whoever reads on sees how many have gone meanwhile.
Where there are too many, the server with the most loses its oldest: a server's events push out no other server's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..events.event import Event, EventType
from ..model.server import Server
from .journal_rows import storable
from .store import JournalStore, chunks, has_table

if TYPE_CHECKING:
    import sqlite3

#: How many events are kept, sent or not.
KEPT_EVENTS = 10_000

_TABLE = "outbox"
_CREATE = (
    """CREATE TABLE IF NOT EXISTS outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, type TEXT NOT NULL, uuid TEXT NOT NULL, name TEXT NOT NULL,
        at TEXT NOT NULL, data TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS outbox_of_server ON outbox (uuid, number)",
    # Which outbox it is: one that was begun anew counts from one again. And how old its events are.
    "CREATE TABLE IF NOT EXISTS outbox_about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
_DROP = ("DROP TABLE IF EXISTS outbox", "DROP TABLE IF EXISTS outbox_about")
_NAME_IT = "INSERT INTO outbox_about (name, value) VALUES ('id', ?) ON CONFLICT (name) DO NOTHING"
_ID = "SELECT value FROM outbox_about WHERE name = 'id'"
_AGES = "SELECT value FROM outbox_about WHERE name = 'ages'"
_NOTE_AGES = "INSERT INTO outbox_about (name, value) VALUES ('ages', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_PUT = "INSERT INTO outbox (id, type, uuid, name, at, data) VALUES (:id, :type, :uuid, :name, :at, :data)"
_COUNT = "SELECT count(*) AS events FROM outbox"
_TRIM = """DELETE FROM outbox WHERE number = (SELECT min(number) FROM outbox
    WHERE uuid = (SELECT uuid FROM outbox GROUP BY uuid ORDER BY count(*) DESC LIMIT 1))"""
_DROP_THROUGH = "DELETE FROM outbox WHERE number <= ?"
_BOUNDS = "SELECT coalesce(min(number), 0) AS oldest FROM outbox"
_OLDEST_OF = "SELECT uuid, min(number) AS oldest FROM outbox WHERE uuid IN ({holes}) GROUP BY uuid"
_LAST = "SELECT coalesce(max(seq), 0) AS last FROM sqlite_sequence WHERE name = 'outbox'"
# A newer version on the controller may have written others: they lack, as what was dropped, and keep nobody from the rest.
_KNOWN = f"type IN ({', '.join(repr(each.value) for each in EventType)})"
_SPAN = f"FROM outbox WHERE number BETWEEN ? AND ? AND {_KNOWN} AND (? IS NULL OR uuid = ?) ORDER BY number"
_OF = f"SELECT number, id, type, uuid, name, at, data {_SPAN} LIMIT ?"
_OUTLINES = f"SELECT number, id, type, uuid, name, at, '{{}}' AS data {_SPAN}"
_AFTER = f"SELECT number, id, type, uuid, name, at, data FROM outbox WHERE number > ? AND {_KNOWN} ORDER BY number LIMIT ?"


@dataclass(frozen=True)
class OutboxState:
    """The outbox at one moment: which one it is, the number of the event written last, and that of the oldest still there, 0 for none."""

    id: str
    last: int
    oldest: int


@dataclass(frozen=True)
class OutboxPage:
    """Events of an outbox in their order, and the outbox as it was when they were read."""

    outbox: OutboxState
    events: tuple[Event, ...]


class RecordedEvents:
    """The events of the journal. What is asked of it for a decision raises where it cannot be known."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def open(self) -> None:
        """Make the outbox, from where on events are kept. Raises `JournalUnusable`, OSError."""

        def work(connection: sqlite3.Connection) -> None:
            for statement in _CREATE:
                connection.execute(statement)
            connection.execute(_NAME_IT, (uuid4().hex,))

        self._store.write_durably(work)

    def close(self) -> None:
        """Remove the outbox with all that is in it: no event is kept any more. Raises `JournalUnusable`, OSError."""

        def work(connection: sqlite3.Connection) -> None:
            for statement in _DROP:
                connection.execute(statement)

        self._store.write_durably(work)

    def write(self, event: Event) -> bool:
        """Write an event that tells of nothing in the journal; return False, with a warning, if it cannot be written."""
        return self._store.write(lambda connection: put(connection, event))

    def state(self) -> OutboxState | None:
        """Return the outbox as it is; None if there is none. Raises `JournalUnusable`, OSError."""
        return self._store.read_or_raise(_state, None)

    def after(self, number: int, limit: int) -> OutboxPage | None:
        """Return at most ``limit`` events after that with a number; None if there is no outbox.

        They are on the disk, or a warning says why they are not; they may be told in either case. Raises `JournalUnusable`, OSError.
        """

        def work(connection: sqlite3.Connection) -> OutboxPage | None:
            state = _state(connection)
            if state is None:
                return None
            return OutboxPage(state, tuple(event_of(row) for row in connection.execute(_AFTER, (number, limit)).fetchall()))

        page = self._store.read_or_raise(work, None)
        if page is not None:
            # Also without events: readers are told how far the outbox is.
            self._store.sync()
        return page

    def of(self, first: int, last: int, limit: int, uuid: str | None = None) -> tuple[Event, ...]:
        """Return at most ``limit`` events of a span of numbers, those of one server alone if it is named, '' for those of none.

        There are none without an outbox. What `after` has returned is on the disk already. Raises `JournalUnusable`, OSError.
        """

        return self._events(_OF, (first, last, uuid, uuid, limit))

    def outlines(self, first: int, last: int, uuid: str | None = None) -> tuple[Event, ...]:
        """Return all events of a span, else as `of`, without their data: for who only wants to know which there are."""
        return self._events(_OUTLINES, (first, last, uuid, uuid))

    def _events(self, statement: str, parameters: tuple[object, ...]) -> tuple[Event, ...]:
        def work(connection: sqlite3.Connection) -> tuple[Event, ...]:
            rows = connection.execute(statement, parameters).fetchall() if has_table(connection, _TABLE) else []
            return tuple(map(event_of, rows))

        return self._store.read_or_raise(work, ())

    def oldest_of(self, uuids: Iterable[str]) -> dict[str, int]:
        """Return the number of the oldest event of each server that has any, '' for those of none. Raises `JournalUnusable`, OSError."""

        def work(connection: sqlite3.Connection) -> dict[str, int]:
            found: dict[str, int] = {}
            for chunk in chunks(list(uuids)) if has_table(connection, _TABLE) else ():
                read = connection.execute(_OLDEST_OF.format(holes=",".join("?" * len(chunk))), chunk).fetchall()
                found.update((str(row["uuid"]), int(row["oldest"])) for row in read)
            return found

        return self._store.read_or_raise(work, {})

    def ages(self) -> str:
        """Return what the sender noted of the ages of events, '' for nothing. Raises `JournalUnusable`, OSError."""

        def work(connection: sqlite3.Connection) -> str:
            found = connection.execute(_AGES).fetchone() if has_table(connection, _TABLE) else None
            return "" if found is None else str(found["value"])

        return self._store.read_or_raise(work, "")

    def note_ages(self, text: str) -> bool:
        """Note the ages of events; return False, with a warning, if that cannot be written."""
        return self._store.write(lambda connection: _if_kept(connection, _NOTE_AGES, text))

    def drop_through(self, number: int) -> bool:
        """Let go of the events up to a number; return False, with a warning, if that cannot be written."""
        return self._store.write(lambda connection: _if_kept(connection, _DROP_THROUGH, number))


def _if_kept(connection: sqlite3.Connection, statement: str, value: object) -> None:
    if has_table(connection, _TABLE):
        connection.execute(statement, (value,))


def tell(connection: sqlite3.Connection, events: Callable[[], Iterable[Event]]) -> None:
    """Write what ``events`` returns within a transaction; where there is no outbox it is not asked. What is beyond `KEPT_EVENTS` goes."""
    told = [_parameters(event) for event in events()] if has_outbox(connection) else []
    if not told:
        return
    connection.executemany(_PUT, told)
    for _each in range(connection.execute(_COUNT).fetchone()["events"] - KEPT_EVENTS):
        connection.execute(_TRIM)


def put(connection: sqlite3.Connection, *events: Event) -> None:
    """Write events that are made already; see `tell`."""
    tell(connection, lambda: events)


def has_outbox(connection: sqlite3.Connection) -> bool:
    """Tell if events are kept."""
    return has_table(connection, _TABLE)


def event_of(row: sqlite3.Row) -> Event:
    """Return the event of one row."""
    server = Server(str(row["uuid"]), str(row["name"])) if row["uuid"] else None
    return Event(EventType(row["type"]), str(row["at"]), json.loads(row["data"]), server, str(row["id"]), int(row["number"]))


def _state(connection: sqlite3.Connection) -> OutboxState | None:
    if not has_table(connection, _TABLE):
        return None
    found = connection.execute(_ID).fetchone()
    last = int(connection.execute(_LAST).fetchone()["last"])
    return OutboxState("" if found is None else str(found["value"]), last, int(connection.execute(_BOUNDS).fetchone()["oldest"]))


def _parameters(event: Event) -> dict[str, Any]:
    server = event.server
    return {
        "id": event.id,
        "type": event.type.value,
        "uuid": "" if server is None else server.uuid,
        "name": "" if server is None else storable(server.name),
        "at": event.at,
        "data": storable(json.dumps(event.data, separators=(",", ":"))),
    }
