# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an endpoint says as values: hostile or odd answers are not known, or a reason, and never a traceback or a secret."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.operation import Operation, read_operation
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.seen import read_server, read_servers
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, PlanStep, StopReport
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
OTHER = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"


def told(**fields: Any) -> dict[str, Any]:
    configuration = {"uuid": UUID, "meta": {"name": "Cobalt"}, "environment": {"RCON": "rcon-secret"}, "container": {"image": "echo:1"}}
    utilization = {"memory_bytes": 7, "cpu_absolute": 12.307, "uptime": 93500, "network": {"rx_bytes": 1}, "state": "stopping"}
    return {"state": "running", "is_suspended": False, "utilization": utilization, "configuration": configuration, **fields}


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"state": "up"}, {"state": ["running"]}, told(configuration={"uuid": OTHER})],
    ids=str,
)
def test_what_is_not_the_server_asked_for_is_a_reason(value: object) -> None:
    with pytest.raises(ValueError):
        read_server(value, UUID)


def test_an_operation_is_read_whole() -> None:
    value = {
        "id": "op",
        "action": "restart",
        "outcome": "failed",
        "code": "start_failed",
        "msg": "Cannot start",
        "changed": True,
        "state_before": "running",
        "state": "offline",
        "stop": {"how": "command", "forced": False, "seconds": 4.5},
        "lock": {"waited_seconds": 2.0, "holder": {"action": "stop", "pid": 7, "odd": ["x"]}},
        "plan": ["stop", "preboot", "start", "dance"],
        "preboot": [{"step": "volume", "changed": True, "seconds": 0.5}],
        "cancelled": "start",
        "exit_code": 0,
        "log": ["one", "two\x1b"],
    }
    assert read_operation(value) == Operation(
        outcome=Outcome.FAILED,
        id="op",
        action="restart",
        code="start_failed",
        msg="Cannot start",
        changed=True,
        state_before=PowerState.RUNNING,
        state=PowerState.OFFLINE,
        stop=StopReport("command", False, 4.5),
        waited_seconds=2.0,
        holder={"action": "stop", "pid": 7},
        plan=(PlanStep.STOP, PlanStep.PREBOOT, PlanStep.START),
        preboot=read_operation(value).preboot,
        cancelled=PowerAction.START,
        exit_code=0,
        log=("one", "two"),
    )
    assert [step.step for step in read_operation(value).preboot] == ["volume"]


def test_a_token_is_masked_wherever_the_endpoint_repeats_it() -> None:
    token = "secrettoken"
    text = f"a {token} b"

    def masked(said: str) -> str:
        return said.replace(token, "*")

    value = {
        "outcome": "failed",
        **dict.fromkeys(("id", "server", "action", "msg"), text),
        "code": token,
        "stop": {"how": text, "forced": False, "seconds": 1},
        "lock": {"holder": {text: text, token: 7}},
        "preboot": [{"step": text, "msg": text}],
        "log": [text, "x" * 990 + token],
    }
    operation = read_operation(value, masked)
    assert (token[:6] in repr(operation), operation.msg, operation.code) == (False, "a * b", "")
    server = told(configuration={"uuid": UUID, "meta": {"name": text}, "container": {"image": text}})
    assert [token in repr(each) for each in (read_server(server, UUID, masked), read_servers([server], masked))] == [False, False]


# ----- players


def test_a_countdown_and_players_are_read_as_plain_values() -> None:
    countdown = {
        "action": "restart",
        "phase": "counting",
        "due": "2026-03-01T12:10:00.000Z",
        "origin": "a\nb\x1b[2J",
        "more": "x",
        "since": 7,
    }
    seen = read_server(told(countdown=countdown, players={"online": 3, "max": 20, "why_unknown": None}), UUID)
    assert seen.countdown == {"action": "restart", "phase": "counting", "due": "2026-03-01T12:10:00.000Z", "origin": "a b [2J"}
    assert seen.players == PlayerCount(3, 20)
