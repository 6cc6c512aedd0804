# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a request to its handler: the table of routes, and the parts that handlers work with."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

from ..._power.definitions.settings import Settings
from ..._power.model.errors import PowerError, internal_error
from ..._power.model.records import dataclass, field, replace
from ..acceptance.actions import Actions
from ..acceptance.operations import Operations
from ..acceptance.shared_node import SharedNode
from ..http import replies
from ..http.bodies import BodyEmpty, BodyInvalid, read_body
from ..http.log import Log
from ..http.replies import Headers, PathMatch, PathTable, Refused, Reply, client_address, cors_headers, refusal
from ..servers.commands import Commands
from ..servers.disks import Disks
from ..servers.server_cache import ServerCache
from .schemas import ERROR, Schema

if TYPE_CHECKING:
    from aiohttp import web

T = TypeVar("T")
#: Gets the request, and for a route below one server that server. Any result other than a `Reply` was sent already, as by a websocket.
Handler = Callable[..., "Awaitable[Reply | web.StreamResponse]"]
_Method = TypeVar("_Method", bound=Handler)
_ATTRIBUTE = "route"


@dataclass(frozen=True)
class Backend:
    """The parts of one process that handlers work with."""

    node: SharedNode
    known: ServerCache
    actions: Actions
    operations: Operations
    commands: Commands
    disks: Disks
    log: Log


def _new_id() -> str:
    """Return a random UUID. The library's takes several times as long, and each request has one."""
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


class HttpRequest:
    def __init__(self, raw: web.BaseRequest, settings: Settings, match: PathMatch) -> None:
        self.raw = raw
        self.settings = settings
        self.match = match
        self.id = _new_id()
        self.headers = (("X-Request-Id", self.id), *cors_headers(raw.headers.get("Origin"), settings))

    @property
    def address(self) -> str:
        return client_address(self.raw.remote or "", self.raw.headers.getall("X-Forwarded-For", []), self.settings.api_trusted_proxies)

    async def body(self, parse: Callable[[bytes], T]) -> T:
        """Return the body as ``parse`` reads it. Raises `Refused`. ``parse`` may raise `BodyEmpty` and `BodyInvalid`."""
        body = await read_body(self.raw, self.settings.api_request_timeout)
        try:
            return parse(body)
        except BodyEmpty:
            raise Refused(replace(replies.EMPTY_BODY, note="the body is empty")) from None
        except BodyInvalid as error:
            raise Refused(replies.unexpected(self.id, 400, content_type=replies.MISLABELLED, note=str(error))) from None

    def query(self, name: str) -> str:
        """Return the first value of a parameter; empty if missing."""
        return parse_qs(self.raw.query_string).get(name, [""])[0]

    def number(self, name: str, otherwise: int, most: int) -> int | None:
        """Return a whole number of the query, ``most`` for a larger one, ``otherwise`` if missing; None if it is none."""
        text = self.query(name)
        if not text:
            return otherwise
        return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 10 else None


@dataclass(frozen=True)
class ReplyDoc:
    """A reply in the OpenAPI document: its meaning, the schema of its body, if any, and the meaning of each header by name."""

    text: str
    schema: Schema | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def failure(text: str) -> ReplyDoc:
    return ReplyDoc(text, ERROR)


@dataclass(frozen=True)
class Route:
    """The route of the method that it decorates. ``replies`` are by status; the document adds those of every route of its kind. ``query``
    has the schemas of its parameters by name, ``body`` the schema of the request's body, if any. A ``public`` route needs no token."""

    name: str
    method: str
    path: str
    summary: str
    replies: Mapping[int, ReplyDoc]
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    public: bool = False

    @property
    def of_server(self) -> bool:
        """Tell if the route is below a single server."""
        return "{server}" in self.path

    def __call__(self, handler: _Method) -> _Method:
        setattr(handler, _ATTRIBUTE, self)
        return handler


def declared(group: type) -> Iterator[tuple[Route, str]]:
    """Return the routes that the methods of a class handle, each with its method's name."""
    for name, member in vars(group).items():
        route: Any = getattr(member, _ATTRIBUTE, None)
        if isinstance(route, Route):
            yield route, name


class Router:
    """Passes each request to the handler of its path."""

    def __init__(self, settings: Callable[[], Settings], known: ServerCache, log: Log, groups: Sequence[object]) -> None:
        """``groups`` are the objects whose methods handle the routes."""
        self._settings = settings
        self._known = known
        self._log = log
        self._handled: dict[str, tuple[Route, Handler]] = {
            route.name: (route, getattr(group, name)) for group in groups for route, name in declared(type(group))
        }
        self._paths = PathTable((route.name, route.method, route.path) for route, _handler in self._handled.values())

    async def respond(self, raw: web.BaseRequest) -> web.StreamResponse:
        settings = self._settings()
        match = self._paths.find(raw.method, raw.rel_url.raw_path_qs)
        if isinstance(match, Reply):
            return _response(match)
        request = HttpRequest(raw, settings, match or PathMatch(""))
        try:
            reply: Reply | web.StreamResponse = await self._reply(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Refused as refused:
            reply = refused.reply
        except PowerError as error:
            reply = replies.unexpected(request.id, note=str(error))
        except Exception as error:
            self._log.error("fault", request=request.id, path=raw.path, reason=internal_error(error))
            reply = replies.PANIC
        if not isinstance(reply, Reply):
            return reply
        if reply.status >= 400 or request.match.name == "power":
            self._note(request, reply)
        return _response(reply, request.headers)

    async def _reply(self, request: HttpRequest) -> Reply | web.StreamResponse:
        if request.raw.method == "OPTIONS":
            return replies.OPTIONS
        route, handler = self._handled.get(request.match.name, (None, None))
        if route is None or not route.public:
            refused = refusal(request.raw.headers.get("Authorization"), request.settings.token)
            if refused is not None:
                return refused
        if route is None or handler is None:
            return replies.NO_ROUTE
        if not route.of_server:
            return await handler(request)
        known = await self._known.find(request.match.parameters["server"], shared=route.public)
        return replies.NO_SERVER if known is None else await handler(request, known)

    def _note(self, request: HttpRequest, reply: Reply) -> None:
        self._log.note(
            "request",
            request=request.id,
            remote=request.address,
            method=request.raw.method,
            path=request.raw.rel_url.raw_path,
            status=reply.status,
            note=reply.note,
        )


@functools.cache
def _response_class() -> type[web.Response]:
    """Return the library's response class without the library's own headers."""
    from aiohttp import hdrs, web

    class Plain(web.Response):
        async def _prepare_headers(self) -> None:
            await super()._prepare_headers()
            self.headers.pop(hdrs.SERVER, None)
            if not self.content_length:
                # Some releases add a content type to an empty body.
                self.headers.pop(hdrs.CONTENT_TYPE, None)

    return Plain


def _response(reply: Reply, common: Headers = ()) -> web.Response:
    headers = (*common, *reply.headers)
    if reply.content_type:
        headers = (*headers, ("Content-Type", reply.content_type))
    response = _response_class()(status=reply.status, body=reply.body, headers=headers)
    if reply.close:
        response.force_close()
    return response
