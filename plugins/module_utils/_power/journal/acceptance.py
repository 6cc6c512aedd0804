# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepted power actions, which the journal keeps until they begin or end.

Each is a row of ``operations`` without a beginning and an end, and a row of ``acceptances`` with the data to begin it later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..host import machine
from ..model.clock import read_timestamp, timestamp
from ..model.errors import SettingsInvalid
from ..model.players import PlayerPolicy, read_policy
from ..model.records import dataclass, field, replace
from ..model.request import CONTAINER_UP, OnFailedStart, PowerAction, Readiness, WaitFor
from ..model.result import Result
from ..model.server import Server, parse_uuid
from .journal import Journal
from .operations import ENDED, KEEP_END, PRUNE, ending, request_columns, tell_end
from .schema import KEPT_OPERATIONS, Connection, Work

_ACCEPTED = ("id", "uuid", "name", "action", "origin", "requested_at", "accepted_at")
_PROMISED = ("id", "wait_seconds", "deadline", "generation", "boot", "boot_seconds", "players", "wait_for", "wait_timeout")
_KEEP = "ON CONFLICT (id) DO NOTHING"

#: SQLite's oldest limit on the parameters of a statement.
_MOST_PARAMETERS = 999

#: An action that has begun, ended or been pruned needs no acceptance.
_FORGET = "DELETE FROM acceptances WHERE id NOT IN (SELECT id FROM operations WHERE begun_at IS NULL AND outcome IS NULL)"

_MOVE = "UPDATE acceptances SET generation = ? WHERE id = ?"

_PENDING = """SELECT operations.*, acceptances.* FROM operations JOIN acceptances ON acceptances.id = operations.id
    WHERE begun_at IS NULL AND outcome IS NULL ORDER BY number"""


@dataclass(frozen=True)
class Acceptance:
    """One accepted action. ``deadline`` is the end of its wait for its turn. Times are in UTC.

    ``generation`` is the server's kill generation before it was accepted; None for a kill. The wait of ``players`` comes on top. At
    ``ready`` a start counts as done. If it was read from the journal, ``boot`` and ``boot_seconds`` are the machine's boot at the write, ""
    if unknown, and the seconds since that boot.
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
        deadline = now + timedelta(seconds=self.wait_seconds)
        return replace(self, requested_at=now, accepted_at=now, deadline=deadline, generation=generation)


def seconds_left(acceptance: Acceptance, grace: float, now: datetime, boot: str, since_boot: float) -> float:
    """Return the seconds that an action of an earlier process may still wait, ``grace`` included; negative if its time is over.

    Within one ``boot`` the seconds since that boot, ``since_boot``, count. After another boot the wall clock ``now`` counts, but at least
    the seconds since that boot. A clock well before the acceptance counts as over.
    """
    # It waits for its turn, and then for its players.
    whole = acceptance.wait_seconds + (0 if acceptance.players is None else acceptance.players.max_delay) + grace
    if acceptance.boot == boot != "":
        return whole - (since_boot - acceptance.boot_seconds)
    passed = acceptance.wait_seconds - (acceptance.deadline - now).total_seconds()
    if passed < -grace:
        return -1.0
    return whole - max(passed, since_boot if acceptance.boot else 0.0)


def accept(journal: Journal, acceptances: Sequence[Acceptance], afterwards: Sequence[Work] = ()) -> None:
    """Write acceptances in order and ``afterwards``, in one synced transaction. Raises `JournalUnusable`, OSError: then none is written."""
    moment = {"boot": machine.boot_id(), "boot_seconds": machine.boot_seconds()}
    parameters = [{**_parameters(each), **moment} for each in acceptances]

    def work(connection: Connection) -> None:
        _insert(connection, "operations", _ACCEPTED, parameters, _KEEP)
        _insert(connection, "acceptances", _PROMISED, parameters, _KEEP)
        for each in afterwards:
            each(connection)

    journal.store.write_durably(work)


def ended(results: Sequence[tuple[Result, str]]) -> Work:
    """Return a write of the ends of accepted actions with their origins. The later of two ends of one action counts."""
    endings = [ending(result, origin, "") for result, origin in results]
    # The last end of each server is never pruned.
    last = {each["uuid"]: {"uuid": each["uuid"], "id": each["id"], "kept": KEPT_OPERATIONS} for each in endings}

    def work(connection: Connection) -> None:
        _insert(connection, "operations", ENDED, endings, KEEP_END)
        for each in endings:
            tell_end(connection, each["id"], each["ended_at"])
        connection.executemany(PRUNE, list(last.values()))

    return work


def moved(generations: Sequence[tuple[str, int]]) -> Work:
    """Return a write of new kill generations for accepted actions, by operation."""
    return lambda connection: connection.executemany(_MOVE, [(generation, operation) for operation, generation in generations])


def forget(connection: Connection) -> None:
    """Remove the acceptances of actions that have begun or ended. Call it regularly: nothing else removes them."""
    connection.execute(_FORGET)


def pending(journal: Journal) -> list[Acceptance]:
    """Return the accepted actions that have not begun, the oldest first, and remove the others. Raises `JournalUnusable`, OSError."""
    found: list[Acceptance] = []

    def work(connection: Connection) -> None:
        forget(connection)
        read = [_acceptance(row) for row in connection.execute(_PENDING).fetchall()]
        found[:] = [each for each in read if each is not None]

    journal.store.write_durably(work)
    return found


def _insert(connection: Connection, table: str, columns: Sequence[str], values: Sequence[Mapping[str, object]], conflict: str) -> None:
    """Write many rows by few statements: after each statement this thread may wait for others."""
    at_once = _MOST_PARAMETERS // len(columns)
    one = f"({','.join('?' * len(columns))})"
    for start in range(0, len(values), at_once):
        chunk = values[start : start + at_once]
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {','.join([one] * len(chunk))} {conflict}"
        connection.execute(statement, [row[column] for row in chunk for column in columns])


def _parameters(acceptance: Acceptance) -> dict[str, object]:
    return {
        **request_columns(acceptance.operation, acceptance.server, acceptance.action, acceptance.origin, acceptance.requested_at),
        "accepted_at": timestamp(acceptance.accepted_at),
        "wait_seconds": acceptance.wait_seconds,
        "deadline": timestamp(acceptance.deadline),
        "generation": acceptance.generation,
        "players": _options(acceptance),
        "wait_for": acceptance.ready.wait_for.value,
        "wait_timeout": acceptance.ready.wait_timeout,
    }


def _options(acceptance: Acceptance) -> str | None:
    """Return the value of the column ``players``. It also has the options of a failed start, which earlier versions ignore."""
    ready = acceptance.ready
    options = {} if acceptance.players is None else acceptance.players.options()
    options.update({} if ready.on_failed_start is None else {"on_failed_start": ready.on_failed_start.value})
    options.update({} if ready.settle is None else {"settle": ready.settle})
    return json.dumps(options, separators=(",", ":")) if options else None


def _acceptance(row: Mapping[str, Any]) -> Acceptance | None:
    uuid = parse_uuid(str(row["uuid"]))
    if uuid is None:
        return None
    try:
        options = {} if row["players"] is None else dict(json.loads(row["players"]))
        on_failed_start, settle = options.get("on_failed_start"), options.get("settle")
        return Acceptance(
            operation=str(row["id"]),
            server=Server(uuid, str(row["name"])),
            action=PowerAction(row["action"]),
            origin=str(row["origin"]),
            requested_at=read_timestamp(str(row["requested_at"])),
            accepted_at=read_timestamp(str(row["accepted_at"])),
            wait_seconds=int(row["wait_seconds"]),
            deadline=read_timestamp(str(row["deadline"])),
            generation=None if row["generation"] is None else int(row["generation"]),
            boot=str(row["boot"]),
            boot_seconds=float(row["boot_seconds"]),
            players=read_policy(row["action"], affects_players=True, given=options),
            ready=Readiness(
                WaitFor(row["wait_for"]),
                int(row["wait_timeout"]),
                None if on_failed_start is None else OnFailedStart(on_failed_start),
                None if settle is None else int(settle),
            ),
        )
    except (TypeError, ValueError, SettingsInvalid):
        return None
