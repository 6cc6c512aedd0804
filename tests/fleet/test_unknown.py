# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine whose list works, and that cannot tell of one server: who looks is told, and who acts goes no further."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.integration.engine_proxy import EngineProxy

from .lab import Lease, Node, bring_up, playbook, server, uuid_of
from .ran import recap, words_of
from .rollout import outcomes, result_of, runs_of


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
