# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a fleet is complete for the nodes that answer; a server that cannot be seen is shown, and nobody acts beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.integration.engine_proxy import EngineProxy

from .lab import Lease, Node, adhoc, bring_up, phase_of, playbook, server, uuid_of, wait_until
from .ran import recap, words_of
from .rollout import outcomes, result_of, runs_of


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


def test_nodes_that_do_not_answer_are_shown_with_the_reason(lease: Lease, tmp_path: Path) -> None:
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


@contextmanager
def hidden(node: Node, uuid: str) -> Iterator[None]:
    """Let inspecting one server's container be answered with an error; all else reaches the engine."""
    proxy = EngineProxy(node.docker_host, node.root / "run/hides.sock")
    proxy.fail("GET", rf"/containers/{uuid}/json")
    node.write("/etc/fleet-power/config.yml", "docker: {host: unix:///run/hides.sock}\n")
    with closing(proxy):
        yield


@pytest.mark.long
def test_a_server_that_cannot_be_seen_is_neither_passed_over_nor_worked_beside(lease: Lease, tmp_path: Path) -> None:
    well, dark = lease(2)
    fine, shown, dune = server("fine"), server("shown"), server("dune")
    bring_up({well: [fine], dark: [shown, dune]})
    before = runs_of(well, [fine]), runs_of(dark, [shown, dune])
    blamed = {well.name: 0, dark.name: 1}
    with hidden(dark, uuid_of(dune)):
        ran = playbook("status", [well, dark], status_snapshot=str(tmp_path / "fleet.json"), status_states=["offline"])
        assert (ran.rc, recap(ran)) == (2, blamed), ran.output
        assert "unknown, engine_error" in ran.stdout and f"{dark.name}, dune" in ran.stdout
        assert "3 servers on 2 nodes: 2 running, 1 unknown" in ran.stdout
        kept = json.loads((tmp_path / "fleet.json").read_text())["nodes"]
        assert {each["name"]: each["state"] for node in kept for each in node["servers"]} == {
            "fine": "running",
            "shown": "running",
            "dune": None,
        }

        ran = playbook("power", [well, dark], power_action="stop", power_servers="all")
        assert (ran.rc, recap(ran)) == (2, {**blamed, "localhost": 0}), ran.output
        assert f"Cannot see 1 server ({dark.name} dune: engine_error): nothing is begun" in words_of(ran)
        assert outcomes(result_of(tmp_path)) == {"dune": "unknown engine_error", "fine": "not_done", "shown": "not_done"}
        assert (result_of(tmp_path)["ok"], result_of(tmp_path)["counts"]["selected"]) == (False, 3)

        ran = playbook("maintenance", [dark], maintenance_reboot=True)
        assert ran.rc == 2
        assert f"Cannot finish the maintenance of {dark.name}: Cannot tell what runs: Cannot see server dune: " in words_of(ran)
        assert "this run has stopped nothing" in words_of(ran)
        assert (runs_of(well, [fine]), runs_of(dark, [shown, dune])) == before
