# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits with a deadline, and their cancellation: a wait calls ``check_cancelled`` at least every second, which may raise."""

from __future__ import annotations

from collections.abc import Callable

from .clock import Clock
from .records import dataclass

CheckCancelled = Callable[[], None]


def no_check() -> None:
    """Never cancel."""


@dataclass(frozen=True)
class Deadline:
    """A moment; ``at`` is in monotonic seconds of the clock."""

    clock: Clock
    at: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        return cls(clock, clock.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(self.at - self.clock.monotonic(), 0.0)

    @property
    def is_over(self) -> bool:
        """True from the deadline on. A deadline at NaN is over at once."""
        return not self.clock.monotonic() < self.at

    def pause(self, seconds: float) -> None:
        self.clock.sleep(min(seconds, self.left))

    def wait_out(self, check_cancelled: CheckCancelled = no_check, *, every: float) -> None:
        """Wait until the deadline. Calls ``check_cancelled`` before each pause of ``every`` seconds."""
        while not self.is_over:
            check_cancelled()
            self.pause(every)


def wait_until(predicate: Callable[[], bool], deadline: Deadline, check_cancelled: CheckCancelled = no_check, *, every: float) -> bool:
    """Call ``predicate`` at least once, until it is true; return False after the deadline. ``check_cancelled`` may raise."""
    while not predicate():
        check_cancelled()
        if deadline.is_over:
            return False
        deadline.pause(every)
    return True
