# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a rolling run: numbers, times and servers; pure."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ..._power.model.clock import engine_time, timestamp
from ..._power.model.errors import PlayersUnknown
from ..._power.model.plain import as_list, read_number
from ..table import plural
from .record import FOR_PLAYERS, FROZEN, Record, Row, left_words, outcome_words, some_of
from .values import FAILURES, NOT_DONE, OFFLINE, OUTCOMES

SCHEMA = 1
HEADINGS = ("node", "server", "name", "outcome", "code", "seconds", "message")
_LINES, _LINE_CHARACTERS = 8, 200
#: The most that a node may report of one server.
_PHASES, _PHASE_CHARACTERS = 60, 20
_LONGEST_SECONDS = 10.0**8


def note_timing(row: Row, entry: Mapping[str, Any]) -> None:
    """Note in a row a server's begin, phases and downtime, and the end of its log if it failed."""
    row.began_at, row.phases, row.downtime = _began_at(entry), _phases(entry), _downtime(entry)
    if row.is_failure and row.state == OFFLINE:
        # A run that came and went since did not end the downtime.
        row.downtime = {name: value for name, value in row.downtime.items() if name == "from"}
    lines = as_list(entry.get("log"))[-_LINES:] if row.is_failure else ()
    row.log = [str(line)[:_LINE_CHARACTERS] for line in lines]


def moment_of(text: object) -> datetime | None:
    """Return the moment of a timestamp, in the forms of nodes, engines and records."""
    return engine_time(text) if isinstance(text, str) else None


def downtime_of(record: Record) -> dict[str, Any]:
    """Return the number of servers with a known downtime, its sum, and the longest."""
    found = [float(row.downtime["seconds"]) for row in record.rows if "seconds" in row.downtime]
    return {"servers": len(found), "seconds": round(sum(found), 3), "longest": max(found, default=0.0)}


def _began_at(entry: Mapping[str, Any]) -> str:
    """Return the begin of the action: its end less its seconds."""
    operation = entry.get("operation")
    ended = moment_of(operation.get("ended_at")) if isinstance(operation, Mapping) else None
    seconds = _number(entry.get("seconds"))
    return "" if ended is None or seconds is None else timestamp(ended - timedelta(seconds=seconds))


def _phases(entry: Mapping[str, Any]) -> list[Any]:
    found = []
    for each in as_list(entry.get("phases"))[:_PHASES]:
        at = _number(each.get("at")) if isinstance(each, Mapping) else None
        if at is not None:
            found.append([str(each.get("phase"))[:_PHASE_CHARACTERS], at])
    return found


def _downtime(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the downtime with its begin, computed from the run that ended it."""
    downtime, run = entry.get("downtime"), entry.get("run")
    if not isinstance(downtime, Mapping):
        return {}
    numbers = {name: _number(downtime.get(name)) for name in ("seconds", "ready_seconds")}
    found: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    since, seconds = moment_of(downtime.get("since")), numbers["seconds"]
    started = moment_of(run.get("started_at")) if isinstance(run, Mapping) else None
    if seconds is not None and started is not None:
        since = started - timedelta(seconds=seconds)
    if since is not None:
        found["from"] = timestamp(since.astimezone(timezone.utc))
    return found


def _number(value: object) -> float | None:
    number = read_number(value, 0, _LONGEST_SECONDS)
    return None if number is None else float(number)


def table_rows(record: Record) -> list[tuple[object, ...]]:
    """Return a row for each server, failures last: the end of a long table is visible."""
    return [_cells(row) for row in sorted(record.rows, key=lambda row: (row.is_failure, row.outcome == NOT_DONE))]


def counts(record: Record) -> dict[str, int]:
    """Return the number of servers for each outcome and in all, of servers left alone, and of nodes with unknown servers."""
    servers = [row for row in record.rows if row.server is not None]
    found = Counter(row.outcome for row in servers) + Counter(row.left for row in servers)
    return {
        "selected": len(servers),
        **{outcome: found[outcome] for outcome in OUTCOMES},
        "for_players": found[FOR_PLAYERS],
        "frozen": found[FROZEN],
        "nodes_unknown": len(record.rows) - len(servers),
    }


def summary(record: Record) -> str:
    """Return a line of counts, and the reason if the run stopped."""
    found = counts(record)
    said = outcome_words([row for row in record.rows if row.server is not None])
    begun = f" in {record.begun} of {plural(record.batches, 'batch', 'batches')}" if record.batches else ""
    text = f"{record.action} of {found['selected']}{begun}"
    if said or not found["nodes_unknown"]:
        text += f": {said or 'nothing to do'}"
    if found["nodes_unknown"]:
        text += f"; the servers of {plural(found['nodes_unknown'], 'node')} are not all known"
    if record.check:
        text += " (check mode, nothing was changed)"
    return f"{text}; stopped: {record.stopped}" if record.stopped else text


def blamed(record: Record) -> dict[str, str]:
    """Return a sentence for each node with failures."""
    found: dict[str, list[Row]] = {}
    for row in record.rows:
        if (row.is_failure or row.left) and row.node is not None:
            found.setdefault(row.node, []).append(row)
    endings = {node: "failed" if any(row.is_failure for row in rows) else left_words(rows) for node, rows in found.items()}
    return {node: f"{record.action.capitalize()} {endings[node]} on {node}: {some_of(rows, node)}" for node, rows in found.items()}


def going_on(record: Record, resume_file: str) -> str:
    return "".join(parts_of_going_on(record, resume_file))


def parts_of_going_on(record: Record, resume_file: str) -> list[str]:
    """Return how to continue the run, in parts: words, then options of the command, in turn."""
    text = ["continue with the same command and ", _typed("rollout_resume", resume_file)]
    again = _typed("rollout_resume_failed", "true")
    if record.needs_failed:
        return [*text, " ", again]
    return [*text, ", and with ", again, " to try failed servers again"] if record.failed else text


def _typed(name: str, value: str) -> str:
    plain = re.fullmatch(r"[\w./~+:@%-]+", value)
    return f"-e {name}={value}" if plain else f"-e {shlex.quote(json.dumps({name: value}))}"


def result(record: Record, *, ended_at: str, seconds: float, resume_file: str | None) -> dict[str, Any]:
    """Return the result for programs. ``ok`` is whether the exit code is 0."""
    times = [dict(zip(("batch", "began_at", "ended_at"), each)) for each in record.batch_times]
    return {
        "schema": SCHEMA,
        **{name: getattr(record, name) for name in ("run", "action", "reason", "by", "check")},
        "ok": record.is_good,
        "msg": summary(record),
        "stopped": record.stopped or None,
        "began_at": record.began_at,
        "ended_at": ended_at,
        "seconds": round(seconds, 3),
        "counts": counts(record),
        "budget": {"allowed": record.budget, "used": record.failures},
        "batches": {"planned": record.batches, "begun": record.begun, "times": times},
        "downtime": downtime_of(record),
        "window": {"not_before": record.not_before or None, "deadline": record.deadline or None},
        "resume_file": resume_file,
        "servers": [_entry(row) for row in record.rows],
    }


def verdict(whole: Mapping[str, Any], blamed_nodes: Sequence[str], *, left_ok: bool = False) -> dict[str, Any]:
    """Return a short result, since Ansible prints that of a failed task. ``left_ok``: frozen servers and those
    left to counted players are well."""
    fields = {name: whole[name] for name in ("run", "resume_file", "counts")}
    if whole["ok"]:
        return fields
    found = {**whole["counts"], NOT_DONE: whole["counts"][NOT_DONE] - whole["counts"]["for_players"] - whole["counts"]["frozen"]}
    bad = [f"{found[outcome]} {outcome.replace('_', ' ')}" for outcome in (*FAILURES, NOT_DONE) if found[outcome]]
    uncounted = sum(row["outcome"] == NOT_DONE and row.get("code") == PlayersUnknown.code for row in whole["servers"]) if left_ok else 0
    left = {FOR_PLAYERS: found["for_players"] - uncounted, FROZEN: found["frozen"]}
    bad += [f"{number} {words}" for words, number in left.items() if number]
    if uncounted:
        whose = "its" if uncounted == 1 else "their"
        bad.append(f"{uncounted} skipped: {whose} players could not be counted, which rollout_left_ok does not allow")
    msg = f"Run {whole['run']} failed{': ' if bad else ''}{', '.join(bad)}"
    return {"failed": True, "msg": msg, "run": whole["run"], "resume_file": whole["resume_file"], "failed_nodes": list(blamed_nodes)}


def no_result(msg: str, code: str, *, ended_at: str) -> dict[str, Any]:
    """Return the result of a run that could not begin."""
    return {"schema": SCHEMA, "ok": False, "code": code, "msg": msg, "ended_at": ended_at, "servers": []}


def _entry(row: Row) -> dict[str, Any]:
    names = ("node", "server", "name", "batch", "outcome", "code", "msg", "seconds", "changed", "state")
    fields = {name: getattr(row, name) for name in names}
    if row.phases:
        fields |= {"began_at": row.began_at, "phases": [{"phase": name, "at": at} for name, at in row.phases]}
    if row.downtime:
        fields["downtime"] = row.downtime
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _cells(row: Row) -> tuple[object, ...]:
    server = row.server[:8] if row.server and row.node else row.server
    seconds = None if row.seconds is None else round(row.seconds, 1)
    return (row.node, server, row.name or None, row.outcome.replace("_", " "), row.code or None, seconds, row.msg or None)
