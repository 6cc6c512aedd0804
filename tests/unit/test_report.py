# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results for the user: no empty and no false fields, and a readable summary."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import (
    Detail,
    entries,
    entry,
    failure_message,
    incomplete_message,
    is_failure,
    summary,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, PlanStep, PrebootStep, Result, StopReport
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Run, Server

NOON = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=timezone.utc)
UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"


def result(outcome: Outcome = Outcome.DONE, name: str = "Cobalt", **fields: Any) -> Result:
    return Result(Server(UUID, name), PowerAction.RESTART, outcome, "op-1", NOON, NOON + timedelta(seconds=2), **fields)


def shown(of: Result, *, check: bool = False, all_steps: bool = False, detail: Detail = Detail.WHOLE) -> dict[str, Any]:
    return entry(of, check=check, all_steps=all_steps, detail=detail)


#: The longest message of a skipped server.
SKIPPED = result(
    Outcome.SKIPPED,
    code="failure_budget",
    msg=f"Cannot begin with server {UUID}: 12 others failed, and max_failures is 11",
    seconds=0.001,
)


def test_a_result_leaves_out_fields_without_a_value() -> None:
    assert shown(result(state=PowerState.RUNNING)) == {
        "server": UUID,
        "short_id": "0f4c5ad2",
        "name": "Cobalt",
        "action": "restart",
        "outcome": "done",
        "changed": False,
        "state": "running",
        "seconds": 0.0,
        "operation": {"id": "op-1", "requested_at": "2026-03-01T12:00:00.123Z", "ended_at": "2026-03-01T12:00:02.123Z"},
    }


def test_a_full_result_consists_of_plain_json_values() -> None:
    full = result(
        Outcome.FAILED,
        code="start_failed",
        msg="Cannot start",
        changed=True,
        state_before=PowerState.RUNNING,
        state=PowerState.OFFLINE,
        stop=StopReport("signal", forced=False, seconds=0.0),
        waited_seconds=1.23456,
        holder={"action": "stop", "pid": 7},
        plan=(PlanStep.STOP, PlanStep.PREBOOT, PlanStep.START),
        preboot=(PrebootStep("container", changed=True),),
        cancelled=PowerAction.START,
        exit_code=0,
        run=Run("c1", "2026-03-01T12:00:00.5Z"),
        log=("last words",),
    )
    found = shown(full)
    assert json.loads(json.dumps(found)) == found
    assert found["stop"] == {"how": "signal", "forced": False, "seconds": 0.0}
    assert found["lock"] == {"waited_seconds": 1.235, "holder": {"action": "stop", "pid": 7}}
    assert found["plan"] == ["stop", "preboot", "start"]
    assert (found["exit_code"], found["run"]) == (0, {"container": "c1", "started_at": "2026-03-01T12:00:00.5Z"})
    assert type(found["state"]) is type(found["outcome"]) is type(found["cancelled"]) is str


class TestBrief:
    @pytest.mark.parametrize(
        "of",
        [result(changed=True, state_before=PowerState.RUNNING, state=PowerState.STARTING, seconds=12.345), SKIPPED],
        ids=["done", "skipped"],
    )
    def test_five_hundred_results_take_at_most_250_kilobytes(self, of: Result) -> None:
        for count, most_bytes, most_lines in ((500, 250_000, 6_000), (40, 20_000, 400)):
            results = [replace(of, server=Server(UUID, f"Survival of the fittest {number}")) for number in range(count)]
            report = {
                "action": "restart",
                "changed": True,
                "servers": [entry(each, check=False, all_steps=False, detail=Detail.BRIEF) for each in results],
                "summary": summary(results),
            }
            printed = json.dumps(report, indent=4)
            assert len(printed.encode()) <= most_bytes
            assert len(printed.splitlines()) <= most_lines


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("code", ["", "interrupted_by_signal", "failure_budget", "not_selected", "suspended", "lock_timeout"])
def test_a_requested_action_that_was_not_done_fails_the_task(outcome: Outcome, code: str) -> None:
    unwanted_skip = outcome.value == "skipped" and code in ("interrupted_by_signal", "failure_budget")
    expected = outcome.value in ("refused", "cancelled", "failed") or unwanted_skip
    assert is_failure(result(outcome, code=code)) == expected


def test_the_summary_counts_all_results_and_names_the_failures() -> None:
    refused = result(Outcome.REFUSED, code="suspended", msg="it is suspended")
    found = summary([result(), result(), result(Outcome.UNCHANGED), refused, replace(refused, server=Server(UUID))])
    assert found == {
        "done": 2,
        "unchanged": 1,
        "refused": 2,
        "text": ["Cobalt: refused, suspended", f"{UUID[:8]}: refused, suspended"],
    }
    assert summary([result()]) == {"done": 1}
    assert summary([refused]) == {"refused": 1}, "a single result needs no text"


@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("detail", list(Detail))
def test_the_message_of_a_failure_appears_once_in_the_output(count: int, detail: Detail) -> None:
    results = [
        result(Outcome.FAILED, f"Server {number}", code="start_failed", msg=f"Cannot start {number}: it ended") for number in range(count)
    ]
    servers = entries(results, check=False, all_steps=False, detail=detail)
    printed = json.dumps({"msg": failure_message(results), "servers": servers, "summary": summary(results)})
    alone = count == 1 and detail is not Detail.SPOKEN
    assert [printed.count(each.msg) for each in results] == [2 if alone else 1] * count
    assert ["msg" in each for each in servers] == [count > 1 or alone] * count


def test_an_incomplete_action_on_all_is_reported_in_one_sentence() -> None:
    unseen = result(Outcome.FAILED, "Hidden", code="engine_error", msg="no")
    assert incomplete_message(PowerAction.STOP, [result()], []) == ""
    assert incomplete_message(PowerAction.STOP, [result(), unseen], []) == (
        "Cannot stop all servers: 1 of 2 could not be seen (Hidden); the other servers had their turn"
    )
    assert incomplete_message(PowerAction.START, [], ["Cannot read definitions in /x: no"]) == (
        "Cannot start all servers: Cannot read definitions in /x: no; the other servers had their turn"
    )
    # The engine's error came after the server was seen.
    assert incomplete_message(PowerAction.STOP, [replace(unseen, state_before=PowerState.RUNNING)], []) == ""
    assert incomplete_message(PowerAction.STOP, [replace(unseen, code="lock_timeout")], []) == ""
