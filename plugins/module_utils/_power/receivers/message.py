# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One message to a receiver: the exact bytes of its body, and which events are in it; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..definitions.receiver_keys import DISCORD
from ..events import cloudevent, discord
from ..events.event import Event
from ..events.signature import headers_of
from .receiver import Receiver


@dataclass(frozen=True)
class WebhookMessage:
    """A message, ready but for the moment at which it is sent: so many ``events`` are in it, the first of those that were given."""

    id: str
    content_type: str
    body: bytes = field(repr=False)
    events: int

    def headers(self, key: bytes | None, seconds: int) -> dict[str, str]:
        """Return the headers of it where it is sent at that Unix time, signed if there is a key."""
        return {"Content-Type": self.content_type, **headers_of(self.id, seconds, self.body, key)}


def message_of(receiver: Receiver, events: Sequence[Event], source: str, name: str) -> WebhookMessage:
    """Return the message with the first of some events, or with as many as a receiver takes in one.

    ``source`` is where they come from, see `cloudevent.node_source`; ``name`` says the same to persons.
    """
    if receiver.format == DISCORD:
        lines = discord.discord_message(events, name)
        return WebhookMessage(events[0].id, discord.CONTENT_TYPE, lines.body, lines.events)
    return WebhookMessage(events[0].id, cloudevent.CONTENT_TYPE, cloudevent.cloudevent_body(events[0], source), 1)
