# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is lost, before a run or in the middle of it, is counted; the others, and the node itself, end as they should."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from .followed import PATIENCE, UNFOLLOWED
from .lab import Lease, bring_up, inventory, playbook, playbook_begun, server, uuid_of, wait_until
from .rollout import is_stopping, is_unlocked, operations, outcomes, result_of, resume_files, runs_of, table_of


@pytest.mark.long
def test_an_unreachable_node_counts_and_the_others_are_done_within_the_budget(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    before = runs_of(first, [here]), runs_of(second, [there])
    # The first node of the play is the one that is lost: what runs once, runs on it.
    first.faults.cut()
    try:
        ran = playbook("rolling_restart", [first, second])
        assert ran.rc == 2
        assert (runs_of(first, [here]), runs_of(second, [there])) == before
        assert outcomes(result_of(tmp_path)) == {first.name: "unknown node_unreachable", "there": "not_done"}
        (resume,) = resume_files(tmp_path)

        ran = playbook("rolling_restart", [first, second], rollout_max_failures=1, rollout_resume=str(resume))
        assert ran.rc == 2
        assert outcomes(result_of(tmp_path)) == {first.name: "unknown node_unreachable", "there": "done"}
        assert [line.split()[:5] for line in table_of(ran)[2:]] == [[first.name, "-", "-", "unknown", "node_unreachable"]]
    finally:
        first.faults.join()
    ran = playbook("rolling_restart", [first, second], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"here": "done"}
    assert len(operations(second, there)) == 1


@pytest.mark.samples("one_call")
@pytest.mark.parametrize(("how", "patience"), [(UNFOLLOWED, 0), ({}, PATIENCE)], ids=["one_call", "followed"])
def test_a_node_cut_off_in_mid_run_is_counted_and_ends_what_it_had_begun_on_its_own(
    lease: Lease, tmp_path: Path, how: dict[str, str], patience: float
) -> None:
    first, second = lease(2)
    lost, waiting, other = server("lost", STOP_SECONDS=8), server("waiting"), server("other")
    bring_up({first: [lost, waiting], second: [other]})
    before = runs_of(first, [lost])
    variables = {"rollout_max_failures": 1, "rollout_serial": 0, "rollout_batch_size": 1}
    going = playbook_begun("rolling_restart", [first, second], surroundings=how, **variables)
    wait_until(lambda: is_stopping(first, lost), "it is being stopped", 60)
    first.faults.cut()
    cut_at = time.monotonic()
    try:
        ran = going.finish()
        # Three words of ServerAlive, two seconds apart, for its first batch; nobody connects to it for the second.
        assert ran.rc == 2
        assert outcomes(result_of(tmp_path))["other"] == "done"
        assert outcomes(result_of(tmp_path))["lost"] == "unknown node_unreachable"
        wait_until(lambda: runs_of(first, [lost]) != before and is_unlocked(first, lost), "it has ended by itself")
        assert patience < time.monotonic() - cut_at < patience + 60
    finally:
        first.faults.join()
    (resume,) = resume_files(tmp_path)
    ran = playbook("rolling_restart", [first, second], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path))["lost"] == "done"
    assert [each["outcome"] for each in operations(first, lost)] == ["done"]
    assert [len(operations(node, each)) for node, each in ((first, waiting), (second, other))] == [1, 1]


@pytest.mark.long
def test_a_dead_node_is_noticed_within_the_time_of_the_checkouts_own_configuration(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    lost, other = server("lost", STOP_SECONDS=4), server("other")
    bring_up({first: [lost], second: [other]})
    # Four words, 15 seconds apart, as ansible.cfg has it, where the lab has a shorter time of its own. Then it is tried again for a while.
    where = inventory([first, second])
    written = json.loads(where.read_text())
    words = written["all"]["vars"]["ansible_ssh_args"].split(" -o ")
    written["all"]["vars"]["ansible_ssh_args"] = " -o ".join(word for word in words if not word.startswith("ServerAlive"))
    # A connection of its own, not the one that is open still.
    written["all"]["vars"]["ansible_control_path_dir"] += "/own"
    where.write_text(json.dumps(written))
    going = playbook_begun("rolling_restart", where, rollout_max_failures=1)
    wait_until(lambda: is_stopping(first, lost), "it is being stopped", 60)
    first.faults.cut()
    cut_at = time.monotonic()
    try:
        ran = going.finish()
        assert 55 < time.monotonic() - cut_at - PATIENCE < 100
    finally:
        first.faults.join()
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {"lost": "unknown node_unreachable", "other": "done"}


@pytest.mark.long
def test_a_node_cut_off_with_servers_queued_does_none_of_them_twice(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server(f"s{number}", BOOT_SECONDS=6) for number in range(3)]
    bring_up({node: servers})
    before = runs_of(node, servers)
    # One at a time: while one becomes ready nobody holds a lock, and what is queued behind it shows nowhere.
    going = playbook_begun("rolling_restart", [node], rollout_max_parallel=1)
    wait_until(lambda: runs_of(node, servers)["s0"] != before["s0"], "the first is started", 60)
    node.faults.cut()
    try:
        assert going.finish().rc != 0
    finally:
        node.faults.join()
    assert set(outcomes(result_of(tmp_path)).values()) == {"unknown node_unreachable"}
    (resume,) = resume_files(tmp_path)
    ran = playbook("rolling_restart", [node], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert set(outcomes(result_of(tmp_path)).values()) <= {"done", "unchanged"}
    assert [[said["outcome"] for said in operations(node, each)].count("done") for each in servers] == [1, 1, 1]


@pytest.mark.long
def test_a_node_that_reboots_in_mid_run_counts_and_the_next_run_starts_its_servers(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    lost, other = server("lost", STOP_SECONDS=8), server("other")
    bring_up({first: [lost], second: [other]})
    going = playbook_begun("rolling_restart", [first, second], rollout_max_failures=1)
    wait_until(lambda: is_stopping(first, lost), "it is being stopped", 60)
    first.faults.reboot()
    ran = going.finish()
    assert ran.rc == 2
    said = outcomes(result_of(tmp_path))
    assert said["other"] == "done"
    assert said["lost"] != "done"
    (resume,) = resume_files(tmp_path)
    ran = playbook("rolling_restart", [first, second], rollout_resume=str(resume), rollout_resume_failed=True)
    assert ran.rc == 0, ran.output
    assert first.is_up(uuid_of(lost))
    assert len(operations(second, other)) == 1
