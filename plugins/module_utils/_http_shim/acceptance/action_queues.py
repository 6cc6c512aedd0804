# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queues of all servers: each begins its actions in turn, ends those that may not begin any more. Lives in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..._power.model.result import Result
from .action_endings import ActionEndings
from .performing import PerformingActions
from .queue import ActionQueue, Ticket
from .shared_node import SharedNode
from .unwritten_batch import UnwrittenBatch
from .writes import Requeued


class ActionQueues:
    """The actions of one process that have not ended."""

    def __init__(self, node: SharedNode, endings: ActionEndings, batch: UnwrittenBatch) -> None:
        self._generations = node.generations
        self._endings = endings
        self._batch = batch
        self._loop = asyncio.get_running_loop()
        self._queues: dict[str, ActionQueue] = {}
        self._performing = PerformingActions(node, self._on_performed, self._on_aside)
        #: Nothing begins any more.
        self.ending = False

    @property
    def under_way(self) -> int:
        """Return how many actions are being performed, but for those that wait for players."""
        return self._performing.number - sum(bool(ticket.aside) for ticket in self._tickets())

    @property
    def waiting(self) -> int:
        """Return how many actions wait for their turn, or for players."""
        return sum(not ticket.begun or bool(ticket.aside) for ticket in self._tickets())

    def _tickets(self) -> Iterator[Ticket]:
        return (ticket for queue in self._queues.values() for ticket in queue.tickets)

    def of(self, uuid: str) -> ActionQueue:
        """Return the queue of a server."""
        return self._queues.setdefault(uuid, ActionQueue())

    def resume(self, uuid: str, tickets: Sequence[Ticket]) -> None:
        """Put before all others of a server what a process before this one had accepted, and go on."""
        queue = self.of(uuid)
        queue.take_first(list(tickets))
        for kill in [each for each in queue.tickets if each.is_kill and each.kept]:
            self._cancel_before(queue, kill)
        for ticket in tickets:
            self.advance_when_late(ticket)
        self.advance(uuid)

    def admit(self, ticket: Ticket) -> None:
        """Count a ticket as taken: it is on the disk, or a kill that does not wait for that."""
        queue = self._queues[ticket.uuid]
        if ticket.is_kill:
            self._cancel_before(queue, ticket)
        elif ticket.killed:
            queue.remove(ticket)
            self._endings.cancel(ticket)
        else:
            self._follow_kills(ticket)

    def advance(self, uuid: str) -> None:
        """Begin whoever may, and give up whoever waited too long."""
        queue = self._queues.get(uuid)
        while queue is not None and not self.ending:
            ready, late = queue.next(), queue.late(self._loop.time())
            for ticket in ready:
                self._performing.begin(ticket)
            for ticket in late:
                self._endings.refuse(ticket)
            if not ready and not late:
                break
        if queue is not None and not queue.tickets:
            del self._queues[uuid]

    def advance_when_late(self, ticket: Ticket) -> None:
        """Look at its server's queue again when its wait is over."""
        self._loop.call_at(ticket.deadline, self.advance, ticket.uuid)

    async def wait(self, seconds: float) -> None:
        """Wait until nothing is under way, at most so long."""
        await self._performing.wait(seconds)

    def _on_performed(self, ticket: Ticket, result: Result, unwritten: bool) -> None:
        self._endings.performed(ticket, result, unwritten=unwritten)
        queue = self._queues.get(ticket.uuid)
        if queue is not None:
            queue.remove(ticket)
            for each in queue.tickets if ticket.is_kill else ():
                if each.waits:
                    self._follow_kills(each)
            self.advance(ticket.uuid)

    def _on_aside(self, ticket: Ticket, aside: Mapping[str, str]) -> None:
        """Let those behind one that waits for players, or for its server to be ready, go first, until it waits no more."""
        ticket.aside = aside
        self.advance(ticket.uuid)

    def _cancel_before(self, queue: ActionQueue, kill: Ticket) -> None:
        for ticket in queue.cancelled_by(kill):
            self._endings.cancel(ticket)

    def _follow_kills(self, ticket: Ticket) -> None:
        """Have the next process know that kills accepted before it do not count, should this one not come to begin it."""
        generation = ticket.acceptance.generation
        raised = self._generations.own_raises(ticket.uuid) - ticket.own_raises
        if generation is not None and raised:
            ticket.own_raises += raised
            ticket.acceptance = replace(ticket.acceptance, generation=generation + raised)
            self._batch.add(Requeued(ticket.uuid, ticket.acceptance.operation, generation + raised))
