# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The route by which clients read the node's events."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from ..._power.events.event import Event
from ..._power.events.webhook import cloudevent, node_source
from ..._power.journal.schema import JournalUnusable
from ..http import replies
from ..http.replies import Reply, refusal
from . import schemas
from .event_followers import Cursor, EventFollowers, Place
from .router import AnswerDoc, Backend, HttpRequest, Route, failure, handles


class EventRoutes:
    def __init__(self, backend: Backend) -> None:
        self._node = backend.node
        self._log = backend.log
        self._followers = EventFollowers(lambda: self._node.journal.events, self._form)

    @property
    def waiting(self) -> int:
        return self._followers.waiting

    def close(self) -> None:
        """Answer all waiting clients: this process ends."""
        self._followers.close()

    @handles(
        Route(
            "events",
            "GET",
            "/api/events",
            "Events after a cursor, at most limit; with wait, the answer comes with the next event, at the latest after that many seconds",
            {
                200: AnswerDoc("The events, and the cursor for the next request", schemas.EVENTS),
                400: failure("The cursor, limit or wait is invalid"),
                404: failure("Events are disabled on this node"),
                500: failure("The journal cannot be read"),
            },
            query=schemas.EVENTS_QUERY,
        )
    )
    async def _events(self, request: HttpRequest) -> Reply:
        cursor = Cursor.read(request.query("after"))
        limit = _number(request.query("limit"), schemas.EVENTS_LIMIT, schemas.MOST_EVENTS)
        seconds = _number(request.query("wait"), 0, schemas.LONGEST_EVENT_WAIT)
        if cursor is None:
            return replies.error(400, "Cannot tell events: after is a cursor of an earlier answer, now, or empty for all that there are.")
        if not limit or seconds is None:
            return replies.error(400, "Cannot tell events: limit is a whole number of at least 1, wait one of seconds.")
        try:
            told = await self._followers.read(Place(cursor, limit), seconds)
        except (JournalUnusable, OSError) as error:
            self._log.error("journal_unreadable", request=request.id, reason=str(error))
            return replies.unexpected(request.id)
        # The token may have changed during the wait.
        refused = refusal(request.raw.headers.get("Authorization"), self._node.settings.token)
        if refused is not None:
            return refused
        # A client that asks again at once must not reach an ending process.
        return replace(replies.NO_EVENTS if told is None else told.reply, close=self._followers.over)

    def _form(self, event: Event) -> dict[str, Any]:
        return cloudevent(event, node_source(self._node.settings.event_node or socket.gethostname()))


def _number(text: str, otherwise: int, most: int) -> int | None:
    if not text:
        return otherwise
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 10 else None
