# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deliveries in the journal: how far each receiver of events has come.

Events that a receiver has not taken yet stand in lanes, one for each server, so that one that it refuses keeps no other server's from it.
A lane is the numbers between which they are, and how many there are; the events themselves are in the outbox.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .journal_rows import storable
from .outbox import has_outbox
from .store import JournalStore, has_table

if TYPE_CHECKING:
    import sqlite3

_TABLE = "receivers"
_CREATE = """CREATE TABLE IF NOT EXISTS receivers (
    name TEXT PRIMARY KEY, outbox TEXT NOT NULL, cursor INTEGER NOT NULL, lanes TEXT NOT NULL DEFAULT '{}',
    tries INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0, is_off INTEGER NOT NULL DEFAULT 0,
    failing_since TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', dropped INTEGER NOT NULL DEFAULT 0,
    untold INTEGER NOT NULL DEFAULT 0, sent INTEGER NOT NULL DEFAULT 0, sent_at TEXT NOT NULL DEFAULT '')"""
_COLUMNS = (
    *("outbox", "cursor", "lanes", "tries", "next_at", "is_off"),
    *("failing_since", "error", "dropped", "untold", "sent", "sent_at"),
)
_SAVE = f"""INSERT INTO receivers (name, {", ".join(_COLUMNS)}) VALUES (:name, {", ".join(f":{name}" for name in _COLUMNS)})
    ON CONFLICT (name) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}"""
_ONE = "SELECT * FROM receivers WHERE name = ?"
_ALL = "SELECT * FROM receivers ORDER BY name"
_NAMES = "SELECT name FROM receivers"
_REMOVE = "DELETE FROM receivers WHERE name = ?"
_DROP = "DROP TABLE IF EXISTS receivers"
_BEYOND = "SELECT count(*) AS events FROM outbox WHERE number > ?"
_AT = "SELECT at FROM outbox WHERE number >= ? ORDER BY number LIMIT 1"


@dataclass(frozen=True)
class DeliveryLane:
    """Events of one server that wait: so many, from ``number`` to ``last``. ``tries`` of the first failed; the next is at ``next_at``."""

    number: int
    last: int
    count: int = 1
    tries: int = 0
    next_at: float = 0.0


@dataclass(frozen=True)
class Delivery:
    """How far a receiver has come: what is up to ``cursor`` in an outbox was taken, is not for it, or stands in a lane.

    Lanes are named by the UUID of their server, '' for events of none. ``next_at`` is in seconds of Unix time, the other moments are
    timestamps, empty for none. ``tries`` failed in a row, of whatever event. Of ``untold`` of the ``dropped`` events it has not heard yet.
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
    untold: int = 0
    sent: int = 0
    sent_at: str = ""


class RecordedDeliveries:
    """The deliveries of the journal."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store

    def of(self, receiver: str) -> Delivery | None:
        """Return how far a receiver has come; None for a new one. Raises `JournalUnusable`, OSError."""

        def work(connection: sqlite3.Connection) -> Delivery | None:
            row = connection.execute(_ONE, (receiver,)).fetchone() if has_table(connection, _TABLE) else None
            return None if row is None else _delivery(row)

        return self._store.read_or_raise(work, None)

    def save(self, receiver: str, delivery: Delivery) -> bool:
        """Write how far a receiver has come; return False, with a warning, if it cannot be written."""
        parameters = {
            **asdict(delivery),
            "name": receiver,
            "error": storable(delivery.error),
            "lanes": json.dumps(
                {uuid: [lane.number, lane.last, lane.count, lane.tries, lane.next_at] for uuid, lane in delivery.lanes.items()}
            ),
        }

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_CREATE)
            connection.execute(_SAVE, parameters)

        return self._store.write(work)

    def keep_only(self, receivers: Iterable[str]) -> bool:
        """Forget all other receivers; return False, with a warning, if that cannot be written."""
        kept = set(receivers)

        def work(connection: sqlite3.Connection) -> None:
            if has_table(connection, _TABLE):
                gone = [row["name"] for row in connection.execute(_NAMES).fetchall() if row["name"] not in kept]
                connection.executemany(_REMOVE, [(name,) for name in gone])

        return self._store.write(work)

    def forget(self) -> None:
        """Forget all receivers, and that there were any. Raises `JournalUnusable`, OSError."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_DROP)

        self._store.write_durably(work)

    def told(self) -> list[dict[str, Any]] | None:
        """Return what readers are told of each receiver, by name; None where there is no outbox, or, with a warning, nobody can tell.

        ``waiting`` has also events that may not be for it, where it was not seen yet whether they are.
        """

        def work(connection: sqlite3.Connection) -> list[dict[str, Any]] | None:
            if not has_outbox(connection):
                return None
            rows = connection.execute(_ALL).fetchall() if has_table(connection, _TABLE) else []
            return [_told(connection, str(row["name"]), _delivery(row)) for row in rows]

        return self._store.read(work, None)


def _delivery(row: sqlite3.Row) -> Delivery:
    values = {name: row[name] for name in _COLUMNS}
    try:
        lanes = {str(uuid): DeliveryLane(*row) for uuid, row in json.loads(values["lanes"]).items()}
    except (ValueError, TypeError, AttributeError):
        lanes = {}
    return Delivery(**{**values, "lanes": lanes, "is_off": bool(values["is_off"])})


def _told(connection: sqlite3.Connection, name: str, delivery: Delivery) -> dict[str, Any]:
    beyond = int(connection.execute(_BEYOND, (delivery.cursor,)).fetchone()["events"])
    # Without the lane that tells of those that were let go of, which is in no outbox.
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
