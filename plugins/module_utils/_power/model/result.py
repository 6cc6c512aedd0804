# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downtime of one action: from the end of the run that was up to the start of the next, in the engine's own times; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from .clock import engine_time
from .players import PlayerCount, PlayerWait
from .request import PowerAction
from .server import Amount, PowerState, Run, Server

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


class Outcome(str, Enum):
    """How an action on one server ended."""

    DONE = "done"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SKIPPED = "skipped"


class Phase(str, Enum):
    """The work of a lock's holder; ``START`` and ``STOP`` mean that a request to the engine may be under way."""

    PREPARE = "prepare"
    PULL = "pull"
    STOP = "stop"
    QUEUE = "queue"
    PREBOOT = "preboot"
    START = "start"
    OBSERVE = "observe"
    KILL = "kill"
    LIMIT = "limit"


class PlanStep(str, Enum):
    """A part of a plan."""

    AWAIT_EXIT = "await_exit"
    STOP = "stop"
    KILL = "kill"
    PREBOOT = "preboot"
    START = "start"
    LIMIT = "limit"


@dataclass(frozen=True)
class LimitChange:
    """A limit that was changed, or in check mode would be, in the units of its key: MB, percent of a core, a list of CPUs, a number."""

    key: str
    before: Amount
    after: Amount

    def facts(self) -> dict[str, Amount]:
        """Return what a result says of it."""
        return {"key": self.key, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class StopReport:
    """How a stop went: by which way, whether SIGKILL was needed, and how long it took."""

    how: str
    forced: bool
    seconds: float


class TimeoutSource(str, Enum):
    """What sets the stop timeout that is in force, the first that there is."""

    TASK = "task"
    CONTAINER = "container"
    DEFINITION = "definition"
    SETTINGS = "settings"


@dataclass(frozen=True)
class StopTimeout:
    """The seconds from asking a process to end to SIGKILL, and what sets them."""

    seconds: int
    source: TimeoutSource

    def facts(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {"seconds": self.seconds, "from": self.source.value}


@dataclass(frozen=True)
class PrebootStep:
    """One pre-boot step as it went."""

    step: str
    changed: bool = False
    failed: bool = False
    seconds: float = 0.0
    msg: str = ""


@dataclass(frozen=True)
class FileDiff:
    """A configuration file before and after, for people to see, with secrets masked; ``path`` is within the data directory."""

    path: str
    before: str = field(repr=False)
    after: str = field(repr=False)


@dataclass(frozen=True)
class Result:
    """The result of one action on one server: what really happened."""

    server: Server
    action: PowerAction
    outcome: Outcome
    operation: str
    requested_at: datetime
    ended_at: datetime
    code: str = ""
    msg: str = ""
    changed: bool = False
    state_before: PowerState | None = None
    state: PowerState | None = None
    state_planned: PowerState | None = None
    stop: StopReport | None = None
    #: In check mode, of a stop that would be made.
    stop_timeout: StopTimeout | None = None
    waited_seconds: float = 0.0
    holder: Mapping[str, Any] | None = None
    plan: tuple[PlanStep, ...] = ()
    preboot: tuple[PrebootStep, ...] = ()
    cancelled: PowerAction | None = None
    exit_code: int | None = None
    #: The run that was started, or found up.
    run: Run | None = None
    log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    #: The configuration files that were written, in the order written; in check mode those that would be.
    files: tuple[FileDiff, ...] = ()
    #: Who played when the action went on or gave up, and what was done for their sake; None where it had no regard to players.
    players: PlayerCount | None = None
    player_wait: PlayerWait | None = None
    #: The limits that were changed, and the keys of those that differ and take a restart.
    limits: tuple[LimitChange, ...] = ()
    restart: tuple[str, ...] = ()
    #: When each phase, and each wait before it, began, in seconds since the action was taken up, ``seconds`` before its end.
    phases: tuple[tuple[str, float], ...] = ()
    #: None where it took no run down, or nobody can tell when.
    downtime: Downtime | None = None
