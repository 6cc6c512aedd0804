# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that are followed under odd conditions: shells that talk, environments, found interpreters, warnings, other users, company."""

from __future__ import annotations

import pytest

from .followed import (
    UNFOLLOWED,
    Watch,
    await_hold,
    lasting,
    only_result,
    play,
    power,
    progress_in,
    told,
)
from .lab import Node, adhoc_begun, bring_up, inventory, playbook_begun, server, uuid_of
from .people import BY_SUDO_WITHOUT_PASSWORD, PERSON, person
from .rollout import operations


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
    assert ran.rc == plain.rc == 0, ran.output
    assert lasting(only_result(ran)) == lasting(only_result(plain))
    assert ran.output.count("WARNING") == plain.output.count("WARNING")


@pytest.mark.long
def test_warnings_of_a_task_are_told_once(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=4)
    bring_up({node: [slow]})
    path = play(power("restart", [slow], wait_for="healthy", wait_seconds=4000))
    ran, plain = (playbook_begun(path, [node], surroundings=how).finish() for how in ({}, UNFOLLOWED))
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
