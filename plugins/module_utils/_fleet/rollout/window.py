# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a rolling run: its begin and its deadline; no clock is read.

Each is a time of day or ISO 8601, by default in the controller's zone. Moments are seconds since 1970: a wall clock shows some times twice
a year and skips others.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from .values import RolloutError

_DAY = 24 * 3600.0
#: A longer wait is probably a mistake.
LONGEST_AHEAD_SECONDS = 31 * _DAY
_TIME = r"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d)(?:\.\d{1,9})?)?"
_OFFSET = r"Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d"
_WRITTEN = re.compile(
    rf"(?:(?P<date>\d{{4}}-\d\d-\d\d)[T ])?{_TIME}(?:(?P<offset>{_OFFSET})|\s+(?P<zone>[A-Za-z][A-Za-z0-9_+/-]{{0,63}}))?", re.ASCII
)
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Window:
    """When batches may begin, in seconds since 1970; None: no limit."""

    not_before: float | None = None
    deadline: float | None = None

    def facts(self) -> dict[str, str | None]:
        """Return both as timestamps."""
        return {"not_before": _timestamp(self.not_before), "deadline": _timestamp(self.deadline)}


@dataclass(frozen=True)
class _ClockTime:
    """A moment as written: a time of day in a zone, with or without a date. Zone None is the controller's."""

    text: str
    time: timedelta
    date: datetime | None
    zone: tzinfo | None

    def next_after(self, moment: float) -> float:
        """Return the moment of the date, or the first such time of day after another moment."""
        if self.date is not None:
            return self._on(self.date)
        today = datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None, fold=0, hour=0, minute=0, second=0, microsecond=0)
        return next(each for each in (self._on(today + timedelta(days=days)) for days in range(-1, 9)) if each > moment)

    def _on(self, day: datetime) -> float:
        return moment_of(day + self.time, self.zone)


def read_window(given: Mapping[str, Any], now: float) -> Window:
    """Return the window of the variables at a moment. Raises `RolloutError` for invalid ones.

    With two times of day, a deadline before the begin means that the window is open now. After a begin with a date, a deadline without one
    is the first such time after it.
    """
    begin, end = _written("not_before", given.get("not_before")), _written("deadline", given.get("deadline"))
    if begin is None:
        return Window(None, None if end is None else end.next_after(now))
    not_before = begin.next_after(now)
    if not_before - now > LONGEST_AHEAD_SECONDS:
        raise RolloutError(f"Cannot use rollout_not_before={begin.text}: it is more than 31 days ahead")
    if end is None:
        return Window(not_before)
    deadline = end.next_after(now if begin.date is None else not_before)
    if begin.date is None and deadline < not_before:
        return Window(None, deadline)
    if deadline <= not_before:
        # Possible in a night whose clock change skips both.
        raise RolloutError(f"Cannot use rollout_deadline={end.text}: it is not later than rollout_not_before={begin.text} when that comes")
    return Window(not_before, deadline)


def moment_of(wall: datetime, zone: tzinfo | None) -> float:
    """Return when a zone's clocks show a time; zone None is the controller's. A repeated time is the first; a skipped one is the change."""
    first = wall.replace(tzinfo=zone, fold=0).timestamp()
    if _shown_at(first, zone) == wall:
        return first
    # The clocks skip this time: by the new offset (fold=1) it is before the change, by the old one it is not. Find the change.
    before, change = int(wall.replace(tzinfo=zone, fold=1).timestamp()), int(first)
    while change - before > 1:
        middle = (before + change) // 2
        before, change = (before, middle) if _shown_at(middle, zone) > wall else (middle, change)
    return float(change)


def shown(moment: float, now: float) -> str:
    """Return a moment in local time, with its date if that is not today."""
    then, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now)
    return f"{then:%H:%M:%S}" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M:%S}"


def moment_in(timestamp: str) -> float:
    """Return the moment of a timestamp of `Window.facts`."""
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def _shown_at(moment: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0)


def _written(name: str, value: object) -> _ClockTime | None:
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        value = value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, int):
        # YAML reads 22:00 as a number of minutes.
        raise RolloutError(f"Cannot use rollout_{name}={value!r:.20}: it is a number; put the time in quotes")
    text = value.strip() if isinstance(value, str) else ""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise RolloutError(f"{_refused(name, value)}: expected a time of day such as 02:00, or 2026-01-31T02:00, and perhaps a time zone")
    day = None if found["date"] is None else _day(name, text, found["date"])
    if found["offset"] is not None and day is None:
        raise RolloutError(f"{_refused(name, text)}: a time of day takes the name of a zone, such as 02:00 Europe/Berlin")
    time = timedelta(hours=int(found["hour"]), minutes=int(found["minute"]), seconds=int(found["second"] or 0))
    return _ClockTime(text, time, day, _zone(name, text, found["offset"], found["zone"]))


def _day(name: str, text: str, date: str) -> datetime:
    try:
        day = datetime.strptime(date, "%Y-%m-%d")
    except ValueError:
        day = None
    # Beyond these years, a day may not exist in every zone.
    if day is None or not 1970 < day.year < 9999:
        raise RolloutError(f"{_refused(name, text)}: there is no such day")
    return day


def _zone(name: str, text: str, offset: str | None, zone: str | None) -> tzinfo | None:
    if offset is not None:
        return datetime.strptime(offset, "%z").tzinfo
    if zone is None:
        return None
    try:
        return zoneinfo.ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise RolloutError(f"{_refused(name, text)}: this machine knows no time zone {zone}") from None


def _refused(name: str, value: object) -> str:
    text = repr(value)
    return f"Cannot use rollout_{name}={text if len(text) <= _LONGEST_SHOWN else f'{text[:_LONGEST_SHOWN]}...'}"


def _timestamp(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
