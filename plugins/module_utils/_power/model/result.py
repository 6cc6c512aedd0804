# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of an action, with its downtime: from the end of one run to the start of the next, in the engine's times; pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from .clock import engine_time
from .players import PlayerCount, PlayerWait
from .records import dataclass, field, replace
from .request import PowerAction
from .server import Amount, PowerState, Run, Server

if TYPE_CHECKING:
    from .proof import Proof

#: Engine times and our times may differ by this: rounding and the time of requests.
_SLACK_SECONDS = 1.0


@dataclass(frozen=True)
class RunEnd:
    """The observed end of a run. ``finished_at`` is the engine's time, empty if unknown; so is ``exit_code`` then, as None."""

    finished_at: str = ""
    exit_code: int | None = None

    def seconds_since(self, started_at: str) -> float | None:
        """Return the seconds that a run was up since ``started_at``; None if unknown."""
        began, ended = engine_time(started_at), engine_time(self.finished_at)
        return None if began is None or ended is None else max(0.0, (ended - began).total_seconds())


@dataclass(frozen=True)
class Downtime:
    """The downtime that an action caused, ``since`` the end of the run that it ended."""

    since: str
    #: Until the start of the next run, and until it was ready; None if unknown or not awaited.
    seconds: float | None = None
    ready_seconds: float | None = None
    #: Start of the next run, in seconds since the action began.
    up_at: float | None = None

    @classmethod
    def since_end(cls, end: RunEnd) -> Downtime | None:
        """Return a downtime that has begun; None if the time is unknown."""
        return cls(end.finished_at) if engine_time(end.finished_at) is not None else None

    def until(self, started_at: str, at: float) -> Downtime:
        """Return the downtime with the next run, seen ``at`` seconds after the action began; seconds are unknown if the clock was set."""
        began, ended = engine_time(self.since), engine_time(started_at)
        seconds = -1.0 if began is None or ended is None else (ended - began).total_seconds()
        return replace(self, seconds=round(seconds, 3) if 0 <= seconds <= at + _SLACK_SECONDS else None, up_at=at)

    def ready(self, at: float) -> Downtime:
        """Return the downtime with a next run that is ready, ``at`` seconds after the action began."""
        if self.seconds is None or self.up_at is None:
            return self
        return replace(self, ready_seconds=round(self.seconds + max(at - self.up_at, 0.0), 3))

    def facts(self) -> dict[str, Any]:
        """Return the facts for users; ``since`` only while the server is still down."""
        times = {"since": self.since if self.up_at is None else None, "seconds": self.seconds, "ready_seconds": self.ready_seconds}
        return {name: value for name, value in times.items() if value is not None}


class Outcome(str, Enum):
    DONE = "done"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SKIPPED = "skipped"


class Phase(str, Enum):
    """The phases of a lock holder. In ``START`` and ``STOP`` a request to the engine may be in progress."""

    PREPARE = "prepare"
    PULL = "pull"
    STOP = "stop"
    HOOK = "hook"
    QUEUE = "queue"
    PREBOOT = "preboot"
    START = "start"
    OBSERVE = "observe"
    KILL = "kill"
    LIMIT = "limit"


class PlanStep(str, Enum):
    AWAIT_EXIT = "await_exit"
    STOP = "stop"
    KILL = "kill"
    PREBOOT = "preboot"
    START = "start"
    LIMIT = "limit"


@dataclass(frozen=True)
class LimitChange:
    """A changed (check mode: planned) limit in the units of its key: MB, percent of a core, a list of CPUs, a number."""

    key: str
    before: Amount
    after: Amount

    def facts(self) -> dict[str, Amount]:
        return {"key": self.key, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class StopReport:
    how: str
    forced: bool
    seconds: float


@dataclass(frozen=True)
class HookReport:
    """A hook that ran; in check mode only its name. ``exit_code`` is None if it did not end by itself."""

    hook: str
    exit_code: int | None = None
    seconds: float | None = None
    output: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        facts = {"hook": self.hook, "exit_code": self.exit_code, "seconds": self.seconds, "output": list(self.output) or None}
        return {name: value for name, value in facts.items() if value is not None}


class TimeoutSource(str, Enum):
    TASK = "task"
    CONTAINER = "container"
    DEFINITION = "definition"
    SETTINGS = "settings"


@dataclass(frozen=True)
class StopTimeout:
    """Seconds from the stop request to SIGKILL, and their source."""

    seconds: int
    source: TimeoutSource

    def facts(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "from": self.source.value}


@dataclass(frozen=True)
class PrebootStep:
    step: str
    changed: bool = False
    failed: bool = False
    seconds: float = 0.0
    msg: str = ""


@dataclass(frozen=True)
class FileDiff:
    """A configuration file before and after, with masked secrets; ``path`` is within the data directory."""

    path: str
    before: str = field(repr=False)
    after: str = field(repr=False)


@dataclass(frozen=True)
class Result:
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
    #: Only in check mode.
    stop_timeout: StopTimeout | None = None
    waited_seconds: float = 0.0
    holder: Mapping[str, Any] | None = None
    plan: tuple[PlanStep, ...] = ()
    preboot: tuple[PrebootStep, ...] = ()
    hooks: tuple[HookReport, ...] = ()
    #: The proof of the new version, if there was one.
    proof: Proof | None = None
    cancelled: PowerAction | None = None
    exit_code: int | None = None
    run: Run | None = None
    log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    files: tuple[FileDiff, ...] = ()
    #: Players when the action continued or gave up, and what it did for them; None without player options.
    players: PlayerCount | None = None
    player_wait: PlayerWait | None = None
    #: The changed limits, and the keys that differ but need a restart.
    limits: tuple[LimitChange, ...] = ()
    restart: tuple[str, ...] = ()
    #: The start of each phase and wait, in seconds since the action began, which ended at ``seconds``.
    phases: tuple[tuple[str, float], ...] = ()
    #: None if no run was taken down, or the time is unknown.
    downtime: Downtime | None = None
