# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queues of all servers: they begin and perform actions in turn, and end those that can no longer begin."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

from ..._power.actions.node.node import Node
from ..._power.actions.turn.perform import perform
from ..._power.model.errors import EXPIRED, INTERNAL_ERROR, CancelledByKill, InterruptedBySignal, LockTimeout, internal_error
from ..._power.model.news import COUNTDOWN, PLAYERS, PROOF, READY, Listener, News
from ..._power.model.players import COUNTING, WAITING
from ..._power.model.request import Request
from ..._power.model.result import Outcome, Result
from ..http.worker_pool import soon
from .operations import Operations
from .queue import Abandoned, ActionQueue, Requeued, Ticket, Unwritten
from .shared_node import SharedNode

#: Additional seconds in which the next process may begin an action that an earlier one accepted.
GRACE_SECONDS = 60.0
#: The waits after a start. The action holds no lock in them.
_AWAITS_READY = (READY, PROOF)
#: The waits for players, also without the lock, and the phase of the countdown in each.
_FOR_PLAYERS = {PLAYERS: WAITING, COUNTDOWN: COUNTING}


class UnwrittenBatch:
    """Gathers entries for the journal until the end of this turn of the event loop."""

    def __init__(self, write: Callable[[Sequence[Unwritten]], None]) -> None:
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._gathered: list[Unwritten] = []

    def add(self, what: Unwritten) -> None:
        if not self._gathered:
            self._loop.call_soon(self.hand_over)
        self._gathered.append(what)

    def hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._write(gathered)


def heard_by(node: Node, listener: Listener) -> Node:
    """Return the node whose actions report their steps to ``listener``."""
    return replace(node, caller=replace(node.caller, listener=listener))


class ActionQueues:
    """The actions of one process that have not ended. Each runs in its own thread. The methods belong to the event loop that made it."""

    def __init__(self, node: SharedNode, operations: Operations, batch: UnwrittenBatch, ended: Callable[[Ticket, Result], None]) -> None:
        self._node = node
        self._operations = operations
        self._batch = batch
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._queues: dict[str, ActionQueue] = {}
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.ending = False

    @property
    def under_way(self) -> int:
        """Return the number of running actions, without those that wait for players."""
        return self._running - sum(bool(ticket.countdown) for ticket in self._tickets())

    @property
    def waiting(self) -> int:
        """Return the number of actions that wait for their turn or for players."""
        return sum(not ticket.begun or bool(ticket.countdown) for ticket in self._tickets())

    def _tickets(self) -> Iterator[Ticket]:
        return (ticket for queue in self._queues.values() for ticket in queue.tickets)

    def of(self, uuid: str) -> ActionQueue:
        return self._queues.setdefault(uuid, ActionQueue())

    async def wait(self, seconds: float) -> None:
        """Wait until all actions have ended, for so many seconds at most."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    def resume(self, uuid: str, tickets: Sequence[Ticket]) -> None:
        """Put the accepted actions of an earlier process before the others, and begin them."""
        queue = self.of(uuid)
        queue.tickets = [*tickets, *queue.tickets]
        for kill in [each for each in queue.tickets if each.is_kill and each.admitted]:
            self._cancel_before(queue, kill)
        for ticket in tickets:
            self.advance_when_late(ticket)
        self.advance(uuid)

    def admit(self, ticket: Ticket) -> None:
        """Let a ticket take its turn: it is on the disk, or it is a kill."""
        ticket.admitted = True
        self._operations.add(ticket)
        queue = self._queues[ticket.uuid]
        if ticket.is_kill:
            self._cancel_before(queue, ticket)
        elif ticket.killed:
            queue.remove(ticket)
            self._cancel(ticket)
        else:
            self._follow_kills(ticket)

    def advance(self, uuid: str) -> None:
        """Begin the actions whose turn has come, and end those that waited too long."""
        queue = self._queues.get(uuid)
        while queue is not None and not self.ending:
            ready, late = queue.next(), queue.late(self._loop.time())
            for ticket in ready:
                self._begin(ticket)
            for ticket in late:
                self._refuse(ticket, queue.first)
            if not ready and not late:
                break
        if queue is not None and not queue.tickets:
            del self._queues[uuid]

    def advance_when_late(self, ticket: Ticket) -> None:
        self._loop.call_at(ticket.deadline, self.advance, ticket.uuid)

    def expire(self, ticket: Ticket) -> None:
        """End an accepted action that no process began in time."""
        waited = f"for longer than it was asked to, and {GRACE_SECONDS:.0f} s more"
        self._give_up(ticket, Outcome.FAILED, EXPIRED, f"Cannot {ticket.what}: it waited {waited}; ask again")

    def end(self, ticket: Ticket, result: Result) -> None:
        """Report an end that is on the disk or cannot be written now."""
        self._operations.ended(ticket, result)
        self._ended(ticket, result)

    def _cancel_before(self, queue: ActionQueue, kill: Ticket) -> None:
        for ticket in queue.cancelled_by(kill):
            self._cancel(ticket)

    def _cancel(self, ticket: Ticket) -> None:
        self._give_up(ticket, Outcome.CANCELLED, CancelledByKill.code, f"Cannot {ticket.what}: {CancelledByKill.why}")

    def _refuse(self, ticket: Ticket, first: Ticket | None) -> None:
        before, seconds = "another action" if first is None else first.sentence, ticket.acceptance.wait_seconds
        msg = f"Cannot {ticket.what}: {before} is queued or under way, and wait_seconds is {seconds}; wait longer, or kill it"
        self._give_up(ticket, Outcome.REFUSED, LockTimeout.code, msg)

    def _give_up(self, ticket: Ticket, outcome: Outcome, code: str, msg: str) -> None:
        self._batch.add(Abandoned(ticket, ticket.result(self._node.clock.now(), outcome, code, msg)))

    def _begin(self, ticket: Ticket) -> None:
        """Begin an action. Its end is never reported before this returns."""
        request = self._request(ticket)
        ticket.turn_seconds = ticket.waited(self._node.clock.now())
        self._running += 1
        self._idle.clear()
        name = ticket.acceptance.operation
        try:
            threading.Thread(target=self._perform, args=(ticket, request), name=name, daemon=True).start()
        except RuntimeError as error:
            self._loop.call_soon(self._on_performed, ticket, self._fault(ticket, error), True)

    def _request(self, ticket: Ticket) -> Request:
        acceptance, uuid = ticket.acceptance, ticket.uuid
        # Read this here and not in the thread: a kill after this line must still cancel the action.
        raised = self._node.generations.own_raises(uuid) - ticket.own_raises
        # Rounding must not add a second.
        left = math.ceil(round(ticket.deadline - self._loop.time(), 3))
        return Request(
            server=uuid,
            action=acceptance.action,
            operation=acceptance.operation,
            requested_at=acceptance.requested_at,
            generations={} if acceptance.generation is None else {uuid: acceptance.generation + raised},
            wait_seconds=max(0, left) if acceptance.wait_seconds else 0,
            origin=acceptance.origin,
            players=acceptance.players,
            **asdict(acceptance.ready),
        )

    def _perform(self, ticket: Ticket, request: Request) -> None:
        slot, unwritten = self._node.limiter.slot(), False
        try:
            result = perform(request, heard_by(self._node.now(), lambda news: self._hear(ticket, news)), None, slot)
        except Exception as error:
            # After a fault of ours, the server's queue must continue.
            result, unwritten = self._fault(ticket, error), True
        finally:
            slot.leave()
        soon(self._loop, self._on_performed, ticket, result, unwritten)

    def _hear(self, ticket: Ticket, news: News) -> None:
        if ticket.acceptance.players is not None or news.phase in _AWAITS_READY:
            soon(self._loop, self._on_news, ticket, news)

    def _fault(self, ticket: Ticket, error: Exception) -> Result:
        return ticket.result(self._node.clock.now(), Outcome.FAILED, INTERNAL_ERROR, internal_error(error))

    def _on_news(self, ticket: Ticket, news: News) -> None:
        """Note a wait for players or for readiness. It holds no lock, so later actions pass this one."""
        before, phase = (ticket.countdown, ticket.awaits_ready), _FOR_PLAYERS.get(news.phase)
        ticket.countdown = {} if phase is None else {"phase": phase, "due": news.deadline or ""}
        ticket.awaits_ready = ticket.awaits_ready or news.phase in _AWAITS_READY
        if (ticket.countdown, ticket.awaits_ready) != before:
            self.advance(ticket.uuid)

    def _on_performed(self, ticket: Ticket, result: Result, unwritten: bool) -> None:
        """End a performed action; ``unwritten``: its end is not in the journal yet."""
        self._running -= 1
        if self._running == 0:
            self._idle.set()
        # It ended without any work, only because this process ends.
        if result.code == InterruptedBySignal.code:
            self._operations.put_off(ticket)
        elif unwritten:
            self._batch.add(Abandoned(ticket, result))
        else:
            self.end(ticket, result)
        queue = self._queues.get(ticket.uuid)
        if queue is not None:
            queue.remove(ticket)
            for each in queue.tickets if ticket.is_kill else ():
                if each.waits:
                    self._follow_kills(each)
            self.advance(ticket.uuid)

    def _follow_kills(self, ticket: Ticket) -> None:
        """Add the kills of this process since a ticket read its generation: they came before it. The next process gets the sum."""
        generation = ticket.acceptance.generation
        raised = self._node.generations.own_raises(ticket.uuid) - ticket.own_raises
        if generation is not None and raised:
            ticket.own_raises += raised
            ticket.acceptance = replace(ticket.acceptance, generation=generation + raised)
            self._batch.add(Requeued(ticket.uuid, ticket.acceptance.operation, generation + raised))
