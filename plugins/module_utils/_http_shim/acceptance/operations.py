# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations as they go on and as they ended: those of this process from memory, all others from the journal. Lives in the event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from ..._power.journal.acceptance import Acceptance
from ..._power.journal.schema import KEPT_OPERATIONS
from ..._power.model.result import Result
from ..process.worker_pool import WorkerPool
from . import operation_view as view
from .queue import MOST_WAITING, Ticket
from .shared_node import SharedNode

#: Ended operations that are remembered whole: the journal keeps neither plan nor log excerpt.
_REMEMBERED = 1000
#: Seconds between two looks into the journal for an operation of another process.
_LOOK_SECONDS = 0.5


class Operations:
    """The operations of one node."""

    def __init__(self, node: SharedNode, threads: WorkerPool) -> None:
        self._node = node
        self._threads = threads
        self._live: dict[str, Ticket] = {}
        self._ended: OrderedDict[str, tuple[Acceptance, Result]] = OrderedDict()
        self._waiters: dict[str, asyncio.Event] = {}
        #: Set when this process ends: nobody waits any longer then.
        self.over = asyncio.Event()

    def took(self, ticket: Ticket) -> None:
        """Note that an action was accepted."""
        self._live[ticket.acceptance.operation] = ticket

    def put_off(self, ticket: Ticket) -> None:
        """Note that an action will be run by the next process."""
        self._live.pop(ticket.acceptance.operation, None)

    def ended(self, ticket: Ticket, result: Result) -> None:
        """Note that an action has ended, and tell those that wait for that."""
        operation = ticket.acceptance.operation
        self._live.pop(operation, None)
        # What was written into files may be long, and is shown nowhere here.
        self._ended[operation] = ticket.acceptance, replace(result, files=()) if result.files else result
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        waiter = self._waiters.pop(operation, None)
        if waiter is not None:
            waiter.set()

    async def all_of(self, uuid: str) -> list[dict[str, Any]]:
        """Return the operations of a server, the one recorded last first. Raises `JournalUnusable`, OSError."""
        rows = await self._threads.ask(lambda: self._node.journal.operations.recorded(uuid, KEPT_OPERATIONS + 2 * MOST_WAITING))
        return [self._now(row.id, uuid) or view.of_row(row) for row in rows]

    async def one(self, uuid: str, operation: str, wait_seconds: float) -> dict[str, Any] | None:
        """Return an operation of a server when it has ended, or as it is after ``wait_seconds``; None if there is none.

        Raises `JournalUnusable` or OSError if neither this process nor the journal can tell.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            found = self._now(operation, uuid) or await self._recorded(uuid, operation)
            left = deadline - loop.time()
            if found is None or found["outcome"] is not None or left <= 0 or self.over.is_set():
                return found
            await self._await_end(operation, left)

    async def _await_end(self, operation: str, seconds: float) -> None:
        """Wait until it ends; one of another process is to be looked at again after a moment."""
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
            return view.of_ticket(ticket) if ticket.acceptance.server.uuid == uuid else None
        ended = self._ended.get(operation)
        return None if ended is None or ended[0].server.uuid != uuid else view.of_result(*ended)

    async def _recorded(self, uuid: str, operation: str) -> dict[str, Any] | None:
        row = await self._threads.ask(lambda: self._node.journal.operations.recorded_one(uuid, operation))
        return None if row is None else view.of_row(row)
