# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The waits between two tries, and what there is to say of a server after its runs have ended."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import (
    LOOP_WAIT,
    EndedRun,
    Limits,
    SupervisionState,
    Verdict,
    seconds_left,
    supervision_of,
    wait_before,
)
from hypothesis import given
from hypothesis import strategies as st

LIMITS = Limits(max_restarts=10, reset_after=600.0)
CRASH = EndedRun(
    Server("566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "Paper"),
    Run("c1", "2026-03-01T10:00:00Z"),
    Verdict.CRASHED,
    due=True,
    consecutive_crashes=1,
    boot="b1",
    next_at=100.0,
)


def told(*rows: EndedRun, live: bool = False, crashes_in_day: int = 1, limits: Limits = LIMITS) -> SupervisionState:
    return supervision_of(rows, live=live, crashes_in_day=crashes_in_day, limits=limits)


class TestWaitBefore:
    @pytest.mark.parametrize(
        ("consecutive_crashes", "wait"), [(1, 0), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300), (10, 300)]
    )
    def test_the_first_crash_is_answered_at_once_and_others_ever_later(self, consecutive_crashes: int, wait: float) -> None:
        assert wait_before(consecutive_crashes, 0, LIMITS) == wait

    @pytest.mark.parametrize(("tries", "wait"), [(0, 0), (1, 0), (2, 10), (3, 20)])
    def test_what_ended_without_a_crash_is_started_at_once_too(self, tries: int, wait: float) -> None:
        assert wait_before(0, tries, LIMITS) == wait

    @given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 1000))
    def test_no_wait_is_negative_or_longer_than_the_longest(self, consecutive_crashes: int, tries: int, most: int) -> None:
        assert 0 <= wait_before(consecutive_crashes, tries, Limits(most)) <= LOOP_WAIT

    @given(st.integers(0, 1000))
    def test_no_crash_makes_the_next_wait_shorter(self, most: int) -> None:
        waits = [wait_before(consecutive_crashes, 0, Limits(most)) for consecutive_crashes in range(most + 3)]
        assert all(earlier <= later for earlier, later in zip(waits, waits[1:]))


class TestSecondsLeft:
    @pytest.mark.parametrize(("now", "left"), [(40.0, 60.0), (100.0, 0.0), (5000.0, 0.0)])
    def test_they_are_those_until_the_next_try_and_none_once_it_is_due(self, now: float, left: float) -> None:
        assert seconds_left(CRASH, "b1", now) == left

    @given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e9))
    def test_no_clock_and_no_row_makes_them_more_than_the_longest_wait(self, next_at: float, now: float) -> None:
        assert 0 <= seconds_left(replace(CRASH, next_at=next_at), "b1", now) <= LOOP_WAIT


class TestSupervisionOf:
    @pytest.mark.parametrize("due", [True, False])
    def test_more_crashes_in_a_row_than_allowed_are_a_crash_loop(self, due: bool) -> None:
        assert told(replace(CRASH, consecutive_crashes=11, due=due)) is SupervisionState.CRASH_LOOP

    @pytest.mark.parametrize("verdict", [each for each in Verdict if each is not Verdict.STOPPED])
    def test_one_that_is_down_and_not_due_was_left(self, verdict: Verdict) -> None:
        assert told(replace(CRASH, verdict=verdict, due=False)) is SupervisionState.STAYS_DOWN

    def test_one_that_was_stopped_here_is_well(self) -> None:
        assert told(replace(CRASH, verdict=Verdict.STOPPED, due=False)) is SupervisionState.OK

    @pytest.mark.parametrize(("crashes", "state"), [(5, SupervisionState.OK), (6, SupervisionState.FLAPPING)])
    def test_more_than_five_crashes_in_a_day_are_flapping_though_it_is_up(self, crashes: int, state: SupervisionState) -> None:
        assert told(CRASH, live=True, crashes_in_day=crashes) is state
