# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The RCON of a game: a command is sent and answered, or it is told why not, in time, and without the password."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.game_keys import Rcon
from ansible_collections.fleet.power.plugins.module_utils._power.games.exchange import Unanswered
from ansible_collections.fleet.power.plugins.module_utils._power.games.rcon import RconLogin, login_of, send
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Snapshot
from ansible_collections.fleet.power.tests.unit.game_support import RconGame, rcon_packet, rcon_request, stream_game

PASSWORD = "correct horse"
SHORT = 0.3


def why(serve: Callable[[socket.socket], object], seconds: float = 10.0) -> str:
    began = time.monotonic()
    with stream_game(serve) as address, pytest.raises(Unanswered) as caught:
        send(address, PASSWORD, "say hello", Deadline.after(SYSTEM_CLOCK, seconds))
    assert time.monotonic() - began < seconds + 5
    assert "horse" not in str(caught.value)
    return str(caught.value)


def answering(*packets: bytes) -> Callable[[socket.socket], object]:
    """A game that answers a login with these packets."""

    def serve(connection: socket.socket) -> None:
        rcon_request(connection)
        connection.sendall(b"".join(packets))
        connection.recv(1)

    return serve


def test_a_command_is_sent_after_the_login() -> None:
    game = RconGame(PASSWORD)
    with game.up() as address:
        send(address, PASSWORD, "say Grüße", Deadline.after(SYSTEM_CLOCK, 10))
    assert game.heard == ["say Grüße"]


def test_a_password_that_is_refused_is_told_and_not_shown() -> None:
    game = RconGame("another")
    assert why(game.serve) == "refuses the RCON password"
    assert game.heard == []


@pytest.mark.parametrize("packet", [b"\0" * 20, b"\xff" * 20, b"HTTP/1.1 400 Bad Request\r\n", (9).to_bytes(4, "little") + b"x" * 9])
def test_garbage_is_no_answer(packet: bytes) -> None:
    assert why(answering(packet)) == "answers as no RCON server does"


def test_answers_without_end_are_not_read_to_their_end() -> None:
    assert why(answering(rcon_packet(1001, 0, b"x" * 4096) * 1000)) == "answers more than any game does"


def test_nobody_waits_for_who_says_nothing_or_drips() -> None:
    def drip(connection: socket.socket) -> None:
        for byte in rcon_packet(1001, 0, b"x" * 4000):
            connection.sendall(bytes((byte,)))
            time.sleep(0.02)

    assert why(lambda connection: connection.recv(1) and rcon_request(connection), SHORT).endswith("within 0.3 s")
    assert why(drip, SHORT) == "gave no whole answer within 0.3 s"


class TestLogin:
    SNAPSHOT = Snapshot("1" * 64, "x", live=True, environment=("RCON_PASS=a=b", "RCON_PORT=27016", "EMPTY=", "ODD=70000", "WORD=x"))

    def test_password_and_port_are_read_from_the_environment(self) -> None:
        assert login_of(Rcon("RCON_PASS", "say {message}"), self.SNAPSHOT) == RconLogin("a=b", None)
        assert login_of(Rcon("RCON_PASS", "say {message}", 5), self.SNAPSHOT) == RconLogin("a=b", 5)
        assert login_of(Rcon("RCON_PASS", "say {message}", None, "RCON_PORT"), self.SNAPSHOT) == RconLogin("a=b", 27016)

    def test_the_password_is_in_no_text_of_it(self) -> None:
        assert "a=b" not in repr(login_of(Rcon("RCON_PASS", "say {message}"), self.SNAPSHOT))
