# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of the Docker SDK's client: each has a name for people, and every way in which it can fail is one of our errors.

What the engine says, registries' words among it, becomes one line of bounded length here, before anybody prints or writes it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..model.errors import EngineError
from ..model.schema import one_line
from .connection import Connection, Sdk, load_sdk

#: So many calls, and so many kills beside them, are under way at once, as long as the engine answers them within a second.
PLACES = 32
_PLACE_SECONDS = 1.0


class EngineClients:
    """Clients of the Docker SDK for any number of threads: each has one keep-alive connection, and the last one used is the next.

    A call waits for its place among the others for at most a second, then it is made beside them: what the engine is slow to answer
    keeps nothing else from it, and an engine that answers nothing is told of by everybody after the time limit of a call.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._version = connection.api_version
        self._sdk_loaded: Sdk | None = None
        self._asking_version = threading.Lock()
        self._places = {urgent: threading.Semaphore(PLACES) for urgent in (False, True)}
        self._idle: list[Any] = []

    @property
    def sdk(self) -> Sdk:
        """The Docker SDK. Raises `MissingLibrary`."""
        if self._sdk_loaded is None:
            self._sdk_loaded = load_sdk()
        return self._sdk_loaded

    @contextlib.contextmanager
    def one(self, *, urgent: bool = False) -> Iterator[Any]:
        """A client for the length of one call. A kill is ``urgent``: it waits for a place among kills alone."""
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
                # Half an answer may be left in its connection.
                client.close()
                raise
            self._give_back(client)
        finally:
            if placed:
                places.release()

    @contextlib.contextmanager
    def own(self, *, seconds: float) -> Iterator[Any]:
        """A client for a stream of answers, which takes no place from a call; each part of an answer may take so many seconds."""
        client = self._new()
        client.timeout = seconds
        try:
            yield client
        finally:
            # What is still read from has left it.
            client.close()

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

    def _new(self) -> Any:
        """A new client; the first one asks the engine for its version, for all of them."""
        if self._version is not None:
            return self._connection.client(self.sdk, self._version)
        # Not waited for longer than an answer: an engine that is silent is silent to everybody.
        if not self._asking_version.acquire(timeout=self._connection.timeout):
            raise self._connection.unreachable("", TimeoutError())
        try:
            client = self._connection.client(self.sdk, self._version)
            self._version = str(client.api_version)
            return client
        finally:
            self._asking_version.release()


class EngineCalls:
    """The calls to one engine, by any number of threads. None outlives ``timeout`` seconds without `EngineUnreachable`.

    ``what`` is what a call does, as it stands after "Cannot".
    """

    def __init__(self, connection: Connection) -> None:
        self.timeout = float(connection.timeout)
        self._connection = connection
        self._clients = EngineClients(connection)

    @contextlib.contextmanager
    def asking(self, what: str, *, urgent: bool = False, own_seconds: float | None = None) -> Iterator[Any]:
        """Lend a client to ask; with ``own_seconds`` one of its own, for a stream each part of which may take that long."""
        sdk = self._clients.sdk
        try:
            with contextlib.ExitStack() as stack:
                lent = self._clients.one(urgent=urgent) if own_seconds is None else self._clients.own(seconds=own_seconds)
                yield stack.enter_context(lent)
        except sdk.api_error as answer:
            raise EngineError(f"Cannot {what}: {one_line(str(answer.explanation or answer))}", status=answer.status_code) from answer
        except sdk.transport_errors as error:
            raise self._connection.unreachable(f"Cannot {what}", error, own_seconds) from error
        except KeyError as missing:
            # What the library makes of an error without its one key, as others than engines word theirs.
            if missing.args != ("message",):
                raise
            raise EngineError(f"Cannot {what}: the answer is none of an engine's; look at what stands between it and us") from missing

    def is_answered(self, seconds: float) -> bool:
        """Tell if the engine lets somebody new in, and answers within so many seconds."""
        return self._connection.is_answered(self._clients.sdk, seconds)

    def unless_missing(self, what: str, call: Callable[[Any], Any]) -> Any:
        """Return what a call answers; None where there is no such thing."""
        try:
            with self.asking(what) as client:
                return call(client)
        except EngineError as error:
            if error.facts.get("status") == 404:
                return None
            raise

    def carry_out(self, what: str, call: Callable[[Any], object], *, gone: Sequence[int], urgent: bool = False) -> bool:
        """Make a call; return False if its answer is one of the statuses in ``gone``: there was nothing to do it to."""
        try:
            with self.asking(what, urgent=urgent) as client:
                call(client)
        except EngineError as error:
            if error.facts.get("status") in gone:
                return False
            raise
        return True
