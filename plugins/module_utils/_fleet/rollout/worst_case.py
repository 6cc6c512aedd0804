# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a batch may take at the longest, by what the run was asked for: whether one may begin that is to be over by some moment; pure.

A soak is not in it, since it is once for all nodes. What no option bounds is not in it either: pulling an image, the steps before a boot,
a silent engine, tasks before the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..._power.model.players import PlayerPolicy
from ..._power.model.request import PowerAction, Request, WaitFor
from .words import BOOTS, parse_seconds

#: Seconds from a stop to SIGKILL where neither the run nor, for all that is known here, a definition says another number.
STOP_SECONDS = 600


@dataclass(frozen=True)
class LongestBatch:
    """Seconds that a batch may take: ``once`` for all of its servers, and ``each_round``, as often as a node takes up servers anew."""

    once: float = 0
    each_round: float = 0

    def seconds(self, rounds: int) -> float:
        """Return how long a batch of so many rounds may take."""
        return self.once + max(rounds, 1) * self.each_round


def longest_batch(action: str, given: Mapping[str, Any], policy: PlayerPolicy | None) -> LongestBatch:
    """Return it for the role's variables, without their prefix. Raises `RolloutError` for what are no seconds.

    Players are waited for by all servers at once, from the request on, and without a slot; so is a lock, since who waits for one lets
    others pass. But as many count down at a time as are acted on, of which the first are done at the latest when the wait for players is
    over. A kill waits for nobody.
    """
    if action == PowerAction.KILL.value:
        return LongestBatch()
    waits, boots = given.get("wait_for", WaitFor.CONTAINER.value) != WaitFor.CONTAINER.value, action in BOOTS
    stop = 0.0 if action == PowerAction.START.value else _seconds(given, "stop_timeout", STOP_SECONDS)
    ready = _seconds(given, "wait_timeout", Request.wait_timeout) if boots and waits else 0.0
    countdown = 0 if policy is None else policy.countdown_seconds
    players = 0 if policy is None else policy.max_delay - countdown
    return LongestBatch(players + _seconds(given, "wait_seconds", Request.wait_seconds), countdown + stop + ready)


def _seconds(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name)
    return float(default) if value is None else parse_seconds(name, value)
