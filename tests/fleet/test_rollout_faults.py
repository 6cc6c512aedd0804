# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling run that is cut off, refused or worked beside does nothing twice, and its result and resume file tell the truth."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from .lab import Lease, adhoc, bring_up, playbook, playbook_begun, server, uuid_of, wait_until
from .rollout import is_stopping, is_unlocked, operations, outcomes, result_of, resume_files, runs_of


@pytest.mark.long
def test_of_two_tasks_under_one_key_each_server_is_done_by_one(lease: Lease) -> None:
    (node,) = lease(1)
    servers = [server(f"s{number}", BOOT_SECONDS=2) for number in range(3)]
    bring_up({node: servers})
    asked = {"server": "all", "action": "restart", "max_parallel": 1, "wait_for": "running", "wait_seconds": 60, "once": "deployment 7"}
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(adhoc, [node], "server_power", asked) for _task in range(2)]
        said = [each.result()[node.name]["servers"] for each in answers]
    assert [sorted(entry["outcome"] for entry in pair) for pair in zip(*said)] == [["done", "unchanged"]] * 3
    assert [[said["outcome"] for said in operations(node, each)].count("done") for each in servers] == [1, 1, 1]


@pytest.mark.long
def test_a_frozen_engine_counts_and_the_run_ends(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    first.faults.freeze()
    try:
        ran = playbook("rolling_restart", [first, second], rollout_max_failures=1, power_options={"timeout": 3})
    finally:
        first.faults.thaw()
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {first.name: "unknown engine_unreachable", "there": "done"}
    assert ran.seconds < 60
    (resume,) = resume_files(tmp_path)
    assert playbook("rolling_restart", [first, second], rollout_resume=str(resume)).rc == 0
    assert outcomes(result_of(tmp_path)) == {"here": "done"}


@pytest.mark.long
def test_a_killed_task_is_unknown_and_what_it_had_done_is_not_done_again(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server("quick", priority=1), server("slow", priority=1, STOP_SECONDS=15)]
    bring_up({node: servers})
    before = runs_of(node, servers)
    going = playbook_begun("rolling_restart", [node])
    wait_until(lambda: is_stopping(node, servers[1]), "one is being stopped", 60)
    wait_until(lambda: runs_of(node, servers)["quick"] != before["quick"] and is_unlocked(node, servers[0]), "the other is done")
    holder = json.loads((node.root / f"run/fleet-power/{uuid_of(servers[1])}.lock").read_text())
    node.ssh(f"kill -9 {holder['pid']}")
    ran = going.finish()
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {"quick": "unknown interrupted", "slow": "unknown interrupted"}
    (resume,) = resume_files(tmp_path)
    ran = playbook("rolling_restart", [node], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"quick": "done", "slow": "done"}
    assert len(operations(node, servers[0])) == 1


@pytest.mark.long
def test_two_controllers_at_once_restart_no_server_twice_at_the_same_time(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server(f"s{number}", STOP_SECONDS=1.5) for number in range(3)]
    bring_up({node: servers})
    results = [str(tmp_path / f"{name}.json") for name in ("one", "two")]
    going = [playbook_begun("rolling_restart", [node], rollout_result_file=result, rollout_wait_for="container") for result in results]
    ran = [each.finish() for each in going]
    assert [each.rc for each in ran] == [0, 0], ran
    said = [outcomes(json.loads(Path(result).read_text())) for result in results]
    # One that the other has down just when its turn comes is passed over.
    assert {text for each in said for text in each.values()} <= {"done", "skipped not_selected"}
    for each in servers:
        done = operations(node, each)
        assert len(done) == [outcome[each["settings"]["meta"]["name"]] for outcome in said].count("done") >= 1
        # Each needs its own 1.5 seconds for the stop.
        ends = [datetime.fromisoformat(operation["ended_at"].replace("Z", "+00:00")).timestamp() for operation in done]
        assert all(two - one >= 1.5 for one, two in itertools.pairwise(ends))
