# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the journal: its tables, the values read from them, and the statements between the two.

Nothing here opens a file. Every statement names its columns, so that a later version may add some without a new schema number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..model.clock import timestamp
from ..model.errors import INTERRUPTED, NOT_DURABLE
from ..model.result import Outcome, Result
from ..model.server import Run, Server

#: Kept in SQLite's ``user_version``. It grows only when an older version could no longer write what a newer one reads.
SCHEMA = 1

#: How many ended operations are kept for one server.
KEPT_OPERATIONS = 100

#: The longest sentence kept, in characters.
MSG_LIMIT = 2000

# What tells who acted last on a server: what is under way, was done, or went wrong. What changed nothing buries that.
_TELLS = "(outcome IS NULL OR outcome NOT IN ('unchanged', 'skipped'))"

CREATE = (
    """CREATE TABLE IF NOT EXISTS operations (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, uuid TEXT NOT NULL, name TEXT NOT NULL, action TEXT NOT NULL,
        origin TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '', mark TEXT NOT NULL DEFAULT '',
        requested_at TEXT NOT NULL, accepted_at TEXT NOT NULL, begun_at TEXT, ended_at TEXT,
        outcome TEXT, code TEXT, msg TEXT, changed INTEGER, state_before TEXT, state TEXT,
        stop_how TEXT, forced INTEGER, stop_seconds REAL, waited_seconds REAL, phases TEXT)""",
    "CREATE INDEX IF NOT EXISTS operations_of_server ON operations (uuid, number)",
    # A tenth of the time where a play asks for what is so already every few minutes. A journal made before this has none, and needs none.
    f"CREATE INDEX IF NOT EXISTS operations_that_tell ON operations (uuid, number) WHERE {_TELLS}",
    """CREATE TABLE IF NOT EXISTS intents (
        uuid TEXT PRIMARY KEY, name TEXT NOT NULL, up INTEGER NOT NULL, operation TEXT NOT NULL, origin TEXT NOT NULL, at TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS runs (
        uuid TEXT PRIMARY KEY, container TEXT NOT NULL, started_at TEXT NOT NULL, matchers INTEGER NOT NULL, matched INTEGER NOT NULL)""",
)

BEGIN = """INSERT INTO operations (id, uuid, name, action, origin, reason, mark, requested_at, accepted_at, begun_at)
    VALUES (:id, :uuid, :name, :action, :origin, :reason, :mark, :requested_at, :begun_at, :begun_at)
    ON CONFLICT (id) DO UPDATE SET begun_at = excluded.begun_at, mark = excluded.mark WHERE begun_at IS NULL AND outcome IS NULL"""

END = """UPDATE operations SET ended_at = :ended_at, outcome = :outcome, code = :code, msg = :msg, changed = :changed,
    state_before = :state_before, state = :state, stop_how = :stop_how, forced = :forced, stop_seconds = :stop_seconds,
    waited_seconds = :waited_seconds, phases = :phases WHERE id = :id"""

END_UNBEGUN = """INSERT INTO operations (id, uuid, name, action, origin, reason, requested_at, accepted_at, ended_at, outcome, code, msg,
    changed, state_before, state, stop_how, forced, stop_seconds, waited_seconds, phases)
    VALUES (:id, :uuid, :name, :action, :origin, :reason, :requested_at, :requested_at, :ended_at, :outcome, :code, :msg,
    :changed, :state_before, :state, :stop_how, :forced, :stop_seconds, :waited_seconds, :phases)"""

_UNENDED = "SELECT number, id, mark FROM operations WHERE begun_at IS NOT NULL AND outcome IS NULL"
UNENDED = _UNENDED + " AND uuid = :uuid AND id <> :id"
ALL_UNENDED = _UNENDED + " ORDER BY number"

INTERRUPTED_MSG = "The process that ran this action ended before the action did"

NOT_DURABLE_MSG = "after a power cut the journal may lack this"

#: An interrupted operation has an outcome but no end: nobody saw when it was.
END_INTERRUPTED = "UPDATE operations SET outcome = ?, code = ?, msg = ? WHERE number = ?"

# What did nothing goes first: asking again and again must not push out what was done. But the row just written stays, whatever it is: the
# last operation is always there to be read.
PRUNE = """DELETE FROM operations WHERE number IN (
    SELECT number FROM operations WHERE uuid = :uuid AND outcome IS NOT NULL AND id <> :id
    ORDER BY outcome IN ('unchanged', 'refused') DESC, number
    LIMIT max(0, (SELECT count(*) FROM operations WHERE uuid = :uuid AND outcome IS NOT NULL) - :kept))"""

SET_INTENT = """INSERT INTO intents (uuid, name, up, operation, origin, at) VALUES (:uuid, :name, :up, :operation, :origin, :at)
    ON CONFLICT (uuid) DO UPDATE SET name = excluded.name, up = excluded.up, operation = excluded.operation, origin = excluded.origin,
    at = excluded.at WHERE (:only_if_newer IS NULL OR intents.at < excluded.at OR intents.at > :only_if_newer)
    AND (:keep_since IS NULL OR intents.up <> excluded.up OR intents.at < :keep_since)"""

# The same run recorded twice keeps its match.
RECORD_RUN = """INSERT INTO runs (uuid, container, started_at, matchers, matched) VALUES (:uuid, :container, :started_at, :matchers, 0)
    ON CONFLICT (uuid) DO UPDATE SET matched = CASE WHEN runs.container = excluded.container AND runs.started_at = excluded.started_at
    THEN runs.matched ELSE 0 END, container = excluded.container, started_at = excluded.started_at, matchers = excluded.matchers"""

RECORD_MATCH = "UPDATE runs SET matched = 1 WHERE uuid = :uuid AND container = :container AND started_at = :started_at"

_OPERATION = """SELECT number, id, uuid, name, action, origin, reason, mark, requested_at, begun_at, ended_at, outcome, code, msg, changed,
    state_before, state, stop_how, forced, stop_seconds, waited_seconds, phases FROM operations """

OPERATIONS_OF = _OPERATION + "WHERE uuid = ? ORDER BY number DESC LIMIT ?"
OPERATIONS_UNDER = (
    _OPERATION
    + """WHERE uuid = :uuid AND action = :action AND id <> :but
    AND (reason = :key OR substr(reason, 1, length(:key) + 2) = :key || ': ') ORDER BY number DESC"""
)
WAITING = "SELECT 1 FROM operations WHERE id = ? AND begun_at IS NULL AND outcome IS NULL"
OPERATION_NAMED = _OPERATION + "WHERE id = ?"
OPERATIONS_NUMBERED = _OPERATION + "WHERE number IN ({holes})"
LAST_ACTS = (
    _OPERATION
    + f"""WHERE number IN (SELECT coalesce(
    (SELECT number FROM operations AS own WHERE own.uuid = each.uuid AND {_TELLS} ORDER BY number DESC LIMIT 1), each.newest)
    FROM (SELECT uuid, max(number) AS newest FROM operations WHERE uuid IN ({{holes}}) GROUP BY uuid) AS each)"""
)
# Not a window function: the SQLite of some systems has none. The index serves the inner statement.
LATEST_OPERATIONS = (
    _OPERATION
    + """WHERE uuid IN ({{holes}}) AND number IN
    (SELECT number FROM operations AS own WHERE own.uuid = operations.uuid ORDER BY number DESC LIMIT {limit:d}) ORDER BY number DESC"""
)
INTENTS = "SELECT uuid, up, operation, origin, at FROM intents WHERE uuid IN ({holes})"
MEANT_UP = "SELECT uuid, name FROM intents WHERE up ORDER BY uuid"
RUNS = "SELECT uuid, container, started_at, matchers, matched FROM runs WHERE uuid IN ({holes})"


class JournalUnusable(Exception):
    """The journal cannot be used now; the text is the reason alone."""


@dataclass(frozen=True)
class Intent:
    """An intent: the last action that ended done or unchanged meant the server to be ``up``, or down. ``at`` is ISO 8601."""

    up: bool
    operation: str
    origin: str
    at: str


@dataclass(frozen=True)
class StartedRun:
    """The latest run that this collection started: whether it has matchers for its readiness line, and whether one was seen."""

    run: Run
    matchers: bool
    matched: bool


@dataclass(frozen=True)
class OperationRow:
    """One operation as the journal has it. Times are ISO 8601; what has not happened, or is not known, is ``""`` or None.

    ``outcome`` is ``""`` while the operation is under way. One whose process is dead reads as ``failed``, code ``interrupted``.
    """

    id: str
    server: Server
    action: str
    origin: str = ""
    reason: str = ""
    requested_at: str = ""
    begun_at: str = ""
    ended_at: str = ""
    outcome: str = ""
    code: str = ""
    msg: str = ""
    changed: bool = False
    state_before: str = ""
    state: str = ""
    stop_how: str = ""
    forced: bool | None = None
    stop_seconds: float | None = None
    waited_seconds: float | None = None
    phases: tuple[tuple[str, float], ...] = ()
    number: int = 0
    mark: str = ""

    @property
    def under_way(self) -> bool:
        """Begun and not ended, as far as the row alone tells."""
        return bool(self.begun_at) and not self.outcome

    def interrupted(self) -> OperationRow:
        """The same operation, its process being dead."""
        return replace(self, outcome=Outcome.FAILED.value, code=INTERRUPTED, msg=INTERRUPTED_MSG)


_Told = TypeVar("_Told", Result, OperationRow)


def not_durable(told: _Told) -> _Told:
    """The same result or operation, of which a power cut may leave nothing in the journal. The outcome stays, and so does another code."""
    return told if told.code else replace(told, code=NOT_DURABLE, msg="; ".join(filter(None, (told.msg, NOT_DURABLE_MSG))))


def storable(value: str) -> str:
    """``value`` as SQLite can keep it: what came in undecodable from a command line or the environment is replaced."""
    return value.encode("utf-8", "replace").decode("utf-8")


def ending(result: Result, origin: str, reason: str) -> dict[str, Any]:
    """The parameters of `END` and `END_UNBEGUN`. Log lines, plans and definitions are left out on purpose: they may hold secrets."""
    stop = result.stop
    return {
        "id": result.operation,
        "uuid": result.server.uuid,
        "name": storable(result.server.name),
        "action": result.action.value,
        "origin": storable(origin),
        "reason": storable(reason),
        "requested_at": timestamp(result.requested_at),
        "ended_at": timestamp(result.ended_at),
        "outcome": result.outcome.value,
        "code": result.code,
        "msg": storable(result.msg)[:MSG_LIMIT],
        "changed": int(result.changed),
        "state_before": None if result.state_before is None else result.state_before.value,
        "state": None if result.state is None else result.state.value,
        "stop_how": None if stop is None else storable(stop.how),
        "forced": None if stop is None else int(stop.forced),
        "stop_seconds": None if stop is None else round(stop.seconds, 3),
        "waited_seconds": round(result.waited_seconds, 3),
        "phases": json.dumps([[name, round(seconds, 3)] for name, seconds in result.phases]),
    }


def operation_row(row: Mapping[str, Any]) -> OperationRow:
    """The value of one row of `operations`, whatever types were written to it."""
    return OperationRow(
        server=Server(_text(row["uuid"]), _text(row["name"])),
        changed=bool(row["changed"]),
        forced=None if row["forced"] is None else bool(row["forced"]),
        stop_seconds=_number(row["stop_seconds"]),
        waited_seconds=_number(row["waited_seconds"]),
        phases=_phases(row["phases"]),
        number=int(row["number"]),
        **{name: _text(row[name]) for name in _TEXTS},
    )


_TEXTS = (
    *("id", "action", "origin", "reason", "requested_at", "begun_at", "ended_at", "outcome", "code", "msg"),
    *("state_before", "state", "stop_how", "mark"),
)


def intent_of(row: Mapping[str, Any]) -> Intent:
    """The value of one row of `intents`."""
    return Intent(bool(row["up"]), _text(row["operation"]), _text(row["origin"]), _text(row["at"]))


def started_run(row: Mapping[str, Any]) -> StartedRun:
    """The value of one row of `runs`."""
    return StartedRun(Run(_text(row["container"]), _text(row["started_at"])), bool(row["matchers"]), bool(row["matched"]))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _phases(value: object) -> tuple[tuple[str, float], ...]:
    if not value:
        return ()
    try:
        return tuple((str(name), float(seconds)) for name, seconds in json.loads(_text(value)))
    except (ValueError, TypeError):
        return ()
