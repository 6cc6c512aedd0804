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

from .lab import Lease, adhoc, bring_up, playbook, playbook_begun, server, uuid_of, wait_until
from .rollout import operations, outcomes, result_of, resume_files, runs_of


def moment(seconds: float) -> str:
    """A moment so many seconds from now."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.long
def test_a_batch_that_may_last_beyond_the_deadline_is_not_begun_and_the_next_run_does_the_rest(lease: Lease, tmp_path: Path) -> None:
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
def test_a_run_waits_for_its_window_and_acts_on_what_is_there_by_then(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    early, late = server("early"), server("late")
    bring_up({node: [early]})
    not_before = time.time() + 15
    going = playbook_begun("rolling_restart", [node], rollout_not_before=moment(15))
    wait_until(lambda: " Waiting until " in going.stdout, "it waits", 60)
    node.define(late)
    adhoc([node], "server_power", f"server={uuid_of(late)} action=start wait_for=running")
    ran = going.finish()
    assert ran.rc == 0, ran.output
    assert ran.stdout.count(" Waiting until ") == 1
    assert outcomes(result_of(tmp_path)) == {"early": "done", "late": "done"}
    begun = [datetime.fromisoformat(row["begun_at"]).timestamp() for each in (early, late) for row in operations(node, each)]
    assert len(begun) == 2
    assert min(begun) >= int(not_before)


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


@pytest.mark.long
def test_what_makes_no_sense_is_told_at_once_and_not_when_the_window_opens(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    bring_up({node: [server("only")]})
    ran = playbook("rolling_restart", [node], rollout_not_before=moment(3000), rollout_max_delay=5)
    assert ran.rc != 0
    assert "Cannot use max_delay alone: give players_at_most to wait for players, or warn to tell them" in ran.output
    ran = playbook("rolling_restart", [node], rollout_not_before="25:00")
    assert ran.rc != 0
    assert result_of(tmp_path)["msg"].startswith("Cannot use rollout_not_before='25:00': expected a time of day such as 02:00")
