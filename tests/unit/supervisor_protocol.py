# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk of the supervisor's protocol. As a module, it prints for each rule the shortest way to a bad state without that rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ansible_collections.fleet.power.tests.unit.model_walk import explored, show_needs
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_moves import Rules, outside_moves, supervisor_moves, system_moves
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_states import (
    ALL_RULES,
    At,
    Cause,
    Left,
    Row,
    Rule,
    Run,
    State,
    Verdict,
    Wish,
    row_fault,
)

_LONG_AGO = Run(Cause.CRASH, telling=True, excused=True)
#: Replaces each run that can have no more effect.
_PAST = Run(Cause.CRASH, row=Row(Verdict.CRASH))

_UP = State((Run(kept=True),), Left())
_BLIND = _UP._replace(readable=False)

#: The events of each walk, and how often they happen. A walk with all events would not end.
CASTS = {
    "two crashes": (_UP._replace(left=Left(crashes=2, deaths=2, losses=1, faults=1, starts=1)),),
    "a person at the engine": tuple(
        each._replace(left=Left(crashes=1, ends=1, stops=1, starts=1, deaths=1, losses=1)) for each in (_UP, _BLIND)
    ),
    "an engine shut down": tuple(
        each._replace(left=Left(crashes=1, ends=1, stops=1, signals=1, deaths=1, losses=1, shutdowns=1)) for each in (_UP, _BLIND)
    ),
    "the first look": (
        State((_LONG_AGO,), Left(crashes=1, actions=1, cuts=1, deaths=1, starts=1), wish=Wish.DOWN, looked=False),
        _UP._replace(left=Left(crashes=1, actions=1, cuts=1, deaths=1, starts=1), looked=False),
    ),
    "a person here": (_UP._replace(left=Left(crashes=1, actions=1, cuts=1, deaths=1, losses=1, starts=1)),),
    "a full disk": (_UP._replace(left=Left(crashes=1, actions=1, cuts=1, deaths=1, faults=1, losses=1)),),
    "two actions here": (_UP._replace(left=Left(crashes=1, actions=2, cuts=1, faults=1)),),
    "two actions cut off": (_UP._replace(left=Left(actions=2, cuts=2, starts=1, deaths=1)),),
    "a replaced journal": (_UP._replace(left=Left(crashes=1, actions=1, cuts=1, deaths=1, faults=1, replacements=1)),),
    "a hang": (
        _UP._replace(left=Left(hangs=1, recoveries=1, actions=1, cuts=1, deaths=1, starts=1)),
        _UP._replace(left=Left(hangs=1, stops=1, deaths=1, shutdowns=1)),
    ),
    "an engine shut down in an action": (_UP._replace(left=Left(crashes=1, actions=1, cuts=1, deaths=1, shutdowns=1)),),
}

_SHOWN = {
    "two crashes": (Rule.KEEP_SEEN, Rule.ROW_BEFORE_START, Rule.ROW_IS_UNIQUE, Rule.ROW_NAMES_RUN),
    "an engine shut down": (
        Rule.AWAIT_SHUTDOWN,
        Rule.ENGINE_RESTORES,
        Rule.MARK_BEFORE_ENGINE,
        Rule.STARTUP_BEFORE_MARK,
        Rule.SIGNAL_SPOILS_MARK,
        Rule.KEEP_SIGNAL,
    ),
    "a person at the engine": (Rule.KEEP_CURSOR, Rule.MARK_BEFORE_CODE, Rule.MARK_DECIDES, Rule.UNSEEN_IS_DOWN, Rule.WRITES_NO_INTENT),
    "the first look": (Rule.BASELINE,),
    "a person here": (
        Rule.START_ASKS_INTENT,
        Rule.ENDER_WRITES_ROW,
        Rule.STARTER_NOTES_END,
        Rule.KEEP_RESTART,
        Rule.KEEP_GENERATION,
    ),
    "a full disk": (Rule.START_ASKS_RECORD, Rule.KEEP_UNWRITTEN, Rule.KEEP_LEFTOVER),
    "a hang": (Rule.HANG_ASKS_RUN, Rule.HANG_ASKS_RECORD, Rule.HANG_KEEPS_GENERATION, Rule.HANG_IN_RECORD),
    "two actions cut off": (Rule.KILL_ENDS_RESTART,),
    "a replaced journal": (Rule.INTENT_IS_KNOWN, Rule.JUDGE_ASKS_NONE),
}
#: The cast that shows the need for a rule.
SHOWN_BY = {rule: name for name, rules in _SHOWN.items() for rule in rules}


def cast_of(name: str, rules: Rules) -> tuple[State, ...]:
    """The states that a cast begins with."""
    looked, keeps = Rule.BASELINE not in rules, Rule.KEEP_SEEN in rules
    return tuple(each._replace(looked=each.looked or looked, keeps=keeps) for each in CASTS[name])


def tidied(state: State) -> State:
    """The state without details that can have no more effect."""
    runs = list(state.runs)
    for number, run in enumerate(runs[:-1]):
        row = run.row
        over = row is not None and not row.due and row.verdict is not Verdict.PENDING
        lost = row is None and not run.heard and not run.kept and not run.owed and (run.excused or run.cause is not Cause.CRASH)
        if (over or lost) and not row_fault(run) and (state.record is None or state.record.run != number):
            runs[number] = _PAST
    return state._replace(runs=tuple(runs))


class Walk(NamedTuple):
    """The result of a walk: the number of states, the steps, the verdicts, and the shortest way to each kind of bad state."""

    states: int
    reached: frozenset[At]
    verdicts: frozenset[Verdict]
    bad: dict[str, list[str]]


def walk(name: str, rules: Rules, *, first_bad: bool = False) -> Walk:
    """Walk every state that can be reached with these rules; ``first_bad`` ends the walk at the first bad state."""

    def look(state: State) -> tuple[str, Iterable[tuple[str, State]]]:
        going_on = [*supervisor_moves(state, rules), *system_moves(state, rules)]
        kind = state.bad_at_once or ("" if going_on else state.bad_at_rest)
        following = () if kind else (*going_on, *outside_moves(state, rules))
        return kind, ((event, tidied(after)) for event, after in following)

    before, bad = explored(cast_of(name, rules), look, first_bad=first_bad)
    steps = {each.supervisor.at for each in before} | {each.task.at for each in before if each.task is not None}
    verdicts = {run.row.verdict for each in before for run in each.runs if run.row is not None}
    return Walk(len(before), frozenset(steps), frozenset(verdicts), bad)


if __name__ == "__main__":
    show_needs(CASTS, SHOWN_BY, walk, ALL_RULES)
