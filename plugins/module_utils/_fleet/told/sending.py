# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits is sent: to all receivers at the same time, in bounded time, whatever any of them does.

The two events of one run are in order at a receiver: the second is not tried before the first was taken. Those of other runs do not wait
for them, so that one which a receiver will not have holds nothing else up.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ..._power.events.webhook import controller_source
from ..._power.model.cancellation import Deadline
from ..._power.model.clock import SYSTEM_CLOCK
from ..._power.model.errors import PowerError
from ..._power.receivers.receiver import Receiver, message_of
from ..._power.receivers.webhook_client import Taking, WebhookClient
from .waiting import WaitingEvents

#: For how long a run waits for all its receivers together, each time.
SEND_SECONDS = 5.0
#: Of that, what is left to those who then end by themselves.
_GRACE_SECONDS = 0.3
_FIRST_PAUSE = 0.5


@dataclass(frozen=True)
class Untold:
    """A receiver that has not taken all that waits for it, and why, as the end of a sentence.

    One that is gone wants none any more; ``retry_after`` has the seconds for which another asked to be left alone.
    """

    receiver: str
    reason: str
    is_gone: bool = False
    retry_after: float | None = None


def send_all(waiting: WaitingEvents, receivers: Sequence[Receiver], controller: str, *, again: bool) -> list[Untold]:
    """Send what waits for each receiver; ``again``: as long as there is time, also what was not taken at first. Raises nothing."""
    deadline = Deadline.after(SYSTEM_CLOCK, SEND_SECONDS - _GRACE_SECONDS)
    end = Deadline.after(SYSTEM_CLOCK, SEND_SECONDS)
    rounds = [_Round(waiting, receiver, controller, deadline) for receiver in receivers]
    threads = [threading.Thread(target=each.run, args=(again,), name="receiver", daemon=True) for each in rounds]
    begun = []
    for thread in threads:
        # Where no thread can be had, it is as if it had not come back.
        with contextlib.suppress(RuntimeError):
            thread.start()
            begun.append(thread)
    for thread in begun:
        thread.join(end.left)
    return [each.untold for each in rounds if each.untold is not None]


class _Round:
    """What is tried for one receiver, in a thread of its own."""

    def __init__(self, waiting: WaitingEvents, receiver: Receiver, controller: str, deadline: Deadline) -> None:
        self._waiting = waiting
        self._receiver = receiver
        self._controller = controller
        self._deadline = deadline
        #: As long as it has not come back.
        self.untold: Untold | None = Untold(receiver.name, "it has not answered in time")

    def run(self, again: bool) -> None:
        """Try until all is taken, or the time is over."""
        if not self._waiting.of(self._receiver):
            self.untold = None
            return
        try:
            with self._waiting.alone(self._receiver, self._deadline) as alone:
                self.untold = self._tried(again) if alone else Untold(self._receiver.name, "another run is telling it")
        except PowerError as error:
            self.untold = Untold(self._receiver.name, str(error))
        except Exception as error:
            # A fault of ours must not end the run, and what it says may hold anything.
            self.untold = Untold(self._receiver.name, f"internal error ({type(error).__name__})")

    def _tried(self, again: bool) -> Untold | None:
        client = WebhookClient(self._receiver)
        pause = _FIRST_PAUSE
        try:
            while True:
                untold = self._once(client)
                if untold is None or untold.is_gone or not again:
                    return untold
                pause = max(pause, untold.retry_after or 0)
                if self._deadline.left <= pause:
                    return untold
                self._deadline.pause(pause)
                pause *= 2
        finally:
            client.close()

    def _once(self, client: WebhookClient) -> Untold | None:
        """Try each that waits once, but none of a run of which an earlier one was not taken."""
        left, untold = self._waiting.of(self._receiver), None
        while left and not self._deadline.is_over:
            message = message_of(self._receiver, [each.event for each in left], controller_source(self._controller), self._controller)
            tried, left = left[: message.events], left[message.events :]
            posted = client.post(message, seconds=self._deadline.left)
            if posted.taking is Taking.TAKEN:
                self._waiting.remove(tried)
                continue
            if posted.taking is Taking.GONE:
                self._waiting.remove([*tried, *left])
                return Untold(self._receiver.name, posted.reason, is_gone=True)
            untold = Untold(self._receiver.name, posted.reason, retry_after=posted.retry_after)
            if posted.retry_after is not None:
                return untold
            held = {each.run for each in tried}
            left = [each for each in left if each.run not in held]
        return untold if untold is not None or not left else Untold(self._receiver.name, "there was no time left")
