# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezes: times in which a node, or some of its servers, must not start or restart; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from .clock import read_timestamp, timestamp
from .records import dataclass

LONGEST_SECONDS = 7 * 86400


class FreezeUnknown(Exception):
    """There may be a freeze, but it cannot be read. The text says why."""


@dataclass(frozen=True)
class Moment:
    """A moment by each clock: the wall clock, and the seconds since the boot with an id."""

    now: datetime
    boot: str
    boot_seconds: float


@dataclass(frozen=True)
class Freeze:
    """No server starts or restarts, or only ``uuid`` does not if it is not empty. Times are timestamps.

    ``ends_at`` is the end in seconds of the boot ``boot``. ``supervisor``: the supervisor starts nothing either.
    """

    uuid: str
    name: str
    until: str
    at: str
    origin: str
    reason: str
    supervisor: bool
    boot: str
    ends_at: float

    def seconds_left(self, moment: Moment) -> float:
        """Return the seconds until its end. In one boot changes of the wall clock do not count; after a boot only that clock does."""
        if self.boot == moment.boot != "":
            return self.ends_at - moment.boot_seconds
        try:
            return (read_timestamp(self.until) - moment.now).total_seconds()
        except (ValueError, TypeError):
            # Damage: it is over when somebody ends it.
            return float(LONGEST_SECONDS)

    def end(self, moment: Moment) -> str:
        """Return the timestamp of its end by the clock of this moment, to the second. A change of the clock moves it."""
        seconds = min(max(0.0, self.seconds_left(moment)), LONGEST_SECONDS)
        return timestamp((moment.now + timedelta(seconds=seconds + 0.5)).replace(microsecond=0))

    def facts(self, moment: Moment) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("at", "origin", "reason", "supervisor")}
        return {"is_frozen": True, "until": self.end(moment), **facts, "node": not self.uuid}

    def sentence(self, moment: Moment) -> str:
        """Return what is frozen, until when, and why: the middle of a message."""
        return f"{'it' if self.uuid else 'the node'} {frozen_words(self.facts(moment))}"


def frozen_words(facts: Mapping[str, Any]) -> str:
    return f"is frozen until {facts['until']} by {facts['origin']}: {facts['reason']}"


def freeze_of(freezes: Iterable[Freeze], uuid: str, *, supervisor: bool = False) -> Freeze | None:
    """Return the freeze that forbids a start of a server; that of the node first. ``supervisor``: a start by the supervisor."""
    found = [each for each in freezes if each.uuid in ("", uuid) and (each.supervisor or not supervisor)]
    return min(found, key=lambda each: each.uuid, default=None)
