# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""About how long a run still takes, by what its batches took so far; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .record import Record
from .words import DONE
from .worst_case import LongestBatch

#: Servers of one node that are acted on at a time where the run does not say how many: what a small node makes of it.
_AT_ONCE = 8


@dataclass(frozen=True)
class Waits:
    """What the run was told to wait, in seconds, and what it takes at a time.

    ``max_parallel`` is how many servers of one node, ``forks`` how many nodes; 0: as many as the node likes, and all.
    """

    pause: float = 0
    soak: float = 0
    max_parallel: int = 0
    forks: int = 0


def note_time(record: Record, number: int, seconds: float, waits: Waits) -> None:
    """Keep how long a batch took from its beginning to its count, but for the time in which it waited for players.

    One in which nothing was done tells nothing of the others.
    """
    rows = record.in_batch(number)
    if any(row.outcome == DONE for row in rows):
        # They are waited for side by side. What was done meanwhile on servers where nobody plays is in it, too.
        acted = max((row.seconds or 0) - row.waited for row in rows)
        record.acting += max(seconds - waits.soak - max(row.waited for row in rows), acted, 0)
        record.rounds += rounds(record, waits.max_parallel)[number]


def remaining(record: Record, number: int, waits: Waits) -> float | None:
    """Return about how many seconds a run takes from the beginning of a batch to its end; None while there is nothing to go by.

    What is done at a time has taken so long on the average of the batches in which something was done. Pauses and soaks are known; how
    long players will be waited for nobody knows, and is not in it.
    """
    if not record.rounds or record.check:
        return None
    left, found = range(number, record.batches + 1), rounds(record, waits.max_parallel)
    acting = record.acting / record.rounds * sum(found[each] for each in left)
    return acting + len(left) * waits.soak + (len(left) - 1) * waits.pause


def longest(record: Record, numbers: Iterable[int], waits: Waits) -> float:
    """Return how many seconds these batches may take at the longest, one after the other, without pauses.

    A node that Ansible has no fork for begins when another one is done.
    """
    most, taken, nodes = LongestBatch(record.longest_once, record.longest_round), rounds(record, waits.max_parallel), nodes_of(record)
    turns = {each: math.ceil(nodes[each] / (waits.forks or nodes[each])) for each in numbers}
    return sum(waits.soak + count * most.seconds(taken[each]) for each, count in turns.items())


def nodes_of(record: Record) -> Counter[int]:
    """Return how many nodes are in each batch."""
    return Counter(batch for batch, _node in {(row.batch, row.node) for row in record.rows if row.batch})


def rounds(record: Record, max_parallel: int) -> dict[int, int]:
    """Return how often each batch takes up servers anew: of the node that has the most of them in it, so many at a time."""
    counts = Counter((row.batch, row.node) for row in record.rows if row.batch)
    most: dict[int, int] = {}
    for (batch, _node), count in counts.items():
        most[batch] = max(most.get(batch, 0), count)
    return {batch: math.ceil(count / (max_parallel or _AT_ONCE)) for batch, count in most.items()}
