# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The output of one server's live run, for its room. Lives in the event loop; reading is done by a `Follower`'s thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from ..._power.engine.readiness import Matchers
from ..acceptance.shared_node import SharedNode
from ..process.worker_pool import soon
from .follower import Follower, OutputEvents
from .views import ServerView

#: Longest wait until the output is listened to.
_LISTEN_SECONDS = 2.0


class ConsoleOutput:
    """Follows the run that is live, and no other.

    Called in the event loop: ``tell`` with frames as they come, ``ready`` for a readiness line, ``ended`` when the output has ended.
    """

    def __init__(
        self, uuid: str, node: SharedNode, *, tell: Callable[[Sequence[str]], None], ready: Callable[[], None], ended: Callable[[], None]
    ) -> None:
        self._uuid = uuid
        self._node = node
        self._tell = tell
        self._ready = ready
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._follower: Follower | None = None
        #: Set while the output is listened to, and while there is none.
        self._listens = asyncio.Event()
        self._in_order = asyncio.Lock()

    async def listening(self) -> None:
        """Wait, not for long, until the output is listened to. Who came first goes on first."""
        async with self._in_order:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._listens.wait(), _LISTEN_SECONDS)

    def follow(self, view: ServerView, matchers: Matchers | None, *, begin: bool) -> None:
        """Listen to the run that is live now; ``begin``: it has just begun. Raises RuntimeError where there is no thread for it."""
        follower = self._follower
        if follower is not None and follower.run != view.run:
            follower.stop()
            follower = self._follower = None
        if follower is not None:
            return
        if view.snapshot is None or view.run is None:
            self._listens.set()
            return
        self._listens.clear()
        run, node = view.run, self._node

        def ready() -> None:
            node.journal.runs.record_match(self._uuid, run)
            soon(self._loop, self._ready)

        events = OutputEvents(
            attached=lambda: soon(self._loop, self._listens.set),
            tell=lambda texts: soon(self._loop, self._tell, texts),
            ready=ready,
            ended=lambda follower: soon(self._loop, self._on_ended, follower),
        )
        self._follower = Follower(node.now().engine.logs, view.snapshot, matchers, events, begin=begin)
        try:
            self._follower.start()
        except RuntimeError:
            # The system has no thread for it now; the next look tries again.
            self._follower = None
            raise

    def stop(self) -> None:
        """Listen no more."""
        if self._follower is not None:
            self._follower.stop()

    def _on_ended(self, follower: Follower) -> None:
        if self._follower is follower:
            self._follower = None
            self._ended()
