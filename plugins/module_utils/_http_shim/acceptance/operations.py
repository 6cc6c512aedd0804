# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations of servers as clients read them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from ..._power.journal.acceptance import Acceptance
from ..._power.journal.operations import OperationRow
from ..._power.journal.schema import KEPT_OPERATIONS
from ..._power.model.clock import timestamp
from ..._power.model.report import entry, present
from ..._power.model.request import WaitFor
from ..._power.model.result import Result
from ..._power.model.server import Server
from ..http.worker_pool import WorkerPool
from .queue import MOST_WAITING, Ticket
from .shared_node import SharedNode

ACCEPTED, BEGUN, ENDED = "accepted", "begun", "ended"
#: The number of ended operations in memory: the journal has neither plan nor log excerpt.
_REMEMBERED = 1000
_LOOK_SECONDS = 0.5


def of_ticket(ticket: Ticket) -> dict[str, Any]:
    """Show an operation that runs, or waits for its turn or for players."""
    acceptance, begun = ticket.acceptance, ticket.begun and not ticket.countdown
    # A default of the node may make the action wait.
    awaits = WaitFor.RUNNING if acceptance.ready.wait_for is WaitFor.CONTAINER else acceptance.ready.wait_for
    times = {"id": acceptance.operation, "requested_at": timestamp(acceptance.requested_at), "deadline": timestamp(acceptance.deadline)}
    return {
        **_head(acceptance.operation, acceptance.server, acceptance.action.value, acceptance.origin, BEGUN if begun else ACCEPTED),
        "outcome": None,
        **({"countdown": ticket.countdown} if ticket.countdown else {}),
        **({"awaits": awaits.value} if ticket.awaits_ready else {}),
        "operation": times,
    }


def of_result(acceptance: Acceptance, result: Result) -> dict[str, Any]:
    """Show an operation that has just ended."""
    head = _head(result.operation, result.server, result.action.value, acceptance.origin, ENDED)
    return {**head, **entry(result, check=False, all_steps=True)}


def of_row(row: OperationRow) -> dict[str, Any]:
    """Show an operation of any process as the journal has it."""
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
        "operation": present({"id": row.id, "requested_at": row.requested_at, "begun_at": row.begun_at, "ended_at": row.ended_at}),
    }
    return {
        **_head(row.id, row.server, row.action, row.origin, phase),
        "outcome": row.outcome or None,
        **({"changed": row.changed} if row.outcome else {}),
        **present(fields),
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


class Operations:
    def __init__(self, node: SharedNode, threads: WorkerPool) -> None:
        self._node = node
        self._threads = threads
        self._live: dict[str, Ticket] = {}
        self._ended: OrderedDict[str, tuple[Acceptance, Result]] = OrderedDict()
        self._waiters: dict[str, asyncio.Event] = {}
        self.over = asyncio.Event()

    def add(self, ticket: Ticket) -> None:
        self._live[ticket.acceptance.operation] = ticket

    def put_off(self, ticket: Ticket) -> None:
        """Record that the next process will run an action."""
        self._live.pop(ticket.acceptance.operation, None)

    def ended(self, ticket: Ticket, result: Result) -> None:
        """Record the end of an action, and wake the clients that wait for it."""
        operation = ticket.acceptance.operation
        self._live.pop(operation, None)
        # Contents of written files may be long, and no route shows them.
        self._ended[operation] = ticket.acceptance, replace(result, files=()) if result.files else result
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        waiter = self._waiters.pop(operation, None)
        if waiter is not None:
            waiter.set()

    async def all_of(self, uuid: str) -> list[dict[str, Any]]:
        """Return a server's operations, the newest first. Raises `JournalUnusable`, OSError."""
        rows = await self._threads.ask(lambda: self._node.journal.operations.recorded(uuid, KEPT_OPERATIONS + 2 * MOST_WAITING))
        return [self._now(row.id, uuid) or of_row(row) for row in rows]

    async def one(self, uuid: str, operation: str, wait_seconds: float) -> dict[str, Any] | None:
        """Return an operation when it has ended, or as it is after ``wait_seconds``; None if there is none. Raises `JournalUnusable` or
        OSError if neither this process nor the journal has it readable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            found = self._now(operation, uuid)
            if found is None:
                row = await self._threads.ask(lambda: self._node.journal.operations.recorded_one(uuid, operation))
                found = None if row is None else of_row(row)
            left = deadline - loop.time()
            if found is None or found["outcome"] is not None or left <= 0 or self.over.is_set():
                return found
            await self._await_end(operation, left)

    async def _await_end(self, operation: str, seconds: float) -> None:
        if operation not in self._live:
            seconds, event = min(seconds, _LOOK_SECONDS), self.over
        else:
            event = self._waiters.setdefault(operation, asyncio.Event())
        waits = [asyncio.ensure_future(each.wait()) for each in dict.fromkeys((event, self.over))]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    def _now(self, operation: str, uuid: str) -> dict[str, Any] | None:
        ticket = self._live.get(operation)
        if ticket is not None:
            return of_ticket(ticket) if ticket.acceptance.server.uuid == uuid else None
        ended = self._ended.get(operation)
        return None if ended is None or ended[0].server.uuid != uuid else of_result(*ended)
