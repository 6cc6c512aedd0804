# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The query of Quake 3 and its descendants (OpenArena, Urban Terror, Xonotic): the player count, without bots if possible."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

from ..model.cancellation import Deadline
from ..model.players import PlayerCount
from .exchange import GameExchange, Unanswered, counted, number_of

MOST_BYTES = 64 * 1024
_MARK = b"\xff\xff\xff\xff"
_INFO, _STATUS = b"infoResponse", b"statusResponse"
_MOST_LINES = 1024
#: Score, ping and name.
_PLAYER = re.compile(rb'-*[0-9]+ -*[0-9]+ "')
_NO_ANSWER = "does not answer like a Quake 3 server"


def ask(address: tuple[str, int], deadline: Deadline) -> PlayerCount:
    """Return the player count of a server. Raises `Unanswered`."""
    with GameExchange(address, socket.SOCK_DGRAM, deadline, MOST_BYTES) as exchange:
        exchange.send(_MARK + b"getinfo xxx\n")
        online, most = count_in_info(_body(exchange.receive(), _INFO))
        if online is None:
            exchange.send(_MARK + b"getstatus xxx\n")
            online = count_in_status(_body(exchange.receive(), _STATUS))
    return counted(online, most)


def _body(packet: bytes, kind: bytes) -> bytes:
    begin = _MARK + kind + b"\n"
    if not packet.startswith(begin):
        raise Unanswered(_NO_ANSWER)
    return packet[len(begin) :]


def count_in_info(body: bytes) -> tuple[int | None, bytes | None]:
    """Return the number of human players, None if unknown, and the maximum. ``clients`` without ``bots`` counts only if 0."""
    info = _info(body.partition(b"\n")[0])
    online = number_of(info.get(b"g_humanplayers"))
    clients, bots = number_of(info.get(b"clients")), number_of(info.get(b"bots"))
    if online is None and clients is not None and bots is not None and bots <= clients:
        online = clients - bots
    return 0 if online is None and clients == 0 else online, info.get(b"sv_maxclients")


def count_in_status(body: bytes) -> int | None:
    """Return the number of players in a list, bots included: a ping of 0 means a bot or a player nearby."""
    lines = [line for line in body.split(b"\n")[1:] if line]
    if len(lines) > _MOST_LINES or not all(map(_PLAYER.match, lines)):
        return None
    return len(lines)


def _info(line: bytes) -> Mapping[bytes, bytes]:
    """Read keys and values, each after a backslash; the first value of a key counts, as in the game."""
    words = line.split(b"\\")[1:]
    return dict(reversed(list(zip(words[::2], words[1::2]))))
