# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry on the loopback interface. It asks for a password, and refuses each image with a message."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Registry:
    """Records its requests. ``says`` is its message about each image."""

    def __init__(self) -> None:
        self.says = "no"
        #: User and password of each request with credentials.
        self.given: list[str] = []
        #: The paths of the engine's requests.
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            # An engine tries TLS first. Containerd tries again without TLS only after an answer in HTTP.
            default_request_version = "HTTP/1.0"

            def do_GET(self) -> None:
                registry.asked.append(self.path)
                kind, _space, words = self.headers.get("Authorization", "").partition(" ")
                if kind == "Basic":
                    registry.given.append(base64.b64decode(words).decode())
                wants = not words  # containerd does not ask for /v2/ first
                body = json.dumps({"errors": [{"code": "DENIED", "message": registry.says}]}).encode()
                self.send_response(401 if wants else 403)
                if wants:
                    self.send_header("WWW-Authenticate", 'Basic realm="test"')
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.send_error(405)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing: pytest would show it."""

        return Handler


@contextlib.contextmanager
def registry() -> Iterator[Registry]:
    found = Registry()
    try:
        yield found
    finally:
        found.close()
