# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a task at odd moments: it runs out of time, is signalled, put to sleep or cut off; what had begun is finished, once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .followed import (
    HANDED_OVER,
    HOLD,
    QUESTION,
    Definition,
    Watch,
    await_hold,
    begun,
    cut,
    only_result,
    play,
    power,
    queued,
    settled,
    told,
)
from .lab import Lease, Node, adhoc_begun, bring_up, inventory, playbook_begun, server, uuid_of
from .people import PASSWORD, PERSON, person
from .rollout import operations, outcomes, result_of, resume_files
from .terminal import Terminal


def nothing_later(node: Node, servers: list[Definition], since: float, within: float) -> None:
    """Fail unless all that has begun is finished, and nothing has begun later."""
    acted = settled(node, servers)
    assert {name: round(at - since, 1) for name, at in acted.items() if at > since + within} == {}
    assert len(acted) < len(servers)
    assert sum(not node.is_up(uuid_of(each)) for each in servers) == len(acted)


@pytest.mark.long
@pytest.mark.parametrize("after", [3, 8], ids=["before_it_is_followed", "while_it_is_followed"])
def test_a_task_that_runs_out_of_its_time_finishes_what_it_had_begun_and_begins_nothing_else(node: Node, after: int) -> None:
    servers = queued()
    bring_up({node: servers})
    ran = playbook_begun(play(power("stop", servers, max_parallel=1, timeout_=after)), [node]).finish()
    assert ran.rc == 2
    # Ansible leaves its ssh alone. A call that it did not wait for any more is answered, to nobody.
    nothing_later(node, servers, time.time(), HANDED_OVER + HOLD + 0.5)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("after", [0.3, 5.0])
def test_after_another_signal_to_the_run_soon_nothing_else_begins(node: Node, number: int, after: float) -> None:
    servers = queued()
    bring_up({node: servers})
    options = {"action": "stop", "server": [uuid_of(each) for each in servers], "max_parallel": 1}
    going = adhoc_begun([node], "server_power", options)
    await_hold(node, servers[0])
    time.sleep(after)
    os.kill(going.pid, number)
    ended_at = time.time()
    assert going.finish().rc != 0
    # SIGHUP ends Ansible without a word to its workers.
    nothing_later(node, servers, ended_at, HOLD + (QUESTION if number == signal.SIGHUP else 0.5) + 1)


@pytest.mark.long
def test_after_the_window_of_a_terminal_was_closed_soon_nothing_else_begins(node: Node) -> None:
    servers = queued()
    bring_up({node: servers})
    options = {"action": "stop", "server": [uuid_of(each) for each in servers], "max_parallel": 1}
    with Terminal([node], "server_power", options):
        await_hold(node, servers[1])
    nothing_later(node, servers, time.time(), HOLD + QUESTION + 1)


@pytest.mark.long
def test_a_controller_that_slept_for_a_while_goes_on_with_nothing_lost(node: Node) -> None:
    servers = queued(8)
    bring_up({node: servers})
    options = {"action": "stop", "server": [uuid_of(each) for each in servers], "max_parallel": 1}
    watch = Watch(adhoc_begun([node], "server_power", options))
    watch.await_end("s00", "stop done")
    sleepers = _descendants(watch.going.pid)
    for pid in sleepers:
        os.kill(pid, signal.SIGSTOP)
    slept_at = time.time()
    time.sleep(25)
    for pid in sleepers:
        os.kill(pid, signal.SIGCONT)
    woken_at = time.time()
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert [at for at in begun(node, servers).values() if slept_at + QUESTION + HOLD + 1 < at < woken_at] == []
    assert only_result(ran)["summary"] == {"done": len(servers)}


def _descendants(pid: int) -> list[int]:
    """A process and all below it."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return [pid, *(each for child in children for each in _descendants(child))]


@pytest.mark.long
@pytest.mark.parametrize("after", [1.4, 1.7, 2.0, 2.3])
def test_a_node_cut_off_as_its_task_is_handed_over_gives_the_result_all_the_same(node: Node, after: float) -> None:
    slow = server("slow", STOP_SECONDS=14)
    bring_up({node: [slow]})
    watch = Watch(adhoc_begun([node], "server_power", {"action": "stop", "server": "all"}))
    await_hold(node, slow)
    time.sleep(after)
    with cut(node, 10):
        pass
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert only_result(ran)["summary"] == {"done": 1}
    assert len(operations(node, slow, "stop")) == 1


@pytest.mark.long
def test_a_node_cut_off_as_its_task_ends_gives_the_result_all_the_same(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=6)
    bring_up({node: [slow]})
    watch = Watch(adhoc_begun([node], "server_power", {"action": "stop", "server": "all"}))
    watch.await_end("slow", "stop done")
    with cut(node, 12):
        pass
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert only_result(ran)["summary"] == {"done": 1}


@pytest.mark.long
def test_a_node_cut_off_twice_gives_each_line_once(node: Node) -> None:
    servers = [server(f"s{number}", STOP_SECONDS=5 + number * 9) for number in range(5)]
    bring_up({node: servers})
    watch = Watch(adhoc_begun([node], "server_power", {"action": "stop", "server": "all"}))
    watch.await_text("stopping")
    for _turn in range(2):
        with cut(node, 10):
            pass
        time.sleep(4)
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert sorted(told(watch.texts(), "stop done")) == [f"s{number}" for number in range(5)]


@pytest.mark.long
@pytest.mark.parametrize("way", [{"ansible_pipelining": True}, {"ansible_pipelining": False}], ids=["pipelined", "copied"])
def test_a_node_cut_off_is_followed_with_a_password_of_sudo_and_without_a_connection_kept(node: Node, way: dict[str, object]) -> None:
    slow = server("slow", STOP_SECONDS=18)
    bring_up({node: [slow]})
    with person(node, sudo=f"{PERSON} ALL=(ALL:ALL) ALL\nDefaults:{PERSON} timestamp_timeout=0") as how:
        where = inventory([node], **how, **way, ansible_become=True, ansible_become_password=PASSWORD)
        where.write_text(where.read_text().replace("ControlMaster=auto", "ControlMaster=no"))
        watch = Watch(adhoc_begun(where, "server_power", {"action": "stop", "server": "all"}))
        watch.await_text("slow stopping")
        with cut(node, 12):
            pass
        ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert only_result(ran)["summary"] == {"done": 1}


@pytest.mark.long
def test_ssh_that_tries_again_by_itself_does_nothing_twice(node: Node) -> None:
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


@pytest.mark.long
def test_ctrl_c_in_a_rolling_run_leaves_what_another_run_goes_on_with_and_does_nothing_twice(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    servers = {first: [server("a1", STOP_SECONDS=6), server("a2")], second: [server("b1", STOP_SECONDS=6), server("b2")]}
    bring_up(servers)
    going = playbook_begun("rolling_restart", [first, second], rollout_batch_size=1)
    await_hold(first, servers[first][0])
    time.sleep(4)
    going.interrupt()
    assert going.finish().rc != 0
    settled(first, servers[first], "restart")
    assert begun(second, servers[second], "restart") == {}
    (resume,) = resume_files(tmp_path)
    ran = playbook_begun("rolling_restart", [first, second], rollout_resume=str(resume)).finish()
    assert ran.rc == 0, ran.output
    assert set(outcomes(result_of(tmp_path)).values()) <= {"done", "unchanged"}
    every = [(node, each) for node, all_of_it in servers.items() for each in all_of_it]
    assert [[row["outcome"] for row in operations(node, each)].count("done") for node, each in every] == [1] * 4


@pytest.mark.long
@pytest.mark.parametrize("way", [{"ansible_pipelining": True}, {"ansible_pipelining": False}], ids=["pipelined", "copied"])
def test_nothing_is_left_at_a_node_of_a_task_whose_controller_went_away(node: Node, way: dict[str, object]) -> None:
    slow = server("slow", STOP_SECONDS=6)
    bring_up({node: [slow]})
    before = node.ssh("ls -A /tmp /var/tmp /root/.ansible/tmp 2>/dev/null || true")
    watch = Watch(adhoc_begun(inventory([node], **way), "server_power", {"action": "stop", "server": "all"}))
    watch.await_text("slow stopping")
    watch.going.interrupt()
    settled(node, [slow])
    time.sleep(2)
    left = node.ssh("ls -A /tmp /var/tmp /root/.ansible/tmp 2>/dev/null || true")
    # What Ansible itself copied before is its own to remove.
    assert [line for line in left.splitlines() if line not in before and not line.startswith(("ansible-tmp-", "/"))] == []
