# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which route a request takes; pure. A known path with another method is an unknown one, as with Wings."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from urllib.parse import unquote

#: Method and segments of each route by its name; ``*`` is a server, ``+`` an operation.
ROUTES: dict[str, tuple[str, tuple[str, ...]]] = {
    "health": ("GET", ("healthz",)),
    "metrics": ("GET", ("metrics",)),
    "openapi": ("GET", ("openapi.json",)),
    "system": ("GET", ("api", "system")),
    "servers": ("GET", ("api", "servers")),
    "server": ("GET", ("api", "servers", "*")),
    "power": ("POST", ("api", "servers", "*", "power")),
    "operations": ("GET", ("api", "servers", "*", "operations")),
    "operation": ("GET", ("api", "servers", "*", "operations", "+")),
    "commands": ("POST", ("api", "servers", "*", "commands")),
    "logs": ("GET", ("api", "servers", "*", "logs")),
    "sync": ("POST", ("api", "servers", "*", "sync")),
    "websocket": ("GET", ("api", "servers", "*", "ws")),
    "deny": ("POST", ("api", "servers", "*", "ws", "deny")),
}
#: Routes that ask for no token of the node.
OPEN = ("health", "openapi", "websocket")


@dataclass(frozen=True)
class Route:
    """A route, and the server and the operation in its path."""

    name: str
    server: str = ""
    operation: str = ""


@dataclass(frozen=True)
class Slash:
    """A known path with a slash too many: where to go, and with which status."""

    status: int
    location: str


@functools.lru_cache(maxsize=1024)
def find_route(method: str, target: str) -> Route | Slash | None:
    """The route of a request target (path and query, as sent), None for an unknown one."""
    raw, mark, query = target.partition("?")
    path = unquote(raw, errors="surrogateescape")
    found = _match(method, path)
    if found is None and path.endswith("/") and _match(method, path[:-1]) is not None:
        # What stands before the slash is known, so it is a path of this server, and not one that begins with another's name.
        return Slash(301 if method == "GET" else 307, f"{raw[:-1] if raw.endswith('/') else raw[:-3]}{mark}{query}")
    return found


def _match(method: str, path: str) -> Route | None:
    if not path.startswith("/"):
        return None
    segments = path[1:].split("/")
    for name, pattern in _BY_SHAPE.get((method, len(segments)), ()):
        if all(_fits(*pair) for pair in zip(pattern, segments)):
            parts = dict(zip(pattern, segments))
            return Route(name, parts.get("*", ""), parts.get("+", ""))
    return None


_BY_SHAPE: dict[tuple[str, int], list[tuple[str, tuple[str, ...]]]] = {}
for _name, (_method, _pattern) in ROUTES.items():
    _BY_SHAPE.setdefault((_method, len(_pattern)), []).append((_name, _pattern))


def _fits(pattern: str, segment: str) -> bool:
    return bool(segment) if pattern in "*+" else pattern == segment
