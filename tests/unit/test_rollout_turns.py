# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""However batches and nodes are mixed, the tasks of the batches come in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, Row
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import turns
from hypothesis import given
from hypothesis import strategies as st


def run_of(batches: Sequence[Sequence[str]]) -> Record:
    """A run whose batches have servers of these nodes."""
    record = Record("1b2c3d4e", "restart", "2026-01-31T12:00:00.000Z", {}, batches=len(batches))
    record.rows = [Row(node, f"{node}-{number}", batch=number) for number, nodes in enumerate(batches, 1) for node in nodes]
    return record


def laid_out(lists: Mapping[str, Sequence[int]], nodes: Sequence[str]) -> list[int]:
    """What Ansible makes of what each node includes: each file where it was met first."""
    met: list[int] = []
    for node in nodes:
        met += [number for number in lists[node] if number not in met]
    return met


@pytest.mark.parametrize(
    ("batches", "lists"),
    [
        # Node after node: nobody has anything to pass by.
        (["a", "a", "b", "b", "c"], {"a": [1, 2], "b": [3, 4], "c": [5]}),
        # Priority after priority: the first node passes by.
        (["a", "b", "c", "a", "b", "c"], {"a": [1, 2, 3, 4], "b": [2, 5], "c": [3, 6]}),
        # A canary of the last node.
        (["c", "a", "b"], {"a": [1, 2], "b": [3], "c": [1]}),
        (["ab", "b"], {"a": [1], "b": [1, 2], "c": []}),
        ([], {"a": [], "b": [], "c": []}),
    ],
)
def test_a_node_has_its_own_batches_and_those_before_its_last_that_nobody_has_yet(batches: list[str], lists: dict[str, list[int]]) -> None:
    assert turns(run_of(batches), ["a", "b", "c"]) == lists


@given(st.lists(st.sets(st.sampled_from("abcdef"), min_size=1), max_size=12))
def test_the_order_is_that_of_the_batches_and_each_node_has_its_own(batches: list[set[str]]) -> None:
    nodes = "abcdef"
    lists = turns(run_of([sorted(each) for each in batches]), nodes)
    assert laid_out(lists, nodes) == list(range(1, len(batches) + 1))
    for node in nodes:
        assert lists[node] == sorted(set(lists[node]))
        assert set(lists[node]) >= {number for number, each in enumerate(batches, 1) if node in each}
