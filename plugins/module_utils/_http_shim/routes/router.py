# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each request's way from its head to its answer, in the order in which Wings looks at it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..._power.definitions.settings import Settings
from ..._power.model.errors import PowerError, internal_error
from ..process.log import Log
from ..servers.server_cache import ServerCache
from ..wire import replies
from ..wire.access import Headers, refusal
from ..wire.paths import PathMatch, PathTable, Redirect
from ..wire.replies import Reply
from .http_request import HttpRequest
from .route import Route, handlers_of

if TYPE_CHECKING:
    from aiohttp import web


class Router:
    """Hands each request to what handles the route of its path."""

    def __init__(
        self, settings: Callable[[], Settings], known: ServerCache, log: Log, routes: Sequence[Route], groups: Sequence[object]
    ) -> None:
        """``groups`` are the objects whose methods handle the routes."""
        self._settings = settings
        self._known = known
        self._log = log
        handlers = {route.name: handler for group in groups for route, handler in handlers_of(group)}
        self._handled = {route.name: (route, handlers[route.name]) for route in routes}
        self._paths = PathTable((route.name, route.method, route.path) for route in routes)

    async def answer(self, raw: web.BaseRequest) -> web.StreamResponse:
        """Return the answer to one request, whatever comes."""
        settings = self._settings()
        match = self._paths.find(raw.method, raw.rel_url.raw_path_qs)
        if isinstance(match, Redirect):
            return _response(replies.redirect(match.status, match.location))
        request = HttpRequest(raw, settings, match or PathMatch(""))
        try:
            reply: Reply | web.StreamResponse = await self._reply(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
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
        find = self._known.find_shared if route.public else self._known.find
        try:
            known = await find(request.match.parameters["server"])
        except PowerError as error:
            return replies.unexpected(request.id, note=str(error))
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
    """Return the library's response without the headers that the library adds of its own."""
    from aiohttp import hdrs, web

    class Plain(web.Response):
        async def _prepare_headers(self) -> None:
            await super()._prepare_headers()
            self.headers.pop(hdrs.SERVER, None)
            if not self.content_length:
                # Some releases give nothing a type.
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
