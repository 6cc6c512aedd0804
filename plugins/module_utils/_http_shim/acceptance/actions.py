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
from ..._power.host import liveness
from ..._power.journal.acceptance import Acceptance, seconds_left
from ..._power.model.errors import internal_error
from ..._power.model.players import PlayerPolicy
from ..._power.model.request import CONTAINER_UP, PowerAction, Readiness, WaitFor
from ..._power.model.result import Result
from ..._power.model.server import Server
from ..http.bodies import new_id
from ..http.log import Log
from ..http.worker_pool import WorkerPool, soon
from .acceptor import Acceptor
from .action_queues import GRACE_SECONDS, ActionEndings, ActionQueues, UnwrittenBatch
from .operations import Operations
from .queue import ActionQueue, Ticket, Written
from .shared_node import MOST_OWED, SharedNode

#: After so many seconds, a kill begins without its entry on the disk.
_KILL_SECONDS = 0.25
#: The part of the time to end that is kept for the last writes.
_LAST_WRITES_SECONDS = 1.0


class TooMany(Exception):
    """The server's queue is full."""


class NotKept(Exception):
    """The action could not be recorded, so it was not taken; the text is the reason."""


class ShuttingDown(Exception):
    """This process takes no more actions."""


class Actions:
    """Takes the actions of one process. Its methods belong to the event loop that made it."""

    def __init__(self, node: SharedNode, operations: Operations, log: Log, ended: Callable[[Ticket, Result], None]) -> None:
        self._node = node
        self._operations = operations
        self._log = log
        loop = self._loop = asyncio.get_running_loop()
        self._acceptor = Acceptor(
            node, log, lambda left, fault: soon(loop, self._on_found, left, fault), lambda kept: soon(loop, self._on_kept, kept)
        )
        self._batch = UnwrittenBatch(self._acceptor.write)
        self._endings = ActionEndings(node.clock, operations, self._batch, ended)
        self._queues = ActionQueues(node, self._endings, self._batch)
        self._answers: dict[Ticket, asyncio.Future[str]] = {}
        self._looked = asyncio.Event()
        self._fault = ""

    @property
    def alive(self) -> bool:
        """Tell if the thread that writes actions is alive."""
        return self._acceptor.alive

    @property
    def stuck(self) -> bool:
        """Tell if the journal would probably not take an action now."""
        return self._acceptor.stuck

    def under_way(self) -> int:
        return self._queues.under_way

    def waiting(self) -> int:
        return self._queues.waiting

    async def resume(self) -> None:
        """Begin to work, first with the accepted actions of an earlier process."""
        self._acceptor.start()
        await self._looked.wait()

    async def take(
        self,
        server: Server,
        action: PowerAction,
        wait_seconds: int,
        origin: str,
        players: PlayerPolicy | None = None,
        ready: Readiness = CONTAINER_UP,
    ) -> str:
        """Take an action; return its operation's id once it is on the disk. A kill that the disk delays returns an empty text. Raises
        `ShuttingDown`, `TooMany`, `NotKept`."""
        kill = action is PowerAction.KILL
        once = wait_seconds == 0 and not kill
        queue = self._queue_with_room(server.uuid, ready, kill=kill, once=once)
        now = self._node.clock.now()
        acceptance = Acceptance(
            operation=new_id(),
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
        ticket = Ticket(acceptance, self._loop.time() + wait_seconds, once=once)
        queue.take(ticket)
        answer = self._answers[ticket] = self._loop.create_future()
        self._batch.add(ticket)
        if kill:
            self._loop.call_later(_KILL_SECONDS, self._begin_unwritten, ticket)
        return "" if await answer else acceptance.operation

    def _queue_with_room(self, uuid: str, ready: Readiness, *, kill: bool, once: bool) -> ActionQueue:
        if self._queues.ending:
            raise ShuttingDown
        owed = self._node.journal.owed.of(uuid)
        if owed >= MOST_OWED:
            raise NotKept(f"{owed} writes of this server are owed to the journal")
        queue = self._queues.of(uuid)
        if not (once or queue.has_room(kill=kill)) or (ready.wait_for is not WaitFor.CONTAINER and queue.is_full_of_waits):
            raise TooMany
        return queue

    def end(self) -> None:
        self._queues.ending = True

    async def close(self, seconds: float) -> int:
        """Begin nothing more, and wait for running actions, for so many seconds at most. Returns how many still run."""
        self.end()
        until = self._loop.time() + seconds
        await self._queues.wait(seconds - min(_LAST_WRITES_SECONDS, seconds / 2))
        # Last, because an ending action may still need it.
        self._batch.hand_over()
        await self._loop.run_in_executor(None, self._acceptor.close, max(0.0, until - self._loop.time()))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ShuttingDown())
        return self._queues.under_way

    def _on_found(self, left: Sequence[Acceptance], fault: str) -> None:
        """Take up what was left, the oldest first. With a ``fault`` it was unreadable, and no action is taken until it is."""
        if not fault:
            self._log.note("resumed", actions=len(left))
        elif fault != self._fault:
            # Once, and not for each request.
            self._log.error("journal_unusable", reason=fault)
        self._fault = fault
        now, boot, since_boot = self._node.clock.now(), liveness.boot_id(), liveness.boot_seconds()
        by_server: dict[str, list[Ticket]] = {}
        for acceptance in left:
            seconds = seconds_left(acceptance, GRACE_SECONDS, now, boot, since_boot)
            raises = self._node.generations.own_raises(acceptance.server.uuid)
            # The wait for players is not part of the wait for its turn.
            turn_seconds = min(seconds, acceptance.wait_seconds + GRACE_SECONDS)
            ticket = Ticket(acceptance, self._loop.time() + turn_seconds, raises, kept=True)
            self._operations.took(ticket)
            if seconds < 0:
                self._endings.expire(ticket)
            else:
                by_server.setdefault(ticket.uuid, []).append(ticket)
        for uuid, tickets in by_server.items():
            self._queues.resume(uuid, tickets)
        self._looked.set()

    def _on_kept(self, written: Sequence[Written]) -> None:
        for each in written:
            if each.result is not None:
                self._endings.written(each.ticket, each.result)
        batch = [each for each in written if each.result is None]
        for kept in batch:
            self._keep(kept.ticket, kept.reason)
        for uuid in dict.fromkeys(kept.ticket.uuid for kept in batch):
            self._queues.advance(uuid)
        for kept in batch:
            if kept.ticket.waits:
                self._queues.advance_when_late(kept.ticket)

    def _keep(self, ticket: Ticket, reason: str) -> None:
        answer, ending = self._answers.pop(ticket), self._queues.ending
        if reason:
            self._log.error("not_kept", operation=ticket.acceptance.operation, reason=reason)
        if ticket.kept:
            return
        if reason and (ending or not ticket.is_kill):
            self._queues.of(ticket.uuid).remove(ticket)
            if not answer.done():
                answer.set_exception(ShuttingDown() if ending else NotKept(reason))
            return
        self._on_taken(ticket, answer, reason)

    def _begin_unwritten(self, kill: Ticket) -> None:
        answer = self._answers.get(kill)
        if answer is None or kill.kept or self._queues.ending:
            return
        self._log.warn("kill_before_its_acceptance", operation=kill.acceptance.operation, server=kill.uuid)
        self._on_taken(kill, answer, f"the journal takes longer than {_KILL_SECONDS} s")
        self._queues.advance(kill.uuid)

    def _on_taken(self, ticket: Ticket, answer: asyncio.Future[str], reason: str) -> None:
        ticket.kept = True
        self._operations.took(ticket)
        self._queues.admit(ticket)
        if not answer.done():
            answer.set_result(reason)


_EVERY_SECONDS = 10.0


async def keep_calling_off(node: SharedNode, log: Log) -> None:
    """Cancel abandoned countdowns, again and again, except for those that this process has resumed."""
    threads = WorkerPool(1, "call-off")
    while True:
        try:
            await threads.ask(lambda: call_off_all_abandoned(node.for_reading()))
        except Exception as error:
            log.error("fault", reason=internal_error(error))
        await asyncio.sleep(_EVERY_SECONDS)
