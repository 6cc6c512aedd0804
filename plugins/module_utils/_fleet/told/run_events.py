# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The events of a rolling run: that it has begun, and either that it was stopped or that it has ended; pure.

Each follows from the run's record, and its id from the run: whoever writes it a second time, as after a crash, writes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid5

from ..._power.events.event import Event, EventType
from ..rollout.record import Record, Row
from ..rollout.report import going_on, result

#: The two moments of a run that are told. The second has one id, whatever it turns out to be.
BEGUN, CLOSED = "begun", "closed"
_NAMESPACE = UUID("5b0a4a0e-2f0b-4c1c-9d5a-3f6d1c7e8a42")
#: So many of the servers that went wrong are named.
_MOST_NAMED = 20
_INTERRUPTED = "its command ended before it did"


def begun_event(record: Record) -> Event | None:
    """Return that a run has begun; None if it has nothing to do, or must not begin."""
    if not record.batches or record.stopped:
        return None
    return _event(record, BEGUN, EventType.ROLLOUT_BEGUN, record.began_at, _plan(record))


def closing_event(record: Record, told: Mapping[str, Any]) -> Event:
    """Return that a run is over, of which ``told`` is the result for programs."""
    kind = EventType.ROLLOUT_STOPPED if record.stopped else EventType.ROLLOUT_ENDED
    names = ("ok", "msg", "stopped", "ended_at", "seconds", "counts", "budget", "resume_file")
    data = {
        **_plan(record),
        **{name: told[name] for name in names},
        "batches": {"planned": record.batches, "begun": record.begun},
        "go_on": going_on(record, told["resume_file"]) if told["resume_file"] else None,
        "failed": [_failed(row) for row in record.rows if row.is_failure][:_MOST_NAMED],
    }
    return _event(record, CLOSED, kind, told["ended_at"], data)


def missed_events(old: Record, now: str) -> list[Event]:
    """Return what the command of a run that is taken up did not come to tell, ``now`` as timestamp; nothing where it told of its end."""
    if not old.tells or CLOSED in old.told:
        return []
    begun = None if BEGUN in old.told else begun_event(old)
    stopped = replace(old, stopped=old.stopped or _INTERRUPTED)
    told = {**result(stopped, ended_at=now, seconds=0, resume_file=None), "ok": False, "seconds": None}
    return [event for event in (begun, closing_event(stopped, told)) if event is not None]


def word_of(event: Event) -> str:
    """Return which of the two moments of its run an event tells."""
    return BEGUN if event.type is EventType.ROLLOUT_BEGUN else CLOSED


def _plan(record: Record) -> dict[str, Any]:
    """What is known of a run when it begins."""
    meant = [row for row in record.rows if row.batch > 0]
    return {
        "run": record.run,
        "action": record.action,
        "reason": record.reason or None,
        "by": record.by or None,
        "resumes": record.resumes or None,
        "began_at": record.began_at,
        "nodes": len({row.node for row in meant}),
        "servers": len(meant),
        "batches": {"planned": record.batches, "begun": 0},
        "budget": {"allowed": record.budget, "used": record.failures},
        "window": {"not_before": record.not_before or None, "deadline": record.deadline or None},
    }


def _failed(row: Row) -> dict[str, Any]:
    fields = {"node": row.node, "server": row.server, "name": row.name, "outcome": row.outcome, "code": row.code}
    return {name: value for name, value in fields.items() if value}


def _event(record: Record, word: str, kind: EventType, at: str, data: Mapping[str, Any]) -> Event:
    return Event(kind, at, data, id=str(uuid5(_NAMESPACE, f"{record.run} {record.began_at} {word}")))
