# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Server List Ping of Minecraft since version 1.7 and of its proxies: the player count of the server list."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ..model.cancellation import Deadline
from ..model.plain import as_map, read_whole
from ..model.players import PlayerCount
from ..model.schema import parsed_json
from .exchange import GameExchange, Unanswered, counted, number_of

#: An answer has an icon of some 30 KiB, and may have a mod list.
MOST_BYTES = 256 * 1024
_MOST_NESTED = 64
#: Servers answer any version; this is the oldest that they know.
_VERSION = 47
_STATUS = 1
_NO_ANSWER = "does not answer like a Minecraft server"


def ask(address: tuple[str, int], deadline: Deadline) -> PlayerCount:
    """Return the player count of a server. Raises `Unanswered`."""
    with GameExchange(address, socket.SOCK_STREAM, deadline, MOST_BYTES) as exchange:
        exchange.send(_request(address))
        return read_answer(exchange.read)


def _request(address: tuple[str, int]) -> bytes:
    host = address[0].encode()
    greeting = b"\0" + _varint(_VERSION) + _varint(len(host)) + host + address[1].to_bytes(2, "big") + _varint(_STATUS)
    return _varint(len(greeting)) + greeting + b"\1\0"


def read_answer(read: Callable[[int], bytes]) -> PlayerCount:
    """Return the count in an answer; ``read`` returns its next bytes. Raises `Unanswered`, and what ``read`` raises."""
    size = _read_varint(read)
    if not 3 <= size <= MOST_BYTES:
        raise Unanswered(_NO_ANSWER)
    packet = read(size)
    position = 0

    def within(count: int) -> bytes:
        nonlocal position
        position += count
        return packet[position - count : position].ljust(count, b"\0")

    if _read_varint(within) != 0 or _read_varint(within) != size - position:
        raise Unanswered(_NO_ANSWER)
    return count_in(packet[position:])


def count_in(document: bytes) -> PlayerCount:
    """Return the count in a status, which is JSON. Raises `Unanswered`."""
    status = parsed_json(document, _MOST_NESTED)
    if status is None:
        raise Unanswered(_NO_ANSWER)
    counts = as_map(as_map(status).get("players"))
    return counted(number_of(read_whole(counts.get("online"))), read_whole(counts.get("max")))


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def _read_varint(read: Callable[[int], bytes]) -> int:
    """Read a number of at most 21 bits, enough for a length."""
    number = 0
    for shift in (0, 7, 14):
        byte = read(1)[0]
        number |= (byte & 127) << shift
        if byte < 128:
            return number
    raise Unanswered(_NO_ANSWER)
