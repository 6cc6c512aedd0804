# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a run at its end."""

from __future__ import annotations

from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.tests.unit.rollout_support import ended, fleet, opened, uuid


def stopped() -> Record:
    record = opened(fleet(1, 3), batch_size=2, reason="update")
    begin(record, 1)
    answer = ended([uuid(100)], "failed", code="start_failed", msg="x" * 200)
    answer["servers"] += ended([uuid(101)])["servers"]
    count(record, 1, {"node-1": answer})
    return record


def test_the_result_has_everything_for_programs() -> None:
    result = report.result(stopped(), ended_at="then", seconds=1.23456, resume_file="FILE")
    assert {name: result[name] for name in ("ok", "run", "action", "reason", "stopped", "resume_file", "seconds", "ended_at")} == {
        "ok": False,
        "run": "1b2c3d4e",
        "action": "restart",
        "reason": "update",
        "stopped": "1 failed, 0 allowed",
        "resume_file": "FILE",
        "seconds": 1.235,
        "ended_at": "then",
    }
    assert result["counts"] == {
        "selected": 3,
        **dict.fromkeys(("unchanged", "skipped", "refused", "cancelled", "unknown"), 0),
        **dict.fromkeys(("done", "failed", "not_done"), 1),
        "for_players": 0,
        "nodes_unknown": 0,
    }
    assert (result["budget"], result["batches"]) == ({"allowed": 0, "used": 1}, {"planned": 2, "begun": 1, "times": []})
    assert result["downtime"] == {"servers": 0, "seconds": 0, "longest": 0.0}
    assert result["servers"][2] == {
        "node": "node-1",
        "server": uuid(102),
        "name": "Server 102",
        "batch": 2,
        "outcome": "not_done",
        "changed": False,
        "state": "running",
    }
