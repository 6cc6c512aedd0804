# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kill protocol as a model, small enough to walk every interleaving of it.

Two starts (or the second halves of two restarts) and two kills act on one server. Between any two of their steps any of them may be
killed, and a start request may still be on its way to the engine when the one who sent it is gone. The engine may be slow, may drop
a request of a caller that is gone, and may stop answering. What is assumed of it: calls that start and remove one container do not overlap,
a container that runs is not removed without force, and one that was removed is never started.

A state is bad in either of two ways. *Revived*: a kill has said that the server is down for good, yet it runs because of a start
that was requested before that kill. *Unheard*: a kill gave up on a holder that was never told of it.

This file holds the actors and the states, kill_protocol.py what may happen from one to the next.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Rule(Enum):
    RAISE_FIRST = "a kill raises the generation before it does anything else"
    RAISE_AGAIN = "a kill that waits raises it again for every holder that was not told"
    REMEMBER_AT_REQUEST = "a start remembers the generation of the moment it was requested"
    LOOK_UNDER_LOCK = "a start looks at the generation again when it has the lock, before it sends"
    WAIT_FOR_HOLDER = "a kill that found the lock held waits for it"
    KILL_UNDER_LOCK = "a kill that has waited for the lock kills once more under it"
    RECORD_BEFORE_SENDING = "phase start is in the record before the request is sent"
    FENCE_LEFTOVER = "whoever finds a start left over makes sure that it cannot be executed later"
    CARRY_LEFTOVER = "a start that was found left over stays in the record until it is settled"
    KEEP_UNANSWERED = "a start that got no answer is left in the record at release"


ALL_RULES = frozenset(Rule)


class Flight(Enum):
    """Where a start request is; an answered one is nowhere."""

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
    UNHEARD = "unsettled, the holder not told"
    # either
    OVER = "over"


STARTER_HOLDS = frozenset(
    (At.FENCE, At.REMOVE, At.LOOK, At.SEND, At.AWAIT, At.LOOK_AGAIN, At.UNDO, At.FENCE_OWN, At.REMOVE_OWN, At.RELEASE)
)
KILL_HOLDS = frozenset((At.KILL, At.KILL_FENCE, At.KILL_REMOVE, At.CHECK))
KILL_ENDED = frozenset((At.SETTLED, At.UNSETTLED, At.UNHEARD, At.OVER))


class Starter(NamedTuple):
    """A start. ``stale``: the generation is not the remembered one. ``early``: per kill, whether this was requested before it."""

    at: At = At.REQUEST
    stale: bool = False
    early: tuple[bool, ...] = ()
    flight: Flight | None = None
    runs: bool = False  # the server runs because of this start
    carries: bool = False  # knows of a start left over


class Kill(NamedTuple):
    at: At = At.RAISE
    carries: bool = False


class State(NamedTuple):
    """Everything at one moment. The lock is held by whoever is at a step that needs it."""

    starters: tuple[Starter, ...]
    kills: tuple[Kill, ...]
    phase_start: bool = False  # the record says that a start request is under way
    leftover: bool = False  # the record carries one that was found
    moved: bool = False  # StartedAt is no longer the one in the record

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
        """The generation is another now: whoever remembers one remembers an old one."""
        return self._replace(starters=tuple(each if each.at is At.REQUEST else each._replace(stale=True) for each in self.starters))

    def killed(self) -> State:
        """SIGKILL: what runs is gone; a start that is being executed is not hit."""
        return self._replace(starters=tuple(each._replace(runs=False) for each in self.starters))

    def removed(self) -> State:
        """The container is gone, and with it every request to start it."""
        return self._replace(starters=tuple(each._replace(flight=None) for each in self.starters))

    def released(self, leftover: bool) -> State:
        return self._replace(phase_start=False, leftover=leftover)

    @property
    def bad(self) -> str:
        """In which way this state is bad, if it is."""
        for number, kill in enumerate(self.kills):
            if kill.at is At.SETTLED and any(each.runs and each.early[number] for each in self.starters):
                return "revived"
            if kill.at is At.UNHEARD:
                return "unheard"
        return ""
