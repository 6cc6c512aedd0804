# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task outlives its connection: what was not heard is told once the node is back, and its result is that of the task."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from .followed import (
    HOLD,
    MUTE,
    PATIENCE,
    QUESTION,
    Definition,
    Watch,
    await_hold,
    begun,
    cut,
    name_of,
    only_result,
    progress_in,
    settled,
    told,
)
from .lab import Lease, Node, adhoc_begun, bring_up, playbook_begun, server, uuid_of
from .rollout import operations, outcomes, result_of

#: What a connection that hangs takes until it is noticed here, and what a new one may take to fail.
NOTICED, CONNECTING = 8, 12


def stop_begun(node: Node, servers: Sequence[Definition], **options: object) -> Watch:
    """Begin to stop servers, ad hoc."""
    return Watch(adhoc_begun([node], "server_power", {"action": "stop", "server": [uuid_of(each) for each in servers], **options}))


@pytest.mark.samples("9")
@pytest.mark.parametrize("seconds", [9, 20])
def test_a_node_cut_off_in_the_middle_gives_all_lines_that_were_missed_and_the_result(node: Node, seconds: float) -> None:
    # Ended before the cut, during it, and after it; a busy machine may take some seconds to come to the cut.
    ends = {"before": 1.0, "early": seconds * 0.85, "late": seconds * 0.95, "after": seconds * 2.0 if seconds > 10 else seconds + 3.0}
    servers = [server(name, STOP_SECONDS=takes) for name, takes in ends.items()]
    bring_up({node: servers})
    watch = stop_begun(node, servers)
    watch.await_end("before", "stop done")
    with cut(node, seconds):
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
def test_a_rollout_goes_on_when_a_node_was_cut_off_for_20_s_and_counts_it_as_done(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    lost, next_one, other = server("lost", STOP_SECONDS=25), server("next"), server("other", STOP_SECONDS=2)
    bring_up({first: [lost, next_one], second: [other]})
    watch = Watch(playbook_begun("rolling_restart", [first, second], rollout_serial=0, rollout_batch_size=1))
    await_hold(first, lost)
    time.sleep(2)
    with cut(first, 20):
        pass
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert outcomes(result_of(tmp_path)) == {"lost": "done", "next": "done", "other": "done"}
    assert [len(operations(node, each)) for node, each in ((first, lost), (first, next_one), (second, other))] == [1, 1, 1]


@pytest.mark.long
def test_a_node_out_of_reach_for_longer_than_the_patience_is_unreachable_and_finishes_what_it_had_begun(node: Node) -> None:
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
def test_a_node_that_is_cut_off_does_not_keep_another_from_speaking(lease: Lease) -> None:
    lost, other = lease(2)
    lasting = {lost: server("lost", STOP_SECONDS=16), other: server("other", STOP_SECONDS=6)}
    last = server("last", STOP_SECONDS=12)
    bring_up({lost: [lasting[lost]], other: [lasting[other], last]})
    watch = Watch(adhoc_begun([lost, other], "server_power", {"action": "stop", "server": "all"}))
    watch.await_text("lost stopping")
    with cut(lost, 14):
        watch.await_end("other", "stop done")
        watch.await_end("last", "stop done")
    ran = watch.finish()
    assert ran.rc == 0, ran.output


@pytest.mark.long
def test_what_waits_for_its_turn_waits_for_a_node_that_is_cut_off_and_is_done_when_it_is_back(node: Node) -> None:
    servers = [server(f"s{number:02}", STOP_SECONDS=2) for number in range(12)]
    bring_up({node: servers})
    watch = stop_begun(node, servers, max_parallel=1)
    watch.await_end("s00", "stop done")
    with cut(node, 35):
        cut_at = time.time()
    back_at = time.time()
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    moments = begun(node, servers).values()
    assert len(moments) == len(servers)
    assert [round(at - cut_at) for at in moments if cut_at + QUESTION + HOLD + 1 < at < back_at] == []
    assert only_result(ran)["summary"] == {"done": len(servers)}


@pytest.mark.long
def test_a_task_without_lines_outlives_its_connection_as_well(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=16)
    bring_up({node: [slow]})
    going = adhoc_begun([node], "server_power", {"action": "stop", "server": "all"}, surroundings=MUTE)
    await_hold(node, slow)
    time.sleep(3)
    with cut(node, 10):
        pass
    ran = going.finish()
    assert ran.rc == 0, ran.output
    assert progress_in(ran.output) == []
    assert only_result(ran)["summary"] == {"done": 1}


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
