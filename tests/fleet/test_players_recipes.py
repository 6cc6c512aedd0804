# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes of the guide to players, as they stand there, but for their times: a test has no night."""

from __future__ import annotations

import json
import shlex
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, Example, examples

from .lab import Lease, playbook
from .played import Network
from .rollout import outcomes, result_of

yaml = pytest.importorskip("yaml")
pytestmark = pytest.mark.long

GUIDE = GUIDES / "players_guide.rst"


def recipe(word: str) -> Example:
    """The example of the guide that has a word in it."""
    (found,) = (each for each in examples(GUIDE) if word in each.text)
    return found


def test_a_network_with_a_proxy_and_lobbies(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    network = Network(node, Proxy=2, Lobby=1, Survival=1)
    plays: list[dict[str, Any]] = yaml.safe_load(recipe("Tell everybody, then restart").text)
    plays[0]["tasks"][0]["fleet.power.server_power"]["warn"] = [6, 3]
    assert plays[0]["hosts"] == "node1"
    plays[0]["hosts"] = node.name
    book = tmp_path / "network.yml"
    book.write_text(json.dumps(plays))
    ran = playbook(book, [node])
    assert ran.rc == 0, ran.output
    assert network.restarted() == ["Proxy", "Lobby", "Survival"]
    for name in network.servers:
        assert network.said(name) == [f"{name} restarts in {seconds} seconds: new version" for seconds in (6, 3)]


def test_only_empty_ones_until_six(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    network = Network(node, busy=2, empty=0)
    plays: list[dict[str, Any]] = yaml.safe_load(recipe("Restart empty servers at night").text)
    now = datetime.now()
    night = {"rollout_not_before": now, "rollout_deadline": now + timedelta(minutes=3)}
    variables: dict[str, Any] = plays[0]["roles"][0]["vars"]
    variables |= {name: f"{moment:%Y-%m-%dT%H:%M:%S}" for name, moment in night.items()}
    variables |= {"rollout_max_delay": 12, "rollout_stop_timeout": 10}
    book = tmp_path / "night.yml"
    book.write_text(json.dumps(plays))
    ran = playbook(book, [node])
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"busy": "not_done players_online", "empty": "done"}
    assert network.restarted() == ["empty"] and network.said("busy") == []
    assert "1 done, 1 skipped for players" in ran.stdout and "-e rollout_resume=" in ran.output


def test_a_warning_from_a_pipeline(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    network = Network(node, Lobby=0, Survival=1)
    words = shlex.split(recipe("version 1.4").text.removeprefix("$ ").replace("\\\n", " "))
    assert words[:2] == ["ansible-playbook", "fleet.power.rolling_restart"]
    ran = playbook("rolling_restart", [node], *(word.replace("[600, 300, 60, 10]", "[4, 2]") for word in words[2:]))
    assert ran.rc == 0, ran.output
    assert network.restarted() == ["Lobby", "Survival"]
    assert network.said("Lobby") == []
    assert network.said("Survival") == [f"Server restart in {seconds} seconds. version 1.4" for seconds in (4, 2)]
    assert outcomes(result_of(tmp_path)) == {"Lobby": "done", "Survival": "done"}
