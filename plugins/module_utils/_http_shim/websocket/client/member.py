# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One websocket: its token, and the frames that it is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import frames
from .claims import Claims
from .outbox import Outbox
from .permissions import ERRORS
from .rates import Rates

if TYPE_CHECKING:
    from aiohttp import web

#: Close codes: the server or this process goes, there are too many, no token came or none counts any more.
GOING_AWAY, TRY_LATER, POLICY = 1001, 1013, 1008
#: How long before its end a client is told to fetch a new token.
_EXPIRING_SECONDS = 60.0


class Member:
    """One websocket of one server, opened by the request of that id from that address.

    ``expired`` is told when its token's time is over: it hears nothing then, until it has a new one.
    """

    def __init__(
        self, socket: web.WebSocketResponse, drop: Callable[[], None], request: str, address: str, expired: Callable[[Member], None]
    ) -> None:
        self.request = request
        self.address = address
        self.claims: Claims | None = None
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self.rates = Rates(self._loop.time())
        self._outbox = Outbox(socket, drop)
        self._timers: tuple[asyncio.TimerHandle, ...] = ()

    @property
    def gone(self) -> bool:
        """Tell whether nothing can be sent to it any more."""
        return self._outbox.over

    @property
    def sees_errors(self) -> bool:
        """Tell whether its token lets it see what errors say of the node."""
        return self.claims is not None and self.claims.grants(ERRORS)

    def accept(self, claims: Claims) -> None:
        """Let it in until its token expires."""
        self.claims = claims
        self._stop_timers()
        left = claims.expires_at - time.time()
        self._timers = (
            self._loop.call_later(max(0.0, left - _EXPIRING_SECONDS), self.send, frames.EXPIRING),
            self._loop.call_later(max(0.0, left), self._expire),
        )

    def send(self, event: str, *texts: str) -> None:
        """Send an event; returns at once."""
        self._outbox.put(frames.frame(event, *texts))

    def send_frame(self, text: str) -> None:
        """Send a frame that was made for several; returns at once."""
        self._outbox.put(text)

    def close(self, code: int, reason: str) -> None:
        """Close the websocket when what waits is sent."""
        self._stop_timers()
        self._outbox.close(code, reason)

    def shut_out(self, code: int, reason: str) -> None:
        """Close the websocket, since no token of its key counts any more. What is still read from it until then is not done."""
        self.claims = None
        self.send(frames.TOKEN_EXPIRED)
        self.close(code, reason)

    async def left(self) -> None:
        """End sending: nothing more is read from it."""
        self._stop_timers()
        await self._outbox.closed()
        self._outbox.give_up()

    def _expire(self) -> None:
        self.send(frames.TOKEN_EXPIRED)
        self._expired(self)

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = ()
