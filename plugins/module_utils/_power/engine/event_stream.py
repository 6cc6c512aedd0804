# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An endless stream of container events for a reading thread."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from ..model.errors import EngineUnreachable
from ..model.plain import as_map, read_whole
from ..model.records import dataclass
from .engine_answers import server_in_event
from .engine_calls import EngineCalls

#: Events that begin or end a run, explain its end, or change its health.
ACTIONS = ("start", "die", "kill", "destroy", "health_status")
_NANOSECONDS = 10**9
_MOST = 2**63
_WHAT = "follow the engine's events"
_CLOSE_SECONDS = 0.5
#: A remote engine that vanishes is noticed after a minute; a local one closes its socket.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
#: The SDK raises these for text that is no list of events.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class ContainerEvent:
    """One event of a container; ``at`` is in nanoseconds of the engine's clock since the epoch.

    ``server`` is a hint: an image's label may name it. ``signal`` belongs to a ``kill``, ``exit_code`` to a ``die``.
    """

    at: int
    action: str
    container: str
    server: str | None = None
    signal: int | None = None
    exit_code: int | None = None


def container_event(fields: object) -> ContainerEvent | None:
    """Read an event of the engine; None if it is not of a container, or unreadable."""
    if not isinstance(fields, Mapping) or fields.get("Type", "container") != "container":
        return None
    actor = as_map(fields.get("Actor"))
    action, container = fields.get("Action"), actor.get("ID") or fields.get("id")
    at = _number(fields.get("timeNano"))
    if at is None and (seconds := _number(fields.get("time"))) is not None:
        at = _number(seconds * _NANOSECONDS)
    if at is None or not (isinstance(action, str) and action and isinstance(container, str) and container):
        return None
    attributes = as_map(actor.get("Attributes"))
    return ContainerEvent(
        at=at,
        action=action,
        container=container,
        server=server_in_event({"Actor": {"Attributes": attributes}}),
        signal=_number(attributes.get("signal")),
        exit_code=_number(attributes.get("exitCode")),
    )


def _number(value: object) -> int | None:
    if isinstance(value, str) and len(value) < len(str(_MOST)) and value.isascii() and value.isdigit():
        return int(value)
    return read_whole(value, below=_MOST)


class DockerEventStream:
    """Container events for one reading thread; any thread may `close` it. `EngineUnreachable` if it breaks."""

    def __init__(self, calls: EngineCalls, since: int | None) -> None:
        """Request the stream; return after the engine has answered. Raises as a call."""
        self._closed = False
        self._reading = threading.Lock()
        self._socket: Any = None
        self._events = self._read(calls, since)
        next(self._events)

    def __iter__(self) -> Iterator[ContainerEvent]:
        return self

    def __next__(self) -> ContainerEvent:
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
        """End the stream at once, also during a read. A second call does nothing."""
        self._closed = True
        _wake(self._socket)
        # A reader releases the connection itself. Without a reader, this thread does.
        if self._reading.acquire(timeout=_CLOSE_SECONDS):
            try:
                self._events.close()
            finally:
                self._reading.release()

    def _read(self, calls: EngineCalls, since: int | None) -> Generator[ContainerEvent | None, None, None]:
        """Yield None once the engine has answered, then each event."""
        params = {"filters": json.dumps({"type": ["container"], "event": list(ACTIONS)})}
        if since is not None:
            # A float would lose some hundred nanoseconds.
            params["since"] = f"{since // _NANOSECONDS}.{since % _NANOSECONDS:09d}"
        with calls.asking(_WHAT, own_seconds=calls.timeout) as client:
            response = client._get(client._url("/events"), params=params, stream=True)
            with contextlib.closing(response):
                raw = client._get_raw_response_socket(response)
                self._socket = getattr(raw, "_sock", raw)
                self._socket.settimeout(None)
                if getattr(self._socket, "family", None) in (socket.AF_INET, socket.AF_INET6):
                    self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for option, value in _KEEP_ALIVE:
                        self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
                yield None
                try:
                    for fields in client._stream_helper(response, decode=True):
                        event = container_event(fields)
                        if event is not None:
                            yield event
                except _UNREADABLE as fault:
                    raise EngineUnreachable(f"Cannot {_WHAT}: its answer cannot be read") from fault


def _wake(sock: Any) -> None:
    """End a blocking read in another thread. Below TLS, whose own shutdown is not thread-safe."""
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
