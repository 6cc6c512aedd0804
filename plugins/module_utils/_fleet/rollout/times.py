# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The times of a rolling run: its window, how long batches take, its lines; pure, but for files of time zones.

The window's ends are times of day or ISO 8601, by default in the controller's zone. Moments are seconds since 1970: a wall clock shows some
times twice a year and skips others.
"""

from __future__ import annotations

import math
import re
import zoneinfo
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from itertools import groupby
from typing import Any

from ..._power.model.clock import read_timestamp
from ..._power.model.players import PlayerPolicy
from ..._power.model.request import DEFAULT_SETTLE_SECONDS, OnFailedStart, PowerAction, Request, WaitFor
from ..._power.model.schema import few, one_line
from ..table import plural
from .record import Record, Row, outcome_words, some_of
from .values import BOOTS, DONE, RolloutError, parse_seconds

#: A longer wait is probably a mistake.
LONGEST_AHEAD_SECONDS = 31 * 24 * 3600.0
_TIME = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d)(?:\.\d{1,9})?)?"
_OFFSET = r"Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d"
_WRITTEN = re.compile(
    rf"(?:(?P<date>\d{{4}}-\d\d-\d\d)[T ])?{_TIME}(?:(?P<offset>{_OFFSET})|\s+(?P<zone>[A-Za-z][A-Za-z0-9_+/-]{{0,63}}))?", re.ASCII
)
_LONGEST_SHOWN = 60
#: Seconds from a stop to SIGKILL if neither the rolling run nor a known definition sets another number.
STOP_SECONDS = 600
#: Servers of one node at a time without a setting of the rolling run: the default of a small node.
_AT_ONCE = 8
#: In a line: the nodes by name, and the length of a server's name.
_NODES, _LONGEST_NAME = 3, 40


@dataclass(frozen=True)
class Window:
    """When batches may begin, in seconds since 1970; None: no limit."""

    not_before: float | None = None
    deadline: float | None = None

    def facts(self) -> dict[str, str | None]:
        """Return begin and deadline as timestamps."""
        return {"not_before": _timestamp(self.not_before), "deadline": _timestamp(self.deadline)}


@dataclass(frozen=True)
class _ClockTime:
    """A moment as written: a time of day in a zone, with or without a date. Zone None is the controller's."""

    text: str
    time: timedelta
    date: datetime | None
    zone: tzinfo | None

    def next_after(self, moment: float) -> float:
        """Return the moment of the date, or the first such time of day after another moment."""
        if self.date is not None:
            return self._on(self.date)
        today = datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None, fold=0, hour=0, minute=0, second=0, microsecond=0)
        return next(each for each in (self._on(today + timedelta(days=days)) for days in range(-1, 9)) if each > moment)

    def _on(self, day: datetime) -> float:
        return moment_of(day + self.time, self.zone)


def read_window(given: Mapping[str, Any], now: float) -> Window:
    """Return the window of the variables at a moment. Raises `RolloutError` for invalid ones.

    With two times of day, a deadline before the begin means that the window is open now. After a begin with a date, a deadline without one
    is the first such time after it.
    """
    begin, end = (_written(f"rollout_{name}", given.get(name)) for name in ("not_before", "deadline"))
    if begin is None:
        return Window(None, None if end is None else end.next_after(now))
    not_before = begin.next_after(now)
    if not_before - now > LONGEST_AHEAD_SECONDS:
        raise RolloutError(f"Cannot use rollout_not_before={begin.text}: it is more than 31 days ahead")
    if end is None:
        return Window(not_before)
    deadline = end.next_after(now if begin.date is None else not_before)
    if begin.date is None and deadline < not_before:
        return Window(None, deadline)
    if deadline <= not_before:
        # Possible in a night whose clock change skips both.
        raise RolloutError(f"Cannot use rollout_deadline={end.text}: it is not later than rollout_not_before={begin.text} when that comes")
    return Window(not_before, deadline)


def read_moment(name: str, value: object, now: float) -> float | None:
    """Return the moment that an option says, or for a time of day the next such moment; None without a value. Raises `RolloutError`."""
    written = _written(name, value)
    return None if written is None else written.next_after(now)


def moment_of(wall: datetime, zone: tzinfo | None) -> float:
    """Return when a zone's clocks show a time; zone None is the controller's. A repeated time is the first; a skipped one is the change."""
    first = wall.replace(tzinfo=zone, fold=0).timestamp()
    if _shown_at(first, zone) == wall:
        return first
    # The clocks skip this time: by the new offset (fold=1) it is before the change, by the old one it is not. Find the change.
    before, change = int(wall.replace(tzinfo=zone, fold=1).timestamp()), int(first)
    while change - before > 1:
        middle = (before + change) // 2
        before, change = (before, middle) if _shown_at(middle, zone) > wall else (middle, change)
    return float(change)


def shown(moment: float, now: float) -> str:
    """Return a moment in local time, with its date if that is not today."""
    then, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)
    return f"{then:%H:%M:%S}" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M:%S}"


def moment_in(timestamp: str) -> float:
    """Return the moment of a timestamp of `Window.facts`."""
    return read_timestamp(timestamp).timestamp()


def _shown_at(moment: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0)


def _written(name: str, value: object) -> _ClockTime | None:
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        value = value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, int):
        # YAML reads 22:00 as a number of minutes.
        raise RolloutError(f"Cannot use {name}={value!r:.20}: it is a number; put the time in quotes")
    text = value.strip() if isinstance(value, str) else ""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise RolloutError(f"{_refused(name, value)}: expected a time of day such as 02:00, or 2026-01-31T02:00, and perhaps a time zone")
    day = None if found["date"] is None else _day(name, text, found["date"])
    if found["offset"] is not None and day is None:
        raise RolloutError(f"{_refused(name, text)}: a time of day takes the name of a zone, such as 02:00 Europe/Berlin")
    time = timedelta(hours=int(found["hour"]), minutes=int(found["minute"]), seconds=int(found["second"] or 0))
    return _ClockTime(text, time, day, _zone(name, text, found["offset"], found["zone"]))


def _day(name: str, text: str, date: str) -> datetime:
    try:
        day = datetime.strptime(date, "%Y-%m-%d")
    except ValueError:
        day = None
    # Beyond these years, a day may not exist in every zone.
    if day is None or not 1970 < day.year < 9999:
        raise RolloutError(f"{_refused(name, text)}: there is no such day")
    return day


def _zone(name: str, text: str, offset: str | None, zone: str | None) -> tzinfo | None:
    if offset is not None:
        return datetime.strptime(offset, "%z").tzinfo
    if zone is None:
        return None
    try:
        return zoneinfo.ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise RolloutError(f"{_refused(name, text)}: this machine knows no time zone {zone}") from None


def _refused(name: str, value: object) -> str:
    text = repr(value)
    return f"Cannot use {name}={text if len(text) <= _LONGEST_SHOWN else f'{text[:_LONGEST_SHOWN]}...'}"


def _timestamp(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def longest_batch(action: str, given: Mapping[str, Any], policy: PlayerPolicy | None) -> tuple[float, float]:
    """Return the seconds that a batch may take: once, and for each round of a node. Raises `RolloutError` for wrong seconds.

    All servers wait for players and for locks at the same time, without a slot. Countdowns do take slots, so each round has one; the first
    ends at the latest when the wait for players does. A kill does not wait. A revert also stops the new version.
    """
    if action == PowerAction.KILL.value:
        return 0, 0
    waits = given.get("wait_for", WaitFor.CONTAINER.value) != WaitFor.CONTAINER.value
    reverts = given.get("on_failed_start") == OnFailedStart.REVERT.value
    one_stop = _seconds(given, "stop_timeout", STOP_SECONDS)
    stop = 0.0 if action == PowerAction.START.value else one_stop
    ready = _seconds(given, "wait_timeout", Request.wait_timeout) if action in BOOTS and (waits or reverts) else 0.0
    proof = _seconds(given, "settle", DEFAULT_SETTLE_SECONDS) + one_stop if action in BOOTS and reverts else 0.0
    countdown = 0 if policy is None else policy.countdown_seconds
    players = 0 if policy is None else policy.max_delay - countdown
    return players + _seconds(given, "wait_seconds", Request.wait_seconds), countdown + stop + ready + proof


def _seconds(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name)
    return float(default) if value is None else parse_seconds(name, value)


@dataclass(frozen=True)
class Waits:
    """The waits of a rolling run in seconds, and its parallelism."""

    pause: float = 0
    soak: float = 0
    #: Servers at a time on one node (0: the node's default), and nodes at a time (0: all).
    max_parallel: int = 0
    forks: int = 0


def note_time(record: Record, number: int, seconds: float, waits: Waits) -> None:
    """Add the duration of a batch without its soak and its wait for players. A batch without actions does not count."""
    rows = record.in_batch(number)
    if any(row.outcome == DONE for row in rows):
        # Servers wait for players side by side. Meanwhile actions run on servers without players.
        acted = max((row.seconds or 0) - row.waited for row in rows)
        record.acting += max(seconds - waits.soak - max(row.waited for row in rows), acted, 0)
        record.rounds += rounds(record, waits.max_parallel)[number]


def remaining(record: Record, number: int, waits: Waits) -> float | None:
    """Return the estimated seconds from this batch to the end, without unknown waits for players; None without data."""
    if not record.rounds or record.check:
        return None
    left, found = range(number, record.batches + 1), rounds(record, waits.max_parallel)
    acting = record.acting / record.rounds * sum(found[each] for each in left)
    return acting + len(left) * waits.soak + (len(left) - 1) * waits.pause


def longest(record: Record, numbers: Iterable[int], waits: Waits) -> float:
    """Return the most seconds of these batches, one after the other, without pauses. Nodes wait for a free fork of Ansible."""
    seconds = {each: record.longest_once + count * record.longest_round for each, count in rounds(record, waits.max_parallel).items()}
    nodes = nodes_of(record)
    return sum(waits.soak + math.ceil(nodes[each] / (waits.forks or nodes[each])) * seconds[each] for each in numbers)


def nodes_of(record: Record) -> Counter[int]:
    return Counter(batch for batch, _node in {(row.batch, row.node) for row in record.rows if row.batch})


def rounds(record: Record, max_parallel: int) -> dict[int, int]:
    """Return the rounds of each batch: those of its largest node, with so many servers at a time."""
    counts = Counter((row.batch, row.node) for row in record.rows if row.batch)
    most: dict[int, int] = {}
    for (batch, _node), count in counts.items():
        most[batch] = max(most.get(batch, 0), count)
    return {batch: math.ceil(count / (max_parallel or _AT_ONCE)) for batch, count in most.items()}


def batch_name(record: Record, number: int) -> str:
    return f"Batch {number} of {record.batches}{' (canary)' if number <= record.canaries else ''}"


def servers_of_rows(rows: Sequence[Row]) -> str:
    """Return the servers of a batch by node: the first by name, or sums for many nodes."""
    by_node = [(str(node), list(group)) for node, group in groupby(rows, key=lambda row: row.node)]
    if len(by_node) <= _NODES:
        return "; ".join(f"{node} {few([_name(row) for row in group])}" for node, group in by_node)
    some = ", ".join(f"{node} {_name(group[0])}" for node, group in by_node[:_NODES])
    return f"{plural(len(rows), 'server')} of {plural(len(by_node), 'node')}: {some}, ..."


def begin_line(record: Record, number: int, now: datetime, waits: Waits) -> str:
    """Return the line of a begin of a batch: its servers, the time so far, and the estimated rest."""
    text = f"{_clock(now)} {batch_name(record, number)}: {servers_of_rows(record.in_batch(number))}"
    parts = [f"{span(now.timestamp() - moment_in(record.began_at))} so far"] if number > 1 else []
    left = remaining(record, number, waits)
    besides = ", besides waits for players" if record.for_players else ""
    parts += [f"about {span(_rounded(left))} left{besides}"] if left is not None else []
    return f"{text} [{', '.join(parts)}]" if parts else text


def end_line(record: Record, number: int, now: datetime) -> str:
    rows = record.in_batch(number)
    bad = [row for row in rows if row.is_failure]
    named = f" ({one_line(some_of(bad))})" if bad else ""
    used = f"; {record.failures} failed so far, {record.budget} allowed" if record.failures else ""
    took = f" after {span(now.timestamp() - moment_in(record.batch_began_at))}" if record.batch_began_at else ""
    return f"{_clock(now)} {batch_name(record, number)} ended{took}: {outcome_words(rows)}{named}{used}"


def passed_line(record: Record, number: int, now: datetime) -> str:
    """Return the line of a batch whose nodes are all lost."""
    servers = plural(len(record.in_batch(number)), "server")
    return f"{_clock(now)} {batch_name(record, number)} skipped, since its nodes are lost: {servers} unknown"


def worst_line(record: Record, waits: Waits) -> str:
    """Return the line about the longest time of a rolling run that waits for players."""
    nodes = nodes_of(record)
    seconds = longest(record, nodes, waits) + waits.pause * (len(nodes) - 1)
    each = f": {len(nodes)} batches, and each waits for its own players" if len(nodes) > 1 else ""
    most = max(nodes.values())
    forks = f"; a batch has up to {most} nodes, and Ansible works on {waits.forks} at a time (forks)" if 0 < waits.forks < most else ""
    return f"This run may take up to {span(seconds)}{each}{forks}"


def pause_line(number: int, seconds: float, now: datetime) -> str:
    return f"{_clock(now)} Waiting {seconds:g} s before batch {number}, until {_clock(now + timedelta(seconds=seconds))}"


def window_line(not_before: float, now: float) -> str:
    return f"{shown(now, now)} Waiting until {shown(not_before, now)}, in {span(not_before - now)}: nothing is begun before"


def no_window_line(not_before: float, now: float) -> str:
    """Return the line of check mode about the wait for the window."""
    return f"{shown(now, now)} Not waiting until {shown(not_before, now)}, since check mode changes nothing"


def deadline_fault(record: Record, number: int, seconds: float, now: float) -> str:
    """Return why a batch of so many seconds must not begin, or an empty text."""
    deadline = moment_in(record.deadline) if record.deadline else math.inf
    if now + seconds <= deadline:
        return ""
    if now >= deadline:
        return f"the deadline was {shown(deadline, now)}"
    return f"batch {number} may take {span(seconds)}, and the deadline is {shown(deadline, now)}"


def flight_line(nodes: Sequence[str], runs: Sequence[str], seconds: float, now: datetime) -> str:
    """Return the line of a wait for actions of earlier runs, before a look at them."""
    some = ", ".join(nodes) if len(nodes) <= _NODES else f"{', '.join(nodes[:_NODES])} and {len(nodes) - _NODES} more nodes"
    until = _clock(now + timedelta(seconds=seconds))
    return f"{_clock(now)} Actions of run {', '.join(runs)} may still be in flight on {some}: waiting until {until} at the longest"


def soak_line(record: Record, number: int, seconds: float, now: datetime) -> str:
    until = _clock(now + timedelta(seconds=seconds))
    return f"{_clock(now)} {batch_name(record, number)}: checking for {seconds:g} s, until {until}, whether its servers stay up"


def span(seconds: float) -> str:
    """Return seconds in words, with at most two units."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def _rounded(seconds: float) -> float:
    """Round an estimate up, so that it does not look exact."""
    unit = 5 if seconds < 60 else 10 if seconds < 300 else 60
    return math.ceil(seconds / unit) * unit


def _name(row: Row) -> str:
    """Return a server's name safe for a terminal: its owner may choose any text."""
    return one_line(row.name or str(row.server), _LONGEST_NAME)


def _clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S")
