# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A boot brings back the servers that were up before it, and no others, where nothing is supervised; on nodes whose plug is pulled."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from .lab import Node, adhoc, playbook, restored, server, uuid_of, wait_until

STAGGER = 2


def make(node: Node, *servers: dict[str, Any]) -> None:
    """Make it a node with these servers."""
    short = {"node_python": "none", "node_user": "", "node_check": False, "node_supervise": False}
    ran = playbook("node", [node], node_definitions=list(servers), node_restore_stagger=STAGGER, **short)
    assert ran.rc == 0, ran.output


def act(node: Node, action: str, *servers: dict[str, Any], **options: object) -> dict[str, Any]:
    """Act on servers, or on all; the result."""
    return adhoc([node], "server_power", {"server": [uuid_of(each) for each in servers] or ["all"], "action": action, **options})[node.name]


def began(node: Node, each: dict[str, Any]) -> datetime:
    """Return the moment a server was started, in whole microseconds."""
    return datetime.fromisoformat(node.started_at(uuid_of(each))[:26].rstrip("Z"))


@pytest.mark.long
def test_after_a_power_cut_what_was_meant_to_be_up_comes_back_and_nothing_else(node: Node) -> None:
    proxy, lobby, game = server("proxy", priority=10), server("lobby", priority=50), server("game")
    crashed = server("crashed", priority=200, CRASH_AFTER=2)
    stopped, killed, overdue, never = server("stopped"), server("killed"), server("overdue", priority=1), server("never")
    meant = (proxy, lobby, game, crashed)
    make(node, *meant, stopped, killed, overdue, never)
    act(node, "start", *meant, stopped, killed, overdue)
    act(node, "stop", stopped)
    act(node, "kill", killed)
    overdue["settings"]["suspended"] = True
    node.define(overdue)
    wait_until(lambda: not node.is_up(uuid_of(crashed)), "the server has crashed")

    node.faults.halt()
    node.faults.boot()

    assert restored(node) == "exited success"
    times = [began(node, each) for each in meant]
    assert times == sorted(times)
    # The turns are so far apart; what follows them, up to the engine's start, may take longer for the first than for the last.
    assert (times[-1] - times[0]).total_seconds() >= STAGGER * (len(times) - 1) - STAGGER
    assert [node.is_up(uuid_of(each)) for each in (proxy, lobby, game)] == [True] * 3
    assert [node.is_up(uuid_of(each)) for each in (stopped, killed, overdue, never)] == [False] * 4
    facts = {each["server"]: each for each in adhoc([node], "server_power_info")[node.name]["servers"]}
    assert {facts[uuid_of(each)]["last_operation"]["origin"] for each in meant} == {"restore after boot"}
    # What it is meant to be has not been forgotten with its suspension.
    assert facts[uuid_of(overdue)]["intent"]["up"] is True
