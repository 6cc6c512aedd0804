# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of a websocket, and their rate limits."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..._power.model.records import dataclass
from ..._power.model.schema import parsed_json

LARGEST_FRAME = 4096
_DEEPEST = 4

AUTH, SET_STATE, SEND_COMMAND, SEND_LOGS, SEND_STATS = "auth", "set state", "send command", "send logs", "send stats"
CLIENT_EVENTS = (AUTH, SET_STATE, SEND_COMMAND, SEND_LOGS, SEND_STATS)

AUTH_SUCCESS, STATUS, STATS, OUTPUT, MESSAGE = "auth success", "status", "stats", "console output", "daemon message"
#: Not in Wings: an action begins or ends its wait for players.
COUNTDOWN = "countdown"
EXPIRING, TOKEN_EXPIRED, JWT_ERROR, ERROR, THROTTLED = "token expiring", "token expired", "jwt error", "daemon error", "throttled"

#: Wings' text for every error of which the client may not see more.
UNEXPECTED = "an unexpected error was encountered while handling this request"
#: A second, and at once: limits of all events together, of some events, and of each other event.
_ALL = (5.0, 10.0)
_EACH = {AUTH: (0.2, 2.0), SEND_LOGS: (0.2, 2.0), SEND_COMMAND: (1.0, 10.0)}
_OTHER = (1.0, 4.0)
_WARNINGS = (1.0, 2.0)


@dataclass(frozen=True)
class ClientMessage:
    """One event of a client; several texts of one event are joined."""

    event: str
    text: str = ""


def read_frame(text: str) -> ClientMessage | None:
    """Return the event in a frame; None if it is invalid or unknown."""
    found = parsed_json(text, _DEEPEST)
    if not isinstance(found, dict):
        return None
    event, texts = found.get("event"), found.get("args") or []
    if event not in CLIENT_EVENTS or not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        return None
    return ClientMessage(event, "".join(texts))


def frame(event: str, *texts: str) -> str:
    return json.dumps({"event": event, "args": texts} if texts else {"event": event}, separators=(",", ":"))


def error_text(number: str, reason: str) -> str:
    """Return an error in Wings' words. ``number`` is the id in the log: an operation's or a request's."""
    return f"Error Event [{number}]: {reason}"


def line_text(line: bytes) -> str:
    """Return a line of output as the process wrote it, colours included."""
    return line.rstrip(b"\r").decode("utf-8", "replace")


def last_lines(log: bytes, count: int, limit: int) -> list[str]:
    """Return the last lines of a log as events: at most ``count``, and at most ``limit`` characters."""
    lines = log.split(b"\n")
    texts: list[str] = []
    for line in reversed((lines[:-1] if lines[-1] == b"" else lines)[-count:]):
        # Measure the JSON, since one byte may take six characters there.
        texts.append(frame(OUTPUT, line_text(line)))
        limit -= len(texts[-1])
        if limit < 0:
            texts.pop()
            break
    return texts[::-1]


def joined(log: Sequence[bytes], live: Sequence[bytes]) -> list[bytes]:
    """Join a log and the output that followed it, without their common part: reading of output begins before the log is read."""
    for count in range(min(len(log), len(live)), 0, -1):
        if list(log[-count:]) == list(live[:count]):
            return [*log, *live[count:]]
    return [*log, *live]


class Bucket:
    """A rate limit: so many a second, and so many at once."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one more; return False if the limit refuses it."""
        return self.most(now, 1) == 1

    def room(self, now: float) -> int:
        """Return how many the limit allows now, without taking them."""
        self._fill(now)
        return max(0, int(self._left))

    def most(self, now: float, wanted: int) -> int:
        """Take up to ``wanted``; return how many the limit allows."""
        taken = min(wanted, self.room(now))
        self._left -= taken
        return taken

    def pause(self, now: float) -> float:
        """Take one in any case; return the seconds to wait for it."""
        self._fill(now)
        self._left -= 1
        return max(0.0, -self._left / self._rate)

    def _fill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now


class Rates:
    """The limits of one client: of all its frames, of its notices that it is too quick (``warnings``), and of rarer events."""

    def __init__(self, now: float) -> None:
        self.all = Bucket(*_ALL, now)
        self.warnings = Bucket(*_WARNINGS, now)
        self._each: dict[str, Bucket] = {}

    def allows(self, event: str, now: float) -> bool:
        """Take one more of a rarer event; return False if the limit refuses it."""
        bucket = self._each.get(event)
        if bucket is None:
            bucket = self._each[event] = Bucket(*_EACH.get(event, _OTHER), now)
        return bucket.take(now)
