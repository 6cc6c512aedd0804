# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a rolling run as Ansible calls them: files, output and failures."""

from __future__ import annotations

import importlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.rollout_controller import Controller, new_controller, plugin
from ansible_collections.fleet.power.tests.unit.rollout_support import ended, fleet, info, listing, uuid

steps = importlib.import_module("ansible_collections.fleet.power.plugins.plugin_utils._rollout_step")


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controller:
    return new_controller(tmp_path, monkeypatch)


def test_a_good_rolling_run_shows_a_table_and_leaves_only_the_result(controller: Controller) -> None:
    controller.nodes(fleet(2, 1))
    planned = controller.plan(reason="update", serial=1)
    first = {"number": 1, "label": "1 of 2: node-1 Server 100"}
    assert planned["batches"] == {"node-1": [first], "node-2": [{"number": 2, "label": "2 of 2: node-2 Server 200"}]}
    assert planned["reason"] == "update"
    for number, node in ((1, "node-1"), (2, "node-2")):
        work = controller.begin(planned["file"], number, pause=3)["work"]
        assert list(work) == [node]
        controller.answers({node: ended(work[node]["servers"])})
    reported = controller.report(planned["file"])
    assert reported == {"changed": False, "counts": controller.result["counts"], "run": controller.result["run"], "resume_file": None}
    assert controller.clock.slept == 3
    shown = controller.shown[-1].splitlines()
    assert shown[-1] == "restart of 2 in 2 of 2 batches: 2 done"
    assert shown[1].split() == ["node", "server", "name", "outcome", "code", "seconds", "message"]
    assert controller.result["ok"]
    assert not Path(planned["file"]).exists()
    again = controller.plan(resume=planned["file"])
    assert again["msg"].endswith("No such file or directory; a run that did everything removes its resume file")


def test_an_interrupted_rolling_run_names_servers_in_flight_and_its_file(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin.os, "getpid", os.getppid)
    Path(plugin.constants.DEFAULT_LOCAL_TMP).mkdir()
    controller.nodes(fleet(1, 1))
    planned = controller.plan()
    controller.begin(planned["file"], 1)
    plugin.say_how_to_resume()
    assert controller.shown[-1] == f"To do what is left, continue with the same command and -e rollout_resume={planned['file']}"
    assert json.loads(Path(planned["file"]).read_text())["not_done"] == ["node-1 Server 100: in flight"]
    taken_up = controller.step("take_up", resume=planned["file"])
    assert (taken_up["nodes"], taken_up["runs"]) == (["node-1"], [planned["run"]])
    assert f"Actions of run {planned['run']} may still be in flight on node-1: waiting until " in controller.shown[-1]
    controller.report(planned["file"])
    controller.shown.clear()
    plugin.say_how_to_resume()
    assert controller.shown == []


def test_the_plan_and_the_summary_count_a_suspended_server(controller: Controller) -> None:
    controller.nodes({"node-1": listing(info(1), info(2, suspended=True))})
    file = controller.plan(suspended="skip")["file"]
    assert controller.shown[0] == f"Run {controller.run}: 2 servers in 1 batch (without a batch: 1 skipped), kept in {file}"
    controller.report(file)
    assert controller.result["msg"].startswith("restart of 2 in ")


def test_a_rolling_run_without_budget_stops_and_names_the_resume_file(controller: Controller) -> None:
    controller.nodes(fleet(2, 1))
    file = controller.plan(serial=1)["file"]
    controller.begin(file, 1)
    controller.answers({"node-1": ended([uuid(100)], "failed", code="start_failed")})
    stopped = controller.begin(file, 2)
    assert (stopped["failed"], stopped["msg"]) == (True, f"Run {controller.run} failed: 1 failed, 1 not done")
    assert (stopped["failed_nodes"], stopped["resume_file"]) == (["node-1"], file)
    blame = controller.step("blame", here="node-1", file=file)
    assert (blame["failed"], blame["msg"]) == (True, "Restart failed on node-1: Server 100: start_failed")
    assert controller.result["stopped"] == "1 failed, 0 allowed"
    again = "and with -e rollout_resume_failed=true to try failed servers again"
    assert controller.shown[-1].startswith(f"To do what is left, continue with the same command and -e rollout_resume={file}, {again}")
    assert controller.result["resume_file"] == file
    assert Path(file).stat().st_mode & 0o777 == 0o600
    controller.hostvars["node-1"].pop("__rollout_answer")
    first = controller.run
    resumed = controller.plan(resume=file)
    assert resumed["file"] == file
    assert f"Run {controller.run} continues run {first}: 1 server in 1 batch, kept in {file}" in controller.shown
    assert controller.begin(file, 1)["work"]["node-2"]["servers"] == [uuid(200)]
    controller.answers({"node-2": ended([uuid(200)])})
    assert controller.report(file)["resume_file"] == file
    assert controller.shown[-1] == (
        f"What failed before was left alone: 1; continue with the same command and -e rollout_resume={file} -e rollout_resume_failed=true"
    )


def test_check_mode_writes_no_result_and_does_not_pause(controller: Controller, tmp_path: Path) -> None:
    controller.check = True
    controller.nodes(fleet(1, 2))
    controller.result_file.write_text("of the last run")
    controller.step("take_up", resume="", result_file=str(controller.result_file))
    file = controller.plan(batch_size=1)["file"]
    assert file.startswith(str(tmp_path / "local"))
    for number in (1, 2):
        controller.begin(file, number, pause=9)
        controller.answers({"node-1": ended([uuid(99 + number)])})
    assert "failed" not in controller.report(file)
    assert controller.clock.slept == 0
    assert controller.result_file.read_text() == "of the last run"
    assert not (tmp_path / "home").exists()
    assert controller.shown[-1].endswith("(check mode, nothing was changed)")


def test_a_fault_names_the_variable_of_the_playbook_that_sets_the_variable_of_the_role(controller: Controller) -> None:
    controller.nodes(fleet(1, 1))
    assert controller.step("take_up", given={"action": ""})["msg"].startswith("Cannot use rollout_action='': expected one of start")
    controller.vars = {"rollout_action": "{{ power_action | default('') }}", "rollout_servers": "{{ power_servers | default([]) }}"}
    assert controller.step("take_up", given={"action": ""})["msg"].startswith("Cannot use power_action='': expected one of start")
    fault = controller.step("take_up", given={"action": "stop", "servers": []})["msg"]
    assert fault == "Cannot tell which servers to act on: power_servers is empty; give names, or all"


def test_a_batch_waits_for_its_soak_only_if_a_server_ended_well(controller: Controller) -> None:
    controller.nodes(fleet(2, 1))
    file = controller.plan(serial=1, on_failure="continue")["file"]
    for number, node, outcome in ((1, "node-1", "failed"), (2, "node-2", "done")):
        controller.begin(file, number)
        controller.answers({node: ended([uuid(100 * number)], outcome)})
        controller.step("soak", file=file, batch=number, soak=3)
        assert (controller.clock.slept, "checking for 3 s" in controller.shown[-1]) == ((3, True) if number == 2 else (0, False))


@pytest.mark.parametrize("active", [["node-1"], []])
def test_a_play_with_serial_is_refused(controller: Controller, active: list[str]) -> None:
    controller.nodes(fleet(2, 1))
    controller.active = active
    assert "use rollout_serial" in controller.plan()["msg"]


@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
def test_a_play_with_a_strategy_other_than_linear_is_refused(controller: Controller, strategy: str) -> None:
    controller.nodes(fleet(2, 1))
    controller.strategy = strategy
    assert f"with strategy {strategy}" in controller.plan()["msg"]


@pytest.mark.parametrize("name", ["next", "soak", "blame"])
def test_a_rolling_run_stops_when_another_rolling_run_took_its_file(controller: Controller, tmp_path: Path, name: str) -> None:
    controller.nodes(fleet(1, 1))
    asked = {"given": {"action": "stop", "servers": "all"}, "resume_file": str(tmp_path / "shared.json")}
    first = controller.step("plan", **asked)
    controller.step("plan", **asked)
    result = controller.step(name, file=first["file"], run=first["run"], batch=1)
    assert "now belongs to another run" in result["msg"]


def test_an_unwritable_file_fails_before_the_first_batch(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the directory should be")
    controller.nodes(fleet(1, 1))
    assert controller.plan()["code"] == "file_unwritable"


@pytest.mark.parametrize(
    ("text", "said"), [(None, "Could not find"), ("- a: [", "YAML parsing failed"), ("text", "it is not a list of tasks")]
)
def test_bad_tasks_before_the_batch_stop_the_rolling_run_before_any_action(
    controller: Controller, tmp_path: Path, text: str | None, said: str
) -> None:
    controller.nodes(fleet(1, 1))
    file = controller.plan()["file"]
    tasks = tmp_path / "before.yml"
    if text is not None:
        tasks.write_text(text)
    begun = controller.begin(file, 1, tasks=str(tasks))
    assert begun["failed"]
    assert begun["failed_nodes"] == ["node-1"]
    assert said in controller.step("blame", here="node-1", file=file)["msg"]
    assert controller.result["counts"]["not_done"] == 1
    assert said in controller.result["stopped"]


def test_a_rolling_run_of_a_live_command_is_not_resumed(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.nodes(fleet(1, 1))
    file = controller.plan()["file"]
    own = os.getppid()
    monkeypatch.setattr(plugin.os, "getppid", os.getpid)
    for taken in (controller.step("take_up", resume=file, result_file=str(controller.result_file)), controller.plan(resume=file)):
        assert taken["code"] == controller.result["code"] == "resume_in_use"
        assert f"process {own} is still at run" in taken["msg"]
    kept = json.loads(Path(file).read_text())
    kept["owner"]["start"] += 1
    Path(file).write_text(json.dumps(kept))
    assert controller.step("take_up", resume=file)["runs"] == []


def test_an_interrupted_play_writes_a_result_with_the_code_broken_off(controller: Controller) -> None:
    controller.nodes(fleet(1, 1))
    file = controller.plan()["file"]
    confirmed = controller.step("confirm", file=file, result_file=str(controller.result_file))
    assert confirmed["failed"]
    assert controller.result["code"] == "broken_off"
    controller.report(file)
    assert controller.step("confirm", file=file, result_file=str(controller.result_file)) == {"changed": False}
    assert "code" not in controller.result


@pytest.mark.parametrize(("number", "said"), [(2, "batch 1 was to come before"), (None, "batch 1 was to come before")])
def test_batches_in_the_wrong_order_are_not_begun(controller: Controller, number: int | None, said: str) -> None:
    controller.nodes(fleet(2, 1))
    file = controller.plan(serial=1)["file"]
    taken = controller.begin(file, number) if number else controller.report(file)
    assert taken["failed"]
    assert said in taken["msg"]
    assert controller.result["counts"]["not_done"] == 2
    assert Path(controller.result["resume_file"]).exists()


def test_a_rolling_run_waits_for_its_window_and_shows_the_wait(controller: Controller) -> None:
    controller.nodes(fleet(1, 1))
    not_before = datetime.fromtimestamp(controller.clock.now + 4000).astimezone()
    given = {"action": "restart", "servers": ["all"], "not_before": not_before.isoformat(), "deadline": ""}
    taken_up = controller.step("take_up", given=given)
    assert controller.clock.slept == 4000
    assert taken_up["window"] == {"not_before": not_before.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "deadline": None}
    assert [text.partition(", in ")[2] for text in controller.shown] == [
        f"{left}: nothing is begun before" for left in ("1 h 6 min", "36 min 40 s", "6 min 40 s")
    ]


def test_a_batch_that_could_pass_the_deadline_is_not_begun(controller: Controller) -> None:
    controller.nodes(fleet(2, 1))
    deadline = datetime.fromtimestamp(controller.clock.now + 700, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    given = {"action": "restart", "servers": ["all"], "serial": 1}
    file = controller.step("plan", given=given, window={"deadline": deadline}, result_file=str(controller.result_file))["file"]
    controller.begin(file, 1)
    controller.answers({"node-1": ended([uuid(100)])})
    # 30 s for the lock, 600 s for the stop.
    stopped = controller.begin(file, 2, pause=71)
    assert (stopped["failed"], stopped["msg"]) == (True, f"Run {controller.run} failed: 1 not done")
    assert controller.clock.slept == 0
    result = controller.result
    assert result["stopped"].startswith("batch 2 may take 11 min 41 s, and the deadline is ")
    assert [(each["outcome"], each.get("code")) for each in result["servers"]] == [("done", None), ("not_done", "deadline")]
    assert result["resume_file"] == file
    assert json.loads(Path(file).read_text())["not_done"] == ["node-2 Server 200: deadline"]
    assert f"To do what is left, continue with the same command and -e rollout_resume={file}" in controller.shown[-1]


def test_a_pause_ends_when_ansible_ends_and_no_result_is_written(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.nodes(fleet(2, 1))
    file = controller.plan(serial=1)["file"]
    controller.begin(file, 1)
    controller.answers({"node-1": ended([uuid(100)])})
    parents = iter([1, 1, 7])
    monkeypatch.setattr(steps.os, "getppid", lambda: next(parents, 7))
    with pytest.raises(steps.AnsibleError, match="the run of Ansible has ended"):
        controller.begin(file, 2, pause=60)
    assert controller.clock.slept < 5
    assert not controller.result_file.exists()
