# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One websocket: its token, and the frames that wait to be sent. A client that reads too slowly is cut off."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import frames
from .claims import ERRORS, Claims
from .frames import Rates

if TYPE_CHECKING:
    from aiohttp import web
if TYPE_CHECKING:
    from aiohttp import web

#: What may wait for a client that is slow to read.
_MOST_FRAMES, _MOST_BYTES = 4096, 1024 * 1024
_CLOSING_SECONDS = 2.0


class Outbox:
    """The frames that wait for one client. ``drop`` hangs up on it at once."""

    def __init__(self, socket: web.WebSocketResponse, drop: Callable[[], None]) -> None:
        self._socket = socket
        self._drop = drop
        self._waiting: deque[str] = deque()
        self._bytes = 0
        self._over = False
        self._closing: tuple[int, str] | None = None
        #: There is one only while something waits.
        self._task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Tell whether nothing more will be sent."""
        return self._over

    def put(self, text: str) -> None:
        """Send a frame after those that wait; returns at once."""
        if self._over:
            return
        if len(self._waiting) >= _MOST_FRAMES or self._bytes + len(text) > _MOST_BYTES:
            self.give_up()
            self._drop()
            return
        self._waiting.append(text)
        self._bytes += len(text)
        self._go()

    def close(self, code: int, reason: str) -> None:
        """Close the websocket when what waits is sent."""
        if not self._over:
            self._over, self._closing = True, (code, reason)
            self._go()

    def give_up(self) -> None:
        """Send nothing more, since nobody is there."""
        self._over = True
        self._waiting.clear()

    async def closed(self) -> None:
        """Wait until a close that was asked for is done: who ends before that closes otherwise."""
        if self._closing is not None and self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSING_SECONDS)

    def _go(self) -> None:
        if self._task is None:
            self._task = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                text = self._waiting.popleft()
                self._bytes -= len(text)
                await self._socket.send_str(text)
            if self._closing is not None:
                code, reason = self._closing
                await self._socket.close(code=code, message=reason.encode())
        except (ConnectionError, RuntimeError):
            # The client is gone, or the websocket was closed from its side.
            self.give_up()
        finally:
            self._task = None


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
