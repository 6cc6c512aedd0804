# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that run from the node core, and calls that cannot."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._core import HOME

from .lab import Node, adhoc_begun, bring_up, inventory, phase_of, playbook, server, wait_until
from .ran import made
from .scratch import collection_root
from .shim import cores

FILES = f"{HOME}/core-*/fleet_power"
TIMES = ("uptime",)


def facts(node: Node, *options: str) -> tuple[dict[str, Any], str]:
    """Return the result of a look at all servers, and the whole output."""
    ran = made(adhoc_begun([node], "server_power_info", "", *options).finish())
    return ran.results[0]["result"], ran.output


def without_times(result: Any) -> Any:
    """Return a result without the values that differ between two looks."""
    if isinstance(result, dict):
        return {name: without_times(value) for name, value in result.items() if name not in TIMES}
    return [without_times(each) for each in result] if isinstance(result, list) else result


def test_a_call_sends_no_file_of_the_core(node: Node) -> None:
    kept = "/root/kept"
    where, before = inventory([node], ansible_remote_tmp=kept), node.ssh(f"find {HOME} | sort")
    made(adhoc_begun(where, "server_power_info", surroundings={"ANSIBLE_KEEP_REMOTE_FILES": "1"}).finish())
    payload = node.feed(f"cat {kept}/*/AnsiballZ_core_call.py", b"").decode()
    (packed,) = (text for text in re.findall(r"[A-Za-z0-9+/=]{1000,}", payload))
    names = [name for name in zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))).namelist() if name.startswith("ansible_coll")]
    assert {name.partition("/plugins/")[2] for name in names if not name.endswith("__init__.py")} == {
        "modules/core_call.py",
        "module_utils/_core.py",
    }
    assert node.ssh(f"rm -r {kept}; find {HOME} | sort") == before


@pytest.mark.long
@pytest.mark.parametrize(
    "fault, why",
    [
        (f"chmod 666 {FILES}/_power/call.py", "users other than root can write"),
        (f"chmod 775 {HOME}", f"run chown -h root {HOME} && chmod go-w {HOME}"),
        (f"chown 1 {FILES}/_power", "belongs to user 1"),
        (f"rm -r {HOME}", "the node has no core"),
        (f"mv {HOME}/core-* {HOME}/core-0123456789abcdef", "the node has the core of another version"),
    ],
    ids=["file", "parent", "owner", "none", "other version"],
)
def test_a_core_that_cannot_be_trusted_is_not_used_and_the_result_is_the_same(node: Node, fault: str, why: str) -> None:
    bring_up({node: [server("lobby")]})
    before, output = facts(node, "-v")
    assert "whole module" not in output
    node.ssh(fault)
    after, output = facts(node, "-v")
    assert output.count("whole module") == 1 and why in output
    assert after["complete"] and without_times(after) == without_times(before)
    made(playbook("node", [node], "--tags", "node_core"))
    assert "whole module" not in facts(node, "-v")[1]


@pytest.mark.long
def test_an_upgrade_of_the_core_leaves_an_action_its_own(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=600)
    bring_up({node: [slow]})
    (old,) = cores(node)
    going = adhoc_begun([node], "server_power", "server=slow action=stop")
    wait_until(lambda: phase_of(node, slow) == "stop", "the stop is under way")
    path = collection_root() / "plugins" / "module_utils" / "_core.py"
    text = path.read_text()
    try:
        path.write_text(f"{text}# Another version.\n")
        made(playbook("node", [node], "--tags", "node_core"))
        assert len(cores(node)) == 2 and going.is_going()
        made(adhoc_begun([node], "server_power", "server=slow action=kill").finish())
        assert going.finish().results[0]["result"]["servers"][0]["outcome"] == "done"
        # The processes of the action hold the core a moment longer than the result takes.
        node.ssh(f"flock --timeout 60 {old} touch -d '1 hour ago' {old}")
        made(playbook("node", [node], "--tags", "node_core"))
        assert old not in cores(node) and len(cores(node)) == 1
    finally:
        path.write_text(text)


def test_a_play_goes_on_after_an_upgrade_of_the_controller(node: Node, tmp_path: Path) -> None:
    bring_up({node: [server("lobby")]})
    path = collection_root() / "plugins" / "module_utils" / "_core.py"
    text = path.read_text()
    upgrade = {"ansible.builtin.shell": f"echo '# Another version.' >> {path}", "delegate_to": "localhost", "become": False}
    removal = {"ansible.builtin.shell": f"rm -r {HOME}/core-*"}
    look = {"fleet.power.server_power_info": {}}
    play = {"hosts": "nodes", "gather_facts": False, "tasks": [look, upgrade, look, removal, look]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    try:
        ran = made(playbook(tmp_path / "play.yml", [node], "-v"))
    finally:
        path.write_text(text)
    first, second, third = (without_times(each["result"]) for each in ran.results if "servers" in each["result"])
    assert first["complete"] and first == second == third
    # The second look used the core of the version before, the third its own sources.
    assert ran.output.count("whole module") == 1
