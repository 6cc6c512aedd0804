# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver of rolling runs' messages that answers as a test sets it, and keeps its requests."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: 24 bytes, the shortest secret.
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


@dataclass(frozen=True)
class Sent:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.body)
        return read


class FakeReceiver:
    """The receiver: ``status`` is its answer, ``hangs`` the delay in seconds. With ``trickles``, the answer never ends."""

    def __init__(self) -> None:
        self.status = 200
        self.answer_headers: dict[str, str] = {}
        self.hangs = 0.0
        self.trickles = False
        self.sent: list[Sent] = []
        self.ended = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(each.value["type"], each.value["data"]["run"]) for each in self.sent]

    @property
    def types(self) -> list[str]:
        return [kind for kind, _run in self.events]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        status, hangs, trickles = self.status, self.hangs, self.trickles
        body = request.rfile.read(int(request.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.sent.append(Sent(request.path, headers, body))
        if self.ended.wait(hangs):
            return
        with contextlib.suppress(OSError):
            request.send_response(status)
            for name, value in self.answer_headers.items():
                request.send_header(name, value)
            if not trickles:
                request.send_header("Content-Length", "0")
            request.end_headers()
            while trickles and not self.ended.is_set():
                request.wfile.write(b"x" * 1024)
                time.sleep(0.01)


@contextlib.contextmanager
def fake_receiver() -> Iterator[FakeReceiver]:
    receiver = FakeReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.answer(self)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        receiver.port = server.server_port
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield receiver
        finally:
            receiver.ended.set()
            server.shutdown()
