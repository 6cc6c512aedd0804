# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of the Docker SDK's client: each has a name for people, and every way in which it can fail is one of our errors.

What the engine says, registries' words among it, becomes one line of bounded length here, before anybody prints or writes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..model.errors import EngineError
from ..model.schema import one_line
from .connection import Connection
from .engine_clients import EngineClients


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
