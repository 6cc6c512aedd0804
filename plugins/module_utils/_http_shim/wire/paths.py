# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The route that the path of a request takes; pure. A known path with another method is an unknown one, as with Wings."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote


@dataclass(frozen=True)
class PathMatch:
    """The name of the route that a path takes, empty for none, and what its parameters stand for."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Redirect:
    """The answer to a known path with a slash too many: where to go, and with which status."""

    status: int
    location: str


class PathTable:
    """The routes by method and path. A segment in braces, such as ``{server}``, is a parameter."""

    def __init__(self, routes: Iterable[tuple[str, str, str]]) -> None:
        """Take the name, the method and the path of each route."""
        self._by_shape: dict[tuple[str, int], list[tuple[str, list[str]]]] = {}
        for name, method, path in routes:
            pattern = path[1:].split("/")
            self._by_shape.setdefault((method, len(pattern)), []).append((name, pattern))
        #: Most requests are one of few.
        self.find = functools.lru_cache(maxsize=1024)(self._find)

    def _find(self, method: str, target: str) -> PathMatch | Redirect | None:
        """Return the route of a request target (path and query, as sent), None for an unknown one."""
        raw, mark, query = target.partition("?")
        path = unquote(raw, errors="surrogateescape")
        found = self._match(method, path)
        if found is None and path.endswith("/") and self._match(method, path[:-1]) is not None:
            # What stands before the slash is known, so it is a path of this server, and not one that begins with another's name.
            return Redirect(301 if method == "GET" else 307, f"{raw[:-1] if raw.endswith('/') else raw[:-3]}{mark}{query}")
        return found

    def _match(self, method: str, path: str) -> PathMatch | None:
        if not path.startswith("/"):
            return None
        segments = path[1:].split("/")
        for name, pattern in self._by_shape.get((method, len(segments)), ()):
            if all(_fits(*pair) for pair in zip(pattern, segments)):
                return PathMatch(name, {part[1:-1]: segment for part, segment in zip(pattern, segments) if _is_parameter(part)})
        return None


def _is_parameter(part: str) -> bool:
    return part.startswith("{")


def _fits(part: str, segment: str) -> bool:
    return bool(segment) if _is_parameter(part) else part == segment
