# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role shim with what it installs from elsewhere, behind real firewalls, and where the service is not well."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from .lab import Lease, Node, nodes_command, playbook
from .ran import changes, made
from .shim import LIBRARIES, ask, installed, pid_of


@pytest.fixture
def online(lease: Lease) -> Iterator[Node]:
    """A node with a way out, on which everything may be installed: afterwards it is as new."""
    (node,) = lease(1)
    node.needs_a_way_out()
    yield node
    nodes_command("renew", node.name)


@pytest.mark.long
def test_it_runs_from_a_virtual_environment_and_the_second_run_changes_nothing(online: Node) -> None:
    asked = {"shim_python": "virtualenv"}
    assert "Install the libraries into the virtual environment" in changes(installed(online, **asked))
    assert ask(online, "/healthz", token="")[0] == 200
    assert online.ssh(f"tr '\\0' ' ' </proc/{pid_of(online)}/cmdline").startswith(f"{LIBRARIES}/venv/bin/python -B -m ")
    pid = pid_of(online)
    assert changes(made(playbook("shim", [online], **asked))) == []
    assert pid_of(online) == pid


@pytest.mark.long
@pytest.mark.parametrize("firewall", ["ufw", "firewalld"])
def test_a_real_firewall_lets_in_whom_it_is_told_and_nobody_else_any_more(online: Node, firewall: str) -> None:
    online.ssh(f"apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes {firewall}")
    if firewall == "ufw":
        online.ssh("ufw allow 22/tcp && ufw --force enable")
    here = f"{online.address.rpartition('.')[0]}.1"
    asked: dict[str, Any] = {"shim_firewall": firewall, "shim_firewall_sources": ["198.51.100.0/24", "2001:DB8::7", here]}
    installed(online, **asked)
    assert is_let_in(online)
    assert changes(made(playbook("shim", [online], **asked))) == []

    asked["shim_firewall_sources"] = ["198.51.100.0/24", "2001:db8::/32"]
    ran = made(playbook("shim", [online], **asked))
    assert {each.partition(" ")[0] for each in changes(ran)} == {"Add", "Remove"}
    assert not is_let_in(online)
    assert changes(made(playbook("shim", [online], **asked))) == []
    if firewall == "firewalld":
        online.ssh("firewall-cmd --reload")
        assert changes(made(playbook("shim", [online], **asked))) == []


def is_let_in(node: Node) -> bool:
    """Tell whether this machine reaches the service."""
    try:
        socket.create_connection((node.address, 8080), 3).close()
    except OSError:
        return False
    return True
