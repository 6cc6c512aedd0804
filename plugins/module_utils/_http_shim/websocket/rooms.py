# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rooms of consoles: one for each server that has clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..._power.actions.boot.await_ready import seen_ready
from ..._power.actions.node.node import Node
from ..._power.engine.readiness import Matchers
from ..._power.journal.schema import JournalUnusable
from ..._power.locking.holder import Holder
from ..._power.model.cancellation import Deadline
from ..._power.model.clock import SYSTEM_CLOCK
from ..._power.model.errors import PowerError, internal_error
from ..._power.model.result import Phase
from ..._power.model.server import PowerState, Run, Startup
from ..._power.model.supervision import Verdict
from ..acceptance.shared_node import SharedNode
from ..http.log import Log
from ..http.worker_pool import soon
from ..servers.server_cache import ServerCache
from . import frames
from .console import ConsoleOutput
from .member import GOING_AWAY, POLICY, TRY_LATER, Member
from .stats import NO_COUNTDOWN, RoomResources, ServerView, StatsReporter, state_changes, view_of

#: Events are read in windows of so many seconds: a blocking read cannot be stopped, and the last client may leave.
_WINDOW_SECONDS = 5.0
#: A window may end earlier by so much.
_SLACK_SECONDS = 0.25
#: Seconds between two looks at all servers if the engine sends no events.
_BLIND_SECONDS = 2.0
_BY_ACTION = (Verdict.STOPPED, Verdict.RESTARTING, Verdict.HUNG)
#: Seconds until the next look after a failed one, and until the output of a live server is followed again.
_AGAIN_SECONDS = 2.0
#: After so many looks without a record of its start, a run counts as started from outside.
_MOST_UNRECORDED_LOOKS = 100
_DELETED_SECONDS = 2.0
#: Limits: admitted websockets of one server, as with Pelican, and as many that wait for a token; and all of one process.
MOST_OF_SERVER, MOST_IN_ALL = 30, 2048


class Changes:
    """The stream of the engine's events, read while any client ``wants`` it. ``changed`` is called in the thread with each changed server,
    and with None if any server may have changed."""

    def __init__(self, node: SharedNode, changed: Callable[[str | None], None]) -> None:
        self._node = node
        self._changed = changed
        self._guard = threading.Lock()
        self._wanted = False
        self._reading = False

    def want(self, wanted: bool) -> None:
        with self._guard:
            self._wanted = wanted
            if wanted and not self._reading:
                try:
                    threading.Thread(target=self._read, name="changes", daemon=True).start()
                except RuntimeError:
                    return
                self._reading = True

    def _read(self) -> None:
        since = time.time()
        while self._goes_on():
            until = time.time() + _WINDOW_SECONDS
            if self._listen(since, until):
                since = until
            else:
                since = time.time()
                self._changed(None)
                time.sleep(_BLIND_SECONDS)

    def _listen(self, since: float, until: float) -> bool:
        """Read one window; return True if no event is missing. Only an engine on this machine shares our clock."""
        engine = self._node.now().engine
        if not engine.local:
            return False
        window = Deadline.after(SYSTEM_CLOCK, _WINDOW_SECONDS)
        try:
            for uuid in engine.events.changed_servers(since, until):
                self._changed(uuid)
        except (PowerError, LookupError, RuntimeError, TypeError, ValueError, AttributeError):
            return False
        return window.left <= _SLACK_SECONDS

    def _goes_on(self) -> bool:
        with self._guard:
            self._reading = self._wanted
            return self._reading


def _is_stopped_by_action(run: Run, holder: Holder | None, node: Node) -> bool:
    """Tell if an action of any process ended a run. Its lock's record shows the stop until the journal has the end."""
    if holder is not None and holder.phase == Phase.STOP.value and holder.run == run:
        return True
    with contextlib.suppress(JournalUnusable, OSError):
        row = node.journal.ended_runs.of_run(run)
        return row is not None and row.verdict in _BY_ACTION
    return False


class StateObserver:
    def __init__(self, uuid: str, node: SharedNode, log: Log) -> None:
        self._uuid = uuid
        self._node = node
        self._log = log
        self._known_matchers: tuple[Run, Matchers] | None = None
        self._warned: set[str] = set()

    def see(self, before: ServerView | None) -> tuple[ServerView, Matchers | None]:
        """Return the server's present state and, while it starts, its readiness lines. ``before``: the last view. Raises `PowerError`."""
        node = self._node.now()
        seen = node.observe(self._uuid)
        view = view_of(seen, node.journal.runs.of(self._uuid) if seen.live else None)
        last = None if before is None else before.run
        if last is not None and view.run != last:
            view = replace(view, was_stopped=_is_stopped_by_action(last, seen.holder, node))
        if view.state is not PowerState.STARTING or seen.snapshot is None:
            return view, None
        run = seen.snapshot.run
        matchers = self._matchers(run, node)
        ready = seen_ready(node, seen.snapshot, matchers, seen.startup)
        # The follower may have added warnings since the last look.
        for warning in set(matchers.warnings) - self._warned:
            self._warned.add(warning)
            self._log.warn("readiness", server=self._uuid, reason=warning)
        if not ready:
            return view, matchers
        node.journal.runs.record_match(self._uuid, run)
        return replace(view, state=PowerState.RUNNING, startup=Startup.MATCHED), None

    def _matchers(self, run: Run, node: Node) -> Matchers:
        """Return the readiness lines of a run: one object for the whole run."""
        known = self._known_matchers
        if known is None or known[0] != run:
            definition = node.sources.definition_for_stop(self._uuid)
            known = self._known_matchers = run, Matchers((), strip=False) if definition is None else Matchers.of(definition.startup)
        return known[1]


class Room:
    def __init__(self, uuid: str, resources: RoomResources) -> None:
        self.uuid = uuid
        self.members: set[Member] = set()
        self.view: ServerView | None = None
        self._last_reported: PowerState | None = None
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._observer = StateObserver(uuid, resources.node, resources.log)
        self.output = ConsoleOutput(uuid, resources.node, tell=self._tell, ready=self.look, ended=self._on_output_ended)
        self.stats = StatsReporter(uuid, resources, lambda: self.view, self._tell)
        self._closed = False
        self._again = False
        self._unrecorded_looks = 0
        self._looking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()

    def join(self, member: Member) -> None:
        """Add a websocket, and send it the server's state."""
        self.members.add(member)
        if self.view is None:
            self.look()
            return
        member.send(frames.STATUS, self.view.state.value)
        if self.stats.countdown != NO_COUNTDOWN:
            member.send(frames.COUNTDOWN, self.stats.countdown)
        if self.view.run is None:
            self.stats.begin()

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
        self.stats.stop()
        self.output.stop()

    def look(self) -> None:
        """Look at the server. If a look runs, which may have come too early, look once more after it."""
        self._again = True
        if self._looking is None and not self._closed:
            self._looking = asyncio.ensure_future(self._look())

    async def ask(self, work: Callable[[], list[str]]) -> list[str]:
        """Return the result of ``work`` in a thread; raises its errors. Only one task of a server runs at a time, so that a hanging server
        delays no other. It waits until the follower is attached, so that the console misses no output."""
        async with self._turn:
            await self.output.listening()
            return await self._resources.request_threads.ask(work)

    async def _look(self) -> None:
        due = _AGAIN_SECONDS
        try:
            while self._again:
                self._again = False
                view, matchers = await self._resources.state_threads.ask(lambda: self._observer.see(self.view))
                due = view.due
                self._use(view, matchers)
        except PowerError:
            due = _AGAIN_SECONDS
        except Exception as error:
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

    def _use(self, view: ServerView, matchers: Matchers | None) -> None:
        self._unrecorded_looks = self._unrecorded_looks + 1 if view.unrecorded else 0
        if self._closed or 0 < self._unrecorded_looks < _MOST_UNRECORDED_LOOKS:
            return
        before, self.view = self.view, view
        states = state_changes(before, view, self._last_reported)
        self._last_reported = states[-1] if states else self._last_reported
        self._tell([frames.frame(frames.STATUS, state.value) for state in states])
        self.output.follow(view, matchers, begin=before is not None and before.run != view.run)
        if view.run is not None or before is None or before.run is not None:
            self.stats.begin()

    def _tell(self, texts: Sequence[str]) -> None:
        for member in tuple(self.members):
            for text in texts:
                member.put(text)

    def _on_output_ended(self) -> None:
        if not self._closed and self._looking is None:
            self._look_in(_AGAIN_SECONDS)


class Rooms:
    """The websockets of one process: some wait for a token, others are in the room of their server. A room exists while it has clients."""

    def __init__(self, resources: RoomResources, known: ServerCache) -> None:
        self._resources = resources
        self._known = known
        self._loop = asyncio.get_running_loop()
        #: Websockets without a valid token, the oldest first, and their servers.
        self._waiting: dict[Member, str] = {}
        self._rooms: dict[str, Room] = {}
        self._changes = Changes(resources.node, lambda uuid: soon(self._loop, self.look, uuid))
        self._deletion_watch: asyncio.Task[None] | None = None
        self.ending = False

    def count(self) -> int:
        return len(self._waiting) + sum(len(room.members) for room in self._rooms.values())

    def get(self, uuid: str) -> Room | None:
        return self._rooms.get(uuid)

    def is_full(self, uuid: str) -> bool:
        room = self._rooms.get(uuid)
        return room is not None and len(room.members) >= MOST_OF_SERVER

    def has_place(self) -> bool:
        """Tell if one more websocket has a place, by itself or in place of one without a token."""
        return not self.ending and (self.count() < MOST_IN_ALL or bool(self._waiting))

    def enter(self, uuid: str, member: Member) -> None:
        """Let one more wait for its token. If there are too many, the oldest one without a token is closed."""
        alike = [waiting for waiting, server in self._waiting.items() if server == uuid]
        crowded = alike if len(alike) >= MOST_OF_SERVER else list(self._waiting) if self.count() >= MOST_IN_ALL else []
        if crowded:
            oldest = crowded[0]
            del self._waiting[oldest]
            oldest.close(TRY_LATER, "too many websockets")
        self._waiting[member] = uuid

    def let_in(self, uuid: str, member: Member) -> None:
        """Move a websocket with a valid token into its room."""
        if self.ending or self._waiting.pop(member, None) is None:
            return
        room = self._rooms.get(uuid)
        if room is None:
            room = self._rooms[uuid] = Room(uuid, self._resources)
            self._changes.want(True)
            if self._deletion_watch is None:
                self._deletion_watch = asyncio.ensure_future(self._close_deleted())
        room.join(member)

    def mute(self, uuid: str, member: Member) -> None:
        """Move a websocket with an expired token back until it shows a new one."""
        if self._leave_room(uuid, member):
            self._waiting[member] = uuid

    def shut_out(self) -> int:
        """Close all websockets that have shown a token, because the key of all tokens has changed; return how many."""
        members = [*self._waiting, *(member for room in self._rooms.values() for member in room.members)]
        # Close those with an expired token, too: tokens of the old key must not count again.
        let_in = [member for member in members if member.claims is not None]
        for member in let_in:
            member.shut_out(POLICY, "the token of the node has changed")
            self._waiting.pop(member, None)
        for room in list(self._rooms.values()):
            self._forget(room)
        return len(let_in)

    def leave(self, uuid: str, member: Member) -> None:
        self._waiting.pop(member, None)
        self._leave_room(uuid, member)

    def look(self, uuid: str | None) -> None:
        """Look at a server if it has a room, or with None at all."""
        for room in self._rooms.values():
            if uuid in (None, room.uuid):
                room.look()

    def close(self) -> None:
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
        room.members.clear()
        room.close()
        self._rooms.pop(room.uuid, None)
        if not self._rooms:
            self._changes.want(False)

    def _end(self, room: Room, reason: str) -> None:
        for member in list(room.members):
            member.close(GOING_AWAY, reason)
        self._forget(room)

    async def _is_deleted(self, uuid: str) -> bool:
        try:
            return await self._known.find(uuid) is None
        except PowerError:
            return False
        except Exception as error:
            self._resources.log.error("fault", server=uuid, reason=internal_error(error))
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
            self._deletion_watch = None
