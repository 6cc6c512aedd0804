# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling run: batches begun and counted, the budget, the verdict, what is left."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError, parse_amount
from ansible_collections.fleet.power.tests.unit.rollout_support import LOST, all_done, ended, fleet, info, opened, servers_of, told, uuid


def outcomes(record: Record) -> dict[str, str]:
    return {row.name or str(row.server): f"{row.outcome} {row.code}".strip() for row in record.rows}


def test_a_run_in_which_all_goes_well_is_good_and_leaves_nothing() -> None:
    record = opened(fleet(3, 2), serial=1)
    assert record.batches == 3
    for number in (1, 2, 3):
        asked = all_done(record, number)
        assert list(asked) == [f"node-{number}"]
    assert record.is_good
    assert not record.left


@pytest.mark.parametrize("outcome", ["refused", "cancelled", "failed"])
def test_one_more_failure_than_allowed_stops_the_run(outcome: str) -> None:
    record = opened(fleet(4, 1), serial=1, max_failures=1)
    for number in (1, 2):
        asked = servers_of(begin(record, number))
        count(record, number, {node: ended(servers, outcome) for node, servers in asked.items()})
        assert bool(record.stopped) == (number == 2)
    assert record.stopped == "2 failed, 1 allowed"
    assert [row.called for row in record.left] == ["node-3 Server 300", "node-4 Server 400"]
    assert len(record.failed) == 2


def test_each_node_gets_what_is_left_of_the_budget() -> None:
    record = opened(fleet(3, 20), serial=1, max_failures=2)
    work = begin(record, 1)
    assert work["node-1"]["max_failures"] == 2
    answer = ended(work["node-1"]["servers"])
    answer["servers"][0]["outcome"] = "failed"
    count(record, 1, {"node-1": answer})
    assert begin(record, 2)["node-2"]["max_failures"] == 1


def test_an_answer_to_an_earlier_batch_says_nothing_of_this_one() -> None:
    record = opened(fleet(1, 2), batch_size=1, max_failures=1)
    all_done(record, 1)
    begin(record, 2)
    count(record, 2, {"node-1": ended([uuid(100)])})
    assert outcomes(record) == {"Server 100": "done", "Server 101": "unknown no_answer"}


@pytest.mark.parametrize(
    ("answer", "said", "left"),
    [
        ({"code": "settings_invalid", "msg": "Cannot use"}, "failed settings_invalid", True),
        ({"code": "interrupted", "msg": "Cannot tell how"}, "unknown interrupted", True),
        ({"code": "internal_error", "msg": "KeyError"}, "unknown internal_error", True),
        (ended([uuid(100)], "unchanged", state="running"), "unchanged", False),
        (ended([uuid(100)], "unchanged", state="offline"), "failed did_not_stay_up", False),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback"}, "unknown no_answer", True),
        ({"before_batch_failed": True, "msg": "warn: no"}, "failed before_batch_failed", True),
        (ended([uuid(100)], "exploded"), "unknown no_answer", True),
        (ended([uuid(100)], "skipped", code="interrupted_by_signal"), "not_done interrupted_by_signal", True),
        (ended([uuid(100)], "skipped", code="not_selected"), "skipped not_selected", False),
        (ended([uuid(100)], "failed", code="start_failed"), "failed start_failed", False),
    ],
)
def test_whatever_a_node_answers_each_server_is_counted(answer: dict[str, Any], said: str, left: bool) -> None:
    record = opened(fleet(1, 1))
    begin(record, 1)
    count(record, 1, {"node-1": answer})
    assert outcomes(record) == {"Server 100": said}
    assert bool(record.left) == left
    assert record.is_good == said.startswith(("skipped", "unchanged"))


@pytest.mark.parametrize("bad", [ended([uuid(100)], "failed"), LOST, ended([uuid(100)], "skipped", code="interrupted_by_signal")])
def test_a_canary_that_does_not_come_through_stops_the_run_whatever_the_budget(bad: dict[str, Any]) -> None:
    record = opened(fleet(2, 1), canary=1, max_failures="100%", on_failure="continue")
    begin(record, 1)
    count(record, 1, {"node-1": bad})
    assert record.stopped == "the canary failed"
    assert [row.server for row in record.left][-1] == uuid(200)


def up(number: int, started_at: str = "1", state: str = "running") -> dict[str, Any]:
    """What a look at a server of the soak shows."""
    return told(info(number, state=state, container={"started_at": started_at}))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (up(100), up(100), "done"),
        (up(100), up(100, "2"), "failed did_not_stay_up"),
        (up(100), up(100, state="offline"), "failed did_not_stay_up"),
        (up(100, state="offline"), up(100, "2"), "failed did_not_stay_up"),
        (up(100), told(), "failed did_not_stay_up"),
        (up(100), LOST, "unknown node_unreachable"),
        (LOST, up(100), "unknown node_unreachable"),
    ],
)
def test_a_server_that_is_not_in_the_same_run_at_the_end_of_the_soak_failed(before: Any, after: Any, said: str) -> None:
    record = opened(fleet(1, 1))
    begin(record, 1)
    count(record, 1, {"node-1": ended([uuid(100)])}, ({"node-1": before}, {"node-1": after}))
    assert outcomes(record) == {"Server 100": said}
    assert bool(record.stopped) == (said != "done")


NAMED = {"container": "c1", "started_at": "1"}


def back(*ends: dict[str, Any], started_at: str = "2", state: str = "running") -> dict[str, Any]:
    """What the last look of the soak shows of a server that was in run 1, and of its ended runs."""
    return told(info(100, state=state, container={"id": "c1", "started_at": started_at}, crashes=list(ends)))


def soaked(before: dict[str, Any], after: dict[str, Any]) -> Record:
    """A run over one server whose action named the run it started."""
    record = opened(fleet(1, 1))
    begin(record, 1)
    answer = ended([uuid(100)], run=NAMED, downtime={"seconds": 0.5})
    count(record, 1, {"node-1": answer}, ({"node-1": before}, {"node-1": after}))
    return record


def test_a_server_that_the_supervisor_has_brought_back_has_crashed_all_the_same() -> None:
    crash = {**NAMED, "verdict": "crashed", "exit_code": 3, "oom_killed": True, "log": ["a", "out of luck", "b", "bye"]}
    record = soaked(back(), back(crash))
    assert outcomes(record) == {"Server 100": "failed crashed"}
    assert (
        record.rows[0].msg
        == f"Server {uuid(100)} crashed during the soak, exit code 3, out of memory; its last lines: out of luck / b / bye"
    )
    assert record.rows[0].state != "offline" and record.stopped and record.rows[0].downtime == {}


def test_a_run_that_somebody_stopped_did_not_crash() -> None:
    stopped = {**NAMED, "verdict": "stopped_externally", "exit_code": 0, "ended_at": "2026-03-01T12:00:09.000Z"}
    record = soaked(back(started_at="1"), back(stopped, started_at="1", state="offline"))
    assert outcomes(record) == {"Server 100": "failed did_not_stay_up"}
    assert (record.rows[0].state, record.rows[0].msg.endswith("until the end of the soak, exit code 0")) == ("offline", True)
    # The half second that its restart took is not for how long it was down.
    assert record.rows[0].downtime == {"from": "2026-03-01T12:00:09.000Z"}


def test_an_unreachable_node_counts_once_and_stops_a_run_without_budget() -> None:
    record = opened({**fleet(1, 2), "node-2": LOST, "node-3": None})
    assert record.failures == 2
    assert record.stopped == "2 failed, 0 allowed"
    assert [row.called for row in record.left] == ["node-2", "node-3", "node-1 Server 100", "node-1 Server 101"]


def test_a_name_on_no_node_is_an_error_before_anything_is_done() -> None:
    with pytest.raises(RolloutError, match=r"Cannot find Nobody: .*nothing was done") as caught:
        opened(fleet(1, 1), servers=["Server 100", "Nobody"])
    assert caught.value.code == "server_not_found"


def test_a_suspended_server_fails_the_run_before_it_begins() -> None:
    record = opened({"node-1": told(info(1), info(2, suspended=True))})
    assert outcomes(record)["Server 2"] == "refused suspended"
    assert record.stopped


def test_a_canary_node_that_cannot_be_asked_stops_the_run_whatever_the_budget() -> None:
    record = opened({**fleet(1, 1), "node-2": LOST}, canary="node-2", max_failures="100%")
    assert record.stopped == "the canary, node node-2, cannot be asked"


def test_the_budget_may_be_a_part_of_all_that_are_meant() -> None:
    assert opened(fleet(2, 10), max_failures="15%").budget == 3
    assert parse_amount("max_failures", "0.57%").of(10000) == 57
    with pytest.raises(RolloutError, match="rollout_max_failures='many'"):
        opened(fleet(1, 1), max_failures="many")
    with pytest.raises(RolloutError, match="rollout_on_failure='go': expected one of stop, continue"):
        opened(fleet(1, 1), on_failure="go")
