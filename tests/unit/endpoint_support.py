# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake endpoint whose answers and times a test sets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Slot
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.answers import Operation, Seen
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.client import Accepted, Endpoint
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.perform import perform_at
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import CheckCancelled, no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.news import Listener, unheard
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerPolicy
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Readiness, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Server
from ansible_collections.fleet.power.tests.unit.fake_engine import NOON, FakeClock

UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
OLD = 93_500
OFFLINE, STARTING, RUNNING, STOPPING = PowerState


def seen(state: PowerState, uptime: int = 0, *, suspended: bool = False) -> Seen:
    return Seen(Server(UUID, "Cobalt"), state, suspended, uptime)


class FakeEndpoint(Endpoint):
    """A single server. ``before`` is its state until a request; ``after`` holds its states by seconds since the request."""

    def __init__(self, before: Seen | Exception, *after: tuple[float, Seen | Exception], accepted: Accepted | None = None) -> None:
        super().__init__("http://127.0.0.1:1", "token-of-the-node")
        self.clock = FakeClock()
        self.before = before
        self.after = after
        self.accepted: Accepted | Exception = accepted or Accepted()
        #: Called before the first answer after the request.
        self.late: Callable[[], object] = no_check
        self.operations: list[Operation | Exception] = []
        self.asked: list[tuple[str, PowerAction, int]] = []
        self.policies: list[PlayerPolicy | None] = []
        self.moments: list[Readiness | None] = []
        self.look_seconds: list[float | None] = []
        self.on_look: Callable[[], object] = no_check
        self._asked_at: float | None = None

    def listed(self, check_cancelled: CheckCancelled = no_check) -> tuple[Seen, ...]:
        return (self._now(),)

    def look(self, uuid: str, *, seconds: float | None = None, check_cancelled: CheckCancelled = no_check) -> Seen:
        check_cancelled()
        self.look_seconds.append(seconds)
        self.on_look()
        said = self._now()
        if self._asked_at is not None:
            late, self.late = self.late, no_check
            late()
        return said

    def act(self, uuid: str, request: Request, ready: Readiness | None = None, check_cancelled: CheckCancelled = no_check) -> Accepted:
        check_cancelled()
        self.moments.append(ready)
        self.policies.append(request.players)
        self.asked.append((uuid, request.action, request.wait_seconds))
        self._asked_at = self.clock.monotonic()
        if isinstance(self.accepted, Exception):
            raise self.accepted
        return self.accepted

    def operation(self, path: str, *, wait_seconds: int, check_cancelled: CheckCancelled = no_check) -> Operation:
        check_cancelled()
        said = self.operations.pop(0) if len(self.operations) > 1 else self.operations[0]
        if isinstance(said, Exception):
            raise said
        return said

    def _now(self) -> Seen:
        said: Seen | Exception = self.before
        if self._asked_at is not None:
            passed = self.clock.monotonic() - self._asked_at
            for since, each in self.after:
                said = each if since <= passed else said
        if isinstance(said, Exception):
            raise said
        return said


def request(action: str, **fields: Any) -> Request:
    return Request(server=UUID, action=PowerAction(action), operation="ours-and-not-the-endpoint's", requested_at=NOON, **fields)


def perform(
    endpoint: FakeEndpoint,
    action: str,
    *,
    interrupted: threading.Event | None = None,
    slot: Slot | None = None,
    listener: Listener = unheard,
    **fields: Any,
) -> Result:
    is_interrupted = threading.Event() if interrupted is None else interrupted
    caller = Caller(is_interrupted.is_set, listener=listener)
    return perform_at(request(action, **fields), endpoint, endpoint.clock, caller, None, slot)
