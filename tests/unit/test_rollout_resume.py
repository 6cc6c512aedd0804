# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling run that was cut off resumes, and the files of its results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import run_files
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, from_json, run_key, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin_batch, count_batch
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run_files import RunFiles
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.start import nodes_in_flight
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError
from ansible_collections.fleet.power.tests.unit.rollout_support import (
    LOST,
    all_done,
    ended,
    fleet,
    info,
    listing,
    opened,
    part,
    servers_of,
    unseen,
    uuid,
)


def again(record: Record) -> Record:
    return from_json(json.loads(json.dumps(to_json(record))), "FILE")


def operation(outcome: str, run: str = "1b2c3d4e", **more: Any) -> dict[str, Any]:
    return {"reason": f"{run_key(run)}: update", "outcome": outcome, **more}


def asked(record: Record) -> list[str | None]:
    return [row.server for row in record.rows if row.batch]


def test_a_resumed_rolling_run_does_only_servers_that_had_not_begun() -> None:
    record = opened(fleet(3, 2), serial=1)
    all_done(record, 1)
    resumed = opened(fleet(3, 2), again(record), serial=0)
    assert asked(resumed) == [uuid(200), uuid(201), uuid(300), uuid(301)]
    all_done(resumed, 1)
    assert resumed.is_good


def test_failed_servers_are_left_without_the_option_resume_failed() -> None:
    record = opened(fleet(1, 4), batch_size=2)
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": ended([uuid(100), uuid(101)], "failed", code="start_failed")})
    resumed = opened(fleet(1, 4), again(record))
    assert asked(resumed) == [uuid(102), uuid(103)]
    all_done(resumed, 1)
    assert resumed.is_good
    assert [row.server for row in resumed.failed] == [uuid(100), uuid(101)]
    assert asked(opened(fleet(1, 4), again(resumed), resume_failed=True)) == [uuid(100), uuid(101)]


@pytest.mark.parametrize("outcome", ["done", "unchanged"])
def test_a_server_in_flight_that_ended_well_is_not_done_again(outcome: str) -> None:
    record = opened(fleet(1, 2))
    begin_batch(record, 1)
    seen = {"node-1": listing(info(100, operations=[operation("failed", "other"), operation(outcome)]), info(101, operations=[]))}
    resumed = opened(seen, again(record))
    assert asked(resumed) == [uuid(101)]
    assert (resumed.rows[0].server, resumed.rows[0].outcome) == (uuid(100), outcome)
    assert resumed.rows[0].msg == f"Done by run {record.run}, not repeated"


@pytest.mark.parametrize(
    ("state", "up", "outcome"),
    [("running", True, "done"), ("offline", True, "failed"), ("offline", False, "done"), ("offline", None, "done")],
)
def test_a_server_that_was_done_and_is_down_again_did_not_stay_up(state: str, up: bool | None, outcome: str) -> None:
    record = opened(fleet(1, 1))
    begin_batch(record, 1)
    intent = None if up is None else {"up": up}
    resumed = opened({"node-1": listing(info(100, state=state, intent=intent, operations=[operation("done")]))}, again(record))
    assert [(row.outcome, row.code) for row in resumed.rows] == [(outcome, "did_not_stay_up" if outcome == "failed" else "")]


@pytest.mark.parametrize("last", [operation("failed"), operation("done", "ffffffff"), {"reason": None, "outcome": "done"}, None])
def test_a_server_in_flight_that_did_not_end_well_is_done_again(last: dict[str, Any] | None) -> None:
    record = opened(fleet(1, 1))
    begin_batch(record, 1)
    resumed = opened({"node-1": listing(info(100, state="offline", last_operation=last))}, again(record))
    assert asked(resumed) == [uuid(100)]
    assert begin_batch(resumed, 1)["node-1"]["only"] == []


@pytest.mark.parametrize("code", ["reverted", "left_down"])
def test_a_new_version_that_failed_in_flight_is_not_tried_again_unless_failed_servers_are(code: str) -> None:
    record = opened(fleet(1, 1))
    begin_batch(record, 1)
    seen = {"node-1": listing(info(100, operations=[operation("failed", code=code)]))}
    resumed = opened(seen, again(record))
    assert [(row.outcome, row.code, row.batch) for row in resumed.rows] == [("failed", code, 0)]
    assert asked(opened(seen, again(resumed), resume_failed=True)) == [uuid(100)]


@pytest.mark.parametrize(
    "more",
    [
        {"operations": [operation("failed", "other"), operation("")]},
        {"last_operation": operation("")},
        {"lock": {"reason": "rollout 1b2c3d4e: update"}, "operations": []},
    ],
)
def test_a_server_still_in_flight_is_unknown_and_left_for_the_next_rolling_run(more: dict[str, Any]) -> None:
    record = opened(fleet(1, 2))
    begin_batch(record, 1)
    resumed = opened({"node-1": listing(info(100, **more), info(101))}, again(record), run="bbbbbbbb", max_failures=1)
    assert asked(resumed) == [uuid(101)]
    (left,) = [row for row in resumed.rows if not row.batch]
    assert (left.server, left.outcome, left.code, left.asked_by, left.is_unfinished) == (
        uuid(100),
        "unknown",
        "still_in_flight",
        "1b2c3d4e",
        True,
    )


def test_possibly_queued_actions_keep_the_key_of_the_first_rolling_run(tmp_path: Path) -> None:
    record = opened(fleet(1, 3), run="aaaaaaaa", batch_size=2)
    begin_batch(record, 1)
    second = opened(fleet(1, 3), again(record), run="bbbbbbbb")
    works = [begin_batch(second, number)["node-1"] for number in range(1, second.batches + 1)]
    assert [(work["servers"], work["once"]) for work in works] == [
        ([uuid(100), uuid(101)], "rollout aaaaaaaa"),
        ([uuid(102)], "rollout bbbbbbbb"),
    ]


@pytest.mark.parametrize(
    ("outcome", "code", "key"),
    [
        ("failed", "start_failed", "rollout aaaaaaaa"),
        ("skipped", "failure_budget", "rollout aaaaaaaa"),
        # The action with this key is done, and the server needs another action.
        ("failed", "did_not_stay_up", "rollout cccccccc"),
    ],
)
def test_the_first_key_stays_while_the_first_task_may_still_arrive(outcome: str, code: str, key: str) -> None:
    record = opened(fleet(1, 1), run="aaaaaaaa")
    begin_batch(record, 1)
    second = opened(fleet(1, 1), again(record), run="bbbbbbbb")
    begin_batch(second, 1)
    count_batch(second, 1, {"node-1": ended([uuid(100)], outcome, code=code)})
    third = opened(fleet(1, 1), again(second), run="cccccccc", resume_failed=True)
    assert begin_batch(third, 1)["node-1"]["once"] == key


@pytest.mark.parametrize(
    ("state", "given", "is_asked"),
    [
        ("running", {}, False),
        ("running", {"wait_for": "running"}, False),
        # A signal possibly ended its wait.
        ("starting", {"wait_for": "running"}, True),
        ("running", {"wait_for": "healthy"}, True),
        ("running", {"soak": "3"}, True),
        # It did not stay up.
        ("offline", {"soak": 3}, False),
    ],
)
def test_a_done_server_is_done_again_if_its_wait_or_soak_is_unproven(state: str, given: dict[str, Any], is_asked: bool) -> None:
    record = opened(fleet(1, 1), run="aaaaaaaa")
    begin_batch(record, 1)
    entry = info(100, state=state, intent={"up": True}, operations=[operation("done", "aaaaaaaa")])
    resumed = opened({"node-1": listing(entry)}, again(record), run="bbbbbbbb", **given)
    assert bool(asked(resumed)) == is_asked
    if is_asked:
        assert begin_batch(resumed, 1)["node-1"]["once"] == "rollout aaaaaaaa"


def test_a_done_server_that_was_suspended_since_is_done() -> None:
    record = opened(fleet(1, 1), run="aaaaaaaa")
    begin_batch(record, 1)
    entry = info(100, suspended=True, intent={"up": True}, operations=[operation("done", "aaaaaaaa")])
    resumed = opened({"node-1": listing(entry)}, again(record), run="bbbbbbbb", soak=3)
    assert [row.outcome for row in resumed.rows] == ["done"] and not resumed.stopped


def test_a_node_that_returns_late_is_asked_about_the_first_rolling_run() -> None:
    record = opened(fleet(2, 1), run="aaaaaaaa", max_failures=1)
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": ended([uuid(100)]), "node-2": LOST})
    without = opened({"node-1": listing(info(100))}, again(record), run="bbbbbbbb")
    lost_still = opened({**fleet(1, 1), "node-2": LOST}, again(without), run="cccccccc")
    assert nodes_in_flight(again(lost_still)) == {"nodes": ["node-2"], "runs": ["aaaaaaaa"]}
    seen = {"node-1": listing(info(100)), "node-2": listing(info(200, operations=[operation("done", "aaaaaaaa")]))}
    assert [(row.server, row.outcome) for row in opened(seen, again(lost_still)).rows] == [(uuid(200), "done")]


def test_a_passed_canary_is_not_repeated_by_later_rolling_runs() -> None:
    record = opened(fleet(2, 1), canary="node-2")
    all_done(record, 1)
    second = opened(fleet(2, 1), again(record), canary="node-2")
    assert (asked(second), second.canaries) == ([uuid(100)], 0)
    assert asked(opened(fleet(2, 1), again(second), canary="node-2")) == [uuid(100)]


def test_a_failed_canary_node_must_be_retried_or_replaced() -> None:
    record = opened(fleet(2, 1), canary="node-2")
    begin_batch(record, 1)
    assert not again(record).has_good_canary
    count_batch(record, 1, {"node-2": ended([uuid(200)], "failed", code="start_failed")})
    assert record.needs_failed
    with pytest.raises(RolloutError, match="give rollout_resume_failed=true, or another rollout_canary"):
        opened(fleet(2, 1), again(record), canary="node-2")
    assert servers_of(begin_batch(opened(fleet(2, 1), again(record), canary="node-1"), 1)) == {"node-1": [uuid(100)]}
    tried = opened(fleet(2, 1), again(record), canary="node-2", resume_failed=True)
    assert tried.canaries == 1
    assert servers_of(begin_batch(tried, 1)) == {"node-2": [uuid(200)]}


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("head", "given", None),
        ("head", "canaries", "y"),
        ("row", "node", ["node-1"]),
        ("row", "outcome", "bogus"),
    ],
)
def test_a_wrong_type_in_the_resume_file_raises_an_error_that_names_the_field(where: str, name: str, value: object) -> None:
    written = to_json(opened(fleet(1, 1)))
    (written if where == "head" else written["servers"][0])[name] = value
    with pytest.raises(RolloutError, match=f"Cannot resume from FILE: {name} is") as caught:
        from_json(written, "FILE")
    assert caught.value.code == "resume_invalid"


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    run_files.write(str(path), {"old": 1})
    with pytest.raises(TypeError):
        run_files.write(str(path), {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def outdated(number: int, is_outdated: bool = True, **more: Any) -> dict[str, Any]:
    return info(number, outdated={"is_outdated": is_outdated}, **more)


def test_a_tried_server_is_retried_although_its_new_container_is_not_outdated() -> None:
    record = opened({"node-1": listing(outdated(1), outdated(2), outdated(3))}, outdated=True, batch_size=1, max_failures=1)
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": ended([uuid(1)], "failed", code="start_failed")})
    # The node got the task and was then lost.
    begin_batch(record, 2)
    count_batch(record, 2, {"node-1": LOST})
    now = {"node-1": listing(outdated(1, is_outdated=False, state="offline"), outdated(2, is_outdated=False), outdated(3))}
    resumed = opened(now, again(record), resume_failed=True)
    work = {}
    for number in range(1, resumed.batches + 1):
        for each in begin_batch(resumed, number).values():
            work.update(dict.fromkeys(each["servers"], each["outdated"]))
    assert work == {uuid(1): False, uuid(2): False, uuid(3): True}
    # The file of the resumed rolling run keeps them as well.
    assert {row.server for row in again(resumed).rows if row.again} == {uuid(1), uuid(2)}


NOTHING = ended([uuid(1)], "refused", code="lock_timeout")
IN_VAIN = ended([uuid(1)], "cancelled", code="cancelled_by_kill", changed=False)


@pytest.mark.parametrize("answer", [{"before_batch_failed": True}, {"code": "settings_invalid", "msg": "x"}, NOTHING, IN_VAIN])
def test_a_server_on_which_the_run_changed_nothing_must_still_be_selected(answer: dict[str, Any]) -> None:
    record = opened({"node-1": listing(outdated(1))}, outdated=True)
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": answer})
    stopped, newer = outdated(1, state="offline", intent={"up": False}), outdated(1, is_outdated=False)
    for now in (stopped, newer):
        resumed = opened({"node-1": listing(now)}, again(record), resume_failed=True)
        assert [(row.outcome, row.code) for row in resumed.rows] == [("skipped", "not_selected")]
    resumed = opened({"node-1": listing(outdated(1))}, again(record), resume_failed=True)
    work = begin_batch(resumed, 1)["node-1"]
    assert work["only"] and work["outdated"]


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "unknown"])
def test_a_server_that_the_run_may_have_changed_is_acted_on_in_any_state(outcome: str) -> None:
    record = opened({"node-1": listing(outdated(1))}, outdated=True)
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": ended([uuid(1)], outcome, changed=outcome == "cancelled")})
    now = outdated(1, is_outdated=False, state="offline", intent={"up": False})
    work = begin_batch(opened({"node-1": listing(now)}, again(record), resume_failed=True), 1)["node-1"]
    assert (work["only"], work["outdated"]) == ([], False)


def test_a_server_that_had_no_turn_keeps_the_selection_after_a_resume_without_its_node() -> None:
    record = opened({"node-1": listing(info(1))})
    without = opened({"node-1": LOST}, again(record), allow_unknown=True)
    resumed = opened({"node-1": listing(info(1, state="offline"))}, again(without))
    assert [row.code for row in without.rows + resumed.rows] == ["node_unreachable", "not_selected"]


def test_a_server_that_another_action_booted_before_the_first_run_may_be_stopped_since() -> None:
    record = opened({"node-1": listing(info(1, state="offline", lock={"action": "start"}))})
    assert asked(record) == [uuid(1)]
    resumed = opened({"node-1": listing(info(1, state="offline", intent={"up": False}))}, again(record))
    assert [row.code for row in resumed.rows] == ["not_selected"]


ALLOWED: dict[str, Any] = {"allow_unknown": True, "max_failures": 9}


def outcomes(record: Record) -> dict[str, str]:
    return {row.name or row.server or str(row.node): f"{row.outcome} {row.code}".strip() for row in record.rows}


def kept(record: Record) -> Record:
    return from_json(to_json(record), "the file")


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_an_unseen_server_stops_a_rolling_run_over_all_servers(action: str) -> None:
    record = opened({"node-1": listing(info(1), unseen(2))}, action=action, on_failure="continue", max_failures=9)
    assert record.stopped == (
        "Cannot see 1 server (node-1 Server 2: engine_error): nothing is begun; "
        "correct that, or give rollout_allow_unknown=true to count each as failed"
    )
    assert outcomes(record) == {"Server 1": "not_done", "Server 2": "unknown engine_error"}
    assert not record.is_good


def test_an_incomplete_server_list_stops_the_rolling_run() -> None:
    record = opened({"node-1": part(info(1)), "node-2": listing(info(2))}, on_failure="continue", max_failures=9)
    assert record.stopped.startswith("Cannot list all servers of 1 node (node-1: incomplete): nothing is begun; correct that, or give")
    assert outcomes(record)["node-1"] == "unknown incomplete"


def test_allowed_unseen_servers_count_as_failures_and_are_left() -> None:
    seen = {"node-1": listing(info(1), unseen(2)), "node-2": part(info(3))}
    record = opened(seen, **ALLOWED)
    assert not record.stopped
    all_done(record, 1)
    assert outcomes(record) == {
        "Server 1": "done",
        "Server 2": "unknown engine_error",
        "node-2": "unknown incomplete",
        "Server 3": "done",
    }
    assert (record.failures, record.is_good, len(record.unfinished)) == (2, False, 2)
    assert opened(seen, allow_unknown=True, max_failures=1).stopped == "2 failed, 1 allowed"


@pytest.mark.parametrize("name", [uuid(2), "00000002", "Server 2"])
def test_an_unseen_named_server_stops_the_rolling_run(name: str) -> None:
    record = opened({"node-1": listing(info(1), unseen(2))}, servers=["Server 1", name])
    assert "Server 2: engine_error" in record.stopped


def test_a_name_is_not_reported_missing_while_a_nameless_server_is_unseen() -> None:
    nameless = {"node-1": listing(info(1), unseen(2, name=""))}
    record = opened(nameless, servers=["Lobby"])
    assert record.stopped.startswith("Cannot see 1 server")
    with pytest.raises(RolloutError, match="Cannot find 00000003-"):
        opened(nameless, servers=[uuid(3)])
    with pytest.raises(RolloutError, match="Cannot find Lobby"):
        opened({"node-1": listing(info(1), unseen(2))}, servers=["Lobby"])


def soaked(before: dict[str, Any] | None, after: dict[str, Any] | None, **fields: Any) -> str:
    """The outcome of a server for a look after the start and one after the soak. None: the look failed."""
    record = opened({"node-1": listing(info(1))})
    begin_batch(record, 1)
    looks = [{"code": "settings_invalid", "msg": "x"} if look is None else listing(look) for look in (before, after)]
    count_batch(record, 1, {"node-1": ended([uuid(1)], **fields)}, ({"node-1": looks[0]}, {"node-1": looks[1]}))
    return outcomes(record)["Server 1"]


def test_a_server_unseen_during_its_soak_is_unknown() -> None:
    assert soaked(info(1), info(1)) == "done"
    assert soaked(info(1), unseen(1)) == soaked(unseen(1), info(1)) == soaked(unseen(1), unseen(1)) == "unknown engine_error"
    # The code is that of the node.
    assert soaked(info(1), None) == soaked(None, info(1)) == "unknown settings_invalid"


def test_a_lost_first_look_does_not_matter_if_the_action_named_its_run() -> None:
    run = {"container": "c1", "started_at": "2026-01-31T21:00:00Z"}
    up = info(1, container={"id": run["container"], "started_at": run["started_at"]})
    assert soaked(None, up, run=run) == soaked(unseen(1), up, run=run) == "done"
    assert soaked(up, None, run=run) == "unknown settings_invalid"


def test_an_unseen_server_of_the_resume_file_is_unknown_and_not_missing() -> None:
    old = kept(opened({"node-1": listing(info(1), info(2)), "node-2": LOST}))
    assert old.stopped
    resumed = opened({"node-1": listing(info(1), unseen(2)), "node-2": listing()}, old)
    assert outcomes(resumed)["Server 2"] == "unknown engine_error"
    assert resumed.stopped.startswith("Cannot see 1 server")
    lacking = opened({"node-1": part(info(1)), "node-2": listing()}, old)
    assert outcomes(lacking)["Server 2"] == "unknown incomplete"
    gone = opened({"node-1": listing(info(1)), "node-2": listing()}, old)
    assert outcomes(gone)["Server 2"] == "failed server_not_found"


DEFAULT = "~/.ansible/fleet_power/rollout.json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ansible/fleet_power"


def files(result_file: str = DEFAULT, *, check: bool = False) -> RunFiles:
    return RunFiles({"result_file": result_file}, "/nowhere", check=check)


def read(path: Path) -> Any:
    return json.loads(path.read_text())["run"]


def test_each_rolling_run_has_a_file_and_the_link_names_the_last_result(folder: Path) -> None:
    for run in ("aaaaaaaa", "bbbbbbbb"):
        files().forget_result()
        files().write_result({"run": run})
    assert os.readlink(folder / "rollout.json") == "rollout-bbbbbbbb.json"
    assert read(folder / "rollout.json") == "bbbbbbbb"
    assert read(folder / "rollout-aaaaaaaa.json") == "aaaaaaaa"
    assert sorted(os.listdir(folder)) == ["rollout-aaaaaaaa.json", "rollout-bbbbbbbb.json", "rollout.json"]
    assert (folder / "rollout-aaaaaaaa.json").stat().st_mode & 0o777 == 0o600


def test_a_rolling_run_removes_the_link_and_keeps_earlier_results(folder: Path) -> None:
    files().write_result({"run": "aaaaaaaa"})
    files().forget_result()
    assert not os.path.lexists(folder / "rollout.json")
    assert read(folder / "rollout-aaaaaaaa.json") == "aaaaaaaa"


def test_a_named_result_file_is_no_link(folder: Path, tmp_path: Path) -> None:
    asked = tmp_path / "mine" / "rollout.json"
    files(str(asked)).write_result({"run": "aaaaaaaa"})
    files(str(asked)).write_result({"run": "bbbbbbbb"})
    assert not asked.is_symlink()
    assert read(asked) == "bbbbbbbb"
    assert os.listdir(asked.parent) == ["rollout.json"]
    assert not folder.exists()


def test_the_newest_hundred_results_and_all_other_files_stay(folder: Path) -> None:
    folder.mkdir(parents=True)
    others = ["resume-00000000.json", "rollout-mine.json", "rollout-00000000.json.bak"]
    for name in others:
        (folder / name).write_text("{}")
        os.utime(folder / name, (0, 0))
    for number in range(120):
        old = folder / f"rollout-{number:08x}.json"
        old.write_text("{}")
        os.utime(old, (1000 + number, 1000 + number))
    files().write_result({"run": "aaaaaaaa"})
    kept = {path.name for path in folder.glob("rollout-????????.json")}
    assert kept == {"rollout-aaaaaaaa.json", *(f"rollout-{number:08x}.json" for number in range(21, 120))}
    assert all((folder / name).exists() for name in others)
