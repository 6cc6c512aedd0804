# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the fleet shows every server, node and receiver."""

from __future__ import annotations

import importlib
import json
import re
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet import status
from ansible_collections.fleet.power.plugins.module_utils._fleet.look_result import unseen_in
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import options_fault, player_policy
from ansible_collections.fleet.power.plugins.module_utils._fleet.status import (
    NodeSeen,
    event_lines,
    failure,
    faults,
    node_seen,
    receiver_rows,
    snapshot,
)
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import width_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.option import argument_spec
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PLAYER_OPTIONS, read_policy
from ansible_collections.fleet.power.plugins.module_utils._power.options import INFO_OPTIONS, POWER_OPTIONS, SHARED_OPTIONS

NOON = datetime(2026, 2, 1, 12, tzinfo=timezone.utc)
UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
UNREACHABLE = {"unreachable": True, "msg": "Task failed: Failed to connect:\r\n  no route to host"}


def entry(name: str = "Lobby", **fields: Any) -> dict[str, Any]:
    container = {"started_at": "2026-01-31T12:00:00.123456789Z", "finished_at": None, "exit_code": None}
    empty = {"container": container, "lock": None, "intent": None, "last_operation": None, "suspended": False, "priority": 100}
    return {"server": UUID, "short_id": UUID[:8], "name": name, "state": "running", **empty, **fields}


def unseen(name: str = "Dune", **fields: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("state", "startup", "suspended", "priority", "egg", "labels", "container", "lock", "intent", "last_operation"))
    why = {"code": "engine_error", "msg": "Cannot inspect the container: the engine answers 500"}
    return {"server": UUID, "short_id": UUID[:8], "name": name, **nothing, **why, **fields}


def seen(*entries: dict[str, Any], node: str = "node-1") -> NodeSeen:
    return node_seen(node, {}, {"servers": list(entries)})


def status_lines(nodes: list[NodeSeen], states: list[str] | None = None, width: int = 1000) -> list[str]:
    return status.status_lines(nodes, states or (), now=NOON, width=width)


def line_of(shown: dict[str, Any]) -> str:
    return status_lines([seen(shown)])[1]


def test_the_line_of_a_server_has_its_state_and_last_operation() -> None:
    operation = {"action": "start", "outcome": "done", "code": None, "ended_at": "2026-01-31T12:00:01.500Z", "origin": "alice@web1"}
    assert re.split(" {2,}", line_of(entry(last_operation=operation))) == [
        *("node-1", "566bf9d7", "Lobby", "running", "01-31 12:00", "-", "start done 01-31 12:00", "alice@web1", "-")
    ]


def supervision(**fields: Any) -> dict[str, Any]:
    """The answer of a node with a supervisor about a crashed server."""
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
    ("given", "words"),
    [
        ({}, "offline, crashed 3 times, next try 04:12:10"),
        ({"state": "crash_loop", "consecutive_crashes": 11}, "offline, crash loop (11 crashes), next try 04:12:10"),
        ({"verdict": "hung"}, "offline, hung 3 times, next try 04:12:10"),
        ({"code": "disk_full"}, "offline, crashed 3 times, last try disk_full, next try 04:12:10"),
        ({"state": "stays_down", "verdict": "stopped_externally", "exit_code": 143, "next_at": None}, "offline, stopped at the engine"),
        ({"state": "off", "next_at": None}, "offline, should be up, crashed 3 times"),
    ],
)
def test_the_line_of_a_crashed_server_shows_the_work_of_the_supervisor(given: dict[str, Any], words: str) -> None:
    line = line_of(entry(state="offline", intent={"up": True}, supervision=supervision(**given)))
    assert f"Lobby  {words}  01-31" in line


@pytest.mark.parametrize(
    "hang, words", [("suspect", "hangs with others: suspect is the node"), ("too_often", "hangs, restarted too often")]
)
def test_the_line_of_a_server_says_why_it_is_left_up(hang: str, words: str) -> None:
    line = line_of(entry(supervision=supervision(state="ok", verdict=None, next_at=None, hang=hang), container={"health": "unhealthy"}))
    assert f"Lobby  running, {words}, unhealthy  " in line


FROZEN = {"is_frozen": True, "until": "2026-02-01T18:00:00.000Z", "at": "x", "origin": "alice@web1", "reason": "final"}
PERHAPS = dict.fromkeys(FROZEN)


@pytest.mark.parametrize(("freeze", "words"), [(FROZEN, "running, frozen"), (PERHAPS, "running, perhaps frozen"), (None, "running")])
def test_the_line_of_a_server_shows_its_freeze(freeze: dict[str, Any] | None, words: str) -> None:
    assert f"Lobby  {words}  01-31" in line_of(entry(freeze=freeze))


def test_frozen_nodes_are_named_together_with_the_end_the_person_and_the_reason() -> None:
    given = {"node-1": FROZEN, "node-2": None, "node-3": FROZEN, "node-4": PERHAPS}
    lines = status_lines([node_seen(node, {}, {"servers": [], "freeze": freeze}) for node, freeze in given.items()])
    assert "Frozen until 2026-02-01T18:00:00.000Z by alice@web1, final: node-1, node-3" in lines
    assert "Perhaps frozen: node-4" in lines


@pytest.mark.parametrize(
    ("result", "word", "reason"),
    [
        (UNREACHABLE, "unreachable", "Failed to connect: no route to host"),
        ({"failed": True}, "no answer", "it gave no reason"),
        (None, "no answer", "the node was not asked"),
    ],
)
def test_an_unreadable_node_has_a_line_and_a_reason(result: dict[str, Any] | None, word: str, reason: str) -> None:
    nodes = [seen(entry()), node_seen("node-2", {}, result)]
    lines = status_lines(nodes, ["offline"])
    assert lines[1].startswith("node-2  -") and word in lines[1]
    assert lines[-1].startswith("node-2") and reason in lines[-1]
    assert failure(nodes) == "Cannot look at 1 of 2 nodes: node-2; the reasons are below the table, the other nodes are complete"


def test_an_unreadable_server_has_a_line_and_a_reason() -> None:
    nodes = [seen(entry(), unseen())]
    lines = status_lines(nodes, ["offline"])
    assert lines[1].split("  ")[:3] == ["node-1", "566bf9d7", "Dune"] and " unknown, engine_error " in lines[1]
    assert lines[3] == "2 servers on 1 node: 1 running, 1 unknown"
    assert lines[-1] == "node-1, Dune  Cannot inspect the container: the engine answers 500"
    assert failure(nodes) == (
        "Cannot see all servers of 1 of 1 nodes: node-1; the reasons are below the table, the other nodes are complete"
    )
    assert faults(nodes) == {"node-1": "Cannot see 1 server of node-1: Dune"}


def test_an_incomplete_list_has_a_line_and_a_reason() -> None:
    part = {"servers": [entry()], "complete": False, "msg": "Cannot ask the Panel: HTTP 500"}
    nodes = [node_seen("node-1", {}, part), seen(entry(), node="node-2"), node_seen("node-3", {}, UNREACHABLE)]
    lines = status_lines(nodes)
    assert lines[2].startswith("node-1  -") and " list not whole " in lines[2]
    assert any(line.startswith("node-1, its list") and "HTTP 500" in line for line in lines)
    assert failure(nodes) == (
        "Cannot look at 1 of 3 nodes: node-3, or see all servers of 1 of 3 nodes: node-1; "
        "the reasons are below the table, the other nodes are complete"
    )
    assert faults(nodes) == {
        "node-1": "Cannot list all servers of node-1: Cannot ask the Panel: HTTP 500",
        "node-3": "Cannot look at node-3: Failed to connect: no route to host",
    }


def test_the_snapshot_has_the_documented_fields() -> None:
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
                "freeze": None,
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
                "freeze": None,
                "servers": [],
            },
        ],
    }


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


RECEIVERS_NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
FAILING = {"failing_since": "2026-01-31T04:12:01.000Z", "error": "it answered with status 503"}
WAITING = {"waiting": 12, "oldest_at": "2026-01-31T04:12:00.123Z"}


def receiver(name: str = "pager", **more: Any) -> dict[str, Any]:
    nothing = {
        "waiting": 0,
        "oldest_at": None,
        "off": False,
        "failing_since": None,
        "error": None,
        "dropped": 0,
        "sent": 5,
        "sent_at": None,
    }
    return {"receiver": name, **nothing, **more}


def events(*receivers: dict[str, Any], running: bool | None = True, kept: bool | None = True) -> dict[str, Any]:
    return {"running": running, "since": None, "enabled": kept, "receivers": list(receivers) if kept else None}


NONE = events(running=False, kept=False)


@pytest.mark.parametrize(
    ("nodes", "lines"),
    [
        ([], []),
        ([events(receiver(), receiver("chat"))], ["Events: 2 receivers"]),
        ([events(receiver(waiting=2)), events(receiver(waiting=1, dropped=4))], ["Events: 2 receivers, 3 wait, 4 dropped"]),
        ([events(receiver(), running=False)], ["Events: 1 receiver", "fleet-power-events does not run: node-1"]),
        ([events(), NONE, None, NONE], ["No events: node-2, node-4"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_event_lines_show_waiting_events_and_nodes_without_events(nodes: list[dict[str, Any] | None], lines: list[str]) -> None:
    assert event_lines([NodeSeen(f"node-{number}", {}, events=each) for number, each in enumerate(nodes, 1)]) == lines


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, None),
        ({**WAITING, **FAILING}, "12 wait since 04:12:00, failing since 04:12:01, it answered with status 503"),
        ({"off": True, "error": "it answers 410"}, "switched off, it answers 410"),
        ({"dropped": 7}, "7 dropped"),
        ({**FAILING, "error": "x" * 5000}, f"failing since 04:12:01, {'x' * 200}"),
    ],
    ids=str,
)
def test_a_receiver_with_undelivered_events_has_a_row_with_the_reason(given: dict[str, Any], words: str | None) -> None:
    node = NodeSeen("node-1", {}, events=events(receiver(**given)))
    assert receiver_rows([node], RECEIVERS_NOON) == ([] if words is None else [("node-1, pager", words)])


GIVEN: list[dict[str, Any]] = [
    {"players_at_most": 0, "max_delay": 600},
    {"players_at_most": "0", "max_delay": "600", "on_max_delay": "proceed"},
    {"warn": [600, 60], "warn_message": "{time}"},
    {"warn": "600,300, 60", "players_at_most": "3", "max_delay": "1800"},
    {"warn": ["60", 10]},
    {"warn": "60"},
]


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_player_options_are_read_as_by_the_module(given: dict[str, Any]) -> None:
    spec = pytest.importorskip("ansible.module_utils.common.arg_spec")
    options = {name: POWER_OPTIONS[name] for name in PLAYER_OPTIONS}
    validated = spec.ArgumentSpecValidator(argument_spec(options)).validate(given)
    assert validated.error_messages == []
    assert player_policy("restart", given) == read_policy("restart", True, validated.validated_parameters)


def test_null_player_options_count_as_absent() -> None:
    assert player_policy("start", dict.fromkeys(PLAYER_OPTIONS)) is None
    assert player_policy("kill", {}) is None


@pytest.mark.parametrize("action", ["start", "kill"])
def test_actions_without_a_player_policy_refuse_player_options(action: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"Cannot {action} with warn: only stop and restart"):
        player_policy(action, {"warn": [10]})


NAMES = [each for name, option in SHARED_OPTIONS.items() for each in (name, *option.aliases)]


def test_shared_options_may_have_any_of_their_names() -> None:
    assert set(SHARED_OPTIONS) == set(POWER_OPTIONS) & set(INFO_OPTIONS) - {"server"}
    assert options_fault("power_options", dict.fromkeys(NAMES, 1)) is None
    assert options_fault("power_options", []) is None


def test_the_action_plugin_knows_all_names_of_the_server_option() -> None:
    pytest.importorskip("ansible.plugins.action")
    known = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._server_action")._SERVER_NAMES
    assert [("server", *options["server"].aliases) for options in (POWER_OPTIONS, INFO_OPTIONS)] == [known, known]


@pytest.mark.parametrize("name", ["adopt", "wait_seconds", "server", "uuid", "tail", "confg"])
def test_options_of_a_single_module_are_refused_by_name(name: str) -> None:
    fault = options_fault("power_options", {name: 1, "config": "/x"})
    assert fault is not None
    assert fault.startswith(f"Cannot use {name} in power_options: only options of both looking and acting are allowed: config, ")


ONE, TWO, GONE = (f"{number:08x}-0000-4000-8000-000000000000" for number in (1, 2, 3))
SEEN = {"server": ONE, "name": "Lobby", "state": "offline"}
UNSEEN = {"server": TWO, "name": "", "short_id": TWO[:8], "state": None, "code": "engine_error", "msg": "Cannot inspect it:\n HTTP 500"}
SENTENCE = "Cannot see server 00000002: Cannot inspect it: HTTP 500 (engine_error)"
PART = {"servers": [SEEN], "complete": False, "msg": "Cannot ask the Panel: HTTP 500"}
LISTED = "Cannot list all servers: Cannot ask the Panel: HTTP 500"


@pytest.mark.parametrize(
    ("result", "among", "sentences"),
    [
        ({"servers": [SEEN], "complete": True}, None, []),
        ({"failed": True, "msg": "no engine"}, None, ["Cannot see any server: no engine"]),
        ({"failed": False, "failed_when_result": False, "msg": "no\n engine"}, [ONE], ["Cannot see any server: no engine"]),
        ({"unreachable": True, "changed": False}, None, ["Cannot see any server: it gave no reason"]),
        ({"failed": True, "msg": "no engine"}, [], []),
        ({"servers": [SEEN, UNSEEN]}, None, [SENTENCE]),
        ({"servers": [SEEN, UNSEEN]}, [ONE], []),
        ({"servers": [SEEN, UNSEEN]}, [ONE, TWO], [SENTENCE]),
        (PART, None, [LISTED]),
        (PART, [ONE], []),
        (PART, [ONE, GONE], [LISTED]),
        ({**PART, "servers": [UNSEEN]}, None, [SENTENCE, LISTED]),
    ],
)
def test_unseen_servers_and_incomplete_lists_have_sentences(result: dict[str, Any], among: list[str] | None, sentences: list[str]) -> None:
    assert unseen_in(result, among) == sentences


def test_the_filter_unseen_returns_the_sentences() -> None:
    pytest.importorskip("ansible.plugins.action")
    plugin = importlib.import_module("ansible_collections.fleet.power.plugins.filter.unseen")
    unseen = plugin.FilterModule().filters()["unseen"]
    assert unseen({"servers": [SEEN, UNSEEN]}) == [SENTENCE]
    assert unseen({"servers": [SEEN, UNSEEN]}, [ONE]) == []
