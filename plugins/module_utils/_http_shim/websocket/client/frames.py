# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames of a websocket: JSON objects with an event and texts; pure. All events but one are Wings'."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ...._power.model.nesting import is_nested_deeper

#: More than any event that clients send needs.
LARGEST_FRAME = 4096
_DEEPEST = 4

AUTH, SET_STATE, SEND_COMMAND, SEND_LOGS, SEND_STATS = "auth", "set state", "send command", "send logs", "send stats"
#: Every event that a client may send.
CLIENT_EVENTS = (AUTH, SET_STATE, SEND_COMMAND, SEND_LOGS, SEND_STATS)

AUTH_SUCCESS, STATUS, STATS, OUTPUT, MESSAGE = "auth success", "status", "stats", "console output", "daemon message"
#: Ours alone: an action waits for players, or no longer does.
COUNTDOWN = "countdown"
EXPIRING, TOKEN_EXPIRED, JWT_ERROR, ERROR, THROTTLED = "token expiring", "token expired", "jwt error", "daemon error", "throttled"

#: What Wings says of every error to who may not know more.
UNEXPECTED = "an unexpected error was encountered while handling this request"


@dataclass(frozen=True)
class ClientMessage:
    """One event that a client sent; several texts of one event are read as one."""

    event: str
    text: str = ""


def read_frame(text: str) -> ClientMessage | None:
    """Return the event in a frame; None for what is none, or no event that there is."""
    if is_nested_deeper(text, _DEEPEST):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    event, texts = found.get("event"), found.get("args") or []
    if event not in CLIENT_EVENTS or not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        return None
    return ClientMessage(event, "".join(texts))


def frame(event: str, *texts: str) -> str:
    """Return an event as it is sent."""
    return json.dumps({"event": event, "args": texts} if texts else {"event": event}, separators=(",", ":"))


def error_text(number: str, reason: str) -> str:
    """Word an error as Wings does: ``number`` is what to look for in the log: an operation's id, or a request's."""
    return f"Error Event [{number}]: {reason}"


def line_text(line: bytes) -> str:
    """Return a line of output as clients show it: as the process wrote it, colours and all."""
    return line.rstrip(b"\r").decode("utf-8", "replace")


def last_lines(log: bytes, count: int, limit: int) -> list[str]:
    """Return the last lines of a log as events, at most ``count``, and as many of these as ``limit`` characters hold."""
    lines = log.split(b"\n")
    told: list[str] = []
    for line in reversed((lines[:-1] if lines[-1] == b"" else lines)[-count:]):
        # Written as JSON, since one byte may take six characters there.
        told.append(frame(OUTPUT, line_text(line)))
        limit -= len(told[-1])
        if limit < 0:
            told.pop()
            break
    return told[::-1]


def joined(log: Sequence[bytes], live: Sequence[bytes]) -> list[bytes]:
    """Join a log and the output that followed it, what is in both once: output is listened to before the log is read."""
    for count in range(min(len(log), len(live)), 0, -1):
        if list(log[-count:]) == list(live[:count]):
            return [*log, *live[count:]]
    return [*log, *live]
