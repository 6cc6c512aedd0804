# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is lost, before a run or in the middle of it, is counted; the others, and the node itself, end as they should."""

from __future__ import annotations

import time
from pathlib import Path

from .lab import Lease, Node, playbook, playbook_begun, server, wait_until
from .rollout import Definition, bring_up, operations, outcomes, result_of, resume_files, runs_of, table_of, uuid_of


def is_stopping(node: Node, definition: Definition) -> bool:
    """Whether the action on a server is in the middle of its stop."""
    lock = node.root / f"run/fleet-power/{uuid_of(definition)}.lock"
    return lock.exists() and '"phase":"stop"' in lock.read_text().replace(" ", "")


def is_unlocked(node: Node, definition: Definition) -> bool:
    """Whether nobody holds a server, as the node itself sees it."""
    return not (node.root / f"run/fleet-power/{uuid_of(definition)}.lock").read_text().strip()


def test_a_node_that_cannot_be_reached_counts_and_the_others_are_done_if_the_budget_allows(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    before = runs_of(first, [here]), runs_of(second, [there])
    # The first node of the play is the one that is lost: what runs once, runs on it.
    first.cut()
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
        first.join()
    ran = playbook("rolling_restart", [first, second], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"here": "done"}
    assert len(operations(second, there)) == 1


def test_all_nodes_lost_still_end_in_a_table_and_a_result(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    node.cut()
    try:
        ran = playbook("rolling_restart", [node])
    finally:
        node.join()
    assert ran.rc != 0
    assert outcomes(result_of(tmp_path)) == {node.name: "unknown node_unreachable"}
    assert len(table_of(ran)) == 2


def test_a_node_cut_off_in_mid_run_is_counted_and_ends_what_it_had_begun_on_its_own(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    lost, waiting, other = server("lost", STOP_SECONDS=4), server("waiting"), server("other")
    bring_up({first: [lost, waiting], second: [other]})
    before = runs_of(first, [lost])
    going = playbook_begun("rolling_restart", [first, second], rollout_max_failures=1, rollout_serial=0, rollout_batch_size=1)
    wait_until(lambda: is_stopping(first, lost), "it is being stopped", 60)
    first.cut()
    cut_at = time.monotonic()
    try:
        ran = going.finish()
        # Three words of ServerAlive, two seconds apart, for its first batch; nobody connects to it for the second.
        assert ran.rc == 2
        assert outcomes(result_of(tmp_path))["other"] == "done"
        assert outcomes(result_of(tmp_path))["lost"] == "unknown node_unreachable"
        wait_until(lambda: runs_of(first, [lost]) != before and is_unlocked(first, lost), "it has ended by itself")
        assert time.monotonic() - cut_at < 60
    finally:
        first.join()
    (resume,) = resume_files(tmp_path)
    ran = playbook("rolling_restart", [first, second], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path))["lost"] == "done"
    assert [each["outcome"] for each in operations(first, lost)] == ["done"]
    assert [len(operations(node, each)) for node, each in ((first, waiting), (second, other))] == [1, 1]


def test_a_node_that_reboots_in_the_middle_is_counted_and_the_next_run_brings_its_servers_up(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    lost, other = server("lost", STOP_SECONDS=8), server("other")
    bring_up({first: [lost], second: [other]})
    going = playbook_begun("rolling_restart", [first, second], rollout_max_failures=1)
    wait_until(lambda: is_stopping(first, lost), "it is being stopped", 60)
    first.reboot()
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
