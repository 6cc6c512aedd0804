# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations as the HTTP face shows them: the fields of a server_power entry, ``outcome`` null while one goes on; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._power.journal.acceptance import Acceptance
from ..._power.journal.operations import OperationRow
from ..._power.model.clock import timestamp
from ..._power.model.report import entry
from ..._power.model.result import Result
from ..._power.model.server import Server
from .queue import Ticket

ACCEPTED, BEGUN, ENDED = "accepted", "begun", "ended"


def of_ticket(ticket: Ticket) -> dict[str, Any]:
    """Show one that goes on, or waits for its turn or for players."""
    acceptance, begun = ticket.acceptance, ticket.begun and not ticket.aside
    times = {
        "id": acceptance.operation,
        "requested_at": timestamp(acceptance.requested_at),
        "deadline": timestamp(acceptance.deadline),
    }
    return {
        **_head(acceptance.operation, acceptance.server, acceptance.action.value, acceptance.origin, BEGUN if begun else ACCEPTED),
        "outcome": None,
        **({"countdown": ticket.aside} if ticket.aside else {}),
        **({"awaits": acceptance.ready.wait_for.value} if ticket.awaits_ready else {}),
        "operation": times,
    }


def of_result(acceptance: Acceptance, result: Result) -> dict[str, Any]:
    """Show one that has ended just now."""
    head = _head(result.operation, result.server, result.action.value, acceptance.origin, ENDED)
    return {**head, **entry(result, check=False, all_steps=True)}


def of_row(row: OperationRow) -> dict[str, Any]:
    """Show one as the journal has it, whoever performed it."""
    phase = ENDED if row.outcome else BEGUN if row.begun_at else ACCEPTED
    stop = {"how": row.stop_how, "forced": row.forced, "seconds": row.stop_seconds} if row.forced is not None else None
    fields: dict[str, Any] = {
        "code": row.code,
        "msg": row.msg,
        "state_before": row.state_before,
        "state": row.state,
        "stop": stop,
        "lock": {"waited_seconds": row.waited_seconds} if row.waited_seconds else None,
        "phases": [{"phase": name, "at": at} for name, at in row.phases],
        "reason": row.reason,
        "operation": _present({"id": row.id, "requested_at": row.requested_at, "begun_at": row.begun_at, "ended_at": row.ended_at}),
    }
    return {
        **_head(row.id, row.server, row.action, row.origin, phase),
        "outcome": row.outcome or None,
        **({"changed": row.changed} if row.outcome else {}),
        **_present(fields),
    }


def _head(operation: str, server: Server, action: str, origin: str, phase: str) -> dict[str, Any]:
    return {
        "id": operation,
        "server": server.uuid,
        "short_id": server.short_id,
        "name": server.name,
        "action": action,
        "origin": origin,
        "progress": phase,
    }


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value not in ("", {}, [])}
