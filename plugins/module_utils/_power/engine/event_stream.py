# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of containers as they come, without an end, for who has a thread to read them with."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Generator, Iterator
from typing import Any

from ..model.errors import EngineUnreachable
from .container_events import ACTIONS, ContainerEvent, container_event, engine_moment
from .engine_calls import EngineCalls

_WHAT = "follow the engine's events"
#: How long `close` waits for the one who reads, whom it has woken.
_CLOSE_SECONDS = 0.5
#: An engine far away that vanishes without a word is noticed after a minute; one on this machine takes its socket along.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
#: What the SDK raises of text that is no list of events.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class DockerEventStream:
    """An open stream of events: one thread reads, any other may `close` it. Its connection is its own, and takes no place from a call.

    A read may take hours. The stream ends where the engine ends it, or `close`; `EngineUnreachable` where it breaks or cannot be read.
    """

    def __init__(self, calls: EngineCalls, since: int | None) -> None:
        """Ask; raises what a call raises. The engine has answered when this returns."""
        self._closed = False
        self._reading = threading.Lock()
        self._socket: Any = None
        self._events = self._read(calls, since)
        next(self._events)

    def __iter__(self) -> Iterator[ContainerEvent]:
        return self

    def __next__(self) -> ContainerEvent:
        """Wait for the next event."""
        with self._reading:
            try:
                event = None if self._closed else next(self._events, None)
            except EngineUnreachable:
                if not self._closed:
                    raise
                event = None
            if event is None:
                self._events.close()
                raise StopIteration
            return event

    def close(self) -> None:
        """End the stream at once, whoever waits for an event; a second time does nothing."""
        self._closed = True
        _wake(self._socket)
        # Who reads lets go of the connection by itself; where nobody does, nobody else would.
        if self._reading.acquire(timeout=_CLOSE_SECONDS):
            try:
                self._events.close()
            finally:
                self._reading.release()

    def __enter__(self) -> DockerEventStream:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def _read(self, calls: EngineCalls, since: int | None) -> Generator[ContainerEvent | None, None, None]:
        """Yield nothing once the engine has answered, then each event."""
        with calls.asking(_WHAT, own_seconds=calls.timeout) as client:
            response = client._get(client._url("/events"), params=_asked(since), stream=True)
            with contextlib.closing(response):
                raw = client._get_raw_response_socket(response)
                self._socket = getattr(raw, "_sock", raw)
                _wait_for_ever(self._socket)
                yield None
                try:
                    for told in client._stream_helper(response, decode=True):
                        event = container_event(told)
                        if event is not None:
                            yield event
                except _UNREADABLE as fault:
                    raise EngineUnreachable(f"Cannot {_WHAT}: what it tells cannot be read") from fault


def _asked(since: int | None) -> dict[str, str]:
    filters = json.dumps({"type": ["container"], "event": list(ACTIONS)})
    return {"filters": filters} if since is None else {"filters": filters, "since": engine_moment(since)}


def _wait_for_ever(sock: Any) -> None:
    """Take the time limit off a connection that has answered."""
    sock.settimeout(None)
    if getattr(sock, "family", None) in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEP_ALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _wake(sock: Any) -> None:
    """Have a read that blocks, in another thread, find the end. Below TLS, whose own way out is not made for two threads."""
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
