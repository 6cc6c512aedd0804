# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolling runs with faults: interruptions, lost nodes, receivers, players."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.receiver_support import SECRET, fake_receiver

from .jobs import PATIENCE, UNFOLLOWED
from .lab import Lease, adhoc, bring_up, inventory, playbook, playbook_begun, server, uuid_of, wait_until
from .maintenance import MARK, RECORD, boot_of, work
from .ran import recap, words_of
from .rollout import is_stopping, is_unlocked, operations, outcomes, result_of, resume_files, runs_of, table_of


@pytest.mark.long
def test_two_tasks_with_the_same_once_key_do_each_server_once(lease: Lease) -> None:
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
def test_a_frozen_engine_counts_as_a_failure_and_the_run_ends(lease: Lease, tmp_path: Path) -> None:
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
def test_servers_of_a_killed_task_are_unknown_and_a_resume_repeats_no_action(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server("quick", priority=1), server("slow", priority=1, STOP_SECONDS=15)]
    bring_up({node: servers})
    before = runs_of(node, servers)
    going = playbook_begun("rolling_restart", [node])
    wait_until(lambda: is_stopping(node, servers[1]), "a server is being stopped", 60)
    wait_until(lambda: runs_of(node, servers)["quick"] != before["quick"] and is_unlocked(node, servers[0]), "the other server is done")
    holder = json.loads(node.read(f"run/fleet-power/{uuid_of(servers[1])}.lock"))
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
def test_two_controllers_never_restart_a_server_at_the_same_time(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server(f"s{number}", STOP_SECONDS=1.5) for number in range(3)]
    bring_up({node: servers})
    results = [str(tmp_path / f"{name}.json") for name in ("one", "two")]
    going = [playbook_begun("rolling_restart", [node], rollout_result_file=result, rollout_wait_for="container") for result in results]
    ran = [each.finish() for each in going]
    assert [each.rc for each in ran] == [0, 0], ran
    said = [outcomes(json.loads(Path(result).read_text())) for result in results]
    # A run skips a server that is down under the other run at its turn.
    assert {text for each in said for text in each.values()} <= {"done", "skipped not_selected"}
    for each in servers:
        done = operations(node, each)
        assert len(done) == [outcome[each["settings"]["meta"]["name"]] for outcome in said].count("done") >= 1
        # Each restart needs 1.5 seconds for its own stop.
        ends = [datetime.fromisoformat(operation["ended_at"].replace("Z", "+00:00")).timestamp() for operation in done]
        assert all(two - one >= 1.5 for one, two in itertools.pairwise(ends))


@pytest.mark.long
def test_after_a_kill_the_next_run_first_sends_the_events_left_once_and_in_order(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    slow, later = server("slow", STOP_SECONDS=8), server("later")
    bring_up({node: [slow, later]})
    address = tmp_path / "address"
    with fake_receiver() as chat, fake_receiver() as hanging, fake_receiver() as redirecting, fake_receiver() as elsewhere:
        hanging.hangs = 600
        redirecting.status, redirecting.answer_headers = 308, {"Location": elsewhere.url}
        chat.status = 503
        address.write_text(f"{chat.url}/planted-path")
        receivers = [
            {"name": "chat", "url": "{{ lookup('ansible.builtin.file', __address) }}", "secret": SECRET},
            {"name": "hanging", "url": hanging.url},
            {"name": "redirecting", "url": redirecting.url},
        ]
        asked = {"rollout_receivers": receivers, "__address": str(address), "rollout_batch_size": 1, "rollout_priorities": {"slow": 1}}
        shown = {"ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "true"}
        going = playbook_begun("rolling_restart", [node], "-vvv", surroundings=shown, **asked)
        wait_until(lambda: is_stopping(node, slow), "the server is being stopped", 90)
        going.kill()
        said = going.stdout + going.stderr
        assert set(chat.types) == {"rollout.begun"}
        first = chat.events[0][1]
        chat.status = 200
        chat.sent.clear()

        (resume,) = resume_files(tmp_path)
        ran = playbook("rolling_restart", [node], "-vvv", rollout_resume=str(resume), **asked)
        assert ran.rc == 0, ran.output
        second = result_of(tmp_path)["run"]
        assert chat.events == [
            (f"rollout.{word}", run) for run, words in ((first, ("begun", "stopped")), (second, ("begun", "ended"))) for word in words
        ]
        assert len({each.value["id"] for each in chat.sent}) == 4
        assert chat.sent[1].value["data"]["stopped"] == "its command ended before it did"
        assert chat.sent[2].value["data"]["resumes"] == first
        assert elsewhere.sent == []
    assert outcomes(result_of(tmp_path)) == {"slow": "done", "later": "done"}
    # A run reports each other receiver once.
    for name in ("hanging", "redirecting"):
        assert [ran.output.count(f"Cannot notify receiver {name} of run {run}: ") for run in (first, second)] == [0, 1], ran.output
    said += ran.output + "".join(path.read_text() for path in (tmp_path / ".ansible").rglob("*.json"))
    assert "planted-path" not in said and SECRET not in said


@pytest.mark.long
def test_a_server_skipped_for_players_keeps_running_and_stays_for_the_next_run(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    played, empty = server("played"), server("empty")
    bring_up({first: [played], second: [empty]})
    second.ssh(f"docker stop -t 1 {uuid_of(empty)}")
    before = runs_of(first, [played])

    # A stopped server has no players.
    ran = playbook("rolling_restart", [first, second], power_servers="played,empty", rollout_players_at_most=0, rollout_warn_message="x")
    assert ran.rc == 2
    result = result_of(tmp_path)
    assert outcomes(result) == {"played": "not_done players_unknown", "empty": "done"}
    assert (result["stopped"], result["budget"]) == (None, {"allowed": 0, "used": 0})
    assert (result["counts"]["not_done"], result["counts"]["for_players"]) == (1, 1)
    assert "restart of 2 in 2 of 2 batches: 1 done, 1 skipped for players" in ran.stdout
    assert recap(ran) == {first.name: 1, second.name: 0, "localhost": 0}
    assert runs_of(first, [played]) == before
    (resume,) = resume_files(tmp_path)
    assert json.loads(resume.read_text())["not_done"] == [f"{first.name} played: players_unknown"]

    resumed = playbook("rolling_restart", [first, second], rollout_resume=str(resume))
    assert resumed.rc == 0, resumed.output
    assert outcomes(result_of(tmp_path)) == {"played": "done"}
    assert resume_files(tmp_path) == []


@pytest.mark.long
def test_a_resume_finishes_a_run_that_was_killed_during_a_wait_for_players(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    played = server("played")
    bring_up({node: [played]})
    polite = {"rollout_players_at_most": 0, "rollout_max_delay": 600}
    going = playbook_begun("rolling_restart", [node], **polite)
    wait_until(lambda: "waiting for players" in going.stdout, "the run waits for players", 60)
    going.kill()
    (resume,) = resume_files(tmp_path)
    assert json.loads(resume.read_text())["not_done"] == [f"{node.name} played: in flight"]
    resumed = playbook("rolling_restart", [node], rollout_resume=str(resume), rollout_resume_wait=300)
    assert resumed.rc == 0, resumed.output
    assert outcomes(result_of(tmp_path)) == {"played": "done"}
    assert len([row for row in operations(node, played) if row["outcome"] == "done"]) == 1


@pytest.mark.long
def test_maintenance_leaves_a_node_with_players_and_continues_with_the_next(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    played, other = server("played", priority=1), server("other")
    bring_up({first: [played], second: [other]})
    second.ssh(f"docker stop -t 1 {uuid_of(other)}")
    before = boot_of(first), boot_of(second), runs_of(first, [played])
    todo = {"maintenance_reboot": True, "maintenance_tasks": work(tmp_path, f"touch /{MARK}"), "maintenance_players_at_most": 0}

    ran = playbook("maintenance", [first, second], **todo)
    assert ran.rc != 0
    assert f"Cannot maintain {first.name}: players may be on played; the work and the reboot did not happen" in words_of(ran)
    assert recap(ran) == {first.name: 1, second.name: 0}
    assert (boot_of(first), runs_of(first, [played])) == (before[0], before[2])
    assert boot_of(second) != before[1]
    assert [node.has(MARK) for node in (first, second)] == [False, True]
    assert not first.has(RECORD)

    del todo["maintenance_players_at_most"]
    again = playbook("maintenance", [first], **todo)
    assert again.rc == 0, again.output
    assert boot_of(first) != before[0]
    assert first.is_up(uuid_of(played))


@pytest.mark.long
def test_an_unreachable_node_counts_and_other_nodes_continue_within_the_budget(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    before = runs_of(first, [here]), runs_of(second, [there])
    # The lost node is the play's first, which does the run's central tasks.
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
@pytest.mark.parametrize(("how", "patience"), [(UNFOLLOWED, 0), ({}, PATIENCE)], ids=["one_call", "job"])
def test_a_node_cut_off_in_mid_run_counts_and_finishes_its_begun_action(
    lease: Lease, tmp_path: Path, how: dict[str, str], patience: float
) -> None:
    first, second = lease(2)
    lost, waiting, other = server("lost", STOP_SECONDS=8), server("waiting"), server("other")
    bring_up({first: [lost, waiting], second: [other]})
    before = runs_of(first, [lost])
    variables = {"rollout_max_failures": 1, "rollout_serial": 0, "rollout_batch_size": 1}
    going = playbook_begun("rolling_restart", [first, second], surroundings=how, **variables)
    wait_until(lambda: is_stopping(first, lost), "the server is being stopped", 60)
    first.faults.cut()
    cut_at = time.monotonic()
    try:
        ran = going.finish()
        # Three ServerAlive messages, two seconds apart, for the first batch. The second batch opens no connection.
        assert ran.rc == 2
        assert outcomes(result_of(tmp_path))["other"] == "done"
        assert outcomes(result_of(tmp_path))["lost"] == "unknown node_unreachable"
        wait_until(lambda: runs_of(first, [lost]) != before and is_unlocked(first, lost), "the restart has ended without the controller")
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
def test_the_checkouts_configuration_detects_a_dead_node_in_time(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    lost, other = server("lost", STOP_SECONDS=4), server("other")
    bring_up({first: [lost], second: [other]})
    # Four ServerAlive messages, 15 seconds apart, as in ansible.cfg instead of the lab's shorter time. Then polls are retried for a while.
    where = inventory([first, second])
    written = json.loads(where.read_text())
    words = written["all"]["vars"]["ansible_ssh_args"].split(" -o ")
    written["all"]["vars"]["ansible_ssh_args"] = " -o ".join(word for word in words if not word.startswith("ServerAlive"))
    # A new connection, instead of the open one.
    written["all"]["vars"]["ansible_control_path_dir"] += "/own"
    where.write_text(json.dumps(written))
    going = playbook_begun("rolling_restart", where, rollout_max_failures=1)
    wait_until(lambda: is_stopping(first, lost), "the server is being stopped", 60)
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
def test_a_node_cut_off_with_queued_servers_does_each_server_once(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server(f"s{number}", BOOT_SECONDS=6) for number in range(3)]
    bring_up({node: servers})
    before = runs_of(node, servers)
    # One server at a time. While a server becomes ready, no lock shows the server or the queue.
    going = playbook_begun("rolling_restart", [node], rollout_max_parallel=1)
    wait_until(lambda: runs_of(node, servers)["s0"] != before["s0"], "the first server is started", 60)
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
def test_a_node_that_reboots_in_mid_run_counts_and_a_resume_starts_its_servers(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    lost, other = server("lost", STOP_SECONDS=8), server("other")
    bring_up({first: [lost], second: [other]})
    going = playbook_begun("rolling_restart", [first, second], rollout_max_failures=1)
    wait_until(lambda: is_stopping(first, lost), "the server is being stopped", 60)
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
