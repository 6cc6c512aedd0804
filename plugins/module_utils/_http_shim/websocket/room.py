# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The websockets of one server, and what is seen of it for as long as there is one. Lives in the event loop; looking is done by threads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..._power.actions.boot.await_ready import seen_ready
from ..._power.engine.readiness import Matchers
from ..._power.model.errors import PowerError, internal_error
from ..._power.model.model import PowerState, Run, Startup
from ..acceptance.shared_node import SharedNode
from ..process.log import Log
from ..process.worker_pool import ThreadRefused, WorkerPool, soon
from ..servers.disks import Disks
from . import frames
from .follower import Follower
from .member import Member
from .sampler import Sampler
from .views import ServerView, state_changes, view_of

T = TypeVar("T")

#: Seconds until the next look where one failed, and until the output is listened to again where it ended though the server did not.
_AGAIN_SECONDS = 2.0
#: So often a run is looked for in the journal before it is taken for one that nobody wrote down.
_UNSETTLED_LOOKS = 100
#: Longest wait until the output is listened to.
_LISTEN_SECONDS = 2.0
_SAMPLE_SECONDS, _LEAST_PAUSE_SECONDS = 1.0, 0.2


@dataclass(frozen=True)
class Ground:
    """What all rooms stand on; ``looks``, ``uses`` and ``wishes`` are the threads that look at states, look at what is used, and do what
    clients ask.
    """

    node: SharedNode
    log: Log
    looks: WorkerPool
    uses: WorkerPool
    wishes: WorkerPool
    disks: Disks


class Room:
    """One server's websockets that are let in."""

    def __init__(self, uuid: str, ground: Ground) -> None:
        self.uuid = uuid
        self.members: set[Member] = set()
        #: What was seen of the server last.
        self.sight: ServerView | None = None
        self._told: PowerState | None = None
        self._ground = ground
        self._loop = asyncio.get_running_loop()
        self._sampler = Sampler(uuid, ground.disks)
        self._closed = False
        self._again = False
        self._unsettled = 0
        self._looking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._follower: Follower | None = None
        #: Set while the output is listened to, and while there is none.
        self._listens = asyncio.Event()
        self._turn, self._in_order, self._counting = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._known_matchers: tuple[Run, Matchers] | None = None
        self._warned: set[str] = set()

    def join(self, member: Member) -> None:
        """One more listens; it is told how the server is."""
        self.members.add(member)
        if self.sight is None:
            self.look()
            return
        member.send(frames.STATUS, self.sight.state.value)
        if self.sight.run is None:
            self._begin_sampling()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._looking, self._sampling):
            if task is not None:
                task.cancel()
        if self._follower is not None:
            self._follower.stop()

    def look(self) -> None:
        """Look at the server; once more where a look is under way, which may have come too early."""
        self._again = True
        if self._looking is None and not self._closed:
            self._looking = asyncio.ensure_future(self._look())

    async def ask(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises, done by a thread. One thing of a server at a time: a server that hangs keeps no other waiting.

        It is waited until the output is listened to, so that nothing of what follows is missed.
        """
        async with self._turn:
            await self.listening()
            return await self._ground.wishes.ask(work)

    async def listening(self) -> None:
        """Wait, not for long, until the output is listened to. Who came first goes on first."""
        async with self._in_order:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._listens.wait(), _LISTEN_SECONDS)

    async def stats(self) -> str | None:
        """What the server uses, as JSON; None as long as nobody knows how it is."""
        sight = self.sight
        if sight is None:
            return None
        try:
            async with self._counting:
                return await self._ground.uses.ask(lambda: self._sampler.text(sight, self._ground.node.now()))
        except (PowerError, ThreadRefused):
            return None

    async def _look(self) -> None:
        due = _AGAIN_SECONDS
        try:
            while self._again:
                self._again = False
                sight, matchers = await self._ground.looks.ask(self._see)
                due = sight.due
                self._take(sight, matchers)
        except PowerError:
            # The engine does not answer: how the server is, nobody knows.
            due = _AGAIN_SECONDS
        except Exception as error:
            # A fault of ours in one look must not be the last look.
            self._ground.log.error("fault", server=self.uuid, reason=internal_error(error))
            due = _AGAIN_SECONDS
        finally:
            self._looking = None
            if not self._closed:
                self._look_in(due)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self.look)

    def _see(self) -> tuple[ServerView, Matchers | None]:
        """The server as every reader sees it, and what says that it is ready, where it is starting. For a thread."""
        node = self._ground.node.now()
        seen = node.observe(self.uuid)
        sight = view_of(seen, node.journal.runs.of(self.uuid) if seen.live else None)
        if sight.state is not PowerState.STARTING or seen.snapshot is None:
            return sight, None
        run = seen.snapshot.run
        known = self._known_matchers
        if known is None or known[0] != run:
            definition = node.sources.definition_for_stop(self.uuid)
            known = self._known_matchers = run, Matchers((), strip=False) if definition is None else Matchers.of(definition.startup)
        ready = seen_ready(node, seen.snapshot, known[1], seen.startup)
        # What the follower was told is said with the next look.
        for warning in set(known[1].warnings) - self._warned:
            self._warned.add(warning)
            self._ground.log.warn("readiness", server=self.uuid, reason=warning)
        if not ready:
            return sight, known[1]
        node.journal.runs.record_match(self.uuid, run)
        return replace(sight, state=PowerState.RUNNING, startup=Startup.MATCHED), None

    def _take(self, sight: ServerView, matchers: Matchers | None) -> None:
        self._unsettled = 0 if sight.settled else self._unsettled + 1
        if self._closed or 0 < self._unsettled < _UNSETTLED_LOOKS:
            return
        before, self.sight = self.sight, sight
        states = state_changes(before, sight, self._told)
        self._told = states[-1] if states else self._told
        self._tell([frames.frame(frames.STATUS, state.value) for state in states])
        self._follow_output(sight, matchers, begin=before is not None and before.run != sight.run)
        if sight.run is not None or before is None or before.run is not None:
            self._begin_sampling()

    def _tell(self, texts: Sequence[str]) -> None:
        for member in tuple(self.members):
            for text in texts:
                member.send_frame(text)

    def _follow_output(self, sight: ServerView, matchers: Matchers | None, *, begin: bool) -> None:
        """Listen to the run that is live, and to no other."""
        follower = self._follower
        if follower is not None and follower.run != sight.run:
            follower.stop()
            follower = self._follower = None
        if follower is not None:
            return
        if sight.snapshot is None or sight.run is None:
            self._listens.set()
            return
        self._listens.clear()
        run, node = sight.run, self._ground.node

        def ready() -> None:
            node.journal.runs.record_match(self.uuid, run)
            soon(self._loop, self.look)

        self._follower = Follower(
            node.now().engine.logs,
            sight.snapshot,
            matchers,
            begin=begin,
            attached=lambda: soon(self._loop, self._listens.set),
            tell=lambda texts: soon(self._loop, self._tell, texts),
            ready=ready,
            ended=lambda follower: soon(self._loop, self._on_output_ended, follower),
        )
        try:
            self._follower.start()
        except RuntimeError:
            # The system has no thread for it now; the next look tries again.
            self._follower = None
            raise

    def _on_output_ended(self, follower: Follower) -> None:
        if self._follower is follower:
            self._follower = None
            if not self._closed and self._looking is None:
                self._look_in(_AGAIN_SECONDS)

    def _begin_sampling(self) -> None:
        if self._sampling is None:
            self._sampling = asyncio.ensure_future(self._sample())

    async def _sample(self) -> None:
        """Tell what it uses, about once a second while it is up, and once when it is not."""
        try:
            while True:
                began, sight = self._loop.time(), self.sight
                text = await self.stats()
                if text is not None:
                    self._tell([frames.frame(frames.STATS, text)])
                if sight is None or sight.run is None:
                    return
                await asyncio.sleep(max(_LEAST_PAUSE_SECONDS, _SAMPLE_SECONDS - (self._loop.time() - began)))
        finally:
            self._sampling = None
