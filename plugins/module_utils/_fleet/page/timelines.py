# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timelines of a rolling run: one row per server in each batch, with bars for phases and downtime; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from ..._power.model.news import COUNTDOWN, LOCKED, PLAYERS, PROOF, READY
from ..rollout.record import Record, Row
from ..rollout.report import moment_of
from ..rollout.times import batch_name, span

#: More news of one server, and longer words, are not ours.
_MOST_PHASES = 60
_LONGEST_WORD = 200
_LONGEST_SECONDS = 10.0**8
#: How a phase of an action, or a state from an endpoint, is drawn, in the order of the legend.
_KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "wait": ("waiting for its turn", ("", LOCKED, "queue")),
    "players": ("waiting for players", (PLAYERS,)),
    "countdown": ("countdown", (COUNTDOWN,)),
    "prepare": ("looked at, image", ("prepare", "pull")),
    "stop": ("stop", ("stop", "stopping")),
    "preboot": ("pre-boot, hooks", ("preboot", "hook")),
    "start": ("start", ("start", "observe", "starting")),
    "ready": ("becoming ready, on trial", (READY, PROOF)),
    "kill": ("kill", ("kill",)),
    "act": ("at work", ()),
}
WORDS = {kind: words for kind, (words, _phases) in _KINDS.items()}
DOWN_WORDS = {"down": "down", "booting": "up, not ready"}
_KIND_OF = {phase: kind for kind, (_words, phases) in _KINDS.items() for phase in phases}
WIDTH = 1000.0
#: The least width of a bar, so that it is visible.
_NARROWEST = 2.0
#: Up to this number each server has a row. Beyond it: failed, running and the slowest servers.
MANY = 200
_FAILED, _SLOWEST, _UNDER_WAY = 200, 50, 50
#: A smaller error of a node's clock is not shown.
_CLOCK_SECONDS = 1.0


@dataclass
class LiveServer:
    """One server of the current batch with an action, running or ended. Times are the controller's, at the arrival of news."""

    began: datetime
    phases: list[tuple[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    outcome: str = ""
    code: str = ""


Live = Mapping[tuple[str, str], LiveServer]


def noted(host: str, lines: Sequence[str], at: float) -> str:
    """Return a node's news as a line for `read_live`; ``at`` is in seconds since 1970."""
    return json.dumps({"host": host, "at": at, "lines": list(lines)}) + "\n"


def read_live(texts: Iterable[str]) -> Live:
    """Return the news of all nodes from lines of `noted`, in their order; invalid lines do not count."""
    found: dict[tuple[str, str], LiveServer] = {}
    for text in texts:
        note = _parsed(text)
        if not isinstance(note, dict) or not isinstance(note.get("lines"), list) or not isinstance(note.get("at"), (int, float)):
            continue
        for line in note["lines"]:
            news = _parsed(line)
            if isinstance(news, dict) and isinstance(news.get("server"), str):
                _note(found, str(note.get("host")), news, float(note["at"]))
    return found


def _note(found: dict[tuple[str, str], LiveServer], host: str, news: Mapping[str, Any], at: float) -> None:
    seconds = news.get("seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _LONGEST_SECONDS:
        return
    key = host, str(news["server"])[:_LONGEST_WORD]
    began = datetime.fromtimestamp(at).astimezone() - timedelta(seconds=seconds)
    known = found.setdefault(key, LiveServer(began))
    # News arrives after the event.
    known.began, known.seconds = min(known.began, began), seconds
    if isinstance(news.get("outcome"), str):
        known.outcome, known.code = news["outcome"][:_LONGEST_WORD], str(news.get("code") or "")[:_LONGEST_WORD]
    elif isinstance(news.get("phase"), str) and len(known.phases) < _MOST_PHASES:
        known.phases.append((news["phase"][:_LONGEST_WORD], seconds))


def _parsed(text: object) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


@dataclass(frozen=True)
class Timed:
    """The times of one server's action by its node's clock: begin, end, phases with their first seconds; and whether it still runs."""

    row: Row
    began: datetime
    ended: datetime
    phases: Sequence[tuple[str, float]] = ()
    goes_on: bool = False

    @property
    def seconds(self) -> float:
        """The duration until the end or until now."""
        return (self.ended - self.began).total_seconds()


@dataclass(frozen=True)
class Bar:
    """A part of a timeline: its left edge and width, in units of the timeline."""

    kind: str
    x: float
    width: float
    title: str = ""


@dataclass(frozen=True)
class Frame:
    """The time span of a timeline: that of a batch, by the controller's clock."""

    began: datetime
    ended: datetime

    def bar_of(self, kind: str, began: datetime, ended: datetime, title: str = "") -> Bar:
        whole = max((self.ended - self.began).total_seconds(), 0.001)
        left, right = (min(max((each - self.began).total_seconds() / whole, 0.0), 1.0) * WIDTH for each in (began, ended))
        width = max(right - left, _NARROWEST)
        return Bar(kind, round(min(left, WIDTH - width), 1), round(width, 1), title)


@dataclass(frozen=True)
class TimedLine:
    """The bars of one server's action, and of its downtime."""

    row: Row
    bars: Sequence[Bar]
    down: Sequence[Bar]
    seconds: float
    goes_on: bool


def shift_of(frame: Frame, group: Sequence[Timed]) -> timedelta:
    """Return the least error of a node's clock: all its actions of a batch happened within that batch."""
    early = max((frame.began - each.began for each in group), default=timedelta())
    late = min((frame.ended - each.ended for each in group), default=timedelta())
    return early if early > timedelta() else min(late, timedelta())


def _line(timed: Timed, frame: Frame, shift: timedelta) -> TimedLine:
    began = timed.began + shift
    bars = [
        frame.bar_of(kind, began + timedelta(seconds=first), began + timedelta(seconds=last), f"{WORDS[kind]} {last - first:.1f} s")
        for kind, first, last in _parts(timed)
    ]
    return TimedLine(timed.row, bars, [*_down(timed, frame, shift)], timed.seconds, timed.goes_on)


def _parts(timed: Timed) -> Iterator[tuple[str, float, float]]:
    """Yield each kind of work with its first and last second; neighbours of one kind become one."""
    whole = timed.seconds
    if not timed.phases:
        yield "act", 0.0, whole
        return
    starts = [("wait", 0.0), *((_KIND_OF.get(name, "act"), min(at, whole)) for name, at in timed.phases)]
    kind, first = starts[0]
    for following, at in starts[1:]:
        if following != kind:
            if at > first:
                yield kind, first, at
            kind, first = following, at
    yield kind, first, whole


def _down(timed: Timed, frame: Frame, shift: timedelta) -> Iterator[Bar]:
    downtime = timed.row.downtime
    since = moment_of(downtime.get("from"))
    if since is None:
        return
    began, seconds, ready = since + shift, downtime.get("seconds"), downtime.get("ready_seconds")
    if seconds is None:
        yield frame.bar_of("down", began, timed.ended + shift, "down, and not up again")
        return
    up = began + timedelta(seconds=seconds)
    yield frame.bar_of("down", began, up, f"down {seconds:.1f} s")
    if ready is not None and ready > seconds:
        yield frame.bar_of("booting", up, began + timedelta(seconds=ready), f"not ready for {ready - seconds:.1f} s more")


@dataclass(frozen=True)
class Timeline:
    """The servers of one batch in its own time span."""

    name: str
    began: datetime
    ended: datetime
    lines: Sequence[TimedLine]


def timelines(record: Record, live: Live, now: datetime) -> tuple[list[Timeline], int, dict[str, float]]:
    """Return the timelines of all batches, the number of servers without a row, and the errors of wrong clocks in seconds, by node."""
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
            lines += [_line(each, frame, shift) for each in theirs]
        found.append(Timeline(batch_name(record, number), frame.began, frame.ended, lines))
    return found, len(timed) - len(chosen), clocks


def slowest(record: Record, count: int) -> list[Row]:
    known = [row for row in record.rows if row.server is not None and row.seconds]
    return sorted(known, key=lambda row: row.seconds or 0.0, reverse=True)[:count]


def longest_down(record: Record, count: int) -> list[Row]:
    known = [row for row in record.rows if row.downtime.get("seconds") is not None]
    return sorted(known, key=lambda row: float(row.downtime.get("ready_seconds") or row.downtime["seconds"]), reverse=True)[:count]


def by_node(record: Record) -> list[dict[str, Any]]:
    """Return a summary of each node, those with failures first."""
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
    """Return the times of a server's action from the news if it is in flight, else from the record; None without times."""
    found = live.get((str(row.node), str(row.server))) if row.in_flight else None
    if found is not None:
        ended = found.began + timedelta(seconds=found.seconds) if found.outcome else max(now, found.began)
        return Timed(row, found.began, ended, found.phases, goes_on=True)
    began = moment_of(row.began_at)
    if began is None or row.seconds is None:
        return None
    return Timed(row, began, began + timedelta(seconds=row.seconds), [(str(name), float(at)) for name, at in row.phases])


def _chosen(timed: Sequence[Timed]) -> list[Timed]:
    failed = [each for each in timed if each.row.is_failure and not each.goes_on][:_FAILED]
    going_on = [each for each in timed if each.goes_on][:_UNDER_WAY]
    slow = sorted((each for each in timed if not each.goes_on), key=lambda each: each.seconds, reverse=True)[:_SLOWEST]
    wanted = {id(each) for each in (*failed, *going_on, *slow)}
    return [each for each in timed if id(each) in wanted]


def _frames(record: Record, now: datetime) -> dict[int, Frame]:
    """Return the time span of each batch; the current batch ends now."""
    found = {}
    times = [*record.batch_times, [record.begun, record.batch_began_at, ""]]
    for number, began_at, ended_at in times:
        began, ended = moment_of(began_at), moment_of(ended_at)
        if number not in found and began is not None:
            found[number] = Frame(began, max(ended or now, began + timedelta(seconds=0.001)))
    return found
