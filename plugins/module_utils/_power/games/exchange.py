# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One exchange with a game: the address of a run, bytes within a deadline and a size limit, and the player count."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from ..definitions.definition import Definition
from ..model.cancellation import Deadline
from ..model.players import MOST_PLAYERS, PlayerCount
from ..model.server import Snapshot

_MOST_DIGITS = len(str(MOST_PLAYERS))
#: How to reach ports that are published on all addresses.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_CHUNK_BYTES = 65536


class Unanswered(Exception):
    """A game without a valid answer; the text is the reason, as the end of a sentence."""


def number_of(value: object) -> int | None:
    """Return a player count from a number or plain digits; None for anything else, and for an implausible number."""
    if isinstance(value, (str, bytes)) and len(value) <= _MOST_DIGITS and value.isdigit() and value.isascii():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_PLAYERS:
        return None
    return value


def counted(online: int | None, most: object) -> PlayerCount:
    """Return the count of an answer. Raises `Unanswered` if it has none."""
    if online is None:
        raise Unanswered("answers, but not how many play")
    return PlayerCount(online, number_of(most))


def default_port(snapshot: Snapshot, definition: Definition | None) -> int:
    """Return the port of the default allocation. Raises `Unanswered` if there is none."""
    text = variable(snapshot, "SERVER_PORT") or ""
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535 else 0
    if port == 0 and definition is not None:
        port = definition.allocations.default_port
    if port == 0:
        raise Unanswered("it has no default allocation, and its profile names no port")
    return port


def address_of(snapshot: Snapshot, port: int, protocol: str) -> tuple[str, int]:
    """Return the address that publishes a ``tcp`` or ``udp`` port. Raises `Unanswered` if none does."""
    if snapshot.on_host_network:
        address = variable(snapshot, "SERVER_IP") or "0.0.0.0"
        return _LOOPBACK.get(address, address), port
    published = snapshot.addresses.get(f"{port}/{protocol}")
    if not published:
        raise Unanswered(f"its container has not published port {port}/{protocol}")
    address, there = published[0]
    return _LOOPBACK.get(address, address), there


def variable(snapshot: Snapshot, name: str) -> str | None:
    """Return a variable of the container's environment, or None."""
    begin = f"{name}="
    return next((entry[len(begin) :] for entry in snapshot.environment if entry.startswith(begin)), None)


class GameExchange(contextlib.AbstractContextManager["GameExchange"]):
    """A connected socket that raises `Unanswered` after the deadline or above ``most`` bytes. Use it as a context: its end closes it."""

    def __init__(self, address: tuple[str, int], kind: socket.SocketKind, deadline: Deadline, most: int) -> None:
        self._deadline = deadline
        # As given: some milliseconds of it have passed.
        self._seconds = f"{round(deadline.left, 1):g}"
        self._most = most
        self._pending = b""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, kind)
        try:
            with self._limited():
                self._socket.connect(address)
        except BaseException:
            self._socket.close()
            raise

    def __exit__(self, *_unused: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        with self._limited():
            self._socket.sendall(data)

    def receive(self) -> bytes:
        """Return the next datagram or piece of a stream; empty at its end."""
        with self._limited():
            data = self._socket.recv(_CHUNK_BYTES)
        self._most -= len(data)
        if self._most < 0:
            raise Unanswered("sends too large an answer")
        return data

    def read(self, count: int) -> bytes:
        """Return exactly ``count`` bytes of a stream."""
        if count > self._most + len(self._pending):
            raise Unanswered("sends too large an answer")
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

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """Give a call of the socket the time until the deadline. Raises its failures as `Unanswered`."""
        try:
            left = self._deadline.left
            if left <= 0:
                raise socket.timeout
            self._socket.settimeout(left)
            yield
        except socket.timeout as error:
            raise Unanswered(f"gave no whole answer within {self._seconds} s") from error
        except ConnectionRefusedError as error:
            raise Unanswered("refuses connections: nothing listens there") from error
        except ConnectionError as error:
            raise Unanswered("hung up without a whole answer") from error
        except OSError as error:
            raise Unanswered(f"cannot be reached: {error.strerror or type(error).__name__}") from error
