# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time: the clock that the core goes by, and times as records and the engine write them."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """Time as the core sees it, so that a test can own it."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


#: For what no test has to own.
SYSTEM_CLOCK = SystemClock()


def timestamp(moment: datetime) -> str:
    """ISO 8601, UTC, milliseconds: the form of every time in results and records."""
    utc = moment if moment.tzinfo is timezone.utc else moment.astimezone(timezone.utc)
    # Not by a format: that takes several times as long, and every line of a log has a time.
    return f"{utc.isoformat(timespec='milliseconds')[:23]}Z"


_ENGINE_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z")


def engine_time(text: str) -> datetime | None:
    """A time as the engine writes it (UTC, nanoseconds), or None where it wrote none (year 1) or nothing readable."""
    match = _ENGINE_TIME.fullmatch(text)
    if match is None or text.startswith("0001-"):
        return None
    try:
        # Not strptime: what it loads at its first use costs several milliseconds.
        whole = datetime.fromisoformat(match[1])
    except ValueError:
        return None
    return whole.replace(microsecond=int((match[2] or ".")[1:7].ljust(6, "0")), tzinfo=timezone.utc)
