# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task outlives its connection: what was not heard is told once the node is back, and its result is that of the task."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from .followed import (
    HOLD,
    PATIENCE,
    QUESTION,
    Definition,
    Watch,
    await_hold,
    begun,
    cut,
    name_of,
    only_result,
    queued,
    settled,
    told,
)
from .lab import Node, adhoc_begun, bring_up, inventory, server, uuid_of
from .rollout import operations

#: What a connection that hangs takes until it is noticed here, and what a new one may take to fail.
NOTICED, CONNECTING = 8, 12


def stop_begun(node: Node, servers: Sequence[Definition], **options: object) -> Watch:
    """Begin to stop servers, ad hoc."""
    return Watch(adhoc_begun([node], "server_power", {"action": "stop", "server": [uuid_of(each) for each in servers], **options}))


def test_a_node_cut_off_in_the_middle_gives_each_missed_line_and_the_result(node: Node) -> None:
    # Ended before the cut, during it, and after it; a busy machine may take some seconds to come to the cut.
    ends = {"before": 1.0, "early": 7.5, "late": 8.5, "after": 12.0}
    servers = [server(name, STOP_SECONDS=takes) for name, takes in ends.items()]
    bring_up({node: servers})
    watch = stop_begun(node, servers)
    watch.await_end("before", "stop done")
    with cut(node, 9):
        assert any("reach" in each.text for each in watch.said) or watch.await_text("reach", NOTICED + 4)
        assert list(watch.ends("stop done")) == ["before"]
    back = watch.now()
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    # None is lost, and none is told twice.
    assert sorted(told(watch.texts(), "stop done")) == sorted(ends)
    moments = watch.ends("stop done")
    assert max(moments["early"], moments["late"]) - back < 4
    assert {each["name"]: each["outcome"] for each in only_result(ran)["servers"]} == dict.fromkeys(ends, "done")
    assert [len(operations(node, each, "stop")) for each in servers] == [1] * len(servers)


@pytest.mark.long
def test_a_node_cut_off_for_too_long_is_unreachable_and_finishes_what_has_begun(node: Node) -> None:
    servers = [server(f"s{number:02}", STOP_SECONDS=3) for number in range(20)]
    bring_up({node: servers})
    watch = stop_begun(node, servers, max_parallel=1)
    watch.await_end("s00", "stop done")
    with cut(node, 0):
        cut_at, cut_moment = time.time(), watch.now()
        ran = watch.finish()
        assert ran.rc != 0
        assert PATIENCE < ran.seconds - cut_moment < PATIENCE + NOTICED + 2 * CONNECTING
        assert only_result(ran).get("unreachable") is True, ran.output
        acted = begun(node, servers)
    # Nobody asks any more: what went on then is finished, nothing else begins, whether the node is back or not.
    assert settled(node, servers, quiet=10) == acted
    assert max(acted.values()) - cut_at < QUESTION + HOLD + 1
    ended = {name_of(each): [row["outcome"] for row in operations(node, each, "stop")] for each in servers if name_of(each) in acted}
    assert ended == {name: ["done"] for name in acted}
    assert [name_of(each) for each in servers if not node.is_up(uuid_of(each))] == sorted(acted)


@pytest.mark.long
def test_a_node_cut_off_before_its_task_was_handed_over_is_followed_all_the_same(node: Node) -> None:
    servers = [server("first", STOP_SECONDS=12), server("second", STOP_SECONDS=25)]
    bring_up({node: servers})
    watch = stop_begun(node, servers)
    await_hold(node, servers[0])
    with cut(node, 20):
        assert watch.said == []
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert {"first", "second"} == set(told(watch.texts(), "stop done"))
    assert {each["name"]: each["outcome"] for each in only_result(ran)["servers"]} == {"first": "done", "second": "done"}
    assert [len(operations(node, each, "stop")) for each in servers] == [1, 1]


@pytest.mark.long
def test_a_node_that_reboots_meanwhile_is_told_as_interrupted(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=30)
    bring_up({node: [slow]})
    watch = stop_begun(node, [slow])
    watch.await_text("slow stopping")
    node.faults.reboot()
    ran = watch.finish()
    assert ran.rc != 0, ran.output
    assert only_result(ran).get("code") == "interrupted", ran.output


@pytest.mark.long
def test_a_node_that_was_booted_before_it_could_answer_does_nothing_twice(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=3)
    bring_up({node: [slow]})
    watch = stop_begun(node, [slow])
    await_hold(node, slow)
    with cut(node, 0):
        settled(node, [slow])
        node.faults.halt()
    node.faults.boot()
    ran = watch.finish()
    assert only_result(ran).get("code") == "interrupted", ran.output
    assert [row["outcome"] for row in operations(node, slow, "stop")] == ["done"]


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
