# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of routes, row by row. Each stands right above what handles it; paths and document are made of nothing else; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from .schemas import ERROR, Schema

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp import web

    from ..wire.replies import Reply

#: Makes the answer to a request; of a route below one server it is handed that, too. What is no `Reply` has been answered already, as a
#: websocket is.
Handler = Callable[..., "Awaitable[Reply | web.StreamResponse]"]
_Method = TypeVar("_Method", bound=Handler)
_ATTRIBUTE = "route"


@dataclass(frozen=True)
class AnswerDoc:
    """An answer, as the document says it: its meaning, the schema of its body, None for none, and the meanings of its headers by name."""

    text: str
    schema: Schema | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def failure(text: str) -> AnswerDoc:
    """Return an answer that is an error."""
    return AnswerDoc(text, ERROR)


@dataclass(frozen=True)
class Route:
    """A route. ``answers`` are by status; those that every route of its kind has are added by the document.

    ``query`` has the schemas of its parameters by name, ``body`` the schema of what is sent, None for nothing. A ``public`` one asks for no
    token of the node.
    """

    name: str
    method: str
    path: str
    summary: str
    answers: Mapping[int, AnswerDoc]
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    public: bool = False

    @property
    def of_server(self) -> bool:
        """Tell whether it is one of a single server."""
        return "{server}" in self.path


def handles(route: Route) -> Callable[[_Method], _Method]:
    """Declare that a method handles a route."""

    def declare(method: _Method) -> _Method:
        setattr(method, _ATTRIBUTE, route)
        return method

    return declare


def routes_of(group: type) -> list[Route]:
    """Return the routes that the methods of a class handle."""
    return [route for route, _name in _declared(group)]


def handlers_of(group: object) -> list[tuple[Route, Handler]]:
    """Return the routes that an object handles, each with its method."""
    return [(route, getattr(group, name)) for route, name in _declared(type(group))]


def _declared(group: type) -> Iterator[tuple[Route, str]]:
    for name, member in vars(group).items():
        route: Any = getattr(member, _ATTRIBUTE, None)
        if isinstance(route, Route):
            yield route, name
