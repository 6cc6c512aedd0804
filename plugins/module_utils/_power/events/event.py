# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events for receivers outside the node or the controller, as values."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any
from uuid import uuid4

from ..model.records import dataclass, field
from ..model.server import Server


class EventType(str, Enum):
    """The type of an event. Rollout types come from a controller, the others from a node."""

    ACTION_ENDED = "action.ended"
    SERVER_CRASHED = "server.crashed"
    SERVER_CRASH_LOOP = "server.crash_loop"
    SERVER_RECOVERED = "server.recovered"
    COUNTDOWN_BEGUN = "countdown.begun"
    NODE_FROZEN = "node.frozen"
    NODE_THAWED = "node.thawed"
    #: For one receiver: events were removed before it took them.
    EVENTS_DROPPED = "events.dropped"
    ROLLOUT_BEGUN = "rollout.begun"
    ROLLOUT_STOPPED = "rollout.stopped"
    ROLLOUT_ENDED = "rollout.ended"


ROLLOUT_TYPES = (EventType.ROLLOUT_BEGUN, EventType.ROLLOUT_STOPPED, EventType.ROLLOUT_ENDED)


@dataclass(frozen=True)
class Event:
    """One event: ``at`` is ISO 8601 in UTC, ``data`` plain JSON without secrets, ``server`` None if it concerns no server.

    Receivers find duplicates by ``id``. ``number`` is its place in the outbox, 0 before it has one.
    """

    type: EventType
    at: str
    data: Mapping[str, Any]
    server: Server | None = None
    id: str = field(default_factory=lambda: str(uuid4()))
    number: int = 0
