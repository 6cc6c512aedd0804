# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What server_power returns: the fields of a server's entry and when they are there, several servers in one task, and their summary."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time

from .controller import MODULE, Controller, warnings_of
from .lab import Lab

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ALWAYS = {"server", "short_id", "name", "action", "outcome", "changed", "state_before", "state", "seconds", "operation"}


def act(controller: Controller, action: str, server: object, **options: object) -> dict[str, Any]:
    """The module's result, run as on a node."""
    return controller.run_module(**controller.options(action=action, server=server, **options))


def only(result: dict[str, Any]) -> dict[str, Any]:
    """The entry of the only server."""
    assert len(result["servers"]) == 1
    entry: dict[str, Any] = result["servers"][0]
    return entry


@pytest.mark.installed
def test_a_start_that_is_done_returns_what_is_known_and_nothing_that_is_empty(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(name="Cobalt Survival")
    run = controller.power("start", uuid)
    assert run.code == 0, run.output
    assert run.result["changed"] is True
    entry = run.server
    assert set(entry) == ALWAYS | {"preboot", "run", "phases"}
    assert [entry[name] for name in ("server", "short_id", "name", "action")] == [uuid, uuid[:8], "Cobalt Survival", "start"]
    assert [entry[name] for name in ("outcome", "changed", "state_before", "state")] == ["done", True, "offline", "starting"]
    assert 0 < entry["seconds"] < 60
    assert set(entry["operation"]) == {"id", "requested_at", "ended_at"}
    assert TIME.fullmatch(entry["operation"]["requested_at"]) and TIME.fullmatch(entry["operation"]["ended_at"])
    assert entry["operation"]["requested_at"] < entry["operation"]["ended_at"]
    assert run.result["summary"] == {"done": 1}


def test_a_stop_tells_how_it_went(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(STOP_SECONDS=0.3)
    lab.power("start", uuid, wait_for="running")
    stop = only(act(controller, "stop", uuid))["stop"]
    assert (stop["how"], stop["forced"]) == ("command", False)
    assert 0.3 <= stop["seconds"] < 10


def test_a_restart_tells_for_how_long_the_server_was_down_as_the_engine_has_it(lab: Lab, controller: Controller) -> None:
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


def test_a_stop_that_had_to_be_forced_says_so(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(stop={"type": "signal", "value": "SIGTERM"}, IGNORE_SIGNALS="TERM")
    lab.power("start", uuid, wait_for="running")
    entry = only(act(controller, "stop", uuid, stop_timeout=1))
    assert (entry["stop"]["how"], entry["stop"]["forced"], entry["state"]) == ("signal", True, "offline")


def test_an_unchanged_server_shows_its_empty_plan_as_nothing_and_says_why(lab: Lab, controller: Controller) -> None:
    entry = only(act(controller, "stop", lab.server()))
    assert set(entry) == ALWAYS | {"msg"}
    assert (entry["outcome"], entry["changed"], entry["state"]) == ("unchanged", False, "offline")
    assert "offline already" in entry["msg"]


def test_a_plan_that_was_not_carried_out_is_shown(lab: Lab, controller: Controller) -> None:
    entry = only(act(controller, "start", lab.server(CRASH_AFTER=0, EXIT_CODE=3), wait_for="running"))
    assert (entry["outcome"], entry["code"], entry["plan"]) == ("failed", "start_failed", ["preboot", "start"])
    assert (entry["exit_code"], entry["log"][-1]) == (3, "crashed")


@pytest.mark.installed
def test_preboot_shows_what_changed_and_with_v_every_step(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    first = only(act(controller, "start", uuid))["preboot"]
    assert [(step["step"], step["changed"]) for step in first] == [("volume", True), ("placement", True)]
    assert all(set(step) == {"step", "changed", "seconds"} for step in first)
    assert "preboot" not in only(act(controller, "restart", uuid, stop_timeout=0))
    verbose = only(act(controller, "restart", uuid, stop_timeout=0, _ansible_verbosity=1))["preboot"]
    # The first two are looked at again under the lock where that is long ago.
    assert list(dict.fromkeys(step["step"] for step in verbose)) == ["volume", "container", "disk", "placement", "configuration"]
    assert not any(step["changed"] for step in verbose)


@pytest.mark.long
def test_the_wait_for_the_lock_is_told_when_there_was_one(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(STOP_SECONDS=4)
    lab.power("start", uuid, wait_for="running")
    with lab.actor("restart", uuid) as restart:
        lab.await_phase(uuid, "stop")
        entry = only(act(controller, "restart", uuid, stop_timeout=0))
        restart.result()
    assert entry["outcome"] == "done"
    assert set(entry["lock"]) == {"waited_seconds"}
    assert 0 < entry["lock"]["waited_seconds"] < 20


def test_a_refused_server_names_who_holds_its_lock(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(STOP_SECONDS=60)
    lab.power("start", uuid, wait_for="running")
    with lab.actor("stop", uuid, reason="spring cleaning") as stop:
        lab.await_phase(uuid, "stop")
        result = act(controller, "restart", uuid, wait_seconds=0)
        holder = only(result)["lock"]["holder"]
        assert holder["pid"] == stop.pid
    assert (holder["action"], holder["phase"], holder["origin"], holder["reason"]) == ("stop", "stop", "actor", "spring cleaning")
    assert TIME.fullmatch(holder["since"]) and TIME.fullmatch(holder["phase_deadline"])
    assert (result["failed"], only(result)["outcome"], only(result)["code"]) == (True, "refused", "lock_timeout")
    assert "stop by actor" in only(result)["msg"] and result["msg"].endswith("(lock_timeout)")


def test_a_kill_names_the_action_that_it_cancelled(lab: Lab, controller: Controller) -> None:
    uuid = lab.server(STOP_SECONDS=60)
    lab.power("start", uuid, wait_for="running")
    with lab.actor("restart", uuid) as restart:
        lab.await_phase(uuid, "stop")
        entry = only(act(controller, "kill", uuid))
        assert restart.result()["outcome"] == "cancelled"
    assert (entry["outcome"], entry["cancelled"], entry["state"]) == ("done", "restart", "offline")


@pytest.mark.long
def test_servers_are_told_in_the_order_asked_and_each_once(lab: Lab, controller: Controller) -> None:
    first, second = lab.server(name="First"), lab.server(name="Second")
    result = act(controller, "start", ["Second", first.upper(), second, second[:8], "First"])
    assert [entry["server"] for entry in result["servers"]] == [second, first]
    assert result["summary"] == {"done": 2}
    again = act(controller, "start", [first, second])
    assert [entry["outcome"] for entry in again["servers"]] == ["unchanged", "unchanged"]
    assert again["changed"] is False


@pytest.mark.long
def test_one_bad_server_hides_and_stops_none_of_the_others(lab: Lab, controller: Controller) -> None:
    good, also_good = lab.server(name="Good"), lab.server(name="Also good")
    suspended, broken, crashing = lab.server(name="Overdue", suspended=True), lab.server(name="Broken"), lab.server(CRASH_AFTER=0)
    (lab.root / "servers" / f"{broken}.json").write_text('{"settings": ')
    unknown = "00000000-0000-4000-8000-000000000000"
    run = controller.power("start", [good, suspended, broken, "Nobody", unknown, crashing, also_good], wait_for="running")
    assert run.code == 2
    assert [(entry["server"], entry["outcome"], entry.get("code")) for entry in run.result["servers"]] == [
        (good, "done", None),
        (suspended, "refused", "suspended"),
        (broken, "refused", "definition_invalid"),
        ("Nobody", "refused", "server_not_found"),
        (unknown, "refused", "server_not_found"),
        (crashing, "failed", "start_failed"),
        (also_good, "done", None),
    ]
    assert lab.is_up(good) and lab.is_up(also_good)
    assert run.result["changed"]
    assert (
        run.result["msg"]
        == f"Cannot start 5 of 7 servers: Overdue: suspended; {broken[:8]}: definition_invalid; Nobody: server_not_found and 2 more"
    )
    summary = run.result["summary"]
    assert {name: count for name, count in summary.items() if name != "text"} == {"done": 2, "refused": 4, "failed": 1}
    assert len(summary["text"]) == 5
    assert summary["text"][0] == "Overdue: refused, suspended"
    sentence = run.result["servers"][1]["msg"]
    assert "it is suspended" in sentence and json.dumps(run.result).count(sentence) == 1
    assert "short_id" not in run.result["servers"][3]


def test_an_ad_hoc_command_says_each_thing_once_and_of_what_went_well_how_it_ended(lab: Lab, controller: Controller) -> None:
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


def test_the_summary_comes_last_and_has_at_most_twenty_lines(controller: Controller) -> None:
    result = act(controller, "start", [f"nobody-{number}" for number in range(30)], _ansible_diff=True)
    assert [name for name in result if name in ("changed", "diff", "servers", "summary")][-1] == "summary"
    assert result["summary"]["refused"] == 30
    assert len(result["summary"]["text"]) == 20
    assert result["summary"]["text"][-1] == "and 11 more"


@pytest.mark.long
@pytest.mark.parametrize("wait_seconds", [301, -1])
def test_wait_seconds_out_of_range_become_thirty_with_a_warning(lab: Lab, controller: Controller, wait_seconds: int) -> None:
    uuid = lab.server(STOP_SECONDS=2)
    lab.power("start", uuid, wait_for="running")
    with lab.actor("stop", uuid) as stop:
        lab.await_phase(uuid, "stop")
        result = act(controller, "stop", uuid, wait_seconds=wait_seconds)
        assert stop.result()["outcome"] == "done"
    assert only(result)["outcome"] == "unchanged"
    assert only(result)["lock"]["waited_seconds"] > 0
    assert any(f"wait_seconds={wait_seconds}" in warning and "30 is used" in warning for warning in warnings_of(result))


@pytest.mark.installed
def test_action_group_defaults_and_the_hosts_own_server_are_taken(lab: Lab, controller: Controller) -> None:
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
def test_the_journal_says_who_asked_from_where_and_why(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    controller.play([{**controller.task("start", uuid, reason="the players wait"), "name": "bring it up"}])
    row = lab.node().journal.operations.last(uuid)
    assert row is not None
    assert re.fullmatch(r"\S+@\S+ \(play the play, task bring it up\)", row.origin)
    assert row.reason == "the players wait"


def test_the_origin_given_is_the_origin_kept(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    act(controller, "start", uuid, origin="ticket 4711")
    row = lab.node().journal.operations.last(uuid)
    assert row is not None and row.origin == "ticket 4711"


@pytest.mark.samples("environment0-alice from 192.0.2.7")
@pytest.mark.parametrize(
    "environment, origin",
    [
        ({"SUDO_USER": "alice", "SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22"}, "alice from 192.0.2.7"),
        ({"SSH_CLIENT": "192.0.2.8 50000 22", "SUDO_USER": "bob"}, "bob from 192.0.2.8"),
        ({"SUDO_USER": "carol"}, "carol"),
    ],
)
def test_without_an_origin_it_is_the_user_and_the_address_he_came_from(
    lab: Lab, controller: Controller, environment: dict[str, str], origin: str
) -> None:
    uuid = lab.server()
    controller.run_module(environment=environment, **controller.options(action="stop", server=uuid))
    row = lab.node().journal.operations.last(uuid)
    assert row is not None and row.origin == origin


def test_an_asynchronous_task_is_carried_out_and_can_be_asked_for_its_result(lab: Lab, controller: Controller) -> None:
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


def test_definitions_given_by_the_task_come_first(lab: Lab, controller: Controller) -> None:
    uuid = lab.server()
    definition = lab.definition(uuid)
    definition["settings"]["environment"] = {"READY_LINE": "from the task"}
    definition["process_configuration"]["startup"]["done"] = ["from the task"]
    entry = only(act(controller, "start", uuid, definitions=[definition], wait_for="running"))
    assert (entry["outcome"], entry["state"]) == ("done", "running")
    assert "from the task" in lab.log(uuid)
