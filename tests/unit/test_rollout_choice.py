# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which servers a rolling run means."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.selection import Choice, candidates, choose, criteria
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError
from ansible_collections.fleet.power.tests.unit.rollout_support import info, uuid

EGG = "0f5a1a3c-9a10-4e27-8f43-0a7f5cf1a9d2"


def chosen(*entries: dict[str, Any], node: str = "node-1", **given: Any) -> list[str]:
    return [candidate.name for candidate in choice({node: list(entries)}, **given).chosen]


def choice(seen: dict[str, list[dict[str, Any]]], **given: Any) -> Choice:
    asked = criteria({"action": "restart", "servers": ["all"], **given})
    return choose(candidates(seen, asked), asked)


def test_a_restart_of_all_means_those_that_are_up() -> None:
    states = ("offline", "starting", "running", "stopping")
    assert chosen(*(info(number, name=state, state=state) for number, state in enumerate(states))) == ["starting", "running", "stopping"]


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_server_that_somebody_else_has_down_to_boot_it_is_up_for_a_restart_of_all(action: str) -> None:
    (candidate,) = choice(
        {"node-1": [info(1, state="offline", lock={"action": action}), info(2, state="offline", lock={"action": "stop"})]}
    ).chosen
    assert (candidate.name, candidate.state, candidate.any_state) == ("Server 1", "starting", True)


@pytest.mark.parametrize("name", ["Lobby", uuid(7), uuid(7).upper(), "00000007"])
def test_a_server_is_named_by_name_uuid_or_short_id(name: str) -> None:
    assert chosen(info(7, name="Lobby"), info(8, name="Other"), servers=[name]) == ["Lobby"]


def test_a_name_on_two_nodes_is_an_error_that_says_where() -> None:
    with pytest.raises(RolloutError, match=r"meant by Lobby: there are .* on node-1, .* on node-2; give UUIDs") as caught:
        choice({"node-1": [info(1, name="Lobby")], "node-2": [info(2, name="Lobby")]}, servers=["Lobby"])
    assert caught.value.code == "ambiguous_server"


def test_every_criterion_must_hold() -> None:
    fitting = info(1, name="fits", labels={"tier": "game", "zone": "eu"}, egg=EGG)
    others = [
        info(2, name="label", labels={"tier": "game", "zone": "us"}, egg=EGG),
        info(3, name="no label", egg=EGG),
        info(4, name="egg", labels={"tier": "game", "zone": "eu"}, egg=uuid(1)),
        info(5, name="state", state="starting", labels={"tier": "game", "zone": "eu"}, egg=EGG),
    ]
    given: dict[str, Any] = {"labels": {"tier": "game", "zone": "eu"}, "eggs": [EGG.upper()], "states": ["running"]}
    assert chosen(fitting, *others, **given) == ["fits"]


@pytest.mark.parametrize("action", ["start", "restart"])
def test_suspended_servers_are_set_apart_where_they_would_boot(action: str) -> None:
    found = choice({"node-1": [info(1), info(2, suspended=True)]}, action=action)
    assert [each.name for each in found.chosen] == ["Server 1"]
    assert [each.name for each in found.suspended] == ["Server 2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"action": ""}, "rollout_action='': expected one of start, stop, restart, kill"),
        ({"servers": []}, "rollout_servers is empty"),
        ({"servers": ["all", "Lobby"]}, "all stands alone"),
        ({"states": ["offline"]}, "start them instead"),
        ({"priorities": {"Lobby": "first"}}, "Cannot use rollout_priorities.Lobby: it is .*, expected a whole number"),
    ],
)
def test_what_makes_no_sense_is_an_error_that_names_the_variable(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        criteria({"action": "restart", "servers": ["all"], **given})


@pytest.mark.parametrize("action", ["start", "stop", "kill"])
def test_outdated_narrows_a_restart_alone(action: str) -> None:
    with pytest.raises(RolloutError, match=f"Cannot {action} with rollout_outdated: it narrows restart alone"):
        criteria({"action": action, "servers": ["all"], "outdated": True})
    with pytest.raises(RolloutError, match="expected true or false"):
        criteria({"action": "restart", "servers": ["all"], "outdated": "perhaps"})
