# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One exchange with a game: connected, sent and read within one deadline, however many reads that takes, and within a number of bytes."""

from __future__ import annotations

import socket

from ..model.cancellation import Deadline
from .counts import Unanswered

_CHUNK_BYTES = 65536


class GameExchange:
    """A connected socket, to be closed, that raises `Unanswered` when the deadline is over or more than ``most`` bytes have come."""

    def __init__(self, address: tuple[str, int], kind: socket.SocketKind, deadline: Deadline, most: int) -> None:
        self._deadline = deadline
        self._seconds = deadline.left
        self._most = most
        self._pending = b""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, kind)
        try:
            self._socket.settimeout(self._left())
            self._socket.connect(address)
        except OSError as error:
            self.close()
            raise self._fault(error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> GameExchange:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(data)
        except OSError as error:
            raise self._fault(error) from error

    def receive(self) -> bytes:
        """Return what comes next: a datagram, or a piece of a stream; empty at its end."""
        try:
            self._socket.settimeout(self._left())
            data = self._socket.recv(_CHUNK_BYTES)
        except OSError as error:
            raise self._fault(error) from error
        self._most -= len(data)
        if self._most < 0:
            raise Unanswered("answers more than any game does")
        return data

    def read(self, count: int) -> bytes:
        """Return the next bytes of a stream, exactly so many."""
        if count > self._most + len(self._pending):
            raise Unanswered("answers more than any game does")
        pieces, left = [self._pending], count - len(self._pending)
        while left > 0:
            piece = self.receive()
            if not piece:
                raise Unanswered("hung up without a whole answer")
            pieces.append(piece)
            left -= len(piece)
        data = b"".join(pieces)
        self._pending = data[count:]
        return data[:count]

    def _left(self) -> float:
        left = self._deadline.left
        if left <= 0:
            raise socket.timeout
        return left

    def _fault(self, error: OSError) -> Unanswered:
        if isinstance(error, socket.timeout):
            return Unanswered(f"gave no whole answer within {self._seconds:.3g} s")
        if isinstance(error, ConnectionRefusedError):
            return Unanswered("refuses connections: nothing listens there")
        if isinstance(error, ConnectionError):
            return Unanswered("hung up without a whole answer")
        return Unanswered(f"cannot be reached: {error.strerror or type(error).__name__}")
