# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as hosts on real nodes: found over ssh, acted on alone, each on its own node."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .lab import Going, Lease, Node, adhoc, environment, inventory, lab_inventory, playbook, server, tool
from .ran import Ran, made

POWER = "fleet.power.server_power"


class Directory:
    """A directory of inventories: the nodes first, then the file for the plugin."""

    def __init__(self, root: Path, nodes: Sequence[Node]) -> None:
        self.root = root / "inventories"
        self.root.mkdir()
        (self.root / "1-nodes.yml").write_text(inventory(nodes).read_text())

    def write(self, **options: Any) -> Path:
        """Write the file; the directory is the inventory."""
        (self.root / "2.fleet_power.yml").write_text(json.dumps({"plugin": "fleet.power.servers", **options}))
        return self.root

    def engines(self, *nodes: Node, **options: Any) -> Path:
        connection, _unused = lab_inventory("nodes")
        words = [word for word in shlex.split(connection["ansible_ssh_args"]) if not word.startswith("Control")]
        settings = [word for word in words if word != "-o"]
        arguments = ["-i", connection["ansible_ssh_private_key_file"], *(part for each in settings for part in ("-o", each))]
        asked = {node.name: {"docker_host": f"ssh://root@{node.address}"} for node in nodes}
        return self.write(nodes=asked, ssh_args=shlex.join(arguments), hostnames=["label:host", "short_id"], **options)


def named(name: str, **labels: str) -> dict[str, Any]:
    return server(name, labels={"host": name, **labels}, STOP_SECONDS=0.2)


def groups_in(where: Path, seconds: float = 60) -> tuple[dict[str, list[str]], Ran]:
    """The hosts of each group that has some itself, and the run that told them."""
    ran = Going([tool("ansible-inventory"), "-i", str(where), "--list"], environment()).finish(seconds)
    assert ran.rc == 0, ran.output
    return {name: sorted(group["hosts"]) for name, group in json.loads(ran.stdout).items() if "hosts" in group}, ran


@pytest.fixture
def two(lease: Lease, tmp_path: Path) -> tuple[list[Node], Directory]:
    nodes = lease(2)
    return nodes, Directory(tmp_path, nodes)


def test_servers_of_two_nodes_are_hosts_that_are_acted_on_each_on_its_own_node(two: tuple[list[Node], Directory], tmp_path: Path) -> None:
    (one, other), directory = two
    mine, theirs, down = named("lobby-1", role="lobby"), named("game-1"), named("game-2")
    one.define(mine, down)
    other.define(theirs)
    uuids = {each["settings"]["meta"]["name"]: each["settings"]["uuid"] for each in (mine, theirs, down)}
    adhoc(directory.root / "1-nodes.yml", POWER, "server=all action=start")
    adhoc(directory.root / "1-nodes.yml", POWER, {"server": uuids["game-2"], "action": "stop"}, pattern=one.name)
    where = directory.engines(one, other)

    found, _unused = groups_in(where)
    assert found["state_running"] == ["game-1", "lobby-1"]
    assert found[f"node_{one.name.replace('-', '_')}"] == ["game-2", "lobby-1"]
    assert found["state_offline"] == ["game-2"]
    assert found["label_role_lobby"] == ["lobby-1"]
    assert found["nodes"] == sorted((one.name, other.name))

    before = {name: node.started_at(uuids[name]) for name, node in (("lobby-1", one), ("game-1", other))}
    (result,) = adhoc(where, POWER, "action=restart", pattern="lobby-1").values()
    assert [entry["server"] for entry in result["servers"]] == [uuids["lobby-1"]]
    assert one.started_at(uuids["lobby-1"]) != before["lobby-1"]
    assert other.started_at(uuids["game-1"]) == before["game-1"]

    # A play over what runs acts on each server alone.
    play = tmp_path / "stop.yml"
    task = {"name": "Stop it", POWER: {"action": "stop"}}
    play.write_text(json.dumps([{"name": "Stop", "hosts": "state_running:!suspended", "gather_facts": False, "tasks": [task]}]))
    ran = made(playbook(play, where))
    acted = {each["host"]: [entry["server"] for entry in each["result"]["servers"]] for each in ran.results}
    assert acted == {name: [uuids[name]] for name in ("lobby-1", "game-1")}
    assert not any(node.is_up(uuids[name]) for node, name in ((one, "lobby-1"), (other, "game-1")))


@pytest.mark.long
def test_a_node_that_is_cut_off_is_named_and_the_others_are_found(two: tuple[list[Node], Directory]) -> None:
    (one, other), directory = two
    one.define(named("lobby-1"))
    adhoc(directory.root / "1-nodes.yml", POWER, "server=all action=start")
    where = directory.engines(one, other, timeout=3)
    other.faults.cut()
    try:
        found, ran = groups_in(where, 20)
    finally:
        other.faults.join()
    assert found["state_running"] == ["lobby-1"]
    unread = json.loads(ran.stdout)["_meta"]["hostvars"]["lobby-1"]["fleet_power_unread"]
    assert [each["__ansible_unsafe"] if isinstance(each, dict) else each for each in unread] == [other.name]
    assert f"{other.name} is not in the inventory: Cannot" in " ".join(ran.stderr.split())
