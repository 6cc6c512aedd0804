# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One receiver of events; no behaviour beyond telling which events are for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional

from ..definitions.definition import Definition
from ..definitions.receiver_keys import CLOUDEVENTS
from ..definitions.selectors import ServerSelector
from ..events.event import Event, EventType
from ..model.server import Server

#: Tells the definition of a server, None where there is none at hand.
DefinitionOf = Callable[[Server], Optional[Definition]]


@dataclass(frozen=True)
class Receiver:
    """A receiver: ``url`` may hold what nobody else may know, ``key`` signs, None for no signature. No types: all, no ``servers``: all."""

    name: str
    url: str = field(repr=False)
    key: bytes | None = field(default=None, repr=False)
    format: str = CLOUDEVENTS
    types: frozenset[EventType] = frozenset()
    servers: tuple[ServerSelector, ...] = ()

    def wants(self, event: Event, definition_of: DefinitionOf) -> bool:
        """Tell if an event is for it. Of a server whose definition is not at hand it is told rather than not."""
        if event.type is EventType.EVENTS_DROPPED:
            return True
        if self.types and event.type not in self.types:
            return False
        if not self.servers or event.server is None:
            return True
        definition = definition_of(event.server)
        return any(selector.may_select(event.server, definition) for selector in self.servers)
