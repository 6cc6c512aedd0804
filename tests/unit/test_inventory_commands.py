# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as users meet it: through Ansible's own commands, found by its file's name and the plugin in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.integration.controller import COLLECTIONS
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, examples

ONE, TWO, THREE = (f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "123")
_SECONDS = 60


class Commands:
    """Ansible's commands over a node that is this machine, and a snapshot of its servers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "servers.fleet_power.yml"
        (root / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {COLLECTIONS}\nnocows = true\n")
        node = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (root / "hosts.json").write_text(json.dumps({"nodes": {"hosts": {"node-1": node}}}))

    def write(self, *servers: dict[str, Any], error: str | None = None, **options: Any) -> None:
        """Write a snapshot of one node's servers, and the inventory file with these options."""
        node = {"node": "node-1", "error": error, "servers": list(servers)}
        snapshot = {"schema": 1, "written_at": "2026-11-25T11:59:30Z", "nodes": [node]}
        (self.root / "fleet.json").write_text(json.dumps(snapshot))
        given = {"plugin": "fleet.power.servers", "snapshot": "fleet.json", "snapshot_max_age": 0, **options}
        self.file.write_text(json.dumps(given))

    def run(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "COLUMNS": "1000",
        }
        command = [str(Path(sys.executable).with_name(tool)), "-i", str(self.root / "hosts.json"), "-i", str(self.file), *arguments]
        return subprocess.run(command, env=environment, cwd=self.root, capture_output=True, text=True, timeout=_SECONDS, check=False)

    def hosts(self, pattern: str) -> list[str]:
        """The hosts that a pattern means; nothing may be warned of."""
        ran = self.run("ansible", pattern, "--list-hosts")
        assert ran.returncode == 0 and ran.stderr == "", ran.stderr
        return [line.strip() for line in ran.stdout.splitlines()[1:]]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def server(uuid: str, name: str, state: str = "running", **more: Any) -> dict[str, Any]:
    return {"server": uuid, "name": name, "state": state, "suspended": False, **more}


def test_a_task_runs_on_the_node_of_a_server_and_sees_its_name_unevaluated(commands: Commands) -> None:
    hostile = "{{ lookup('ansible.builtin.pipe', 'touch owned') }}"
    commands.write(server(ONE, hostile, labels={"role": hostile}))
    shown = 'msg="{{ server_name }} | {{ server_labels.role }} | {{ ansible_connection }} | {{ server_state | type_debug }}"'
    ran = commands.run("ansible", ONE[:8], "-m", "ansible.builtin.debug", "-a", shown)
    assert f"{hostile} | {hostile} | local | str" in ran.stdout.replace("\\\\", "\\"), ran.stdout + ran.stderr
    assert list(commands.root.rglob("owned")) == []


@pytest.mark.parametrize(("error", "code"), [(None, 0), ("Failed to connect", 2)])
def test_a_play_can_insist_on_the_whole_fleet_as_the_guide_shows_it(commands: Commands, error: str | None, code: int) -> None:
    (play,) = (each.text for each in examples(GUIDES / "inventory_guide.rst") if "fleet_power_unread" in each.text)
    (commands.root / "play.yml").write_text(play)
    commands.write(server(ONE, "lobby-1"), error=error)
    ran = commands.run("ansible-playbook", "play.yml")
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert ("node-1 is not in the inventory" in ran.stderr) is (code != 0)
