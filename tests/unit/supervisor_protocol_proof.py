# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk of the proof of a new version. As a module, it prints for each rule the shortest way to a bad state without that rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ansible_collections.fleet.power.tests.unit.model_walk import explored, show_needs
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof_moves import outside_moves, system_moves
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof_states import (
    ALL_RULES,
    NEW,
    At,
    Intent,
    Kind,
    Left,
    Outcome,
    Rule,
    Rules,
    Run,
    State,
    Task,
    Verdict,
    Version,
    Wish,
)

_UPDATE = State(Left(), tasks=(Task(Kind.UPDATE, At.ROW, container=NEW), None))
_FINAL = _UPDATE._replace(revertible=False)
_NO_INTENT = _UPDATE._replace(intent=Intent("", None), wish=Wish.EITHER)
_DOWN = _UPDATE._replace(run=Run(up=False, verdict=Verdict.CRASH, cause=Verdict.CRASH), wish=Wish.EITHER, policy=True)
_STOPPED = _DOWN._replace(intent=Intent(up=False), wish=Wish.DOWN)
_INTENDED_DOWN = _UPDATE._replace(intent=Intent(up=False), wish=Wish.EITHER)

#: The beginning of each walk, how often each event happens, and the new versions if not all. The update holds the lock, and has written
#: nothing yet.
CASTS: dict[str, tuple[Any, ...]] = {
    "deaths": (_UPDATE, Left(refusals=1, crashes=1, cuts=1, deaths=1)),
    "two power cuts": (_UPDATE, Left(power_cuts=2, cuts=1)),
    "an intent of before that is down": (_INTENDED_DOWN, Left(power_cuts=1, stops=1, cuts=1)),
    "a server that is down": (_DOWN, Left(shutdowns=1, cuts=1)),
    "a stopped server": (_STOPPED, Left(shutdowns=1, starts=1, cuts=1)),
    "a person at the engine": (_UPDATE, Left(stops=1, starts=1, cuts=1, deaths=1)),
    "a definition read again": (_UPDATE, Left(rereads=1, cuts=1, deaths=1)),
    "two updates": (_UPDATE, Left(updates=1, cuts=1, deaths=1), Version.GOOD),
    "two updates, all versions": (_UPDATE, Left(updates=1, cuts=1, deaths=1)),
    "no revert": (_FINAL, Left(cuts=1, deaths=1, faults=1)),
    "no revert, a person here": (_FINAL, Left(actions=1)),
    "a removed container": (_UPDATE, Left(removals=1, cuts=1)),
    "no intent": (_NO_INTENT, Left(actions=1, faults=1), Version.EXITS),
    "a person here": (_UPDATE, Left(actions=1, cuts=1)),
    "a start here, and a boot": (_UPDATE, Left(actions=1, power_cuts=1, deaths=1), Version.GOOD),
    "an engine shut down": (_UPDATE, Left(shutdowns=1, crashes=1, cuts=1, deaths=1)),
    "a power cut": (_UPDATE, Left(power_cuts=1, crashes=1, cuts=1, deaths=1)),
    "lost reports of a new version that exits": (_UPDATE, Left(losses=1, deaths=1), Version.EXITS),
    "lost reports": (_UPDATE, Left(losses=1, stops=1, crashes=1, cuts=1, deaths=1)),
    "no revert, a person at the engine": (_FINAL, Left(stops=1, starts=1, cuts=1, deaths=1)),
    "no revert, a power cut": (_FINAL, Left(actions=1, power_cuts=1, deaths=1)),
    "a person here, and deaths": (_UPDATE, Left(actions=1, cuts=1, deaths=1)),
    "a person here, and a power cut": (_UPDATE, Left(actions=1, cuts=1, power_cuts=1)),
    "a person here, and at the engine": (_UPDATE, Left(actions=1, starts=1, cuts=1)),
    "a full disk": (_UPDATE, Left(actions=1, faults=1, cuts=1)),
    "no intent, and deaths": (_NO_INTENT, Left(actions=1, faults=1, cuts=1)),
    "two updates, and a power cut": (_UPDATE, Left(updates=1, power_cuts=1, cuts=1, deaths=1)),
    "two updates, and a person here": (_UPDATE, Left(updates=1, actions=1), Version.EXITS),
    "two updates, and a person at the engine": (_UPDATE, Left(updates=1, stops=1, starts=1, deaths=1), Version.GOOD),
    "no revert, two updates": (_FINAL, Left(updates=1, cuts=1, deaths=1)),
    "two actions here": (_UPDATE, Left(actions=2), Version.EXITS),
    "a full disk, and a person at the engine": (_UPDATE, Left(stops=1, starts=1, faults=1, deaths=1), Version.EXITS),
    "a server that is down, and deaths": (_DOWN, Left(shutdowns=1, starts=1, cuts=1, deaths=1)),
}

_SHOWN = {
    "deaths": (
        Rule.DECIDE_AGAIN,
        Rule.DECIDE_FIRST,
        Rule.OWN_END,
        Rule.NAME_PREVIOUS_RUN,
        Rule.AWAIT_STOP,
        Rule.FENCE_KEEPS_PREVIOUS,
        Rule.START_ASKS_PROOF,
        Rule.START_AFTER_ENGINE,
        Rule.KEEP_REVERTED,
    ),
    "two power cuts": (Rule.DECIDED_STAYS_DOWN, Rule.OWN_START_IS_CANDIDATE),
    "an intent of before that is down": (Rule.UNWANTED_ENDS_PROOF,),
    "a server that is down": (Rule.ASIDE_IS_QUIET,),
    "a stopped server": (Rule.DOWN_STAYS_DOWN,),
    "a person at the engine": (Rule.NEWER_RUN_VOIDS, Rule.NOTE_BY_PROVER, Rule.PREVIOUS_END_COUNTS, Rule.ASIDE_IS_DOWN),
    "a definition read again": (Rule.NAME_CONTAINER,),
    "two updates": (Rule.KEEP_PROVED, Rule.REMOVE_BY_NAME),
    "no revert": (Rule.LEFT_DOWN_TOGETHER, Rule.REVERT_WHAT_NEVER_RAN),
    "no revert, a person here": (Rule.INTENT_VOIDS, Rule.FOUND_UP_GOES_ON),
    "a removed container": (Rule.PREVIOUS_IS_THERE,),
    "a start here, and a boot": (Rule.DONE_IS_DONE,),
    "no intent": (Rule.WHOLE_INTENT,),
}
#: The cast that shows the need for a rule.
SHOWN_BY = {rule: name for name, rules in _SHOWN.items() for rule in rules}


class Walk(NamedTuple):
    """The result of a walk: the number of states, the outcomes, and the shortest way to each kind of bad state."""

    states: int
    outcomes: frozenset[Outcome]
    bad: dict[str, list[str]]


def walk_proof(name: str, rules: Rules, *, first_bad: bool = False, look: Callable[[State], object] = bool) -> Walk:
    """Walk every state that can be reached with these rules; ``first_bad`` ends the walk at the first bad state.

    ``look`` gets each state.
    """
    begin, left, *versions = CASTS[name]
    cast = [begin._replace(left=left, version=version) for version in versions or Version]

    def moves_of(state: State) -> tuple[str, Iterable[tuple[str, State]]]:
        look(state)
        going_on = list(system_moves(state, rules))
        kind = state.fault or ("" if going_on else state.bad_at_rest)
        return kind, () if kind else (*going_on, *outside_moves(state, rules))

    before, bad = explored(cast, moves_of, first_bad=first_bad)
    outcomes = frozenset(each.proof.outcome for each in before if each.proof is not None and each.proof.outcome is not None)
    return Walk(len(before), outcomes, bad)


if __name__ == "__main__":
    show_needs(CASTS, SHOWN_BY, walk_proof, ALL_RULES)
