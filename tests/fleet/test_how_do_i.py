# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the guide "How do I" on two nodes, with other addresses."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, Example, examples

from .lab import CHECKOUT, Lease, Node, bring_up, environment, inventory, playbook, server
from .nodes import lab_inventory

pytestmark = pytest.mark.long

UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"


def block(word: str) -> Example:
    (found,) = (each for each in examples(GUIDES / "how_do_i_guide.rst") if each.language == "console" and word in each.text)
    return found


class Fleet:
    """Two nodes with the guide's names, each with servers, and an operator's terminal on each machine."""

    def __init__(self, nodes: list[Node], root: Path) -> None:
        self.nodes = [replace(node, name=f"node{number}") for number, node in enumerate(nodes, 1)]
        self._inventory = inventory(self.nodes)
        connection, _unused = lab_inventory("nodes")
        words = [word for word in shlex.split(connection["ansible_ssh_args"]) if word != "-o" and not word.startswith("Control")]
        options = " ".join(f"-o {word}" for word in words)
        self._tools = root / "tools"
        self._tools.mkdir()
        ssh = self._tools / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -i {connection["ansible_ssh_private_key_file"]} {options} "$@"\n')
        ssh.chmod(0o755)

    def follow(self, word: str, *, on: int = 0, but: str = "") -> None:
        """Run a block's lines on the controller or the node, by their prompt."""
        text = block(word).text.replace("\\\n> ", "")
        lines = [line for line in text.splitlines() if line and not (but and but in line)]
        ours = "\n".join(line.removeprefix("$ ") for line in lines if line.startswith("$ "))
        theirs = "\n".join(line.removeprefix("# ") for line in lines if line.startswith("# "))
        assert len(ours.splitlines()) + len(theirs.splitlines()) == len(lines)
        for number, node in enumerate(self.nodes, 11):
            ours = ours.replace(f"192.0.2.{number}", node.address)
        given = environment()
        given |= {"PATH": f"{self._tools}{os.pathsep}{given['PATH']}", "ANSIBLE_INVENTORY": str(self._inventory)}
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", ours],
            cwd=CHECKOUT,
            env=given,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        if theirs:
            self.nodes[on].ssh(f"set -eu\n{theirs}")

    def seen(self, number: int) -> dict[str, Any]:
        """Return the state and intent of each server of a node, by UUID."""
        ran = playbook(self._look(number), self._inventory)
        assert ran.rc == 0, ran.output
        found = json.loads((self._tools / "seen.json").read_text())
        return {entry["server"]: (entry["state"], (entry["intent"] or {}).get("up")) for entry in found["servers"]}

    def _look(self, number: int) -> Path:
        tasks = [
            {"name": "Look", "fleet.power.server_power_info": {}, "register": "seen"},
            {
                "name": "Keep",
                "ansible.builtin.copy": {"content": "{{ seen | to_json }}", "dest": str(self._tools / "seen.json"), "mode": "0600"},
                "delegate_to": "localhost",
                "connection": "local",
            },
        ]
        play = {"name": "Look", "hosts": self.nodes[number].name, "gather_facts": False, "tasks": tasks}
        path = self._tools / "look.yml"
        path.write_text(json.dumps([play]))
        return path


def test_every_command_of_the_guide_works(lease: Lease, tmp_path: Path) -> None:
    leased = lease(2)
    lobby, stays, other = server("Lobby"), server("Stays"), server("Other")
    lobby["settings"]["uuid"] = UUID
    bring_up({leased[0]: [lobby, stays], leased[1]: [other]})
    fleet = Fleet(leased, tmp_path)
    old, new = fleet.nodes
    kept = stays["settings"]["uuid"]

    # The first line installs the collection from Galaxy.
    core = old.ssh("stat -c %Y /usr/local/lib/fleet-power/core-* 2>/dev/null || true")
    fleet.follow("--upgrade", but="ansible-galaxy")
    assert old.ssh("systemctl is-active fleet-power-supervisor").strip() == "active"
    assert core == "" or old.ssh("stat -c %Y /usr/local/lib/fleet-power/core-*") >= core

    fleet.follow("ss -Htlnp")
    fleet.follow("sqlite3.connect")
    old.ssh("systemctl stop 'fleet-power-*' && rm -rf /etc/fleet-power/servers /var/lib/fleet-power/journal.*")
    fleet.follow("install -m 660")
    assert fleet.seen(0) == {UUID: ("running", True), kept: ("running", True)}

    old.ssh(
        f"echo world > /var/lib/fleet-power/volumes/{UUID}/level.dat && chown pterodactyl: /var/lib/fleet-power/volumes/{UUID}/level.dat"
    )
    fleet.follow("tar -cf -")
    assert fleet.seen(1)[UUID] == ("running", True)
    assert new.ssh(f"stat -c %U /var/lib/fleet-power/volumes/{UUID}/level.dat").strip() == "pterodactyl"

    fleet.follow("name=$uuid")
    assert fleet.seen(0) == {kept: ("running", True)}
    assert old.ssh(f"find /etc/fleet-power /var/lib/fleet-power -name '{UUID}*'") == ""

    fleet.follow("rollout_serial=10%")

    fleet.follow("fleet.power.spec")
    # The operator keeps the backup.
    elsewhere = " ".join(f"-not -path '{each}/*'" for each in ("/proc", "/srv", "/usr/share", "/root"))
    found = old.ssh(f"find / -xdev -name '*fleet?power*' {elsewhere}; docker ps -aq")
    assert found.split() == ["/var/lib/fleet-power"]
    assert old.ssh("ls /var/lib/fleet-power /var/lib/fleet-power/volumes").split()[-1] == kept
    assert old.ssh("systemctl list-units --all --no-legend 'fleet-power-*'") == ""
