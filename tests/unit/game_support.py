# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fake games on the loopback interface. They answer each connection or datagram as a test says."""
# Compared by hand with mcstatus 14.2.0, flying-squid 1.12.0, quakestat 2.17, OpenArena 0.8.8 on ioquake3 1.36, rconx 0.3.0 and python-a2s
# 1.4.2, which reads another bit of compressed parts than their description names.

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

Address = tuple[str, int]


@contextlib.contextmanager
def stream_game(serve: Callable[[socket.socket], object]) -> Iterator[Address]:
    """A game that calls ``serve`` for each connection in turn, and then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(20)
                    serve(connection)
                    # A close with unread input discards the sent answer.
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

        with _running(run, lambda: listener.shutdown(socket.SHUT_RDWR)):
            yield listener.getsockname()


@contextlib.contextmanager
def datagram_game(answer: Callable[[bytes], list[bytes]], *, from_elsewhere: bool = False) -> Iterator[Address]:
    """A game that sends the result of ``answer`` for each datagram, from its own address or from another."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        listener.bind(("127.0.0.1", 0))
        sending = stranger if from_elsewhere else listener

        def run() -> None:
            while True:
                packet, sender = listener.recvfrom(65536)
                if packet == b"end":
                    return
                for each in answer(packet):
                    with contextlib.suppress(OSError):
                        sending.sendto(each, sender)

        def end() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                own.sendto(b"end", listener.getsockname())

        with _running(run, end):
            yield listener.getsockname()


@contextlib.contextmanager
def _running(run: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end()
        thread.join(20)
        assert not thread.is_alive()


def varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes((*written, number))


def ping_answer(document: bytes) -> bytes:
    """The packet in which a Minecraft server answers the Server List Ping."""
    body = b"\0" + varint(len(document)) + document
    return varint(len(body)) + body


def status(**players: Any) -> bytes:
    icon = "data:image/png;base64," + "iVBORw0KGgo" * 2500
    described = {"text": "", "extra": [{"text": "A \u00a7cserver", "bold": True}]}
    sample = [{"name": "§4{reason}\n", "id": "4566e69f-c907-48ee-8d71-d7ba5aa00d20"}]
    document = {"version": {"name": "1.21.4", "protocol": 769}, "description": described, "favicon": icon}
    return json.dumps({**document, "players": {"sample": sample, **players}}).encode()


def minecraft_game(players: Callable[[], dict[str, Any]]) -> contextlib.AbstractContextManager[Address]:
    """A game that answers a valid Server List Ping with these players."""

    def serve(connection: socket.socket) -> None:
        asked = b""
        while not asked.endswith(b"\x01\x01\x00"):
            asked += connection.recv(4096)
        assert asked[1:2] == b"\0"
        connection.sendall(ping_answer(status(**players())))

    return stream_game(serve)


def source_answer(players: int, most: int, bots: int) -> bytes:
    texts = b"A server\0de_dust2\0csgo\0Counter-Strike\0"
    return b"\xff\xff\xff\xffI\x11" + texts + (730).to_bytes(2, "little") + bytes((players, most, bots)) + b"dl\0\1" + b"1.38\0"


CHALLENGE = b"\x0b\x92\x37\x5a"


def source_game(players: int, most: int, bots: int) -> contextlib.AbstractContextManager[Address]:
    """A game that answers A2S_INFO with the right challenge."""

    def answer(packet: bytes) -> list[bytes]:
        if packet.endswith(b"Source Engine Query\0" + CHALLENGE):
            return [source_answer(players, most, bots)]
        return [b"\xff\xff\xff\xffA" + CHALLENGE]

    return datagram_game(answer)


def quake_game(info: str, status_lines: tuple[str, ...] = ()) -> contextlib.AbstractContextManager[Address]:
    """A game that answers like Quake 3, with this info string and these players."""

    def answer(packet: bytes) -> list[bytes]:
        kind = packet[4:].split(b" ")[0]
        if kind == b"getinfo":
            return [b"\xff\xff\xff\xffinfoResponse\n" + info.encode()]
        lines = "".join(f"{line}\n" for line in status_lines)
        return [b"\xff\xff\xff\xffstatusResponse\n" + rb"\sv_hostname\A server" + b"\n" + lines.encode()]

    return datagram_game(answer)


def rcon_packet(identity: int, kind: int, text: bytes = b"") -> bytes:
    body = identity.to_bytes(4, "little", signed=True) + kind.to_bytes(4, "little") + text + b"\0\0"
    return len(body).to_bytes(4, "little") + body


def rcon_request(connection: socket.socket) -> tuple[int, int, bytes]:
    """Read a packet of Source RCON: id, type and text."""
    stream = connection.makefile("rb")
    body = stream.read(int.from_bytes(stream.read(4), "little"))
    return int.from_bytes(body[:4], "little", signed=True), int.from_bytes(body[4:8], "little"), body[8:-2]


class RconGame:
    """A game with Source RCON. It sends an empty answer before that to the login. ``heard`` lists the commands."""

    def __init__(self, password: str) -> None:
        self.heard: list[str] = []
        self._password = password

    def serve(self, connection: socket.socket) -> None:
        identity, kind, text = rcon_request(connection)
        assert kind == 3
        right = text.decode() == self._password
        connection.sendall(rcon_packet(identity, 0) + rcon_packet(identity if right else -1, 2))
        if right:
            identity, kind, text = rcon_request(connection)
            assert kind == 2
            self.heard.append(text.decode())
            connection.sendall(rcon_packet(identity, 0, b"ok"))
            connection.recv(1)

    def up(self) -> contextlib.AbstractContextManager[Address]:
        return stream_game(self.serve)
