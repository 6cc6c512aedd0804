# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of an action that considers players: first it waits for them, then it warns the rest; pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ...model.players import OnMaxDelay, PlayerCount, PlayerPolicy
from ...model.records import dataclass

#: A countdown may end so much later than ``max_delay``: each request takes a moment before its first look.
_LATE_SECONDS = 5.0


class Move(Enum):
    WAIT = "wait"
    #: Begin or continue the countdown.
    COUNT = "count"
    #: Too many play: cancel the announced action, and wait.
    CALL_OFF = "call_off"
    GO = "go"
    #: The longest wait is over.
    REFUSE = "refuse"


@dataclass(frozen=True)
class Situation:
    """A server with players. ``passed`` and ``due`` (end of the countdown, None while none runs) are in seconds since the request."""

    count: PlayerCount
    passed: float
    due: float | None = None


def decide(policy: PlayerPolicy, now: Situation) -> Move:
    """Return the next move. An unknown count is never zero: no countdown begins or ends early, and no action runs, unless it must."""
    online = now.count.online
    if online == 0:
        return Move.GO
    if now.due is None:
        return _while_waiting(policy, now)
    is_over = now.passed >= now.due
    # A failed look during the countdown cancels nothing; its end needs a known count.
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
    """Return True if the countdown must begin or continue with any players, so that the action comes at ``max_delay``."""
    return policy.on_max_delay is OnMaxDelay.PROCEED and passed >= policy.max_delay - policy.countdown_seconds


def next_change(policy: PlayerPolicy, now: Situation) -> float:
    """Return when time alone causes the next move, in seconds since the request; infinite if never."""
    moments = [policy.max_delay - policy.countdown_seconds, policy.max_delay, now.due]
    return min((moment for moment in moments if moment is not None and moment > now.passed), default=float("inf"))


def mark_reached(marks: Sequence[int], left: float, last_mark: int) -> int:
    """Return the latest reached mark if it was not announced, else 0. ``last_mark`` is the last announced mark, 0 before the first."""
    reached = [mark for mark in marks if left <= mark and (not last_mark or mark < last_mark)]
    return min(reached, default=0)
