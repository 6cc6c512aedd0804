# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power actions from their acceptance to their end, each in its own thread.

The event loop makes all decisions, so nothing here needs a lock. Threads write (`acceptor`), perform (`action_queues`), and return the
result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from ..._power.actions.players.countdown import call_off_all_abandoned
from ..._power.host import machine
from ..._power.journal.acceptance import Acceptance, seconds_left
from ..._power.model.errors import internal_error
from ..._power.model.players import PlayerPolicy
from ..._power.model.request import CONTAINER_UP, PowerAction, Readiness, new_operation_id
from ..._power.model.result import Result
from ..._power.model.server import Server
from ..http.log import Log
from ..http.worker_pool import WorkerPool, soon
from .acceptor import Acceptor
from .action_queues import GRACE_SECONDS, ActionQueues, UnwrittenBatch
from .operations import Operations
from .queue import ActionQueue, Handled, Ticket
from .shared_node import MOST_LATE_WRITES, SharedNode

#: After so many seconds, a kill begins without its entry on the disk.
_KILL_SECONDS = 0.25
#: The part of the time to end that is kept for the last writes.
_LAST_WRITES_SECONDS = 1.0
#: Seconds between two looks for abandoned countdowns.
_CALL_OFF_SECONDS = 10.0


class NotAccepted(Exception):
    """The action was not accepted."""


class TooMany(NotAccepted):
    """The server's queue is full."""


class NotRecorded(NotAccepted):
    """The action could not be recorded; the text is the reason."""


class ShuttingDown(NotAccepted):
    """This process accepts no more actions."""


class Unconfirmed(NotAccepted):
    """This process ended before the write did. If the action was recorded, the next process performs it."""


class Actions:
    """Accepts the actions of one process. Its methods belong to the event loop that made it."""

    def __init__(self, node: SharedNode, operations: Operations, log: Log, ended: Callable[[Ticket, Result], None]) -> None:
        self._node = node
        self._operations = operations
        self._log = log
        loop = self._loop = asyncio.get_running_loop()
        self.acceptor = Acceptor(
            node, log, lambda found, fault: soon(loop, self._on_found, found, fault), lambda handled: soon(loop, self._on_handled, handled)
        )
        self._batch = UnwrittenBatch(self.acceptor.write)
        self.queues = ActionQueues(node, operations, self._batch, ended)
        #: For each action whose acceptance is not written yet: whether it is on the disk when `accept` returns.
        self._futures: dict[Ticket, asyncio.Future[bool]] = {}
        self._looked = asyncio.Event()
        self._fault = ""

    async def resume(self) -> None:
        """Begin to work, first with the accepted actions of an earlier process."""
        self.acceptor.start()
        await self._looked.wait()

    async def accept(
        self,
        server: Server,
        action: PowerAction,
        wait_seconds: int,
        origin: str,
        players: PlayerPolicy | None = None,
        ready: Readiness = CONTAINER_UP,
    ) -> str:
        """Queue an action; return its operation's id once its acceptance is on the disk. Raises a class of `NotAccepted`. A kill does not
        wait for a slow disk, or one that refuses the entry: it begins, and the id is empty."""
        kill = action is PowerAction.KILL
        # No await until the action is in the queue: the order of requests counts.
        tries_once = wait_seconds == 0 and not kill
        queue = self._queue_with_room(server.uuid, ready, kill=kill, tries_once=tries_once)
        now = self._node.clock.now()
        acceptance = Acceptance(
            operation=new_operation_id(),
            server=server,
            action=action,
            origin=origin,
            requested_at=now,
            accepted_at=now,
            wait_seconds=wait_seconds,
            deadline=now + timedelta(seconds=wait_seconds),
            players=players,
            ready=ready,
        )
        ticket = Ticket(acceptance, self._loop.time() + wait_seconds, tries_once=tries_once)
        queue.add(ticket)
        future = self._futures[ticket] = self._loop.create_future()
        self._batch.add(ticket)
        if kill:
            self._loop.call_later(_KILL_SECONDS, self._begin_unwritten, ticket)
        return acceptance.operation if await future else ""

    def _queue_with_room(self, uuid: str, ready: Readiness, *, kill: bool, tries_once: bool) -> ActionQueue:
        if self.queues.ending:
            raise ShuttingDown
        late_writes = self._node.journal.late_writes.of(uuid)
        if late_writes >= MOST_LATE_WRITES:
            raise NotRecorded(f"{late_writes} writes of this server still wait for the journal")
        queue = self.queues.of(uuid)
        if not (tries_once or queue.has_room(kill=kill)) or (ready.waits and queue.is_full_of_waits):
            raise TooMany
        return queue

    async def close(self, seconds: float) -> int:
        """Begin nothing more, and wait for running actions, for so many seconds at most. Returns how many still run."""
        self.queues.ending = True
        until = self._loop.time() + seconds
        await self.queues.wait(seconds - min(_LAST_WRITES_SECONDS, seconds / 2))
        # Last, because an ending action may still need it.
        self._batch.hand_over()
        await self._loop.run_in_executor(None, self.acceptor.close, max(0.0, until - self._loop.time()))
        for future in self._futures.values():
            if not future.done():
                future.set_exception(Unconfirmed())
        return self.queues.under_way

    def _on_found(self, found: Sequence[Acceptance], fault: str) -> None:
        """Queue the accepted actions of an earlier process, the oldest first. ``fault`` is why the journal cannot be read, if so."""
        if not fault:
            self._log.note("resumed", actions=len(found))
        elif fault != self._fault:
            # Once, and not for each request.
            self._log.error("journal_unusable", reason=fault)
        self._fault = fault
        now, boot, since_boot = self._node.clock.now(), machine.boot_id(), machine.boot_seconds()
        by_server: dict[str, list[Ticket]] = {}
        for acceptance in found:
            seconds = seconds_left(acceptance, GRACE_SECONDS, now, boot, since_boot)
            raises = self._node.generations.own_raises(acceptance.server.uuid)
            # The wait for players is not part of the wait for its turn.
            turn_seconds = min(seconds, acceptance.wait_seconds + GRACE_SECONDS)
            ticket = Ticket(acceptance, self._loop.time() + turn_seconds, raises, admitted=True)
            self._operations.add(ticket)
            if seconds < 0:
                self.queues.expire(ticket)
            else:
                by_server.setdefault(ticket.uuid, []).append(ticket)
        for uuid, tickets in by_server.items():
            self.queues.resume(uuid, tickets)
        self._looked.set()

    def _on_handled(self, handled: Sequence[Handled]) -> None:
        for each in handled:
            if each.result is not None:
                self.queues.end(each.ticket, each.result)
        accepted = [each for each in handled if each.result is None]
        for each in accepted:
            self._on_acceptance(each.ticket, each.fault)
        for uuid in dict.fromkeys(each.ticket.uuid for each in accepted):
            self.queues.advance(uuid)
        for each in accepted:
            if each.ticket.waits:
                self.queues.advance_when_late(each.ticket)

    def _on_acceptance(self, ticket: Ticket, fault: str) -> None:
        """Admit a ticket or refuse it. A kill is admitted in spite of a ``fault``, unless this process ends."""
        future, ending = self._futures.pop(ticket), self.queues.ending
        if fault:
            self._log.error("not_kept", operation=ticket.acceptance.operation, reason=fault)
        if ticket.admitted:
            return
        if fault and (ending or not ticket.is_kill):
            self.queues.of(ticket.uuid).remove(ticket)
            if not future.done():
                future.set_exception(ShuttingDown() if ending else NotRecorded(fault))
            return
        self._admit(ticket, future, is_recorded=not fault)

    def _begin_unwritten(self, kill: Ticket) -> None:
        future = self._futures.get(kill)
        if future is None or kill.admitted or self.queues.ending:
            return
        self._log.warn("kill_before_its_acceptance", operation=kill.acceptance.operation, server=kill.uuid)
        self._admit(kill, future, is_recorded=False)
        self.queues.advance(kill.uuid)

    def _admit(self, ticket: Ticket, future: asyncio.Future[bool], *, is_recorded: bool) -> None:
        self.queues.admit(ticket)
        if not future.done():
            future.set_result(is_recorded)


async def keep_calling_off(node: SharedNode, log: Log) -> None:
    """Cancel abandoned countdowns, again and again, except for those that this process has resumed."""
    threads = WorkerPool(1, "call-off")
    while True:
        try:
            await threads.ask(lambda: call_off_all_abandoned(node.for_reading()))
        except Exception as error:
            log.error("fault", reason=internal_error(error))
        await asyncio.sleep(_CALL_OFF_SECONDS)
