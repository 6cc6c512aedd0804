# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling run has a window: it waits for it without touching a node, and begins nothing that may last beyond it."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from .lab import Lease, bring_up, playbook, playbook_begun, server, wait_until
from .rollout import operations, outcomes, result_of, resume_files, runs_of


def moment(seconds: float) -> str:
    """A moment so many seconds from now."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.long
def test_a_batch_that_may_pass_the_deadline_is_left_for_the_next_run(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server(name) for name in ("a", "b", "c")]
    bring_up({node: servers})
    before = runs_of(node, servers)
    # By its own options a batch may take 61 s, and before the last one a pause is made that leaves too little.
    pace = {"rollout_batch_size": 1, "rollout_wait_seconds": 1, "rollout_stop_timeout": 60, "rollout_wait_for": "container"}

    ran = playbook("rolling_restart", [node], **pace, rollout_deadline=moment(150), rollout_pause=120)
    assert ran.rc == 2
    result = result_of(tmp_path)
    assert outcomes(result) == {"a": "done", "b": "not_done deadline", "c": "not_done deadline"}
    assert result["stopped"].startswith("batch 2 may take 3 min 1 s, and all is to be over by ")
    assert result["window"]["deadline"].endswith("Z")
    assert " 1 done, 2 not done; stopped: batch 2 may take " in ran.stdout
    after = runs_of(node, servers)
    assert [name for name in after if after[name] != before[name]] == ["a"]
    (resume,) = resume_files(tmp_path)
    assert json.loads(resume.read_text())["not_done"] == [f"{node.name} b: deadline", f"{node.name} c: deadline"]

    resumed = playbook("rolling_restart", [node], rollout_resume=str(resume), **pace)
    assert resumed.rc == 0, resumed.output
    assert outcomes(result_of(tmp_path)) == {"b": "done", "c": "done"}


@pytest.mark.long
def test_ctrl_c_while_it_waits_for_its_window_leaves_nothing(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    only = server("only")
    bring_up({node: [only]})
    going = playbook_begun("rolling_restart", [node], rollout_not_before=moment(8))
    wait_until(lambda: " Waiting until " in going.stdout, "it waits", 60)
    going.interrupt()
    ran = going.finish(10)
    assert ran.rc != 0
    time.sleep(10)
    assert operations(node, only) == []
    assert resume_files(tmp_path) == []
    assert not (tmp_path / ".ansible/fleet_power/rollout.json").exists()
