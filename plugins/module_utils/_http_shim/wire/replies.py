# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers, byte for byte where clients compare: statuses, headers, bodies; pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from ..._power.model.errors import SettingsInvalid
from ..._power.model.request import POWER_ACTIONS, PowerAction

JSON = "application/json; charset=utf-8"
PLAIN = "text/plain"
#: The header of a list that is not whole: the codes of why lists of servers could not be had, divided by commas.
UNLISTED = "X-Unlisted"
#: Wings sends the status line before it writes these bodies, so they are labelled as text although they are JSON.
MISLABELLED = "text/plain; charset=utf-8"

_UNEXPECTED = "An unexpected error was encountered while processing this request"


@dataclass(frozen=True)
class Reply:
    """One answer. ``close``: the connection is of no more use. ``note`` is for the log, not for the client."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False
    note: str = ""


def json_reply(value: object, status: int = 200) -> Reply:
    """Answer with a value as JSON."""
    return Reply(status, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"), JSON)


def error(status: int, text: str, *, content_type: str = JSON, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Answer with an error as Wings words one."""
    return replace(json_reply({"error": text}, status), content_type=content_type, headers=headers)


def unexpected(request_id: str, status: int = 500, *, content_type: str = JSON, note: str = "") -> Reply:
    """Answer with the error that says nothing but where to look in the log, which has the ``note``."""
    return replace(json_reply({"error": _UNEXPECTED, "request_id": request_id}, status), content_type=content_type, note=note)


def accepted(headers: tuple[tuple[str, str], ...]) -> Reply:
    """Answer that the action will be done."""
    return Reply(202, headers=headers)


def invalid_body(request_id: str) -> Reply:
    """Answer that the body is not what it should be."""
    return unexpected(request_id, 400, content_type=MISLABELLED)


def refused_options(reason: str) -> Reply:
    """Answer that the action is one, but cannot be had as it is asked for."""
    return replace(json_reply({"error": reason, "code": SettingsInvalid.code}, 422), note=reason)


def redirect(status: int, location: str) -> Reply:
    """Send the client to another path."""
    return Reply(status, headers=(("Location", location),))


NO_TOKEN = error(401, "The required authorization heads were not present in the request.", headers=(("WWW-Authenticate", "Bearer"),))
WRONG_TOKEN = error(403, "You are not authorized to access this endpoint.")
NO_ROUTE = Reply(404, b"404 page not found", PLAIN)
NO_SERVER = error(404, "The requested resource does not exist on this instance.")
EMPTY_BODY = error(400, "The data passed in the request was not in a parsable format. Please try again.", content_type=MISLABELLED)
#: In Wings' order, which has the stop first.
_ACTIONS = ", ".join(f'"{each.value}"' for each in sorted(POWER_ACTIONS, key=lambda each: each is not PowerAction.STOP))
WRONG_ACTION = error(422, f"The power action provided was not valid, should be one of {_ACTIONS}")
SUSPENDED = error(400, "Cannot start or restart a server that is suspended.")
TOO_MANY = error(503, "Cannot accept the action: too many of this server are waiting already; ask again later")
NOT_KEPT = error(503, "Cannot accept the action: the journal cannot be written, so it might be lost; look at the node's log")
ENDING = replace(error(503, "Cannot accept the action: this service is ending; ask again in a moment"), close=True)
NO_STDIN = error(502, "Cannot send commands to a stopped server instance.")
#: The code tells it from a path that is none.
NO_EVENTS = json_reply(
    {
        "error": "Cannot tell events: this node keeps none; have role fleet.power.node install what sends them (node_events: true)",
        "code": "events_disabled",
    },
    404,
)
OPTIONS = Reply(204)
PANIC = Reply(500, close=True)
TOO_LARGE = replace(error(413, "The body of the request is too large."), close=True)
TOO_SLOW = replace(error(408, "The body of the request did not come in time."), close=True)
