# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy of one test before the shared engine: slow, frozen or gone. A held request arrives even if its sender has died."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHUNK = 65536
_STATUS = re.compile(rb"HTTP/1\.\d (\d{3})")
_SOON_SECONDS = 20.0


@dataclass
class Seen:
    """A request: its sender, its time, and the status of its answer (None before the answer)."""

    pid: int
    method: str
    path: str
    at: float
    status: int | None = None
    answered_at: float | None = None

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "HEAD")


class Hold:
    """Holds back a request, or with ``answer`` its answer, until the test releases it."""

    def __init__(self, method: str, pattern: str, skip: int, after: str | None, answer: bool) -> None:
        self.answer = answer
        self._method, self._pattern, self._after = method, re.compile(pattern), after and re.compile(after)
        self._left_to_skip = skip
        self._arrived, self._released, self._dropped = threading.Event(), threading.Event(), False
        self._held: Seen | None = None

    def takes(self, request: Seen, before: list[Seen]) -> bool:
        if self._released.is_set() or request.method != self._method or not self._pattern.search(request.path):
            return False
        if self._after is not None and not any(other.changes and self._after.search(other.path) for other in before):
            return False
        self._left_to_skip -= 1
        return self._left_to_skip < 0

    def wait(self, request: Seen) -> bool:
        """Wait for the release; False if the test dropped the request."""
        self._held = self._held or request
        self._arrived.set()
        self._released.wait()
        return not self._dropped

    def await_arrival(self, seconds: float = _SOON_SECONDS) -> None:
        assert self._arrived.wait(seconds), f"{self._method} {self._pattern.pattern} did not come within {seconds} s"

    @property
    def arrived(self) -> bool:
        return self._arrived.is_set()

    def release(self) -> None:
        self._released.set()

    def drop(self) -> None:
        """Hang up instead of delivering the request; later requests pass."""
        self._dropped = True
        self._released.set()

    def await_status(self, seconds: float = _SOON_SECONDS) -> int:
        """Wait for the engine's answer to the held request; return its HTTP status."""
        deadline = time.monotonic() + seconds
        while self._held is None or self._held.status is None:
            assert time.monotonic() < deadline, f"no answer to {self._held}"
            time.sleep(0.01)
        return self._held.status


class Refusal:
    """Answers matching requests with an error in the engine's place."""

    def __init__(self, method: str, pattern: str, status: int) -> None:
        self.status = status
        self._method, self._pattern = method, re.compile(pattern)

    def takes(self, request: Seen) -> bool:
        return request.method == self._method and self._pattern.search(request.path) is not None

    @property
    def answer(self) -> bytes:
        body = b'{"message":"input/output error"}'
        head = f"HTTP/1.1 {self.status} Failed\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


def at_once(_request: Seen) -> float:
    return 0.0


class EngineProxy:
    """Listens on its own socket and passes everything to the engine at ``engine``, except for the faults that a test sets."""

    def __init__(self, engine: str, path: Path) -> None:
        self.host = f"unix://{path}"
        #: Every request, in the order of arrival.
        self.seen: list[Seen] = []
        #: The seconds that a request takes to the engine.
        self.latency: Callable[[Seen], float] = at_once
        #: Changes the head of a request on its way.
        self.rewrite: Callable[[bytes], bytes] = bytes
        self._engine, self._path = engine.partition("unix://")[2], path
        self._holds: list[Hold] = []
        self._refusals: list[Refusal] = []
        self._open = threading.Event()
        self._open.set()
        self._links: set[_Link] = set()
        self._guard = threading.Lock()
        self._listener: socket.socket | None = None
        self.listen()

    def hold(self, method: str, pattern: str, *, skip: int = 0, after: str | None = None, answer: bool = False) -> Hold:
        """Hold matching requests, except for the first ``skip``, and only after a change to a path that matches ``after``."""
        hold = Hold(method, pattern, skip, after, answer)
        self._holds.append(hold)
        return hold

    def fail(self, method: str, pattern: str, status: int = 500) -> Refusal:
        """Answer matching requests with an error; the engine does not see them."""
        refusal = Refusal(method, pattern, status)
        self._refusals.append(refusal)
        return refusal

    def refusal_of(self, request: Seen) -> Refusal | None:
        return next((refusal for refusal in self._refusals if refusal.takes(request)), None)

    def freeze(self) -> None:
        """Accept everything and answer nothing, as a suspended engine does."""
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def listen(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Cut all connections and refuse new ones; held requests stay held."""
        with self._guard:
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.hang_up()

    def vanish(self) -> None:
        """As ``refuse``, and remove the socket from the disk."""
        self.refuse()
        self._path.unlink(missing_ok=True)

    def hang_up(self) -> None:
        """Cut every connection to a client; requests under way still reach the engine."""
        with self._guard:
            links = list(self._links)
        for link in links:
            link.cut_client()

    def close(self) -> None:
        self.vanish()
        for hold in self._holds:
            hold.drop()
        self._open.set()
        with self._guard:
            links = list(self._links)
        for link in links:
            link.close()

    def await_open(self) -> None:
        self._open.wait()

    def arrive(self, request: Seen) -> Hold | None:
        """Record a request; return the hold that takes it."""
        with self._guard:
            taker = next((hold for hold in self._holds if hold.takes(request, self.seen)), None)
            self.seen.append(request)
        return taker

    def forget(self, link: _Link) -> None:
        with self._guard:
            self._links.discard(link)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _address = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._engine)
            except OSError:
                return
            link = _Link(self, client, engine)
            with self._guard:
                self._links.add(link)
                is_refused = self._listener is not listener
            link.run()
            if is_refused:
                # Accepted while `refuse` cut the others, so `refuse` did not see it.
                link.cut_client()


class _Link:
    """One client's connection, and the connection to the engine that serves it."""

    def __init__(self, proxy: EngineProxy, client: socket.socket, engine: socket.socket) -> None:
        self._proxy, self._client, self._engine = proxy, client, engine
        self._pid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self._request: Seen | None = None
        self._answer_hold: Hold | None = None
        self._client_gone = False

    def run(self) -> None:
        for target in (self._pass_requests, self._pass_answers):
            threading.Thread(target=target, daemon=True).start()

    def cut_client(self) -> None:
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut_client()
        with contextlib.suppress(OSError):
            self._engine.shutdown(socket.SHUT_RDWR)

    def _pass_requests(self) -> None:
        with contextlib.suppress(OSError), self._client.makefile("rb") as stream:
            while (head := _head(stream)) and self._pass_request(head, stream):
                pass
        self._client_gone = True
        if self._is_answered:
            self.close()

    def _pass_request(self, head: bytes, stream: Any) -> bool:
        method, path, _version = head.split(b"\r\n", 1)[0].decode().split(" ")
        body = stream.read(int(_field(head, b"content-length") or 0))
        request = Seen(self._pid, method, path, time.time())
        hold = self._proxy.arrive(request)
        if hold is not None and not hold.answer and not hold.wait(request):
            self.close()
            return False
        refusal = self._proxy.refusal_of(request)
        if refusal is not None:
            request.status, request.answered_at = refusal.status, time.time()
            self._client.sendall(refusal.answer)
            return True
        time.sleep(self._proxy.latency(request))
        self._proxy.await_open()
        self._answer_hold = hold if hold is not None and hold.answer else None
        self._request = request
        self._engine.sendall(self._proxy.rewrite(head) + body)
        if _field(head, b"upgrade") is not None:
            while chunk := stream.read1(_CHUNK):
                self._proxy.await_open()
                self._engine.sendall(chunk)
            self._engine.shutdown(socket.SHUT_WR)
            self._await_client_gone()
        return True

    def _await_client_gone(self) -> None:
        """Wait until the client has closed both directions: it may still listen after its last byte."""
        poller = select.poll()
        poller.register(self._client, 0)
        poller.poll()

    def _pass_answers(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self._engine.recv(_CHUNK):
                if not self._pass_answer(chunk):
                    break
        self.close()
        self._client.close()
        self._engine.close()
        self._proxy.forget(self)

    def _pass_answer(self, chunk: bytes) -> bool:
        """Pass on a part of an answer; False if the client needs no more."""
        request, hold = self._request, self._answer_hold
        if request is not None and request.status is None and (found := _STATUS.match(chunk)):
            request.status, request.answered_at = int(found[1]), time.time()
            if hold is not None and not hold.wait(request):
                return False
        self._proxy.await_open()
        if not self._client_gone:
            with contextlib.suppress(OSError):
                self._client.sendall(chunk)
                return True
        return not self._is_answered

    @property
    def _is_answered(self) -> bool:
        return self._request is None or self._request.status is not None


def _head(stream: Any) -> bytes:
    """A request up to the empty line, or nothing at the end of the connection."""
    lines: list[bytes] = []
    while (line := stream.readline()) not in (b"", b"\r\n"):
        lines.append(line)
    return b"".join([*lines, b"\r\n"]) if line else b""


def _field(head: bytes, name: bytes) -> bytes | None:
    found = re.search(rb"(?im)^" + name + rb":\s*(.*?)\r$", head)
    return None if found is None else found[1]
