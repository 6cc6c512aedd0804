# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The websockets of one server, and what is seen of it for as long as there is one. Lives in the event loop; looking is done by threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..._power.engine.readiness import Matchers
from ..._power.model.errors import PowerError, internal_error
from ..._power.model.server import PowerState
from .client import frames
from .client.member import Member
from .console_output import ConsoleOutput
from .room_resources import RoomResources
from .state_observer import StateObserver
from .stats_reporter import NO_COUNTDOWN, StatsReporter
from .views import ServerView, state_changes

T = TypeVar("T")

#: Seconds until the next look where one failed, and until the output is listened to again where it ended though the server did not.
_AGAIN_SECONDS = 2.0
#: So often a run is looked for in the journal before it is taken for one that nobody wrote down.
_UNSETTLED_LOOKS = 100


class Room:
    """One server's websockets that are let in."""

    def __init__(self, uuid: str, resources: RoomResources) -> None:
        self.uuid = uuid
        self.members: set[Member] = set()
        #: What was seen of the server last.
        self.view: ServerView | None = None
        self._told: PowerState | None = None
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._observer = StateObserver(uuid, resources.node, resources.log)
        self._output = ConsoleOutput(uuid, resources.node, tell=self._tell, ready=self.look, ended=self._on_output_ended)
        self._stats = StatsReporter(uuid, resources, lambda: self.view, self._tell)
        self._closed = False
        self._again = False
        self._unsettled = 0
        self._looking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()

    def join(self, member: Member) -> None:
        """Let one more listen; it is told how the server is."""
        self.members.add(member)
        if self.view is None:
            self.look()
            return
        member.send(frames.STATUS, self.view.state.value)
        if self._stats.countdown != NO_COUNTDOWN:
            member.send(frames.COUNTDOWN, self._stats.countdown)
        if self.view.run is None:
            self._stats.begin()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
        self._stats.stop()
        self._output.stop()

    def look(self) -> None:
        """Look at the server; once more where a look is under way, which may have come too early."""
        self._again = True
        if self._looking is None and not self._closed:
            self._looking = asyncio.ensure_future(self._look())

    async def ask(self, work: Callable[[], T]) -> T:
        """Have a thread do work, and return what it returns. Raises what it raises.

        One thing of a server is done at a time, so that a server that hangs keeps no other waiting. It is waited until the output is
        listened to, so that nothing of what follows is missed.
        """
        async with self._turn:
            await self.listening()
            return await self._resources.request_threads.ask(work)

    async def listening(self) -> None:
        """Wait, not for long, until the output is listened to. Who came first goes on first."""
        await self._output.listening()

    async def stats(self) -> str | None:
        """Return what the server uses, as JSON; None as long as nobody knows how it is."""
        return await self._stats.stats()

    async def _look(self) -> None:
        due = _AGAIN_SECONDS
        try:
            while self._again:
                self._again = False
                view, matchers = await self._resources.state_threads.ask(self._observer.see)
                due = view.due
                self._take(view, matchers)
        except PowerError:
            # The engine does not answer: how the server is, nobody knows.
            due = _AGAIN_SECONDS
        except Exception as error:
            # A fault of ours in one look must not be the last look.
            self._resources.log.error("fault", server=self.uuid, reason=internal_error(error))
            due = _AGAIN_SECONDS
        finally:
            self._looking = None
            if not self._closed:
                self._look_in(due)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.look)

    def _take(self, view: ServerView, matchers: Matchers | None) -> None:
        self._unsettled = 0 if view.settled else self._unsettled + 1
        if self._closed or 0 < self._unsettled < _UNSETTLED_LOOKS:
            return
        before, self.view = self.view, view
        states = state_changes(before, view, self._told)
        self._told = states[-1] if states else self._told
        self._tell([frames.frame(frames.STATUS, state.value) for state in states])
        self._output.follow(view, matchers, begin=before is not None and before.run != view.run)
        if view.run is not None or before is None or before.run is not None:
            self._stats.begin()

    def _tell(self, texts: Sequence[str]) -> None:
        for member in tuple(self.members):
            for text in texts:
                member.send_frame(text)

    def _on_output_ended(self) -> None:
        if not self._closed and self._looking is None:
            self._look_in(_AGAIN_SECONDS)
