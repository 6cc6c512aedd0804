# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job after the end of its connection, its caller, or its process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from .jobs import (
    HANDED_OVER,
    HOLD,
    PATIENCE,
    POLL,
    Definition,
    Watch,
    await_gap,
    await_hold,
    await_poll,
    begun,
    cut,
    name_of,
    names_in,
    only_result,
    play,
    power,
    pythons,
    queued,
    settled,
    the_job,
)
from .lab import Node, adhoc_begun, bring_up, inventory, playbook_begun, server, uuid_of, wait_until
from .rollout import operations
from .terminal import Terminal

Moment = Callable[[Node, list[Definition]], None]


def at_the_start(node: Node, servers: list[Definition]) -> None:
    await_hold(node, servers[0])


def during_a_poll(node: Node, servers: list[Definition]) -> None:
    await_hold(node, servers[1])
    await_poll(node)
    time.sleep(0.2)


def between_polls(node: Node, servers: list[Definition]) -> None:
    await_hold(node, servers[1])
    await_gap(node)


def stop_begun(node: Node, servers: list[Definition]) -> Watch:
    options = {"action": "stop", "server": [uuid_of(each) for each in servers], "max_parallel": 1}
    return Watch(adhoc_begun([node], "server_power", options))


def finished(node: Node, servers: list[Definition], ended_at: float, within: float) -> None:
    """Fail unless all begun stops have ended, and none began later than ``within`` seconds after ``ended_at``."""
    acted = settled(node, servers)
    late = {name: round(at - ended_at, 1) for name, at in acted.items() if at > ended_at + within}
    assert late == {}, f"begun after {within} s: {late}"
    assert len(acted) < len(servers)
    assert {
        name_of(each): [row["outcome"] for row in operations(node, each, "stop")][:1] for each in servers if name_of(each) in acted
    } == {name: ["done"] for name in acted}
    assert [name_of(each) for each in servers if not node.is_up(uuid_of(each))] == sorted(acted)


@pytest.mark.long
@pytest.mark.parametrize("moment", [at_the_start, during_a_poll, between_polls], ids=lambda moment: moment.__name__)
def test_after_ctrl_c_a_job_finishes_begun_servers_and_begins_no_other(node: Node, moment: Moment) -> None:
    servers = queued()
    bring_up({node: servers})
    watch = stop_begun(node, servers)
    moment(node, servers)
    watch.going.interrupt()
    ended_at = time.time()
    ran = watch.finish()
    assert ran.rc != 0, ran.output
    finished(node, servers, ended_at, HOLD + 0.5)


#: Seconds until a job has noticed the end of its caller. The begun server needs 3 s more.
NOTICED_SECONDS = 3.0
#: Seconds between two checks of a wait for players.
CHECK_SECONDS = 5


@pytest.mark.long
def test_a_second_ctrl_c_ends_the_command_at_once_and_the_job_soon(node: Node) -> None:
    servers = queued()
    bring_up({node: servers})
    watch = stop_begun(node, servers)
    during_a_poll(node, servers)
    watch.going.interrupt()
    time.sleep(0.05)
    watch.going.interrupt()
    began = time.monotonic()
    assert watch.finish().rc != 0
    assert time.monotonic() - began < 1.5
    wait_until(lambda: not pythons(node), "the job has ended", NOTICED_SECONDS + 3 + 2)


@pytest.mark.long
def test_after_ctrl_c_at_a_real_terminal_a_job_begins_no_other_server(node: Node) -> None:
    servers = queued()
    bring_up({node: servers})
    options = {"action": "stop", "server": [uuid_of(each) for each in servers], "max_parallel": 1}
    with Terminal([node], "server_power", options) as terminal:
        during_a_poll(node, servers)
        terminal.type("\x03")
        ended_at = time.time()
        assert terminal.finish() != 0
    finished(node, servers, ended_at, HOLD + 0.5)


@pytest.mark.long
@pytest.mark.parametrize("moment", [at_the_start, during_a_poll, between_polls], ids=lambda moment: moment.__name__)
def test_after_a_kill_of_the_controller_a_job_finishes_only_begun_servers(node: Node, moment: Moment) -> None:
    servers = queued()
    bring_up({node: servers})
    watch = stop_begun(node, servers)
    moment(node, servers)
    watch.going.kill()
    # Ansible's workers lead their own sessions, and outlive the command until their next poll.
    finished(node, servers, time.time(), POLL + HOLD + 1)


@pytest.mark.long
def test_a_task_reports_a_killed_job_within_seconds(node: Node) -> None:
    servers = queued()
    bring_up({node: servers})
    watch = stop_begun(node, servers)
    during_a_poll(node, servers)
    node.ssh(f"kill -9 {the_job(node)}")
    killed = watch.now()
    ran = watch.finish()
    assert ran.seconds - killed < 8
    result = only_result(ran)
    assert ran.rc != 0
    assert result.get("code") == "interrupted", result
    assert result["msg"].startswith("Cannot tell how the action ended")
    assert len(begun(node, servers)) < len(servers)


def is_waited_for(node: Node, servers: list[Definition]) -> bool:
    records = [node.root / f"run/fleet-power/{uuid_of(each)}.countdown" for each in servers]
    return all(record.exists() and record.read_text().strip() for record in records)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)], ids=["ad hoc", "playbook"])
def test_ctrl_c_ends_a_wait_for_players_at_once(node: Node, whole: bool) -> None:
    servers = [server("a"), server("b")]
    bring_up({node: servers})
    options = {"players_at_most": 1, "max_delay": 3600, "warn": [600]}
    if whole:
        going = playbook_begun("rolling_restart", [node], **{f"rollout_{name}": value for name, value in options.items()})
    else:
        going = adhoc_begun([node], "server_power", {"action": "restart", "server": [uuid_of(each) for each in servers], **options})
    wait_until(lambda: is_waited_for(node, servers), "the job waits for players", 60)
    # The ad hoc task may not be a job yet.
    time.sleep(4 if whole else 0)
    going.interrupt()
    assert going.finish().rc != 0
    wait_until(lambda: not pythons(node), "the job has ended", NOTICED_SECONDS + CHECK_SECONDS + 5)
    assert not any((node.root / f"run/fleet-power/{uuid_of(each)}.countdown").read_text().strip() for each in servers)
    assert all(node.is_up(uuid_of(each)) for each in servers)
    assert begun(node, servers, "restart") == {}


@pytest.mark.long
@pytest.mark.parametrize("after", [3, 8], ids=["before_the_job", "during_the_job"])
def test_a_task_after_its_timeout_finishes_begun_servers_and_begins_no_other(node: Node, after: int) -> None:
    servers = queued()
    bring_up({node: servers})
    ran = playbook_begun(play(power("stop", servers, max_parallel=1, timeout_=after)), [node]).finish()
    assert ran.rc == 2
    # Ansible does not end its ssh. The module still runs, but its answer is lost.
    finished(node, servers, time.time(), HANDED_OVER + HOLD + 0.5)


#: Seconds until this machine notices a hanging connection, and until a new connection fails.
NOTICED, CONNECTING = 8, 12


def stop_begun_with(node: Node, servers: Sequence[Definition], **options: object) -> Watch:
    return Watch(adhoc_begun([node], "server_power", {"action": "stop", "server": [uuid_of(each) for each in servers], **options}))


def test_a_task_gets_each_missed_line_and_the_result_after_a_cut_of_the_network(node: Node) -> None:
    # One server stops before the cut, two during it, and one after it. A busy machine may cut some seconds late.
    ends = {"before": 1.0, "early": 7.5, "late": 8.5, "after": 12.0}
    servers = [server(name, STOP_SECONDS=takes) for name, takes in ends.items()]
    bring_up({node: servers})
    watch = stop_begun_with(node, servers)
    watch.await_end("before", "stop done")
    with cut(node, 9):
        assert any("reach" in each.text for each in watch.said) or watch.await_text("reach", NOTICED + 4)
        assert list(watch.ends("stop done")) == ["before"]
    back = watch.now()
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    # Each line arrives exactly once.
    assert sorted(names_in(watch.texts(), "stop done")) == sorted(ends)
    moments = watch.ends("stop done")
    assert max(moments["early"], moments["late"]) - back < 4
    assert {each["name"]: each["outcome"] for each in only_result(ran)["servers"]} == dict.fromkeys(ends, "done")
    assert [len(operations(node, each, "stop")) for each in servers] == [1] * len(servers)


@pytest.mark.long
def test_a_node_cut_off_for_too_long_is_unreachable_and_finishes_begun_servers(node: Node) -> None:
    servers = [server(f"s{number:02}", STOP_SECONDS=3) for number in range(20)]
    bring_up({node: servers})
    watch = stop_begun_with(node, servers, max_parallel=1)
    watch.await_end("s00", "stop done")
    with cut(node, 0):
        cut_at, cut_moment = time.time(), watch.now()
        ran = watch.finish()
        assert ran.rc != 0
        assert PATIENCE < ran.seconds - cut_moment < PATIENCE + NOTICED + 2 * CONNECTING
        assert only_result(ran).get("unreachable") is True, ran.output
        acted = begun(node, servers)
    # No poll reaches the job any more. It finishes begun servers and begins no other, even after the network is back.
    assert settled(node, servers, quiet=10) == acted
    assert max(acted.values()) - cut_at < POLL + HOLD + 1
    ended = {name_of(each): [row["outcome"] for row in operations(node, each, "stop")] for each in servers if name_of(each) in acted}
    assert ended == {name: ["done"] for name in acted}
    assert [name_of(each) for each in servers if not node.is_up(uuid_of(each))] == sorted(acted)


@pytest.mark.long
def test_a_task_gets_lines_and_result_after_a_cut_at_the_start_of_the_job(node: Node) -> None:
    servers = [server("first", STOP_SECONDS=12), server("second", STOP_SECONDS=25)]
    bring_up({node: servers})
    watch = stop_begun_with(node, servers)
    await_hold(node, servers[0])
    with cut(node, 20):
        assert watch.said == []
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert {"first", "second"} == set(names_in(watch.texts(), "stop done"))
    assert {each["name"]: each["outcome"] for each in only_result(ran)["servers"]} == {"first": "done", "second": "done"}
    assert [len(operations(node, each, "stop")) for each in servers] == [1, 1]


@pytest.mark.long
def test_a_reboot_of_the_node_interrupts_a_job(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=30)
    bring_up({node: [slow]})
    watch = stop_begun_with(node, [slow])
    watch.await_text("slow stopping")
    node.faults.reboot()
    ran = watch.finish()
    assert ran.rc != 0, ran.output
    assert only_result(ran).get("code") == "interrupted", ran.output


@pytest.mark.long
def test_a_job_acts_once_if_its_node_boots_before_the_answer(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=3)
    bring_up({node: [slow]})
    watch = stop_begun_with(node, [slow])
    await_hold(node, slow)
    with cut(node, 0):
        settled(node, [slow])
        node.faults.halt()
    node.faults.boot()
    ran = watch.finish()
    assert only_result(ran).get("code") == "interrupted", ran.output
    assert [row["outcome"] for row in operations(node, slow, "stop")] == ["done"]


@pytest.mark.long
def test_a_job_acts_once_under_retries_of_ssh(node: Node) -> None:
    servers = queued(3)
    bring_up({node: servers})
    where = inventory([node], ansible_ssh_retries=3)
    options = {"action": "restart", "server": "all", "max_parallel": 1}
    watch = Watch(adhoc_begun(where, "server_power", options))
    await_hold(node, servers[0])
    with cut(node, 12):
        pass
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert only_result(ran)["summary"] == {"done": 3}
    assert [len(operations(node, each)) for each in servers] == [1, 1, 1]
