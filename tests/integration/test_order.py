# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers acted on in order and apart from each other, on a real engine: tiers, budgets, signals and kills between them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from .lab import Lab, wait_until
from .many import assert_all_free, beside, endings, last_operations, power_each, seconds, servers, started

#: The engine's and the journal's clock are one, their figures cut to milliseconds.
EXACT = 0.002


def prioritised(lab: Lab, priorities: Sequence[int], **environment: object) -> list[str]:
    """Servers that have never run, whose definitions say their priorities."""
    uuids = servers(lab, len(priorities), **environment)
    for uuid, priority in zip(uuids, priorities):
        lab.edit(uuid, meta={"name": f"server-{uuid[:8]}", "priority": priority})
    return uuids


def spans(lab: Lab, uuids: Sequence[str]) -> list[tuple[float, float]]:
    """When the last operation of each server began and ended."""
    found = last_operations(lab, uuids)
    return [(seconds(found[uuid].begun_at), seconds(found[uuid].ended_at)) for uuid in uuids]


def assert_one_tier_after_the_other(lab: Lab, tiers: Sequence[Sequence[str]]) -> None:
    """Nobody has begun before all of the tier before had ended."""
    for before, after in zip(tiers, tiers[1:]):
        assert min(begun for begun, _end in spans(lab, after)) >= max(ended for _begun, ended in spans(lab, before)) - EXACT


def test_a_start_begins_with_the_lowest_priority_and_tiers_wait_for_readiness(lab: Lab) -> None:
    game, proxy, lobby, other = prioritised(lab, [100, 10, 50, 100], BOOT_SECONDS=0.3)
    results = power_each(lab, "start", [game, proxy, lobby, other], priorities={}, wait_for="running")
    assert [result.server.uuid for result in results] == [game, proxy, lobby, other], "told in the order asked"
    assert endings(results) == [("done", "")] * 4
    assert_one_tier_after_the_other(lab, [[proxy], [lobby], [game, other]])


@pytest.mark.samples("stop")
@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_stop_or_kill_begins_with_the_highest(lab: Lab, action: str) -> None:
    proxy, lobby, game = prioritised(lab, [10, 50, 100])
    power_each(lab, "start", [proxy, lobby, game], wait_for="running")
    assert endings(power_each(lab, action, [proxy, lobby, game], priorities={})) == [("done", "")] * 3
    assert_one_tier_after_the_other(lab, [[game], [lobby], [proxy]])


@pytest.mark.samples("2")
@pytest.mark.parametrize("max_parallel", [0, 2])
def test_servers_begin_apart_and_those_with_nothing_to_do_or_refused_do_not_count(lab: Lab, max_parallel: int) -> None:
    up, suspended = started(lab, 1)[0], lab.server(suspended=True)
    uuids = servers(lab, 3)
    results = power_each(lab, "start", [suspended, up, *uuids], stagger=1.5, max_parallel=max_parallel)
    assert endings(results) == [("refused", "suspended"), ("unchanged", ""), *[("done", "")] * 3]
    begun = sorted(begun for begun, _end in spans(lab, uuids))
    gaps = [after - before for before, after in zip(begun, begun[1:])]
    # What is written down as its beginning comes a moment after its turn.
    assert all(0.8 < gap < 10 for gap in gaps), gaps
    assert sum(result.seconds for result in results[:2]) < 5


def test_a_signal_ends_the_wait_between_two_servers_at_once(lab: Lab) -> None:
    uuids = servers(lab, 4, BOOT_SECONDS=1)
    signalled = threading.Event()
    with beside(
        lambda: power_each(
            lab, "start", uuids, stagger=3600, priorities={uuids[3]: 900}, interrupted=signalled.is_set, wait_for="container"
        ),
        signalled.set,
    ) as starting:
        wait_until(lambda: any(lab.is_up(uuid) for uuid in uuids), "one is up")
        signalled.set()
        results = starting.result(10)
    assert sorted(endings(results)) == [("done", ""), *[("skipped", "interrupted_by_signal")] * 3]
    assert sum(lab.is_up(uuid) for uuid in uuids) == 1
    assert_all_free(lab, uuids)


def test_a_kill_cancels_a_start_that_waits_to_begin_apart(lab: Lab) -> None:
    first, second = prioritised(lab, [1, 2])
    stopping = threading.Event()
    with beside(
        lambda: power_each(lab, "start", [first, second], stagger=3600, priorities={}, interrupted=stopping.is_set), stopping.set
    ) as starting:
        wait_until(lambda: lab.is_up(first), "the first is up")
        killed = power_each(lab, "kill", [second], wait_seconds=0)
        results = starting.result(10)
    assert endings(results) == [("done", ""), ("cancelled", "cancelled_by_kill")]
    assert endings(killed)[0][0] in ("done", "unchanged")
    assert not lab.is_up(second)
