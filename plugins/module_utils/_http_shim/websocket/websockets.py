# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All websockets of one process: how many there may be, and who is let into the room of a server. Lives in the event loop."""

from __future__ import annotations

from .client.member import GOING_AWAY, POLICY, TRY_LATER, Member
from .room import Room
from .rooms import Rooms

#: Websockets of one server that are let in, as with Pelican, and as many that wait to be; and all of one process.
MOST_OF_SERVER, MOST_IN_ALL = 30, 2048


class Websockets:
    """Those that wait to be let in, and those that are in a room."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        #: Those that no token lets in now, the oldest first, and their servers.
        self._waiting: dict[Member, str] = {}
        self.ending = False

    def count(self) -> int:
        """Return how many websockets there are."""
        return len(self._waiting) + sum(len(room.members) for room in self._rooms.all())

    def room(self, uuid: str) -> Room | None:
        """Return a server's room, None where nobody listens."""
        return self._rooms.get(uuid)

    def is_full(self, uuid: str) -> bool:
        """Tell whether no more of this server are let in."""
        room = self._rooms.get(uuid)
        return room is not None and len(room.members) >= MOST_OF_SERVER

    def has_place(self) -> bool:
        """Tell whether there is a place for one more, or one without a token has to leave for it."""
        return not self.ending and (self.count() < MOST_IN_ALL or bool(self._waiting))

    def enter(self, uuid: str, member: Member) -> None:
        """Let one more wait to be let in. Who has no token yet never keeps others out: the oldest of them goes."""
        alike = [waiting for waiting, server in self._waiting.items() if server == uuid]
        crowded = alike if len(alike) >= MOST_OF_SERVER else list(self._waiting) if self.count() >= MOST_IN_ALL else []
        if crowded:
            oldest = crowded[0]
            del self._waiting[oldest]
            oldest.close(TRY_LATER, "too many websockets")
        self._waiting[member] = uuid

    def let_in(self, uuid: str, member: Member) -> None:
        """Let one in that has shown a token."""
        if not self.ending and self._waiting.pop(member, None) is not None:
            self._rooms.open(uuid).join(member)

    def mute(self, uuid: str, member: Member) -> None:
        """Let one whose token is of no use any more wait until it shows another."""
        if self._leave_room(uuid, member):
            self._waiting[member] = uuid

    def shut_out(self) -> int:
        """Close whoever was let in, since the key of all tokens has changed; return how many these were."""
        members = [*self._waiting, *(member for room in self._rooms.all() for member in room.members)]
        # Also those whose token was over before: nothing of the old key is to count again.
        let_in = [member for member in members if member.claims is not None]
        for member in let_in:
            member.shut_out(POLICY, "the token of the node has changed")
            self._waiting.pop(member, None)
        for room in self._rooms.all():
            room.members.clear()
            self._rooms.forget(room)
        return len(let_in)

    def leave(self, uuid: str, member: Member) -> None:
        """Forget one that is closed."""
        self._waiting.pop(member, None)
        self._leave_room(uuid, member)

    def look(self, uuid: str) -> None:
        """Look at a server that something happened to."""
        self._rooms.look(uuid)

    def close(self) -> None:
        """Close every websocket: this process ends."""
        self.ending = True
        for room in self._rooms.all():
            self._rooms.end(room, "the service is ending")
        for member in self._waiting:
            member.close(GOING_AWAY, "the service is ending")

    def _leave_room(self, uuid: str, member: Member) -> bool:
        room = self._rooms.get(uuid)
        if room is None or member not in room.members:
            return False
        room.members.discard(member)
        if not room.members:
            self._rooms.forget(room)
        return True
