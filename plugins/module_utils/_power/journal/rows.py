# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of runs and ended runs: SQL statements and values; and the events of rows; pure.

Events hold no log lines and no plans, which may hold secrets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..events.event import Event, EventType
from ..model.caller import RESTORE_ORIGIN
from ..model.clock import engine_time, timestamp
from ..model.result import Outcome
from ..model.server import Run, Server
from ..model.supervision import ORIGIN, EndedRun, Limits, SeenRun, Verdict
from .schema import insertion, replacing, storable, text, value_of

_COLUMNS = (
    *("uuid", "name", "container", "started_at", "verdict", "ended_at", "exit_code", "oom_killed", "seconds", "log", "operation", "origin"),
    *("at", "due", "consecutive_crashes", "tries", "boot", "next_at", "attempt", "definition", "seen", "generation"),
)

#: The first verdict on a run stays. ``PENDING`` is no verdict yet.
WRITE = f"""{insertion("ended_runs", _COLUMNS)} ON CONFLICT (container, started_at) {replacing(_COLUMNS[4:])}
    WHERE ended_runs.verdict = '{Verdict.PENDING.value}' AND excluded.verdict <> '{Verdict.PENDING.value}'"""

PRUNE = """DELETE FROM ended_runs WHERE uuid = :uuid AND NOT due AND number NOT IN (
    SELECT number FROM ended_runs WHERE uuid = :uuid ORDER BY number DESC LIMIT :kept)"""

#: A newer run cancels due starts of earlier runs. If it has a row of its own, only earlier rows close.
CLOSE_BEFORE = """UPDATE ended_runs SET due = 0, code = '', msg = '',
    next_container = CASE WHEN number = :answers THEN :container ELSE next_container END,
    next_started_at = CASE WHEN number = :answers THEN :started_at ELSE next_started_at END
    WHERE uuid = :uuid AND due AND NOT (container = :container AND started_at = :started_at)
    AND number < coalesce((SELECT number FROM ended_runs WHERE container = :container AND started_at = :started_at), number + 1)"""
#: The same for the end of a newer run. It answers the row with a begun start whose end was never written.
FOLLOWED = """UPDATE ended_runs SET due = 0, code = '', msg = '',
    next_container = CASE WHEN attempt <> '' AND next_container = '' THEN :container ELSE next_container END,
    next_started_at = CASE WHEN attempt <> '' AND next_container = '' THEN :started_at ELSE next_started_at END WHERE number = :number"""
CLOSE_ALL = "UPDATE ended_runs SET due = 0 WHERE uuid = :uuid AND due"
CLOSE = "UPDATE ended_runs SET due = 0, code = :code, msg = :msg WHERE number = :number"
NOTE_ATTEMPT = "UPDATE ended_runs SET attempt = :attempt WHERE number = :number"
PUT_OFF = """UPDATE ended_runs SET attempt = '', code = :code, msg = :msg, tries = :tries,
    consecutive_crashes = :consecutive_crashes, boot = :boot, next_at = :next_at, definition = :definition WHERE number = :number AND due"""
REVIVE = "UPDATE ended_runs SET due = 1, attempt = '', code = '', msg = '', boot = :boot, next_at = :next_at WHERE number = :number"

#: The same run seen again keeps its known facts. Its generation is that of its latest start.
SEE = """INSERT INTO runs (uuid, container, started_at, generation, engine, answers, stop_signal, matchers)
    VALUES (:uuid, :container, :started_at, :generation, :engine, :answers, :stop_signal, :matchers)
    ON CONFLICT (uuid) DO UPDATE SET
    generation = CASE WHEN {same} THEN max(runs.generation, excluded.generation) ELSE excluded.generation END,
    engine = CASE WHEN {same} AND excluded.engine = '' THEN runs.engine ELSE excluded.engine END,
    spoilt = CASE WHEN {same} THEN runs.spoilt ELSE 0 END,
    console_stop = CASE WHEN {same} THEN runs.console_stop ELSE 0 END,
    answers = CASE WHEN {same} THEN max(runs.answers, excluded.answers) ELSE excluded.answers END,
    stop_signal = CASE WHEN {same} THEN coalesce(excluded.stop_signal, runs.stop_signal) ELSE excluded.stop_signal END,
    matchers = CASE WHEN {same} THEN coalesce(excluded.matchers, runs.matchers) ELSE excluded.matchers END,
    matched = CASE WHEN {same} THEN runs.matched ELSE 0 END,
    container = excluded.container, started_at = excluded.started_at""".format(
    same="runs.container = excluded.container AND runs.started_at = excluded.started_at"
)
_OF_THE_RUN = "WHERE uuid = :uuid AND container = :container AND started_at = :started_at"
MATCH = f"UPDATE runs SET matched = 1 {_OF_THE_RUN}"
SPOIL = f"UPDATE runs SET spoilt = 1 {_OF_THE_RUN}"
STOP_BY_CONSOLE = f"UPDATE runs SET console_stop = :at {_OF_THE_RUN}"
SET_VALUE = "INSERT INTO supervisor (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

_ROW = "SELECT * FROM ended_runs "
OF_RUN = _ROW + "WHERE container = ? AND started_at = ?"
DUE = _ROW + "WHERE due ORDER BY number"
PENDING = _ROW + f"WHERE verdict = '{Verdict.PENDING.value}' ORDER BY number"
PENDING_OF = _ROW + f"WHERE uuid = ? AND verdict = '{Verdict.PENDING.value}' ORDER BY number"
DUE_OF = _ROW + "WHERE uuid = ? AND due ORDER BY number"
NUMBERED = _ROW + "WHERE number = ?"
ANSWERED_BY = _ROW + "WHERE uuid = :uuid AND next_container = :container AND next_started_at = :started_at"
NEWEST = _ROW + "WHERE number IN (SELECT max(number) FROM ended_runs WHERE uuid IN ({holes}) GROUP BY uuid)"
# Not a window function: the SQLite of some systems has none.
LATEST = """SELECT * FROM ended_runs WHERE uuid IN ({{holes}}) AND number IN
    (SELECT number FROM ended_runs AS own WHERE own.uuid = ended_runs.uuid ORDER BY number DESC LIMIT {limit:d}) ORDER BY number DESC"""
CRASHES = """SELECT uuid, count(*) AS crashes FROM ended_runs
    WHERE verdict IN ('crashed', 'hung') AND at >= '{since}' AND uuid IN ({{holes}}) GROUP BY uuid"""
HUNG = "SELECT count(*) AS runs FROM ended_runs WHERE uuid = ? AND verdict = 'hung' AND at >= ?"
COUNT = "INSERT INTO ended_totals (verdict, runs) VALUES (?, 1) ON CONFLICT (verdict) DO UPDATE SET runs = runs + 1"
COUNTED = "SELECT verdict, runs FROM ended_totals"
SEEN = "SELECT * FROM runs WHERE uuid IN ({holes})"
SEEN_OPEN = """SELECT uuid FROM runs WHERE NOT EXISTS (
    SELECT 1 FROM ended_runs WHERE ended_runs.container = runs.container AND ended_runs.started_at = runs.started_at)"""
SEEN_UUIDS = "SELECT uuid FROM runs"
VALUE = "SELECT value FROM supervisor WHERE name = ?"


def keys_of(uuid: str, run: Run) -> dict[str, Any]:
    return {"uuid": uuid, "container": run.container, "started_at": run.started_at}


def parameters_of(row: EndedRun) -> dict[str, Any]:
    return {
        **vars(row),
        **keys_of(row.server.uuid, row.run),
        "name": storable(row.server.name),
        "verdict": row.verdict.value,
        "log": json.dumps([storable(line) for line in row.log]),
        "origin": storable(row.origin),
        "seen": "" if row.seen is None else json.dumps(asdict(row.seen)),
    }


def ended_run(row: Mapping[str, Any]) -> EndedRun:
    """Return the value of a row of ``ended_runs``. The row may hold values of any type."""
    brought = Run(text(row["next_container"]), text(row["next_started_at"]))
    verdict = text(row["verdict"])
    return value_of(
        EndedRun,
        row,
        server=Server(text(row["uuid"]), text(row["name"])),
        run=_run(row),
        verdict=Verdict(verdict) if verdict in _VERDICTS else Verdict.ENDED_UNOBSERVED,
        log=_lines(row["log"]),
        next_run=brought if brought.container else None,
        seen=_seen(row["seen"]),
    )


_VERDICTS = frozenset(each.value for each in Verdict)


def seen_run(row: Mapping[str, Any]) -> SeenRun:
    return value_of(SeenRun, row, run=_run(row))


def _run(row: Mapping[str, Any]) -> Run:
    return Run(text(row["container"]), text(row["started_at"]))


def _seen(value: object) -> SeenRun | None:
    try:
        fields = json.loads(text(value))
        return SeenRun(**{**fields, "run": Run(**fields["run"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _lines(value: object) -> tuple[str, ...]:
    try:
        return tuple(str(line) for line in json.loads(text(value)))
    except (ValueError, TypeError, RecursionError):
        return ()


#: Outcomes without an event: the action had nothing to do.
_QUIET = (Outcome.UNCHANGED.value, Outcome.SKIPPED.value)
#: No person gets the answers of these origins, so a refusal of theirs is an event.
_UNATTENDED = (ORIGIN, RESTORE_ORIGIN)


def of_operation(row: Mapping[str, Any], at: str) -> tuple[Event, ...]:
    """Return the event of an ended operation. A refusal before its beginning makes none: its caller gets an answer, and may repeat it."""
    never_began = row["outcome"] == Outcome.REFUSED.value and not row["begun_at"] and row["origin"] not in _UNATTENDED
    if row["outcome"] in _QUIET or never_began:
        return ()
    names = ("action", "outcome", "code", "msg", "origin", "reason", "requested_at", "begun_at", "ended_at", "state_before", "state")
    data = {"operation": row["id"], **{name: row[name] or None for name in names}}
    data["changed"] = None if row["changed"] is None else bool(row["changed"])
    data["forced"] = None if row["forced"] is None else bool(row["forced"])
    return (Event(EventType.ACTION_ENDED, at, data, Server(str(row["uuid"]), str(row["name"]))),)


def of_end(row: EndedRun, limits: Limits) -> tuple[Event, ...]:
    """Return the events of a run's end: a crash, and the crash loop that it begins."""
    crashed = (Event(EventType.SERVER_CRASHED, row.at or row.ended_at, _end(row), row.server),) if row.is_crash else ()
    if not row.counts or row.consecutive_crashes != limits.max_restarts + 1:
        return crashed
    data = {**_end(row), "max_restarts": limits.max_restarts}
    return (*crashed, Event(EventType.SERVER_CRASH_LOOP, row.at or row.ended_at, data, row.server))


def of_recovery(crash: EndedRun, run: Run) -> Event:
    """Return the event of a crashed server that is up again."""
    began = engine_time(run.started_at)
    data = {
        "container": run.container,
        "started_at": run.started_at,
        "crashed_at": crash.ended_at or crash.at or None,
        "consecutive_crashes": crash.consecutive_crashes,
    }
    return Event(EventType.SERVER_RECOVERED, run.started_at if began is None else timestamp(began), data, crash.server)


def _end(row: EndedRun) -> dict[str, Any]:
    return {
        "container": row.run.container,
        "started_at": row.run.started_at,
        "verdict": row.verdict.value,
        "ended_at": row.ended_at or None,
        "exit_code": row.exit_code,
        "oom_killed": row.oom_killed,
        "seconds": row.seconds,
        "consecutive_crashes": row.consecutive_crashes,
        "start_is_due": row.due,
    }
