# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit that stops servers before their engine stops."""

from __future__ import annotations

import pytest

from .lab import Node, playbook, server, uuid_of, wait_until
from .ran import changes, made, refusal
from .supervised import BACK_SECONDS, SHORT, STOP, act, facts, is_back, stop_unit, supervised, verdicts


def test_a_restart_of_the_engine_stops_servers_by_their_own_way_and_they_come_back(node: Node) -> None:
    console, signalled, stopped = server("console", STOP_SECONDS=2), server("signalled", STOP_SECONDS=2), server("stopped")
    signalled["process_configuration"]["stop"] = {"type": "signal", "value": "SIGTERM"}
    up = (console, signalled)
    supervised(node, *up, stopped)
    assert stop_unit(node) == "enabled active"
    act(node, "start", wait_for="running")
    act(node, "stop", stopped)
    since = [node.started_at(uuid_of(each)) for each in up]

    # By hand it stops nothing.
    node.ssh(f"systemctl restart {STOP}")
    assert [node.started_at(uuid_of(each)) for each in up] == since

    node.ssh("systemctl restart docker")
    wait_until(lambda: all(is_back(node, each, before) for each, before in zip(up, since)), "all are back", BACK_SECONDS)
    assert verdicts(node, *up) == [["engine_stopped"]] * 2
    for found in facts(node, *up):
        ended = [(row["action"], row["outcome"], row["origin"]) for row in reversed(found["operations"])]
        assert ended[1:] == [("stop", "done", "node stop"), ("start", "done", "supervisor")]
    said = node.ssh(f"journalctl -u {STOP} -o cat --no-pager")
    assert all(f"stop {uuid_of(each)} " in said for each in up) and "forced" not in said
    assert not node.is_up(uuid_of(stopped))
    assert stop_unit(node) == "enabled active"


@pytest.mark.long
def test_the_unit_is_removed_without_its_seconds_and_others_are_refused(node: Node) -> None:
    game = server("game")
    supervised(node, game)
    assert changes(supervised(node, game)) == []
    act(node, "start")
    since = node.started_at(uuid_of(game))
    assert "Write the unit of the stop of servers before the engine's" in changes(supervised(node, game, node_stop_seconds=90))
    assert "TimeoutStopUSec=1min 30s" in node.ssh(f"systemctl show {STOP}")
    for wrong in (59, 1501):
        said = refusal(playbook("node", [node], **SHORT, node_stop_seconds=wrong))
        assert said.endswith(f"node_stop_seconds is {wrong}; give a number from 60 to 1500, or 0 for no such stop")
    made(playbook("node", [node], **SHORT, node_stop_seconds=0))
    assert node.started_at(uuid_of(game)) == since and node.is_up(uuid_of(game))
    assert stop_unit(node) == " inactive"
    assert node.ssh(f"ls /etc/systemd/system/{STOP}.service /etc/systemd/system/*/{STOP}.service 2>/dev/null", check=False) == ""
    assert changes(supervised(node, node_stop_seconds=0)) == []
