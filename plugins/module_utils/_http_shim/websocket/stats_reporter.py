# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports to one server's room of what it uses, and of what waits for its players. Lives in the event loop; looking is done by threads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from ..._power.model.errors import PowerError
from ..process.worker_pool import ThreadRefused
from ..servers.server_view import countdown_entry
from .client import frames
from .room_resources import RoomResources
from .sampler import Sampler
from .views import ServerView

#: What a room is told where nothing waits for players.
NO_COUNTDOWN = "null"

_SAMPLE_SECONDS, _LEAST_PAUSE_SECONDS = 1.0, 0.2


class StatsReporter:
    """Reports about once a second while the server is up, and once when it is not.

    ``countdown`` is the text that the room was told last of what waits for players, as JSON, null for nothing.
    """

    def __init__(
        self, uuid: str, resources: RoomResources, view: Callable[[], ServerView | None], tell: Callable[[Sequence[str]], None]
    ) -> None:
        """``view`` returns what was seen of the server last; ``tell`` is handed frames."""
        self._resources = resources
        self._view = view
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._sampler = Sampler(uuid, resources.disks)
        self._one_at_a_time = asyncio.Lock()
        self._uuid = uuid
        self._task: asyncio.Task[None] | None = None
        self.countdown = NO_COUNTDOWN

    async def stats(self) -> str | None:
        """Return what the server uses, as JSON; None as long as nobody knows how it is."""
        view = self._view()
        if view is None:
            return None
        found = await self._look(view)
        return None if found is None else found[0]

    async def _look(self, view: ServerView) -> tuple[str, str] | None:
        """Return what the server uses, and what waits for its players, as JSON; None if that could not be seen."""

        def look() -> tuple[str, str]:
            node = self._resources.node.now()
            countdown = countdown_entry(node.countdowns.running(self._uuid))
            return self._sampler.text(view, node), json.dumps(countdown, separators=(",", ":"))

        try:
            async with self._one_at_a_time:
                return await self._resources.stats_threads.ask(look)
        except (PowerError, ThreadRefused):
            return None

    def begin(self) -> None:
        """Report, if that is not done already."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._report())

    def stop(self) -> None:
        """Report no more."""
        if self._task is not None:
            self._task.cancel()

    def _report_once(self, stats: str, countdown: str) -> None:
        told = [frames.frame(frames.STATS, stats)]
        if countdown != self.countdown:
            self.countdown = countdown
            told.append(frames.frame(frames.COUNTDOWN, countdown))
        self._tell(told)

    async def _report(self) -> None:
        try:
            while True:
                began, view = self._loop.time(), self._view()
                found = None if view is None else await self._look(view)
                if found is not None:
                    self._report_once(*found)
                if view is None or view.run is None:
                    return
                await asyncio.sleep(max(_LEAST_PAUSE_SECONDS, _SAMPLE_SECONDS - (self._loop.time() - began)))
        finally:
            self._task = None
