# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rooms of all servers that somebody listens to, and which of them are looked at when. Lives in the event loop."""

from __future__ import annotations

import asyncio

from ..._power.model.errors import PowerError, internal_error
from ..process.worker_pool import soon
from ..servers.server_cache import ServerCache
from .changes import Changes
from .client.member import GOING_AWAY
from .room import Room
from .room_resources import RoomResources

#: How often it is looked whether servers are still there.
_DELETED_SECONDS = 2.0


class Rooms:
    """The rooms of one process, each there as long as somebody is in it."""

    def __init__(self, resources: RoomResources, known: ServerCache) -> None:
        self._resources = resources
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, Room] = {}
        self._changes = Changes(resources.node, self._soon, lambda: self._soon(None))
        self._deletion_watch: asyncio.Task[None] | None = None

    def all(self) -> list[Room]:
        """Return every room."""
        return list(self._rooms.values())

    def get(self, uuid: str) -> Room | None:
        """Return a server's room, None where nobody listens."""
        return self._rooms.get(uuid)

    def open(self, uuid: str) -> Room:
        """Return a server's room, which is made if there is none."""
        room = self._rooms.get(uuid)
        if room is None:
            room = self._rooms[uuid] = Room(uuid, self._resources)
            self._changes.want(True)
            if self._deletion_watch is None:
                self._deletion_watch = asyncio.ensure_future(self._close_deleted())
        return room

    def forget(self, room: Room) -> None:
        """Close a room that nobody is in any more."""
        room.close()
        self._rooms.pop(room.uuid, None)
        if not self._rooms:
            self._changes.want(False)

    def end(self, room: Room, reason: str) -> None:
        """Close a room and all websockets in it."""
        for member in list(room.members):
            member.close(GOING_AWAY, reason)
        room.members.clear()
        self.forget(room)

    def look(self, uuid: str) -> None:
        """Look at a server that something happened to."""
        room = self._rooms.get(uuid)
        if room is not None:
            room.look()

    def _soon(self, uuid: str | None) -> None:
        """Look at one server, or at all. For the thread that reads events."""
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
            self._resources.log.error("fault", server=uuid, reason=internal_error(error))
            return False

    async def _close_deleted(self) -> None:
        try:
            while self._rooms:
                await asyncio.sleep(_DELETED_SECONDS)
                self._changes.want(bool(self._rooms))
                for room in self.all():
                    if await self._is_deleted(room.uuid):
                        self.end(room, "server deleted")
        finally:
            self._deletion_watch = None
