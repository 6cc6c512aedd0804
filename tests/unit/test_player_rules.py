# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action with regard to players does next, and what options of it mean: the rules alone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.players.countdown_rules import (
    Move,
    Situation,
    decide,
    mark_reached,
    must_go,
    next_change,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import OnMaxDelay, PlayerCount, PlayerPolicy, read_policy
from hypothesis import given
from hypothesis import strategies as st

SKIP = PlayerPolicy(2, 600, OnMaxDelay.SKIP, (60, 10))
PROCEED = PlayerPolicy(2, 600, OnMaxDelay.PROCEED, (60, 10))
QUIET = PlayerPolicy(2, 600, OnMaxDelay.SKIP)

policies = st.builds(
    PlayerPolicy,
    st.integers(0, 5),
    st.integers(100, 1000),
    st.sampled_from(OnMaxDelay),
    st.lists(st.integers(1, 100), max_size=5, unique=True).map(lambda marks: tuple(sorted(marks, reverse=True))),
)
counts = st.one_of(st.none(), st.integers(0, 10)).map(PlayerCount)


@pytest.mark.parametrize(
    "policy, online, passed, due, move",
    [
        (SKIP, 0, 0, None, Move.GO),
        (SKIP, 0, 599, 650, Move.GO),
        (SKIP, 2, 0, None, Move.COUNT),
        (SKIP, 3, 0, None, Move.WAIT),
        (SKIP, None, 0, None, Move.WAIT),
        (SKIP, 2, 544, None, Move.COUNT),
        (SKIP, 2, 546, None, Move.WAIT),
        (SKIP, 2, 600, None, Move.REFUSE),
        (SKIP, None, 600, None, Move.REFUSE),
        (SKIP, 3, 30, 60, Move.CALL_OFF),
        (SKIP, None, 30, 60, Move.COUNT),
        (SKIP, None, 60, 60, Move.CALL_OFF),
        (SKIP, 2, 60, 60, Move.GO),
        (QUIET, 3, 0, None, Move.WAIT),
        (PROCEED, 3, 539, None, Move.WAIT),
        (PROCEED, 3, 540, None, Move.COUNT),
        (PROCEED, 9, 550, 600, Move.COUNT),
        (PROCEED, 9, 100, 120, Move.CALL_OFF),
        (PROCEED, None, 120, 120, Move.CALL_OFF),
        (PROCEED, None, 600, 600, Move.GO),
        (PROCEED, 9, 600, 600, Move.GO),
    ],
)
def test_the_next_move(policy: PlayerPolicy, online: int | None, passed: float, due: float | None, move: Move) -> None:
    assert decide(policy, Situation(PlayerCount(online), passed, due)) is move


@given(policies, st.lists(counts, min_size=1, max_size=50), st.floats(0.5, 20))
def test_it_comes_to_an_end_in_time_whoever_plays(policy: PlayerPolicy, seen: list[PlayerCount], pause: float) -> None:
    passed, due, step = 0.0, None, 0
    while True:
        count = seen[min(step, len(seen) - 1)]
        move = decide(policy, Situation(count, passed, due))
        if move is Move.GO:
            # Nobody is there, or few enough, or it had to go on, and those who were there had the whole of a countdown.
            allowed = count.online is not None and count.online <= policy.at_most
            assert count.online == 0 or allowed or must_go(policy, passed)
            assert count.online == 0 or not policy.warn or (due is not None and passed >= due)
            break
        if move is Move.REFUSE:
            assert policy.on_max_delay is OnMaxDelay.SKIP and passed >= policy.max_delay and count.online != 0
            break
        if move is Move.COUNT and due is None:
            due = passed + policy.countdown_seconds
        if move is Move.CALL_OFF:
            due = None
        passed, step = passed + min(pause, max(next_change(policy, Situation(count, passed, due)) - passed, 0.001)), step + 1
    # A countdown may end a little later, and one that is called off then is looked at once more.
    assert passed <= policy.max_delay + 6 + pause


@given(st.lists(st.integers(1, 600), min_size=1, max_size=8, unique=True), st.floats(0.1, 30))
def test_each_mark_is_told_once_and_in_order(marks: list[int], pause: float) -> None:
    marks.sort(reverse=True)
    told: list[int] = []
    left = float(marks[0])
    while left > 0:
        mark = mark_reached(marks, left, told[-1] if told else 0)
        if mark:
            told.append(mark)
        left -= pause
    assert told == sorted(set(told), reverse=True) and told[0] == marks[0]
    if pause <= 1:
        assert told == marks


@pytest.mark.parametrize(
    "given_options, words",
    [
        ({"max_delay": 5}, "max_delay alone"),
        ({"players_at_most": -1}, "players_at_most=-1"),
        ({"players_at_most": "3"}, "players_at_most=str"),
        ({"players_at_most": 0, "max_delay": 10**30}, "max_delay=int"),
        ({"players_at_most": 0, "on_max_delay": "proceed"}, "without max_delay"),
        ({"players_at_most": 0, "on_max_delay": "never"}, "proceed or skip"),
        ({"warn": [60], "on_max_delay": "skip"}, "without players_at_most"),
        ({"warn": [60], "max_delay": 59}, "first mark of warn is 60 s"),
        ({"players_at_most": 0, "warn": [60], "max_delay": 60}, "it happens only while nobody plays, so nobody could be told"),
        ({"warn": [0]}, "warn=0"),
        ({"warn": "60"}, "expected a list"),
        ({"warn": list(range(1, 30))}, "at most 20"),
        ({"warn": [5], "warn_message": " \n\u200f"}, "expected text"),
    ],
)
def test_options_that_make_no_sense_are_refused(given_options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        read_policy("restart", True, given_options)
