# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which batches each node of the play takes part in; pure."""

from __future__ import annotations

from collections.abc import Sequence

from .record import Record


def turns(record: Record, nodes: Sequence[str]) -> dict[str, list[int]]:
    """Return the batches that each node, in the play's order, has tasks for: its own, and some that it only passes by.

    Ansible lays out included tasks as it meets them, node after node. So a node also has those before its last one that no node before
    it has: then the order is that of the batches, although later nodes bring more.
    """
    own: dict[str, set[int]] = {node: set() for node in nodes}
    for row in record.rows:
        if row.batch and row.node in own:
            own[row.node].add(row.batch)
    found: dict[str, list[int]] = {}
    met = 0
    for node, numbers in own.items():
        last = max(numbers, default=0)
        found[node] = sorted(numbers.union(range(met + 1, last + 1)))
        met = max(met, last)
    return found
