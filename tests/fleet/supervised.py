# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervised nodes: role node, its services, and the servers' rows in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .lab import Node, adhoc, playbook, uuid_of
from .ran import Ran, made
from .shim import shown

SUPERVISOR = "fleet-power-supervisor"
RESTORE = "fleet-power-restore"
EVENTS = "fleet-power-events"
STOP = "fleet-power-stop"
#: The secret that signs events.
SECRET = "whsec_" + "QUFB" * 8
#: Variables that make the role quicker in a test.
SHORT = {"node_python": "none", "node_user": "", "node_check": False}
#: The longest time until a server is back on a loaded machine.
BACK_SECONDS = 60.0


def supervised(node: Node, *servers: Mapping[str, Any], **variables: object) -> Ran:
    """Make a node with these servers, supervised unless ``variables`` say otherwise."""
    return made(playbook("node", [node], **{**SHORT, "node_definitions": list(servers), **variables}))


def act(node: Node, action: str, *servers: Mapping[str, Any], **options: object) -> dict[str, Any]:
    asked = {"server": [uuid_of(each) for each in servers] or ["all"], "action": action, **options}
    return dict(adhoc([node], "server_power", asked)[node.name])


def stop_unit(node: Node) -> str:
    """Return whether the unit that stops servers before the engine is enabled and active."""
    found = shown(node, "UnitFileState", "ActiveState", service=STOP)
    return f"{found['UnitFileState']} {found['ActiveState']}"


def units(node: Node) -> dict[str, str]:
    """Return for each existing unit whether it is enabled and active."""
    states = {}
    for service in (SUPERVISOR, RESTORE, EVENTS):
        found = shown(node, "UnitFileState", "ActiveState", service=service)
        if found["UnitFileState"]:
            states[service] = f"{found['UnitFileState']} {found['ActiveState']}"
    return states


def crash(node: Node, server: Mapping[str, Any]) -> None:
    """Kill a server's process without the engine."""
    found = node.container(uuid_of(server))
    assert found is not None and found["State"]["Running"]
    node.ssh(f"kill -9 {found['State']['Pid']}")


def is_back(node: Node, server: Mapping[str, Any], since: str) -> bool:
    """Tell whether a server is up in another run than the one of ``since``."""
    found = node.container(uuid_of(server))
    return found is not None and bool(found["State"]["Running"]) and found["State"]["StartedAt"] != since


def began(node: Node, server: Mapping[str, Any]) -> datetime:
    """Return a server's last start, in whole microseconds."""
    return datetime.fromisoformat(node.started_at(uuid_of(server))[:26].rstrip("Z"))


def facts(node: Node, *servers: Mapping[str, Any]) -> list[dict[str, Any]]:
    asked = {"server": [uuid_of(each) for each in servers], "operations": 100, "crashes": 10}
    found = {each["server"]: each for each in adhoc([node], "server_power_info", asked)[node.name]["servers"]}
    return [found[uuid_of(each)] for each in servers]


def starts(node: Node, *servers: Mapping[str, Any]) -> list[list[str]]:
    """Return the origins of each server's starts from the journal, the oldest first."""
    return [
        [row["origin"] for row in reversed(each["operations"]) if (row["action"], row["outcome"]) == ("start", "done")]
        for each in facts(node, *servers)
    ]


def verdicts(node: Node, *servers: Mapping[str, Any]) -> list[list[str]]:
    """Return the verdicts on each server's ended runs, the oldest first."""
    return [[row["verdict"] for row in reversed(each["crashes"])] for each in facts(node, *servers)]
