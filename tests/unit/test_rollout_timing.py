# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The times of each server in the record of a rollout, as its node reports them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, Row, from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.report import note_timing
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Detail, entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.rollout_support import uuid

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)


def told(outcome: Outcome = Outcome.DONE, action: PowerAction = PowerAction.RESTART, **fields: Any) -> dict[str, Any]:
    """The entry of a server that was acted on for 9 s until 12:00:10, as a rolling run asks for it."""
    result = Result(Server(uuid(100)), action, outcome, "op", NOON, NOON + timedelta(seconds=10), seconds=9.0, **fields)
    return entry(result, check=False, all_steps=False, detail=Detail.BRIEF, timed=True)


def timed(entry_: dict[str, Any]) -> Row:
    row = Row("node-1", uuid(100), outcome=str(entry_.get("outcome")), state=str(entry_.get("state")))
    note_timing(row, entry_)
    return row


def test_phases_have_absolute_times_by_the_moment_at_which_the_action_was_taken_up() -> None:
    row = timed(told(phases=(("stop", 0.5), ("start", 4.25))))
    assert (row.began_at, row.phases) == ("2026-03-01T12:00:01.000Z", [["stop", 0.5], ["start", 4.25]])


@pytest.mark.parametrize("name", ["phases", "downtime", "run", "operation", "seconds", "log"])
@pytest.mark.parametrize("wrong", [None, "x", [], [3], [{"at": "soon"}], {"seconds": -1}, 1e300])
def test_whatever_a_node_says_a_row_can_be_written_and_read(name: str, wrong: object) -> None:
    row = timed({**told(Outcome.FAILED, phases=(("stop", 0.5),), log=("x",)), name: wrong})
    made = Record("1b2c3d4e", "restart", "2026-03-01T12:00:00.000Z", {}, rows=[row])
    assert from_json(to_json(made), "file") == made
    assert report.result(made, ended_at="", seconds=0, resume_file=None)["servers"]
