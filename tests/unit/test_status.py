# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the fleet tells every server and every node, whatever is known of it, and the snapshot keeps its format."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet import status
from ansible_collections.fleet.power.plugins.module_utils._fleet.status import NodeSeen, failure, faults, node_seen, snapshot
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import width_of

NOON = datetime(2026, 2, 1, 12, tzinfo=timezone.utc)
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
UNREACHABLE = {"unreachable": True, "msg": "Task failed: Failed to connect:\r\n  no route to host"}


def entry(name: str = "Lobby", **fields: Any) -> dict[str, Any]:
    container = {"started_at": "2026-01-31T12:00:00.123456789Z", "finished_at": None, "exit_code": None}
    empty = {"container": container, "lock": None, "intent": None, "last_operation": None, "suspended": False, "priority": 100}
    return {"server": UUID, "short_id": UUID[:8], "name": name, "state": "running", **empty, **fields}


def unseen(name: str = "Dune", **fields: Any) -> dict[str, Any]:
    """A server that is known, and of which nothing could be seen."""
    nothing = dict.fromkeys(("state", "startup", "suspended", "priority", "egg", "labels", "container", "lock", "intent", "last_operation"))
    why = {"code": "engine_error", "msg": "Cannot inspect the container: the engine answers 500"}
    return {"server": UUID, "short_id": UUID[:8], "name": name, **nothing, **why, **fields}


def seen(*entries: dict[str, Any], node: str = "node-1") -> NodeSeen:
    return node_seen(node, {}, {"servers": list(entries)})


def status_lines(nodes: list[NodeSeen], states: list[str] | None = None, width: int = 1000) -> list[str]:
    return status.status_lines(nodes, states or (), now=NOON, width=width)


def line_of(shown: dict[str, Any]) -> str:
    return status_lines([seen(shown)])[1]


def test_a_server_is_one_line_with_all_that_is_asked_for() -> None:
    operation = {"action": "start", "outcome": "done", "code": None, "ended_at": "2026-01-31T12:00:01.500Z", "origin": "alice@web1"}
    assert re.split(" {2,}", line_of(entry(last_operation=operation))) == [
        *("node-1", "566bf9d7", "Lobby", "running", "01-31 12:00", "-", "start done 01-31 12:00", "alice@web1", "-")
    ]


def supervision(**fields: Any) -> dict[str, Any]:
    """What a node with a supervisor says of a server that crashed."""
    known = {
        "state": "backoff",
        "verdict": "crashed",
        "exit_code": 3,
        "consecutive_crashes": 3,
        "crashes_today": 3,
        "running": True,
        "paused": None,
    }
    return {**known, "next_at": "2026-02-01T04:12:10.123Z", "code": None, **fields}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "offline, crashed 3 times, next try 04:12:10"),
        ({"state": "crash_loop", "consecutive_crashes": 11}, "offline, crash loop (11 crashes), next try 04:12:10"),
        ({"code": "disk_full"}, "offline, crashed 3 times, last try disk_full, next try 04:12:10"),
        ({"state": "stays_down", "verdict": "stopped_externally", "exit_code": 143, "next_at": None}, "offline, stopped at the engine"),
        ({"state": "off", "next_at": None}, "offline, meant up, crashed 3 times"),
    ],
)
def test_what_is_done_about_a_server_that_is_down_is_told(told: dict[str, Any], words: str) -> None:
    line = line_of(entry(state="offline", intent={"up": True}, supervision=supervision(**told)))
    assert f"Lobby  {words}  01-31" in line


@pytest.mark.parametrize(
    ("result", "word", "reason"),
    [
        (UNREACHABLE, "unreachable", "Failed to connect: no route to host"),
        ({"failed": True}, "no answer", "it gave no reason"),
        (None, "no answer", "the node was not asked"),
    ],
)
def test_a_node_that_could_not_be_looked_at_is_a_row_and_a_reason(result: dict[str, Any] | None, word: str, reason: str) -> None:
    nodes = [seen(entry()), node_seen("node-2", {}, result)]
    lines = status_lines(nodes, ["offline"])
    assert lines[1].startswith("node-2  -") and word in lines[1]
    assert lines[-1].startswith("node-2") and reason in lines[-1]
    assert failure(nodes) == "Cannot look at 1 of 2 nodes: node-2; the reasons are below the table, the other nodes are complete"


def test_a_server_that_was_not_seen_is_a_line_and_a_reason() -> None:
    nodes = [seen(entry(), unseen())]
    lines = status_lines(nodes, ["offline"])
    assert lines[1].split("  ")[:3] == ["node-1", "566bf9d7", "Dune"] and " unknown, engine_error " in lines[1]
    assert lines[3] == "2 servers on 1 node: 1 running, 1 unknown"
    assert lines[-1] == "node-1, Dune  Cannot inspect the container: the engine answers 500"
    assert failure(nodes) == (
        "Cannot see all servers of 1 of 1 nodes: node-1; the reasons are below the table, the other nodes are complete"
    )
    assert faults(nodes) == {"node-1": "Cannot see 1 server of node-1: Dune"}


def test_a_list_that_is_not_whole_is_a_line_and_a_reason() -> None:
    part = {"servers": [entry()], "complete": False, "msg": "Cannot ask the Panel: HTTP 500"}
    nodes = [node_seen("node-1", {}, part), seen(entry(), node="node-2"), node_seen("node-3", {}, UNREACHABLE)]
    lines = status_lines(nodes)
    assert lines[2].startswith("node-1  -") and " list not whole " in lines[2]
    assert any(line.startswith("node-1, its list") and "HTTP 500" in line for line in lines)
    assert failure(nodes) == (
        "Cannot look at 1 of 3 nodes: node-3, nor see all servers of 1 of 3 nodes: node-1; "
        "the reasons are below the table, the other nodes are complete"
    )
    assert faults(nodes) == {
        "node-1": "Cannot list all servers of node-1: Cannot ask the Panel: HTTP 500",
        "node-3": "Cannot look at node-3: Failed to connect: no route to host",
    }


def test_the_snapshot_has_what_the_contract_says() -> None:
    variables = {
        "ansible_host": "10.0.0.1",
        "ansible_port": 2222,
        "ansible_password": "hush",
        "ansible_become_password": "hush",
        "other": 1,
    }
    nodes = [node_seen("node-1", variables, {"servers": [entry(log=["line"], operations=[])]}), node_seen("node-2", {}, UNREACHABLE)]
    kept = json.loads(json.dumps(snapshot(nodes, datetime(2026, 1, 31, 12, tzinfo=timezone.utc))))
    assert kept == {
        "schema": 1,
        "written_at": "2026-01-31T12:00:00.000Z",
        "nodes": [
            {
                "node": "node-1",
                "connection": {"ansible_host": "10.0.0.1", "ansible_port": 2222},
                "error": None,
                "complete": True,
                "msg": None,
                "supervisor": None,
                "events": None,
                "servers": [entry()],
            },
            {
                "node": "node-2",
                "connection": {},
                "error": "Failed to connect: no route to host",
                "complete": False,
                "msg": None,
                "supervisor": None,
                "events": None,
                "servers": [],
            },
        ],
    }


# ----- as wide as the terminal

RESTARTED = {
    "action": "restart",
    "outcome": "done",
    "ended_at": "2026-02-01T04:00:12.5Z",
    "origin": "ci@build (play Deploy, task Restart)",
    "reason": "rollout 4f2a9c01: nightly update of the plugins",
}
STOPPING = {
    "action": "stop",
    "phase": "stop",
    "phase_deadline": "2026-02-01T12:10:00.000Z",
    "origin": "alice@web1 (ad hoc)",
}
CRASHED = supervision()
FLEET = [
    seen(
        entry("Proxy", last_operation=RESTARTED),
        entry("Lobby", state="stopping", lock=STOPPING, last_operation={**STOPPING, "begun_at": "2026-02-01T12:00:00Z"}),
        entry("Survival of the fittest 12", last_operation=RESTARTED),
        entry("生存サーバー", state="offline", intent={"up": True}, supervision=CRASHED, last_operation=RESTARTED),
    ),
    node_seen("node-2", {}, UNREACHABLE),
]


@pytest.mark.parametrize("width", [40, 80, 132, 400])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = status_lines(FLEET, width=width)
    assert max(map(width_of, lines)) <= width
    assert [line.split()[0] for line in lines[1:6]] == ["node-1"] * 4 + ["node-2"]
    for state in ("running", "stopping", "offline", "unreachable"):
        assert any(state in line for line in lines[1:6])
