# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling run acts only on selected servers, in order and within its window, and reports each result."""

from __future__ import annotations

import json
import shlex
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.receiver_support import SECRET, fake_receiver

from .lab import Lease, bring_up, inventory, phase_of, playbook, playbook_begun, server, uuid_of, wait_until
from .ran import recap
from .rollout import break_start, operations, outcomes, result_of, resume_files, runs_of, table_of


def test_three_failures_exceed_a_budget_of_two_and_a_resume_does_the_rest(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    bad, good = [server(f"a{number}") for number in range(3)], [server(f"b{number:02}") for number in range(17)]
    bring_up({node: [*bad, *good]})
    before = runs_of(node, [*bad, *good])
    break_start(node, *bad)

    with fake_receiver() as chat:
        asked = {"rollout_receivers": [{"name": "chat", "url": chat.url, "secret": SECRET}]}
        ran = playbook("rolling_restart", [node], rollout_max_failures=2, rollout_max_parallel=3, **asked)
        first = result_of(tmp_path)["run"]
        assert chat.events == [("rollout.begun", first), ("rollout.stopped", first)], ran.output
        assert chat.sent[1].value["data"]["stopped"] == "3 failed, 2 allowed"
    assert ran.rc == 2
    after = runs_of(node, [*bad, *good])
    result = result_of(tmp_path)
    restarted = [name for name in after if after[name] != before[name]]
    untouched = [name for name in after if after[name] == before[name] and name.startswith("b")]
    assert result["counts"]["refused"] == 3
    # Servers under way at the third failure are finished.
    assert len(restarted) <= 3
    assert {name for name, said in outcomes(result).items() if said == "not_done failure_budget"} == set(untouched)
    assert result["stopped"] == "3 failed, 2 allowed"
    (resume,) = resume_files(tmp_path)
    assert result["resume_file"] == str(resume)
    assert f"-e rollout_resume={resume}" in ran.output
    assert [line.partition(" ")[2] for line in ran.stdout.splitlines() if " Batch 1 of 1: " in line] == [
        f"Batch 1 of 1: {node.name} a0, a1, a2 and 17 more"
    ]
    assert [line.split()[1].rstrip(":") for line in json.loads(resume.read_text())["not_done"]] == untouched

    with fake_receiver() as chat:
        resumed = playbook("rolling_restart", [node], rollout_resume=str(resume), rollout_receivers=[{"name": "chat", "url": chat.url}])
        second = result_of(tmp_path)["run"]
        assert chat.events == [("rollout.begun", second), ("rollout.ended", second)]
        assert chat.sent[0].value["data"]["resumes"] == first
    assert resumed.rc == 0, resumed.output
    last = runs_of(node, [*bad, *good])
    assert [name for name in last if last[name] != after[name]] == untouched
    assert outcomes(result_of(tmp_path)) == dict.fromkeys(untouched, "done")
    # Each run has its own result, and the link points to the last one.
    folder = tmp_path / ".ansible/fleet_power"
    assert json.loads((folder / f"rollout-{result['run']}.json").read_text()) == result
    assert (folder / "rollout.json").readlink() == Path(f"rollout-{result_of(tmp_path)['run']}.json")


@pytest.mark.long
def test_a_failed_canary_leaves_all_other_servers_unchanged_under_any_budget(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    ill, well, other = server("ill"), server("well"), server("other")
    bring_up({first: [other], second: [ill, well]})
    before = runs_of(first, [other]), runs_of(second, [ill])
    break_start(second, ill)

    ran = playbook("rolling_restart", [first, second], rollout_canary=second.name, rollout_max_failures="100%")
    assert ran.rc == 2
    # The canary's node fails, not the first node, which does the run's central tasks.
    assert recap(ran) == {first.name: 0, second.name: 1, "localhost": 0}
    assert (runs_of(first, [other]), runs_of(second, [ill])) == before
    assert result_of(tmp_path)["stopped"] == "the canary failed"
    assert outcomes(result_of(tmp_path))["other"] == "not_done"


@pytest.mark.long
def test_nodes_and_servers_start_by_priority_and_stop_in_reverse(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    game, proxy, lobby = server("game"), server("proxy", priority=1), server("lobby", priority=500)
    first.define(game, lobby)
    second.define(proxy)
    nodes = inventory([first, second])
    written = json.loads(nodes.read_text())
    written["all"]["children"]["proxies"] = {"hosts": {second.name: {}}}
    nodes.write_text(json.dumps(written))
    ran = playbook("power", nodes, power_action="start", power_servers="all", power_priorities={"lobby": 50})
    assert ran.rc == 0, ran.output
    started = {**runs_of(first, [game, lobby]), **runs_of(second, [proxy])}
    assert sorted(started, key=lambda name: started[name]) == ["proxy", "lobby", "game"]
    assert [line.split()[2:4] for line in table_of(ran)[1:]] == [["proxy", "done"], ["lobby", "done"], ["game", "done"]]
    # Each batch has one line and two tasks. Only the first node skips a task: it includes the second node's batch for the order.
    begun = [line.partition(" ")[2] for line in ran.stdout.splitlines() if " Batch " in line and " ended " not in line]
    assert [line.partition(" [")[0] for line in begun] == [
        f"Batch 1 of 3: {second.name} proxy",
        f"Batch 2 of 3: {first.name} lobby",
        f"Batch 3 of 3: {first.name} game",
    ]
    assert begun[2].endswith(" left]")
    batches = ran.stdout.partition("Batch 1 of 3")[2].partition("Remove the directory of the preview")[0]
    assert batches.count("skipping: [node-") == 1
    assert ran.stdout.count("included: ") == ran.stdout.count("Act on the servers") == 3
    assert result_of(tmp_path)["ok"]
    assert resume_files(tmp_path) == []

    # All servers of another group, which has one of the nodes.
    assert playbook("power", nodes, power_action="restart", power_servers="all", power_hosts="proxies").rc == 0
    again = {**runs_of(first, [game, lobby]), **runs_of(second, [proxy])}
    assert [name for name in again if again[name] != started[name]] == ["proxy"]

    assert playbook("power", nodes, power_action="stop", power_servers=["game", "proxy", "lobby"]).rc == 0
    ends = {}
    for node, each in ((first, game), (first, lobby), (second, proxy)):
        container = node.container(uuid_of(each))
        assert container is not None
        ends[each["settings"]["meta"]["name"]] = container["State"]["FinishedAt"]
    assert sorted(ends, key=lambda name: ends[name]) == ["lobby", "game", "proxy"]


@pytest.mark.long
def test_batches_of_a_lost_node_count_as_unknown_and_other_nodes_continue(lease: Lease, tmp_path: Path) -> None:
    first, second, third = lease(3)
    servers = {first: [server("a")], second: [server("b"), server("c")], third: [server("d")]}
    bring_up(servers)
    tasks = tmp_path / "before.yml"
    tasks.write_text(json.dumps([{"name": "Go", "ansible.builtin.meta": "end_host", "when": f"inventory_hostname == '{second.name}'"}]))
    pace = {"rollout_batch_size": 1, "rollout_pause": 0.1, "rollout_max_failures": 2}
    ran = playbook("rolling_restart", list(servers), rollout_before_batch_tasks=str(tasks), **pace)
    assert ran.rc == 2
    lost = "unknown node_unreachable"
    assert outcomes(result_of(tmp_path)) == {"a": "done", "b": lost, "c": lost, "d": "done"}
    assert "Batch 3 of 4 skipped, since its nodes are lost: 1 server unknown" in ran.stdout
    assert recap(ran) == {first.name: 1, second.name: 0, third.name: 0, "localhost": 0}


@pytest.mark.long
def test_a_failed_task_before_a_batch_leaves_the_node_unchanged(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    before = runs_of(second, [there])
    tasks = tmp_path / "before.yml"
    tasks.write_text(json.dumps([{"name": "Warn the players", "ansible.builtin.shell": f"test $(hostname) = {first.name}"}]))
    ran = playbook("rolling_restart", [first, second], rollout_before_batch_tasks=str(tasks), rollout_serial=0, rollout_max_failures=1)
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {"here": "done", "there": "failed before_batch_failed"}
    assert runs_of(second, [there]) == before


def test_after_ctrl_c_a_resume_waits_for_actions_in_flight_and_repeats_no_action(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    slow, later = server("slow", STOP_SECONDS=10), server("later")
    bring_up({first: [slow], second: [later]})
    before = runs_of(first, [slow])
    going = playbook_begun("rolling_restart", [first, second], rollout_reason="update")
    wait_until(lambda: phase_of(first, slow) == "stop", "slow is being stopped", 60)
    going.interrupt()
    cut = going.finish()
    assert cut.rc != 0
    assert runs_of(first, [slow]) == before
    (resume,) = resume_files(tmp_path)
    assert json.loads(resume.read_text())["not_done"] == [f"{first.name} slow: in flight", f"{second.name} later: not begun"]

    typed = cut.stdout.splitlines()[-1].removeprefix("To do what is left, continue with the same command and ")
    ran = playbook("rolling_restart", [first, second], *shlex.split(typed))
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"slow": "done", "later": "done"}
    assert [each["outcome"] for each in operations(first, slow)] == ["done"]
    assert len(operations(second, later)) == 1
    assert resume_files(tmp_path) == []


def moment(seconds: float) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.long
def test_a_run_leaves_batches_that_may_pass_the_deadline_for_the_next_run(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    servers = [server(name) for name in ("a", "b", "c")]
    bring_up({node: servers})
    before = runs_of(node, servers)
    # A batch may take 61 s by its options. After a pause before the second batch, the time left is too short.
    pace = {"rollout_batch_size": 1, "rollout_wait_seconds": 1, "rollout_stop_timeout": 60, "rollout_wait_for": "container"}

    ran = playbook("rolling_restart", [node], **pace, rollout_deadline=moment(150), rollout_pause=120)
    assert ran.rc == 2
    result = result_of(tmp_path)
    assert outcomes(result) == {"a": "done", "b": "not_done deadline", "c": "not_done deadline"}
    assert result["stopped"].startswith("batch 2 may take 3 min 1 s, and the deadline is ")
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
def test_ctrl_c_during_the_wait_for_the_window_leaves_no_trace(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    only = server("only")
    bring_up({node: [only]})
    going = playbook_begun("rolling_restart", [node], rollout_not_before=moment(8))
    wait_until(lambda: " Waiting until " in going.stdout, "the run waits", 60)
    going.interrupt()
    ran = going.finish(10)
    assert ran.rc != 0
    time.sleep(10)
    assert operations(node, only) == []
    assert resume_files(tmp_path) == []
    assert not (tmp_path / ".ansible/fleet_power/rollout.json").exists()
