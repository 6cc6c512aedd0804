# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of power actions, operations, freezes and events."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..._power.actions.node.context import frozen_fault
from ..._power.actions.node.node import Node
from ..._power.events.event import Event
from ..._power.events.webhook import cloudevent, node_source
from ..._power.host.pauses import may_be_frozen
from ..._power.journal.freezes import Freezes, freeze, thaw
from ..._power.journal.schema import JournalUnusable
from ..._power.model.errors import FreezeFailed, Frozen, PowerError, SettingsInvalid
from ..._power.model.freeze import Freeze
from ..._power.model.request import PowerAction
from ..._power.model.server import Server
from ..._power.options import LONGEST_WAIT_SECONDS
from ..acceptance.actions import NotAccepted, NotRecorded, ShuttingDown, TooMany, Unconfirmed
from ..http import replies
from ..http.bodies import read_freeze, read_power_body
from ..http.log import Log
from ..http.replies import Refused, Reply, origin_of, refusal
from ..http.worker_pool import WorkerPool
from ..servers.server_cache import KnownServer
from . import schemas
from .event_followers import Cursor, EventFollowers, Place
from .router import Backend, HttpRequest, ReplyDoc, Route, failure

_THREADS = 4
_REFUSALS = {TooMany: replies.TOO_MANY, NotRecorded: replies.NOT_RECORDED, ShuttingDown: replies.ENDING, Unconfirmed: replies.UNCONFIRMED}
_FROZEN = {204: ReplyDoc("Written"), 422: failure("The body is invalid"), 500: failure("The journal cannot be written")}
_THAWED = {204: ReplyDoc("Nothing is frozen any more"), 500: _FROZEN[500]}


@contextlib.contextmanager
def _readable(request: HttpRequest, log: Log) -> Iterator[None]:
    """Raise `Refused` if the journal is unreadable: an accepted action must not look unknown."""
    try:
        yield
    except (JournalUnusable, OSError) as error:
        log.error("journal_unreadable", request=request.id, reason=str(error))
        raise Refused(replies.unexpected(request.id)) from error


class EventRoutes:
    def __init__(self, backend: Backend) -> None:
        self._node = backend.node
        self._log = backend.log
        self.followers = EventFollowers(lambda: self._node.journal.events, self._form)

    @Route(
        "events",
        "GET",
        "/api/events",
        "Events after a cursor, at most limit; with wait, the answer comes with the next event or after that many seconds",
        {
            200: ReplyDoc("The events, and the cursor for the next request", schemas.EVENTS),
            400: failure("The cursor, limit or wait is invalid"),
            404: failure("Events are disabled on this node"),
            500: failure("The journal cannot be read"),
        },
        query=schemas.EVENTS_QUERY,
    )
    async def _events(self, request: HttpRequest) -> Reply:
        cursor = Cursor.read(request.query("after"))
        limit = request.number("limit", schemas.EVENTS_LIMIT, schemas.MOST_EVENTS)
        seconds = request.number("wait", 0, schemas.LONGEST_EVENT_WAIT)
        if cursor is None:
            return replies.error(400, "Invalid after: expected the cursor of an earlier answer, now, or empty for all events.")
        if not limit or seconds is None:
            return replies.error(400, "Invalid limit or wait: limit is a whole number of at least 1, wait a whole number of seconds.")
        with _readable(request, self._log):
            found = await self.followers.read(Place(cursor, limit), seconds)
        # The token may have changed during the wait.
        refused = refusal(request.raw.headers.get("Authorization"), self._node.settings.token)
        if refused is not None:
            return refused
        # A client that asks again at once must not reach an ending process.
        return replace(replies.NO_EVENTS if found is None else found.reply, close=self.followers.over)

    def _form(self, event: Event) -> dict[str, Any]:
        return cloudevent(event, node_source(self._node.settings.event_node or socket.gethostname()))


def _frozen(action: PowerAction, uuid: str, node: Node) -> str:
    """Return why a freeze refuses an action; "" if none does, or if a start finds the server up and so changes nothing."""
    why = frozen_fault(action, uuid, node)
    with contextlib.suppress(PowerError):
        return "" if why and action is PowerAction.START and node.observe(uuid).is_steady else why
    return why


class PowerRoutes:
    def __init__(self, backend: Backend) -> None:
        self._node = backend.node
        self._threads = WorkerPool(_THREADS, "freeze")
        self._actions = backend.actions
        self._known = backend.known
        self._operations = backend.operations
        self._log = backend.log

    @Route(
        "power",
        "POST",
        "/api/servers/{server}/power",
        "Ask for a power action",
        {
            202: ReplyDoc("Accepted; the headers say where to read its result", headers={"X-Operation-Id": "", "Location": ""}),
            400: failure("The body is invalid, or the server is suspended"),
            409: failure("A freeze forbids starts and restarts of the server, or it is unknown whether one does"),
            422: failure("The action or one of its options is invalid"),
            503: failure("Nothing was accepted"),
        },
        body=schemas.POWER,
    )
    async def _power(self, request: HttpRequest, known: KnownServer) -> Reply:
        wanted = await request.body(read_power_body)
        if wanted.action is None:
            return replies.WRONG_ACTION
        if wanted.action.boots and await self._known.is_suspended(known):
            return replies.SUSPENDED
        if wanted.action.boots and may_be_frozen(self._node.settings.state_directory):
            action, uuid = wanted.action, known.server.uuid
            why = await self._threads.ask(lambda: _frozen(action, uuid, self._node.now()))
            if why:
                return replies.explained(409, Frozen.code, why)
        server, origin = known.server, origin_of(request.address, request.settings)
        try:
            operation = await self._actions.accept(server, wanted.action, wanted.wait_seconds, origin, wanted.players, wanted.ready)
        except NotAccepted as error:
            return replace(_REFUSALS[type(error)], note=str(error))
        if not operation:
            return Reply(202)
        location = f"/api/servers/{server.uuid}/operations/{operation}"
        return Reply(202, headers=(("X-Operation-Id", operation), ("Location", location)), note=operation)

    @Route(
        "operations",
        "GET",
        "/api/servers/{server}/operations",
        "The operations of a server, newest first",
        {200: ReplyDoc("The operations", schemas.list_of(schemas.OPERATION)), 500: failure("The journal cannot be read")},
    )
    async def _all_operations(self, request: HttpRequest, known: KnownServer) -> Reply:
        with _readable(request, self._log):
            return replies.json_reply(await self._operations.all_of(known.server.uuid))

    @Route(
        "operation",
        "GET",
        "/api/servers/{server}/operations/{operation}",
        "One operation; with wait, the answer comes when it ends or after that many seconds",
        {
            200: ReplyDoc("The operation, when it has ended or after the wait", schemas.OPERATION),
            400: failure("The wait is invalid"),
            500: failure("The journal cannot be read"),
        },
        query={"wait": {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS, "default": 0}},
    )
    async def _operation(self, request: HttpRequest, known: KnownServer) -> Reply:
        seconds = request.number("wait", 0, LONGEST_WAIT_SECONDS)
        if seconds is None:
            return replies.error(400, "Cannot wait for the operation: wait is a whole number of seconds.")
        with _readable(request, self._log):
            found = await self._operations.one(known.server.uuid, request.match.parameters["operation"], seconds)
        return replies.NO_SERVER if found is None else replies.json_reply(found)

    @Route("freeze_node", "PUT", "/api/freeze", "Freeze the whole node until a time", _FROZEN, body=schemas.FREEZE)
    async def _freeze_node(self, request: HttpRequest) -> Reply:
        return await self._freeze(request, ())

    @Route("freeze", "PUT", "/api/servers/{server}/freeze", "Freeze a server until a time", _FROZEN, body=schemas.FREEZE)
    async def _freeze_server(self, request: HttpRequest, known: KnownServer) -> Reply:
        return await self._freeze(request, (known.server,))

    async def _freeze(self, request: HttpRequest, servers: Sequence[Server]) -> Reply:
        given = await request.body(read_freeze)
        return await self._change(request, lambda freezes, origin: freeze(freezes, servers, origin=origin, **given))

    @Route("thaw_node", "DELETE", "/api/freeze", "End the freezes of the node and of its servers", _THAWED)
    async def _thaw_node(self, request: HttpRequest) -> Reply:
        return await self._change(request, lambda freezes, origin: thaw(freezes, None, origin=origin))

    @Route(
        "thaw",
        "DELETE",
        "/api/servers/{server}/freeze",
        "End the freeze of a server",
        {**_THAWED, 409: failure("The whole node is frozen, so no single server thaws")},
    )
    async def _thaw_server(self, request: HttpRequest, known: KnownServer) -> Reply:
        return await self._change(request, lambda freezes, origin: thaw(freezes, (known.server,), origin=origin))

    async def _change(self, request: HttpRequest, work: Callable[[Freezes, str], list[Freeze]]) -> Reply:
        origin = origin_of(request.address, request.settings)
        try:
            changed = await self._threads.ask(lambda: work(self._node.journal.freezes, origin))
        except (SettingsInvalid, Frozen, FreezeFailed) as error:
            status = {SettingsInvalid.code: 422, Frozen.code: 409}.get(error.code, 500)
            return replies.explained(status, error.code, str(error))
        self._log.note(request.match.name, request=request.id, remote=request.address, servers=[each.uuid for each in changed])
        return Reply(204)
