# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of events ends when it is closed, by whomever, and says when it breaks; an engine of the test's own tells what it says."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine import EventStream
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable

HEAD = b"HTTP/1.1 200 OK\r\nApi-Version: 1.45\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


class Engine:
    """Listens at a socket; whatever is asked but its version is answered by the bytes of the test."""

    def __init__(self, listener: socket.socket, host: str, tls: ssl.SSLContext | None) -> None:
        self.connection = Connection(host=host, timeout=5, tls=tls is not None)
        self.asked: list[str] = []
        self.answer = CHUNKED
        self.link: socket.socket | None = None
        self._listener = listener
        self._tls = tls
        self._links: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def follow(self, since: int | None = None, timeout: int = 5) -> EventStream:
        return DockerEngine(replace(self.connection, timeout=timeout)).events.follow(since)

    def say(self, data: bytes) -> None:
        """Go on with the answer."""
        assert self.link is not None
        self.link.sendall(data)

    def hang_up(self) -> None:
        """As an engine whose process is gone."""
        assert self.link is not None
        self.link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            # A thread that waits for somebody would let one more in.
            self._listener.shutdown(socket.SHUT_RDWR)
        for each in (self._listener, *self._links):
            each.close()

    def _listen(self) -> None:
        while True:
            try:
                link, _unused = self._listener.accept()
                if self._tls is not None:
                    link = self._tls.wrap_socket(link, server_side=True)
            except OSError:
                return
            self._links.append(link)
            head = link.recv(65536).split(b"\r\n")[0].decode()
            if "_ping" in head:
                link.sendall(HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\nOK")
                link.close()
                continue
            self.asked.append(head.split()[1])
            self.link = link
            if self.answer:
                link.sendall(self.answer)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(number: int) -> bytes:
    told = {"Type": "container", "Action": "die", "Actor": {"ID": f"{number:064x}", "Attributes": {}}, "timeNano": number}
    return json.dumps(told).encode() + b"\n"


def tls_context(directory: Path) -> ssl.SSLContext:
    """What a server needs that nobody checks the certificate of."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    key, certificate = str(directory / "key.pem"), str(directory / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-keyout", key, "-out", certificate]
    subprocess.run(command, capture_output=True, check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


#: What the library says of a certificate that nobody checks.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


@pytest.fixture(name="engine", params=["unix", "tcp", "tls"])
def listen(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        # The library below the SDK believes these more than what it is told.
        monkeypatch.delenv(variable, raising=False)
    if request.param == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        host = f"unix://{tmp_path}/s"
    else:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        host = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    listener.listen()
    engine = Engine(listener, host, tls_context(tmp_path) if request.param == "tls" else None)
    yield engine
    engine.close()


def test_events_come_whatever_the_pieces_and_what_is_none_is_left_out(engine: Engine) -> None:
    stream = engine.follow(5)
    text = event(1) + b'{"Type": "network"}\n[]\n' + event(2)
    for piece in (text[:7], text[7:8], text[8:300], text[300:]):
        engine.say(chunk(piece))
    engine.say(LAST)
    assert [each.at for each in stream] == [1, 2]
    assert list(stream) == []
    asked = parse_qs(urlsplit(engine.asked[0]).query)
    assert asked["since"] == ["0.000000005"]
    assert json.loads(asked["filters"][0]) == {"type": ["container"], "event": ["start", "die", "kill", "destroy", "oom"]}


def test_without_a_moment_none_is_asked_for(engine: Engine) -> None:
    engine.follow().close()
    assert "since" not in engine.asked[0]


@pytest.mark.parametrize("said", [b"", chunk(event(1))[:30], chunk(event(1)[:30])])
def test_a_stream_that_breaks_is_told_of(engine: Engine, said: bytes) -> None:
    stream = engine.follow()
    engine.say(said)
    engine.hang_up()
    with pytest.raises(EngineUnreachable, match="Cannot follow the engine's events: "):
        next(stream)
    assert list(stream) == []


#: urllib3 that there is for Python 3.9 waits for the end of a chunk that has none.
_NEGATIVE = pytest.param(b"-5\r\nabc", marks=pytest.mark.skipif(sys.version_info < (3, 10), reason="urllib3 takes it for a size"))


@pytest.mark.parametrize("said", [b"zz\r\n", chunk(b"\xff\xfe\n"), _NEGATIVE])
def test_what_cannot_be_read_is_told_of(engine: Engine, said: bytes) -> None:
    stream = engine.follow()
    engine.say(said + chunk(event(1)) + LAST)
    with pytest.raises(EngineUnreachable):
        next(stream)


def test_closing_wakes_who_waits_and_what_is_between_two_events_reads_no_more(engine: Engine) -> None:
    stream = engine.follow(timeout=1)
    engine.say(chunk(event(1) + event(2)))
    assert next(stream).at == 1
    ended = threading.Event()

    def read() -> None:
        assert [each.at for each in stream] == [2]
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    # Longer than the time limit of a call: nothing ends by itself.
    assert not ended.wait(1.5)
    began = time.monotonic()
    stream.close()
    assert ended.wait(1)
    assert time.monotonic() - began < 1
    reader.join()
    stream.close()
    assert list(stream) == []
    assert engine.link is not None and engine.link.recv(10) == b"", "the connection is given up"


def test_closing_lets_go_of_a_connection_that_nobody_reads_from(engine: Engine) -> None:
    engine.follow().close()
    assert engine.link is not None
    engine.link.settimeout(2)
    assert engine.link.recv(10) == b""


def test_an_engine_that_does_not_begin_to_answer_is_given_up_in_time(engine: Engine) -> None:
    engine.answer = b""
    began = time.monotonic()
    with pytest.raises(EngineUnreachable, match="no answer within 1 s"):
        engine.follow(timeout=1)
    assert time.monotonic() - began < 5


def test_an_engine_that_refuses_is_quoted(engine: Engine) -> None:
    engine.answer = b'HTTP/1.1 403 No\r\nContent-Length: 20\r\n\r\n{"message": "never"}'
    with pytest.raises(EngineError, match="Cannot follow the engine's events: never"):
        engine.follow()


def test_a_stream_takes_no_place_from_calls(engine: Engine) -> None:
    docker = DockerEngine(engine.connection)
    streams = [docker.events.follow(None) for _unused in range(40)]
    began = time.monotonic()
    assert docker.events.is_serving(5)
    assert time.monotonic() - began < 1
    for stream in streams:
        stream.close()


def test_who_lets_everybody_in_but_answers_nobody_serves_nobody_either(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        began = time.monotonic()
        assert not DockerEngine(Connection(host=f"unix://{tmp_path}/s", timeout=30)).events.is_serving(1)
        assert time.monotonic() - began < 5


def test_who_lets_nobody_in_serves_nobody(engine: Engine) -> None:
    engine.close()
    assert not DockerEngine(engine.connection).events.is_serving(1)
