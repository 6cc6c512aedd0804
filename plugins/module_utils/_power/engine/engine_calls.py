# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the calls of the Docker SDK's client, and turns every failure into one of our errors with a short line."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from ..model.errors import EngineError
from ..model.schema import one_line
from .connection import Connection, Sdk, is_before_request, load_sdk
from .engine_version import EngineVersion

#: Concurrent calls, and concurrent kills beside them, while the engine answers within a second.
PLACES = 32
_PLACE_SECONDS = 1.0


class EngineCalls:
    """The calls to one engine. Thread-safe. Each ends within ``timeout`` seconds. ``what`` is text after "Cannot".

    Each client has one keep-alive connection, and the last one used is the next. A call waits at most a second for its place, then starts
    without one. So slow answers do not block other calls.
    """

    def __init__(self, connection: Connection) -> None:
        self.timeout = float(connection.timeout)
        self._connection = connection
        self._version = connection.api_version
        #: Empty until the engine was asked for its version.
        self.warnings: tuple[str, ...] = ()
        self._asking_version = threading.Lock()
        self._places = {urgent: threading.Semaphore(PLACES) for urgent in (False, True)}
        self._idle: list[Any] = []

    @cached_property
    def sdk(self) -> Sdk:
        """Return the Docker SDK. Raises `MissingLibrary`."""
        return load_sdk()

    @contextlib.contextmanager
    def one(self, *, urgent: bool = False) -> Iterator[Any]:
        """Lend a client for one call. An ``urgent`` call, a kill, waits only for a place among kills."""
        places = self._places[urgent]
        placed = places.acquire(timeout=_PLACE_SECONDS)
        try:
            client = self._take()
            try:
                yield client
            except self.sdk.api_error:
                self._give_back(client)
                raise
            except BaseException:
                # Its connection may hold half an answer.
                client.close()
                raise
            self._give_back(client)
        finally:
            if placed:
                places.release()

    @contextlib.contextmanager
    def own(self, *, seconds: float) -> Iterator[Any]:
        """Lend a client for a stream, which needs no place; each part of an answer may take ``seconds``."""
        # Closed afterwards: an open stream keeps its connection.
        with contextlib.closing(self._new()) as client:
            client.timeout = seconds
            yield client

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._new()

    def _give_back(self, client: Any) -> None:
        if len(self._idle) < PLACES:
            self._idle.append(client)
        else:
            client.close()

    def version(self) -> EngineVersion:
        """Ask the engine for its version."""
        found = self._connection.version(self.sdk)
        if found.spoken != self._version:
            # The engine was replaced by an older or newer one.
            self._idle.clear()
        self._version, self.warnings = found.spoken, tuple(found.warnings())
        return found

    def _new(self) -> Any:
        if self._version is not None:
            return self._connection.client(self.sdk, self._version)
        # No longer than one answer: a silent engine is silent for all threads.
        if not self._asking_version.acquire(timeout=self._connection.timeout):
            raise self._connection.unreachable("", TimeoutError())
        try:
            return self._connection.client(self.sdk, self._version or self.version().spoken)
        finally:
            self._asking_version.release()

    @contextlib.contextmanager
    def asking(self, what: str, *, urgent: bool = False, own_seconds: float | None = None) -> Iterator[Any]:
        """Lend a client; with ``own_seconds`` a separate one for a stream whose parts may each take that long."""
        sdk = self.sdk
        try:
            with self.one(urgent=urgent) if own_seconds is None else self.own(seconds=own_seconds) as client:
                yield client
        except sdk.api_error as answer:
            status, why = answer.status_code, one_line(str(answer.explanation or answer))
            # Behind an error of a server, a gateway's included, the call may continue.
            no_effect = status < 500 or is_before_request(answer)
            raise EngineError(f"Cannot {what}: {why}", status=status, no_effect=no_effect) from answer
        except sdk.transport_errors as error:
            raise self._connection.unreachable(f"Cannot {what}", error, own_seconds) from error
        except KeyError as missing:
            # The SDK raises this for an error without "message", which no engine sends.
            if missing.args != ("message",):
                raise
            raise EngineError(f"Cannot {what}: the answer is not an engine's; look for a proxy in between") from missing

    def is_answered(self, seconds: float) -> bool:
        """Tell if the engine answers a new connection within ``seconds``. In a shutdown it refuses these before its first signal."""
        return self._connection.is_answered(self.sdk, seconds)

    def unless_missing(self, what: str, call: Callable[[Any], Any]) -> Any:
        """Return a call's answer; None for a 404."""
        with tolerating(404), self.asking(what) as client:
            return call(client)
        return None


@contextlib.contextmanager
def tolerating(*statuses: int) -> Iterator[None]:
    """Suppress an error of the engine with one of these statuses."""
    try:
        yield
    except EngineError as error:
        if error.facts.get("status") not in statuses:
            raise
