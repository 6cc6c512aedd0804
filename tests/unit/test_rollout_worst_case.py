# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a batch may take, by what was asked for; and a batch that may not be over in time is not begun."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import player_policy
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import progress, report
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.progress import Waits, longest, longest_batch
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import stop_for_deadline
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.start import Start, open_run
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.window import Window, moment_in
from ansible_collections.fleet.power.tests.unit.rollout_support import START, all_done, fleet, opened, uuid

POLITE = {"players_at_most": 0, "max_delay": 1000}


@pytest.mark.parametrize(
    ("action", "given", "once", "each_round"),
    [
        ("restart", {}, 30, 600),
        ("restart", {"stop_timeout": 60, "wait_for": "running"}, 30, 360),
        ("restart", {"stop_timeout": "60", "wait_for": "healthy", "wait_timeout": "40", "soak": "7.5"}, 30, 100),
        ("restart", {**POLITE, "players_at_most": 2, "warn": [300, 10], "stop_timeout": 60}, 730, 360),
        ("start", {"wait_for": "running", "soak": 10, "stop_timeout": 60}, 30, 300),
        ("kill", {"soak": 10, "wait_seconds": 300}, 0, 0),
    ],
)
def test_all_that_has_a_bound_is_in_it(action: str, given: dict[str, Any], once: float, each_round: float) -> None:
    found = longest_batch(action, given, player_policy(action, given))
    assert (found.once, found.each_round) == (once, each_round)
    assert found.seconds(3) == once + 3 * each_round


def test_a_batch_that_may_not_be_over_in_time_is_left_with_all_after_it() -> None:
    deadline = moment_in("2026-01-31T06:00:00Z")
    given = {"action": "restart", "servers": ["all"], "serial": 1, "stop_timeout": 60, "wait_seconds": 0}
    record = open_run(given, fleet(3, 1), Start(START.run, START.began_at, window=Window(deadline=deadline)))
    assert progress.deadline_fault(record, 1, longest(record, [1], Waits()), deadline - 60) == ""
    all_done(record, 1)
    fault = progress.deadline_fault(record, 2, longest(record, [2], Waits()), deadline - 59)
    assert fault.startswith("batch 2 may take 1 min, and all is to be over by ")
    stop_for_deadline(record, 2, fault)
    assert [(row.outcome, row.code) for row in record.rows] == [("done", ""), ("not_done", "deadline"), ("not_done", "deadline")]
    assert report.summary(record) == f"restart of 3 in 1 of 3 batches: 1 done, 2 not done; stopped: {fault}"
    result = report.result(record, ended_at="then", seconds=1.0, resume_file="FILE")
    assert (result["ok"], result["window"]) == (False, {"not_before": None, "deadline": "2026-01-31T06:00:00Z"})
    kept = from_json(to_json(record), "resume.json")
    assert to_json(kept)["not_done"] == ["node-2 Server 200: deadline", "node-3 Server 300: deadline"]
    # The next run has the window that it is given, and no other.
    resumed = opened(fleet(3, 1), kept, run="5e6f7a8b")
    assert (resumed.deadline, [row.server for row in resumed.rows]) == ("", [uuid(200), uuid(300)])
