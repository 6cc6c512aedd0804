# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The query of Source servers, A2S_INFO: the number of players without bots."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable

from ..model.cancellation import Deadline
from ..model.players import PlayerCount
from .exchange import GameExchange, Unanswered, counted

MOST_BYTES = 64 * 1024
_REQUEST = b"\xff\xff\xff\xffTSource Engine Query\0"
_WHOLE, _PART = b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff"
_CHALLENGE, _INFO = b"A", b"I"
#: A server may answer a challenge with another one, endlessly.
_MOST_CHALLENGES = 3
_MOST_PARTS = 32
#: In the last byte of an id.
_COMPRESSED = 0x80
#: Bytes before the content of a part: mark, id, count, number, size.
_PART_HEAD = 12
#: Texts of an answer before its numbers: name, map, folder, game.
_TEXTS = 4
_NO_ANSWER = "does not answer like a Source server"


def ask(address: tuple[str, int], deadline: Deadline) -> PlayerCount:
    """Return the player count of a server. Raises `Unanswered`."""
    with GameExchange(address, socket.SOCK_DGRAM, deadline, MOST_BYTES) as exchange:
        exchange.send(_REQUEST)
        for _challenge in range(_MOST_CHALLENGES):
            answer = read_answer(exchange.receive)
            if answer[:1] != _CHALLENGE:
                return count_in(answer)
            if len(answer) < 5:
                raise Unanswered(_NO_ANSWER)
            exchange.send(_REQUEST + answer[1:5])
    raise Unanswered("asks for one challenge after another")


def count_in(answer: bytes) -> PlayerCount:
    """Return the count in an answer. Raises `Unanswered`."""
    position = 2
    for _text in range(_TEXTS):
        position = answer.find(b"\0", position) + 1
        if position == 0:
            raise Unanswered(_NO_ANSWER)
    # The game's number has two bytes.
    numbers = answer[position + 2 : position + 5]
    if answer[:1] != _INFO or len(numbers) < 3:
        raise Unanswered(_NO_ANSWER)
    players, most, bots = numbers
    # With more bots than players, the players do not include bots.
    return counted(players - bots if bots <= players else players, most)


def read_answer(receive: Callable[[], bytes]) -> bytes:
    """Return an answer without its mark, joined if it comes in parts. Raises `Unanswered`, and what ``receive`` raises."""
    packet = receive()
    if packet[:4] == _WHOLE:
        return packet[4:]
    head, parts = packet[4:9], {}
    for _part in range(_MOST_PARTS):
        if packet[:4] != _PART or len(packet) < _PART_HEAD:
            raise Unanswered(_NO_ANSWER)
        total, number = packet[8], packet[9]
        if packet[4:9] != head or not number < total <= _MOST_PARTS:
            raise Unanswered(_NO_ANSWER)
        parts[number] = packet[_PART_HEAD:]
        if len(parts) == total:
            data = b"".join(part for _number, part in sorted(parts.items()))
            whole = _decompressed(data) if head[3] & _COMPRESSED else data
            if whole[:4] != _WHOLE:
                raise Unanswered(_NO_ANSWER)
            return whole[4:]
        packet = receive()
    raise Unanswered("answers in more parts than any game does")


def _decompressed(data: bytes) -> bytes:
    """Return the decompressed data, with the same size limit as any answer. Size and checksum precede the data."""
    # Loaded here because hardly any game compresses.
    import bz2

    size, check = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    try:
        whole = bz2.BZ2Decompressor().decompress(data[8:], max_length=MOST_BYTES + 1)
    except (OSError, ValueError, EOFError) as error:
        raise Unanswered(_NO_ANSWER) from error
    if len(whole) > MOST_BYTES or len(whole) != size or zlib.crc32(whole) != check:
        raise Unanswered(_NO_ANSWER)
    return whole
