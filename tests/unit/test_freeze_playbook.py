# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook that freezes a fleet, and the refusal of a maintenance of a frozen node."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
AT_SIX = {"freeze_until": "06:00", "freeze_reason": "final of the cup"}
#: It writes its arguments to a file beside it, and answers like the command.
STAND_IN = f"""#!{sys.executable}
import json, sys
with open(__file__ + ".log", "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
known = open(__file__ + ".log").read().count("elsewhere") > 1
if sys.argv[-1] == "nowhere" or sys.argv[-1] == "elsewhere" and not known:
    sys.exit("Cannot find server (server_not_found)")
print(json.dumps({{"changed": "thawed" not in sys.argv, "freezes": []}}))
sys.exit("2026" in "".join(sys.argv) and "Cannot freeze: that is in the past")
"""


def play(
    root: Path, playbook: str, *options: str, hosts: Mapping[str, Mapping[str, Any]] = {"node-1": {}, "node-2": {}}, **variables: Any
) -> tuple[int, str]:
    """Run a playbook on these hosts with their variables. Return the exit code and the output with single spaces."""
    pytest.importorskip("ansible.plugins.lookup")
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (root / "hosts.yml").write_text(json.dumps({"nodes": {"hosts": {name: {**local, **each} for name, each in hosts.items()}}}))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(root / "hosts.yml"), playbook, *options]
    given = json.dumps({"power_become": False, **variables})
    environment = {**os.environ, "HOME": str(root), "ANSIBLE_LOCALHOST_WARNING": "false"}
    ran = subprocess.run([*command, "-e", given], capture_output=True, text=True, cwd=CHECKOUT, env=environment, check=False)
    return ran.returncode, re.sub(r"\s+", " ", ran.stdout + ran.stderr)


class TestPlaybook:
    @pytest.fixture
    def command(self, tmp_path: Path) -> Path:
        command = tmp_path / "fleet-power"
        command.write_text(STAND_IN)
        command.chmod(0o755)
        return command

    def frozen(self, command: Path, *options: str, **variables: Any) -> tuple[int, str, list[list[str]]]:
        code, output = play(command.parent, "fleet.power.freeze", "--limit", "node-1", *options, __freeze_command=str(command), **variables)
        log = Path(f"{command}.log")
        return code, output, [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @pytest.mark.samples("servers")
    @pytest.mark.parametrize(
        ("variables", "words", "names"),
        [
            (AT_SIX, ["freeze", "--json", "--until=06:00", "--reason=final of the cup"], []),
            (
                {**AT_SIX, "freeze_reason": "--supervisor", "freeze_servers": " Lobby, --json ", "freeze_supervisor": "true"},
                ["freeze", "--json", "--until=06:00", "--reason=--supervisor", "--supervisor", "--"],
                ["Lobby", "--json"],
            ),
            ({"freeze_state": "thawed"}, ["thaw", "--json"], []),
            ({"freeze_state": "thawed", "freeze_servers": ["Cobalt Survival"]}, ["thaw", "--json", "--"], ["Cobalt Survival"]),
        ],
        ids=["node", "servers", "thaw of the node", "thaw of a server"],
    )
    def test_the_playbook_runs_the_command_of_the_node(
        self, command: Path, variables: dict[str, Any], words: list[str], names: list[str]
    ) -> None:
        code, output, calls = self.frozen(command, **variables)
        assert (code, calls) == (0, [[*words, name] for name in names] or [words]), output
        assert "changed=1" in output and "DEPRECATION" not in output and "is missing" not in output

    @pytest.mark.long
    def test_a_server_of_another_node_is_no_fault_but_one_of_no_node_is(self, command: Path) -> None:
        code, output, calls = self.frozen(command, **AT_SIX, freeze_servers="nowhere,Lobby")
        assert (code, [words[-1] for words in calls]) == (2, ["nowhere", "Lobby"])
        assert "Cannot find nowhere on any node; the other servers had their turn" in output
        # The first node does not know it.
        code, output, _calls = self.frozen(command, "--limit", "nodes", "--forks", "1", **AT_SIX, freeze_servers="elsewhere")
        assert code == 0 and output.count("changed=1") == 1, output

    def test_check_mode_runs_nothing(self, command: Path) -> None:
        code, output, calls = self.frozen(command, "--check", **AT_SIX)
        assert (code, calls) == (0, []) and "failed=0" in output

    @pytest.mark.long
    def test_a_thaw_of_nothing_is_no_change(self, command: Path) -> None:
        code, output, _calls = self.frozen(command, freeze_state="thawed", freeze_servers="thawed")
        assert code == 0 and "changed=0" in output

    def test_wrong_variables_are_refused_before_any_change(self, command: Path) -> None:
        wrong = {
            "freeze_until is missing; give the end, such as 06:00 or 2026-01-31T06:00": {},
            "freeze_reason is missing; others read it when their action is refused": {"freeze_until": "06:00", "freeze_reason": " "},
            "freeze_until=1320 is a number; put the time in quotes": {**AT_SIX, "freeze_until": 1320},
            "freeze_state=thaw: expected frozen or thawed": {**AT_SIX, "freeze_state": "thaw"},
            "freeze_servers is empty; leave it out for the whole node": {**AT_SIX, "freeze_servers": []},
        }
        hosts = {f"node-{number}": each for number, each in enumerate([*wrong.values(), {**AT_SIX, "freeze_servers": " , "}])}
        code, output, calls = self.frozen(command, "--limit", "all", hosts=hosts)
        assert (code, calls) == (2, [])
        for number, fault in enumerate([*wrong, "freeze_servers is empty; leave it out for the whole node"]):
            assert re.search(rf"Cannot freeze node-{number}: {re.escape(fault)}; nothing was done", output), output

    def test_an_unknown_variable_is_refused_before_any_change(self, command: Path) -> None:
        code, output, calls = self.frozen(command, **AT_SIX, freeze_server="Lobby")
        assert (code, calls) == (2, []) and "Cannot use unknown variables: freeze_server (did you mean freeze_servers?)" in output

    def test_the_answer_of_a_failed_command_is_shown(self, command: Path) -> None:
        code, output, _calls = self.frozen(command, **{**AT_SIX, "freeze_until": "2026-01-01T00:00"})
        assert code == 2 and "Cannot freeze: that is in the past" in output

    def test_a_node_without_the_command_is_named(self, tmp_path: Path) -> None:
        code, output = play(tmp_path, "fleet.power.freeze", __freeze_command="/nowhere/fleet-power", **AT_SIX)
        for node in ("node-1", "node-2"):
            assert f"Cannot freeze {node}: it has no /nowhere/fleet-power; run fleet.power.node; nothing was done on it" in output
        assert code == 2


FACTS = {"is_frozen": True, "until": "2026-01-31T06:00:00.000Z", "origin": "alice@ops", "reason": "final", "node": False}
NODE_FACTS = {**FACTS, "node": True}
UNKNOWN = dict.fromkeys(FACTS)


#: What the look at a node shows of it, of its running server, the server's state, and the end of the refusal ("" for none).
SEEN = [
    (None, None, "running", ""),
    (None, FACTS, "offline", ""),
    (None, FACTS, "running", "server Lobby is frozen until 2026-01-31T06:00:00.000Z by alice@ops: final; wait for the end, or end it"),
    (NODE_FACTS, NODE_FACTS, "offline", "the node is frozen until 2026-01-31T06:00:00.000Z by alice@ops: final"),
    # An endpoint shows no facts of its node.
    ("absent", NODE_FACTS, "running", "the node is frozen until 2026-01-31T06:00:00.000Z by alice@ops: final; wait"),
    ("absent", "absent", "running", ""),
    (
        UNKNOWN,
        UNKNOWN,
        "running",
        "it is unknown whether the node is frozen; wait for the end, or end it on the node with fleet-power thaw",
    ),
    ("absent", UNKNOWN, "running", "it is unknown whether server Lobby is frozen; wait for the end"),
]


def seen_of(node: Any, server: Any, state: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"server": "1", "name": "Lobby", "state": state, "freeze": server}
    seen: dict[str, Any] = {"freeze": node, "servers": [entry, {"server": "2", "name": None, "state": "running", "freeze": None}]}
    for each in (entry, seen):
        if each["freeze"] == "absent":
            del each["freeze"]
    return seen


def test_a_maintenance_begins_only_if_nothing_is_frozen(tmp_path: Path) -> None:
    hosts = {f"node-{number}": {"__maintenance_seen": seen_of(*each[:3])} for number, each in enumerate(SEEN)}
    words = yaml.safe_load((CHECKOUT / "roles/maintenance/vars/main.yml").read_text())["__maintenance_frozen_words"]
    tasks = [
        {"ansible.builtin.import_tasks": str(CHECKOUT / "roles/maintenance/tasks/check_frozen.yml")},
        {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} begins."}},
    ]
    book = [{"hosts": "nodes", "gather_facts": False, "vars": {"__maintenance_frozen_words": words}, "tasks": tasks}]
    (tmp_path / "play.yml").write_text(json.dumps(book))
    _code, output = play(tmp_path, str(tmp_path / "play.yml"), hosts=hosts)
    refused = dict(re.findall(r"\[(node-\d)\]: FAILED! => .*?\"msg\": \"(.*?)\"", output))
    for number, (*_seen, fault) in enumerate(SEEN):
        node = f"node-{number}"
        assert (f"{node} begins." in output, node in refused) == (fault == "", fault != ""), output
        assert fault in refused.get(node, ""), output
