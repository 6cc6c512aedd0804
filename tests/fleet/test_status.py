# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a fleet is one table, complete for the nodes that answer, and says which did not and why."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import lab
from .lab import Lease, Node, adhoc, inventory, phase_of, playbook, server, uuid_of, wait_until
from .ran import recap


def line_of(text: str, node: Node, name: str) -> str:
    (line,) = (line for line in text.splitlines() if line.startswith(node.name) and f" {name} " in line)
    return line


def test_a_table_tells_every_server_and_a_snapshot_keeps_it(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    up, crashed, busy, proxy = server("alpha"), server("crashed", CRASH_AFTER=0.5, EXIT_CODE=3), server("busy"), server("proxy", priority=1)
    busy["settings"]["environment"] = {"STOP_SECONDS": 600}
    first.define(up, crashed, proxy)
    second.define(busy)
    adhoc([first], "server_power", f"server={uuid_of(up)},{uuid_of(crashed)} action=start")
    adhoc([second], "server_power", f"server={uuid_of(busy)} action=start reason=evening")
    wait_until(lambda: not first.is_up(uuid_of(crashed)), "it has crashed")
    stopping = ThreadPoolExecutor(1).submit(adhoc, [second], "server_power", f"server={uuid_of(busy)} action=stop origin=alice@web1")
    wait_until(lambda: phase_of(second, busy) == "stop", "it is being stopped", 60)

    target = tmp_path / "fleet.json"
    ran = playbook("status", [second, first], status_snapshot=str(target))
    adhoc([second], "server_power", f"server={uuid_of(busy)} action=kill")
    stopping.result()

    assert ran.rc == 0
    assert " running " in line_of(ran.stdout, first, "alpha")
    line = line_of(ran.stdout, first, "crashed")
    assert "offline, meant up" in line and " 3 " in line and "start done" in line
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


def test_nodes_that_do_not_answer_are_told_with_the_reason_and_the_others_are_complete(lease: Lease, tmp_path: Path) -> None:
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
    # Those are blamed that were not seen, not the first, which prints the table.
    assert recap(ran) == {well.name: 0, cut.name: 1, frozen.name: 1}
    # The module alone would give a silent engine a minute.
    assert ran.seconds < 55
    errors = {each["node"]: each["error"] for each in json.loads(target.read_text())["nodes"]}
    assert errors[well.name] is None
    assert "no answer within 10 s" in errors[frozen.name]
    assert errors[cut.name]


@pytest.mark.long
def test_a_node_lost_in_an_earlier_play_is_not_shown_as_it_was_before(lease: Lease, tmp_path: Path) -> None:
    stays, goes = lease(2)
    stays.define(server("stays"))
    goes.define(server("goes"))
    fail = {"name": "Fail", "ansible.builtin.fail": {"msg": "gone"}, "when": f"inventory_hostname == '{goes.name}'"}
    losing = {"name": "Lose it", "hosts": "nodes", "gather_facts": False, "tasks": [fail]}
    status = {"name": "Look", "ansible.builtin.import_playbook": "fleet.power.status"}
    (tmp_path / "twice.yml").write_text(json.dumps([status, losing, status]))
    ran = playbook(tmp_path / "twice.yml", [stays, goes])
    first, _separator, last = ran.stdout.rpartition("PLAY [Show the state")
    assert line_of(first, goes, "goes")
    assert "no answer" in last and " goes " not in last
    assert line_of(last, stays, "stays")
    assert "Cannot look at 1 of 2 nodes" in last


@pytest.mark.long
def test_a_node_with_a_broken_variable_takes_nothing_from_the_others(lease: Lease) -> None:
    well, broken = lease(2)
    well.define(server("fine"))
    where = inventory([well, broken])
    layout = json.loads(where.read_text())
    layout["all"]["children"]["nodes"]["hosts"][broken.name]["ansible_user"] = "{{ nobody }}"
    where.write_text(json.dumps(layout))
    ran = playbook("status", where)
    assert ran.rc != 0
    assert line_of(ran.stdout, well, "fine")
    assert "no answer" in ran.stdout and "'nobody' is undefined" in ran.stdout


@pytest.mark.long
def test_the_table_is_one_whatever_strategy_the_configuration_has(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = lease(2)
    plain = lab.environment()
    monkeypatch.setattr(lab, "environment", lambda: {**plain, "ANSIBLE_STRATEGY": "free"})
    ran = playbook("status", nodes)
    assert ran.rc == 0, ran.output
    assert ran.stdout.count("OPERATION") == 1


@pytest.mark.long
def test_six_nodes_with_500_servers_are_shown_within_five_seconds(lease: Lease) -> None:
    nodes = lease(6)
    for node in nodes:
        servers = [server(f"{node.name}-{number}") for number in range(84)]
        node.define(*servers)
        names = ",".join(uuid_of(each) for each in servers[:20])
        adhoc([node], "server_power", f"server={names} action=start")
    playbook("status", nodes)
    ran = playbook("status", nodes)
    assert ran.rc == 0
    assert "504 servers on 6 nodes: 384 offline" in ran.stdout
    assert ran.seconds <= 5


@pytest.mark.long
def test_check_mode_shows_the_table_and_writes_nothing(node: Node, tmp_path: Path) -> None:
    node.define(server("fine"))
    ran = playbook("status", [node], "--check", status_snapshot=str(tmp_path / "fleet.json"), status_states=["running"])
    assert ran.rc == 0
    assert "1 server on 1 node: 1 offline" in ran.stdout
    assert " fine " not in ran.stdout
    assert not (tmp_path / "fleet.json").exists()


@pytest.mark.long
def test_options_of_acting_alone_are_refused_in_a_sentence_and_a_stopped_engine_is_told_as_such(node: Node) -> None:
    ran = playbook("status", [node], power_options={"adopt": True})
    assert ran.rc != 0
    assert "Cannot use adopt in power_options: only what looking and acting share may stand there" in " ".join(ran.output.split())
    assert "NODE" not in ran.stdout

    node.faults.stop_engine()
    ran = playbook("status", [node])
    assert ran.rc != 0
    assert "no answer" in ran.stdout and "Cannot reach the engine" in ran.stdout
