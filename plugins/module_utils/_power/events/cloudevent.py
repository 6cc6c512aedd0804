# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event as a CloudEvent 1.0 in structured JSON; pure.

Of what CloudEvents leaves open: ``source`` says which node or controller it comes from, ``subject`` is the UUID of the server, and the
extension ``sequence`` counts the events of one source, so that a receiver can see the order of two.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from .event import Event

CONTENT_TYPE = "application/cloudevents+json"
_SPEC_VERSION = "1.0"
#: As text they are in the order of the numbers.
_SEQUENCE_DIGITS = 20


def node_source(name: str) -> str:
    """Return what a node's events name as where they come from."""
    return f"/fleet.power/nodes/{quote(name, safe='')}"


def controller_source(name: str) -> str:
    """Return what a controller's events name as where they come from."""
    return f"/fleet.power/controllers/{quote(name, safe='')}"


def cloudevent(event: Event, source: str) -> dict[str, Any]:
    """Return an event as the JSON object that receivers get."""
    data = dict(event.data)
    found: dict[str, Any] = {
        "specversion": _SPEC_VERSION,
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
        found["sequence"] = str(event.number).zfill(_SEQUENCE_DIGITS)
    return {**found, "data": data}


def cloudevent_body(event: Event, source: str) -> bytes:
    """Return the body of the request that carries an event."""
    return json.dumps(cloudevent(event, source), separators=(",", ":")).encode()
