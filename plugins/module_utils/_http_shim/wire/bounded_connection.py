# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounds, between one connection and the library, on what a client sends ahead, and on how long it may keep its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

#: What may come ahead of its turn: bytes, more than the largest head and body, and requests. Older versions of the library read all
#: that a client sends, and keep it.
_MOST_BYTES, _MOST_REQUESTS = 256 * 1024, 256


class BoundedConnection(asyncio.Protocol):
    """One connection, from its acceptance on. ``make`` makes the protocol that serves it; ``lost`` is told of its end."""

    def __init__(self, make: Callable[[], asyncio.Protocol], lost: Callable[[BoundedConnection], None], patience: float) -> None:
        """``patience``: seconds for the first request to come in, and for an answer to be taken."""
        self._make = make
        self._lost = lost
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._request: web.BaseRequest | None = None
        self._bytes = 0
        #: When it is hung up on, and whether that is so because its own side was closed.
        self._due: float | None = None
        self._closing = False

    def request_read(self, request: web.BaseRequest) -> None:
        """Note that the turn of a request has come."""
        if self._request is None:
            self._due = None
        self._request, self._bytes = request, 0

    def hang_up_if_due(self) -> None:
        """Hang up, if it is time. To be called now and then."""
        transport, now = self._transport, self._loop.time()
        if transport is None:
            return
        if transport.is_closing() and not self._closing:
            # What was not sent yet keeps a connection that was closed.
            self._closing, self._due = True, now + self._patience
        if self._due is not None and now >= self._due:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve it; with TLS, after the handshake."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"a stream is expected, not {type(transport).__name__}")
        self._transport, self._due = transport, self._loop.time() + self._patience
        self._protocol = self._make()
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End it. Nobody waits for an answer to who only looked and is gone; what was asked for is done, by a websocket, too."""
        request, own = self._request, self._transport is not None and self._transport.get_protocol() is self
        looks = None if request is None or request.method != "GET" or not own else request.task
        self._transport = self._request = None
        self._lost(self)
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
        if looks is not None:
            looks.cancel()

    def data_received(self, data: bytes) -> None:
        """Pass it on, if it is not too much."""
        protocol, transport = self._protocol, self._transport
        if protocol is None or transport is None:
            return
        protocol.data_received(data)
        request = self._request
        if request is not None and not request.content.is_eof():
            # Of a body the library holds back what nobody reads.
            return
        if transport.get_protocol() is not self:
            # A websocket by now, which counts by itself.
            return
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES or len(getattr(protocol, "_messages", ())) > _MOST_REQUESTS:
            transport.abort()

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return None if self._protocol is None else self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Give a client that reads more slowly than it is written to a while to catch up."""
        self._due = self._loop.time() + self._patience
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Go on with a client that has caught up."""
        if not self._closing:
            self._due = None
        if self._protocol is not None:
            self._protocol.resume_writing()
