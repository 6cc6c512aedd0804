# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statistics of a server for its console, and the resources that rooms share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from ..._power.actions.node.node import Node, Observed
from ..._power.engine.engine_answers import Use
from ..._power.model.errors import PowerError
from ..._power.model.records import dataclass, field
from ..._power.model.result import Phase
from ..._power.model.server import PowerState, Run, Snapshot, Startup
from ..._power.model.supervision import SeenRun
from ..acceptance.shared_node import SharedNode
from ..http.log import Log
from ..http.worker_pool import ThreadRefused, WorkerPool
from ..servers.disks import Disks
from ..servers.wings_view import countdown_entry, memory_limit, uptime, use_of, utilization
from . import frames

#: Seconds until the next look without an event: some changes cause none.
_SOON, _WHILE_STARTING, _WHILE_STOPPING, _ELSE = 0.05, 1.0, 2.0, 15.0
_THREADS = 16
#: Bounds of the seconds between two samples of the CPU: outside of them the result says nothing about now.
_LEAST_SECONDS, _MOST_SECONDS = 0.5, 10.0
NO_COUNTDOWN = "null"
_SAMPLE_SECONDS, _LEAST_PAUSE_SECONDS = 1.0, 0.2


@dataclass(frozen=True)
class ServerView:
    """A server at one moment. ``unrecorded``: the record of its start is just being written. ``was_stopped``: an action ended the run
    before it."""

    state: PowerState
    startup: Startup = Startup.UNKNOWN
    snapshot: Snapshot | None = None
    unrecorded: bool = False
    was_stopped: bool = False

    @property
    def run(self) -> Run | None:
        return self.snapshot.run if self.snapshot is not None and self.snapshot.live else None

    @property
    def due(self) -> float:
        if self.unrecorded:
            return _SOON
        return {PowerState.STARTING: _WHILE_STARTING, PowerState.STOPPING: _WHILE_STOPPING}.get(self.state, _ELSE)


def view_of(seen: Observed, started: SeenRun | None) -> ServerView:
    """Return the view of a look; ``started`` is the run that the journal had after the look."""
    unrecorded = False
    if seen.snapshot is not None and seen.live:
        if started is None or started.run != seen.snapshot.run or started.matchers is None:
            unrecorded = seen.holder is not None and seen.holder.phase in (Phase.START.value, Phase.OBSERVE.value)
        else:
            # The record may come between the two looks into the journal.
            unrecorded = bool(started.matchers) and seen.startup is Startup.UNKNOWN
    return ServerView(seen.state, seen.startup, seen.snapshot, unrecorded)


def state_changes(before: ServerView | None, after: ServerView, last: PowerState | None = None) -> list[PowerState]:
    """Return the states to report, in order, also those too short to see; ``last`` is the last one reported. A run that was reported as
    running does not start again: our start came late and took over a run from outside."""
    if before is None:
        return [after.state]
    stopping = [PowerState.STOPPING] if after.was_stopped and (last or before.state) is not PowerState.STOPPING else []
    if after.run is None or after.run == before.run:
        taken_over = after.run is not None and (last, after.state) == (PowerState.RUNNING, PowerState.STARTING)
        return [] if taken_over or after.state is (last or before.state) else [*stopping, after.state]
    ended = [] if before.run is None else [PowerState.OFFLINE]
    was = [PowerState.RUNNING] if after.startup is Startup.UNKNOWN else [PowerState.STARTING]
    if after.startup is Startup.MATCHED:
        was.append(PowerState.RUNNING)
    return [*stopping, *ended, *(state for state in was if state is not after.state), after.state]


@dataclass(frozen=True)
class RoomResources:
    """The node, and the threads for states, for use, and for requests of clients."""

    node: SharedNode
    log: Log
    disks: Disks
    state_threads: WorkerPool = field(default_factory=lambda: WorkerPool(_THREADS, "looks"))
    stats_threads: WorkerPool = field(default_factory=lambda: WorkerPool(_THREADS, "uses"))
    request_threads: WorkerPool = field(default_factory=lambda: WorkerPool(_THREADS, "requests"))


class StatsReporter:
    """Reports about once a second while the server is up, and once when it is down. ``countdown`` is the last reported wait for players, as
    JSON; null for none."""

    def __init__(
        self, uuid: str, resources: RoomResources, view: Callable[[], ServerView | None], tell: Callable[[Sequence[str]], None]
    ) -> None:
        """``view`` returns the last view of the server; ``tell`` gets frames."""
        self._uuid = uuid
        self._resources = resources
        self._view = view
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        #: The last sample of the CPU with its container, and the percent at that time.
        self._last: tuple[str, Use] | None = None
        self._percent = 0.0
        self.countdown = NO_COUNTDOWN

    async def now(self) -> str | None:
        """Return the server's use, as JSON; None while its state is unknown."""
        view = self._view()
        found = None if view is None else await self._look(view)
        return None if found is None else found[0]

    def begin(self) -> None:
        if self._task is None:
            self._task = asyncio.ensure_future(self._report())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _report(self) -> None:
        try:
            while True:
                began, view = self._loop.time(), self._view()
                found = None if view is None else await self._look(view)
                if found is not None:
                    stats, countdown = found
                    changed = [frames.frame(frames.COUNTDOWN, countdown)] if countdown != self.countdown else []
                    self.countdown = countdown
                    self._tell([frames.frame(frames.STATS, stats), *changed])
                if view is None or view.run is None:
                    return
                await asyncio.sleep(max(_LEAST_PAUSE_SECONDS, _SAMPLE_SECONDS - (self._loop.time() - began)))
        finally:
            self._task = None

    async def _look(self, view: ServerView) -> tuple[str, str] | None:
        def look() -> tuple[str, str]:
            node = self._resources.node.now()
            countdown = countdown_entry(node.countdowns.running(self._uuid))
            return self._text(view, node), json.dumps(countdown, separators=(",", ":"))

        try:
            async with self._one_at_a_time:
                return await self._resources.stats_threads.ask(look)
        except (PowerError, ThreadRefused):
            return None

    def _text(self, view: ServerView, node: Node) -> str:
        """Return the client's statistics as JSON. Values unknown to the engine are 0."""
        disk = self._resources.disks.of(self._uuid, node.settings)
        use = None if view.run is None else use_of(view.run.container, node)
        if use is None or view.snapshot is None:
            limit = memory_limit(node.sources.definition_for_stop(self._uuid), node.settings)
            found = utilization(None, 0.0, view.state.value, uptime=0, disk=disk, limit=limit)
        else:
            up = uptime(view.snapshot.started_at, node.clock.now())
            found = utilization(use, self._cpu(view.snapshot.id, use), view.state.value, uptime=up, disk=disk, limit=0)
        return json.dumps(found, separators=(",", ":"))

    def _cpu(self, container: str, use: Use) -> float:
        """Return the percent of one core since the last sample; the last percent if that is too recent."""
        before = self._last
        if before is None or before[0] != container or not 0 <= use.at - before[1].at <= _MOST_SECONDS:
            self._last, self._percent = (container, use), 0.0
        elif use.at - before[1].at >= _LEAST_SECONDS:
            self._last, self._percent = (container, use), use.cpu_percent_since(before[1])
        return self._percent
