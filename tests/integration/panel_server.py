# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Panel on the loopback interface: it serves the API for nodes, records requests, and plays the faults of a test."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN_ID = "tokenid000000000"
TOKEN = "secrettoken0123456789secrettoken0123456789secrettoken0123456789ab"
LIST = r"/servers\?"
ONE = r"/servers/"
_BASE = "/api/remote"
_NEEDS = Path(__file__).parents[1] / "lab" / "needs"


@dataclass(frozen=True)
class Asked:
    """One request: its path with the query, and the headers by lower case name."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Answering:
    def __init__(self, handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
        self._handler = handler
        self.closing = closing

    def json(self, status: int, value: object, **headers: str) -> None:
        self.raw(status, json.dumps(value).encode(), promised=None, **headers)

    def raw(self, status: int, content: bytes, *, promised: int | None = None, **headers: str) -> None:
        """Answer with these bytes; ``promised`` is another length for the header."""
        self._handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.send_header("Content-Length", str(len(content) if promised is None else promised))
        self._handler.end_headers()
        self.write(content)

    def write(self, content: bytes) -> None:
        self._handler.wfile.write(content)
        self._handler.wfile.flush()

    def cut(self) -> None:
        self._handler.close_connection = True


Behaviour = Callable[[Answering], None]


def status(number: int, code: str = "HttpException", detail: str = "An unexpected error was encountered") -> Behaviour:
    return lambda answer: answer.json(number, {"errors": [{"code": code, "status": str(number), "detail": detail}]})


def value(content: object, number: int = 200) -> Behaviour:
    return lambda answer: answer.json(number, content)


def text(content: bytes, number: int = 200) -> Behaviour:
    return lambda answer: answer.raw(number, content)


def redirect(to: str, number: int = 302) -> Behaviour:
    return lambda answer: answer.raw(number, b"", Location=to)


def truncated(answer: Answering) -> None:
    answer.raw(200, b'{"settings": {"uuid": ', promised=1000)
    answer.cut()


def silent(answer: Answering) -> None:
    answer.closing.wait(30)
    answer.cut()


def dripping(answer: Answering) -> None:
    """A byte every 50 ms, without end."""
    answer.raw(200, b"[", promised=1_000_000)
    while not answer.closing.wait(0.05):
        answer.write(b" ")


def dripping_headers(answer: Answering) -> None:
    answer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not answer.closing.wait(0.05):
        answer.write(b"x")


def endless(answer: Answering) -> None:
    answer.raw(200, b"[", promised=10**12)
    while not answer.closing.is_set():
        answer.write(b"[" * 65536)


@dataclass
class _Fault:
    pattern: re.Pattern[str]
    behaviour: Behaviour
    times: int | None


class Recorder:
    """A web server on the loopback interface: it records requests, and answers by its faults, else by `answer`."""

    def __init__(self, *, certificate: Path | None = None, port: int = 0) -> None:
        """``certificate`` is a file with key and certificate for TLS."""
        self.asked: list[Asked] = []
        self._faults: list[_Fault] = []
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._server.server_address[1])
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._server.shutdown()
            self._server.server_close()

    def fault(self, behaviour: Behaviour, *, of: str = "", times: int | None = None) -> None:
        """Use ``behaviour`` for paths (with query) that match ``of``, at most ``times`` times. The latest fault wins."""
        self._faults.insert(0, _Fault(re.compile(of), behaviour, times))

    def well(self) -> None:
        self._faults.clear()

    def count(self, of: str = "") -> int:
        return sum(re.search(of, asked.path) is not None for asked in self.asked)

    def answer(self, asked: Asked, answering: Answering) -> None:
        answering.json(200, {})

    def serve(self, asked: Asked, answering: Answering) -> None:
        with self._guard:
            self.asked.append(asked)
            fault = next((each for each in self._faults if each.times != 0 and each.pattern.search(asked.path)), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
        if fault is not None:
            fault.behaviour(answering)
        else:
            self.answer(asked, answering)


@dataclass(frozen=True)
class Guest:
    """A definition on the Panel, and whether the node's list contains it."""

    raw: Any
    listed: bool = True


class FakePanel(Recorder):
    def __init__(self, *definitions: Mapping[str, Any], certificate: Path | None = None, port: int = 0) -> None:
        self.guests: dict[str, Guest] = {}
        for definition in definitions:
            self.put(definition)
        super().__init__(certificate=certificate, port=port)

    def put(self, definition: Mapping[str, Any], *, listed: bool = True) -> None:
        """Add a server; ``listed``: it belongs to the node that asks."""
        self.guests[definition["settings"]["uuid"]] = Guest(definition, listed)

    @property
    def settings(self) -> dict[str, object]:
        return {"remote": self.url, "token_id": TOKEN_ID, "token": TOKEN}

    def answer(self, asked: Asked, answering: Answering) -> None:
        url = urlsplit(asked.path)
        bearer = asked.headers.get("authorization", "")
        if not bearer.startswith("Bearer "):
            status(401, detail="Access to this endpoint must include an Authorization header.")(answering)
        elif len([part for part in bearer[7:].split(".") if part]) != 2:
            status(400, "BadRequestHttpException", "The Authorization header provided was not in a valid format.")(answering)
        elif bearer[7:] != f"{TOKEN_ID}.{TOKEN}":
            status(403, "AccessDeniedHttpException", "You are not authorized to access this resource.")(answering)
        elif url.path == f"{_BASE}/servers":
            self._list(parse_qs(url.query), answering)
        else:
            self._one(url.path.rpartition("/")[2], answering)

    def _list(self, query: Mapping[str, list[str]], answering: Answering) -> None:
        page, size = (int(query.get(key, ["0"])[0]) or default for key, default in (("page", 1), ("per_page", 50)))
        entries = [{"uuid": uuid, **_body(guest.raw)} for uuid, guest in self.guests.items() if guest.listed]
        last = max(1, -(-len(entries) // size))
        shown = entries[(page - 1) * size : page * size]
        meta = {"current_page": page, "last_page": last, "per_page": size, "total": len(entries), "from": None, "to": None}
        answering.json(200, {"data": shown, "links": {}, "meta": meta})

    def _one(self, uuid: str, answering: Answering) -> None:
        guest = self.guests.get(uuid)
        if guest is None:
            status(404, "RecordNotFoundException", "")(answering)
        else:
            answering.json(200, _body(guest.raw))


def _body(raw: Any) -> Any:
    return {"process_configuration": {}, **raw} if isinstance(raw, Mapping) else raw


def _handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else b""
            asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            with contextlib.suppress(OSError):
                recorder.serve(asked, Answering(self, recorder._closing))
                return
            self.close_connection = True

        do_POST = do_GET  # noqa: N815 - the library's name

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                super().handle()

        def log_message(self, *_unused: Any) -> None:
            pass

    return Handler


def self_signed(directory: Path, host: str = "IP:127.0.0.1") -> Path:
    """A file with a key and a self-signed certificate for ``host``."""
    if shutil.which("openssl") is None:
        subprocess.run([_NEEDS, "tls"], check=True)
    path = directory / "self-signed.pem"
    subject = ["-subj", "/CN=fleet-power-test", "-addext", f"subjectAltName={host}"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text((directory / "key.pem").read_text() + (directory / "cert.pem").read_text())
    return path
