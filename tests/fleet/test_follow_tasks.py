# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task speaks whatever its keywords, or keeps quiet where it must; either way its result is the one without."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from .followed import UNFOLLOWED, Definition, Watch, lasting, only_result, play, power, progress_in, told
from .lab import Lease, Node, adhoc_begun, bring_up, inventory, playbook_begun, server, uuid_of
from .ran import Ran
from .rollout import operations


def played(node: Node, task: dict[str, Any], *arguments: str, **keywords: object) -> Ran:
    """Run a play of one task on a node, whose result must be the one without progress."""
    ran = playbook_begun(play(task, **keywords), [node], *arguments).finish()
    assert ran.rc == 0, ran.output
    silent = playbook_begun(play(task, **keywords), [node], *arguments, surroundings=UNFOLLOWED).finish()
    assert silent.rc == 0, silent.output
    assert progress_in(silent.output) == []
    assert lasting([_shown(each["result"]) for each in ran.results]) == lasting([_shown(each["result"]) for each in silent.results])
    return ran


def _shown(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what names a job of Ansible's own."""
    return {name: value for name, value in result.items() if name not in ("ansible_job_id", "results_file")}


def slow(name: str = "slow", seconds: float = 4) -> Definition:
    return server(name, STOP_SECONDS=seconds)


def restarted(ran: Ran) -> list[str]:
    """The names of the servers of which a line says that they were restarted."""
    return told([text for _host, text in progress_in(ran.output)], "restart done")


@pytest.mark.long
@pytest.mark.parametrize("poll", [0, 1, 5])
def test_a_task_that_is_asynchronous_by_itself_says_nothing_and_ends_as_ever(node: Node, poll: int) -> None:
    one = slow(seconds=3)
    bring_up({node: [one]})
    tasks = [
        power("restart", [one], wait_for="running", async_=60, poll_=poll, register_="begun"),
        *(
            [
                {
                    "name": "End",
                    "ansible.builtin.async_status": {"jid": "{{ begun.ansible_job_id }}"},
                    "register": "ended",
                    "until": "ended is finished",
                    "retries": 30,
                    "delay": 1,
                }
            ]
            if poll == 0
            else []
        ),
    ]
    ran = playbook_begun(play(*tasks), [node]).finish()
    assert ran.rc == 0, ran.output
    assert progress_in(ran.output) == []
    assert ran.results[-1]["result"]["servers"][0]["outcome"] == "done"
    assert len(operations(node, one)) == 1


@pytest.mark.long
def test_check_mode_says_what_would_be_done_and_does_nothing(node: Node) -> None:
    one = slow()
    bring_up({node: [one]})
    before = node.started_at(uuid_of(one))
    ran = played(node, power("restart", [one]), "--check", "--diff")
    assert progress_in(ran.output) == []
    assert node.started_at(uuid_of(one)) == before


@pytest.mark.long
def test_a_task_with_no_log_says_nothing(node: Node) -> None:
    one = slow("Unnamed")
    bring_up({node: [one]})
    ran = played(node, power("restart", [one], wait_for="running", no_log_=True))
    assert "Unnamed" not in ran.output
    assert progress_in(ran.output) == []


@pytest.mark.long
def test_a_task_in_a_play_with_no_log_says_nothing(node: Node) -> None:
    one = slow("Unnamed")
    bring_up({node: [one]})
    ran = played(node, power("restart", [one], wait_for="running"), no_log=True)
    assert "Unnamed" not in ran.output
    assert progress_in(ran.output) == []


@pytest.mark.long
def test_each_round_of_a_loop_speaks(node: Node) -> None:
    servers = [slow("one"), slow("two")]
    bring_up({node: servers})
    task = power("restart", "{{ item }}", wait_for="running", loop_=["one", "two"])
    ran = played(node, task)
    assert restarted(ran) == ["one", "two"]
    assert [each["servers"][0]["name"] for each in only_result(ran)["results"]] == ["one", "two"]


@pytest.mark.long
def test_each_try_of_a_task_that_is_retried_speaks(node: Node) -> None:
    one = slow("one")
    bring_up({node: [one]})
    task = power("restart", [one], wait_for="running", register_="answer", until_="answer.attempts | default(1) == 2", retries_=3, delay_=0)
    ran = playbook_begun(play(task), [node]).finish()
    assert ran.rc == 0, ran.output
    assert restarted(ran) == ["one", "one"]
    assert len(operations(node, one)) == 2


@pytest.mark.long
def test_a_delegated_task_names_the_host_that_is_meant_and_acts_where_it_was_sent(lease: Lease) -> None:
    first, second = lease(2)
    one = slow("one")
    bring_up({second: [one]})
    task = power("restart", [one], wait_for="running", delegate_to_=second.name, run_once_=True)
    ran = playbook_begun(play(task), [first, second]).finish()
    assert ran.rc == 0, ran.output
    assert restarted(ran) == ["one"]
    assert len(operations(second, one)) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    "keywords",
    [{"serial": 1}, {"strategy": "free"}, {"strategy": "host_pinned"}],
    ids=lambda keywords: "_".join(map(str, *keywords.items())),
)
def test_a_play_on_two_nodes_speaks_of_each_by_its_name(lease: Lease, keywords: dict[str, object]) -> None:
    first, second = lease(2)
    servers = {first: slow("one"), second: slow("two", 6)}
    bring_up({node: [each] for node, each in servers.items()})
    ran = playbook_begun(play(power("restart", "all", wait_for="running"), **keywords), [first, second]).finish()
    assert ran.rc == 0, ran.output
    ended = [(host, text.split()[0]) for host, text in progress_in(ran.output) if "restart done" in text]
    assert ended == [(first.name, "one"), (second.name, "two")]


@pytest.mark.long
def test_twenty_hosts_that_are_one_node_are_all_answered(node: Node) -> None:
    names = [f"s{number:02}" for number in range(20)]
    servers = {name: slow(name, 3) for name in names}
    bring_up({node: list(servers.values())})
    where = inventory([node])
    written = json.loads(where.read_text())
    hosts = {f"host-{name}": {"ansible_host": node.address, "me": uuid_of(each)} for name, each in servers.items()}
    written["all"]["children"]["nodes"]["hosts"] = hosts
    where.write_text(json.dumps(written))
    task = power("restart", "{{ me }}", wait_for="running")
    ran = playbook_begun(play(task), where, "--forks", "20").finish()
    assert ran.rc == 0, ran.output
    assert sorted(each["result"]["servers"][0]["name"] for each in ran.results) == names
    lines = re.findall(r"^(\d\d:\d\d:\d\d) .*$", ran.output, re.MULTILINE)
    assert max(lines.count(second) for second in lines) <= 3
    assert "[20 of 20]" in ran.output


@pytest.mark.long
def test_a_result_of_megabytes_comes_whole(node: Node) -> None:
    one = slow("slow", 3)
    bring_up({node: [one]})
    nobody = [f"{'nobody' * 40}-{number}" for number in range(3000)]
    servers = [uuid_of(one), *nobody]
    path = play(power("restart", "{{ them }}", max_parallel=50, wait_for="running"))
    ran, silent = (playbook_begun(path, [node], surroundings=how, them=servers).finish() for how in ({}, UNFOLLOWED))
    assert ran.rc == silent.rc == 2
    size = len(json.dumps(only_result(ran)))
    assert size > 2_000_000, size
    assert lasting(only_result(ran)) == lasting(only_result(silent))


@pytest.mark.long
@pytest.mark.parametrize("way", [{"ansible_pipelining": True}, {"ansible_pipelining": False}], ids=["pipelined", "copied"])
def test_a_local_connection_speaks(node: Node, tmp_path: Path, way: dict[str, object]) -> None:
    servers = [slow("one", 1), slow("two", 5)]
    bring_up({node: servers})
    # From here at the node's engine, with what else a node has in a directory of the test's own.
    (tmp_path / "servers").mkdir()
    for each in servers:
        (tmp_path / "servers" / f"{uuid_of(each)}.json").write_text(json.dumps(each))
    places = {"definitions": "servers", "lock_directory": "run", "state_directory": "state", "data": "volumes"}
    (tmp_path / "config.yml").write_text(json.dumps({"system": {name: str(tmp_path / place) for name, place in places.items()}}))
    where = inventory([node], ansible_connection="local", ansible_python_interpreter=sys.executable, **way)
    named = {"server": [uuid_of(each) for each in servers], "config": str(tmp_path / "config.yml"), "docker_host": node.docker_host}
    watch = Watch(adhoc_begun(where, "server_power", {"action": "stop", **named}))
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    ended = watch.ends("stop done")
    assert ended["two"] - ended["one"] > 2
