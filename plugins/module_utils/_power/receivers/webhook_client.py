# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One POST to a receiver, with limits, and the meaning of its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum

from ..model.cancellation import CheckCancelled, no_check
from ..model.clock import SYSTEM_CLOCK, Clock
from ..sources.web import Trust, Web, WebFault, library
from .receiver import Receiver, WebhookMessage, split_address

POST_SECONDS = 10.0
LONGEST_RETRY_AFTER = 3600.0
_GONE = 410
_AGENT = "fleet.power"


class Taking(str, Enum):
    """The fate of a message: taken, not taken, or its receiver wants no more."""

    TAKEN = "taken"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True)
class Posted:
    """The fate of a message, the reason as the end of a sentence, and the pause in seconds that the receiver asks for."""

    taking: Taking
    reason: str = ""
    retry_after: float | None = None


class WebhookClient:
    """Sends messages to a receiver. Keeps its connection. Thread-safe."""

    def __init__(self, receiver: Receiver, trust: Trust | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        """Raises `WebFault` for a bad address, `MissingLibrary`."""
        # A missing library fails here, not at each message.
        library()
        self._key = receiver.key
        self._clock = clock
        base, self._path = split_address(receiver.url)
        self._web = Web(base, "", headers={"User-Agent": _AGENT, "Accept": "*/*"}, trust=trust)

    def post(self, message: WebhookMessage, *, seconds: float = POST_SECONDS, check_cancelled: CheckCancelled = no_check) -> Posted:
        """Send a message within ``seconds``; return its fate, without secrets. Raises what ``check_cancelled`` raises."""
        headers = message.headers(self._key, int(self._clock.now().timestamp()))
        try:
            answer = self._web.send(self._path, message.body, headers, seconds=seconds, check_cancelled=check_cancelled)
        except WebFault as fault:
            return Posted(Taking.FAILED, str(fault))
        if 200 <= answer.status < 300:
            return Posted(Taking.TAKEN)
        reason = f"it answered with status {answer.status}"
        if answer.status == _GONE:
            return Posted(Taking.GONE, reason)
        return Posted(Taking.FAILED, reason, retry_after(answer.headers.get("retry-after", ""), self._clock.now()))

    def close(self) -> None:
        self._web.close()


def retry_after(text: str, now: datetime) -> float | None:
    """Return the pause in seconds that ``Retry-After`` asks for, at most an hour; None without one."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or timezone.utc) - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
