# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Polls an endpoint until an accepted action has ended. Temporary failures are tolerated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..model.cancellation import Deadline
from ..model.clock import Clock
from ..model.errors import EndpointError, EndpointUnreachable, OutcomeUnknown, PowerError
from ..model.request import PowerAction
from ..model.server import PowerState
from .answers import Operation, Seen
from .client import Accepted, Endpoint
from .follow import Following, lost

_Value = TypeVar("_Value")
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.25, 1.0, 1.5
#: The timeout of one look, and the time without a usable answer after which the endpoint is given up.
_LOOK_SECONDS = 15.0
_SILENT_SECONDS = 60.0
#: The longest wait of one request for the end of an operation.
POLL_SECONDS = 20
_PASSING = (429, 500, 502, 503, 504)


class WaitInterrupted(Exception):
    """A signal ended the wait for an action."""


class Watch:
    """The looks at one server after a request. Create it right before the request: times count from then."""

    def __init__(self, endpoint: Endpoint, clock: Clock, interrupted: Callable[[], bool], uuid: str, saw: Callable[[Seen], None]) -> None:
        self.state: PowerState | None = None
        self._endpoint = endpoint
        self._clock = clock
        self._interrupted = interrupted
        self._uuid = uuid
        self._saw = saw
        self._began = clock.monotonic()
        self._silent_since: float | None = None

    def until_done(self, follow: Following) -> None:
        """Poll the server until the action is done. Raises how it ended otherwise, lasting errors, and `WaitInterrupted`."""
        pause = _FIRST_PAUSE
        while True:
            self._pause(pause)
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)
            sent = self._clock.monotonic() - self._began
            seen = self._patiently(self._look)
            at = self._clock.monotonic() - self._began
            if seen is not None and follow.see(seen, sent, at):
                return
            follow.raise_if_hopeless(at)

    def operation(
        self, accepted: Accepted, action: PowerAction, seconds: float, goes_on: Callable[[Operation], None], poll_seconds: int
    ) -> Operation | None:
        """Return the operation after its end, or None if the endpoint does not know it. Raises as `until_done`.

        ``goes_on`` gets each look before the end, every ``poll_seconds``. An operation of something else is an `OutcomeUnknown`.
        """
        pause = _FIRST_PAUSE
        deadline = Deadline(self._clock, self._began + seconds)
        while not deadline.is_over:
            asked_at = self._clock.monotonic()
            try:
                operation = self._patiently(
                    lambda: self._endpoint.operation(accepted.path, wait_seconds=poll_seconds, check_cancelled=self.raise_if_signalled)
                )
            except EndpointError as error:
                if error.facts.get("status") == 404:
                    return None
                raise
            if operation is not None:
                if not operation.is_of(accepted.operation, self._uuid, action):
                    why = "the endpoint accepted it, but reports another operation, server or action; look at the server"
                    raise lost(action, self._uuid, why)
                if operation.outcome is not None:
                    return operation
                goes_on(operation)
            if self._clock.monotonic() - asked_at < 1.0:
                # The endpoint ignores the wait, or is unreachable.
                self._pause(pause)
                pause = min(pause * _GROWTH, _LONGEST_PAUSE)
        raise OutcomeUnknown(
            f"Cannot tell what became of server {self._uuid}: operation {accepted.operation} still goes on after {seconds:.0f} s; "
            "look at it later"
        )

    def state_now(self) -> PowerState | None:
        """Return the state, or None if it cannot be read."""
        try:
            return self._look().state
        except (PowerError, WaitInterrupted):
            return None

    def _look(self) -> Seen:
        self.state = None
        seen = self._endpoint.look(self._uuid, seconds=min(self._endpoint.timeout, _LOOK_SECONDS), check_cancelled=self.raise_if_signalled)
        self.state = seen.state
        self._saw(seen)
        return seen

    def _patiently(self, ask: Callable[[], _Value]) -> _Value | None:
        """Return the answer; None if a retry may help. Raises lasting errors, and failures that have lasted too long."""
        try:
            value = ask()
        except (EndpointUnreachable, EndpointError) as error:
            now = self._clock.monotonic()
            self._silent_since = now if self._silent_since is None else self._silent_since
            lasting = error.facts.get("lasting") or ("status" in error.facts and error.facts["status"] not in _PASSING)
            if lasting or now - self._silent_since >= _SILENT_SECONDS:
                raise
            return None
        self._silent_since = None
        return value

    def raise_if_signalled(self) -> None:
        if self._interrupted():
            raise WaitInterrupted

    def _pause(self, seconds: float) -> None:
        self.raise_if_signalled()
        self._clock.sleep(seconds)
        self.raise_if_signalled()
