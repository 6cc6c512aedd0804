# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of the supervisor and the event sender, and the supervision of a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ...definitions.supervision import Policy
from ...host.machine import boot_id, boot_seconds
from ...host.pauses import may_be_frozen
from ...host.supervisor_record import FROZEN, events_facts, supervisor_facts
from ...journal.journal import Journal
from ...journal.runs import RunHistory
from ...journal.schema import JournalUnusable
from ...model.clock import timestamp
from ...model.records import dataclass, field
from ...model.server import UNHEALTHY, Snapshot
from ...model.supervision import DAY_SECONDS, HANGS, EndedRun, Verdict, seconds_left, supervision_of
from ..node.node import Node

if TYPE_CHECKING:
    from ...journal.freezes import FreezeFacts


def event_facts(node: Node) -> tuple[dict[str, Any], str]:
    """Return the facts of a node's events, and a warning or "". Unknown values are None."""
    sender, warning = events_facts(node.settings.record_directories)
    try:
        is_kept = node.journal.events.state() is not None
    except (JournalUnusable, OSError):
        # The code that reads operations reports an unreadable journal.
        return {**sender, "enabled": None, "receivers": None}, warning
    return {**sender, "enabled": is_kept, "receivers": node.journal.deliveries.facts() if is_kept else None}, warning


def freeze_facts(node: Node) -> FreezeFacts | None:
    """Return the freezes of a node; None if it has none: few nodes need their code."""
    if not may_be_frozen(node.settings.state_directory):
        return None
    from ...journal.freezes import FreezeFacts

    return FreezeFacts.read(node.journal.freezes)


#: The state of a server that the policy exempts, beside `SupervisionState`.
OFF = "off"


@dataclass(frozen=True)
class SupervisionFacts:
    """Ended runs in the journal, None if unreadable, and the state of the node's supervisor, at one moment."""

    ends: RunHistory | None
    supervisor: Mapping[str, Any]
    now: datetime
    boot: str
    boot_seconds: float
    #: A message if the state of the supervisor is unknown.
    warning: str = ""
    #: `Hang` by server, as the supervisor wrote it.
    hangs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, node: Node, uuids: list[str], limit: int) -> SupervisionFacts:
        """Read the supervision of these servers, with at most ``limit`` ended runs of each."""
        now = node.clock.now()
        supervisor, warning = supervisor_facts(node.settings.record_directories)
        ends = node.journal.ended_runs.history(uuids, limit, now - timedelta(seconds=DAY_SECONDS))
        return cls(ends, supervisor, now, boot_id(), boot_seconds(), warning, _hangs(node.journal) if supervisor["running"] else {})

    def of(self, uuid: str, snapshot: Snapshot | None, policy: Policy, *, should_be_down: bool, is_frozen: bool) -> dict[str, Any] | None:
        """Return the facts of one server; None if its ended runs are unknown. ``is_frozen``: a freeze holds back the supervisor."""
        if self.ends is None:
            return None
        live = snapshot is not None and snapshot.live
        newest = next(iter(self.ends.latest.get(uuid, ())), None)
        row = newest if newest is not None and not live and _counts(newest, snapshot) else None
        # A pending end has no verdict yet; a server that should be down has no next try.
        is_open = row is not None and row.verdict is not Verdict.PENDING and not should_be_down
        crashes = self.ends.crashes.get(uuid, 0)
        state = supervision_of([row] if row and is_open else [], live=live, crashes_in_day=crashes, limits=policy.limits)
        return {
            "state": state.value if policy.supervised else OFF,
            "why": policy.why or None,
            "running": self.supervisor["running"],
            "paused": self.supervisor["paused"] or (FROZEN if is_frozen and self.supervisor["running"] else None),
            **_end_facts(row),
            # Also for an exempt server: the supervisor starts again what the engine took down.
            "next_at": self._next_at(row) if row is not None and is_open and not is_frozen else None,
            "consecutive_crashes": _consecutive_crashes(newest, row, snapshot),
            "crashes_today": crashes,
            "restarts_unhealthy": policy.restart_unhealthy,
            # The supervisor may not have written a recovery yet.
            "hang": self.hangs.get(uuid) if snapshot is not None and live and snapshot.health == UNHEALTHY else None,
        }

    def crashes_of(self, uuid: str) -> list[dict[str, Any]] | None:
        return None if self.ends is None else [_crash_facts(row) for row in self.ends.latest.get(uuid, ())]

    def _next_at(self, row: EndedRun) -> str | None:
        if not row.due or not self.supervisor["running"] or self.supervisor["paused"]:
            return None
        return timestamp(self.now + timedelta(seconds=seconds_left(row, self.boot, self.boot_seconds)))


def _hangs(journal: Journal) -> dict[str, str]:
    """Return `Hang` by server; empty if it is unreadable, which the code that reads operations reports."""
    try:
        return {str(uuid): str(why) for uuid, why in json.loads(journal.supervisor.value(HANGS) or "{}").items()}
    except (JournalUnusable, OSError, ValueError, AttributeError):
        return {}


def _counts(row: EndedRun, snapshot: Snapshot | None) -> bool:
    if row.due or snapshot is None or not snapshot.has_run:
        return row.due or row.next_run is None
    return snapshot.run == row.run


def _consecutive_crashes(newest: EndedRun | None, row: EndedRun | None, snapshot: Snapshot | None) -> int:
    """Return the crashes in a row, including those before this run if it follows the last crash."""
    if row is not None:
        return row.consecutive_crashes
    return newest.consecutive_crashes if newest is not None and snapshot is not None and newest.next_run == snapshot.run else 0


def _end_facts(row: EndedRun | None) -> dict[str, Any]:
    if row is None:
        return dict.fromkeys(("verdict", "exit_code", "oom_killed", "ended_at", "code", "msg"))
    return {
        "verdict": None if row.verdict is Verdict.PENDING else row.verdict.value,
        "exit_code": row.exit_code,
        "oom_killed": row.oom_killed,
        "ended_at": row.ended_at or row.at or None,
        "code": row.code or None,
        "msg": row.msg or None,
    }


def _crash_facts(row: EndedRun) -> dict[str, Any]:
    return {
        "verdict": row.verdict.value,
        "exit_code": row.exit_code,
        "oom_killed": row.oom_killed,
        "seconds": row.seconds,
        "ended_at": row.ended_at or row.at or None,
        "container": row.run.container,
        "started_at": row.run.started_at,
        "origin": row.origin or None,
        "operation": row.operation or None,
        "consecutive_crashes": row.consecutive_crashes,
        "log": list(row.log),
    }
