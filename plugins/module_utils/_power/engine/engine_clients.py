# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connections to one engine, shared by all threads that call it: taken for one call, and given back after it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

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
