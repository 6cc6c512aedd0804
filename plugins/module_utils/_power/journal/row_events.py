# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events made from the journal's rows; pure. They hold no log lines and no plans, which may hold secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events.event import Event, EventType
from ..model.caller import RESTORE_ORIGIN
from ..model.clock import engine_time, timestamp
from ..model.result import Outcome
from ..model.server import Run, Server
from ..model.supervision import ORIGIN, EndedRun, Limits, Verdict

#: Outcomes without an event: the action had nothing to do.
_QUIET = (Outcome.UNCHANGED.value, Outcome.SKIPPED.value)
#: No person gets the answers of these origins, so a refusal of theirs is an event.
_UNATTENDED = (ORIGIN, RESTORE_ORIGIN)


def of_operation(row: Mapping[str, Any], at: str) -> tuple[Event, ...]:
    """Return the event of an ended operation. A refusal before its beginning makes none: its caller gets an answer, and may repeat it."""
    never_began = row["outcome"] == Outcome.REFUSED.value and not row["begun_at"] and row["origin"] not in _UNATTENDED
    if row["outcome"] in _QUIET or never_began:
        return ()
    names = ("action", "outcome", "code", "msg", "origin", "reason", "requested_at", "begun_at", "ended_at", "state_before", "state")
    data = {"operation": row["id"], **{name: row[name] or None for name in names}}
    data["changed"] = None if row["changed"] is None else bool(row["changed"])
    data["forced"] = None if row["forced"] is None else bool(row["forced"])
    return (Event(EventType.ACTION_ENDED, at, data, Server(str(row["uuid"]), str(row["name"]))),)


def of_end(row: EndedRun, limits: Limits) -> tuple[Event, ...]:
    """Return the events of a run's end: a crash, and the crash loop that it begins."""
    crashed = (Event(EventType.SERVER_CRASHED, row.at or row.ended_at, _end(row), row.server),) if row.is_crash else ()
    counts = row.is_crash or (row.due and row.verdict is Verdict.ENDED)
    if not counts or row.consecutive_crashes != limits.max_restarts + 1:
        return crashed
    data = {**_end(row), "max_restarts": limits.max_restarts}
    return (*crashed, Event(EventType.SERVER_CRASH_LOOP, row.at or row.ended_at, data, row.server))


def of_recovery(crash: EndedRun, run: Run) -> Event:
    """Return the event of a crashed server that is up again."""
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
