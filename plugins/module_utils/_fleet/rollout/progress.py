# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The progress of a rolling run: lines for the terminal, the time that is left, and the worst case; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from ..._power.model.players import PlayerPolicy
from ..._power.model.request import PowerAction, Request, WaitFor
from ..._power.model.schema import one_line
from ..table import first_of, plural
from .record import Record, Row, outcome_words, some_of
from .values import BOOTS, DONE, parse_seconds
from .window import moment_in, shown

#: Seconds from a stop to SIGKILL if neither the rolling run nor a known definition sets another number.
STOP_SECONDS = 600


def longest_batch(action: str, given: Mapping[str, Any], policy: PlayerPolicy | None) -> tuple[float, float]:
    """Return the seconds that a batch may take: once, and for each round of a node. Raises `RolloutError` for wrong seconds.

    All servers wait for players and for locks at the same time, without a slot. Countdowns do take slots, so each round has one; the first
    ends at the latest when the wait for players does. A kill does not wait.
    """
    if action == PowerAction.KILL.value:
        return 0, 0
    waits, boots = given.get("wait_for", WaitFor.CONTAINER.value) != WaitFor.CONTAINER.value, action in BOOTS
    stop = 0.0 if action == PowerAction.START.value else _seconds(given, "stop_timeout", STOP_SECONDS)
    ready = _seconds(given, "wait_timeout", Request.wait_timeout) if boots and waits else 0.0
    countdown = 0 if policy is None else policy.countdown_seconds
    players = 0 if policy is None else policy.max_delay - countdown
    return players + _seconds(given, "wait_seconds", Request.wait_seconds), countdown + stop + ready


def _seconds(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name)
    return float(default) if value is None else parse_seconds(name, value)


#: Servers of one node at a time without a setting of the rolling run: the default of a small node.
_AT_ONCE = 8


@dataclass(frozen=True)
class Waits:
    """The waits of a rolling run in seconds, and its parallelism.

    ``max_parallel``: servers at a time on one node (0: the node's default). ``forks``: nodes at a time (0: all).
    """

    pause: float = 0
    soak: float = 0
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


_NODES = 3
_LONGEST_NAME = 40


def batch_name(record: Record, number: int) -> str:
    return f"Batch {number} of {record.batches}{' (canary)' if number <= record.canaries else ''}"


def servers_of_rows(rows: Sequence[Row]) -> str:
    """Return the servers of a batch by node: the first by name, or sums for many nodes."""
    by_node = [(str(node), list(group)) for node, group in groupby(rows, key=lambda row: row.node)]
    if len(by_node) <= _NODES:
        return "; ".join(f"{node} {first_of([_name(row) for row in group])}" for node, group in by_node)
    some = ", ".join(f"{node} {_name(group[0])}" for node, group in by_node[:_NODES])
    return f"{plural(len(rows), 'server')} of {plural(len(by_node), 'node')}: {some}, ..."


def begin_line(record: Record, number: int, now: datetime, waits: Waits) -> str:
    """Return the line of a begin of a batch: its servers, the time so far, and the estimated rest."""
    text = f"{_clock(now)} {batch_name(record, number)}: {servers_of_rows(record.in_batch(number))}"
    told = [f"{span(now.timestamp() - moment_in(record.began_at))} so far"] if number > 1 else []
    left = remaining(record, number, waits)
    besides = ", besides waits for players" if record.for_players else ""
    told += [f"about {span(_rounded(left))} left{besides}"] if left is not None else []
    return f"{text} [{', '.join(told)}]" if told else text


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
    return f"{_clock(now)} {batch_name(record, number)} passed over, since its nodes are lost: {servers} unknown"


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
    """Return the line of the wait for actions of earlier runs."""
    some = ", ".join(nodes) if len(nodes) <= _NODES else f"{', '.join(nodes[:_NODES])} and {len(nodes) - _NODES} more nodes"
    until = _clock(now + timedelta(seconds=seconds))
    return f"{_clock(now)} Waiting for what run {', '.join(runs)} still has in flight on {some}, until {until} at the longest"


def soak_line(record: Record, number: int, seconds: float, now: datetime) -> str:
    until = _clock(now + timedelta(seconds=seconds))
    return f"{_clock(now)} {batch_name(record, number)}: seeing for {seconds:g} s, until {until}, whether its servers stay up"


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
