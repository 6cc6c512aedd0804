# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power actions that were accepted: kept in the journal until they have begun or ended.

An accepted action is a row of ``operations`` that has neither begun nor ended, and beside it what it takes to begin it in another process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..host import liveness
from ..model.clock import timestamp
from ..model.errors import SettingsInvalid
from ..model.players import PlayerPolicy, read_policy
from ..model.request import CONTAINER_UP, PowerAction, Readiness, WaitFor
from ..model.result import Result
from ..model.server import Server, parse_uuid
from .journal import Journal
from .operations import PRUNE, ending, tell_end
from .schema import KEPT_OPERATIONS, storable

if TYPE_CHECKING:
    import sqlite3

#: What is written for each: into ``operations``, and beside it.
_ACCEPTED = ("id", "uuid", "name", "action", "origin", "requested_at", "accepted_at")
_PROMISED = ("id", "wait_seconds", "deadline", "generation", "boot", "boot_seconds", "players", "wait_for", "wait_timeout")
_KEEP = "ON CONFLICT (id) DO NOTHING"

#: An end of what was accepted; a journal that was begun anew meanwhile does not know it, and is told all of it.
_OF_AN_END = (
    *("ended_at", "outcome", "code", "msg", "changed", "state_before", "state"),
    *("stop_how", "forced", "stop_seconds", "waited_seconds", "phases"),
)
_ENDED = (*_ACCEPTED, "reason", *_OF_AN_END)
_END = f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _OF_AN_END)}"

#: SQLite's oldest limit on the parameters of a statement.
_MOST_PARAMETERS = 999

#: What has begun is told by the journal, whatever becomes of it; what was pruned needs nothing any more.
_FORGET = "DELETE FROM acceptances WHERE id NOT IN (SELECT id FROM operations WHERE begun_at IS NULL AND outcome IS NULL)"

_MOVE = "UPDATE acceptances SET generation = ? WHERE id = ?"

_PENDING = """SELECT operations.id, uuid, name, action, origin, requested_at, accepted_at, wait_seconds, deadline, generation,
    boot, boot_seconds, players, wait_for, wait_timeout FROM operations JOIN acceptances ON acceptances.id = operations.id
    WHERE begun_at IS NULL AND outcome IS NULL ORDER BY number"""


@dataclass(frozen=True)
class Acceptance:
    """One action that was accepted. ``deadline`` is when its wait for its turn is over; times are in UTC.

    ``generation`` is the server's kill generation before it was accepted; None for a kill. ``players`` is what it owes them, for which it
    may wait beside its turn; ``ready`` is the moment at which a start counts as done. Of one read from the journal, ``boot`` is the life
    of the machine in which it was written, "" where that is not known, and ``boot_seconds`` how old that life was.
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
    boot: str = field(default="", compare=False)
    boot_seconds: float = field(default=0.0, compare=False)
    players: PlayerPolicy | None = None
    ready: Readiness = CONTAINER_UP

    def requested(self, now: datetime, generation: int | None) -> Acceptance:
        """The same, requested and accepted now, its wait beginning."""
        deadline = now + timedelta(seconds=self.wait_seconds)
        return replace(self, requested_at=now, accepted_at=now, deadline=deadline, generation=generation)

    @property
    def longest_wait(self) -> int:
        """How many seconds may pass until it begins: its wait for its turn, and what it may wait for players and tell them."""
        return self.wait_seconds + (0 if self.players is None else self.players.max_delay)


def seconds_left(acceptance: Acceptance, grace: float, now: datetime, boot: str, since_boot: float) -> float:
    """How much longer what another process accepted may wait: its own waits and ``grace`` seconds in all; negative if that is past.

    ``now`` is by the wall clock, which may be set. So within one ``boot``, whose seconds are ``since_boot``, these count alone. In a later
    one the wall clock has to do, but it was accepted before that boot. Where the clock says that it is yet to be, nobody can tell.
    """
    whole = acceptance.longest_wait + grace
    if acceptance.boot == boot != "":
        return whole - (since_boot - acceptance.boot_seconds)
    passed = acceptance.wait_seconds - (acceptance.deadline - now).total_seconds()
    if passed < -grace:
        return -1.0
    return whole - max(passed, since_boot if acceptance.boot else 0.0)


def accept(journal: Journal, acceptances: Sequence[Acceptance], afterwards: Sequence[Callable[[sqlite3.Connection], None]] = ()) -> None:
    """Keep them, in this order; they are on the disk when this returns. Raises `JournalUnusable`, OSError: then none is kept.

    ``afterwards`` is written with them: `ended` and `moved` make it.
    """
    moment = {"boot": liveness.boot_id(), "boot_seconds": liveness.boot_seconds()}
    parameters = [{**_parameters(each), **moment} for each in acceptances]

    def work(connection: sqlite3.Connection) -> None:
        _insert(connection, "operations", _ACCEPTED, parameters, _KEEP)
        _insert(connection, "acceptances", _PROMISED, parameters, _KEEP)
        for each in afterwards:
            each(connection)

    journal.store.write_durably(work)


def ended(results: Sequence[tuple[Result, str]]) -> Callable[[sqlite3.Connection], None]:
    """Return a write of the ends of accepted actions, each with its origin; of one that has an end already the later one counts."""
    endings = [_ending(result, origin) for result, origin in results]
    # The last of each server: it stays whatever else is let go of.
    last = {each["uuid"]: {"uuid": each["uuid"], "id": each["id"], "kept": KEPT_OPERATIONS} for each in endings}

    def work(connection: sqlite3.Connection) -> None:
        _insert(connection, "operations", _ENDED, endings, _END)
        for each in endings:
            tell_end(connection, each["id"], each["ended_at"])
        connection.executemany(PRUNE, list(last.values()))

    return work


def moved(generations: Sequence[tuple[str, int]]) -> Callable[[sqlite3.Connection], None]:
    """Return a write of the kill generations that accepted actions, by operation, are to be begun with instead."""

    def work(connection: sqlite3.Connection) -> None:
        connection.executemany(_MOVE, [(generation, operation) for operation, generation in generations])

    return work


def forget(connection: sqlite3.Connection) -> None:
    """Forget what was promised of actions that have begun or ended: to be done now and then, or the journal grows for ever."""
    connection.execute(_FORGET)


def pending(journal: Journal) -> list[Acceptance]:
    """Return the accepted actions that have not begun, the oldest first, and forget the others. Raises `JournalUnusable`, OSError."""
    found: list[Acceptance] = []

    def work(connection: sqlite3.Connection) -> None:
        forget(connection)
        read = [_acceptance(row) for row in connection.execute(_PENDING).fetchall()]
        found[:] = [each for each in read if each is not None]

    journal.store.write_durably(work)
    return found


def _insert(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], values: Sequence[Mapping[str, object]], conflict: str
) -> None:
    """Many rows by few statements: between two of them a thread may wait for its turn among those that compute."""
    at_once = _MOST_PARAMETERS // len(columns)
    one = f"({','.join('?' * len(columns))})"
    for start in range(0, len(values), at_once):
        chunk = values[start : start + at_once]
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {','.join([one] * len(chunk))} {conflict}"
        connection.execute(statement, [row[column] for row in chunk for column in columns])


def _ending(result: Result, origin: str) -> dict[str, Any]:
    found = ending(result, origin, "")
    return {**found, "accepted_at": found["requested_at"]}


def _parameters(acceptance: Acceptance) -> dict[str, object]:
    requested_at = timestamp(acceptance.requested_at)
    at_once = acceptance.accepted_at is acceptance.requested_at
    return {
        "id": acceptance.operation,
        "uuid": acceptance.server.uuid,
        "name": storable(acceptance.server.name),
        "action": acceptance.action.value,
        "origin": storable(acceptance.origin),
        "requested_at": requested_at,
        "accepted_at": requested_at if at_once else timestamp(acceptance.accepted_at),
        "wait_seconds": acceptance.wait_seconds,
        "deadline": timestamp(acceptance.deadline),
        "generation": acceptance.generation,
        "players": None if acceptance.players is None else json.dumps(acceptance.players.options(), separators=(",", ":")),
        "wait_for": acceptance.ready.wait_for.value,
        "wait_timeout": acceptance.ready.wait_timeout,
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
                boot=str(row["boot"]),
                boot_seconds=float(row["boot_seconds"]),
                players=_policy(row),
                ready=Readiness(WaitFor(row["wait_for"]), int(row["wait_timeout"])),
            )
        )
    except (TypeError, ValueError, SettingsInvalid):
        return None


def _policy(row: sqlite3.Row) -> PlayerPolicy | None:
    if row["players"] is None:
        return None
    options = json.loads(row["players"])
    if not isinstance(options, dict):
        raise ValueError("no options")
    return read_policy(row["action"], regards_players=True, given=options)


def _moment(text: object) -> datetime:
    # Python below 3.11 does not read the letter.
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))
