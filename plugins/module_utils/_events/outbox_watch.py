# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all threads of the sender go by: the outbox as it was seen last, what in it is too old, and whether they are to end."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from .._power.journal.outbox import OutboxState
from .._power.model.cancellation import Deadline
from .._power.model.clock import SYSTEM_CLOCK

#: What is on its way when the process is to end may still be taken.
GRACE_SECONDS = 3.0


class SenderEnds(Exception):
    """The process ends: what is on its way is given up."""


@dataclass(frozen=True)
class OutboxSight:
    """The outbox, None while there is none or it cannot be read, and the number up to which its events are too old to be sent."""

    outbox: OutboxState | None = None
    too_old: int = 0


class OutboxWatch:
    """The latest sight. Safe between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sight = OutboxSight()
        self._ends: Deadline | None = None

    @property
    def sight(self) -> OutboxSight:
        """The outbox as it was seen last."""
        return self._sight

    @property
    def ends(self) -> bool:
        """True from the moment at which nothing new is to begin."""
        return self._ends is not None

    def show(self, sight: OutboxSight) -> None:
        """The outbox is like this now."""
        with self._changed:
            if sight != self._sight:
                self._sight = sight
                self._changed.notify_all()

    def end(self) -> None:
        """Have all threads end."""
        with self._changed:
            self._ends = Deadline.after(SYSTEM_CLOCK, GRACE_SECONDS)
            self._changed.notify_all()

    def wait(self, seen: OutboxSight, seconds: float) -> None:
        """Wait until there is another sight than that, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self.ends or self._sight != seen, seconds)

    def check(self) -> None:
        """Raise `SenderEnds` when what is on its way has had its time."""
        if self._ends is not None and self._ends.is_over:
            raise SenderEnds
