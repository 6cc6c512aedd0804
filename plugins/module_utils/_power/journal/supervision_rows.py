# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal's rows of ended and seen runs: tables, the values read from them, and the statements between the two.

Nothing here opens a file. The tables are made by whoever writes first: a journal begun by a version that knew no supervisor has none, and
versions of both kinds may write the same file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..model.server import Run, Server
from ..model.supervision import EndedRun, SeenRun, Verdict
from .journal_rows import MSG_LIMIT, storable
from .store import JournalStore, has_table

if TYPE_CHECKING:
    import sqlite3

#: Tables that a journal may lack.
ENDED, SEEN, VALUES, TOTALS = "ended_runs", "seen_runs", "supervisor", "ended_totals"

#: How many ended runs are kept for one server.
KEPT_RUNS = 100

#: No number in a row means more.
_MOST = 2**53

_CREATE = (
    """CREATE TABLE IF NOT EXISTS ended_runs (
        number INTEGER PRIMARY KEY, uuid TEXT NOT NULL, name TEXT NOT NULL, container TEXT NOT NULL, started_at TEXT NOT NULL,
        verdict TEXT NOT NULL, ended_at TEXT NOT NULL DEFAULT '', exit_code INTEGER, oom_killed INTEGER NOT NULL DEFAULT 0, seconds REAL,
        log TEXT NOT NULL DEFAULT '[]', operation TEXT NOT NULL DEFAULT '', origin TEXT NOT NULL DEFAULT '', at TEXT NOT NULL DEFAULT '',
        due INTEGER NOT NULL DEFAULT 0, consecutive_crashes INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
        boot TEXT NOT NULL DEFAULT '', next_at REAL NOT NULL DEFAULT 0, attempt TEXT NOT NULL DEFAULT '',
        code TEXT NOT NULL DEFAULT '', msg TEXT NOT NULL DEFAULT '', next_container TEXT NOT NULL DEFAULT '',
        next_started_at TEXT NOT NULL DEFAULT '', definition TEXT NOT NULL DEFAULT '',
        seen TEXT NOT NULL DEFAULT '', generation INTEGER, UNIQUE (container, started_at))""",
    "CREATE INDEX IF NOT EXISTS ended_runs_of_server ON ended_runs (uuid, number)",
    # Crashes are counted at each look at all servers: without reading rows, which have logs.
    "CREATE INDEX IF NOT EXISTS ended_runs_by_verdict ON ended_runs (uuid, verdict, at)",
    """CREATE TABLE IF NOT EXISTS seen_runs (
        uuid TEXT PRIMARY KEY, container TEXT NOT NULL, started_at TEXT NOT NULL, generation INTEGER NOT NULL,
        engine TEXT NOT NULL DEFAULT '', spoilt INTEGER NOT NULL DEFAULT 0, console_stop INTEGER NOT NULL DEFAULT 0,
        answers INTEGER NOT NULL DEFAULT 0, stop_signal INTEGER)""",
    "CREATE TABLE IF NOT EXISTS supervisor (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS ended_totals (verdict TEXT PRIMARY KEY, runs INTEGER NOT NULL)",
)

_COLUMNS = (
    *("uuid", "name", "container", "started_at", "verdict", "ended_at", "exit_code", "oom_killed", "seconds", "log", "operation", "origin"),
    *("at", "due", "consecutive_crashes", "tries", "boot", "next_at", "definition", "seen", "generation"),
)
_HOLES = ", ".join(f":{name}" for name in _COLUMNS)
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[4:])

#: The first verdict on a run stays. What a starter noted is none yet.
WRITE = f"""INSERT INTO ended_runs ({", ".join(_COLUMNS)}) VALUES ({_HOLES}) ON CONFLICT (container, started_at) DO UPDATE SET {_CHANGED}
    WHERE ended_runs.verdict = '{Verdict.PENDING.value}' AND excluded.verdict <> '{Verdict.PENDING.value}'"""

PRUNE = """DELETE FROM ended_runs WHERE uuid = :uuid AND NOT due AND number NOT IN (
    SELECT number FROM ended_runs WHERE uuid = :uuid ORDER BY number DESC LIMIT :kept)"""

#: A newer run closes what asked for one: of rows before its own, if it has one already.
CLOSE_BEFORE = """UPDATE ended_runs SET due = 0, code = '', msg = '',
    next_container = CASE WHEN number = :answers THEN :container ELSE next_container END,
    next_started_at = CASE WHEN number = :answers THEN :started_at ELSE next_started_at END
    WHERE uuid = :uuid AND due AND NOT (container = :container AND started_at = :started_at)
    AND number < coalesce((SELECT number FROM ended_runs WHERE container = :container AND started_at = :started_at), number + 1)"""
#: The end of a newer run says that there was one. It was started for a row whose start had begun and was never told to have ended.
FOLLOWED = """UPDATE ended_runs SET due = 0, code = '', msg = '',
    next_container = CASE WHEN attempt <> '' AND next_container = '' THEN :container ELSE next_container END,
    next_started_at = CASE WHEN attempt <> '' AND next_container = '' THEN :started_at ELSE next_started_at END WHERE number = :number"""
CLOSE_ALL = "UPDATE ended_runs SET due = 0 WHERE uuid = :uuid AND due"
CLOSE = "UPDATE ended_runs SET due = 0, code = :code, msg = :msg WHERE number = :number"
NOTE_ATTEMPT = "UPDATE ended_runs SET attempt = :attempt WHERE number = :number"
PUT_OFF = """UPDATE ended_runs SET attempt = '', code = :code, msg = :msg, tries = :tries,
    consecutive_crashes = :consecutive_crashes, boot = :boot, next_at = :next_at, definition = :definition WHERE number = :number AND due"""
REVIVE = "UPDATE ended_runs SET due = 1, attempt = '', code = '', msg = '', boot = :boot, next_at = :next_at WHERE number = :number"

#: The same run seen again keeps what is known of it; its generation is that of the latest start asked for it.
SEE = """INSERT INTO seen_runs (uuid, container, started_at, generation, engine, answers, stop_signal)
    VALUES (:uuid, :container, :started_at, :generation, :engine, :answers, :stop_signal)
    ON CONFLICT (uuid) DO UPDATE SET
    generation = CASE WHEN {same} THEN max(seen_runs.generation, excluded.generation) ELSE excluded.generation END,
    engine = CASE WHEN {same} AND excluded.engine = '' THEN seen_runs.engine ELSE excluded.engine END,
    spoilt = CASE WHEN {same} THEN seen_runs.spoilt ELSE 0 END,
    console_stop = CASE WHEN {same} THEN seen_runs.console_stop ELSE 0 END,
    answers = CASE WHEN {same} THEN max(seen_runs.answers, excluded.answers) ELSE excluded.answers END,
    stop_signal = CASE WHEN {same} THEN coalesce(excluded.stop_signal, seen_runs.stop_signal) ELSE excluded.stop_signal END,
    container = excluded.container, started_at = excluded.started_at""".format(
    same="seen_runs.container = excluded.container AND seen_runs.started_at = excluded.started_at"
)
SPOIL = "UPDATE seen_runs SET spoilt = 1 WHERE uuid = :uuid AND container = :container AND started_at = :started_at"
STOP_BY_CONSOLE = "UPDATE seen_runs SET console_stop = :at WHERE uuid = :uuid AND container = :container AND started_at = :started_at"
SET_VALUE = "INSERT INTO supervisor (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

_ROW = "SELECT * FROM ended_runs "
#: All of a row but what is long.
COLUMNS_WITHOUT_LOG = ", ".join(
    (
        *(name for name in _COLUMNS if name not in ("log", "seen")),
        *("number", "attempt", "code", "next_container", "next_started_at", "'' AS log", "'' AS seen", "'' AS msg"),
    )
)
OF_RUN = _ROW + "WHERE container = ? AND started_at = ?"
DUE = _ROW + "WHERE due ORDER BY number"
NOTED = _ROW + f"WHERE verdict = '{Verdict.PENDING.value}' ORDER BY number"
NOTED_OF = _ROW + f"WHERE uuid = ? AND verdict = '{Verdict.PENDING.value}' ORDER BY number"
DUE_OF = _ROW + "WHERE uuid = ? AND due ORDER BY number"
NUMBERED = _ROW + "WHERE number = ?"
ANSWERED_BY = _ROW + "WHERE uuid = :uuid AND next_container = :container AND next_started_at = :started_at"
NEWEST = _ROW + "WHERE number IN (SELECT max(number) FROM ended_runs WHERE uuid IN ({holes}) GROUP BY uuid)"
# Not a window function: the SQLite of some systems has none.
LATEST = (
    _ROW
    + """WHERE uuid IN ({{holes}}) AND number IN
    (SELECT number FROM ended_runs AS own WHERE own.uuid = ended_runs.uuid ORDER BY number DESC LIMIT {limit:d}) ORDER BY number DESC"""
)
#: Whoever is counted asks since when with the first parameter.
CRASHES = (
    "SELECT uuid, count(*) AS crashes FROM ended_runs WHERE verdict = 'crashed' AND at >= '{since}' AND uuid IN ({{holes}}) GROUP BY uuid"
)
#: Rows are pruned, what was counted stays.
COUNT = "INSERT INTO ended_totals (verdict, runs) VALUES (?, 1) ON CONFLICT (verdict) DO UPDATE SET runs = runs + 1"
COUNTED = "SELECT verdict, runs FROM ended_totals"
SEEN_OF = "SELECT * FROM seen_runs WHERE uuid = ?"
#: Runs that were seen up, and whose end nobody has written.
SEEN_OPEN = """SELECT uuid FROM seen_runs WHERE NOT EXISTS (
    SELECT 1 FROM ended_runs WHERE ended_runs.container = seen_runs.container AND ended_runs.started_at = seen_runs.started_at)"""
SEEN_ALL = "SELECT * FROM seen_runs"
VALUE = "SELECT value FROM supervisor WHERE name = ?"


def make_tables(connection: sqlite3.Connection) -> None:
    """Make what is missing of these tables."""
    for statement in _CREATE:
        connection.execute(statement)


def known(store: JournalStore, table: str, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
    """Return the rows of a statement on one of these tables, none where the journal lacks it. Raises `JournalUnusable`, OSError."""

    def work(connection: sqlite3.Connection) -> list[Any]:
        return connection.execute(statement, parameters).fetchall() if has_table(connection, table) else []

    return store.read_or_raise(work, [])


def parameters_of(row: EndedRun) -> dict[str, Any]:
    """The parameters of `WRITE`."""
    return {
        "uuid": row.server.uuid,
        "name": storable(row.server.name),
        "container": row.run.container,
        "started_at": row.run.started_at,
        "verdict": row.verdict.value,
        "ended_at": row.ended_at,
        "exit_code": row.exit_code,
        "oom_killed": int(row.oom_killed),
        "seconds": row.seconds,
        "log": json.dumps([storable(line) for line in row.log]),
        "operation": row.operation,
        "origin": storable(row.origin),
        "at": row.at,
        "due": int(row.due),
        "consecutive_crashes": row.consecutive_crashes,
        "tries": row.tries,
        "boot": row.boot,
        "next_at": row.next_at,
        "definition": row.definition,
        "seen": "" if row.seen is None else json.dumps(asdict(row.seen)),
        "generation": row.generation,
    }


def ended_run(row: Mapping[str, Any]) -> EndedRun:
    """The value of one row of `ended_runs`, whatever types were written to it."""
    brought = Run(_text(row["next_container"]), _text(row["next_started_at"]))
    verdict = _text(row["verdict"])
    return EndedRun(
        server=Server(_text(row["uuid"]), _text(row["name"])),
        run=Run(_text(row["container"]), _text(row["started_at"])),
        verdict=Verdict(verdict) if verdict in _VERDICTS else Verdict.ENDED_UNOBSERVED,
        exit_code=_number(row["exit_code"]),
        oom_killed=bool(row["oom_killed"]),
        seconds=_seconds(row["seconds"]),
        log=_lines(row["log"]),
        due=bool(row["due"]),
        consecutive_crashes=_number(row["consecutive_crashes"]) or 0,
        tries=_number(row["tries"]) or 0,
        next_at=_seconds(row["next_at"]) or 0.0,
        next_run=brought if brought.container else None,
        number=int(row["number"]),
        seen=_seen(row["seen"]),
        generation=_number(row["generation"]),
        **{name: _text(row[name]) for name in _TEXTS},
    )


_TEXTS = ("ended_at", "operation", "origin", "at", "boot", "attempt", "code", "msg", "definition")
_VERDICTS = frozenset(each.value for each in Verdict)


def seen_run(row: Mapping[str, Any]) -> SeenRun:
    """The value of one row of `seen_runs`."""
    return SeenRun(
        run=Run(_text(row["container"]), _text(row["started_at"])),
        generation=_number(row["generation"]) or 0,
        engine=_text(row["engine"]),
        spoilt=bool(row["spoilt"]),
        console_stop=_number(row["console_stop"]) or 0,
        answers=_number(row["answers"]) or 0,
        stop_signal=_number(row["stop_signal"]),
    )


def shortened(msg: str) -> str:
    """Return a sentence as rows keep it."""
    return storable(msg)[:MSG_LIMIT]


def _seen(value: object) -> SeenRun | None:
    if not value:
        return None
    try:
        fields = json.loads(_text(value))
        return SeenRun(**{**fields, "run": Run(**fields["run"])}) if fields else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _number(value: object) -> int | None:
    """Return a whole number that can be counted on and written again; None for anything else."""
    return value if isinstance(value, int) and abs(value) < _MOST else None


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and abs(value) < _MOST else None


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _lines(value: object) -> tuple[str, ...]:
    if not value:
        return ()
    try:
        return tuple(str(line) for line in json.loads(_text(value)))
    except (ValueError, TypeError, RecursionError):
        return ()
