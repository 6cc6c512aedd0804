# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What front doors show of results: nothing empty, nothing false, and a summary a person can read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils.power.model import (
    Outcome,
    PowerAction,
    PowerState,
    PrebootStep,
    Result,
    Server,
    Step,
    StopReport,
)
from ansible_collections.fleet.power.plugins.module_utils.power.report import entry, failure_message, is_failure, summary

NOON = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=timezone.utc)
UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"


def result(outcome: Outcome = Outcome.DONE, name: str = "Cobalt", **fields: Any) -> Result:
    return Result(Server(UUID, name), PowerAction.RESTART, outcome, "op-1", NOON, NOON + timedelta(seconds=2), **fields)


def shown(of: Result, *, check: bool = False, all_steps: bool = False) -> dict[str, Any]:
    return entry(of, check=check, all_steps=all_steps)


def test_a_plain_result_shows_what_there_is_and_leaves_out_what_is_not() -> None:
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


def test_a_full_result_is_plain_json_values() -> None:
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
        plan=(Step.STOP, Step.PREBOOT, Step.START),
        preboot=(PrebootStep("container", changed=True),),
        cancelled=PowerAction.START,
        exit_code=0,
        log=("last words",),
    )
    found = shown(full)
    assert json.loads(json.dumps(found)) == found
    assert found["stop"] == {"how": "signal", "forced": False, "seconds": 0.0}
    assert found["lock"] == {"waited_seconds": 1.235, "holder": {"action": "stop", "pid": 7}}
    assert found["plan"] == ["stop", "preboot", "start"]
    assert found["exit_code"] == 0
    assert type(found["state"]) is type(found["outcome"]) is type(found["cancelled"]) is str


@pytest.mark.parametrize("outcome, check, there", [("done", False, False), ("done", True, True), ("refused", False, True)])
def test_the_plan_is_shown_in_check_mode_and_where_it_was_not_followed_to_its_end(outcome: str, check: bool, there: bool) -> None:
    assert ("plan" in shown(result(Outcome(outcome), plan=(Step.STOP,)), check=check)) == there


def test_pre_boot_steps_that_tell_nothing_are_shown_only_if_asked_for() -> None:
    quiet, slow = PrebootStep("volume", seconds=0.5), PrebootStep("container", seconds=1.5)
    changed, failed = PrebootStep("configuration", changed=True), PrebootStep("image", failed=True, msg="no")
    found = result(preboot=(quiet, slow, changed, failed))
    assert [step["step"] for step in shown(found)["preboot"]] == ["container", "configuration", "image"]
    assert len(shown(found, all_steps=True)["preboot"]) == 4
    assert shown(found)["preboot"][2] == {"step": "image", "changed": False, "failed": True, "seconds": 0.0, "msg": "no"}


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("code", ["", "interrupted_by_signal", "lock_timeout"])
def test_what_was_asked_and_not_done_fails_the_task(outcome: Outcome, code: str) -> None:
    expected = outcome.value in ("refused", "cancelled", "failed") or (outcome.value == "skipped" and code == "interrupted_by_signal")
    assert is_failure(result(outcome, code=code)) == expected


def test_the_summary_counts_and_names_only_what_needs_a_look() -> None:
    refused = result(Outcome.REFUSED, code="suspended", msg="it is suspended")
    found = summary([result(), result(), result(Outcome.UNCHANGED), refused, replace(refused, server=Server(UUID))])
    assert found == {
        "done": 2,
        "unchanged": 1,
        "refused": 2,
        "text": ["Cobalt: refused, suspended: it is suspended", f"{UUID[:8]}: refused, suspended: it is suspended"],
    }
    assert summary([result()]) == {"done": 1}


@pytest.mark.parametrize("count, lines, last", [(20, 20, "no"), (21, 20, "and 2 more"), (500, 20, "and 481 more")])
def test_the_summary_is_never_longer_than_twenty_lines(count: int, lines: int, last: str) -> None:
    text = summary([result(Outcome.FAILED, code="stop_failed", msg="no")] * count)["text"]
    assert len(text) == lines
    assert text[-1].endswith(last)


def test_one_server_fails_with_its_own_sentence_and_code() -> None:
    only = result(Outcome.REFUSED, code="suspended", msg="Cannot restart it: no")
    assert failure_message([only]) == "Cannot restart it: no (suspended)"


def test_several_fail_with_the_first_few_and_their_codes() -> None:
    failures = [result(Outcome.FAILED, name=f"s{number}" if number else "", code="stop_failed", msg="no") for number in range(5)]
    assert failure_message([result(), *failures]) == (
        "Cannot restart 5 of 6 servers: 0f4c5ad2: stop_failed; s1: stop_failed; s2: stop_failed and 2 more"
    )
    assert failure_message([result(), failures[1]]) == "Cannot restart 1 of 2 servers: s1: stop_failed"
