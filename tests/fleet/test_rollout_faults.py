# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is lost, before a run or in the middle of it, is counted; the others, and the node itself, end as they should."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .lab import Lease, Node, adhoc, bring_up, inventory, phase_of, playbook, playbook_begun, server, uuid_of, wait_until
from .rollout import Definition, operations, outcomes, result_of, resume_files, runs_of, table_of


def is_stopping(node: Node, definition: Definition) -> bool:
    """Whether the action on a server is in the middle of its stop."""
    return phase_of(node, definition) == "stop"


def is_unlocked(node: Node, definition: Definition) -> bool:
    """Whether nobody holds a server, as the node itself sees it."""
    return not (node.root / f"run/fleet-power/{uuid_of(definition)}.lock").read_text().strip()


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
def test_a_node_cut_off_while_a_server_ignores_its_stop_ends_all_by_itself_within_its_time(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    deaf, boot_seconds = server("deaf", IGNORE_SIGNALS="all", STOP_COMMAND="never", BOOT_SECONDS=2), 2
    bring_up({node: [deaf]})
    before = runs_of(node, [deaf])
    going = playbook_begun("rolling_restart", [node], rollout_stop_timeout=5, rollout_wait_for="running")
    wait_until(lambda: is_stopping(node, deaf), "it is being stopped", 60)
    asked_at = time.monotonic()
    node.cut()
    try:
        wait_until(lambda: runs_of(node, [deaf]) != before and is_unlocked(node, deaf), "it has ended by itself")
        # And what the machine takes to kill and to begin.
        assert 4 < time.monotonic() - asked_at < 5 + boot_seconds + 5
        assert node.is_up(uuid_of(deaf))
        assert going.finish().rc == 2
    finally:
        node.join()
    assert outcomes(result_of(tmp_path)) == {"deaf": "unknown node_unreachable"}
    assert [each["outcome"] for each in operations(node, deaf)] == ["done"]


@pytest.mark.long
def test_a_dead_node_is_noticed_within_the_time_of_the_checkouts_own_configuration(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    lost, other = server("lost", STOP_SECONDS=4), server("other")
    bring_up({first: [lost], second: [other]})
    # Four words, 15 seconds apart, as ansible.cfg has it, where the lab has a shorter time of its own.
    where = inventory([first, second])
    written = json.loads(where.read_text())
    words = written["all"]["vars"]["ansible_ssh_args"].split(" -o ")
    written["all"]["vars"]["ansible_ssh_args"] = " -o ".join(word for word in words if not word.startswith("ServerAlive"))
    # A connection of its own, not the one that is open still.
    written["all"]["vars"]["ansible_control_path_dir"] += "/own"
    where.write_text(json.dumps(written))
    going = playbook_begun("rolling_restart", where, rollout_max_failures=1)
    wait_until(lambda: is_stopping(first, lost), "it is being stopped", 60)
    first.cut()
    cut_at = time.monotonic()
    try:
        ran = going.finish()
        assert 55 < time.monotonic() - cut_at < 100
    finally:
        first.join()
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {"lost": "unknown node_unreachable", "other": "done"}


@pytest.mark.long
def test_a_node_cut_off_with_servers_queued_and_joined_at_once_does_none_of_them_twice(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server(f"s{number}", BOOT_SECONDS=6) for number in range(3)]
    bring_up({node: servers})
    before = runs_of(node, servers)
    # One at a time: while one becomes ready nobody holds a lock, and what is queued behind it shows nowhere.
    going = playbook_begun("rolling_restart", [node], rollout_max_parallel=1)
    wait_until(lambda: runs_of(node, servers)["s0"] != before["s0"], "the first is started", 60)
    node.cut()
    try:
        assert going.finish().rc != 0
    finally:
        node.join()
    assert set(outcomes(result_of(tmp_path)).values()) == {"unknown node_unreachable"}
    (resume,) = resume_files(tmp_path)
    ran = playbook("rolling_restart", [node], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert set(outcomes(result_of(tmp_path)).values()) <= {"done", "unchanged"}
    assert [[said["outcome"] for said in operations(node, each)].count("done") for each in servers] == [1, 1, 1]


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
def test_what_is_in_flight_when_time_runs_out_stays_unknown_and_is_not_asked_for(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    slow, later = server("slow", STOP_SECONDS=25), server("later")
    bring_up({node: [slow, later]})
    going = playbook_begun("rolling_restart", [node], rollout_batch_size=1, rollout_priorities={"slow": 1})
    wait_until(lambda: is_stopping(node, slow), "it is being stopped", 60)
    going.kill()
    (resume,) = resume_files(tmp_path)
    ran = playbook("rolling_restart", [node], rollout_resume=str(resume), rollout_resume_wait=1, rollout_max_failures=1)
    assert ran.rc == 2
    assert ran.seconds < 20
    assert outcomes(result_of(tmp_path)) == {"slow": "unknown still_in_flight", "later": "done"}
    ran = playbook("rolling_restart", [node], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"slow": "done"}
    assert [[said["outcome"] for said in operations(node, each)] for each in (slow, later)] == [["done"], ["done"]]


@pytest.mark.long
def test_a_frozen_engine_counts_and_the_run_ends(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    first.freeze()
    try:
        ran = playbook("rolling_restart", [first, second], rollout_max_failures=1, power_options={"timeout": 3})
    finally:
        first.thaw()
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {first.name: "unknown engine_unreachable", "there": "done"}
    assert ran.seconds < 60
    (resume,) = resume_files(tmp_path)
    assert playbook("rolling_restart", [first, second], rollout_resume=str(resume)).rc == 0
    assert outcomes(result_of(tmp_path)) == {"here": "done"}


@pytest.mark.long
def test_a_node_whose_state_directory_is_full_restarts_all_the_same(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server("one"), server("two")]
    node.write("/etc/fleet-power/config.yml", "system: {state_directory: /var/lib/fleet-power/journal}")
    bring_up({node: servers})
    before = runs_of(node, servers)
    node.disk(1, "/var/lib/fleet-power/journal")
    node.ssh("for size in 64k 512; do dd if=/dev/zero of=/var/lib/fleet-power/journal/fill.$size bs=$size; done", check=False)
    ran = playbook("rolling_restart", [node])
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"one": "done", "two": "done"}
    assert "what is done is not recorded" in ran.output
    after = runs_of(node, servers)
    assert all(after[name] != before[name] for name in before)


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


@pytest.mark.long
def test_servers_that_went_down_with_their_node_are_brought_up_and_one_that_somebody_stopped_is_not(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server(f"s{number}", priority=number) for number in range(4)]
    bring_up({node: servers})
    going = playbook_begun("rolling_restart", [node], rollout_pause=9)
    wait_until(lambda: len(operations(node, servers[0])) == 1, "the first is restarted", 60)
    adhoc([node], "server_power", {"action": "stop", "server": "s3"})
    node.reboot()
    ran = going.finish()
    if ran.rc:
        # It asked for the second while the node was down.
        (resume,) = resume_files(tmp_path)
        ran = playbook("rolling_restart", [node], rollout_resume=str(resume))
    assert ran.rc == 0, ran.output
    assert [node.is_up(uuid_of(each)) for each in servers[1:]] == [True, True, False]
    said = outcomes(result_of(tmp_path))
    assert [said[name] for name in ("s1", "s2", "s3")] == ["done", "done", "skipped not_selected"]


@pytest.mark.long
def test_of_two_that_go_on_with_the_same_run_one_is_refused_and_says_so(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server("s0", priority=0), server("s1", priority=1, STOP_SECONDS=10)]
    bring_up({node: servers})
    going = playbook_begun("rolling_restart", [node], rollout_pause=30)
    wait_until(lambda: "Waiting 30 s" in going.stdout, "the first is restarted", 60)
    going.interrupt()
    going.finish()
    (resume,) = resume_files(tmp_path)
    going = playbook_begun("rolling_restart", [node], rollout_resume=str(resume))
    wait_until(lambda: is_stopping(node, servers[1]), "it goes on", 60)
    own = tmp_path / "second.json"
    second = playbook("rolling_restart", [node], rollout_resume=str(resume), rollout_result_file=str(own))
    first = going.finish()
    assert (first.rc, second.rc) == (0, 2), first.output + second.output
    assert json.loads(own.read_text())["code"] == "resume_in_use"
    assert [len(operations(node, each)) for each in servers] == [1, 1]


def test_what_comes_before_a_batch_and_is_missing_or_ends_the_play_is_told(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    one = server("one")
    bring_up({node: [one]})
    ran = playbook("rolling_restart", [node], rollout_before_batch_tasks=str(tmp_path / "missing.yml"))
    assert ran.rc == 2, ran.output
    assert outcomes(result_of(tmp_path)) == {"one": "not_done"}
    assert result_of(tmp_path)["stopped"].startswith(f"Cannot use rollout_before_batch_tasks={tmp_path}/missing.yml: ")
    ending = tmp_path / "end.yml"
    ending.write_text("- ansible.builtin.meta: end_play\n")
    ran = playbook("rolling_restart", [node], rollout_before_batch_tasks=str(ending))
    assert ran.rc == 2, ran.output
    assert (result_of(tmp_path)["ok"], result_of(tmp_path)["code"]) == (False, "broken_off")
    assert operations(node, one) == []


def test_a_run_that_cannot_begin_leaves_no_good_result_of_an_earlier_one(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    bring_up({node: [server("one")]})
    assert playbook("rolling_restart", [node]).rc == 0
    assert result_of(tmp_path)["ok"]
    assert playbook("rolling_restart", [node], power_hosts="typo").rc != 0
    assert not result_of(tmp_path)["ok"]
    assert playbook("rolling_restart", [node], rollout_wait_for="bogus").rc == 2
    assert "rollout_wait_for='bogus': expected one of container, running, healthy" in result_of(tmp_path)["msg"]


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
def test_a_soak_that_was_cut_off_is_made_up_for(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    one = server("one")
    bring_up({node: [one]})
    going = playbook_begun("rolling_restart", [node], rollout_soak=30)
    wait_until(lambda: [each["outcome"] for each in operations(node, one)] == ["done"], "it is restarted", 60)
    going.interrupt()
    going.finish()
    (resume,) = resume_files(tmp_path)
    ran = playbook("rolling_restart", [node], rollout_resume=str(resume), rollout_soak=3)
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"one": "unchanged"}
    assert [each["outcome"] for each in operations(node, one)].count("done") == 1
    assert "Let time pass" in ran.stdout
