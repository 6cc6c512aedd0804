# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kill protocol as a model. It is small enough to walk every order of events.

Two starts (or the second halves of two restarts) and two kills act on one server. Each of them may die between any two steps. A start
request may reach the engine after the death of its sender. The engine may be slow, may drop the request of a dead caller, and may stop
answering. A start that proves a new version may revert: it takes the lock again, ends its own run, and starts the previous version. Its
second turn is another process, which goes on after the death of the first. The model assumes: calls that start and remove one container
do not overlap, the engine removes a running container only with force, and it never starts a removed container.

*Revived* is a bad state: a kill has reported success, and the server runs because of an earlier start request. *Unheard* is another: a
kill gave up, and the lock holder has not seen its generation.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from ansible_collections.fleet.power.tests.unit.model_walk import explored, show_ways


class Rule(Enum):
    RAISE_FIRST = "a kill raises the generation before it does anything else"
    RAISE_AGAIN = "a kill that waits raises it again for every holder that has not seen it"
    REMEMBER_AT_REQUEST = "a start remembers the generation of the moment it was requested"
    REVERT_KEEPS_GENERATION = "a start that reverts has the generation of its first request, also in another process"
    LOOK_UNDER_LOCK = "a start compares the generation again under the lock, before it sends"
    WAIT_FOR_HOLDER = "a kill that found the lock held waits for it"
    KILL_UNDER_LOCK = "a kill that has waited for the lock kills once more under it"
    RECORD_BEFORE_SENDING = "phase start is in the record before the request is sent"
    FENCE_LEFTOVER = "an action that finds a leftover start prevents its later execution"
    CARRY_LEFTOVER = "a leftover start stays in the record until it is settled"
    KEEP_UNANSWERED = "a start without an answer stays in the record at release"


ALL_RULES = frozenset(Rule)


class Flight(Enum):
    """The place of a start request. An answered request has none."""

    QUEUED = "on its way"
    EXECUTING = "being executed"


class At(Enum):
    # a start
    REQUEST = "request"
    ACQUIRE = "acquire"
    FENCE = "fence"
    REMOVE = "remove"
    LOOK = "look"
    SEND = "send"
    AWAIT = "await the answer"
    LOOK_AGAIN = "look again"
    UNDO = "kill what it started"
    FENCE_OWN = "fence its own request"
    REMOVE_OWN = "remove, for its own request"
    RELEASE = "release"
    PROVE = "await the proof"
    TAKE_DOWN = "end its own run, to revert"
    # a kill
    RAISE = "raise"
    TRY = "try the lock"
    KILL_NOW = "kill without the lock"
    WAIT = "wait for the lock"
    KILL = "kill"
    KILL_FENCE = "fence, for a kill"
    KILL_REMOVE = "remove, for a kill"
    CHECK = "check that it is down"
    SETTLED = "settled"
    UNSETTLED = "unsettled"
    UNHEARD = "unsettled, the holder has not seen it"
    # either
    OVER = "over"


STARTER_HOLDS = frozenset(
    (At.FENCE, At.REMOVE, At.LOOK, At.SEND, At.AWAIT, At.LOOK_AGAIN, At.UNDO, At.FENCE_OWN, At.REMOVE_OWN, At.RELEASE, At.TAKE_DOWN)
)
KILL_HOLDS = frozenset((At.KILL, At.KILL_FENCE, At.KILL_REMOVE, At.CHECK))
KILL_ENDED = frozenset((At.SETTLED, At.UNSETTLED, At.UNHEARD, At.OVER))


class Starter(NamedTuple):
    """A start. ``stale``: the generation has changed since. ``early``: for each kill, whether this start was requested before it."""

    at: At = At.REQUEST
    stale: bool = False
    early: tuple[bool, ...] = ()
    flight: Flight | None = None
    runs: bool = False  # the server runs because of this start
    carries: bool = False  # knows of a leftover start
    proves: bool = False  # reverts after its release, if its proof fails
    reverts: bool = False

    @property
    def over(self) -> At:
        """The step after its release or its death."""
        return At.PROVE if self.proves else At.OVER


class Kill(NamedTuple):
    at: At = At.RAISE
    carries: bool = False


class State(NamedTuple):
    """Everything at one moment. An actor holds the lock while it is at a step that needs the lock."""

    starters: tuple[Starter, ...]
    kills: tuple[Kill, ...]
    phase_start: bool = False  # the record says that a start request is being sent
    leftover: bool = False  # the record carries a leftover start
    moved: bool = False  # StartedAt differs from the record

    @property
    def up(self) -> bool:
        return any(starter.runs for starter in self.starters)

    @property
    def executing(self) -> bool:
        return any(starter.flight is Flight.EXECUTING for starter in self.starters)

    @property
    def holding(self) -> Starter | None:
        return next((starter for starter in self.starters if starter.at in STARTER_HOLDS), None)

    @property
    def free(self) -> bool:
        return self.holding is None and not any(kill.at in KILL_HOLDS for kill in self.kills)

    def starter(self, index: int, **change: object) -> State:
        starters = list(self.starters)
        starters[index] = starters[index]._replace(**change)  # type: ignore[arg-type]
        return self._replace(starters=tuple(starters))

    def kill(self, index: int, **change: object) -> State:
        kills = list(self.kills)
        kills[index] = kills[index]._replace(**change)  # type: ignore[arg-type]
        return self._replace(kills=tuple(kills))

    def raised(self) -> State:
        """Raise the generation: every remembered generation becomes stale."""
        return self._replace(starters=tuple(each if each.at is At.REQUEST else each._replace(stale=True) for each in self.starters))

    def killed(self) -> State:
        """SIGKILL ends the running process. It does not affect a start that the engine executes."""
        return self._replace(starters=tuple(each._replace(runs=False) for each in self.starters))

    def removed(self) -> State:
        """Remove the container and every request to start it."""
        return self._replace(starters=tuple(each._replace(flight=None) for each in self.starters))

    def released(self, leftover: bool) -> State:
        return self._replace(phase_start=False, leftover=leftover)

    @property
    def bad(self) -> str:
        """The kind of the bad state, or an empty string."""
        for number, kill in enumerate(self.kills):
            if kill.at is At.SETTLED and any(each.runs and each.early[number] for each in self.starters):
                return "revived"
            if kill.at is At.UNHEARD:
                return "unheard"
        return ""


Move = tuple[str, State]


def moves(state: State, rules: frozenset[Rule]) -> Iterator[Move]:
    for index in range(len(state.starters)):
        yield from starter_moves(state, index, rules)
        yield from engine_moves(state, index)
    for index in range(len(state.kills)):
        yield from kill_moves(state, index, rules)


def engine_moves(state: State, index: int) -> Iterator[Move]:
    starter, name = state.starters[index], f"start {index}: its request"
    if starter.flight is Flight.QUEUED:
        if not state.executing:
            yield f"{name} is taken up", state.starter(index, flight=Flight.EXECUTING)
        if starter.at in (At.OVER, At.PROVE):
            yield f"{name} is dropped, because its caller is gone", state.starter(index, flight=None)
    elif starter.flight is Flight.EXECUTING:
        done = state.starter(index, flight=None)
        yield f"{name} is executed", done if state.up else done.starter(index, runs=True)._replace(moved=True)


def starter_moves(state: State, index: int, rules: frozenset[Rule]) -> Iterator[Move]:
    starter, name = state.starters[index], f"start {index}"
    if starter.at is At.OVER:
        return
    if starter.at is At.REQUEST:
        early = tuple(kill.at is At.RAISE for kill in state.kills)
        yield f"{name} is requested", state.starter(index, at=At.ACQUIRE, early=early)
        return
    if starter.at is At.PROVE:
        yield f"{name} is proved", state.starter(index, at=At.OVER)
        stale = starter.stale and Rule.REVERT_KEEPS_GENERATION in rules
        yield f"{name} fails its proof", state.starter(index, at=At.ACQUIRE, proves=False, reverts=True, stale=stale)
        return
    yield f"{name} dies", state.starter(index, at=starter.over, carries=False)
    if starter.at is At.ACQUIRE:
        if state.free:
            yield f"{name} takes the lock", starter_acquires(state, index, rules)
    elif starter.at in (At.FENCE, At.REMOVE, At.FENCE_OWN, At.REMOVE_OWN):
        yield from starter_fences(state, index)
    else:
        yield from starter_proceeds(state, index, rules)


def starter_acquires(state: State, index: int, rules: frozenset[Rule]) -> State:
    found, taken = acquired(state, rules)
    stale = state.starters[index].stale and Rule.REMEMBER_AT_REQUEST in rules
    return taken.starter(index, at=At.FENCE if found else At.LOOK, carries=found, stale=stale)


def acquired(state: State, rules: frozenset[Rule]) -> tuple[bool, State]:
    """Whether the record names a leftover start, and the state after the new holder has written its own record."""
    found = (state.phase_start or state.leftover) and Rule.FENCE_LEFTOVER in rules
    return found, state._replace(phase_start=False, leftover=found and Rule.CARRY_LEFTOVER in rules)


def starter_fences(state: State, index: int) -> Iterator[Move]:
    """Make sure that a request was executed or never will be: a leftover one before sending, or the own unanswered one."""
    starter, name = state.starters[index], f"start {index}"
    own = starter.at in (At.FENCE_OWN, At.REMOVE_OWN)
    settled = state.starter(index, at=At.RELEASE if own else At.LOOK, carries=False)._replace(phase_start=False, leftover=False)
    if starter.at in (At.FENCE, At.FENCE_OWN):
        if state.up or state.moved:
            yield f"{name} sees that the request was executed", settled
        else:
            yield f"{name} sees that the request was not executed", state.starter(index, at=At.REMOVE_OWN if own else At.REMOVE)
    elif not state.executing:
        if state.up:
            yield f"{name} may not remove a running container", state.starter(index, at=At.FENCE_OWN if own else At.FENCE)
        else:
            yield f"{name} removes the container", settled.removed()


def starter_proceeds(state: State, index: int, rules: frozenset[Rule]) -> Iterator[Move]:
    """The steps of a start under the lock, from the inspection to the release."""
    starter, name = state.starters[index], f"start {index}"
    if starter.at is At.LOOK:
        cancelled = starter.stale and Rule.LOOK_UNDER_LOCK in rules
        found = At.SEND if not state.up else At.TAKE_DOWN if starter.reverts else At.RELEASE
        yield f"{name} looks", state.starter(index, at=At.RELEASE if cancelled else found)
    elif starter.at is At.TAKE_DOWN:
        yield f"{name} ends its own run", state.killed().starter(index, at=At.LOOK)
    elif starter.at is At.SEND:
        recorded = state._replace(phase_start=Rule.RECORD_BEFORE_SENDING in rules, moved=False)
        yield f"{name} sends its request", recorded.starter(index, at=At.AWAIT, flight=Flight.QUEUED)
    elif starter.at is At.AWAIT:
        if starter.flight is None:
            yield f"{name} is answered", state.starter(index, at=At.LOOK_AGAIN)._replace(phase_start=False)
        else:
            yield f"{name} waits no longer for its answer", state.starter(index, at=At.FENCE_OWN)
            kept = Rule.KEEP_UNANSWERED in rules and state.phase_start
            yield f"{name} releases without an answer", state.starter(index, at=starter.over).released(leftover=kept)
    elif starter.at is At.LOOK_AGAIN:
        yield f"{name} looks again", state.starter(index, at=At.UNDO if starter.stale else At.RELEASE)
    elif starter.at is At.UNDO:
        yield f"{name} kills what it started", state.killed().starter(index, at=At.RELEASE)
    elif starter.at is At.RELEASE:
        yield f"{name} releases", state.starter(index, at=starter.over).released(leftover=state.leftover)


def kill_moves(state: State, index: int, rules: frozenset[Rule]) -> Iterator[Move]:
    kill, name = state.kills[index], f"kill {index}"
    if kill.at in KILL_ENDED:
        return
    if kill.at is At.RAISE:
        raised = state.raised() if Rule.RAISE_FIRST in rules else state
        yield f"{name} is requested and raises the generation", raised.kill(index, at=At.TRY)
        return
    yield f"{name} dies", state.kill(index, at=At.OVER, carries=False)
    if kill.at is At.TRY:
        yield f"{name} tries the lock", kill_acquires(state, index, rules, At.KILL) if state.free else state.kill(index, at=At.KILL_NOW)
    elif kill.at is At.KILL_NOW:
        after = At.WAIT if Rule.WAIT_FOR_HOLDER in rules else At.SETTLED
        yield f"{name} kills without the lock", state.killed().kill(index, at=after)
    elif kill.at is At.WAIT:
        yield from kill_waits(state, index, rules)
    else:
        yield (
            f"{name} releases, because the engine is silent",
            state.kill(index, at=At.UNSETTLED, carries=False).released(leftover=state.leftover),
        )
        yield from kill_settles(state, index)


def kill_acquires(state: State, index: int, rules: frozenset[Rule], then: At) -> State:
    found, taken = acquired(state, rules)
    return taken.kill(index, at=then, carries=found)


def kill_waits(state: State, index: int, rules: frozenset[Rule]) -> Iterator[Move]:
    name = f"kill {index}"
    if state.free:
        then = At.KILL if Rule.KILL_UNDER_LOCK in rules else At.SETTLED
        if then is At.SETTLED:
            yield f"{name} sees the lock free", state.kill(index, at=then)
        else:
            yield f"{name} takes the lock", kill_acquires(state, index, rules, then)
        return
    is_aware = state.holding is None or state.holding.stale
    if Rule.RAISE_AGAIN in rules:
        # The code raises only for a new holder. The model raises at any time, which must be harmless, too.
        yield f"{name} raises the generation again", state.raised()
        if is_aware:
            yield f"{name} gives up", state.kill(index, at=At.UNSETTLED)
    else:
        yield f"{name} gives up", state.kill(index, at=At.UNSETTLED if is_aware else At.UNHEARD)


def kill_settles(state: State, index: int) -> Iterator[Move]:
    """Under the lock: kill, fence the leftover start, and check."""
    kill, name = state.kills[index], f"kill {index}"
    if kill.at is At.KILL:
        yield f"{name} kills", state.killed().kill(index, at=At.KILL_FENCE if kill.carries else At.CHECK)
    elif kill.at is At.KILL_FENCE:
        if state.up or state.moved:
            yield f"{name} sees that the request was executed", state.kill(index, at=At.CHECK)
        else:
            yield f"{name} sees that the request was not executed", state.kill(index, at=At.KILL_REMOVE)
    elif kill.at is At.KILL_REMOVE:
        if not state.executing:
            yield (
                f"{name} removes the container",
                state.kill(index, at=At.KILL_FENCE) if state.up else state.removed().kill(index, at=At.CHECK),
            )
    elif state.up:
        yield f"{name} sees it run", state.kill(index, at=At.KILL)
    else:
        yield f"{name} is settled", state.kill(index, at=At.SETTLED, carries=False).released(leftover=False)


class Walk(NamedTuple):
    """The result of a walk: the number of states, the steps that actors reached, and the shortest way to each kind of bad state."""

    states: int
    reached: frozenset[At]
    bad: dict[str, list[str]]


def walk(rules: frozenset[Rule], *, proves: bool = False, first_bad: bool = False) -> Walk:
    """Walk every reachable state with these rules; ``first_bad`` ends the walk at the first bad state.

    Two starts act, or (``proves``) one start that reverts if its proof fails.
    """
    begin = State((Starter(proves=True),) if proves else (Starter(),) * 2, (Kill(),) * 2)
    before, bad = explored([begin], lambda state: (state.bad, moves(state, rules)), first_bad=first_bad)
    reached = {each.at for state in before for each in state.starters} | {each.at for state in before for each in state.kills}
    return Walk(len(before), frozenset(reached), bad)


def main() -> None:
    for proves in (False, True):
        everything = walk(ALL_RULES, proves=proves)
        print(f"all rules{', with a revert' if proves else ''}: {everything.states} states, bad: {everything.bad or 'none'}")
    for rule in Rule:
        found = walk(ALL_RULES - {rule}, proves=rule is Rule.REVERT_KEEPS_GENERATION, first_bad=True)
        show_ways(rule, found.states, found.bad)


if __name__ == "__main__":
    main()
