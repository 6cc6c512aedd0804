# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a reader of events stands, and what a page of the outbox is to whoever stands there; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..._power.journal.outbox import OutboxState

#: As a cursor is written: the outbox, and the number of the event that was read last.
CURSOR_PATTERN = r"^(now|[0-9A-Za-z-]{1,64}:[0-9]{1,18})?$"
#: In place of a cursor: behind the newest event. Nothing at all is before the oldest.
NOW = "now"


@dataclass(frozen=True)
class Cursor:
    """A reader's place: behind an event of an outbox. Without an outbox it is in whichever there is, at its beginning or its end."""

    outbox: str = ""
    number: int = 0
    at_end: bool = False

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """Return what a client means; None if it means nothing."""
        if text in ("", NOW):
            return cls(at_end=text == NOW)
        # Without the last line break that a dollar sign lets pass.
        if text.endswith("\n") or not re.match(CURSOR_PATTERN, text):
            return None
        outbox, _colon, number = text.partition(":")
        return cls(outbox, int(number))

    def __str__(self) -> str:
        return f"{self.outbox}:{self.number}"

    def is_lost_in(self, state: OutboxState) -> bool:
        """Tell whether its place is in no outbox that is there: it was begun anew, or an old copy of the journal was restored."""
        return bool(self.outbox) and (self.outbox != state.id or self.number > state.last)

    def start_in(self, state: OutboxState) -> int:
        """Return the number behind which reading begins."""
        if self.at_end:
            return state.last
        return 0 if self.is_lost_in(state) else self.number


@dataclass(frozen=True)
class EventPage:
    """What is told of the events after a cursor: where the reader stands with it, how many events had gone before he read them, and
    whether his cursor was lost, so that this begins at the oldest event."""

    cursor: Cursor
    dropped: int
    reset: bool
    count: int

    @property
    def has_news(self) -> bool:
        """Tell whether there is anything that the reader did not know."""
        return bool(self.count or self.dropped or self.reset)

    def told(self, events: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the answer, with its events in their form."""
        return {"cursor": str(self.cursor), "dropped": self.dropped, "reset": self.reset, "events": events}


def page_after(asked: Cursor, state: OutboxState, numbers: Sequence[int], limit: int) -> EventPage:
    """Return what at most ``limit`` events are, by their numbers, to whoever asked from a cursor; they were read after ``state`` was.

    Numbers grow by one: what lacks between two of them has gone, by its age or as one of too many.
    """
    start = asked.start_in(state)
    # A page that is full ends at its last event, any other one where the outbox did; what has come since then is in it.
    end = numbers[-1] if len(numbers) >= limit else max([state.last, *numbers])
    # Whoever begins here lacks nothing.
    dropped = end - start - len(numbers) if asked.outbox else 0
    return EventPage(Cursor(state.id, end), dropped, asked.is_lost_in(state), len(numbers))
