# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounds on how often a client may ask; pure: the moment comes as an argument, in seconds of a clock that never goes back."""

from __future__ import annotations

from .frames import AUTH, SEND_COMMAND, SEND_LOGS

#: A second, and at once: of all events together, of some, and of each other one.
_ALL = (5.0, 10.0)
_EACH = {AUTH: (0.2, 2.0), SEND_LOGS: (0.2, 2.0), SEND_COMMAND: (1.0, 10.0)}
_OTHER = (1.0, 4.0)
_TELL = (1.0, 2.0)


class Bucket:
    """Allows so many a second, and so many at once."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Take one more, and tell whether it may be; it counts if so."""
        return self.most(now, 1) == 1

    def room(self, now: float) -> int:
        """Return how many there may be now; none counts yet."""
        self._fill(now)
        return max(0, int(self._left))

    def most(self, now: float, wanted: int) -> int:
        """Take as many of these as may be, and return how many these are; they count."""
        taken = min(wanted, self.room(now))
        self._left -= taken
        return taken

    def pause(self, now: float) -> float:
        """Take one that is not to be refused, and return after how many seconds it may be."""
        self._fill(now)
        self._left -= 1
        return max(0.0, -self._left / self._rate)

    def _fill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now


class Rates:
    """Bounds how often one client may ask."""

    def __init__(self, now: float) -> None:
        self._all = Bucket(*_ALL, now)
        self._tell = Bucket(*_TELL, now)
        self._each: dict[str, Bucket] = {}

    def pause(self, now: float) -> float:
        """Return how many seconds are to pass before another frame is looked at."""
        return self._all.pause(now)

    def allows(self, event: str, now: float) -> bool:
        """Take one more of these events, which there are few of, and tell whether it may be."""
        bucket = self._each.get(event)
        if bucket is None:
            bucket = self._each[event] = Bucket(*_EACH.get(event, _OTHER), now)
        return bucket.take(now)

    def tells(self, now: float) -> bool:
        """Tell whether the client is to be told that it was too quick: not each time."""
        return self._tell.take(now)
