# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that did not come to its end is taken up by the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import files
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, from_json, run_key, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.resume import flying
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.words import RolloutError
from ansible_collections.fleet.power.tests.unit.rollout_support import LOST, all_done, ended, fleet, info, opened, servers_of, told, uuid


def again(record: Record) -> Record:
    return from_json(json.loads(json.dumps(to_json(record))), "FILE")


def operation(outcome: str, run: str = "1b2c3d4e", **more: Any) -> dict[str, Any]:
    return {"reason": f"{run_key(run)}: update", "outcome": outcome, **more}


def asked(record: Record) -> list[str | None]:
    return [row.server for row in record.rows if row.batch]


def test_what_was_not_begun_is_done_by_the_next_run_and_nothing_else() -> None:
    record = opened(fleet(3, 2), serial=1)
    all_done(record, 1)
    resumed = opened(fleet(3, 2), again(record), serial=0)
    assert asked(resumed) == [uuid(200), uuid(201), uuid(300), uuid(301)]
    all_done(resumed, 1)
    assert resumed.is_good


def test_what_failed_is_left_alone_unless_it_is_asked_for() -> None:
    record = opened(fleet(1, 4), batch_size=2)
    begin(record, 1)
    count(record, 1, {"node-1": ended([uuid(100), uuid(101)], "failed", code="start_failed")})
    resumed = opened(fleet(1, 4), again(record))
    assert asked(resumed) == [uuid(102), uuid(103)]
    all_done(resumed, 1)
    assert resumed.is_good
    assert [row.server for row in resumed.failed] == [uuid(100), uuid(101)]
    assert asked(opened(fleet(1, 4), again(resumed), resume_failed=True)) == [uuid(100), uuid(101)]


@pytest.mark.parametrize("outcome", ["done", "unchanged"])
def test_what_was_in_flight_and_ended_well_is_not_done_twice(outcome: str) -> None:
    record = opened(fleet(1, 2))
    begin(record, 1)
    seen = {"node-1": told(info(100, operations=[operation("failed", "other"), operation(outcome)]), info(101, operations=[]))}
    resumed = opened(seen, again(record))
    assert asked(resumed) == [uuid(101)]
    assert (resumed.rows[0].server, resumed.rows[0].outcome) == (uuid(100), outcome)


@pytest.mark.parametrize(
    ("state", "up", "outcome"),
    [("running", True, "done"), ("offline", True, "failed"), ("offline", False, "done"), ("offline", None, "done")],
)
def test_what_was_done_and_fell_again_did_not_stay_up(state: str, up: bool | None, outcome: str) -> None:
    record = opened(fleet(1, 1))
    begin(record, 1)
    intent = None if up is None else {"up": up}
    resumed = opened({"node-1": told(info(100, state=state, intent=intent, operations=[operation("done")]))}, again(record))
    assert [(row.outcome, row.code) for row in resumed.rows] == [(outcome, "did_not_stay_up" if outcome == "failed" else "")]


@pytest.mark.parametrize("last", [operation("failed"), operation("done", "ffffffff"), {"reason": None, "outcome": "done"}, None])
def test_what_was_in_flight_and_did_not_end_well_is_done_again_whatever_its_state(last: dict[str, Any] | None) -> None:
    record = opened(fleet(1, 1))
    begin(record, 1)
    resumed = opened({"node-1": told(info(100, state="offline", last_operation=last))}, again(record))
    assert asked(resumed) == [uuid(100)]
    assert begin(resumed, 1)["node-1"]["only"] == []


@pytest.mark.parametrize(
    "more",
    [
        {"operations": [operation("failed", "other"), operation("")]},
        {"last_operation": operation("")},
        {"lock": {"reason": "rollout 1b2c3d4e: update"}, "operations": []},
    ],
)
def test_what_is_in_flight_still_is_unknown_left_and_not_asked_for(more: dict[str, Any]) -> None:
    record = opened(fleet(1, 2))
    begin(record, 1)
    resumed = opened({"node-1": told(info(100, **more), info(101))}, again(record), run="bbbbbbbb", max_failures=1)
    assert asked(resumed) == [uuid(101)]
    (left,) = [row for row in resumed.rows if not row.batch]
    assert (left.server, left.outcome, left.code, left.asked_by, left.is_left) == (
        uuid(100),
        "unknown",
        "still_in_flight",
        "1b2c3d4e",
        True,
    )


def test_what_a_node_may_have_queued_keeps_the_key_of_the_first_run(tmp_path: Path) -> None:
    record = opened(fleet(1, 3), run="aaaaaaaa", batch_size=2)
    begin(record, 1)
    second = opened(fleet(1, 3), again(record), run="bbbbbbbb")
    works = [begin(second, number)["node-1"] for number in range(1, second.batches + 1)]
    assert [(work["servers"], work["once"]) for work in works] == [
        ([uuid(100), uuid(101)], "rollout aaaaaaaa"),
        ([uuid(102)], "rollout bbbbbbbb"),
    ]


@pytest.mark.parametrize(
    ("outcome", "code", "key"),
    [
        ("failed", "start_failed", "rollout aaaaaaaa"),
        ("refused", "lock_timeout", "rollout aaaaaaaa"),
        ("skipped", "failure_budget", "rollout aaaaaaaa"),
        # It was done under this key, and must be done again.
        ("failed", "did_not_stay_up", "rollout cccccccc"),
    ],
)
def test_the_key_stays_as_long_as_the_first_task_may_still_come_to_the_server(outcome: str, code: str, key: str) -> None:
    record = opened(fleet(1, 1), run="aaaaaaaa")
    begin(record, 1)
    second = opened(fleet(1, 1), again(record), run="bbbbbbbb")
    begin(second, 1)
    count(second, 1, {"node-1": ended([uuid(100)], outcome, code=code)})
    third = opened(fleet(1, 1), again(second), run="cccccccc", resume_failed=True)
    assert begin(third, 1)["node-1"]["once"] == key


@pytest.mark.parametrize(("said", "tried"), [("false", False), (False, False), ("no", False), ("true", True), (True, True), ("Yes", True)])
def test_false_as_text_is_not_true(said: object, tried: bool) -> None:
    record = opened(fleet(1, 1), max_failures=1)
    begin(record, 1)
    count(record, 1, {"node-1": ended([uuid(100)], "failed", code="start_failed")})
    assert asked(opened(fleet(1, 1), again(record), resume_failed=said)) == ([uuid(100)] if tried else [])


def test_a_flag_that_is_none_is_an_error() -> None:
    with pytest.raises(RolloutError, match="rollout_resume_failed='perhaps': expected true or false"):
        opened(fleet(1, 1), again(opened(fleet(1, 1))), resume_failed="perhaps")


def test_what_must_still_be_up_is_never_asked_for_together_with_what_may_be_down() -> None:
    record = opened(fleet(1, 3), batch_size=1)
    begin(record, 1)
    resumed = opened(fleet(1, 3), again(record))
    assert resumed.batches == 2
    first, second = (begin(resumed, number)["node-1"] for number in (1, 2))
    assert (first["servers"], first["only"]) == ([uuid(100)], [])
    assert (second["servers"], second["only"]) == ([uuid(101), uuid(102)], ["starting", "running", "stopping"])


def test_what_was_never_begun_is_not_taken_for_done_because_of_an_operation() -> None:
    record = opened(fleet(2, 1), serial=1)
    begin(record, 1)
    assert uuid(200) in asked(opened({**fleet(1, 1), "node-2": told(info(200, operations=[operation("done")]))}, again(record)))


def test_a_server_that_is_down_meanwhile_is_not_restarted() -> None:
    record = opened(fleet(1, 2))
    resumed = opened({"node-1": told(info(100, state="offline"), info(101))}, again(record))
    assert asked(resumed) == [uuid(101)]
    assert [row.code for row in resumed.rows if not row.batch] == ["not_selected"]


@pytest.mark.parametrize(
    ("state", "given", "is_asked"),
    [
        ("running", {}, False),
        ("running", {"wait_for": "running"}, False),
        ("starting", {"wait_for": "container"}, False),
        # A signal may have ended its wait.
        ("starting", {"wait_for": "running"}, True),
        ("running", {"wait_for": "healthy"}, True),
        ("running", {"soak": "3"}, True),
        # It did not stay up.
        ("offline", {"soak": 3}, False),
    ],
)
def test_what_nobody_saw_ready_or_stay_up_is_asked_for_again(state: str, given: dict[str, Any], is_asked: bool) -> None:
    record = opened(fleet(1, 1), run="aaaaaaaa")
    begin(record, 1)
    entry = info(100, state=state, intent={"up": True}, operations=[operation("done", "aaaaaaaa")])
    resumed = opened({"node-1": told(entry)}, again(record), run="bbbbbbbb", **given)
    assert bool(asked(resumed)) == is_asked
    if is_asked:
        assert begin(resumed, 1)["node-1"]["once"] == "rollout aaaaaaaa"


@pytest.mark.parametrize("given", [{"wait_for": "bogus"}, {"soak": "long"}, {"soak": "nan"}])
def test_a_wait_or_a_soak_that_is_none_is_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(RolloutError, match=f"rollout_{next(iter(given))}="):
        opened(fleet(1, 1), again(opened(fleet(1, 1))), **given)


def test_a_killed_task_is_unknown_and_the_journal_says_what_it_did() -> None:
    record = opened(fleet(1, 2), run="aaaaaaaa")
    begin(record, 1)
    count(record, 1, {"node-1": {"failed": True, "code": "interrupted", "msg": "Cannot tell how the action ended"}})
    assert [(row.outcome, row.code, row.asked_by) for row in record.rows] == [("unknown", "interrupted", "aaaaaaaa")] * 2
    seen = {"node-1": told(info(100, operations=[operation("done", "aaaaaaaa")]), info(101))}
    resumed = opened(seen, again(record), run="bbbbbbbb")
    assert asked(resumed) == [uuid(101)]
    assert begin(resumed, 1)["node-1"]["once"] == "rollout aaaaaaaa"


def test_a_node_that_is_still_lost_is_counted_and_left_again() -> None:
    record = opened(fleet(2, 1))
    begin(record, 1)
    resumed = opened({**fleet(1, 1), "node-2": LOST}, again(record), max_failures=1)
    assert [(row.called, row.code) for row in resumed.left] == [("node-2 Server 200", "node_unreachable"), ("node-1 Server 100", "")]


def test_a_node_lost_for_long_is_asked_what_the_first_run_did_there() -> None:
    record = opened(fleet(2, 1), run="aaaaaaaa", max_failures=1)
    begin(record, 1)
    count(record, 1, {"node-1": ended([uuid(100)]), "node-2": LOST})
    without = opened({"node-1": told(info(100))}, again(record), run="bbbbbbbb")
    lost_still = opened({**fleet(1, 1), "node-2": LOST}, again(without), run="cccccccc")
    assert flying(again(lost_still)) == {"nodes": ["node-2"], "runs": ["aaaaaaaa"]}
    seen = {"node-1": told(info(100)), "node-2": told(info(200, operations=[operation("done", "aaaaaaaa")]))}
    assert [(row.server, row.outcome) for row in opened(seen, again(lost_still)).rows] == [(uuid(200), "done")]


def test_servers_of_a_node_that_told_nothing_are_all_meant_once_it_does() -> None:
    record = opened({**fleet(1, 1), "node-2": LOST}, max_failures=1)
    all_done(record, 1)
    assert asked(opened(fleet(2, 2), again(record))) == [uuid(200), uuid(201)]
    lost_still = opened({**fleet(1, 1), "node-2": LOST}, again(record), max_failures=1)
    assert [row.called for row in lost_still.left] == ["node-2"]


def test_a_name_that_had_not_been_found_is_looked_for_on_nodes_that_tell_now() -> None:
    record = opened({**fleet(1, 1), "node-2": LOST}, servers=["Server 100", "Server 200"], max_failures=2)
    all_done(record, 1)
    assert asked(opened(fleet(2, 2), again(record))) == [uuid(200)]
    gone = opened({**fleet(1, 1), "node-2": told()}, again(record))
    assert [(row.server, row.code) for row in gone.rows] == [("Server 200", "server_not_found")]
    assert not gone.left


def test_nodes_that_are_not_in_the_play_stay_left_and_the_run_is_not_good() -> None:
    record = opened({**fleet(2, 1), "node-3": LOST}, max_failures=1)
    begin(record, 1)
    resumed = opened(fleet(1, 1), again(record))
    all_done(resumed, 1)
    assert [row.called for row in resumed.left] == ["node-2 Server 200", "node-3"]
    assert not resumed.failures
    assert not resumed.is_good


def test_a_canary_that_came_through_last_is_not_needed_again_by_any_later_run() -> None:
    record = opened(fleet(2, 1), canary="node-2")
    all_done(record, 1)
    second = opened(fleet(2, 1), again(record), canary="node-2")
    assert (asked(second), second.canaries) == ([uuid(100)], 0)
    assert asked(opened(fleet(2, 1), again(second), canary="node-2")) == [uuid(100)]


def test_a_canary_node_whose_servers_failed_must_be_tried_again_or_be_another() -> None:
    record = opened(fleet(2, 1), canary="node-2")
    begin(record, 1)
    assert not again(record).has_good_canary
    count(record, 1, {"node-2": ended([uuid(200)], "failed", code="start_failed")})
    assert record.needs_failed
    with pytest.raises(RolloutError, match="give rollout_resume_failed=true, or another rollout_canary"):
        opened(fleet(2, 1), again(record), canary="node-2")
    assert servers_of(begin(opened(fleet(2, 1), again(record), canary="node-1"), 1)) == {"node-1": [uuid(100)]}
    tried = opened(fleet(2, 1), again(record), canary="node-2", resume_failed=True)
    assert tried.canaries == 1
    assert servers_of(begin(tried, 1)) == {"node-2": [uuid(200)]}


def test_a_canary_node_that_ended_its_part_alone_came_through_if_it_is_up() -> None:
    record = opened(fleet(2, 1), canary="node-2")
    begin(record, 1)
    done = info(200, operations=[operation("done")])
    resumed = opened({**fleet(1, 1), "node-2": told(done)}, again(record), canary="node-2")
    assert (asked(resumed), resumed.stopped) == ([uuid(100)], "")
    fell = {**done, "state": "offline", "intent": {"up": True}}
    fallen = opened({**fleet(1, 1), "node-2": told(fell)}, again(record), canary="node-2", max_failures=9)
    assert (fallen.stopped, fallen.needs_failed) == ("the canary failed", True)


@pytest.mark.parametrize(
    "value",
    [[], {}, {"servers": {}}, {"schema": 2, "servers": []}, {"schema": 1, "servers": []}, {"schema": 1, "servers": [1]}],
)
def test_what_is_no_resume_file_is_an_error_that_names_it(value: object) -> None:
    with pytest.raises(RolloutError, match="Cannot resume from FILE") as caught:
        from_json(value, "FILE")
    assert caught.value.code == "resume_invalid"


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("head", "given", None),
        ("head", "canaries", "y"),
        ("head", "only", [1]),
        ("head", "failed_before", {}),
        ("row", "node", ["node-1"]),
        ("row", "outcome", "bogus"),
        ("row", "batch", True),
        ("row", "in_flight", 1),
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error_that_names_it(where: str, name: str, value: object) -> None:
    written = to_json(opened(fleet(1, 1)))
    (written if where == "head" else written["servers"][0])[name] = value
    with pytest.raises(RolloutError, match=f"Cannot resume from FILE: {name} is") as caught:
        from_json(written, "FILE")
    assert caught.value.code == "resume_invalid"


def test_files_are_written_whole_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.json"
    record = opened(fleet(1, 1))
    files.save(str(path), record)
    files.save(str(path), record)
    assert files.load(str(path)) == record
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["run.json"]
    files.remove(str(path))
    files.remove(str(path))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    files.write(str(path), {"old": 1})
    with pytest.raises(TypeError):
        files.write(str(path), {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]


def test_files_that_cannot_be_used_are_errors_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no JSON")
    with pytest.raises(RolloutError, match=r"Cannot write .*/file/below/run.json: Not a directory"):
        files.write(str(tmp_path / "file" / "below" / "run.json"), {})
    with pytest.raises(RolloutError, match=r"Cannot read .*/file: it is not JSON"):
        files.load(str(tmp_path / "file"))
    with pytest.raises(RolloutError, match=r"Cannot read .*/absent: No such file"):
        files.load(str(tmp_path / "absent"))
    with pytest.raises(RolloutError, match="Cannot remove"):
        files.remove(str(tmp_path))


def outdated(number: int, is_outdated: bool = True, **more: Any) -> dict[str, Any]:
    """A server whose container is not what its definition says, or is."""
    return info(number, outdated={"is": is_outdated}, **more)


def test_a_resumed_run_means_the_outdated_that_are_left_and_still_are() -> None:
    record = opened({"node-1": told(outdated(1), outdated(2), outdated(3))}, outdated=True, batch_size=1)
    all_done(record, 1)
    resumed = opened({"node-1": told(outdated(1, is_outdated=False), outdated(2, is_outdated=False), outdated(3))}, again(record))
    assert asked(resumed) == [uuid(3)] and begin(resumed, 1)["node-1"]["outdated"] is True
    (skipped,) = (row for row in resumed.rows if row.server == uuid(2))
    assert (skipped.outcome, skipped.code) == ("skipped", "not_selected")
