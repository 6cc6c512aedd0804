# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power state, derived from what the engine and the lock say; stored nowhere; pure."""

from __future__ import annotations

from datetime import datetime

from ...model.clock import engine_time
from ...model.server import PowerState, Run, Snapshot, Startup
from ...model.supervision import SeenRun


def derive_state(
    snapshot: Snapshot | None, *, stopping: Run | None, started: SeenRun | None, now: datetime, startup_window: float
) -> tuple[PowerState, Startup]:
    """The state of a server.

    ``stopping`` is the run that a stop is known to be under way for. A server is ``starting`` only if we started this very run, its
    readiness line was not seen yet, and it is younger than ``startup_window`` seconds: a line that never comes must not mean
    "starting" for ever.
    """
    if snapshot is None or not snapshot.live:
        return PowerState.OFFLINE, Startup.UNKNOWN
    startup = Startup.UNKNOWN
    if started is not None and started.run == snapshot.run and started.matchers:
        startup = Startup.MATCHED if started.matched else Startup.WAITING
    if stopping == snapshot.run:
        return PowerState.STOPPING, startup
    age = age_seconds(snapshot.started_at, now)
    if startup is Startup.WAITING and age is not None and age < startup_window:
        return PowerState.STARTING, startup
    return PowerState.RUNNING, startup


def age_seconds(started_at: str, now: datetime) -> float | None:
    """How long ago the engine's time was."""
    moment = engine_time(started_at)
    return None if moment is None else (now - moment).total_seconds()
