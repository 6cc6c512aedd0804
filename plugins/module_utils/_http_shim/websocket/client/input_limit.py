# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bound on what one client may send before any of it makes sense.

The library refuses a frame that is too large; its older versions do so when all of the frame is there, and keep it until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: More than is read ahead of a client that is made to wait, and messages that nobody has read yet.
_MOST_BYTES, _MOST_MESSAGES = 512 * 1024, 256
#: What is passed on in one go: older versions make messages of all of it before anybody can count them.
_PIECE_BYTES = 4096


class InputLimit(asyncio.Protocol):
    """Stands between a connection and the protocol that has it, and hangs up on a client that sends too much between two messages."""

    def __init__(self, transport: asyncio.Transport, unread: Callable[[], int]) -> None:
        """``unread`` is how many messages nobody has read yet."""
        self._transport = transport
        self._unread = unread
        self._bytes = 0
        protocol = transport.get_protocol()
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError(f"a stream is expected, not {type(protocol).__name__}")
        self._protocol = protocol
        transport.set_protocol(self)

    def message_read(self) -> None:
        """Count anew: what came so far made sense."""
        self._bytes = 0

    def data_received(self, data: bytes) -> None:
        """Pass it on, if it is not too much."""
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            self._bytes += len(piece)
            if self._bytes > _MOST_BYTES or self._unread() > _MOST_MESSAGES:
                self._transport.abort()
                return
            self._protocol.data_received(piece)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._protocol.resume_writing()
