# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timelines of a run: which servers have a row, batch by batch, and what nodes sum up where that are too many; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from ..rollout.lines import batch_name, span
from ..rollout.record import Record, Row
from ..rollout.timing import moment_of
from .bars import Bars, Frame, Timed, bars_of, shift_of
from .live import Live

#: Up to so many servers, each that was acted on has a row. Beyond, those that failed, those under way, and the slowest.
MANY = 200
_FAILED, _SLOWEST, _UNDER_WAY = 200, 50, 50
#: A node's clock that is off by less is not worth a word.
_CLOCK_SECONDS = 1.0


@dataclass(frozen=True)
class TimedLine:
    """One server as a timeline shows it."""

    row: Row
    line: Bars
    seconds: float
    goes_on: bool


@dataclass(frozen=True)
class Timeline:
    """The servers of one batch in its own time."""

    name: str
    began: datetime
    ended: datetime
    lines: Sequence[TimedLine]


@dataclass(frozen=True)
class Timelines:
    """All of them; ``left_out`` is how many servers have no row, ``clocks`` the nodes whose clocks are off, and by how many seconds."""

    batches: Sequence[Timeline] = ()
    left_out: int = 0
    clocks: Mapping[str, float] = field(default_factory=dict)


def timelines(record: Record, live: Live, now: datetime) -> Timelines:
    """Return the timelines of a run as it is now."""
    timed = [each for each in (_timed(row, live, now) for row in record.rows if row.server is not None) if each is not None]
    chosen = timed if len(timed) <= MANY else _chosen(timed)
    frames = _frames(record, now)
    clocks: dict[str, float] = {}
    found = []
    for number, group in groupby(sorted(chosen, key=lambda each: each.row.batch), key=lambda each: each.row.batch):
        members, frame = [*group], frames.get(number)
        if frame is None:
            continue
        lines = []
        for node, own in groupby(members, key=lambda each: each.row.node):
            theirs = [*own]
            shift = shift_of(frame, [each for each in theirs if not each.goes_on])
            if abs(shift.total_seconds()) >= _CLOCK_SECONDS:
                clocks[str(node)] = max(clocks.get(str(node), 0.0), abs(shift.total_seconds()))
            lines += [TimedLine(each.row, bars_of(each, frame, shift), each.seconds, each.goes_on) for each in theirs]
        found.append(Timeline(batch_name(record, number), frame.began, frame.ended, lines))
    return Timelines(found, len(timed) - len(chosen), clocks)


def slowest(record: Record, count: int) -> list[Row]:
    """Return the servers that took longest."""
    known = [row for row in record.rows if row.server is not None and row.seconds]
    return sorted(known, key=lambda row: row.seconds or 0.0, reverse=True)[:count]


def longest_down(record: Record, count: int) -> list[Row]:
    """Return the servers that were down, or not ready, for longest, as far as that is known."""
    known = [row for row in record.rows if row.downtime.get("seconds") is not None]
    return sorted(known, key=lambda row: float(row.downtime.get("ready_seconds") or row.downtime["seconds"]), reverse=True)[:count]


def by_node(record: Record) -> list[dict[str, Any]]:
    """Return what nodes sum up, those with failures first."""
    rows: dict[str, list[Row]] = {}
    for row in record.rows:
        if row.node is not None and row.server is not None:
            rows.setdefault(row.node, []).append(row)
    return sorted((_node(node, own) for node, own in rows.items()), key=lambda each: -int(each["failed"]))


def _node(node: str, rows: Sequence[Row]) -> dict[str, Any]:
    down = [float(row.downtime["seconds"]) for row in rows if row.downtime.get("seconds") is not None]
    took = [row.seconds for row in rows if row.seconds]
    return {
        "node": node,
        "servers": len(rows),
        "done": sum(row.outcome == "done" for row in rows),
        "failed": sum(row.is_failure for row in rows),
        "longest": span(max(took)) if took else "-",
        "down": f"{sum(down) / len(down):.1f} s, {max(down):.1f} s at most" if down else "-",
    }


def _timed(row: Row, live: Live, now: datetime) -> Timed | None:
    found = live.get((str(row.node), str(row.server))) if row.in_flight else None
    if found is None:
        return Timed.of_row(row)
    return Timed(row, found.began, found.ended(now), found.phases, goes_on=True)


def _chosen(timed: Sequence[Timed]) -> list[Timed]:
    """Choose those that have a row where there are many, in the order in which they come."""
    failed = [each for each in timed if each.row.is_failure and not each.goes_on][:_FAILED]
    going_on = [each for each in timed if each.goes_on][:_UNDER_WAY]
    slow = sorted((each for each in timed if not each.goes_on), key=lambda each: each.seconds, reverse=True)[:_SLOWEST]
    wanted = {id(each) for each in (*failed, *going_on, *slow)}
    return [each for each in timed if id(each) in wanted]


def _frames(record: Record, now: datetime) -> dict[int, Frame]:
    """Return the time of each batch; that of the one under way ends now."""
    found = {}
    times = [*record.batch_times, [record.begun, record.batch_began_at, ""]]
    for number, began_at, ended_at in times:
        began, ended = moment_of(began_at), moment_of(ended_at)
        if number not in found and began is not None:
            found[number] = Frame(began, max(ended or now, began + timedelta(seconds=0.001)))
    return found
