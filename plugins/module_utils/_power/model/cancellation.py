# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting, and giving up a wait: what waits calls ``check_cancelled`` at least every second, which raises where the work must not go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .clock import Clock

CheckCancelled = Callable[[], None]


def no_check() -> None:
    """Check nothing: the work is always finished."""


@dataclass(frozen=True)
class Deadline:
    """A moment of a clock by which something is to have happened; ``at`` is in its monotonic seconds."""

    clock: Clock
    at: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        """Return the deadline that many seconds from now."""
        return cls(clock, clock.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until it is over; 0 from then on."""
        return max(self.at - self.clock.monotonic(), 0.0)

    @property
    def is_over(self) -> bool:
        """True from that moment on; one that is no number is over at once."""
        return not self.clock.monotonic() < self.at

    def pause(self, seconds: float) -> None:
        """Sleep that long, but not beyond the deadline."""
        self.clock.sleep(min(seconds, self.left))

    def wait_out(self, check_cancelled: CheckCancelled = no_check, *, every: float) -> None:
        """Wait until it is over, in pauses of so many seconds; ``check_cancelled`` is called before each, and may raise."""
        while not self.is_over:
            check_cancelled()
            self.pause(every)


def wait_until(predicate: Callable[[], bool], deadline: Deadline, check_cancelled: CheckCancelled = no_check, *, every: float) -> bool:
    """Wait until ``predicate`` is true, asked every so many seconds; return False if it is not even at the deadline.

    It is asked at least once. ``check_cancelled`` is called after each time that it was not, and may raise.
    """
    while not predicate():
        check_cancelled()
        if deadline.is_over:
            return False
        deadline.pause(every)
    return True
