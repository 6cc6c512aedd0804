# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a server of a run was at what, and for how long it was down, as its node told it; pure.

Times are those of each node's own clock, which may differ from those of others and of the controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ..._power.model.clock import engine_time, timestamp
from .record import Record, Row
from .words import OFFLINE

#: Of a log, so many last lines are kept, each so long.
_LINES, _LINE_CHARACTERS = 8, 200
#: What a node may tell at most of one server.
_PHASES, _PHASE_CHARACTERS = 60, 20
_LONGEST_SECONDS = 10.0**8


def note_timing(row: Row, entry: Mapping[str, Any]) -> None:
    """Keep when a server's action was taken up, its phases and downtime, and the end of its log where it failed."""
    row.began_at, row.phases, row.downtime = _began_at(entry), _phases(entry), _downtime(entry)
    if row.is_failure and row.state == OFFLINE:
        # A run that has come and gone since did not end the downtime.
        row.downtime = {name: value for name, value in row.downtime.items() if name == "from"}
    row.log = _log(entry) if row.is_failure else []


def moment_of(text: object) -> datetime | None:
    """Return the moment of a timestamp, as nodes, engines and the run itself write it."""
    return engine_time(text) if isinstance(text, str) else None


def downtime_of(record: Record) -> dict[str, Any]:
    """Return for how many servers it is known how long the run had them down, how long that was in all, and the longest of them."""
    found = [float(row.downtime["seconds"]) for row in record.rows if "seconds" in row.downtime]
    return {"servers": len(found), "seconds": round(sum(found), 3), "longest": max(found, default=0.0)}


def _began_at(entry: Mapping[str, Any]) -> str:
    """Return when the action was taken up: so many seconds before it ended."""
    operation = entry.get("operation")
    ended = moment_of(operation.get("ended_at")) if isinstance(operation, Mapping) else None
    seconds = _number(entry.get("seconds"))
    return "" if ended is None or seconds is None else timestamp(ended - timedelta(seconds=seconds))


def _phases(entry: Mapping[str, Any]) -> list[Any]:
    found = []
    for each in _listed(entry.get("phases"))[:_PHASES]:
        at = _number(each.get("at")) if isinstance(each, Mapping) else None
        if at is not None:
            found.append([str(each.get("phase"))[:_PHASE_CHARACTERS], at])
    return found


def _downtime(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the downtime with its beginning, which follows from that of the run that ended it."""
    told, run = entry.get("downtime"), entry.get("run")
    if not isinstance(told, Mapping):
        return {}
    numbers = {name: _number(told.get(name)) for name in ("seconds", "ready_seconds")}
    found: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    since, seconds = moment_of(told.get("since")), numbers["seconds"]
    started = moment_of(run.get("started_at")) if isinstance(run, Mapping) else None
    if seconds is not None and started is not None:
        since = started - timedelta(seconds=seconds)
    if since is not None:
        found["from"] = timestamp(since.astimezone(timezone.utc))
    return found


def _log(entry: Mapping[str, Any]) -> list[str]:
    return [str(line)[:_LINE_CHARACTERS] for line in _listed(entry.get("log"))[-_LINES:]]


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _number(value: object) -> float | None:
    """Return a number of seconds; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LONGEST_SECONDS:
        return None
    return float(value)
