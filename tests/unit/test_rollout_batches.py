# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of a rolling run, and its batches."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.selection import Batch, batches, pacing
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import Candidate, RolloutError

NODES = ["node-3", "node-1", "node-2"]


def servers(*texts: str) -> list[Candidate]:
    """Servers written as node, name and priority: ``1a/100``."""
    return [Candidate(f"node-{text[0]}", text[1], text[1], priority=int(text.partition("/")[2] or 100)) for text in texts]


def cut(candidates: list[Candidate], action: str = "restart", nodes: list[str] | None = None, **given: Any) -> list[str]:
    """The batches as text, the canary's with an exclamation mark."""
    nodes = NODES if nodes is None else nodes
    return [shown(batch) for batch in batches(candidates, nodes, action, pacing(given, nodes))]


def shown(batch: Batch) -> str:
    return " ".join(f"{candidate.node[-1]}{candidate.name}" for candidate in batch.servers) + "!" * batch.canary


@pytest.mark.parametrize("action", ["start", "restart"])
def test_lower_priorities_start_first_and_never_share_a_batch(action: str) -> None:
    assert cut(servers("1g", "2p/1", "3l/5", "1q/1"), action) == ["1q 2p", "3l", "1g"]


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_lower_priorities_stop_last(action: str) -> None:
    assert cut(servers("1g", "2p/1", "3l/5", "1q/1"), action) == ["1g", "3l", "1q 2p"]


def test_the_first_servers_may_be_the_canary() -> None:
    assert cut(servers("1a", "1b", "2c"), canary=2) == ["1a 1b!", "2c"]
    assert cut(servers("1a", "1b", "2c"), canary="1") == ["1a!", "1b 2c"]


def test_a_node_may_be_the_canary() -> None:
    assert cut(servers("1a", "2b", "2c/5", "3d"), canary="node-2") == ["2c!", "2b!", "3d 1a"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"canary": "node-9"}, "neither a number nor a node of this play"),
        ({"serial": "fast"}, "rollout_serial='fast': expected a whole number from 0, or a percentage"),
        ({"serial": [1, True]}, "rollout_serial=True"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_names_the_variable(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        pacing(given, NODES)


@pytest.mark.parametrize("seed", range(30))
def test_at_any_pace_each_server_comes_once_and_no_batch_breaks_its_bounds(seed: int) -> None:
    chance = random.Random(seed)
    nodes = [f"node-{number}" for number in range(chance.randint(1, 9))]
    many = [Candidate(chance.choice(nodes), str(number), priority=chance.choice([1, 2, 100])) for number in range(chance.randint(0, 60))]
    serial, size, canary = chance.randint(0, 4), chance.randint(0, 5), chance.choice([0, 3, nodes[0]])
    action = chance.choice(["start", "stop"])
    made = batches(many, nodes, action, pacing({"serial": serial, "batch_size": size, "canary": canary}, nodes))
    assert sorted(each.server for batch in made for each in batch.servers) == sorted(each.server for each in many)
    for batch in made:
        assert len({each.priority for each in batch.servers}) == 1
        of_nodes = [len(list(group)) for _node, group in itertools.groupby(batch.servers, key=lambda each: each.node)]
        assert batch.canary or not serial or len(of_nodes) <= serial
        assert not size or max(of_nodes) <= size
    order = [batch.servers[0].priority for batch in made if not batch.canary]
    assert order == sorted(order, reverse=action == "stop")
