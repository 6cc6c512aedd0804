# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries and commands for games, and their answers, hostile ones included."""

from __future__ import annotations

import bz2
import itertools
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.game_keys import Rcon
from ansible_collections.fleet.power.plugins.module_utils._power.games import a2s, minecraft, quake3
from ansible_collections.fleet.power.plugins.module_utils._power.games.exchange import Unanswered
from ansible_collections.fleet.power.plugins.module_utils._power.games.profiled import count_in as count_printed
from ansible_collections.fleet.power.plugins.module_utils._power.games.rcon import RconLogin, login_of, send
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Snapshot
from ansible_collections.fleet.power.tests.unit.game_support import (
    CHALLENGE,
    Address,
    RconGame,
    datagram_game,
    ping_answer,
    quake_game,
    rcon_packet,
    rcon_request,
    source_answer,
    source_game,
    status,
    stream_game,
)
from hypothesis import given
from hypothesis import strategies as st

Ask = Callable[[Address, Deadline], PlayerCount]
#: The timeout in seconds for games that never end their answer.
SHORT = 0.3
#: Extra seconds for a loaded machine. An exchange without a limit takes minutes.
SLACK = 5.0


def ask(query: Ask, address: Address, seconds: float = 10.0) -> PlayerCount:
    return query(address, Deadline.after(SYSTEM_CLOCK, seconds))


def why(query: Ask, address: Address, seconds: float = 10.0) -> str:
    began = time.monotonic()
    with pytest.raises(Unanswered) as caught:
        ask(query, address, seconds)
    assert time.monotonic() - began < seconds + SLACK
    return str(caught.value)


def endless(connection: socket.socket) -> None:
    connection.sendall(ping_answer(b"x" * 200_000)[:100])
    while True:
        connection.sendall(b"x" * 65536)


def dripping(connection: socket.socket) -> None:
    for byte in ping_answer(status(online=0, max=1)):
        connection.sendall(bytes((byte,)))
        time.sleep(0.02)


class TestMinecraft:
    @pytest.mark.parametrize(
        "document",
        [
            *(b"", b"{", b"[]", b"3", b"null", b'{"players": []}', b'{"players": 3}', b'{"players": {"max": 1}}', b"\xff\xfe"),
            *(b"[" * 100_000, b'{"players":' * 20_000, b'{"players": {"online": ' + b"9" * 200_000 + b"}}"),
        ],
        ids=lambda document: f"{document[:12]!r} {len(document)}",
    )
    def test_an_invalid_answer_of_minecraft_gives_no_count(self, document: bytes) -> None:
        with stream_game(lambda connection: connection.sendall(ping_answer(document))) as address:
            assert why(minecraft.ask, address) in ("answers, but not how many play", "does not answer like a Minecraft server")

    def test_a_slow_answer_is_given_up_at_the_timeout(self) -> None:
        with stream_game(dripping) as address:
            assert why(minecraft.ask, address, SHORT) == "gave no whole answer within 0.3 s"

    def test_an_endless_answer_is_cut_off(self) -> None:
        with stream_game(endless) as address:
            assert why(minecraft.ask, address) in ("does not answer like a Minecraft server", "sends too large an answer")

    @given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: ping_answer(text.encode(errors="replace"))))
    def test_any_answer_of_minecraft_gives_a_count_or_an_error(self, data: bytes) -> None:
        position = 0

        def read(count: int) -> bytes:
            nonlocal position
            position += count
            if position > len(data):
                raise Unanswered("hung up without a whole answer")
            return data[position - count : position]

        _count_or_unanswered(lambda: minecraft.read_answer(read))


def _count_or_unanswered(count: Callable[[], PlayerCount]) -> None:
    try:
        found = count()
    except Unanswered as error:
        assert str(error)
    else:
        assert found.online is not None and 0 <= found.online <= 1_000_000
        assert found.most is None or 0 <= found.most <= 1_000_000


def parts(answer: bytes, size: int, identity: int = 7) -> list[bytes]:
    pieces = [answer[index : index + size] for index in range(0, len(answer), size)]
    head = b"\xfe\xff\xff\xff" + identity.to_bytes(4, "little")
    return [head + bytes((len(pieces), number)) + size.to_bytes(2, "little") + piece for number, piece in enumerate(pieces)]


def compressed(answer: bytes, *, size: int | None = None, check: int | None = None) -> list[bytes]:
    head = (len(answer) if size is None else size).to_bytes(4, "little") + (zlib.crc32(answer) if check is None else check).to_bytes(
        4, "little"
    )
    return parts(head + bz2.compress(answer), 60, identity=0x80000007)


class TestSource:
    @pytest.mark.parametrize(
        ("answered", "count"),
        [
            *(((0, 32, 0), PlayerCount(0, 32)), ((12, 32, 5), PlayerCount(7, 32)), ((5, 32, 5), PlayerCount(0, 32))),
            *(((255, 255, 0), PlayerCount(255, 255)), ((3, 32, 5), PlayerCount(3, 32)), ((0, 32, 5), PlayerCount(0, 32))),
        ],
    )
    def test_bots_are_subtracted_from_the_players_of_a_source_server(self, answered: tuple[int, int, int], count: PlayerCount) -> None:
        with source_game(*answered) as address:
            assert ask(a2s.ask, address) == count

    @pytest.mark.parametrize(
        "packets",
        [
            parts(source_answer(3, 8, 1), 20),
            parts(source_answer(3, 8, 1), 20)[::-1],
            compressed(source_answer(3, 8, 1)),
            parts(source_answer(3, 8, 1), 1400),
        ],
        ids=["in parts", "in another order", "compressed", "in one part"],
    )
    def test_an_answer_in_parts_is_read(self, packets: list[bytes]) -> None:
        with datagram_game(lambda packet: packets) as address:
            assert ask(a2s.ask, address) == PlayerCount(2, 8)

    BOMB = compressed(b"\xff\xff\xff\xffI" + b"\0" * 50_000_000)

    @pytest.mark.parametrize(
        "packets",
        [
            *([b""], [b"\xff"], [b"\xff\xff\xff\xff"], [b"\xff\xff\xff\xffA"], [b"\xff\xff\xff\xffAab"], [os.urandom(1000)]),
            *([source_answer(1, 2, 0)[:-12]], [b"\xff\xff\xff\xffI" + b"x" * 1000], [b"\xff\xff\xff\xffD\1\0x\0" + b"\0" * 8]),
            *(
                [b"\xfe\xff\xff\xff"],
                [b"\xfe\xff\xff\xff" + b"\xff" * 30],
                parts(b"x" * 100, 20),
                [*parts(b"x" * 40, 20, 1)[:1], *parts(b"x" * 40, 20, 2)],
            ),
            *(compressed(b"x", size=2**31), compressed(source_answer(1, 2, 0), check=0), BOMB, parts(b"\0" * 30, 20, 0x80000001)),
        ],
        ids=range(17),
    )
    def test_garbage_from_source_gives_no_count(self, packets: list[bytes]) -> None:
        with datagram_game(lambda packet: packets) as address:
            assert why(a2s.ask, address) == "does not answer like a Source server"

    def test_a_wrong_challenge_is_answered_only_a_few_times(self) -> None:
        asked: list[bytes] = []

        def answer(packet: bytes) -> list[bytes]:
            asked.append(packet)
            return [b"\xff\xff\xff\xffA" + CHALLENGE]

        with datagram_game(answer) as address:
            why(a2s.ask, address)
        assert len(asked) <= 4

    @given(st.binary(max_size=300), st.booleans())
    def test_any_answer_of_source_gives_a_count_or_an_error(self, data: bytes, whole: bool) -> None:
        packet = (b"\xff\xff\xff\xffI" if whole else b"\xfe\xff\xff\xff") + data
        _count_or_unanswered(lambda: a2s.count_in(a2s.read_answer(itertools.repeat(packet).__next__)))


class TestQuake:
    def test_bots_are_subtracted_from_the_players_of_a_quake_server(self) -> None:
        with quake_game(r"\sv_maxclients\16\clients\6\g_humanplayers\2\hostname\A server") as address:
            assert ask(quake3.ask, address) == PlayerCount(2, 16)
        with quake_game(r"\gamename\Xonotic\sv_maxclients\16\clients\6\bots\4") as address:
            assert ask(quake3.ask, address) == PlayerCount(2, 16)

    @pytest.mark.parametrize(
        "info",
        [
            *("", "\\", "g_humanplayers\\2", r"\g_humanplayers", r"\g_humanplayers\-1", r"\g_humanplayers\two", r"\g_humanplayers\1e3"),
            *(r"\g_humanplayers\99999999", r"\clients\2\bots\5", r"\x\y" * 5000, "\\g_humanplayers\\\u0662", r"\x\g_humanplayers\y\2"),
        ],
        ids=lambda info: info[:30],
    )
    def test_a_hostile_info_string_gives_no_count(self, info: str) -> None:
        with quake_game(info, ("0 5 name without quotes",)) as address:
            assert why(quake3.ask, address) == "answers, but not how many play"


@pytest.mark.parametrize("query", [a2s.ask, quake3.ask], ids=["a2s", "quake3"])
class TestDatagrams:
    def test_a_packet_from_another_address_is_no_answer(self, query: Ask) -> None:
        packets = [source_answer(0, 2, 0), b"\xff\xff\xff\xffinfoResponse\n\\clients\\0"]
        with datagram_game(lambda packet: packets, from_elsewhere=True) as address:
            assert why(query, address, SHORT) == "gave no whole answer within 0.3 s"


@pytest.mark.parametrize("output", [b"", b"none", b"-1", b"3 players", b"1\n2", b"99999999", b"\xd9\xa3"])
def test_output_of_a_command_other_than_a_number_gives_no_count(output: bytes) -> None:
    with pytest.raises(Unanswered):
        count_printed(output)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1


PASSWORD = "correct horse"


def refused_why(serve: Callable[[socket.socket], object], seconds: float = 10.0) -> str:
    began = time.monotonic()
    with stream_game(serve) as address, pytest.raises(Unanswered) as caught:
        send(address, PASSWORD, "say hello", Deadline.after(SYSTEM_CLOCK, seconds))
    assert time.monotonic() - began < seconds + 5
    assert "horse" not in str(caught.value)
    return str(caught.value)


def answering(*packets: bytes) -> Callable[[socket.socket], object]:
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


def test_a_refused_password_is_reported_and_not_shown() -> None:
    game = RconGame("another")
    assert refused_why(game.serve) == "refuses the RCON password"
    assert game.heard == []


@pytest.mark.parametrize("packet", [b"\0" * 20, b"\xff" * 20, b"HTTP/1.1 400 Bad Request\r\n", (9).to_bytes(4, "little") + b"x" * 9])
def test_garbage_is_no_rcon_answer(packet: bytes) -> None:
    assert refused_why(answering(packet)) == "does not answer like an RCON server"


def test_endless_rcon_answers_are_cut_off() -> None:
    assert refused_why(answering(rcon_packet(1001, 0, b"x" * 4096) * 1000)) == "sends too large an answer"


def test_a_silent_or_slow_rcon_server_is_given_up_at_the_timeout() -> None:
    def drip(connection: socket.socket) -> None:
        for byte in rcon_packet(1001, 0, b"x" * 4000):
            connection.sendall(bytes((byte,)))
            time.sleep(0.02)

    assert refused_why(lambda connection: connection.recv(1) and rcon_request(connection), SHORT).endswith("within 0.3 s")
    assert refused_why(drip, SHORT) == "gave no whole answer within 0.3 s"


class TestLogin:
    SNAPSHOT = Snapshot("1" * 64, "x", live=True, environment=("RCON_PASS=a=b", "RCON_PORT=27016", "EMPTY=", "ODD=70000", "WORD=x"))

    def test_password_and_port_are_read_from_the_environment(self) -> None:
        assert login_of(Rcon("RCON_PASS", "say {message}"), self.SNAPSHOT) == RconLogin("a=b", None)
        assert login_of(Rcon("RCON_PASS", "say {message}", 5), self.SNAPSHOT) == RconLogin("a=b", 5)
        assert login_of(Rcon("RCON_PASS", "say {message}", None, "RCON_PORT"), self.SNAPSHOT) == RconLogin("a=b", 27016)

    def test_the_text_of_a_login_hides_the_password(self) -> None:
        assert "a=b" not in repr(login_of(Rcon("RCON_PASS", "say {message}"), self.SNAPSHOT))
