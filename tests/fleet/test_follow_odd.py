# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else happens to a task that is followed: time limits, signals, cuts at odd moments, shells that talk, environments, other users."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .followed import (
    HANDED_OVER,
    HOLD,
    QUESTION,
    UNFOLLOWED,
    Definition,
    Watch,
    await_hold,
    begun,
    lasting,
    only_result,
    play,
    power,
    progress_in,
    settled,
    told,
)
from .lab import Lease, Node, adhoc_begun, bring_up, inventory, playbook_begun, server, uuid_of
from .people import BY_SUDO_WITHOUT_PASSWORD, PASSWORD, PERSON, person
from .rollout import operations, outcomes, result_of, resume_files
from .terminal import Terminal


def queued(count: int = 10) -> list[Definition]:
    """Servers that take some seconds each."""
    return [server(f"s{number:02}", STOP_SECONDS=3) for number in range(count)]


@contextmanager
def cut(node: Node, seconds: float) -> Iterator[None]:
    node.faults.cut()
    until = time.monotonic() + seconds
    try:
        yield
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        node.faults.join()


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
    print(ran.output)
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
    print(ran.output)
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
    print(ran.output)
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
    print(ran.output)
    assert ran.rc == 0, ran.output
    assert only_result(ran)["summary"] == {"done": 3}
    assert [len(operations(node, each)) for each in servers] == [1, 1, 1]


@pytest.mark.long
@pytest.mark.parametrize("way", [{"ansible_pipelining": True}, {"ansible_pipelining": False}], ids=["pipelined", "copied"])
def test_a_shell_that_talks_when_it_begins_takes_no_line_away(node: Node, way: dict[str, object]) -> None:
    servers = [server("quick"), server("slow", STOP_SECONDS=5)]
    bring_up({node: servers})
    node.ssh("cp /root/.bashrc /root/.bashrc.kept 2>/dev/null; echo 'echo Welcome, stranger; echo warning >&2' > /root/.bashrc")
    try:
        watch = Watch(adhoc_begun(inventory([node], **way), "server_power", {"action": "restart", "server": "all"}))
        ran = watch.finish()
    finally:
        node.ssh("rm -f /root/.bashrc; mv /root/.bashrc.kept /root/.bashrc 2>/dev/null || true")
    print(ran.output)
    assert ran.rc == 0, ran.output
    assert sorted(told(watch.texts(), "restart done")) == ["quick", "slow"]


@pytest.mark.long
@pytest.mark.parametrize(
    "keywords",
    [
        {"environment": {"TMPDIR": "/var/tmp"}},
        {"environment": "{{ mine }}", "vars": {"mine": {"LANG": "C"}}},
        {"environment": [{"A": "1"}, {"A": "2"}]},
    ],
    ids=["a_dictionary", "a_variable", "a_list"],
)
@pytest.mark.parametrize("of", ["play", "task"])
def test_a_task_with_an_environment_keeps_it(node: Node, keywords: dict[str, object], of: str) -> None:
    slow = server("slow", STOP_SECONDS=4)
    bring_up({node: [slow]})
    task = power("restart", [slow], wait_for="running")
    path = play({**task, **keywords}) if of == "task" else play(task, **keywords)
    ran, plain = (playbook_begun(path, [node], surroundings=how).finish() for how in ({}, UNFOLLOWED))
    print(ran.output)
    assert ran.rc == plain.rc == 0, ran.output
    assert progress_in(ran.output) != []
    assert lasting(only_result(ran)) == lasting(only_result(plain))


@pytest.mark.long
def test_an_interpreter_that_had_to_be_found_is_told_as_ever(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=4)
    bring_up({node: [slow]})
    path = play(power("restart", [slow], wait_for="running"))
    where = inventory([node], ansible_python_interpreter="auto")
    ran, plain = (playbook_begun(path, where, surroundings=how).finish() for how in ({}, UNFOLLOWED))
    print(ran.output)
    assert ran.rc == plain.rc == 0, ran.output
    assert lasting(only_result(ran)) == lasting(only_result(plain))
    assert ran.output.count("WARNING") == plain.output.count("WARNING")


@pytest.mark.long
def test_warnings_of_a_task_are_told_once(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=4)
    bring_up({node: [slow]})
    path = play(power("restart", [slow], wait_for="healthy", wait_seconds=4000))
    ran, plain = (playbook_begun(path, [node], surroundings=how).finish() for how in ({}, UNFOLLOWED))
    print(ran.output)
    assert ran.rc == plain.rc == 0, ran.output
    assert only_result(plain)["warnings"] == only_result(ran)["warnings"] != []
    assert ran.stderr.count("wait_seconds=4000") + ran.stdout.count("wait_seconds=4000") == plain.output.count("wait_seconds=4000")


@pytest.mark.long
@pytest.mark.parametrize("way", [{"ansible_pipelining": True}, {"ansible_pipelining": False}], ids=["pipelined", "copied"])
def test_a_task_that_becomes_a_user_who_is_not_root_is_followed(node: Node, way: dict[str, object]) -> None:
    servers = [server("quick"), server("slow", STOP_SECONDS=5)]
    with person(node, sudo=BY_SUDO_WITHOUT_PASSWORD, groups=("docker", "fleet-power")):
        for directory in ("/run/fleet-power", "/var/lib/fleet-power", "/etc/fleet-power"):
            node.ssh(f"install -d -o root -g fleet-power -m 2770 {directory}")
        bring_up({node: servers})
        node.ssh("chgrp -R fleet-power /etc/fleet-power /run/fleet-power /var/lib/fleet-power/journal*; chmod -R g+rX /etc/fleet-power")
        where = inventory([node], **way, ansible_become=True, ansible_become_user=PERSON, ansible_shell_allow_world_readable_temp=True)
        watch = Watch(adhoc_begun(where, "server_power", {"action": "stop", "server": "all"}))
        ran = watch.finish()
        assert ran.rc == 0, ran.output
        assert sorted(told(watch.texts(), "stop done")) == ["quick", "slow"]
        # His, where others may write, for nobody else to look into.
        assert node.ssh("find /var/tmp/fleet-power-jobs-* -printf '%m %u\n' | sort -u").splitlines() == [f"600 {PERSON}", f"700 {PERSON}"]


@pytest.mark.long
def test_two_who_act_on_one_node_at_a_time_hear_each_of_his_own(node: Node) -> None:
    servers = [server("one", STOP_SECONDS=5), server("two", STOP_SECONDS=6)]
    bring_up({node: servers})
    watches = [Watch(adhoc_begun([node], "server_power", {"action": "stop", "server": [uuid_of(each)]})) for each in servers]
    for watch, name in zip(watches, ("one", "two")):
        ran = watch.finish()
        assert ran.rc == 0, ran.output
        assert told(watch.texts(), "stop done") == [name]
        assert [each["name"] for each in only_result(ran)["servers"]] == [name]


@pytest.mark.long
def test_who_waits_for_the_lock_of_another_says_so_and_acts_after_it(node: Node) -> None:
    one = server("one", STOP_SECONDS=8)
    bring_up({node: [one]})
    first = Watch(adhoc_begun([node], "server_power", {"action": "restart", "server": [uuid_of(one)]}))
    await_hold(node, one)
    second = Watch(adhoc_begun([node], "server_power", {"action": "restart", "server": [uuid_of(one)], "wait_seconds": 60}))
    second.await_text("waiting for its lock")
    for watch in (first, second):
        ran = watch.finish()
        assert ran.rc == 0, ran.output
        assert told(watch.texts(), "restart done") == ["one"]
    assert len(operations(node, one)) == 2


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
