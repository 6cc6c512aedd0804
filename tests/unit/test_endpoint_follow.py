# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run began after a request: whatever figures say, one that began before is never taken for a younger one."""

from __future__ import annotations

import random

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.answers import Seen
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.follow import RunChanges
from ansible_collections.fleet.power.tests.unit.endpoint_support import OFFLINE, RUNNING, seen

#: What was seen, when that look was sent, and when its answer came.
Look = tuple[Seen, float, float]


def verdicts(before: Seen, *looks: Look) -> list[bool]:
    runs = RunChanges(before)
    return [runs.began_after(each, sent, at) for each, sent, at in looks]


def up(uptime: int, sent: float, at: float | None = None) -> Look:
    return seen(RUNNING, uptime), sent, sent if at is None else at


def down(sent: float) -> Look:
    return seen(OFFLINE), sent, sent


def test_a_run_is_compared_with_the_time_at_which_the_look_was_sent() -> None:
    # Offline was said too early: the old process, whose age was not known, is still there.
    assert verdicts(seen(RUNNING), down(0.2), up(5000, 1, at=9)) == [False, False]
    assert verdicts(seen(RUNNING), down(0.2), up(5000, 6, at=9)) == [False, True]


@pytest.mark.parametrize("seed", range(30))
def test_no_lag_delay_or_single_wrong_figure_makes_an_old_run_a_younger_one(seed: int) -> None:
    chance = random.Random(seed)
    age = chance.choice([0.3, 1.0, 3.0, 60.0])

    def figure(moment: float, sampled: float) -> int:
        return max(0, int((age + min(moment, sampled)) * 1000))

    runs, now, sampled = RunChanges(seen(RUNNING, figure(0, 0))), 0.0, 0.0
    for _look in range(200):
        now += chance.uniform(0.05, 1.0)
        if chance.random() < 0.5:
            sampled = now
        uptime = figure(now, sampled)
        if chance.random() < 0.1:
            # The next one is true again.
            uptime, sampled = chance.choice([0, 1, 500, uptime // 2]), now
            wrong = RunChanges.began_after(runs, *up(uptime, now, at=now + chance.uniform(0, 9)))
            assert not wrong
            now += 0.1
            uptime = figure(now, now)
        assert not runs.began_after(*up(uptime, now, at=now + chance.uniform(0, 9)))
