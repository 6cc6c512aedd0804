# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of an endpoint's servers, asked for once, whoever wants it."""

from __future__ import annotations

import threading

from ..model.cancellation import CheckCancelled
from ..model.described import Unseen
from ..model.errors import EndpointError, EndpointUnreachable, EndpointUntrusted
from .connection import EndpointConnection
from .seen import Seen, read_servers
from .told import read_codes

_LOOK_SECONDS = 0.5


class ServerList:
    """Every server as it was when first asked for. Threads may share it."""

    def __init__(self, connection: EndpointConnection) -> None:
        self._connection = connection
        self._guard = threading.Lock()
        self._listed: tuple[Seen | Unseen, ...] | None = None
        self._fault: EndpointUnreachable | EndpointUntrusted | EndpointError | None = None
        #: The codes of why the endpoint could not list all of its servers, when the list was asked for.
        self.lacking: tuple[str, ...] = ()

    def read(self, check_cancelled: CheckCancelled) -> tuple[Seen | Unseen, ...]:
        """Return the servers, or why the state of one is not told; a list that failed is not asked for again.

        Raises `EndpointUnreachable`, `EndpointUntrusted`, `EndpointError`, and what ``check_cancelled`` raises.
        """
        # Held while asking: others who want the list wait for this one.
        while not self._guard.acquire(timeout=_LOOK_SECONDS):
            check_cancelled()
        try:
            if self._fault is not None:
                # Else each name would wait for it anew, and two names of one server could be told apart by chance.
                raise type(self._fault)(str(self._fault), **self._fault.facts) from self._fault
            if self._listed is None:
                self._listed = self._ask(check_cancelled)
            return self._listed
        finally:
            self._guard.release()

    def _ask(self, check_cancelled: CheckCancelled) -> tuple[Seen | Unseen, ...]:
        try:
            answer = self._connection.ask("GET", "/api/servers", check_cancelled=check_cancelled)
            listed = answer.read("list the servers", lambda value: read_servers(value, self._connection.masked))
        except (EndpointUnreachable, EndpointUntrusted, EndpointError) as error:
            self._fault = error
            raise
        self.lacking = read_codes(answer.raw.headers.get("x-unlisted", ""))
        return listed
