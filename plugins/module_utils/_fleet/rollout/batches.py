# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order servers are acted on, and how many at a time; pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .words import TAKES_DOWN, Amount, Candidate, RolloutError, parse_count, parse_serial


@dataclass(frozen=True)
class Pacing:
    """How a run is cut: nodes at a time, servers of one node at a time, and what goes before all others."""

    serial: tuple[Amount, ...] = ()
    #: 0: all of a node's servers.
    batch_size: int = 0
    #: So many servers, or those of this node, go first and alone; 0: none do.
    canary: int | str = 0


@dataclass(frozen=True)
class Batch:
    """Servers that are acted on together. They have one priority."""

    servers: tuple[Candidate, ...]
    canary: bool = False


def pacing(given: Mapping[str, Any], nodes: Sequence[str]) -> Pacing:
    """The role's variables, without their prefix. Raises `RolloutError` for those that make no sense."""
    canary = given.get("canary", 0) or 0
    if canary not in nodes:
        if isinstance(canary, str) and not canary.isdigit():
            raise RolloutError(f"Cannot take {canary} as canary: it is neither a number nor a node of this play")
        canary = parse_count("canary", canary)
    return Pacing(parse_serial(given.get("serial", 0)), parse_count("batch_size", given.get("batch_size", 0)), canary)


def batches(candidates: Sequence[Candidate], nodes: Sequence[str], action: str, pace: Pacing) -> list[Batch]:
    """The servers as batches, the canary's first. No batch mixes priorities: lowest first, highest first where servers are taken down."""
    order = {node: number for number, node in enumerate(nodes)}
    sign = -1 if action in TAKES_DOWN else 1
    ordered = sorted(
        candidates,
        key=lambda each: (
            sign * each.priority,
            not each.again,
            not each.any_state,
            each.asked_by,
            order[each.node],
            each.name,
            each.server,
        ),
    )
    first = _canary(ordered, pace.canary)
    chosen = {(candidate.node, candidate.server) for candidate in first}
    rest = [candidate for candidate in ordered if (candidate.node, candidate.server) not in chosen]
    steps = _steps(pace.serial, len({candidate.node for candidate in candidates}))
    # The canary is cut like all others, but the ladder of serial begins after it.
    return [
        *(Batch(cut, canary=True) for cut in _cut(first, itertools.repeat(len(nodes)), pace.batch_size)),
        *(Batch(cut) for cut in _cut(rest, steps, pace.batch_size)),
    ]


def _canary(ordered: list[Candidate], canary: int | str) -> list[Candidate]:
    return ordered[:canary] if isinstance(canary, int) else [candidate for candidate in ordered if candidate.node == canary]


def _steps(serial: tuple[Amount, ...], total: int) -> Iterator[int]:
    """How many nodes each step takes, for ever; at least one, and all of them where nothing or 0 is said."""
    for amount in serial[:-1]:
        yield _nodes(amount, total)
    last = serial[-1] if serial else Amount()
    yield from itertools.repeat(_nodes(last, total))


def _nodes(amount: Amount, total: int) -> int:
    return max(total, 1) if amount == Amount() else max(amount.of(total), 1)


def _cut(ordered: list[Candidate], steps: Iterator[int], size: int) -> Iterator[tuple[Candidate, ...]]:
    # What is meant in any state, or was asked for before, is asked for otherwise than the rest.
    for _alike, same in itertools.groupby(ordered, key=lambda each: (each.priority, each.again, each.any_state, each.asked_by)):
        by_node = [list(servers) for _node, servers in itertools.groupby(same, key=lambda each: each.node)]
        while by_node:
            count = next(steps, len(by_node))
            taken, by_node = by_node[:count], by_node[count:]
            most = max(len(servers) for servers in taken)
            for begin in range(0, most, size or most):
                yield tuple(server for servers in taken for server in servers[begin : begin + (size or most)])
