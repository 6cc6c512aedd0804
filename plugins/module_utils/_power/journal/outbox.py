# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outbox in the journal: events, and the progress of each receiver.

While the outbox is open, the transaction of a change also writes its event. The process that sends events opens it; without that process a
node keeps no events. Numbers grow by one and are never reused, so a reader can count removed events. If there are too many, the server with
the most events loses its oldest one. Undelivered events form one lane per server: a refused event delays no other server's events.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from itertools import islice
from typing import Any
from uuid import uuid4

from ..events.event import Event, EventType
from ..model.records import astuple, dataclass, field, fields
from ..model.server import Server
from .schema import Connection, insertion, replacing, storable, value_of
from .store import JournalStore, each_of

KEPT_EVENTS = 10_000

_EMPTIED = ("outbox", "outbox_about", "sqlite_sequence WHERE name = 'outbox'", "receivers")
# A reopened outbox counts from one again, so it gets another id.
_NAME_IT = "INSERT INTO outbox_about (name, value) VALUES ('id', ?) ON CONFLICT (name) DO NOTHING"
_ID = "SELECT value FROM outbox_about WHERE name = 'id'"
_AGES = "SELECT value FROM outbox_about WHERE name = 'ages'"
_NOTE_AGES = "INSERT INTO outbox_about (name, value) VALUES ('ages', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_PUT = insertion("outbox", ("id", "type", "uuid", "name", "at", "data"))
_COUNT = "SELECT count(*) AS events FROM outbox"
_TRIM = """DELETE FROM outbox WHERE number = (SELECT min(number) FROM outbox
    WHERE uuid = (SELECT uuid FROM outbox GROUP BY uuid ORDER BY count(*) DESC LIMIT 1))"""
_DROP_THROUGH = "DELETE FROM outbox WHERE number <= ?"
_OLDEST_OF = "SELECT uuid, min(number) AS oldest FROM outbox WHERE uuid IN ({holes}) GROUP BY uuid"
_STATE = """SELECT value AS id, (SELECT min(number) FROM outbox) AS oldest,
    (SELECT max(seq) FROM sqlite_sequence WHERE name = 'outbox') AS last FROM outbox_about WHERE name = 'id'"""
# Rows of other types, or with unreadable data, count as removed: an unreadable row must not stop a reader.
_KNOWN = f"type IN ({', '.join(repr(each.value) for each in EventType)})"
_SPAN = f"FROM outbox WHERE number BETWEEN ? AND ? AND {_KNOWN} AND (? IS NULL OR uuid = ?) ORDER BY number"
_OF = f"SELECT number, id, type, uuid, name, at, data {_SPAN}"
_OUTLINES = f"SELECT number, id, type, uuid, name, at, '{{}}' AS data {_SPAN}"
_AFTER = f"SELECT number, id, type, uuid, name, at, data FROM outbox WHERE number > ? AND {_KNOWN} ORDER BY number"
_ONE_RECEIVER = "SELECT * FROM receivers WHERE name = ?"
_RECEIVERS = "SELECT * FROM receivers ORDER BY name"
_REMOVE_RECEIVER = "DELETE FROM receivers WHERE name = ?"
_BEYOND = "SELECT count(*) AS events FROM outbox WHERE number > ?"
_AT = "SELECT at FROM outbox WHERE number >= ? ORDER BY number LIMIT 1"


@dataclass(frozen=True)
class OutboxState:
    """The outbox at one moment: its id, and the numbers of its last and oldest event; ``oldest`` is 0 without events."""

    id: str
    last: int
    oldest: int


@dataclass(frozen=True)
class OutboxPage:
    """Events in their order, and the outbox at the same moment."""

    outbox: OutboxState
    events: tuple[Event, ...]


class RecordedEvents:
    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def open(self) -> None:
        """Open the outbox, so that events are kept. Raises `JournalUnusable`, OSError."""
        self._store.write_durably(lambda connection: connection.execute(_NAME_IT, (uuid4().hex,)))

    def close(self) -> None:
        """Close the outbox; remove its events and all receivers' progress. Raises `JournalUnusable`, OSError."""

        def work(connection: Connection) -> None:
            for rows in _EMPTIED:
                connection.execute(f"DELETE FROM {rows}")

        self._store.write_durably(work)

    def write(self, event: Event) -> bool:
        """Write one event. Return False, with a warning, if it cannot be written."""
        return self._store.write(lambda connection: tell(connection, lambda: (event,)))

    def state(self) -> OutboxState | None:
        """Return the outbox as it is; None if it is closed. Raises `JournalUnusable`, OSError."""
        return self._store.read_or_raise(_state, None)

    def after(self, number: int, limit: int) -> OutboxPage | None:
        """Return synced events after ``number``; None if the outbox is closed. Raises `JournalUnusable`, OSError; a failed sync warns."""

        def work(connection: Connection) -> OutboxPage | None:
            state = _state(connection)
            return None if state is None else OutboxPage(state, _readable(connection, _AFTER, (number,), limit))

        page = self._store.read_or_raise(work, None)
        if page is not None:
            # Also without events: the page gives the position of the outbox.
            self._store.sync()
        return page

    def of(self, first: int, last: int, limit: int, uuid: str | None = None) -> tuple[Event, ...]:
        """Return events by number; ``uuid`` selects a server, '' events without one. Raises `JournalUnusable`, OSError."""
        return self._events(_OF, (first, last, uuid, uuid), limit)

    def outlines(self, first: int, last: int, uuid: str | None = None) -> tuple[Event, ...]:
        """Return all these events without their data; see `of`."""
        return self._events(_OUTLINES, (first, last, uuid, uuid))

    def _events(self, statement: str, parameters: tuple[object, ...], limit: int | None = None) -> tuple[Event, ...]:
        return self._store.read_or_raise(lambda connection: _readable(connection, statement, parameters, limit), ())

    def oldest_of(self, uuids: Iterable[str]) -> dict[str, int]:
        """Return the number of each server's oldest event; '' is for events without a server. Raises `JournalUnusable`, OSError."""

        def work(connection: Connection) -> dict[str, int]:
            return {str(row["uuid"]): int(row["oldest"]) for row in each_of(connection, _OLDEST_OF, list(uuids))}

        return self._store.read_or_raise(work, {})

    def ages(self) -> str:
        """Return the ages that `note_ages` wrote, '' for none. Raises `JournalUnusable`, OSError."""
        return next((str(row["value"]) for row in self._store.rows_or_raise(_AGES)), "")

    def note_ages(self, text: str) -> bool:
        """Write the ages of events. Return False, with a warning, if they cannot be written."""
        return self._store.write(lambda connection: _if_open(connection, _NOTE_AGES, text))

    def drop_through(self, number: int) -> bool:
        """Remove the events up to a number. Return False, with a warning, if that fails."""
        return self._store.write(lambda connection: _if_open(connection, _DROP_THROUGH, number))


@dataclass(frozen=True)
class DeliveryLane:
    """Waiting events of one server, numbered from ``number`` to ``last``. ``tries`` counts failures of the first one."""

    number: int
    last: int
    count: int = 1
    tries: int = 0
    next_at: float = 0.0


@dataclass(frozen=True)
class Delivery:
    """The progress of a receiver: it took or skipped the events up to ``cursor``, except those in lanes.

    Lanes are keyed by server UUID, '' for events without a server. ``next_at`` is Unix time in seconds; other times are timestamps, empty
    for none. ``tries`` consecutive deliveries failed. ``unreported`` of the ``dropped`` events are not reported to it yet.
    """

    outbox: str
    cursor: int
    lanes: Mapping[str, DeliveryLane] = field(default_factory=dict)
    tries: int = 0
    next_at: float = 0.0
    is_off: bool = False
    failing_since: str = ""
    error: str = ""
    dropped: int = 0
    unreported: int = 0
    sent: int = 0
    sent_at: str = ""


_DELIVERY_COLUMNS = tuple(each.name for each in fields(Delivery))
_SAVE_RECEIVER = f"{insertion('receivers', ('name', *_DELIVERY_COLUMNS))} ON CONFLICT (name) {replacing(_DELIVERY_COLUMNS)}"


class RecordedDeliveries:
    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def of(self, receiver: str) -> Delivery | None:
        """Return the progress of a receiver; None for a new one. Raises `JournalUnusable`, OSError."""
        return next(map(_delivery, self._store.rows_or_raise(_ONE_RECEIVER, (receiver,))), None)

    def save(self, receiver: str, delivery: Delivery) -> bool:
        """Write the progress of a receiver. Return False, with a warning, if it cannot be written."""
        parameters = {
            **vars(delivery),
            "name": receiver,
            "error": storable(delivery.error),
            "lanes": json.dumps({uuid: astuple(lane) for uuid, lane in delivery.lanes.items()}),
        }
        return self._store.execute(_SAVE_RECEIVER, parameters)

    def keep_only(self, receivers: Iterable[str]) -> bool:
        """Remove all other receivers. Return False, with a warning, if that fails."""
        kept = set(receivers)

        def work(connection: Connection) -> None:
            gone = [(row["name"],) for row in connection.execute(_RECEIVERS).fetchall() if row["name"] not in kept]
            connection.executemany(_REMOVE_RECEIVER, gone)

        return self._store.write(work)

    def facts(self) -> list[dict[str, Any]] | None:
        """Return the facts of each receiver. None if the outbox is closed or, with a warning, if the journal cannot be read."""

        def work(connection: Connection) -> list[dict[str, Any]] | None:
            if not _is_open(connection):
                return None
            rows = connection.execute(_RECEIVERS).fetchall()
            return [_receiver_facts(connection, str(row["name"]), _delivery(row)) for row in rows]

        return self._store.read(work, None)


def _if_open(connection: Connection, statement: str, value: object) -> None:
    if _is_open(connection):
        connection.execute(statement, (value,))


def tell(connection: Connection, events: Callable[[], Iterable[Event]]) -> None:
    """Write events within a transaction. Calls ``events`` only if the outbox is open. Keeps at most `KEPT_EVENTS`."""
    rows = [_parameters(event) for event in events()] if _is_open(connection) else []
    if not rows:
        return
    connection.executemany(_PUT, rows)
    for _each in range(connection.execute(_COUNT).fetchone()["events"] - KEPT_EVENTS):
        connection.execute(_TRIM)


def _readable(connection: Connection, statement: str, parameters: tuple[object, ...], limit: int | None) -> tuple[Event, ...]:
    with closing(connection.execute(statement, parameters)) as rows:
        return tuple(islice(filter(None, map(_event_of, rows)), limit))


def _event_of(row: Mapping[str, Any]) -> Event | None:
    try:
        data = json.loads(row["data"])
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    server = Server(str(row["uuid"]), str(row["name"])) if row["uuid"] else None
    return Event(EventType(row["type"]), str(row["at"]), data, server, str(row["id"]), int(row["number"]))


def _state(connection: Connection) -> OutboxState | None:
    found = connection.execute(_STATE).fetchone()
    return None if found is None else value_of(OutboxState, found)


def _is_open(connection: Connection) -> bool:
    return connection.execute(_ID).fetchone() is not None


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


def _delivery(row: Mapping[str, Any]) -> Delivery:
    try:
        lanes = {str(uuid): DeliveryLane(*lane) for uuid, lane in json.loads(row["lanes"]).items()}
    except (ValueError, TypeError, AttributeError):
        lanes = {}
    return value_of(Delivery, row, lanes=lanes)


def _receiver_facts(connection: Connection, name: str, delivery: Delivery) -> dict[str, Any]:
    beyond = int(connection.execute(_BEYOND, (delivery.cursor,)).fetchone()["events"])
    # The lane of `events.dropped` has no number: it is not in the outbox.
    lanes = [lane for lane in delivery.lanes.values() if lane.number]
    waiting = sum(lane.count for lane in lanes) + beyond
    first = min((lane.number for lane in lanes), default=delivery.cursor + 1)
    oldest = connection.execute(_AT, (first,)).fetchone() if waiting else None
    return {
        "receiver": name,
        "waiting": waiting,
        "oldest_at": None if oldest is None else str(oldest["at"]),
        "off": delivery.is_off,
        "failing_since": delivery.failing_since or None,
        "error": delivery.error or None,
        "dropped": delivery.dropped,
        "sent": delivery.sent,
        "sent_at": delivery.sent_at or None,
    }
