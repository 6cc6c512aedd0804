# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a real engine: which containers are not what their definitions say, and that only those are made anew."""

from __future__ import annotations

from typing import Any

from .controller import Controller
from .lab import Lab
from .test_info import look, look_at

NOTHING = {"is_outdated": False, "differs": [], "restart": [], "in_place": [], "next_start": [], "why": None}


def outdated(controller: Controller, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = look_at(controller, uuid)["outdated"]
    return found


def test_what_the_engine_makes_of_a_container_is_what_its_definition_says(lab: Lab, controller: Controller) -> None:
    """Whatever an engine fills in, leaves out or cannot do: it does not count."""
    everything = {"memory_limit": 512, "swap": 256, "cpu_limit": 150, "threads": "0", "io_weight": 300, "oom_disabled": True}
    servers = [lab.up(build=build) for build in ({}, everything, {"swap": -1}, {"memory_limit": 64, "swap": -1, "io_weight": 500})]
    lab.write_settings(docker={"container_pid_limit": -1})
    servers.append(lab.up(labels={"tier": "front"}))
    found = {entry["server"]: entry["outdated"] for entry in look(controller)["servers"]}
    lab.write_settings(docker={"container_pid_limit": 512})
    assert found[servers[-1]] == NOTHING
    assert [outdated(controller, uuid) for uuid in servers[:-1]] == [NOTHING] * 4
    assert outdated(controller, servers[-1])["in_place"] == ["docker.container_pid_limit"]


def test_limits_that_somebody_changed_at_the_engine_count(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(build={"memory_limit": 64})
    lab.client.update_container(uuid, mem_limit=100_000_000, memswap_limit=100_000_000)
    assert outdated(controller, uuid)["in_place"] == ["docker.overhead"]
    lab.edit(uuid, build={"memory_limit": 64, "cpu_limit": 50})
    lab.client.update_container(uuid, mem_limit="73600000", memswap_limit="73600000", cpu_quota=50_000, cpu_period=100_000, cpu_shares=1024)
    before = lab.container(uuid)
    assert outdated(controller, uuid) == NOTHING and before is not None
    # It is what the definition says, so that it is no reason for a new one.
    assert lab.power("restart", uuid).outcome.value == "done"
    after = lab.container(uuid)
    assert after is not None and after["Id"] == before["Id"]


def test_a_restart_of_what_is_outdated_restarts_that_and_nothing_else(lab: Lab, controller: Controller) -> None:
    changed, same, down = lab.up(), lab.up(), lab.up()
    lab.power("stop", down)
    for uuid in (changed, down):
        lab.edit(uuid, labels={"tier": "front"})
    before = {uuid: lab.container(uuid) for uuid in (changed, same, down)}
    options = controller.options(server=[changed, same], action="restart", outdated=True)
    foreseen = controller.run_module("server_power", _ansible_check_mode=True, **options)
    result = controller.run_module("server_power", **options)
    for found in (foreseen, result):
        assert [(entry["outcome"], entry.get("code")) for entry in found["servers"]] == [("done", None), ("skipped", "not_selected")]
    assert lab.container(same) == before[same]
    again = controller.run_module("server_power", **controller.options(server=[changed, down], action="restart", outdated=True))
    # One that is named and down is restarted as any other is that is named.
    assert [entry["outcome"] for entry in again["servers"]] == ["skipped", "done"]
    refused = controller.run_module("server_power", **controller.options(server=[same], action="start", outdated=True))
    assert refused["code"] == "settings_invalid" and "it narrows restart alone" in refused["msg"]
