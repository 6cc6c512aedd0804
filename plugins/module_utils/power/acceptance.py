# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was promised to be done before it is: power actions that were accepted, in the journal, until they have begun or ended.

An accepted action is a row of ``operations`` that has neither begun nor ended, and beside it what it takes to begin it in another process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from . import journal_rows as rows
from .journal import Journal
from .journal_rows import storable
from .model import PowerAction, Result, Server, parse_uuid, timestamp

if TYPE_CHECKING:
    import sqlite3

#: Made by whoever accepts first: a journal begun by a version that knew no acceptances has no such table.
_CREATE = """CREATE TABLE IF NOT EXISTS acceptances (
    id TEXT PRIMARY KEY, wait_seconds INTEGER NOT NULL, deadline TEXT NOT NULL, generation INTEGER)"""

_ACCEPT = """INSERT INTO operations (id, uuid, name, action, origin, reason, requested_at, accepted_at)
    VALUES (:id, :uuid, :name, :action, :origin, '', :requested_at, :accepted_at) ON CONFLICT (id) DO NOTHING"""

_PROMISE = """INSERT INTO acceptances (id, wait_seconds, deadline, generation) VALUES (:id, :wait_seconds, :deadline, :generation)
    ON CONFLICT (id) DO NOTHING"""

#: What has begun is told by the journal, whatever becomes of it; what was pruned needs nothing any more.
_FORGET = "DELETE FROM acceptances WHERE id NOT IN (SELECT id FROM operations WHERE begun_at IS NULL AND outcome IS NULL)"

_PENDING = """SELECT operations.id, uuid, name, action, origin, requested_at, accepted_at, wait_seconds, deadline, generation
    FROM operations JOIN acceptances ON acceptances.id = operations.id WHERE begun_at IS NULL AND outcome IS NULL ORDER BY number"""


@dataclass(frozen=True)
class Acceptance:
    """One action that was accepted. ``deadline`` is when its wait for its turn is over; times are in UTC.

    ``generation`` is the server's kill generation before it was accepted; None for a kill.
    """

    operation: str
    server: Server
    action: PowerAction
    origin: str
    requested_at: datetime
    accepted_at: datetime
    wait_seconds: int
    deadline: datetime
    generation: int | None = None


def accept(journal: Journal, acceptances: Sequence[Acceptance], ended: Sequence[tuple[Result, str]] = ()) -> None:
    """Keep them, in this order; they are on the disk when this returns. Raises `JournalUnusable`, OSError: then none is kept.

    ``ended`` are results, with their origins, of what was accepted before and ended without having begun.
    """
    parameters = [_parameters(each) for each in acceptances]
    endings = [rows.ending(result, (), origin, "") for result, origin in ended]
    # The last of each server: it stays whatever else is let go of.
    last = {ending["uuid"]: {"uuid": ending["uuid"], "id": ending["id"], "kept": rows.KEPT_OPERATIONS} for ending in endings}

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(_CREATE)
        connection.executemany(_ACCEPT, parameters)
        connection.executemany(_PROMISE, parameters)
        for ending in endings:
            # A journal that was begun anew meanwhile does not know it.
            if connection.execute(rows.END, ending).rowcount == 0:
                connection.execute(rows.END_UNBEGUN, ending)
        connection.executemany(rows.PRUNE, list(last.values()))

    journal.write_durably(work)


def pending(journal: Journal) -> list[Acceptance]:
    """What was accepted and has not begun, the oldest first; what has is forgotten. Raises `JournalUnusable`, OSError."""
    found: list[Acceptance] = []

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(_CREATE)
        connection.execute(_FORGET)
        read = [_acceptance(row) for row in connection.execute(_PENDING).fetchall()]
        found[:] = [each for each in read if each is not None]

    journal.write_durably(work)
    return found


def _parameters(acceptance: Acceptance) -> dict[str, object]:
    return {
        "id": acceptance.operation,
        "uuid": acceptance.server.uuid,
        "name": storable(acceptance.server.name),
        "action": acceptance.action.value,
        "origin": storable(acceptance.origin),
        "requested_at": timestamp(acceptance.requested_at),
        "accepted_at": timestamp(acceptance.accepted_at),
        "wait_seconds": acceptance.wait_seconds,
        "deadline": timestamp(acceptance.deadline),
        "generation": acceptance.generation,
    }


def _acceptance(row: sqlite3.Row) -> Acceptance | None:
    """The value of one row; None for one that nobody could have written."""
    uuid = parse_uuid(str(row["uuid"]))
    try:
        return (
            None
            if uuid is None
            else Acceptance(
                operation=str(row["id"]),
                server=Server(uuid, str(row["name"])),
                action=PowerAction(row["action"]),
                origin=str(row["origin"]),
                requested_at=_moment(row["requested_at"]),
                accepted_at=_moment(row["accepted_at"]),
                wait_seconds=int(row["wait_seconds"]),
                deadline=_moment(row["deadline"]),
                generation=None if row["generation"] is None else int(row["generation"]),
            )
        )
    except (TypeError, ValueError):
        return None


def _moment(text: object) -> datetime:
    # Python below 3.11 does not read the letter.
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
