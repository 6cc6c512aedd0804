# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that role node installs, on real nodes."""

from __future__ import annotations

import json
import shlex

import pytest

from .lab import Node, adhoc, adhoc_begun, playbook, server, uuid_of
from .people import PERSON, person
from .ran import changes, made, refusal
from .scratch import collection_root
from .shim import cores

COMMAND = "/usr/local/bin/fleet-power"


def run_as(user: str, *words: str) -> str:
    """Return a shell command that runs the command as a user in a login session."""
    return f"runuser -l {user} -c {shlex.quote(shlex.join(['fleet-power', *words]))} 2>&1; echo code $?"


@pytest.mark.long
def test_role_node_installs_a_command_for_root_and_for_members_of_both_groups(node: Node) -> None:
    lobby = server("Lobby")
    made(playbook("node", [node], node_definitions=[lobby]))
    assert node.ssh(f"stat -c '%U %a' {COMMAND}") == "root 755\n"
    assert node.ssh("fleet-power start Lobby --wait-for running --reason 'first start'").startswith("Lobby: start done")
    assert "Lobby" in node.ssh("fleet-power status") and node.is_up(uuid_of(lobby))
    assert "first start" in node.ssh("fleet-power why Lobby")
    result = adhoc([node], "server_power_info")[node.name]
    shown = json.loads(node.ssh("fleet-power status --json"))
    assert [entry["server"] for entry in shown["servers"]] == [entry["server"] for entry in result["servers"]]
    completed = "source /usr/local/share/bash-completion/completions/fleet-power; COMP_WORDS=(fleet-power why L) COMP_CWORD=2"
    assert node.ssh(f"bash -c {shlex.quote(f'{completed}; _fleet_power; echo ${{COMPREPLY[@]}}')}") == "Lobby\n"
    assert "FLEET" in node.ssh("head -n 8 /usr/local/share/man/man1/fleet-power.1")
    _refuses_the_controller_while_frozen(node)
    assert changes(made(playbook("node", [node], node_definitions=[lobby]))) == []
    # It removes the group at its end.
    _serves_members_of_both_groups_only(node)


def _serves_members_of_both_groups_only(node: Node) -> None:
    with person(node, groups=("docker", "fleet-power")):
        assert node.ssh(run_as(PERSON, "freeze", "--until", "06:00", "--reason", "night")).endswith("code 0\n")
        assert "frozen" in node.ssh(run_as(PERSON, "restart", "Lobby"))
        assert node.ssh(run_as(PERSON, "stop", "Lobby", "--reason", "night")).endswith("code 0\n")
        assert "night" in node.ssh(run_as(PERSON, "why", "Lobby"))
        assert node.ssh(run_as(PERSON, "thaw")).endswith("code 0\n")
    with person(node):
        for command in ("start", "why", "kill"):
            said = node.ssh(run_as(PERSON, command, "Lobby"))
            assert "Traceback" not in said and "ermission denied" in said and said.endswith("code 3\n"), said


def _refuses_the_controller_while_frozen(node: Node) -> None:
    node.ssh("fleet-power start Lobby && fleet-power freeze --until 06:00 --reason 'final of the cup'")
    refused = adhoc_begun([node], "server_power", "server=Lobby action=restart").finish()
    assert refused.rc != 0 and "final of the cup" in refused.output and "frozen" in refused.output
    # A maintenance would start the servers again at its end, but must not stop them.
    assert "final of the cup" in refusal(playbook("maintenance", [node]))
    assert changes(made(playbook("freeze", [node], freeze_state="thawed"))) == ["Freeze or thaw"]
    assert changes(made(playbook("freeze", [node], freeze_state="thawed"))) == []
    made(adhoc_begun([node], "server_power", "server=Lobby action=restart").finish())
    made(playbook("freeze", [node], freeze_until="06:00", freeze_reason="night", freeze_servers=["Lobby"]))
    assert "night" in node.ssh("fleet-power start Lobby; fleet-power restart Lobby", check=False)
    node.ssh("fleet-power thaw Lobby && fleet-power restart Lobby")


@pytest.mark.long
def test_the_command_keeps_its_core_until_the_whole_role_brings_the_next_one(node: Node) -> None:
    made(playbook("node", [node]))
    (old,) = cores(node)
    path = collection_root() / "plugins" / "module_utils" / "_core.py"
    text = path.read_text()
    try:
        path.write_text(f"{text}# Another version.\n")
        node.ssh(f"touch -d '1 hour ago' {old}")
        made(playbook("node", [node], "--tags", "node_core"))
        assert old in cores(node) and "servers" in node.ssh("fleet-power status")
        made(playbook("node", [node]))
        made(playbook("node", [node]))
        assert old not in cores(node) and "servers" in node.ssh("fleet-power status")
    finally:
        path.write_text(text)
