# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of the core, and times as records and the engine write them."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone


class Clock:
    """The clock, which tests replace: the time in UTC, and seconds that never go back."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK = Clock()


def timestamp(moment: datetime) -> str:
    """Return the time as in all results and records: ISO 8601, UTC, milliseconds."""
    utc = moment if moment.tzinfo is timezone.utc else moment.astimezone(timezone.utc)
    # strftime takes several times as long, and each log line has a time.
    return f"{utc.isoformat(timespec='milliseconds')[:23]}Z"


def read_timestamp(text: str) -> datetime:
    """Read a time of `timestamp`, or another in ISO 8601. Raises `ValueError`."""
    # Python below 3.11 does not read "Z".
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


_ENGINE_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z")


def engine_time(text: str) -> datetime | None:
    """Read a time of the engine (UTC, nanoseconds); None if it is unreadable or of the year 1, which means unset."""
    match = _ENGINE_TIME.fullmatch(text)
    if match is None or text.startswith("0001-"):
        return None
    try:
        # The first use of strptime costs several milliseconds.
        whole = datetime.fromisoformat(match[1])
    except ValueError:
        return None
    return whole.replace(microsecond=int((match[2] or ".")[1:7].ljust(6, "0")), tzinfo=timezone.utc)
