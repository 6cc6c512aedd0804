# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Source RCON: one command for a game's console. No message shows the password."""

from __future__ import annotations

import socket

from ..definitions.game_keys import Rcon
from ..model.cancellation import Deadline
from ..model.records import dataclass, field
from ..model.server import Snapshot
from .exchange import GameExchange, Unanswered, variable

_MOST_BYTES = 64 * 1024
#: A packet has id, type and two zeros beside its text; a server sends at most 4096 bytes of text.
_LEAST_SIZE, _MOST_SIZE = 10, 8192
_MOST_PACKETS = 32
_ANSWER, _COMMAND, _LOGIN_ANSWER, _LOGIN = 0, 2, 2, 3
#: Some servers refuse ids of 0 and less.
_LOGIN_ID, _COMMAND_ID = 1001, 1002
_REFUSED_ID = -1
_NO_ANSWER = "does not answer like an RCON server"


@dataclass(frozen=True)
class RconLogin:
    """RCON data in a run's environment. Without ``port``, the profile's counts."""

    password: str = field(repr=False)
    port: int | None


def login_of(rcon: Rcon, snapshot: Snapshot) -> RconLogin:
    """Read port and password from the container's environment. Raises `Unanswered` if they are missing."""
    password = variable(snapshot, rcon.password_variable)
    if not password:
        raise Unanswered(f"its environment has no RCON password: variable {rcon.password_variable} is empty or not there")
    if rcon.port_variable is None:
        return RconLogin(password, rcon.port)
    port = variable(snapshot, rcon.port_variable) or ""
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise Unanswered(f"its environment has no RCON port: variable {rcon.port_variable} is not a port")
    return RconLogin(password, int(port))


def send(address: tuple[str, int], password: str, command: str, deadline: Deadline) -> None:
    """Log in, send a command and wait for its answer. Raises `Unanswered`."""
    with GameExchange(address, socket.SOCK_STREAM, deadline, _MOST_BYTES) as exchange:
        exchange.send(_packet(_LOGIN_ID, _LOGIN, password))
        _await(exchange, _LOGIN_ANSWER, _LOGIN_ID)
        exchange.send(_packet(_COMMAND_ID, _COMMAND, command))
        _await(exchange, _ANSWER, _COMMAND_ID)


def _packet(identity: int, kind: int, text: str) -> bytes:
    body = identity.to_bytes(4, "little", signed=True) + kind.to_bytes(4, "little") + text.encode() + b"\0\0"
    return len(body).to_bytes(4, "little") + body


def _await(exchange: GameExchange, kind: int, identity: int) -> None:
    """Read up to the answer to a packet, and skip others, such as an empty answer to a login."""
    for _packet_before in range(_MOST_PACKETS):
        size = int.from_bytes(exchange.read(4), "little", signed=True)
        if not _LEAST_SIZE <= size <= _MOST_SIZE:
            raise Unanswered(_NO_ANSWER)
        body = exchange.read(size)
        answered, found = int.from_bytes(body[:4], "little", signed=True), int.from_bytes(body[4:8], "little", signed=True)
        if found != kind:
            continue
        if answered == identity:
            return
        if answered == _REFUSED_ID:
            raise Unanswered("refuses the RCON password")
        raise Unanswered(f"{_NO_ANSWER}: its answer fits no request")
    raise Unanswered("answers in more packets than any RCON server does")
