# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling run acts on the servers that are meant and on no others, in order, and says truthfully what became of each."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from datetime import datetime
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.told_support import SECRET, told

from .lab import Lease, bring_up, inventory, phase_of, playbook, playbook_begun, server, uuid_of, wait_until
from .ran import recap
from .rollout import break_start, operations, outcomes, result_of, resume_files, runs_of, table_of

EGG = "0f5a1a3c-9a10-4e27-8f43-0a7f5cf1a9d2"


def test_three_of_twenty_that_fail_end_a_run_with_a_budget_of_two_and_the_next_run_does_exactly_the_rest(
    lease: Lease, tmp_path: Path
) -> None:
    (node,) = lease(1)
    bad, good = [server(f"a{number}") for number in range(3)], [server(f"b{number:02}") for number in range(17)]
    bring_up({node: [*bad, *good]})
    before = runs_of(node, [*bad, *good])
    break_start(node, *bad)

    with told() as chat:
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
    # Those under way when the third failed are finished.
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

    with told() as chat:
        resumed = playbook("rolling_restart", [node], rollout_resume=str(resume), rollout_receivers=[{"name": "chat", "url": chat.url}])
        second = result_of(tmp_path)["run"]
        assert chat.events == [("rollout.begun", second), ("rollout.ended", second)]
        assert chat.sent[0].value["data"]["resumes"] == first
    assert resumed.rc == 0, resumed.output
    last = runs_of(node, [*bad, *good])
    assert [name for name in last if last[name] != after[name]] == untouched
    assert outcomes(result_of(tmp_path)) == dict.fromkeys(untouched, "done")
    # Each run has a result of its own, and the link is to the last.
    folder = tmp_path / ".ansible/fleet_power"
    assert json.loads((folder / f"rollout-{result['run']}.json").read_text()) == result
    assert (folder / "rollout.json").readlink() == Path(f"rollout-{result_of(tmp_path)['run']}.json")


@pytest.mark.long
def test_a_canary_that_fails_leaves_all_others_alone_whatever_the_budget(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    ill, well, other = server("ill"), server("well"), server("other")
    bring_up({first: [other], second: [ill, well]})
    before = runs_of(first, [other]), runs_of(second, [ill])
    break_start(second, ill)

    ran = playbook("rolling_restart", [first, second], rollout_canary=second.name, rollout_max_failures="100%")
    assert ran.rc == 2
    # The node is blamed where the canary failed, not the first, on which the run is counted.
    assert recap(ran) == {first.name: 0, second.name: 1, "localhost": 0}
    assert (runs_of(first, [other]), runs_of(second, [ill])) == before
    assert result_of(tmp_path)["stopped"] == "the canary failed"
    assert outcomes(result_of(tmp_path))["other"] == "not_done"


@pytest.mark.long
def test_a_server_that_fails_after_the_canary_counts_for_the_budget_and_blames_its_node(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    ill, well, other = server("ill"), server("well"), server("other")
    bring_up({first: [other], second: [ill, well]})
    break_start(second, ill)
    ran = playbook("rolling_restart", [first, second], rollout_canary=1, rollout_max_failures=1)
    assert ran.rc == 2
    assert recap(ran) == {first.name: 0, second.name: 1, "localhost": 0}
    assert outcomes(result_of(tmp_path)) == {"other": "done", "ill": "refused image_unavailable", "well": "done"}
    assert result_of(tmp_path)["batches"] == {"planned": 2, "begun": 2}


@pytest.mark.long
def test_a_budget_in_percent_a_pause_between_batches_and_a_run_that_goes_on_to_its_end(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    ill, well = server("ill", priority=1), [server(f"well{number}") for number in range(3)]
    bring_up({node: [ill, *well]})
    break_start(node, ill)
    before = runs_of(node, well)

    assert playbook("rolling_restart", [node], rollout_max_failures="24%").rc == 2
    assert result_of(tmp_path)["stopped"] == "1 failed, 0 allowed"
    assert runs_of(node, well) == before

    ran = playbook("rolling_restart", [node], rollout_max_failures="25%", rollout_batch_size=1, rollout_pause=1.5)
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {"ill": "refused image_unavailable", **dict.fromkeys(before, "done")}
    assert ran.stdout.count("Waiting 1.5 s before batch ") == 3
    after = runs_of(node, well)
    begun = sorted(datetime.fromisoformat(f"{text[:23]}+00:00") for text in after.values())
    assert all((later - earlier).total_seconds() >= 1.5 for earlier, later in itertools.pairwise(begun))

    assert playbook("rolling_restart", [node], rollout_on_failure="continue").rc == 2
    assert outcomes(result_of(tmp_path)) == {"ill": "refused image_unavailable", **dict.fromkeys(before, "done")}
    assert result_of(tmp_path)["stopped"] is None


TWO_ROLES = {"hosts": "nodes", "gather_facts": False, "become": True, "roles": ["fleet.power.rollout"]}
STOP_FIRST = {"name": "Stop", **TWO_ROLES, "vars": {"rollout_action": "stop"}}


@pytest.mark.long
def test_of_two_runs_in_one_command_the_second_knows_nothing_of_the_first(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    lost = {"name": "Lose one", "ansible.builtin.meta": "end_host", "when": f"inventory_hostname == '{second.name}'"}
    start = {"name": "Start", **TWO_ROLES, "vars": {"rollout_action": "start", "rollout_max_failures": 1}, "pre_tasks": [lost]}
    play = tmp_path / "two.yml"
    play.write_text(json.dumps([STOP_FIRST, start]))
    ran = playbook(play, [first, second])
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {"here": "done", second.name: "unknown node_unreachable"}
    assert (first.is_up(uuid_of(here)), second.is_up(uuid_of(there))) == (True, False)


@pytest.mark.long
def test_of_two_runs_in_one_command_the_second_which_is_refused_has_a_result_of_its_own(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    here = server("here")
    bring_up({node: [here]})
    refused = {"name": "Fail", **TWO_ROLES, "vars": {"rollout_action": "start", "rollout_options": {"wait_seconds": 5}}}
    play = tmp_path / "two.yml"
    play.write_text(json.dumps([STOP_FIRST, refused]))
    ran = playbook(play, [node])
    assert ran.rc == 2
    assert result_of(tmp_path)["msg"].startswith("Cannot use wait_seconds in rollout_options (power_options): only what looking and acting")
    assert not node.is_up(uuid_of(here))


@pytest.mark.long
def test_a_server_that_does_not_stay_up_or_is_not_ready_in_time_has_failed(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    falls, stays, later = server("falls", CRASH_AFTER=2), server("stays", priority=1), server("later")
    node.define(falls, stays, later)
    ran = playbook("power", [node], power_action="start", power_servers="all", rollout_soak=3, rollout_wait_for="running")
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {"falls": "failed did_not_stay_up", "stays": "done", "later": "done"}

    stays["settings"]["environment"]["BOOT_SECONDS"] = 60
    node.define(stays)
    before = runs_of(node, [later])
    ran = playbook("rolling_restart", [node], rollout_batch_size=1, rollout_wait_for="running", rollout_wait_timeout=3)
    assert ran.rc == 2
    assert {"stays": "failed start_timeout", "later": "not_done"}.items() <= outcomes(result_of(tmp_path)).items()
    assert runs_of(node, [later]) == before
    resume = json.loads(Path(result_of(tmp_path)["resume_file"]).read_text())
    assert [line.split()[1].rstrip(":") for line in resume["not_done"]] == ["later"]
    # It is left up, and may be killed.
    assert playbook("power", [node], power_action="kill", power_servers=["stays"]).rc == 0
    assert (node.is_up(uuid_of(stays)), node.is_up(uuid_of(later))) == (False, True)
    assert [each["outcome"] for each in operations(node, stays, "kill")] == ["done"]


@pytest.mark.long
def test_nodes_and_servers_are_taken_in_the_order_of_their_priorities_and_given_back_in_reverse(lease: Lease, tmp_path: Path) -> None:
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
    # A batch is its line and two tasks; only the first node, which includes the second's for the sake of the order, is passed by.
    begun = [line.partition(" ")[2] for line in ran.stdout.splitlines() if " Batch " in line and " ended " not in line]
    assert [line.partition(" [")[0] for line in begun] == [
        f"Batch 1 of 3: {second.name} proxy",
        f"Batch 2 of 3: {first.name} lobby",
        f"Batch 3 of 3: {first.name} game",
    ]
    assert begun[2].endswith(" left]")
    assert ran.stdout.count("skipping: [node-") == 1
    assert ran.stdout.count("included: ") == ran.stdout.count("Act on the servers") == 3
    assert result_of(tmp_path)["ok"]
    assert resume_files(tmp_path) == []

    # All those of another group, which has one of the nodes.
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
def test_a_kill_in_check_mode_touches_nothing(lease: Lease) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    before = runs_of(first, [here]), runs_of(second, [there])
    checked = playbook("power", [first, second], "--check", power_action="kill", power_servers="all")
    assert checked.rc == 0, checked.output
    assert "2 done (check mode, nothing was changed)" in checked.stdout
    assert (runs_of(first, [here]), runs_of(second, [there])) == before
    assert first.is_up(uuid_of(here)) and second.is_up(uuid_of(there))


@pytest.mark.long
def test_only_what_is_selected_is_touched_and_check_mode_touches_nothing(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    fits = server("fits", labels={"tier": "game"}, egg=EGG)
    label, egg, plain = server("label", labels={"tier": "game"}), server("egg", labels={"tier": "web"}, egg=EGG), server("plain")
    bring_up({node: [fits, label, egg, plain]})
    every = [fits, label, egg, plain]
    before = runs_of(node, every)

    checked = playbook("rolling_restart", [node], "--check", rollout_labels={"tier": "game"})
    assert checked.rc == 0, checked.output
    assert sorted(line.split()[2] for line in table_of(checked)[1:]) == ["fits", "label"]
    assert all("stop timeout 600 s, from the node's system.stop_timeout" in line for line in table_of(checked)[1:])
    assert "2 done (check mode, nothing was changed)" in checked.stdout
    assert not (tmp_path / ".ansible/fleet_power").exists()
    assert runs_of(node, every) == before

    assert playbook("rolling_restart", [node], rollout_labels={"tier": "game"}, rollout_eggs=[EGG], rollout_states=["running"]).rc == 0
    after = runs_of(node, every)
    assert [name for name in after if after[name] != before[name]] == ["fits"]

    lost = playbook("rolling_restart", [node], power_servers=["fits", "nobody"])
    assert lost.rc == 2
    assert result_of(tmp_path)["code"] == "server_not_found"
    assert runs_of(node, every) == after


@pytest.mark.long
def test_a_suspended_server_fails_the_run_before_it_begins_or_is_only_reported(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    owing, paid = server("owing"), server("paid")
    bring_up({node: [owing, paid]})
    owing["settings"]["suspended"] = True
    node.define(owing)
    before = runs_of(node, [owing, paid])

    assert playbook("rolling_restart", [node], rollout_suspended="fail").rc == 2
    assert outcomes(result_of(tmp_path)) == {"owing": "refused suspended", "paid": "not_done"}
    assert runs_of(node, [owing, paid]) == before

    assert playbook("rolling_restart", [node], rollout_suspended="skip").rc == 0
    assert outcomes(result_of(tmp_path)) == {"owing": "skipped suspended", "paid": "done"}
    after = runs_of(node, [owing, paid])
    assert [after[name] == before[name] for name in ("owing", "paid")] == [True, False]


@pytest.mark.long
def test_a_task_before_the_batch_that_fails_on_a_node_leaves_that_nodes_servers_alone(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    here, there = server("here"), server("there")
    bring_up({first: [here], second: [there]})
    before = runs_of(second, [there])
    tasks = tmp_path / "before.yml"
    command = f"echo {{{{ rollout_batch }}}} {{{{ rollout_batch_servers | join(' ') }}}} > /root/told; test $(hostname) = {first.name}"
    tasks.write_text(json.dumps([{"name": "Warn the players", "ansible.builtin.shell": command}]))

    nodes = [first, second]
    ran = playbook("rolling_restart", nodes, rollout_before_batch_tasks=str(tasks), rollout_serial=0, rollout_max_failures=1)
    assert ran.rc == 2
    assert outcomes(result_of(tmp_path)) == {"here": "done", "there": "failed before_batch_failed"}
    assert "Warn the players" in result_of(tmp_path)["servers"][1]["msg"]
    assert [node.ssh("cat /root/told").split() for node in nodes] == [["1", uuid_of(here)], ["1", uuid_of(there)]]
    assert runs_of(second, [there]) == before
    assert len(resume_files(tmp_path)) == 1


@pytest.mark.long
def test_batches_whose_only_node_was_lost_before_them_are_counted_and_the_others_go_on(lease: Lease, tmp_path: Path) -> None:
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
    assert "Batch 3 of 4 passed over, since its nodes are lost: 1 server unknown" in ran.stdout
    assert recap(ran) == {first.name: 1, second.name: 0, third.name: 0, "localhost": 0}


def test_after_ctrl_c_the_next_run_waits_for_what_is_in_flight_and_does_nothing_twice(lease: Lease, tmp_path: Path) -> None:
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

    (typed,) = re.findall(r"If it is interrupted, go on with the same command and (.*)", cut.stdout)
    ran = playbook("rolling_restart", [first, second], *shlex.split(typed))
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"slow": "done", "later": "done"}
    assert [each["outcome"] for each in operations(first, slow)] == ["done"]
    assert len(operations(second, later)) == 1
    assert resume_files(tmp_path) == []
