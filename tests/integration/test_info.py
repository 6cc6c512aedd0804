# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module server_power_info and check mode: they read the node and leave no trace."""

from __future__ import annotations

from typing import Any

import pytest

from .controller import Controller, warnings_of
from .lab import IMAGE, Lab


def foretell(controller: Controller, action: str, server: object, **options: object) -> dict[str, Any]:
    return controller.run_module(
        **controller.options(action=action, server=server, _ansible_check_mode=True, _ansible_diff=True, **options)
    )


def trace(lab: Lab) -> dict[str, tuple[int, int]]:
    """Size and time of all files of the node, without the controller's files."""
    files = (path for path in lab.root.rglob("*") if "controller" not in path.relative_to(lab.root).parts)
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in files}


@pytest.mark.samples("restart-True-plan3-starting")
@pytest.mark.parametrize(
    "action, up, plan, after",
    [
        ("start", False, ["preboot", "start"], "starting"),
        ("restart", False, ["preboot", "start"], "starting"),
        ("stop", True, ["stop"], "offline"),
        ("restart", True, ["stop", "preboot", "start"], "starting"),
        ("kill", True, ["kill"], "offline"),
    ],
)
def test_check_mode_reports_the_plan_and_changes_nothing(
    lab: Lab, controller: Controller, action: str, up: bool, plan: list[str], after: str
) -> None:
    uuid = lab.up(name="Cobalt") if up else lab.server(name="Cobalt")
    traces, container = trace(lab), lab.container(uuid)
    result = foretell(controller, action, uuid)
    (entry,) = result["servers"]
    state = "running" if up else "offline"
    assert (entry["outcome"], entry["changed"], entry["plan"], result["changed"]) == ("done", True, plan, True)
    assert (entry["state_before"], entry["state"]) == (state, state)
    assert result["diff"] == [{"before": f"Cobalt: {state}\n", "after": f"Cobalt: {after}\n"}]
    assert trace(lab) == traces
    assert lab.container(uuid) == container


def test_check_mode_reports_a_held_lock_without_a_wait(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(STOP_SECONDS=60)
    with lab.actor("stop", uuid) as stop:
        lab.await_phase(uuid, "stop")
        (entry,) = foretell(controller, "restart", uuid, wait_seconds=300)["servers"]
        assert entry["lock"]["holder"]["pid"] == stop.pid
    assert (entry["outcome"], entry["state"]) == ("done", "stopping")
    assert entry["seconds"] < 20


FIELDS = [
    *("server", "short_id", "name", "state", "startup", "suspended", "priority", "egg", "labels"),
    *("container", "outdated", "lock", "countdown", "freeze", "proof", "intent", "last_operation", "supervision", "players"),
]


def look(controller: Controller, **options: object) -> dict[str, Any]:
    return controller.run_module("server_power_info", **controller.options(**options))


def look_at(controller: Controller, server: str, **options: object) -> dict[str, Any]:
    (entry,) = look(controller, server=server, **options)["servers"]
    assert isinstance(entry, dict)
    return entry


def test_info_shows_all_fields_of_a_running_server(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(name="Cobalt")
    run = controller.info(server="Cobalt")
    assert run.code == 0, run.output
    assert run.result["changed"] is False
    entry, container = run.server, lab.container(uuid)
    assert container is not None
    assert list(entry) == FIELDS
    assert [entry[name] for name in FIELDS[:6]] == [uuid, uuid[:8], "Cobalt", "running", "matched", False]
    assert entry["container"] == {
        "id": container["Id"],
        "image": IMAGE.lstrip("~"),
        "started_at": container["State"]["StartedAt"],
        "finished_at": None,
        "exit_code": None,
        "oom_killed": False,
        "health": None,
        "health_output": [],
        "paused": False,
    }
    assert entry["lock"] is None
    assert (entry["intent"]["up"], entry["intent"]["origin"]) == (True, "test")
    operation = entry["last_operation"]
    assert [operation[name] for name in ("action", "origin", "outcome", "code")] == ["start", "test", "done", ""]
    assert operation["requested_at"] < operation["ended_at"]


def test_info_names_the_lock_holder_without_a_wait(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(STOP_SECONDS=60)
    with lab.actor("stop", uuid, reason="maintenance") as stop:
        lab.await_phase(uuid, "stop")
        entry = look_at(controller, uuid)
        assert (entry["state"], entry["lock"]["pid"], entry["lock"]["reason"]) == ("stopping", stop.pid, "maintenance")
        assert (entry["last_operation"]["action"], entry["last_operation"]["outcome"]) == ("stop", "")
        stop.kill()
    entry = look_at(controller, uuid)
    assert (entry["state"], entry["lock"]) == ("stopping", None)
    assert (entry["last_operation"]["outcome"], entry["last_operation"]["code"]) == ("failed", "interrupted")


def test_info_takes_no_lock_and_changes_nothing(lab: Lab, controller: Controller) -> None:
    uuid = lab.up()
    traces = trace(lab)
    look_at(controller, uuid, tail=5)
    assert trace(lab) == traces


@pytest.mark.samples("garbage")
@pytest.mark.parametrize("garbage", [b"no database", None], ids=["garbage", "a directory"])
def test_a_broken_journal_gives_one_warning_and_null_for_its_fields(lab: Lab, controller: Controller, garbage: bytes | None) -> None:
    uuid, other = lab.up(), lab.up()
    journal = lab.root / "state" / "journal.sqlite"
    journal.unlink()
    if garbage is None:
        journal.mkdir()
    else:
        journal.write_bytes(garbage * 1000)
    traces = trace(lab)
    result = look(controller, server=[uuid, other], crashes=1)
    names = ("state", "intent", "last_operation", "supervision", "crashes")
    assert [[entry[name] for name in names] for entry in result["servers"]] == [["running", *[None] * 4]] * 2
    assert len([warning for warning in warnings_of(result) if "journal" in warning]) == 1
    assert trace(lab) == traces


NOTHING = {"is_outdated": False, "differs": [], "restart": [], "in_place": [], "next_start": [], "failed": False, "why": None}


def outdated(controller: Controller, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = look_at(controller, uuid)["outdated"]
    return found


def test_values_that_the_engine_fills_in_do_not_make_a_container_outdated(lab: Lab, controller: Controller) -> None:
    everything = {"memory_limit": 512, "swap": 256, "cpu_limit": 150, "threads": "0", "io_weight": 300, "oom_disabled": True}
    servers = [lab.up(build=build) for build in ({}, everything, {"swap": -1}, {"memory_limit": 64, "swap": -1, "io_weight": 500})]
    lab.write_settings(docker={"container_pid_limit": -1})
    servers.append(lab.up(labels={"tier": "front"}))
    found = {entry["server"]: entry["outdated"] for entry in look(controller)["servers"]}
    lab.write_settings(docker={"container_pid_limit": 512})
    assert found[servers[-1]] == NOTHING
    assert [outdated(controller, uuid) for uuid in servers[:-1]] == [NOTHING] * 4
    assert outdated(controller, servers[-1])["in_place"] == ["docker.container_pid_limit"]


@pytest.mark.long
def test_info_reports_limits_that_were_changed_at_the_engine(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(build={"memory_limit": 64})
    lab.client.update_container(uuid, mem_limit=100_000_000, memswap_limit=100_000_000)
    assert outdated(controller, uuid)["in_place"] == ["docker.overhead"]
    lab.edit(uuid, build={"memory_limit": 64, "cpu_limit": 50})
    lab.client.update_container(uuid, mem_limit="73600000", memswap_limit="73600000", cpu_quota=50_000, cpu_period=100_000, cpu_shares=1024)
    before = lab.container(uuid)
    assert outdated(controller, uuid) == NOTHING and before is not None
    # The limits match the definition, so the container stays.
    assert lab.power("restart", uuid).outcome.value == "done"
    after = lab.container(uuid)
    assert after is not None and after["Id"] == before["Id"]


def test_a_restart_of_outdated_servers_skips_the_other_servers(lab: Lab, controller: Controller) -> None:
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
    # A restart starts a server that is named and down, also with `outdated`.
    assert [entry["outcome"] for entry in again["servers"]] == ["skipped", "done"]
    refused = controller.run_module("server_power", **controller.options(server=[same], action="start", outdated=True))
    assert refused["code"] == "settings_invalid" and "it applies only to restart" in refused["msg"]
