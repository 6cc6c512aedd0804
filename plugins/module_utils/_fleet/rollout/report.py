# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run at its end: a table, a line of counts, and the result as JSON; pure."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..._power.model.errors import PlayersUnknown
from ..table import plural
from .record import Record, Row, outcome_words, some_of
from .timing import downtime_of
from .words import FAILURES, NOT_DONE, OUTCOMES

SCHEMA = 1
HEADINGS = ("node", "server", "name", "outcome", "code", "seconds", "message")
_SHORT_ID = 8


def table_rows(record: Record) -> list[tuple[object, ...]]:
    """A row for each server, those that went wrong last: the end of a long table is what is seen."""
    return [_cells(row) for row in sorted(record.rows, key=_weight)]


def counts(record: Record) -> dict[str, int]:
    """How many servers ended how, and all of them; how many of the not done were left alone for players; and of how many nodes it is not
    known which servers they have."""
    servers = [row for row in record.rows if row.server is not None]
    found = Counter(row.outcome for row in servers)
    nodes = len(record.rows) - len(servers)
    for_players = sum(row.is_for_players for row in servers)
    return {
        "selected": len(servers),
        **{outcome: found[outcome] for outcome in OUTCOMES},
        "for_players": for_players,
        "nodes_unknown": nodes,
    }


def summary(record: Record) -> str:
    """A line of counts, and why the run stopped if it did."""
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


def blame(record: Record, node: str) -> str:
    """Return why a node fails: for what went wrong there, or for what is no node's fault."""
    return blamed(record).get(node) or f"Cannot end the {record.action} well: {summary(record)}"


def blamed(record: Record) -> dict[str, str]:
    """Return a sentence for each node on which something went wrong."""
    found: dict[str, list[Row]] = {}
    for row in record.rows:
        if (row.is_failure or row.is_for_players) and row.node is not None:
            found.setdefault(row.node, []).append(row)
    return {node: f"Cannot end the {record.action} well on {node}: {some_of(rows)}" for node, rows in found.items()}


def going_on(record: Record, resume_file: str) -> str:
    """Return how the next run does what this one has left."""
    return "".join(parts_of_going_on(record, resume_file))


def parts_of_going_on(record: Record, resume_file: str) -> list[str]:
    """Return the same in parts, of which every second one is what is typed."""
    text = ["go on with the same command and ", _typed("rollout_resume", resume_file)]
    again = _typed("rollout_resume_failed", "true")
    if record.needs_failed:
        return [*text, " ", again]
    return [*text, ", and with ", again, " if what failed is to be tried again"] if record.failed else text


def _typed(name: str, value: str) -> str:
    """Return a variable as it is given in a shell."""
    plain = re.fullmatch(r"[\w./~+:@%-]+", value)
    return f"-e {name}={value}" if plain else f"-e {shlex.quote(json.dumps({name: value}))}"


def result(record: Record, *, ended_at: str, seconds: float, resume_file: str | None) -> dict[str, Any]:
    """The result for programs. ``ok`` is whether the run's exit code is 0."""
    return {
        "schema": SCHEMA,
        "run": record.run,
        "action": record.action,
        "reason": record.reason,
        "by": record.by,
        "check": record.check,
        "ok": record.is_good,
        "msg": summary(record),
        "stopped": record.stopped or None,
        "began_at": record.began_at,
        "ended_at": ended_at,
        "seconds": round(seconds, 3),
        "counts": counts(record),
        "budget": {"allowed": record.budget, "used": record.failures},
        "batches": {"planned": record.batches, "begun": record.begun, "times": [_batch(each) for each in record.batch_times]},
        "downtime": downtime_of(record),
        "window": {"not_before": record.not_before or None, "deadline": record.deadline or None},
        "resume_file": resume_file,
        "servers": [_entry(row) for row in record.rows],
    }


def verdict(told: Mapping[str, Any], blamed_nodes: Sequence[str], *, left_ok: bool = False) -> dict[str, Any]:
    """Return the last task's own result, made of the run's: short, since Ansible prints that of a task that failed, and all was told.

    ``left_ok`` is that of the run: servers left to their players are well then, unless these could not be counted.
    """
    fields = {name: told[name] for name in ("run", "resume_file", "counts")}
    if told["ok"]:
        return fields
    found = {**told["counts"], NOT_DONE: told["counts"][NOT_DONE] - told["counts"]["for_players"]}
    bad = ", ".join(f"{found[outcome]} {outcome.replace('_', ' ')}" for outcome in (*FAILURES, NOT_DONE) if found[outcome])
    uncounted = sum(row["outcome"] == NOT_DONE and row.get("code") == PlayersUnknown.code for row in told["servers"]) if left_ok else 0
    if found["for_players"] > uncounted:
        bad = f"{bad}{', ' if bad else ''}{found['for_players'] - uncounted} skipped for players"
    if uncounted:
        whose = "its" if uncounted == 1 else "their"
        text = f"{uncounted} skipped: {whose} players could not be counted, which rollout_left_ok does not allow"
        bad = f"{bad}{', ' if bad else ''}{text}"
    msg = f"Run {told['run']} did not end well{f': {bad}' if bad else ''}"
    return {"failed": True, "msg": msg, "run": told["run"], "resume_file": told["resume_file"], "failed_nodes": list(blamed_nodes)}


def no_result(msg: str, code: str, *, ended_at: str) -> dict[str, Any]:
    """The result of a run that could not begin."""
    return {"schema": SCHEMA, "ok": False, "code": code, "msg": msg, "ended_at": ended_at, "servers": []}


def _entry(row: Row) -> dict[str, Any]:
    names = ("node", "server", "name", "batch", "outcome", "code", "msg", "seconds", "changed", "state")
    fields = {name: getattr(row, name) for name in names}
    if row.phases:
        fields |= {"began_at": row.began_at, "phases": [{"phase": name, "at": at} for name, at in row.phases]}
    if row.downtime:
        fields["downtime"] = row.downtime
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _batch(times: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("batch", "began_at", "ended_at"), times))


def _cells(row: Row) -> tuple[object, ...]:
    server = row.server[:_SHORT_ID] if row.server and row.node else row.server
    outcome = row.outcome.replace("_", " ")
    return (row.node, server, row.name or None, outcome, row.code or None, _seconds(row.seconds), row.msg or None)


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _weight(row: Row) -> int:
    if row.is_failure:
        return 2
    return int(row.outcome == NOT_DONE)
