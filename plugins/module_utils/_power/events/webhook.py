# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The body of a webhook, an event as a CloudEvent 1.0 in structured JSON, and its Standard Webhooks signature; pure.

``source`` is the node or controller, ``subject`` the server's UUID, and the extension ``sequence`` orders the events of one source.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote

from .event import Event

CONTENT_TYPE = "application/cloudevents+json"
PREFIX = "whsec_"
#: The bytes of a secret that Standard Webhooks allows.
_SHORTEST, _LONGEST = 24, 64


def node_source(name: str) -> str:
    return f"/fleet.power/nodes/{quote(name, safe='')}"


def controller_source(name: str) -> str:
    return f"/fleet.power/controllers/{quote(name, safe='')}"


def cloudevent(event: Event, source: str) -> dict[str, Any]:
    data = dict(event.data)
    found: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type.value,
        "time": event.at,
        "datacontenttype": "application/json",
    }
    if event.server is not None:
        found["subject"] = event.server.uuid
        data["server"] = {"uuid": event.server.uuid, "name": event.server.name}
    if event.number:
        # Fixed width, so that text order is number order.
        found["sequence"] = f"{event.number:020}"
    return {**found, "data": data}


def cloudevent_body(event: Event, source: str) -> bytes:
    return json.dumps(cloudevent(event, source), separators=(",", ":")).encode()


class SecretFault(ValueError):
    """A text that is no secret of Standard Webhooks. The message does not show it."""


def key_of(secret: str) -> bytes:
    """Return the bytes of a secret. Raises `SecretFault`."""
    text = secret.strip()
    try:
        key = base64.b64decode(text[len(PREFIX) :], validate=True) if text.startswith(PREFIX) else b""
    except ValueError:
        key = b""
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise SecretFault(f"is no secret for signatures, expected {PREFIX} and the base64 of {_SHORTEST} to {_LONGEST} random bytes")
    return key


def headers_of(message: str, seconds: int, body: bytes, key: bytes | None) -> dict[str, str]:
    """Return the headers of a request: message id, Unix time and, with a key, the signature of id, time and body."""
    found = {"webhook-id": message, "webhook-timestamp": str(seconds)}
    if key is not None:
        signed = b".".join((message.encode(), str(seconds).encode(), body))
        found["webhook-signature"] = f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"
    return found
