# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of clients of a console, and the outcomes of their actions."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from ..._power.journal.schema import JournalUnusable
from ..._power.model.errors import CancelledByKill, PowerError
from ..._power.model.request import POWER_ACTIONS, PowerAction
from ..._power.model.result import Outcome
from ..._power.model.server import Server
from ..._power.options import LONGEST_WAIT_SECONDS
from ..acceptance.actions import NotAccepted, NotRecorded, ShuttingDown, TooMany, Unconfirmed
from ..http.replies import origin_of
from ..routes.router import Backend
from . import frames
from .claims import CONSOLE, NONE_GIVEN, TOO_OLD, Claims, Denials, TokenRefused, check, read_claims
from .frames import ClientMessage, error_text, frame
from .member import TRY_LATER, Member
from .rooms import Room, Rooms

#: Reasons that a tenant can act on or would ask about, by code.
REASONS = {
    "suspended": "it is suspended",
    "lock_timeout": "another action of it is queued or under way; wait for its end, or kill it",
    CancelledByKill.code: CancelledByKill.why,
    "superseded": "another action took it over before it was ready",
    "players_online": "too many people play on it; ask again later",
    "players_unknown": "it is unknown how many people play on it",
    "countdown_running": "another action waits for its players already",
    "frozen": "the operators allow no start or restart of it now; ask again later",
    "node_stopping": "its node is going down; ask again when the node is up",
    "kill_unsettled": "the kill was sent, but it is not certain that it stays down; kill it again",
    "definition_invalid": "its settings cannot be used",
    "source_unreachable": "its settings cannot be read now; ask again later",
    "disk_full": "its files take more space than it has",
    "volume_missing": "its files are gone",
    "image_unavailable": "its image cannot be pulled",
    "preboot_failed": "it could not be prepared for the start",
    "start_failed": "its process did not start, or ended before it was ready",
    "start_timeout": "it was not ready in time; it is still up",
    "reverted": "its new version failed, so the previous one was started again",
    "left_down": "its new version failed; it is down, ask the operators",
    "stop_failed": "it could not be stopped",
    "interrupted": "the action was cut off",
    "expired": "it waited too long for its turn; ask again",
}
_LOG_LINES = 150
#: Smaller than the limit of a client's queue.
_LOG_CHARACTERS = 512 * 1024
_WHY_NOT = {
    ShuttingDown: "this service is ending; ask again in a moment",
    TooMany: "too many actions of this server are waiting already; ask again later",
    NotRecorded: "the journal cannot be written, so it might be lost; look at the node's log",
    Unconfirmed: "this service ended before the disk answered, so the action may still run; look at the server's state",
}


def of_ending(found: Mapping[str, Any], *, whole: bool) -> list[str]:
    """Return the frames on an ended operation as `acceptance.operations` shows it: with all details, or without the node's."""
    number, outcome = str(found["id"]), str(found["outcome"])
    if outcome not in (Outcome.DONE.value, Outcome.UNCHANGED.value):
        general = f"Cannot {found['action']} the server: {REASONS.get(found.get('code') or '', frames.UNEXPECTED)}"
        return [frame(frames.ERROR, error_text(number, str(found.get("msg") or outcome) if whole else general))]
    parts, warnings = [f"{found['action']}: {outcome}"], list(found.get("warnings") or ())
    if whole and found.get("msg"):
        parts.append(str(found["msg"]))
    if (found.get("stop") or {}).get("forced"):
        parts.append("it did not end by itself and was ended by SIGKILL")
    if warnings and not whole:
        parts.append(f"with warnings for the operators [{number}]")
    return [frame(frames.MESSAGE, "; ".join(parts)), *(frame(frames.MESSAGE, f"warning: {each}") for each in warnings if whole)]


class ClientMessages:
    def __init__(self, backend: Backend, rooms: Rooms) -> None:
        self._node = backend.node
        self._log = backend.log
        self._actions = backend.actions
        self._operations = backend.operations
        self._commands = backend.commands
        self._rooms = rooms
        #: Revocations by an earlier process are unknown, so older tokens are refused.
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
        """Perform a client's request, or send it the reason why not."""
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
        """Revoke tokens by their ids. Their clients may show new ones."""
        self._denials.deny(numbers, time.time())
        room = self._rooms.get(server.uuid)
        for member in () if room is None else tuple(room.members):
            if member.claims is not None and self._denials.has(member.claims):
                member.send(frames.JWT_ERROR, TOO_OLD)
                self._rooms.mute(server.uuid, member)

    def _run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run this aside, so that the client's next message need not wait."""
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
            member.send(frames.JWT_ERROR, error_text(member.request, str(error)))
            return
        if self._rooms.is_full(server.uuid) and not self._hears(server, member):
            self._refuse(member, "too many websockets of this server are open")
            member.close(TRY_LATER, "too many websockets")
            return
        member.accept(claims)
        member.send(frames.AUTH_SUCCESS)
        self._rooms.let_in(server.uuid, member)

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
            operation = await self._actions.accept(server, action, 0, origin)
        except NotAccepted as error:
            self._refuse(member, f"Cannot {text} server {server.uuid}: {_WHY_NOT[type(error)]}")
            return
        if operation:
            self._run_beside(self._report(server, member, operation))

    async def _report(self, server: Server, member: Member, operation: str) -> None:
        """Report the outcome to the client that asked for an action. An ending process reports nothing."""
        try:
            found = await self._operations.one(server.uuid, operation, LONGEST_WAIT_SECONDS)
            while found is not None and found["outcome"] is None and not (self._rooms.ending or member.over):
                found = await self._operations.one(server.uuid, operation, LONGEST_WAIT_SECONDS)
        except (JournalUnusable, OSError) as error:
            self._log.error("journal_unreadable", request=member.request, reason=str(error))
            found = None
        # Some changes cause no event.
        self._rooms.look(server.uuid)
        if found is not None and found["outcome"] is not None and self._hears(server, member):
            for text in of_ending(found, whole=member.sees_errors):
                member.put(text)

    async def _send_command(self, server: Server, member: Member, claims: Claims, text: str) -> None:
        if not claims.grants(CONSOLE):
            self._refuse(member, f"Cannot send the command: your token lacks the permission {CONSOLE}")
            return
        room = self._rooms.get(server.uuid)
        if room is not None:
            # The next message, perhaps a kill, must not wait for a process that does not read.
            self._run_beside(self._write(server, member, room, text))

    async def _write(self, server: Server, member: Member, room: Room, text: str) -> None:
        await room.output.listening()
        refused = await self._commands.write(server.uuid, f"{text}\n")
        if refused is None:
            return
        if refused.error:
            self._fail(server, member, "Cannot send the command", refused.error)
        elif self._hears(server, member):
            self._refuse(member, f"Cannot send the command: {refused.said}")

    async def _send_logs(self, server: Server, member: Member, _claims: Claims, _text: str) -> None:
        node, room = self._node.now(), self._rooms.get(server.uuid)
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
                member.put(line)

    async def _send_stats(self, server: Server, member: Member, _claims: Claims, _text: str) -> None:
        room = self._rooms.get(server.uuid)
        found = None if room is None else await room.stats.now()
        if found is not None and self._hears(server, member):
            member.send(frames.STATS, found)

    def _hears(self, server: Server, member: Member) -> bool:
        room = self._rooms.get(server.uuid)
        return room is not None and member in room.members

    def _fail(self, server: Server, member: Member, what: str, error: str) -> None:
        """Report an error of ours: the text to administrators, and to others an id that the log has."""
        number = str(uuid.uuid4())
        self._log.warn("console_error", error=number, request=member.request, server=server.uuid, reason=error)
        if not self._hears(server, member):
            return
        reason = error if member.sees_errors else frames.UNEXPECTED
        member.send(frames.ERROR, error_text(number, f"{what}: {reason}"))

    @staticmethod
    def _refuse(member: Member, reason: str) -> None:
        """Send the reason why a request is not performed. It must not describe the node."""
        member.send(frames.ERROR, error_text(member.request, reason))
