# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downtime of one action: from the end of the run that was up to the start of the next, in the engine's own times; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .clock import engine_time

#: An engine's times may differ from those of the action by as much as they are rounded, and requests take.
_SLACK_SECONDS = 1.0


@dataclass(frozen=True)
class RunEnd:
    """The end of a run as it was seen. ``finished_at`` is the engine's time of it, empty where nobody can tell."""

    finished_at: str = ""

    def seconds_since(self, started_at: str) -> float | None:
        """Return for how long a run was up that started then; None where nobody can tell."""
        began, ended = engine_time(started_at), engine_time(self.finished_at)
        return None if began is None or ended is None else max(0.0, (ended - began).total_seconds())


@dataclass(frozen=True)
class Downtime:
    """For how long an action had its server down: ``since`` the end of the run that it ended.

    ``seconds`` until the start of the next run, ``ready_seconds`` until that was seen to be ready; None if it has not come, was not waited
    for, or nobody can tell.
    """

    since: str
    seconds: float | None = None
    ready_seconds: float | None = None
    #: When the next run was up, in seconds since the action was taken up.
    up_at: float | None = None

    @classmethod
    def since_end(cls, end: RunEnd) -> Downtime | None:
        """Return a downtime that has begun, None where nobody can tell when."""
        return cls(end.finished_at) if engine_time(end.finished_at) is not None else None

    def until(self, started_at: str, at: float) -> Downtime:
        """Return what it is with a run that started then, and was seen ``at`` seconds after the action was taken up.

        Times between which the clock was set tell nothing: it lies within the action.
        """
        began, ended = engine_time(self.since), engine_time(started_at)
        seconds = -1.0 if began is None or ended is None else (ended - began).total_seconds()
        return replace(self, seconds=round(seconds, 3) if 0 <= seconds <= at + _SLACK_SECONDS else None, up_at=at)

    def ready(self, at: float) -> Downtime:
        """Return what it is once that run is ready, ``at`` seconds after the action was taken up."""
        if self.seconds is None or self.up_at is None:
            return self
        return replace(self, ready_seconds=round(self.seconds + max(at - self.up_at, 0.0), 3))

    def facts(self) -> dict[str, Any]:
        """Return what users are told of it; ``since`` only of a server that is still down, as far as the action knows."""
        told = {"since": self.since if self.up_at is None else None, "seconds": self.seconds, "ready_seconds": self.ready_seconds}
        return {name: value for name, value in told.items() if value is not None}
