# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of server_power: the fields of a server's entry, several servers in one task, and their summary."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time

from .controller import MODULE, Controller
from .lab import Lab


def act(controller: Controller, action: str, server: object, **options: object) -> dict[str, Any]:
    return controller.run_module(**controller.options(action=action, server=server, **options))


def only(result: dict[str, Any]) -> dict[str, Any]:
    assert len(result["servers"]) == 1
    entry: dict[str, Any] = result["servers"][0]
    return entry


def test_a_restart_returns_the_downtime_by_the_engines_times(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(BOOT_SECONDS=2)
    lab.power("start", uuid, wait_for="running")
    entry = only(act(controller, "restart", uuid, wait_for="running"))
    assert set(entry["downtime"]) == {"seconds", "ready_seconds"}
    assert 0 < entry["downtime"]["seconds"] < entry["downtime"]["ready_seconds"] - 1.5 < entry["seconds"]
    rows = lab.node().journal.ended_runs.history([uuid], 1, datetime.now(timezone.utc))
    assert rows is not None
    ended, began = engine_time(rows.latest[uuid][0].ended_at), engine_time(entry["run"]["started_at"])
    assert ended is not None and began is not None
    assert entry["downtime"]["seconds"] == round((began - ended).total_seconds(), 3)
    assert [each["phase"] for each in entry["phases"]][:2] == ["pull", "stop"]
    assert entry["phases"][-1]["phase"] == "ready"


@pytest.mark.long
def test_an_ad_hoc_command_shows_each_error_once_and_successes_in_short(lab: Lab, controller: Controller) -> None:
    good, suspended = lab.server(name="Good"), lab.server(name="Overdue", suspended=True)
    options = f"config={lab.config} docker_host={lab.docker_host}"
    run = controller.ad_hoc(MODULE, f"server={good},{suspended} action=start {options}")
    well, refused = run.result["servers"]
    assert set(well) == {"server", "name", "outcome", "state_before", "state", "seconds"}
    assert not {"action", "operation"} & set(refused)
    assert (refused["code"], refused["changed"], refused["short_id"]) == ("suspended", False, suspended[:8])
    assert run.output.count(refused["msg"]) == 1, run.output
    assert run.result["summary"] == {"done": 1, "refused": 1, "text": ["Overdue: refused, suspended"]}
    verbose = controller.ad_hoc(MODULE, f"server={good} action=restart {options}", "-v").server
    assert {"action", "operation", "run", "preboot", "changed"} <= set(verbose)
    nothing = controller.ad_hoc(MODULE, json.dumps({**controller.options(action="restart"), "server": []}))
    assert (nothing.code, nothing.result["changed"], nothing.result["servers"]) == (0, False, [])


@pytest.mark.installed
def test_the_modules_use_action_group_defaults_and_the_hosts_server(lab: Lab, controller: Controller) -> None:
    uuid, _other = lab.server(), lab.server()
    controller.host_vars["server_uuid"] = uuid
    run = controller.play(
        [{"fleet.power.server_power": {"action": "start"}}, {"fleet.power.server_power_info": {}}],
        module_defaults={"group/fleet.power.power": controller.options()},
    )
    assert run.code == 0, run.output
    started, looked = run.results
    assert (started["servers"][0]["server"], started["servers"][0]["outcome"]) == (uuid, "done")
    (seen,) = looked["servers"]
    assert (seen["server"], seen["state"] in ("starting", "running")) == (uuid, True)


@pytest.mark.installed
def test_the_journal_has_the_origin_and_the_reason_of_a_task(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    controller.play([{**controller.task("start", uuid, reason="the players wait"), "name": "bring it up"}])
    row = lab.node().journal.operations.last(uuid)
    assert row is not None
    assert re.fullmatch(r"\S+@\S+ \(play the play, task bring it up\)", row.origin)
    assert row.reason == "the players wait"


@pytest.mark.long
def test_async_status_returns_the_result_of_an_asynchronous_task(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(STOP_SECONDS=4)
    lab.power("start", uuid, wait_for="running")
    run = controller.play(
        [
            {**controller.task("stop", uuid), "async": 60, "poll": 0, "register": "stopping"},
            {
                "ansible.builtin.async_status": {"jid": "{{ stopping.ansible_job_id }}"},
                "register": "status",
                "until": "status is finished",
                "retries": 100,
                "delay": 0.2,
            },
        ]
    )
    assert run.code == 0, run.output
    assert run.results[0]["started"] and "servers" not in run.results[0]
    assert (run.results[-1]["servers"][0]["outcome"], run.results[-1]["servers"][0]["state"]) == ("done", "offline")
