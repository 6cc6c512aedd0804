# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The value that goes from stage to stage of one action on one server."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ...locking.lock import PowerLock
from ...model.clock import timestamp
from ...model.errors import CancelledByKill, InterruptedBySignal
from ...model.news import News
from ...model.request import Request
from ...model.result import Phase
from ...model.server import Run
from .limiter import Slot
from .node import Node
from .progress import Progress

#: What was known before a wait or a stop longer than this is asked again.
STALE_SECONDS = 1.0


@dataclass(frozen=True)
class ActionContext:
    """The things that every stage of an action needs: the request, the node, the progress made, and the server's slot among others."""

    request: Request
    node: Node
    progress: Progress
    slot: Slot = field(default_factory=Slot)

    @property
    def uuid(self) -> str:
        """The UUID of the server acted on."""
        return self.progress.server.uuid

    @property
    def verb(self) -> str:
        """The action as sentences name it."""
        return self.request.action.value

    @property
    def killed(self) -> bool:
        """True if the server was killed since the action was requested."""
        return self.node.generations.changed_since(self.uuid, self.request.generation(self.uuid))

    def check_cancelled(self) -> None:
        """Raise `CancelledByKill` if the server was killed since the request. A kill cancels no stop: both want the server down."""
        if self.request.action.boots and self.killed:
            raise CancelledByKill(f"Cannot {self.verb} server {self.uuid}: it was killed after this was requested; ask again to go on")

    def check_waiting(self) -> None:
        """Raise as `check_interrupted`, once whoever asked is there: for waits without the lock. Under it, a kill is to be seen at once."""
        self.node.caller.hold()
        self.check_interrupted()

    def check_interrupted(self) -> None:
        """Raise as `check_cancelled`, and `InterruptedBySignal`: for waits before which nothing was done that would have to be finished."""
        if self.node.caller.interrupted():
            raise InterruptedBySignal(f"Cannot {self.verb} server {self.uuid}: a signal ended its wait")
        self.check_cancelled()

    def enter(self, lock: PowerLock, phase: Phase, *, run: Run | None = None, deadline: datetime | None = None) -> None:
        """Begin a phase: write it into the lock's record, then note it."""
        lock.enter(phase, run=run, deadline=deadline)
        self.progress.enter(phase)
        self.tell(phase.value, deadline)

    def tell(self, doing: str, deadline: datetime | None = None, why: str = "") -> None:
        """Tell whoever asked what the server is at from now on, a phase or a wait, and ``why`` it may take until the deadline."""
        until = None if deadline is None else timestamp(deadline)
        self.node.caller.listener(News(self.progress.server, self.verb, doing, until, self.progress.seconds, why=why))
