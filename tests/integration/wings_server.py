# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wings' HTTP face on the loopback: statuses, headers and bodies as its clients see them, around the servers of ``wings_machine.py``.

With ``operations`` it answers as the collection's own HTTP face does: an accepted action can be followed.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import socket
import ssl
import threading
import time
import uuid as uuid_module
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .wings_machine import WingsMachine

TOKEN = "the-token-of-the-node-alone"
_ACTIONS = ("start", "stop", "restart", "kill")
_WRONG_ACTION = 'The power action provided was not valid, should be one of "stop", "start", "restart", "kill"'
_UNPARSABLE = "The data passed in the request was not in a parsable format. Please try again."
_UNEXPECTED = "An unexpected error was encountered while processing this request"
_NO_SERVER = "The requested resource does not exist on this instance."
_JSON = "application/json; charset=utf-8"
_DEFAULT_WAIT, _LONGEST_WAIT = 30, 300
_MOST_LINES = 100


class Unparsable(Exception):
    """A body that Wings cannot read; with ``empty`` there is nothing in it."""

    def __init__(self, *, empty: bool = False) -> None:
        super().__init__()
        self.empty = empty


def power_body(body: bytes) -> tuple[object, int]:
    """Action and wait of a body, read as Wings reads it. Raises `Unparsable`."""
    text = body.decode("utf-8", "replace").strip()
    if not text:
        raise Unparsable(empty=True)
    try:
        # Whatever comes after the first value is not looked at.
        value, _end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        raise Unparsable from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise Unparsable
    folded = {str(key).lower(): each for key, each in value.items()}
    action, wait = folded.get("action"), folded.get("wait_seconds")
    if not isinstance(action, (str, type(None))):
        raise Unparsable
    if wait is not None and (isinstance(wait, bool) or not isinstance(wait, int) or not -(2**63) <= wait < 2**63):
        raise Unparsable
    # Missing is 0 and not 30, whatever the documentation says.
    wait = 0 if wait is None else wait
    return action, wait if 0 <= wait <= _LONGEST_WAIT else _DEFAULT_WAIT


@dataclass
class Asked:
    method: str
    path: str
    body: Any = None
    authorization: str = field(default="", repr=False)


@dataclass
class Fault:
    """What happens to requests: ``slow``, or instead of an answer ``error``, ``hang``, ``cut``, ``truncated``, ``redirect``, ``html``,
    ``empty``.
    """

    kind: str
    method: str = "GET"
    times: int = 1
    seconds: float = 0.0
    status: int = 500
    location: str = ""


class WingsServer:
    """Wings on a port of its own. ``asked`` is every request so far."""

    def __init__(self, *, operations: bool = False, certificate: Path | None = None, shown_token: bool = False) -> None:
        self.machines: dict[str, WingsMachine] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.with_operations = operations
        self.repeats_token = shown_token
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self.token = TOKEN
        #: Fields that every operation ends with, over those that are made up.
        self.ending: dict[str, Any] = {}
        self.location: str | None = None
        self.long_polls = True
        #: Seconds that the first look after a power request is on its way once its answer is made.
        self.late_after_post = 0.0
        self.closing = threading.Event()
        self.guard = threading.Lock()
        owner = self

        class Handler(_Handler):
            wings = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def machine(self, name: str = "Cobalt", *, uuid: str | None = None, up_for: float | None = None) -> WingsMachine:
        """A server more, offline, or up for so many seconds."""
        machine = WingsMachine(uuid or str(uuid_module.uuid4()), name, up_for=up_for)
        self.machines[machine.uuid] = machine
        return machine

    def fault(self, kind: str, **fields: Any) -> None:
        self.faults.append(Fault(kind, **fields))

    def posts(self) -> list[Any]:
        return [asked.body for asked in self.asked if asked.method == "POST"]

    def close(self) -> None:
        """End it; threads that sleep end with the test's own process."""
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def begin(self, machine: WingsMachine, action: str, wait_seconds: int) -> str:
        """Take an action; its operation's id."""
        operation = str(uuid_module.uuid4())
        entry: dict[str, Any] = {"id": operation, "server": machine.uuid, "action": action, "outcome": None}
        self.operations[operation] = entry

        def run() -> None:
            before, taken = machine.state, len(machine.taken)
            machine.act(action, wait_seconds)
            done = len(machine.taken) > taken
            end = {"outcome": "done", "changed": True} if done else {"outcome": "refused", "code": "lock_timeout", "msg": machine.log[-1]}
            entry.update({"state_before": before, "state": machine.state, **end, **self.ending})

        threading.Thread(target=run, daemon=True).start()
        return operation


@contextlib.contextmanager
def wings(**options: Any) -> Iterator[WingsServer]:
    server = WingsServer(**options)
    try:
        yield server
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    wings: WingsServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests are quiet."""

    def version_string(self) -> str:
        return "none"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_OPTIONS(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._answer_request()

    def _answer_request(self) -> None:
        self._sent_id = str(uuid_module.uuid4())
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._note(body)
        parts = urlsplit(self.path)
        route = self._route(parts.path)
        if parts.path != "/" and parts.path.endswith("/") and self._route(parts.path[:-1])[0]:
            self._send(301 if self.command == "GET" else 307, b"", {"Location": parts.path[:-1]}, bare=True)
        elif self.command == "OPTIONS":
            self._send(204, b"")
        elif self._admitted() and not self._faulty():
            self._dispatch(route, body, parse_qs(parts.query))

    def _note(self, body: bytes) -> None:
        try:
            read = json.loads(body) if body else None
        except ValueError:
            read = body
        self.wings.asked.append(Asked(self.command, self.path, read, self.headers.get("Authorization") or ""))

    def _route(self, path: str) -> tuple[str, str, str]:
        if path == "/api/servers":
            return "list", "", ""
        match = re.fullmatch(r"/api/servers/([^/]+)(?:/(power|logs)|/operations/([^/]+))?", path)
        if match is None or (match[3] and not self.wings.with_operations):
            return "", "", ""
        return match[2] or ("operation" if match[3] else "server"), match[1], match[3] or ""

    def _admitted(self) -> bool:
        scheme, space, token = (self.headers.get("Authorization") or "").partition(" ")
        if not space or scheme != "Bearer":
            said = "The required authorization heads were not present in the request."
            self._error(401, said, {"WWW-Authenticate": "Bearer"})
            return False
        if not hmac.compare_digest(token.encode(), self.wings.token.encode()):
            self._error(403, "You are not authorized to access this endpoint.")
            return False
        return True

    def _dispatch(self, route: tuple[str, str, str], body: bytes, query: Mapping[str, list[str]]) -> None:
        kind, uuid, operation = route
        if not kind or (kind == "power") != (self.command == "POST") or self.command not in ("GET", "POST"):
            self._send(404, b"404 page not found", {"Content-Type": "text/plain"})
            return
        if kind == "list":
            self._json(200, [machine.shown() for machine in self.wings.machines.values()])
            return
        machine = self.wings.machines.get(uuid)
        if machine is None:
            self._error(404, _NO_SERVER)
        elif kind == "server":
            self._look(machine)
        elif kind == "operation":
            self._operation(operation, query)
        elif kind == "logs":
            self._logs(machine, query)
        else:
            self._power(machine, body)

    def _power(self, machine: WingsMachine, body: bytes) -> None:
        try:
            action, wait = power_body(body)
        except Unparsable as fault:
            said = {"error": _UNPARSABLE} if fault.empty else {"error": _UNEXPECTED, "request_id": self._sent_id}
            self._send(400, json.dumps(said).encode(), {"Content-Type": "text/plain; charset=utf-8"})
            return
        if action not in _ACTIONS:
            self._error(422, _WRONG_ACTION)
            return
        if action in ("start", "restart") and machine.suspended:
            self._error(400, "Cannot start or restart a server that is suspended.")
            return
        headers = {}
        operation = self.wings.begin(machine, str(action), wait)
        if self.wings.with_operations:
            location = self.wings.location or f"/api/servers/{machine.uuid}/operations/{operation}"
            headers = {"X-Operation-Id": operation, "Location": location}
        self._send(202, b"", headers)

    def _look(self, machine: WingsMachine) -> None:
        shown = machine.shown()
        if self.wings.posts():
            late, self.wings.late_after_post = self.wings.late_after_post, 0.0
            self.wings.closing.wait(late)
        self._json(200, shown)

    def _logs(self, machine: WingsMachine, query: Mapping[str, list[str]]) -> None:
        if machine.output is None:
            self._error(500, _UNEXPECTED)
            return
        size = query.get("size", [""])[0]
        lines = min(int(size), _MOST_LINES) if size.isdigit() and int(size) > 0 else _MOST_LINES
        self._json(200, {"data": machine.output[-lines:] or None})

    def _operation(self, operation: str, query: Mapping[str, list[str]]) -> None:
        entry = self.wings.operations.get(operation)
        if entry is None:
            self._error(404, _NO_SERVER)
            return
        until = time.monotonic() + (float(query.get("wait", ["0"])[0]) if self.wings.long_polls else 0)
        while entry["outcome"] is None and time.monotonic() < until and not self.wings.closing.is_set():
            time.sleep(0.01)
        self._json(200, entry)

    def _faulty(self) -> bool:
        with self.wings.guard:
            fault = next((each for each in self.wings.faults if each.times > 0 and each.method == self.command), None)
            if fault is not None:
                fault.times -= 1
        if fault is None:
            return False
        if fault.kind == "slow":
            self.wings.closing.wait(fault.seconds)
            return False
        self._break(fault)
        return True

    def _break(self, fault: Fault) -> None:
        if fault.kind == "hang":
            self.wings.closing.wait()
        if fault.kind in ("hang", "cut"):
            self.close_connection = True
        elif fault.kind == "truncated":
            self._send(200, b'{"state": "running", "utilization": {"upt', {"Content-Type": _JSON})
        elif fault.kind == "redirect":
            self._send(302, b"", {"Location": fault.location})
        elif fault.kind == "html":
            self._send(fault.status, b"<html>a proxy</html>", {"Content-Type": "text/html"})
        elif fault.kind == "empty":
            self._send(fault.status, b"")
        else:
            said = f"{_UNEXPECTED}: {self.wings.token}" if self.wings.repeats_token else _UNEXPECTED
            self._json(fault.status, {"error": said, "request_id": self._sent_id})

    def _error(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps({"error": text}).encode(), {"Content-Type": _JSON, **(headers or {})})

    def _json(self, status: int, value: object) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": _JSON})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, bare: bool = False) -> None:
        self.send_response_only(status)
        ours = {} if bare else {"X-Request-Id": self._sent_id, "Access-Control-Allow-Credentials": "true", "Access-Control-Max-Age": "7200"}
        for name, value in {**ours, **(headers or {})}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
