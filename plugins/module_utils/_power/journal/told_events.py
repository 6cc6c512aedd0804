# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events that the journal's rows tell of: what of a row goes out; pure. No line of a log does, and no plan: they may hold secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events.event import Event, EventType
from ..model.clock import engine_time, timestamp
from ..model.origin import RESTORE_ORIGIN
from ..model.result import Outcome
from ..model.server import Run, Server
from ..model.supervision import ORIGIN, EndedRun, Limits, Verdict

#: Outcomes of actions that had nothing to do. They are no events.
_QUIET = (Outcome.UNCHANGED.value, Outcome.SKIPPED.value)
#: Origins that nobody stands behind who gets the answer. Only an event tells of their refusals.
_UNATTENDED = (ORIGIN, RESTORE_ORIGIN)


def of_operation(row: Mapping[str, Any], at: str) -> tuple[Event, ...]:
    """Return the event of an operation that ended at a moment, by its row in the journal.

    The refusal of an action that never began is none: its answer tells it, and a tenant can ask for any number of them.
    """
    never_began = row["outcome"] == Outcome.REFUSED.value and not row["begun_at"] and row["origin"] not in _UNATTENDED
    if row["outcome"] in _QUIET or never_began:
        return ()
    names = ("action", "outcome", "code", "msg", "origin", "reason", "requested_at", "begun_at", "ended_at", "state_before", "state")
    data = {"operation": row["id"], **{name: row[name] or None for name in names}}
    data["changed"] = None if row["changed"] is None else bool(row["changed"])
    data["forced"] = None if row["forced"] is None else bool(row["forced"])
    return (Event(EventType.ACTION_ENDED, at, data, Server(str(row["uuid"]), str(row["name"]))),)


def of_end(row: EndedRun, limits: Limits) -> tuple[Event, ...]:
    """Return the events of a run's end: that it was a crash, and that the supervisor gives up after it, with what is tried no more."""
    crashed = (Event(EventType.SERVER_CRASHED, row.at or row.ended_at, _end(row), row.server),) if row.is_crash else ()
    counts = row.is_crash or (row.due and row.verdict is Verdict.ENDED)
    if not counts or row.consecutive_crashes != limits.max_restarts + 1:
        return crashed
    data = {**_end(row), "max_restarts": limits.max_restarts}
    return (*crashed, Event(EventType.SERVER_CRASH_LOOP, row.at or row.ended_at, data, row.server))


def of_recovery(crash: EndedRun, run: Run) -> Event:
    """Return the event that a server which had crashed is up again, in another run, whoever started it."""
    began = engine_time(run.started_at)
    data = {
        "container": run.container,
        "started_at": run.started_at,
        "crashed_at": crash.ended_at or crash.at or None,
        "consecutive_crashes": crash.consecutive_crashes,
    }
    return Event(EventType.SERVER_RECOVERED, run.started_at if began is None else timestamp(began), data, crash.server)


def _end(row: EndedRun) -> dict[str, Any]:
    return {
        "container": row.run.container,
        "started_at": row.run.started_at,
        "ended_at": row.ended_at or None,
        "exit_code": row.exit_code,
        "oom_killed": row.oom_killed,
        "seconds": row.seconds,
        "consecutive_crashes": row.consecutive_crashes,
        "start_is_due": row.due,
    }
