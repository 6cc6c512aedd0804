# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a fleet, and servers as hosts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.integration.engine_proxy import EngineProxy

from .lab import (
    Going,
    Lease,
    Node,
    adhoc,
    bring_up,
    environment,
    inventory,
    lab_inventory,
    phase_of,
    playbook,
    server,
    tool,
    uuid_of,
    wait_until,
)
from .ran import Ran, made, recap, words_of
from .rollout import outcomes, result_of, runs_of


def line_of(text: str, node: Node, name: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith(node.name) and f" {name} " in line)
    return line


def test_table_and_snapshot_contain_every_server(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    up, crashed, busy, proxy = server("alpha"), server("crashed", CRASH_AFTER=0.5, EXIT_CODE=3), server("busy"), server("proxy", priority=1)
    busy["settings"]["environment"] = {"STOP_SECONDS": 600}
    first.define(up, crashed, proxy)
    second.define(busy)
    adhoc([first], "server_power", f"server={uuid_of(up)},{uuid_of(crashed)} action=start")
    adhoc([second], "server_power", f"server={uuid_of(busy)} action=start reason=evening")
    wait_until(lambda: not first.is_up(uuid_of(crashed)), "the server has crashed")
    stopping = ThreadPoolExecutor(1).submit(adhoc, [second], "server_power", f"server={uuid_of(busy)} action=stop origin=alice@web1")
    wait_until(lambda: phase_of(second, busy) == "stop", "the server is being stopped", 60)

    target = tmp_path / "fleet.json"
    ran = playbook("status", [second, first], status_snapshot=str(target))
    adhoc([second], "server_power", f"server={uuid_of(busy)} action=kill")
    stopping.result()

    assert ran.rc == 0
    assert " running " in line_of(ran.stdout, first, "alpha")
    line = line_of(ran.stdout, first, "crashed")
    assert "offline, should be up" in line and " 3 " in line and "start done" in line
    line = line_of(ran.stdout, second, "busy")
    assert " stopping " in line and " stop until " in line and " alice@web1" in line
    order = [line.split()[2] for line in ran.stdout.splitlines() if line.startswith(first.name) and len(line.split()) > 5]
    assert order[:3] == ["proxy", "alpha", "crashed"]
    assert "4 servers on 2 nodes" in ran.stdout

    assert target.stat().st_mode & 0o777 == 0o600
    kept = json.loads(target.read_text())
    assert kept["schema"] == 1
    assert [each["node"] for each in kept["nodes"]] == sorted([first.name, second.name])
    node = next(each for each in kept["nodes"] if each["node"] == first.name)
    assert node["error"] is None
    assert node["connection"]["ansible_host"] == first.address
    assert [each["name"] for each in node["servers"]] == ["proxy", "alpha", "crashed"]
    assert node["servers"][1]["state"] == "running"


@pytest.mark.long
def test_the_table_shows_nodes_without_an_answer_with_the_reason(lease: Lease, tmp_path: Path) -> None:
    well, cut, frozen = lease(3)
    well.define(server("fine"))
    cut.define(server("lost"))
    cut.faults.cut()
    frozen.faults.freeze()
    target = tmp_path / "fleet.json"
    try:
        ran = playbook("status", [well, cut, frozen], status_snapshot=str(target))
    finally:
        cut.faults.join()
        frozen.faults.thaw()
    assert ran.rc != 0
    assert " offline " in line_of(ran.stdout, well, "fine")
    rows = {line.split()[0]: line for line in ran.stdout.splitlines() if line.startswith((cut.name, frozen.name)) and "  -  " in line}
    assert "unreachable" in rows[cut.name]
    assert "no answer" in rows[frozen.name]
    assert "no answer within 10 s" in ran.stdout
    assert f"Cannot look at {frozen.name}: Cannot " in ran.output
    # The unseen nodes fail, not the first node, which prints the table.
    assert recap(ran) == {well.name: 0, cut.name: 1, frozen.name: 1}
    # The module alone waits a minute for a silent engine.
    assert ran.seconds < 55
    errors = {each["node"]: each["error"] for each in json.loads(target.read_text())["nodes"]}
    assert errors[well.name] is None
    assert "no answer within 10 s" in errors[frozen.name]
    assert errors[cut.name]


@contextmanager
def hidden(node: Node, uuid: str) -> Iterator[None]:
    """Let the engine fail each inspection of one server's container, and answer all other requests."""
    proxy = EngineProxy(node.docker_host, node.root / "run/hides.sock")
    proxy.fail("GET", rf"/containers/{uuid}/json")
    node.write("/etc/fleet-power/config.yml", "docker: {host: unix:///run/hides.sock}\n")
    with closing(proxy):
        yield


@pytest.mark.long
def test_an_unseen_server_appears_in_the_status_and_prevents_actions_on_the_fleet(lease: Lease, tmp_path: Path) -> None:
    well, dark = lease(2)
    fine, shown, dune = server("fine"), server("shown"), server("dune")
    bring_up({well: [fine], dark: [shown, dune]})
    before = runs_of(well, [fine]), runs_of(dark, [shown, dune])
    failed = {well.name: 0, dark.name: 1}
    with hidden(dark, uuid_of(dune)):
        ran = playbook("status", [well, dark], status_snapshot=str(tmp_path / "fleet.json"), status_states=["offline"])
        assert (ran.rc, recap(ran)) == (2, failed), ran.output
        assert "unknown, engine_error" in ran.stdout and f"{dark.name}, dune" in ran.stdout
        assert "3 servers on 2 nodes: 2 running, 1 unknown" in ran.stdout
        kept = json.loads((tmp_path / "fleet.json").read_text())["nodes"]
        assert {each["name"]: each["state"] for node in kept for each in node["servers"]} == {
            "fine": "running",
            "shown": "running",
            "dune": None,
        }

        ran = playbook("power", [well, dark], power_action="stop", power_servers="all")
        assert (ran.rc, recap(ran)) == (2, {**failed, "localhost": 0}), ran.output
        assert f"Cannot see 1 server ({dark.name} dune: engine_error): nothing is begun" in words_of(ran)
        assert outcomes(result_of(tmp_path)) == {"dune": "unknown engine_error", "fine": "not_done", "shown": "not_done"}
        assert (result_of(tmp_path)["ok"], result_of(tmp_path)["counts"]["selected"]) == (False, 3)

        ran = playbook("maintenance", [dark], maintenance_reboot=True)
        assert ran.rc == 2
        assert f"Cannot finish the maintenance of {dark.name}: Cannot tell which servers run: Cannot see server dune: " in words_of(ran)
        assert "this run has stopped no server" in words_of(ran)
        assert (runs_of(well, [fine]), runs_of(dark, [shown, dune])) == before


POWER = "fleet.power.server_power"


class Directory:
    """A directory of inventories: the nodes, then the plugin's file."""

    def __init__(self, root: Path, nodes: Sequence[Node]) -> None:
        self.root = root / "inventories"
        self.root.mkdir()
        (self.root / "1-nodes.yml").write_text(inventory(nodes).read_text())

    def write(self, **options: Any) -> Path:
        """Write the plugin's file; return the directory as inventory."""
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
    """Return the hosts of each group with own hosts, and the run."""
    ran = Going([tool("ansible-inventory"), "-i", str(where), "--list"], environment()).finish(seconds)
    assert ran.rc == 0, ran.output
    return {name: sorted(group["hosts"]) for name, group in json.loads(ran.stdout).items() if "hosts" in group}, ran


@pytest.fixture
def two(lease: Lease, tmp_path: Path) -> tuple[list[Node], Directory]:
    nodes = lease(2)
    return nodes, Directory(tmp_path, nodes)


@pytest.mark.long
def test_a_task_on_a_server_as_host_acts_on_its_own_node(two: tuple[list[Node], Directory], tmp_path: Path) -> None:
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

    # A play on a group acts only on the host's server each time.
    play = tmp_path / "stop.yml"
    task = {"name": "Stop it", POWER: {"action": "stop"}}
    play.write_text(json.dumps([{"name": "Stop", "hosts": "state_running:!suspended", "gather_facts": False, "tasks": [task]}]))
    ran = made(playbook(play, where))
    acted = {each["host"]: [entry["server"] for entry in each["result"]["servers"]] for each in ran.results}
    assert acted == {name: [uuids[name]] for name in ("lobby-1", "game-1")}
    assert not any(node.is_up(uuids[name]) for node, name in ((one, "lobby-1"), (other, "game-1")))


@pytest.mark.long
def test_the_inventory_names_a_node_that_is_cut_off_and_finds_the_others(two: tuple[list[Node], Directory]) -> None:
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
