# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of clients of websockets: each is checked against the client's token, then done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from ..._power.journal.schema import JournalUnusable
from ..._power.model.errors import PowerError
from ..._power.model.request import POWER_ACTIONS, PowerAction
from ..._power.model.server import Server
from ..._power.options import LONGEST_WAIT_SECONDS
from ..acceptance.actions import NotKept, ShuttingDown, TooMany
from ..routes.backend import Backend
from ..wire.access import origin_of
from ..wire.request_id import new_id
from .client import frames
from .client.claims import NONE_GIVEN, TOO_OLD, Claims, TokenRefused, check, read_claims
from .client.denials import Denials
from .client.frames import ClientMessage
from .client.member import TRY_LATER, Member
from .client.permissions import CONSOLE
from .endings import of_ending
from .room import Room
from .websockets import Websockets

_LOG_LINES = 150
#: Less than what may wait for a client.
_LOG_CHARACTERS = 512 * 1024

_WHY_NOT = {
    ShuttingDown: "this service is ending; ask again in a moment",
    TooMany: "too many actions of this server are waiting already; ask again later",
    NotKept: "the journal cannot be written, so it might be lost; look at the node's log",
}


class ClientMessages:
    """Handles what the clients of one process send."""

    def __init__(self, backend: Backend, websockets: Websockets) -> None:
        self._node = backend.node
        self._log = backend.log
        self._actions = backend.actions
        self._operations = backend.operations
        self._commands = backend.commands
        self._websockets = websockets
        #: Tokens of a second before this one may have been refused by a process before this one, which is not known any more.
        self._oldest = float(int(time.time()))
        self._denials = Denials()
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_event: dict[str, Callable[[Server, Member, Claims, str], Awaitable[None]]] = {
            frames.SET_STATE: self._set_state,
            frames.SEND_COMMAND: self._send_command,
            frames.SEND_LOGS: self._send_logs,
            frames.SEND_STATS: self._send_stats,
        }

    async def handle(self, server: Server, member: Member, message: ClientMessage) -> None:
        """Do what one client asks, or tell it why not."""
        if message.event == frames.AUTH:
            self._auth(server, member, message.text)
            return
        try:
            if member.claims is None:
                raise TokenRefused(NONE_GIVEN)
            self._check(member.claims, server)
        except TokenRefused as error:
            member.send(frames.JWT_ERROR, str(error))
        else:
            await self._by_event[message.event](server, member, member.claims, message.text)

    def deny(self, server: Server, numbers: Sequence[str]) -> None:
        """Take back tokens by their ids; who has one of them may show another."""
        self._denials.deny(numbers, time.time())
        room = self._websockets.room(server.uuid)
        for member in () if room is None else tuple(room.members):
            if member.claims is not None and self._denials.has(member.claims):
                member.send(frames.JWT_ERROR, TOO_OLD)
                self._websockets.mute(server.uuid, member)

    def _run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what takes time, without keeping what the client sends next waiting."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check(self, claims: Claims, server: Server) -> None:
        check(claims, server.uuid, time.time(), self._oldest)
        if self._denials.has(claims):
            raise TokenRefused(TOO_OLD)

    def _auth(self, server: Server, member: Member, token: str) -> None:
        try:
            claims = read_claims(token, self._node.settings.token)
            self._check(claims, server)
        except TokenRefused as error:
            self._log.warn("token_refused", request=member.request, remote=member.address, server=server.uuid, reason=str(error))
            member.send(frames.JWT_ERROR, frames.error_text(member.request, str(error)))
            return
        room = self._websockets.room(server.uuid)
        if self._websockets.is_full(server.uuid) and (room is None or member not in room.members):
            self._refuse(member, "too many websockets of this server are open")
            member.close(TRY_LATER, "too many websockets")
            return
        member.accept(claims)
        member.send(frames.AUTH_SUCCESS)
        self._websockets.let_in(server.uuid, member)

    async def _set_state(self, server: Server, member: Member, claims: Claims, text: str) -> None:
        action = PowerAction.asked(text)
        if action is None:
            self._refuse(member, f"Cannot set the state: the action must be one of {', '.join(each.value for each in POWER_ACTIONS)}")
            return
        permission = action.traits.permission
        if not claims.grants(permission):
            self._refuse(member, f"Cannot {text} server {server.uuid}: your token lacks the permission {permission}")
            return
        origin = f"{member.address} (user {claims.user})" if claims.user else origin_of(member.address, self._node.settings)
        try:
            operation = await self._actions.take(server, action, 0, origin)
        except (ShuttingDown, TooMany, NotKept) as error:
            self._refuse(member, f"Cannot {text} server {server.uuid}: {_WHY_NOT[type(error)]}")
            return
        if operation:
            self._run_beside(self._report(server, member, operation))

    async def _report(self, server: Server, member: Member, operation: str) -> None:
        """Tell who asked for an action how it ended. Nothing more is told by a process that ends."""
        try:
            found = await self._operations.one(server.uuid, operation, LONGEST_WAIT_SECONDS)
            while found is not None and found["outcome"] is None and not (self._websockets.ending or member.gone):
                found = await self._operations.one(server.uuid, operation, LONGEST_WAIT_SECONDS)
        except (JournalUnusable, OSError) as error:
            self._log.error("journal_unreadable", request=member.request, reason=str(error))
            found = None
        # Some of what became of it no event tells of.
        self._websockets.look(server.uuid)
        if found is not None and found["outcome"] is not None and self._hears(server, member):
            for text in of_ending(found, whole=member.sees_errors):
                member.send_frame(text)

    async def _send_command(self, server: Server, member: Member, claims: Claims, text: str) -> None:
        if not claims.grants(CONSOLE):
            self._refuse(member, f"Cannot send the command: your token lacks the permission {CONSOLE}")
            return
        room = self._websockets.room(server.uuid)
        if room is not None:
            # What this client asks next, a kill perhaps, is not to wait for a process that does not read.
            self._run_beside(self._write(server, member, room, text))

    async def _write(self, server: Server, member: Member, room: Room, text: str) -> None:
        await room.listening()
        refused = await self._commands.write(server.uuid, f"{text}\n")
        if refused is None:
            return
        if refused.error:
            self._fail(server, member, "Cannot send the command", refused.error)
        elif self._hears(server, member):
            self._refuse(member, f"Cannot send the command: {refused.said}")

    async def _send_logs(self, server: Server, member: Member, claims: Claims, text: str) -> None:
        del claims, text
        node, room = self._node.now(), self._websockets.room(server.uuid)
        if room is None:
            return

        def read() -> list[str]:
            snapshot = node.engine.inspect(server.uuid)
            if snapshot is None or not snapshot.live:
                return []
            log = node.engine.logs.tail(snapshot.id, _LOG_LINES)
            return frames.last_lines(log, _LOG_LINES, _LOG_CHARACTERS)

        try:
            lines = await room.ask(read)
        except PowerError as error:
            self._fail(server, member, "Cannot send the logs", str(error))
            return
        if self._hears(server, member):
            for line in lines:
                member.send_frame(line)

    async def _send_stats(self, server: Server, member: Member, claims: Claims, text: str) -> None:
        del claims, text
        room = self._websockets.room(server.uuid)
        found = None if room is None else await room.stats()
        if found is not None and self._hears(server, member):
            member.send(frames.STATS, found)

    def _hears(self, server: Server, member: Member) -> bool:
        """Tell whether its token still counts: it may have been taken back, or be over, since it asked."""
        room = self._websockets.room(server.uuid)
        return room is not None and member in room.members

    def _fail(self, server: Server, member: Member, what: str, error: str) -> None:
        """Tell of an error that is not the client's: the whole to who may see it; others an id, under which the log has it."""
        number = new_id()
        self._log.warn("console_error", error=number, request=member.request, server=server.uuid, reason=error)
        if not self._hears(server, member):
            return
        reason = error if member.sees_errors else frames.UNEXPECTED
        member.send(frames.ERROR, frames.error_text(number, f"{what}: {reason}"))

    @staticmethod
    def _refuse(member: Member, reason: str) -> None:
        """Tell what the client asked that is not done. Nothing in the reason is of the node."""
        member.send(frames.ERROR, frames.error_text(member.request, reason))
