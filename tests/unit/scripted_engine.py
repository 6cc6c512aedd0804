# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine that sends the bytes of a test, at each kind of socket that engines use."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.tests.unit.tls_support import server_tls

HEAD = b"HTTP/1.1 200 OK\r\nApi-Version: 1.45\r\nContent-Type: application/json\r\n"


class ScriptedEngine:
    """Listens at a socket. It answers each request but that of its version with the test's bytes, in one piece."""

    def __init__(self, listener: socket.socket, host: str, tls: ssl.SSLContext | None) -> None:
        self.connection = Connection(host=host, timeout=5, tls=tls is not None)
        self.asked: list[str] = []
        self.answer = b""
        self.link: socket.socket | None = None
        self._listener = listener
        self._tls = tls
        self._links: list[socket.socket] = []
        #: A TLS connection takes one write at a time.
        self._writing = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, data: bytes) -> None:
        assert self.link is not None
        with self._writing:
            self.link.sendall(data)

    def hang_up(self) -> None:
        assert self.link is not None
        self.link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            # Else the waiting thread accepts one more connection.
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
                with self._writing:
                    link.sendall(self.answer)


@contextlib.contextmanager
def listening(kind: str, directory: Path) -> Iterator[ScriptedEngine]:
    """A scripted engine at a socket of this kind: ``unix``, ``tcp`` or ``tls``."""
    if kind == "tls" and shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    if kind == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "s"))
        host = f"unix://{directory}/s"
    else:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        host = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    listener.listen()
    engine = ScriptedEngine(listener, host, server_tls(directory) if kind == "tls" else None)
    try:
        yield engine
    finally:
        engine.close()
