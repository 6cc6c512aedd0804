# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``GET /api/servers/UUID/ws``: from the request to the end of the websocket; and the route by which the Panel revokes tokens."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..._power.model.errors import MissingLibrary, internal_error
from ..._power.model.server import Server
from ..http import replies
from ..http.bodies import read_texts
from ..http.listener import BoundedConnection
from ..http.replies import Reply
from ..routes import schemas
from ..routes.router import Backend, HttpRequest, ReplyDoc, Route, failure
from ..servers.server_cache import KnownServer
from . import frames
from .claims import allows_origin, need_library
from .client_messages import ClientMessages
from .member import POLICY, Member
from .rooms import Rooms
from .stats import RoomResources

if TYPE_CHECKING:
    from aiohttp import web

#: A client that is silent for so long gets a ping. Without an answer in half that time, the connection is closed.
_HEARTBEAT_SECONDS = 30.0
_CLOSING_SECONDS = 1.0

NOT_UPGRADED = replies.error(400, "Cannot open the websocket: this is not a websocket request.")
WRONG_ORIGIN = replies.error(403, "Cannot open the websocket: its origin is not allowed; see remote and allowed_origins.")
FULL = replies.error(400, "Cannot open the websocket: too many of this server are open.")
NO_PLACE = replies.error(503, "Cannot open the websocket: too many are open; try again later.")


class WebsocketRoutes:
    def __init__(self, backend: Backend) -> None:
        self._log = backend.log
        self.rooms = Rooms(RoomResources(backend.node, backend.log, backend.disks), backend.known)
        self._messages = ClientMessages(backend, self.rooms)

    @Route(
        "websocket",
        "GET",
        "/api/servers/{server}/ws",
        "The websocket of the console; it needs a token of the Panel instead",
        {
            101: ReplyDoc("The websocket opens"),
            400: failure("Not a websocket request, or the server has too many consoles"),
            403: failure("The page's origin is not allowed"),
            404: failure("This node has no such server"),
            501: failure("The library is missing"),
            503: failure("The node has too many consoles"),
        },
        public=True,
    )
    async def _open(self, request: HttpRequest, known: KnownServer) -> Reply | web.StreamResponse:
        # The library refuses messages as large as its limit.
        largest = frames.LARGEST_FRAME + 1
        socket = _socket_class()(heartbeat=_HEARTBEAT_SECONDS, max_msg_size=largest, compress=False, timeout=_CLOSING_SECONDS)
        refused = self._refusal(request, socket, known.server.uuid)
        if refused is not None:
            return refused
        socket.headers["X-Request-Id"] = request.id
        await socket.prepare(request.raw)
        await self._serve(request, socket, known.server)
        return socket

    @Route(
        "deny",
        "POST",
        "/api/servers/{server}/ws/deny",
        "Revoke tokens of consoles; jtis lists their ids",
        {204: ReplyDoc("The tokens are revoked"), 400: failure("The body is invalid")},
        body=schemas.DENIED,
    )
    async def _deny(self, request: HttpRequest, known: KnownServer) -> Reply:
        numbers = await request.body(lambda body: read_texts(body, "jtis"))
        self._messages.deny(known.server, numbers)
        return Reply(204)

    def _refusal(self, request: HttpRequest, socket: web.WebSocketResponse, uuid: str) -> Reply | None:
        try:
            need_library()
        except MissingLibrary as error:
            return replies.error(501, str(error))
        if request.raw.method != "GET" or not socket.can_prepare(request.raw):
            return NOT_UPGRADED
        if not allows_origin(request.raw.headers.get("Origin"), request.settings.remote, request.settings.allowed_origins):
            return replace(WRONG_ORIGIN, note=f"origin {request.raw.headers.get('Origin')}")
        if self.rooms.is_full(uuid):
            return FULL
        return None if self.rooms.has_place() else NO_PLACE

    async def _serve(self, request: HttpRequest, socket: web.WebSocketResponse, server: Server) -> None:
        transport = request.raw.transport
        connection = None if transport is None else transport.get_protocol()
        if transport is None or not isinstance(connection, BoundedConnection):
            return
        connection.begin_websocket(lambda: len(getattr(getattr(socket, "_reader", None), "_buffer", ())))
        member = Member(
            socket,
            drop=transport.abort,
            request=request.id,
            address=request.address,
            expired=lambda member: self.rooms.mute(server.uuid, member),
        )
        self._log.note("websocket", request=request.id, remote=member.address, server=server.uuid)
        self.rooms.enter(server.uuid, member)
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(float(request.settings.api_request_timeout), _hang_up_silent, member)
        try:
            await self._read(socket, server, member, connection)
        finally:
            deadline.cancel()
            self.rooms.leave(server.uuid, member)
            await member.left()

    async def _read(self, socket: web.WebSocketResponse, server: Server, member: Member, connection: BoundedConnection) -> None:
        from aiohttp import WSMsgType

        loop = asyncio.get_running_loop()
        while True:
            received = await socket.receive()
            if received.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return
            connection.message_read()
            # Further input stays in the client's own buffers.
            pause = member.rates.all.pause(loop.time())
            if pause > 0:
                await asyncio.sleep(pause)
            message = frames.read_frame(received.data) if received.type is WSMsgType.TEXT else None
            if message is None:
                continue
            if not member.rates.allows(message.event, loop.time()):
                if member.rates.warnings.take(loop.time()):
                    member.send(frames.THROTTLED, message.event)
                continue
            try:
                await self._messages.handle(server, member, message)
            except Exception as error:
                self._log.error("fault", server=server.uuid, event_asked=message.event, reason=internal_error(error))


def _hang_up_silent(member: Member) -> None:
    if member.claims is None:
        member.close(POLICY, "no token came")


@functools.cache
def _socket_class() -> Callable[..., web.WebSocketResponse]:
    """Return the library's websocket class without the library's name."""
    from aiohttp import web

    logging.getLogger("aiohttp.websocket").disabled = True

    class Nameless(web.WebSocketResponse):
        async def _prepare_headers(self) -> None:
            await super()._prepare_headers()
            self.headers.popall("Server", None)

    return Nameless
