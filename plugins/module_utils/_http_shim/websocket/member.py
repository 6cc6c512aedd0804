# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One websocket: its token, and its queue of frames. A client that reads too slowly is cut off."""

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

_MOST_FRAMES, _MOST_BYTES = 4096, 1024 * 1024
_CLOSING_SECONDS = 2.0
#: Close codes: the server or this process ends; too many websockets; no valid token.
GOING_AWAY, TRY_LATER, POLICY = 1001, 1013, 1008
#: So long before the end of its token, a client gets a notice to fetch a new one.
_EXPIRING_SECONDS = 60.0


class Member:
    """One websocket of a server, opened by the ``request`` from the ``address``. ``drop`` hangs up on it at once. ``expired`` is called at
    the end of its token. Until it has a new one, it gets no events."""

    def __init__(
        self, socket: web.WebSocketResponse, drop: Callable[[], None], request: str, address: str, expired: Callable[[Member], None]
    ) -> None:
        self._socket = socket
        self._drop = drop
        self.request = request
        self.address = address
        self.claims: Claims | None = None
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self.rates = Rates(self._loop.time())
        self._timers: tuple[asyncio.TimerHandle, ...] = ()
        self._waiting: deque[str] = deque()
        self._bytes = 0
        self.over = False
        self._closing: tuple[int, str] | None = None
        #: Exists only while frames wait.
        self._task: asyncio.Task[None] | None = None

    @property
    def sees_errors(self) -> bool:
        """Tell if its token shows it errors of the node."""
        return self.claims is not None and self.claims.grants(ERRORS)

    def accept(self, claims: Claims) -> None:
        self.claims = claims
        self._stop_timers()
        left = claims.expires_at - time.time()
        self._timers = (
            self._loop.call_later(max(0.0, left - _EXPIRING_SECONDS), self.send, frames.EXPIRING),
            self._loop.call_later(max(0.0, left), self._expire),
        )

    def send(self, event: str, *texts: str) -> None:
        self.put(frames.frame(event, *texts))

    def put(self, text: str) -> None:
        """Queue a frame; returns at once."""
        if self.over:
            return
        if len(self._waiting) >= _MOST_FRAMES or self._bytes + len(text) > _MOST_BYTES:
            self._give_up()
            self._drop()
            return
        self._waiting.append(text)
        self._bytes += len(text)
        self._go()

    def close(self, code: int, reason: str) -> None:
        self._stop_timers()
        if not self.over:
            self.over, self._closing = True, (code, reason)
            self._go()

    def shut_out(self, code: int, reason: str) -> None:
        """Close the websocket, because the key of its token has changed. Messages that still arrive are ignored."""
        self.claims = None
        self.send(frames.TOKEN_EXPIRED)
        self.close(code, reason)

    async def left(self) -> None:
        """End sending after the last read."""
        self._stop_timers()
        if self._closing is not None and self._task is not None:
            # Without this wait, the library would close it differently.
            await asyncio.wait({self._task}, timeout=_CLOSING_SECONDS)
        self._give_up()

    def _give_up(self) -> None:
        self.over = True
        self._waiting.clear()

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
            self._give_up()
        finally:
            self._task = None

    def _expire(self) -> None:
        self.send(frames.TOKEN_EXPIRED)
        self._expired(self)

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = ()
