# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A span of time as people ask for one: from a moment, or so long ago, to another moment or now; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ..model.errors import SettingsInvalid

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGO = re.compile(r"(\d{1,10})([smhdw]?)", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_FRACTION = re.compile(r"\.(\d+)")
_EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LONGEST_SHOWN = 40


@dataclass(frozen=True)
class Span:
    """The time from one moment to a later one, which is ``now`` at the latest; all in UTC."""

    since: datetime
    until: datetime
    now: datetime


def read_span(since: str, until: str, now: datetime, *, prefix: str = "") -> Span:
    """Read a span from the two options, of which the second may be empty: until now. ``prefix`` is what begins their names.

    Each is ISO 8601, in UTC unless it names a zone, or how long ago, such as 30d, 12h, or seconds. Raises `SettingsInvalid`.
    """
    first = _moment(f"{prefix}since", since, now)
    last = _moment(f"{prefix}until", until, now) if until else now
    if first >= min(last, now):
        end = f"{prefix}until" if until else "now"
        raise SettingsInvalid(f"Cannot use {prefix}since={since:.{_LONGEST_SHOWN}}: it is not before {end}")
    return Span(first, min(last, now), now)


def _moment(name: str, text: str, now: datetime) -> datetime:
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        seconds = int(ago[1]) * _UNITS[ago[2]]
        return now - timedelta(seconds=min(seconds, (now - _EARLIEST).total_seconds()))
    try:
        if _MOMENT.fullmatch(text.strip()):
            # Pythons before 3.11 read three or six figures of a fraction, and no Z.
            written = _FRACTION.sub(lambda found: f".{found[1][:6].ljust(6, '0')}", text.strip().replace("Z", "+00:00"))
            found = datetime.fromisoformat(written)
            return max((found if found.tzinfo else found.replace(tzinfo=timezone.utc)).astimezone(timezone.utc), _EARLIEST)
    except (ValueError, OverflowError):
        pass
    raise SettingsInvalid(
        f"Cannot use {name}={text[:_LONGEST_SHOWN]!r}: expected how long ago, such as 30d, 12h or 3600, or a moment such as "
        "2026-01-31T12:00:00Z"
    )
