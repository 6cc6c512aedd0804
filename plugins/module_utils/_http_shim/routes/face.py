# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face: each request's way from its head to its answer, in the order in which Wings looks at it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

from ..._power.definitions.settings import Settings
from ..._power.journal.journal_rows import JournalUnusable
from ..._power.model.errors import PowerError, internal_error
from ..._power.options import LONGEST_WAIT_SECONDS
from ..acceptance.actions import Actions, NotKept, ShuttingDown, TooMany
from ..acceptance.operations import Operations
from ..process.log import Log
from ..servers.server_cache import KnownServer, ServerCache
from ..wire import replies
from ..wire.access import Headers, client_address, cors_headers, origin_of, refusal
from ..wire.body import parsed_body
from ..wire.paths import OPEN, Route, Slash, find_route
from ..wire.power_request import read_power_body
from ..wire.replies import Reply
from ..wire.request_id import new_id

if TYPE_CHECKING:
    from aiohttp import web

T = TypeVar("T")


class Asked:
    """One request on its way: what answers it reads."""

    def __init__(self, raw: web.BaseRequest, settings: Settings, route: Route) -> None:
        self.raw = raw
        self.settings = settings
        self.route = route
        self.id = new_id()
        #: What every answer has.
        self.headers = (("X-Request-Id", self.id), *cors_headers(raw.headers.get("Origin"), settings))

    @property
    def address(self) -> str:
        """Who asks."""
        return client_address(self.raw.remote or "", self.raw.headers.getall("X-Forwarded-For", []), self.settings.api_trusted_proxies)

    async def body(self, parse: Callable[[bytes], T]) -> T | Reply:
        """What ``parse`` makes of the body, or the answer to one that cannot be read."""
        return await parsed_body(self.raw, self.settings.api_request_timeout, self.id, parse)

    def query(self, name: str) -> str:
        """The first value of a parameter, empty if it is not there."""
        return parse_qs(self.raw.query_string).get(name, [""])[0]


Answer = Callable[[Asked], Awaitable[Reply]]
#: What answers a route below one server. What is no `Reply` has been answered already, as a websocket is.
ServerAnswer = Callable[[Asked, KnownServer], "Awaitable[Reply | web.StreamResponse]"]


class Face:
    """Answers requests. ``more`` and ``more_of_servers`` are further routes, by the names that `paths` gives them."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        known: ServerCache,
        actions: Actions,
        operations: Operations,
        log: Log,
        more: Mapping[str, Answer],
        more_of_servers: Mapping[str, ServerAnswer],
    ) -> None:
        self._settings = settings
        self._known = known
        self._actions = actions
        self._operations = operations
        self._log = log
        self._answers = dict(more)
        self._of_servers: dict[str, ServerAnswer] = {
            "power": self._power,
            "operations": self._all_operations,
            "operation": self._operation,
            **more_of_servers,
        }

    async def answer(self, raw: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request, whatever comes."""
        settings = self._settings()
        route = find_route(raw.method, raw.rel_url.raw_path_qs)
        if isinstance(route, Slash):
            return _response(replies.redirect(route.status, route.location))
        asked = Asked(raw, settings, route or Route(""))
        try:
            reply: Reply | web.StreamResponse = await self._reply(asked)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            self._log.error("fault", request=asked.id, path=raw.path, reason=internal_error(error))
            reply = replies.PANIC
        if not isinstance(reply, Reply):
            return reply
        if reply.status >= 400 or asked.route.name == "power":
            self._note(asked, reply)
        return _response(reply, asked.headers)

    async def _reply(self, asked: Asked) -> Reply | web.StreamResponse:
        name = asked.route.name
        if asked.raw.method == "OPTIONS":
            return replies.OPTIONS
        if name not in OPEN or (name not in self._answers and name not in self._of_servers):
            refused = refusal(asked.raw.headers.get("Authorization"), asked.settings.token)
            if refused is not None:
                return refused
        if name in self._answers:
            return await self._answers[name](asked)
        if name not in self._of_servers:
            return replies.NO_ROUTE
        find = self._known.meet if name in OPEN else self._known.find
        try:
            known = await find(asked.route.server)
        except PowerError as error:
            return replies.unexpected(asked.id, note=str(error))
        return replies.NO_SERVER if known is None else await self._of_servers[name](asked, known)

    async def _power(self, asked: Asked, known: KnownServer) -> Reply:
        wanted = await asked.body(read_power_body)
        if isinstance(wanted, Reply):
            return wanted
        if wanted.action is None:
            return replies.WRONG_ACTION
        if wanted.action.boots and known.suspended:
            return replies.SUSPENDED
        server, origin = known.server, origin_of(asked.address, asked.settings)
        try:
            operation = await self._actions.take(server, wanted.action, wanted.wait_seconds, origin)
        except ShuttingDown:
            return replies.ENDING
        except TooMany:
            return replies.TOO_MANY
        except NotKept as error:
            return replace(replies.NOT_KEPT, note=str(error))
        if not operation:
            return replies.accepted(())
        location = f"/api/servers/{server.uuid}/operations/{operation}"
        return replace(replies.accepted((("X-Operation-Id", operation), ("Location", location))), note=operation)

    async def _all_operations(self, asked: Asked, known: KnownServer) -> Reply:
        try:
            return replies.json_reply(await self._operations.all_of(known.server.uuid))
        except (JournalUnusable, OSError) as error:
            return self._unreadable(asked, error)

    async def _operation(self, asked: Asked, known: KnownServer) -> Reply:
        wait = asked.query("wait") or "0"
        if not (wait.isascii() and wait.isdigit() and len(wait) < 10):
            return replies.error(400, "Cannot wait for the operation: wait is a whole number of seconds.")
        seconds = min(int(wait), LONGEST_WAIT_SECONDS)
        try:
            found = await self._operations.one(known.server.uuid, asked.route.operation, seconds)
        except (JournalUnusable, OSError) as error:
            return self._unreadable(asked, error)
        return replies.NO_SERVER if found is None else replies.json_reply(found)

    def _unreadable(self, asked: Asked, error: Exception) -> Reply:
        """The journal cannot tell: what was accepted is not to be taken for unknown."""
        self._log.error("journal_unreadable", request=asked.id, reason=str(error))
        return replies.unexpected(asked.id)

    def _note(self, asked: Asked, reply: Reply) -> None:
        self._log.note(
            "request",
            request=asked.id,
            remote=asked.address,
            method=asked.raw.method,
            path=asked.raw.rel_url.raw_path,
            status=reply.status,
            note=reply.note,
        )


@functools.cache
def _response_class() -> type[web.Response]:
    """The library's response without the headers that the library adds of its own."""
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
