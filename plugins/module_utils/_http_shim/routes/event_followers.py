# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that read events: their cursors, pages, and waits for the next event."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Union

from ..._power.events.event import Event
from ..._power.journal.outbox import OutboxState, RecordedEvents
from ..._power.model.records import dataclass
from ..http.replies import Reply, json_reply
from ..http.worker_pool import ThreadRefused, WorkerPool

#: The form of a cursor: the outbox, and the number of the last event read.
CURSOR_PATTERN = r"^(now|[0-9A-Za-z-]{1,64}:[0-9]{1,18})?$"
#: In place of a cursor: after the newest event. An empty text means before the oldest.
NOW = "now"
#: Seconds between two looks for new events while readers wait.
_LOOK_SECONDS = 0.2
_READERS = 4


@dataclass(frozen=True)
class Cursor:
    """A reader's place: after an event of an outbox. Without an outbox it is the beginning or the end of the current one."""

    outbox: str = ""
    number: int = 0
    at_end: bool = False

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """Return the cursor of a client's text; None if invalid."""
        if text in ("", NOW):
            return cls(at_end=text == NOW)
        if not re.fullmatch(CURSOR_PATTERN, text):
            return None
        outbox, _colon, number = text.partition(":")
        return cls(outbox, int(number))

    def __str__(self) -> str:
        return f"{self.outbox}:{self.number}"

    def is_lost_in(self, state: OutboxState) -> bool:
        """Tell if the cursor's place does not exist: the outbox began anew, or an old copy of the journal was restored."""
        return bool(self.outbox) and (self.outbox != state.id or self.number > state.last)

    def start_in(self, state: OutboxState) -> int:
        """Return the number after which reading begins."""
        if self.at_end:
            return state.last
        return 0 if self.is_lost_in(state) else self.number


@dataclass(frozen=True)
class EventPage:
    """The events after a cursor: the next cursor, how many events were dropped before the read, and if the cursor was lost, so that the
    page begins at the oldest event."""

    cursor: Cursor
    dropped: int
    reset: bool
    count: int

    @property
    def has_news(self) -> bool:
        return bool(self.count or self.dropped or self.reset)

    def body(self, events: list[Mapping[str, Any]]) -> dict[str, Any]:
        return {"cursor": str(self.cursor), "dropped": self.dropped, "reset": self.reset, "events": events}


def page_after(asked: Cursor, state: OutboxState, numbers: Sequence[int], limit: int) -> EventPage:
    """Return the page of at most ``limit`` events by their numbers, which were read after ``state``. Numbers grow by one: a missing number
    is an event dropped for its age or for lack of room."""
    start = asked.start_in(state)
    # A full page ends at its last event. Any other ends where the outbox did, or at a newer event.
    end = numbers[-1] if len(numbers) >= limit else max([state.last, *numbers])
    # A reader without a cursor has missed nothing.
    dropped = end - start - len(numbers) if asked.outbox else 0
    return EventPage(Cursor(state.id, end), dropped, asked.is_lost_in(state), len(numbers))


@dataclass(frozen=True)
class Place:
    """A reader's place, and the limit of events in a reply. Readers at the same place share a reply."""

    cursor: Cursor
    limit: int


@dataclass(frozen=True)
class PageReply:
    page: EventPage
    reply: Reply


#: None: events are disabled. An error is a value here, because all its readers may have gone.
_Found = Union[PageReply, Exception, None]


class EventFollowers:
    """Readers of the node's events. ``form`` turns an event into its form for clients."""

    def __init__(self, events: Callable[[], RecordedEvents], form: Callable[[Event], Mapping[str, Any]]) -> None:
        self._events = events
        self._form = form
        self._threads = WorkerPool(_READERS, "events")
        # Separate threads: new readers must not delay those that wait.
        self._watch_threads = WorkerPool(1, "events")
        self._waiting: dict[Place, set[asyncio.Future[_Found]]] = {}
        self._watching: asyncio.Task[None] | None = None
        self.over = False

    @property
    def waiting(self) -> int:
        return sum(len(futures) for futures in self._waiting.values())

    async def read(self, place: Place, seconds: float) -> PageReply | None:
        """Return the events after a place, after ``seconds`` at the latest; None if events are disabled. Raises `JournalUnusable` or
        OSError if the journal is unreadable."""
        found = await self._threads.ask(lambda: self._look(place))
        if found is None or found.page.has_news or seconds <= 0 or self.over:
            return found
        # Wait from the place just found: "now" was resolved once.
        place = Place(found.page.cursor, place.limit)
        future: asyncio.Future[_Found] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place, set()).add(future)
        if self._watching is None:
            self._watching = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({future}, timeout=seconds)
        finally:
            left = self._waiting[place]
            left.discard(future)
            if not left:
                del self._waiting[place]
        if not future.done() or future.cancelled():
            return found
        news = future.result()
        if isinstance(news, Exception):
            raise news
        return news

    def close(self) -> None:
        """End all waits: each reader gets the page from before its wait."""
        self.over = True
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()

    async def _watch(self) -> None:
        try:
            while self._waiting and not self.over:
                await asyncio.sleep(_LOOK_SECONDS)
                for place, news in (await self._news(tuple(self._waiting))).items():
                    for future in self._waiting.get(place, ()):
                        if not future.done():
                            future.set_result(news)
        finally:
            self._watching = None

    async def _news(self, places: Collection[Place]) -> Mapping[Place, _Found]:
        try:
            return await self._watch_threads.ask(lambda: self._look_for_each(places))
        except ThreadRefused:
            return {}
        except Exception as error:
            return dict.fromkeys(places, error)

    def _look(self, place: Place) -> PageReply | None:
        """Return the page after a place. For a thread."""
        state = self._events().state()
        return None if state is None else self._page_reply(place, state)

    def _look_for_each(self, places: Collection[Place]) -> dict[Place, _Found]:
        """Look at the outbox once; return the pages of the places with news. For a thread."""
        state = self._events().state()
        if state is None:
            return dict.fromkeys(places)
        moved = [place for place in places if (place.cursor.outbox, place.cursor.number) != (state.id, state.last)]
        return {place: self._page_reply(place, state) for place in moved}

    def _page_reply(self, place: Place, state: OutboxState) -> PageReply | None:
        found = self._events().after(place.cursor.start_in(state), place.limit)
        if found is None:
            return None
        page = page_after(place.cursor, state, [event.number for event in found.events], place.limit)
        return PageReply(page, json_reply(page.body([self._form(event) for event in found.events])))
