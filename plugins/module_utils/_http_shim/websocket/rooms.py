# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All websockets of one process: how many there may be, who is let in, and which servers are looked at for them."""

from __future__ import annotations

import asyncio

from ..._power.model.errors import PowerError, internal_error
from ..process.worker_pool import soon
from ..servers.server_cache import ServerCache
from .changes import Changes
from .member import Member
from .room import Ground, Room

#: Websockets of one server that are let in, as with Pelican, and as many that wait to be; and all of one process.
MOST_OF_SERVER, MOST_IN_ALL = 30, 2048
#: How often it is looked whether servers are still there.
_DELETED_SECONDS = 2.0
#: Close codes: the server or this process goes, there are too many, no token came or none counts any more.
GOING_AWAY, TRY_LATER, POLICY = 1001, 1013, 1008


class Rooms:
    """The rooms of one node's servers. Its methods belong to the event loop."""

    def __init__(self, ground: Ground, known: ServerCache) -> None:
        self._ground = ground
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, Room] = {}
        #: Those that no token lets in now, the oldest first, and their servers.
        self._waiting: dict[Member, str] = {}
        self._changes = Changes(ground.node, self._soon, lambda: self._soon(None))
        self._minding: asyncio.Task[None] | None = None
        self.ending = False

    def count(self) -> int:
        """How many websockets there are."""
        return len(self._waiting) + sum(len(room.members) for room in self._rooms.values())

    def room(self, uuid: str) -> Room | None:
        """A server's room, where somebody listens."""
        return self._rooms.get(uuid)

    def is_full(self, uuid: str) -> bool:
        """Whether no more of this server are let in."""
        room = self._rooms.get(uuid)
        return room is not None and len(room.members) >= MOST_OF_SERVER

    def has_place(self) -> bool:
        """Whether there is a place for one more, or one without a token has to leave for it."""
        return not self.ending and (self.count() < MOST_IN_ALL or bool(self._waiting))

    def enter(self, uuid: str, member: Member) -> None:
        """One more waits to be let in. Who has no token yet never keeps others out: the oldest of them goes."""
        alike = [waiting for waiting, server in self._waiting.items() if server == uuid]
        crowded = alike if len(alike) >= MOST_OF_SERVER else list(self._waiting) if self.count() >= MOST_IN_ALL else []
        if crowded:
            oldest = crowded[0]
            del self._waiting[oldest]
            oldest.close(TRY_LATER, "too many websockets")
        self._waiting[member] = uuid

    def let_in(self, uuid: str, member: Member) -> None:
        """It has shown a token."""
        if self.ending or self._waiting.pop(member, None) is None:
            return
        room = self._rooms.get(uuid)
        if room is None:
            room = self._rooms[uuid] = Room(uuid, self._ground)
            self._changes.want(True)
            if self._minding is None:
                self._minding = asyncio.ensure_future(self._close_deleted())
        room.join(member)

    def mute(self, uuid: str, member: Member) -> None:
        """Its token is of no use any more; it may show another."""
        if self._leave_room(uuid, member):
            self._waiting[member] = uuid

    def shut_out(self) -> int:
        """Close whoever was let in: the key of all tokens has changed. How many these were."""
        members = [*self._waiting, *(member for room in self._rooms.values() for member in room.members)]
        # Also those whose token was over before: nothing of the old key is to count again.
        let_in = [member for member in members if member.claims is not None]
        for member in let_in:
            member.shut_out(POLICY, "the token of the node has changed")
            self._waiting.pop(member, None)
        for room in list(self._rooms.values()):
            room.members.clear()
            self._forget(room)
        return len(let_in)

    def leave(self, uuid: str, member: Member) -> None:
        """It is closed."""
        self._waiting.pop(member, None)
        self._leave_room(uuid, member)

    def look(self, uuid: str) -> None:
        """Something happened to a server."""
        room = self._rooms.get(uuid)
        if room is not None:
            room.look()

    def close(self) -> None:
        """Close every websocket: this process ends."""
        self.ending = True
        for room in list(self._rooms.values()):
            self._end(room, "the service is ending")
        for member in self._waiting:
            member.close(GOING_AWAY, "the service is ending")

    def _leave_room(self, uuid: str, member: Member) -> bool:
        room = self._rooms.get(uuid)
        if room is None or member not in room.members:
            return False
        room.members.discard(member)
        if not room.members:
            self._forget(room)
        return True

    def _forget(self, room: Room) -> None:
        room.close()
        self._rooms.pop(room.uuid, None)
        if not self._rooms:
            self._changes.want(False)

    def _end(self, room: Room, reason: str) -> None:
        for member in list(room.members):
            member.close(GOING_AWAY, reason)
        room.members.clear()
        self._forget(room)

    def _soon(self, uuid: str | None) -> None:
        """From the thread that reads events: look at one server, or at all."""
        soon(self._loop, self._look_at, uuid)

    def _look_at(self, uuid: str | None) -> None:
        for each in list(self._rooms) if uuid is None else (uuid,):
            self.look(each)

    async def _is_deleted(self, uuid: str) -> bool:
        try:
            return await self._known.find(uuid) is None
        except PowerError:
            # The engine cannot say.
            return False
        except Exception as error:
            # A fault of ours must not be the last look.
            self._ground.log.error("fault", server=uuid, reason=internal_error(error))
            return False

    async def _close_deleted(self) -> None:
        try:
            while self._rooms:
                await asyncio.sleep(_DELETED_SECONDS)
                self._changes.want(bool(self._rooms))
                for room in list(self._rooms.values()):
                    if await self._is_deleted(room.uuid):
                        self._end(room, "server deleted")
        finally:
            self._minding = None
