# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP shim on the lab: a node with it, its state in systemd, and requests to it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from .lab import Node, playbook, uuid_of, wait_until
from .ran import Ran, made

TOKEN = "hunter2-of-the-shim"
SERVICE = "fleet-power-shim"
UNIT = f"/etc/systemd/system/{SERVICE}.service"
CORES = "/usr/local/lib/fleet-power"
#: The longest `wait_seconds` of an action. A test's change to the service takes less time.
PATIENT = 300


def settings(**api: object) -> dict[str, Any]:
    """Return the settings of a node with the HTTP shim, open to the machine of the tests."""
    return {"token": TOKEN, "system": {"stop_timeout": 60}, "api": {"host": "0.0.0.0", "port": 8080, **api}}


def installed(node: Node, *definitions: Mapping[str, Any], arguments: Sequence[str] = (), **variables: object) -> Ran:
    """Make a node with these servers, and install the HTTP shim on it."""
    if not node.ssh("dpkg-query --show python3-aiohttp 2>/dev/null", check=False):
        pytest.skip("the nodes' base lacks python3-aiohttp")
    asked = {"node_settings": settings(), "node_definitions": list(definitions), "node_check": False, **variables}
    return made(playbook("shim", [node], *arguments, "fleet.power.node", **asked))


def shown(node: Node, *properties: str, service: str = SERVICE) -> dict[str, str]:
    """Return these properties of a service, as systemd shows them."""
    lines = node.ssh(f"systemctl show --property={','.join(properties)} {service}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def ask(node: Node, path: str, body: Mapping[str, object] | None = None, token: str = TOKEN) -> tuple[int, Mapping[str, str], Any]:
    """Send one request; return status, headers and body."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{node.address}:8080{path}", content, {"Authorization": f"Bearer {token}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=90) as answer:
            return answer.status, answer.headers, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def accepted(node: Node, definition: Mapping[str, Any], action: str, wait_seconds: int = PATIENT) -> str:
    """Send an action that is accepted; return the URL of its operation."""
    asked = {"action": action, "wait_seconds": wait_seconds}
    status, headers, _unused = ask(node, f"/api/servers/{uuid_of(definition)}/power", asked)
    assert status == 202
    return headers["Location"]


def end_of(node: Node, location: str) -> dict[str, Any]:
    """Wait for the end of an operation, and return it."""

    def answer() -> dict[str, Any] | None:
        try:
            status, _unused, found = ask(node, f"{location}?wait=60")
        except OSError:
            return None
        return dict(found) if status == 200 and found["outcome"] else None

    return dict(wait_until(answer, f"the end of {location}", 90))


def done(node: Node, definition: Mapping[str, Any], action: str) -> dict[str, Any]:
    """Do an action over the HTTP shim. It must succeed; return its operation."""
    ended = end_of(node, accepted(node, definition, action))
    assert ended["outcome"] == "done", ended
    return ended


def begun(node: Node, location: str) -> None:
    wait_until(lambda: ask(node, location)[2]["progress"] == "begun", "the operation has begun")


def pid_of(node: Node, service: str = SERVICE) -> int:
    """Return the process id of a service; 0 without a process."""
    return int(shown(node, "MainPID", service=service)["MainPID"])


def core_of(node: Node, service: str = SERVICE) -> str:
    """Return the path of the core that a service runs from."""
    return node.ssh(f"tr '\\0' '\\n' </proc/{pid_of(node, service)}/environ | sed -n s/^PYTHONPATH=//p").strip()


def cores(node: Node) -> list[str]:
    """Return the paths of a node's cores."""
    return node.ssh(f"ls -d {CORES}/core-*", check=False).split()
