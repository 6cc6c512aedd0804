# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of each action in each state: one table, pure and total."""

from __future__ import annotations

from collections.abc import Mapping

from .records import dataclass
from .request import PowerAction
from .result import PlanStep
from .server import PowerState


@dataclass(frozen=True)
class Plan:
    """The steps of an action, or the reason for none."""

    steps: tuple[PlanStep, ...] = ()
    reason: str = ""


#: No process is left after these steps.
_ENDING = frozenset({PlanStep.STOP, PlanStep.KILL})
_BOOT = (PlanStep.PREBOOT, PlanStep.START)
_UP_ALREADY = Plan(reason="it is up already")
_DOWN_ALREADY = Plan(reason="it is offline already")
_LIMIT = Plan((PlanStep.LIMIT,))

#: Every (action, state). A start of a stopping server waits for its exit; restart and stop send the stop again.
TABLE: Mapping[tuple[PowerAction, PowerState], Plan] = {
    (PowerAction.START, PowerState.OFFLINE): Plan(_BOOT),
    (PowerAction.START, PowerState.STARTING): _UP_ALREADY,
    (PowerAction.START, PowerState.RUNNING): _UP_ALREADY,
    (PowerAction.START, PowerState.STOPPING): Plan((PlanStep.AWAIT_EXIT, *_BOOT)),
    (PowerAction.STOP, PowerState.OFFLINE): _DOWN_ALREADY,
    (PowerAction.STOP, PowerState.STARTING): Plan((PlanStep.STOP,)),
    (PowerAction.STOP, PowerState.RUNNING): Plan((PlanStep.STOP,)),
    (PowerAction.STOP, PowerState.STOPPING): Plan((PlanStep.STOP,)),
    (PowerAction.RESTART, PowerState.OFFLINE): Plan(_BOOT),
    (PowerAction.RESTART, PowerState.STARTING): Plan((PlanStep.STOP, *_BOOT)),
    (PowerAction.RESTART, PowerState.RUNNING): Plan((PlanStep.STOP, *_BOOT)),
    (PowerAction.RESTART, PowerState.STOPPING): Plan((PlanStep.STOP, *_BOOT)),
    (PowerAction.KILL, PowerState.OFFLINE): _DOWN_ALREADY,
    (PowerAction.KILL, PowerState.STARTING): Plan((PlanStep.KILL,)),
    (PowerAction.KILL, PowerState.RUNNING): Plan((PlanStep.KILL,)),
    (PowerAction.KILL, PowerState.STOPPING): Plan((PlanStep.KILL,)),
    (PowerAction.LIMIT, PowerState.OFFLINE): Plan(reason="it is offline, and its next start applies its limits"),
    (PowerAction.LIMIT, PowerState.STARTING): _LIMIT,
    (PowerAction.LIMIT, PowerState.RUNNING): _LIMIT,
    (PowerAction.LIMIT, PowerState.STOPPING): Plan(reason="it is stopping, and its next start applies its limits"),
}


def plan(action: PowerAction, state: PowerState) -> Plan:
    return TABLE[action, state]


def planned_state(steps: tuple[PlanStep, ...], state: PowerState, *, has_matchers: bool) -> PowerState:
    """Return the state after successful steps: ``starting`` if the definition has readiness lines."""
    if PlanStep.START in steps:
        return PowerState.STARTING if has_matchers else PowerState.RUNNING
    return PowerState.OFFLINE if _ENDING.intersection(steps) else state
