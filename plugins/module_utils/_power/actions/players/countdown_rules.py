# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action that has regard to players does next: first it waits for them, then it tells those who are left; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ...model.players import OnMaxDelay, PlayerCount, PlayerPolicy

#: So much later than at ``max_delay`` a countdown may end: nothing comes to it without a moment between request and look.
_LATE_SECONDS = 5.0


class Move(Enum):
    """The next thing to do."""

    WAIT = "wait"
    #: Begin the countdown, or go on with it.
    COUNT = "count"
    #: More play than may: tell those who were told that it does not come, and wait.
    CALL_OFF = "call_off"
    GO = "go"
    #: It has waited for as long as it may.
    REFUSE = "refuse"


@dataclass(frozen=True)
class Situation:
    """A server whose players are waited for. ``passed`` is in seconds since the request, and so is ``due``, the end of the countdown.

    ``due`` is None while none runs.
    """

    count: PlayerCount
    passed: float
    due: float | None = None


def decide(policy: PlayerPolicy, now: Situation) -> Move:
    """Return the next move. Unknown is never empty: with it no countdown begins, ends early, or lets the action go on, unless it has to."""
    online = now.count.online
    if online == 0:
        return Move.GO
    if now.due is None:
        return _while_waiting(policy, now)
    is_over = now.passed >= now.due
    # One look that fails on the way calls nothing off; at its end it has to be known who plays.
    too_many = is_over if online is None else online > policy.at_most
    if too_many and not must_go(policy, now.passed):
        return Move.CALL_OFF
    return Move.GO if is_over else Move.COUNT


def _while_waiting(policy: PlayerPolicy, now: Situation) -> Move:
    online = now.count.online
    begins_in_time = now.passed + policy.countdown_seconds <= policy.max_delay + _LATE_SECONDS
    if online is not None and online <= policy.at_most:
        if not policy.warn:
            return Move.GO
        if begins_in_time:
            return Move.COUNT
    if must_go(policy, now.passed):
        return Move.COUNT if policy.warn else Move.GO
    if policy.on_max_delay is OnMaxDelay.SKIP and now.passed >= policy.max_delay:
        return Move.REFUSE
    return Move.WAIT


def must_go(policy: PlayerPolicy, passed: float) -> bool:
    """Return True if its countdown has to begin, or to go on, whoever plays, so that the action comes at ``max_delay``."""
    return policy.on_max_delay is OnMaxDelay.PROCEED and passed >= policy.max_delay - policy.countdown_seconds


def next_change(policy: PlayerPolicy, now: Situation) -> float:
    """Return the seconds since the request at which time alone makes another move, from now on; infinite if it never does."""
    moments = [policy.max_delay - policy.countdown_seconds, policy.max_delay, now.due]
    return min((moment for moment in moments if moment is not None and moment > now.passed), default=float("inf"))


def mark_reached(marks: Sequence[int], left: float, told: int) -> int:
    """Return the mark to tell players of with so many seconds ``left``, 0 if none: the latest one reached, if it was not told.

    ``told`` is the mark told last, 0 before the first. Of several that passed at once only the latest is told.
    """
    reached = [mark for mark in marks if left <= mark and (not told or mark < told)]
    return min(reached, default=0)
