# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that role node installs, on real nodes."""

from __future__ import annotations

import json
import shlex

from .lab import Node, adhoc, adhoc_begun, bring_up, playbook, server, uuid_of, wait_until
from .people import PERSON, person
from .ran import changes, made, refusal
from .scratch import collection_root
from .shim import cores

COMMAND = "/usr/local/bin/fleet-power"


def run_as(user: str, *words: str) -> str:
    """Return a shell command that runs the command as a user in a login session."""
    return f"runuser -l {user} -c {shlex.quote(shlex.join(['fleet-power', *words]))} 2>&1; echo code $?"


def test_role_node_installs_the_command_with_its_manual_and_completion(node: Node) -> None:
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
    assert changes(made(playbook("node", [node], node_definitions=[lobby]))) == []


def test_members_of_both_groups_may_use_it_and_others_get_one_sentence(node: Node) -> None:
    lobby = server("Lobby")
    made(playbook("node", [node], node_definitions=[lobby]))
    with person(node, groups=("docker", "fleet-power")):
        assert node.ssh(run_as(PERSON, "start", "Lobby")).endswith("code 0\n")
        assert node.ssh(run_as(PERSON, "freeze", "--until", "06:00", "--reason", "night")).endswith("code 0\n")
        assert "frozen" in node.ssh(run_as(PERSON, "restart", "Lobby"))
        assert node.ssh(run_as(PERSON, "thaw")).endswith("code 0\n")
    with person(node):
        for command in ("start", "why", "kill"):
            said = node.ssh(run_as(PERSON, command, "Lobby"))
            assert "Traceback" not in said and "ermission denied" in said, said
            assert said.endswith("code 0\n") is (command == "why"), said


def test_the_command_names_a_live_wings(node: Node) -> None:
    lobby = server("Lobby")
    made(playbook("node", [node], node_definitions=[lobby]))
    node.ssh("cp /bin/sleep /tmp/wings; setsid /tmp/wings 600 >/dev/null 2>&1 < /dev/null & echo $! > /tmp/wings.pid")
    try:
        said = node.ssh("fleet-power why Lobby")
        assert "wings_active" in said and said.splitlines()[-1].startswith("Do: use the Panel, or stop Wings")
    finally:
        node.ssh("kill $(cat /tmp/wings.pid); rm /tmp/wings /tmp/wings.pid")


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


def test_a_freeze_on_the_node_refuses_the_controller(node: Node) -> None:
    lobby = server("Lobby")
    made(playbook("node", [node], node_definitions=[lobby]))
    bring_up({node: [lobby]})
    node.ssh("fleet-power freeze --until 06:00 --reason 'final of the cup' --supervisor")
    entry = refusal(adhoc_begun([node], "server_power", "server=Lobby action=restart").finish())
    assert "final of the cup" in entry.output and "frozen" in entry.output
    node.ssh("fleet-power thaw")
    made(adhoc_begun([node], "server_power", "server=Lobby action=restart").finish())
    wait_until(lambda: node.is_up(uuid_of(lobby)), "it is up")
