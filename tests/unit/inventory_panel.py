# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Panel on the loopback address with the part of the Application API that the inventory uses, and with faults for tests."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.fleet.power.tests.integration.panel_server import Answering, Asked, Recorder, status

KEY = "ptla_secretkey0123456789secretkey0123456789abc"
EGG = "0b7a1c52-64a5-4c7e-9d31-5a0c6f4f2b11"
NODES = ({"id": 1, "name": "node-1", "fqdn": "node-1.example.org"}, {"id": 2, "name": "Frankfurt 2", "fqdn": "10.9.9.2"})
EGGS = ({"id": 7, "uuid": EGG, "name": "Paper"},)
_BASE = "/api/application"
_MOST = 100


def panel_server(name: str, number: int = 1, **attributes: Any) -> dict[str, Any]:
    """A server's attributes as the Panel lists them. Its UUID follows from its name and number."""
    found = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}-{number}"))
    return {
        "id": number,
        "external_id": None,
        "uuid": found,
        "identifier": found[:8],
        "name": name,
        "description": "",
        "status": None,
        "suspended": False,
        "limits": {"memory": 1024, "swap": 0, "disk": 5120, "io": 500, "cpu": 100, "threads": None, "oom_disabled": True},
        "feature_limits": {"databases": 0, "allocations": 0, "backups": 0},
        "user": 1,
        "node": 1,
        "allocation": number,
        "nest": 1,
        "egg": 7,
        "container": {
            "startup_command": "java -jar {{SERVER_JARFILE}}",
            "image": "games/java:17",
            "installed": 1,
            "environment": {"SERVER_JARFILE": "server.jar", "RCON_PASSWORD": "hidden-password-1234"},
        },
        "updated_at": "2026-01-01T00:00:00+00:00",
        "created_at": "2026-01-01T00:00:00+00:00",
        **attributes,
    }


def many_servers(count: int) -> list[dict[str, Any]]:
    return [panel_server(f"game-{number}", number, node=1 + number % 2, suspended=number % 10 == 0) for number in range(1, count + 1)]


class ApplicationPanel(Recorder):
    """The Application API for servers, nodes and eggs, in pages, for requests with the key."""

    def __init__(
        self, *servers: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]] = NODES, eggs: Sequence[Mapping[str, Any]] = EGGS
    ) -> None:
        self.servers = list(servers)
        self.nodes = list(nodes)
        self.eggs = list(eggs)
        super().__init__()

    def answer(self, asked: Asked, answering: Answering) -> None:
        url = urlsplit(asked.path)
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            status(403, "AccessDeniedHttpException", "This action is unauthorized.")(answering)
            return
        eggs = {"object": "list", "data": [{"object": "egg", "attributes": egg} for egg in self.eggs]}
        lists: dict[str, tuple[str, Sequence[Mapping[str, Any]]]] = {
            f"{_BASE}/servers": ("server", self.servers),
            f"{_BASE}/nodes": ("node", self.nodes),
            f"{_BASE}/nests": ("nest", [{"id": 1, "name": "Games", "relationships": {"eggs": eggs}}]),
        }
        if url.path not in lists:
            status(404, "NotFoundHttpException", "")(answering)
            return
        kind, every = lists[url.path]
        query = parse_qs(url.query)
        page, size = (int(query.get(key, [default])[0]) for key, default in (("page", "1"), ("per_page", "50")))
        if not 1 <= size <= _MOST:
            status(400, "BadRequestHttpException", f"per_page must be from 1 to {_MOST}")(answering)
            return
        shown = [{"object": kind, "attributes": dict(each)} for each in every[(page - 1) * size : page * size]]
        pages = max(1, -(-len(every) // size))
        counts = {"total": len(every), "count": len(shown), "per_page": size, "current_page": page, "total_pages": pages, "links": {}}
        answering.json(200, {"object": "list", "data": shown, "meta": {"pagination": counts}})
