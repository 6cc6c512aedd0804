# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk through every state of a model, and the report on the need for its rules."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

#: The state of any model, and its rules.
_AnyState = TypeVar("_AnyState")
_AnyRule = TypeVar("_AnyRule", bound=Enum)


def explored(
    cast: Iterable[_AnyState], look: Callable[[_AnyState], tuple[str, Iterable[tuple[str, _AnyState]]]], *, first_bad: bool
) -> tuple[Mapping[_AnyState, tuple[_AnyState, str] | None], dict[str, list[str]]]:
    """Walk from the states of a cast through every state. ``look`` returns the kind of a bad state, else "", and the moves to follow.

    Return each state with the one before it and the move from there, and the shortest way to each kind of bad state.
    """
    before: dict[_AnyState, tuple[_AnyState, str] | None] = dict.fromkeys(cast)
    queue, bad = deque(before), dict[str, list[str]]()
    while queue and not (first_bad and bad):
        state = queue.popleft()
        kind, following = look(state)
        if kind and kind not in bad:
            bad[kind] = _way_to(state, before)
        for event, after in following:
            if after not in before:
                before[after] = (state, event)
                queue.append(after)
    return before, bad


def _way_to(state: _AnyState, before: Mapping[_AnyState, tuple[_AnyState, str] | None]) -> list[str]:
    events: list[str] = []
    step = before[state]
    while step is not None:
        events.append(step[1])
        step = before[step[0]]
    return events[::-1]


def show_ways(rule: Enum, states: int, bad: Mapping[str, Sequence[str]], where: str = "") -> None:
    """Print the way to each kind of bad state that a walk without a rule has found."""
    for kind, events in bad.items():
        print(f"\nwithout {rule.name} ({rule.value}): {kind} after {states} states{where}")
        print("\n".join(f"  {number}. {event}" for number, event in enumerate(events, 1)))


def show_needs(casts: Iterable[str], shown_by: Mapping[_AnyRule, str], walk: Callable[..., Any], all_rules: frozenset[_AnyRule]) -> None:
    """Print the size of each cast, and the need for each rule."""
    for name in casts:
        everything = walk(name, all_rules)
        print(f"all rules, {name}: {everything.states} states, bad: {everything.bad or 'none'}")
    for rule, name in shown_by.items():
        found = walk(name, all_rules - {rule}, first_bad=True)
        show_ways(rule, found.states, found.bad, f", with {name}")
