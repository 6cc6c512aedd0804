# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An endpoint's answers as values: hostile or odd answers give a reason, never a traceback or a secret."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.answers import read_server, read_servers
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.operation import read_operation

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
