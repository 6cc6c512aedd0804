# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake Wings daemon on the loopback interface. It has no engine: servers are states and times."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import threading
import time
import uuid as uuid_module
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "the-token-of-the-node-alone"
_UNEXPECTED = "An unexpected error was encountered while processing this request"
_PREBOOT_SECONDS, _READY_SECONDS, _FIGURES_SECONDS = 0.05, 0.1, 0.1


class WingsMachine:
    """One server. ``log`` is Wings' own log, ``taken`` the begun actions, ``output`` the server's lines. Like Wings, it drops an action
    while the lock is held, and shows ``offline`` at once for a kill. Its figures are a moment old."""

    def __init__(self, uuid: str, name: str, up_for: float | None) -> None:
        self.uuid, self.name = uuid, name
        self.stop_seconds = 0.1
        self.log: list[str] = []
        self.taken: list[str] = []
        self.output: list[str] = []
        self.lock = threading.Lock()
        self._guard = threading.Lock()
        self._killed = threading.Event()
        self._started = None if up_for is None else time.monotonic() - up_for
        self._states = [(0.0, "offline" if up_for is None else "running")]

    @property
    def state(self) -> str:
        return self._states[-1][1]

    def act(self, action: str, wait_seconds: int) -> None:
        """Do an accepted action. A kill needs no lock. Only the log shows faults."""
        waits = wait_seconds > 0 and action != "kill"
        owned = self.lock.acquire(timeout=wait_seconds) if waits else self.lock.acquire(blocking=False)
        try:
            if not owned and action != "kill":
                self.log.append("locker: cannot acquire lock, already locked")
                return
            self.taken.append(action)
            if action == "kill":
                self._kill()
            if action in ("stop", "restart"):
                self._stop()
            if action == "restart" or (action == "start" and self.state == "offline"):
                self._boot()
        finally:
            if owned:
                self.lock.release()

    def _stop(self) -> None:
        if self._started is not None:
            self._killed.clear()
            self._turn("stopping")
            self._killed.wait(self.stop_seconds)
            self._end()

    def _kill(self) -> None:
        if self._started is not None:
            self._turn("stopping")
            self._killed.set()
            self._end()

    def _end(self) -> None:
        self._started = None
        self._turn("offline")

    def _boot(self) -> None:
        time.sleep(_PREBOOT_SECONDS)
        self._turn("starting")
        self._started = begun = time.monotonic()

        def ready() -> None:
            if self._started == begun and self.state == "starting":
                self._turn("running")

        timer = threading.Timer(_READY_SECONDS, ready)
        timer.daemon = True
        timer.start()

    def _turn(self, state: str) -> None:
        with self._guard:
            if state != self.state:
                self._states.append((time.monotonic(), state))

    def shown(self) -> dict[str, Any]:
        """Return the answer of ``GET /api/servers/{uuid}``."""
        at = time.monotonic() - _FIGURES_SECONDS
        started = self._started
        up = started is not None
        return {
            "state": self.state,
            "is_suspended": False,
            "utilization": {
                "memory_bytes": 734003200 if up else 0,
                "memory_limit_bytes": 1177600000,
                "cpu_absolute": 12.307 if up else 0,
                "network": {"rx_bytes": 10240 if up else 0, "tx_bytes": 20480 if up else 0},
                "uptime": 0 if started is None else max(0, int((at - started) * 1000)),
                "state": [state for since, state in self._states if since <= at][-1],
                "disk_bytes": 52428800,
            },
            "configuration": {
                "uuid": self.uuid,
                "meta": {"name": self.name, "description": ""},
                "suspended": False,
                "invocation": "java -jar {{SERVER_JARFILE}}",
                "skip_egg_scripts": False,
                "environment": {"SERVER_JARFILE": "server.jar", "RCON_PASSWORD": "rcon-secret-of-the-server"},
                "labels": None,
                "allocations": {"force_outgoing_ip": False, "default": {"ip": "0.0.0.0", "port": 25601}, "mappings": {"0.0.0.0": [25601]}},
                "build": {"memory_limit": 1024, "swap": 0, "io_weight": 500, "cpu_limit": 100, "disk_space": 5120, "threads": ""},
                "crash_detection_enabled": False,
                "mounts": [],
                "egg": {"id": "1", "file_denylist": []},
                "container": {"image": "registry.example.test/echo:1"},
            },
        }


@dataclass
class Fault:
    kind: str
    method: str = "GET"
    times: int = 1
    status: int = 500
    location: str = ""


class WingsServer:
    """Wings on its own port. ``asked`` has method and body of each request. With ``operations`` it answers as the HTTP shim does."""

    def __init__(self, *, operations: bool = False, certificate: Path | None = None) -> None:
        self.machines: dict[str, WingsMachine] = {}
        self.operations: dict[str, dict[str, Any]] | None = {} if operations else None
        self.asked: list[tuple[str, Any]] = []
        self.faults: list[Fault] = []
        self.closing = threading.Event()
        self.guard = threading.Lock()
        owner = self

        class Handler(_Handler):
            wings = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def machine(self, name: str = "Cobalt", *, up_for: float | None = None) -> WingsMachine:
        """Add a server: offline, or up for ``up_for`` seconds."""
        machine = WingsMachine(str(uuid_module.uuid4()), name, up_for)
        self.machines[machine.uuid] = machine
        return machine

    def fault(self, kind: str, **fields: Any) -> None:
        self.faults.append(Fault(kind, **fields))

    def posts(self) -> list[Any]:
        return [body for method, body in self.asked if method == "POST"]

    def close(self) -> None:
        """End the daemon; sleeping threads end with the test process."""
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def begin(self, machine: WingsMachine, action: str, wait_seconds: int) -> str:
        """Begin an action in a thread; return the id of its operation."""
        operation = str(uuid_module.uuid4())
        entry: dict[str, Any] = {"id": operation, "server": machine.uuid, "action": action, "outcome": None}
        if self.operations is not None:
            self.operations[operation] = entry

        def run() -> None:
            before, taken = machine.state, len(machine.taken)
            machine.act(action, wait_seconds)
            done = len(machine.taken) > taken
            end = {"outcome": "done", "changed": True} if done else {"outcome": "refused", "code": "lock_timeout", "msg": machine.log[-1]}
            entry.update({"state_before": before, "state": machine.state, **end})

        threading.Thread(target=run, daemon=True).start()
        return operation


def wings(**options: Any) -> contextlib.closing[WingsServer]:
    return contextlib.closing(WingsServer(**options))


class _Handler(BaseHTTPRequestHandler):
    wings: WingsServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the output of tests quiet."""

    def do_GET(self) -> None:
        with contextlib.suppress(OSError):
            self._answer()

    def do_POST(self) -> None:
        with contextlib.suppress(OSError):
            self._answer()

    def _answer(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(text) if text else None
        self.wings.asked.append((self.command, body))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._error(403, "You are not authorized to access this endpoint.")
            return
        with self.wings.guard:
            fault = next((each for each in self.wings.faults if each.times > 0 and each.method == self.command), None)
            if fault is not None:
                fault.times -= 1
        if fault is None:
            self._dispatch(body)
        else:
            self._break(fault)

    def _dispatch(self, body: Any) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/api/servers":
            self._json(200, [machine.shown() for machine in self.wings.machines.values()])
            return
        match = re.fullmatch(r"/api/servers/([^/]+)(?:/(power|logs)|/operations/([^/]+))?", parts.path)
        machine = match and self.wings.machines.get(match[1])
        if not match or not machine or (match[3] and self.wings.operations is None):
            self._error(404, "The requested resource does not exist on this instance.")
        elif match[3]:
            self._operation(match[3], float(parse_qs(parts.query).get("wait", ["0"])[0]))
        elif match[2] == "logs":
            size = int(parse_qs(parts.query)["size"][0])
            self._json(200, {"data": machine.output[-size:] or None})
        elif match[2] == "power":
            operation = self.wings.begin(machine, body["action"], body["wait_seconds"])
            location = f"/api/servers/{machine.uuid}/operations/{operation}"
            self._send(202, b"", {} if self.wings.operations is None else {"X-Operation-Id": operation, "Location": location})
        else:
            self._json(200, machine.shown())

    def _operation(self, operation: str, wait_seconds: float) -> None:
        entry = (self.wings.operations or {})[operation]
        until = time.monotonic() + wait_seconds
        while entry["outcome"] is None and time.monotonic() < until and not self.wings.closing.is_set():
            time.sleep(0.01)
        self._json(200, entry)

    def _break(self, fault: Fault) -> None:
        if fault.kind == "hang":
            self.wings.closing.wait()
        if fault.kind in ("hang", "cut"):
            self.close_connection = True
        elif fault.kind == "truncated":
            self._send(200, b'{"state": "running", "utilization": {"upt')
        elif fault.kind == "redirect":
            self._send(302, b"", {"Location": fault.location})
        elif fault.kind == "html":
            self._send(fault.status, b"<html>a proxy</html>", {"Content-Type": "text/html"})
        elif fault.kind == "empty":
            self._send(fault.status, b"")
        else:
            self._error(fault.status, _UNEXPECTED)

    def _error(self, status: int, text: str) -> None:
        self._json(status, {"error": text})

    def _json(self, status: int, value: object) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
