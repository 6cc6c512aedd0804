# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames still to be sent over one websocket: bounded, so that a client that does not read holds up nobody, and is hung up on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

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
