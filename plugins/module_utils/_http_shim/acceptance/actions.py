# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power actions from their acceptance to their end: taken, written, run in the order taken, each in a thread of its own.

All decisions are made in the event loop, so that nothing here needs a lock; threads write, perform (`runs`), and hand back what became
of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from ..._power.host import liveness
from ..._power.journal.acceptance import Acceptance, seconds_left
from ..._power.model.errors import EXPIRED, CancelledByKill, LockTimeout
from ..._power.model.model import Outcome, PowerAction, Result, Server
from ..process.log import Log
from ..process.worker_pool import soon
from ..wire.request_id import new_id
from .acceptor import Abandoned, Acceptor, Requeued, Written
from .buffered_journal import was_put_off
from .operations import Operations
from .queue import ActionQueue, Ticket
from .runs import PerformingActions
from .shared_node import SharedNode

#: How much longer what was accepted by a process that ended may still begin in the next one.
GRACE_SECONDS = 60.0
#: A kill that is not on the disk after so many seconds is done without.
_KILL_SECONDS = 0.25
#: Of the time that an end may take, so many seconds are left for the last writes.
_LAST_WRITES_SECONDS = 1.0


class TooMany(Exception):
    """No more actions of this server can wait."""


class NotKept(Exception):
    """The action could not be written down, so it was not taken; the text is the reason."""


class ShuttingDown(Exception):
    """This process takes nothing more."""


class Actions:
    """The actions of one process. Its methods belong to the event loop that made it."""

    def __init__(self, node: SharedNode, operations: Operations, log: Log, ended: Callable[[Ticket, Result], None]) -> None:
        """``ended`` is told of every action that ended."""
        self._node = node
        self._operations = operations
        self._log = log
        self._tell = ended
        self._loop = asyncio.get_running_loop()
        self._lines: dict[str, ActionQueue] = {}
        self._answers: dict[Ticket, asyncio.Future[str]] = {}
        self._unwritten: list[Ticket | Abandoned | Requeued] = []
        loop = self._loop
        self._acceptor = Acceptor(
            node, log, lambda left, fault: soon(loop, self._on_found, left, fault), lambda kept: soon(loop, self._on_kept, kept)
        )
        self._looked = asyncio.Event()
        self._fault = ""
        self._runs = PerformingActions(node, self._on_ended)
        self.ending = False

    @property
    def alive(self) -> bool:
        """Whether actions can still be written."""
        return self._acceptor.alive

    @property
    def stuck(self) -> bool:
        """Whether what is accepted now would probably not be written."""
        return self._acceptor.stuck

    async def resume(self) -> None:
        """Begin to work, first with what a process before this one had accepted and not begun."""
        self._acceptor.start()
        await self._looked.wait()

    def _on_found(self, left: Sequence[Acceptance], fault: str) -> None:
        """What was left, the oldest first; with a ``fault`` it could not be read, and nothing is accepted until it can."""
        if not fault:
            self._log.note("resumed", actions=len(left))
        elif fault != self._fault:
            # Once, and not for each request that comes meanwhile.
            self._log.error("journal_unusable", reason=fault)
        self._fault = fault
        now, boot, since_boot = self._node.clock.now(), liveness.boot_id(), liveness.boot_seconds()
        lines: dict[str, list[Ticket]] = {}
        for acceptance in left:
            seconds = seconds_left(acceptance, GRACE_SECONDS, now, boot, since_boot)
            raises = self._node.generations.own_raises(acceptance.server.uuid)
            ticket = Ticket(acceptance, self._loop.time() + seconds, raises, kept=True)
            self._operations.took(ticket)
            if seconds < 0:
                waited = "for longer than it was asked to, and 60 s more"
                self._give_up(ticket, Outcome.FAILED, EXPIRED, f"Cannot {ticket.what}: it waited {waited}; ask again")
            else:
                lines.setdefault(acceptance.server.uuid, []).append(ticket)
        for uuid, tickets in lines.items():
            line = self._lines.setdefault(uuid, ActionQueue())
            line.take_first(tickets)
            for kill in [each for each in line.tickets if each.is_kill and each.kept]:
                self._cancel_before(line, kill)
            for ticket in tickets:
                self._loop.call_at(ticket.deadline, self._advance, uuid)
            self._advance(uuid)
        self._looked.set()

    async def take(self, server: Server, action: PowerAction, wait_seconds: int, origin: str) -> str:
        """Take an action; return its operation's id once that is on the disk, or an empty text for a kill that is not, and done without.

        Raises `ShuttingDown`, `TooMany`, `NotKept`.
        """
        if self.ending:
            raise ShuttingDown
        line = self._lines.setdefault(server.uuid, ActionQueue())
        kill = action is PowerAction.KILL
        once = wait_seconds == 0 and not kill
        if not (once or line.has_room(kill=kill)):
            raise TooMany
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
        )
        ticket = Ticket(acceptance, self._loop.time() + wait_seconds, once=once)
        line.take(ticket)
        answer = self._answers[ticket] = self._loop.create_future()
        self._write(ticket)
        if ticket.is_kill:
            self._loop.call_later(_KILL_SECONDS, self._begin_unwritten, ticket)
        return "" if await answer else acceptance.operation

    async def close(self, seconds: float) -> int:
        """Begin nothing more, and wait for what is under way, at most so long; how many actions are then left behind."""
        self.ending = True
        until = self._loop.time() + seconds
        await self._runs.wait(seconds - min(_LAST_WRITES_SECONDS, seconds / 2))
        # Last, since what ends may be for it to write.
        self._hand_over()
        await self._loop.run_in_executor(None, self._acceptor.close, max(0.0, until - self._loop.time()))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ShuttingDown())
        return self._runs.number

    def under_way(self) -> int:
        """How many actions are being performed."""
        return self._runs.number

    def waiting(self) -> int:
        """How many actions wait for their turn."""
        return sum(not ticket.begun for line in self._lines.values() for ticket in line.tickets)

    def _write(self, what: Ticket | Abandoned | Requeued) -> None:
        """Have it written with whatever else this turn of the loop brings."""
        if not self._unwritten:
            self._loop.call_soon(self._hand_over)
        self._unwritten.append(what)

    def _hand_over(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        if unwritten:
            self._acceptor.write(unwritten)

    def _on_kept(self, batch: Sequence[Written]) -> None:
        for kept in batch:
            self._keep(kept.ticket, kept.reason)
        for uuid in dict.fromkeys(kept.ticket.uuid for kept in batch):
            self._advance(uuid)
        for kept in batch:
            if kept.ticket.waits:
                self._loop.call_at(kept.ticket.deadline, self._advance, kept.ticket.uuid)

    def _keep(self, ticket: Ticket, reason: str) -> None:
        """It is on the disk, or cannot be for this reason."""
        answer = self._answers.pop(ticket)
        if reason:
            self._log.error("not_kept", operation=ticket.acceptance.operation, reason=reason)
        if ticket.kept:
            # A kill that did not wait for this.
            return
        if reason and (self.ending or not ticket.is_kill):
            self._lines[ticket.uuid].remove(ticket)
            if not answer.done():
                answer.set_exception(ShuttingDown() if self.ending else NotKept(reason))
            return
        self._on_taken(ticket, answer, reason)

    def _begin_unwritten(self, kill: Ticket) -> None:
        """A kill waits no longer for the disk."""
        answer = self._answers.get(kill)
        if answer is None or kill.kept or self.ending:
            return
        self._log.warn("kill_before_its_acceptance", operation=kill.acceptance.operation, server=kill.uuid)
        self._on_taken(kill, answer, f"the journal takes longer than {_KILL_SECONDS} s")
        self._advance(kill.uuid)

    def _on_taken(self, ticket: Ticket, answer: asyncio.Future[str], reason: str) -> None:
        ticket.kept = True
        self._operations.took(ticket)
        line = self._lines[ticket.uuid]
        if ticket.is_kill:
            self._cancel_before(line, ticket)
        elif ticket.killed:
            line.remove(ticket)
            self._cancel(ticket)
        else:
            self._follow(ticket)
        # Nobody waits for it where the client is gone.
        if not answer.done():
            answer.set_result(reason)

    def _follow(self, ticket: Ticket) -> None:
        """Have the next process know that kills accepted before it do not count, should this one not come to begin it."""
        generation = ticket.acceptance.generation
        raised = self._node.generations.own_raises(ticket.uuid) - ticket.own_raises
        if generation is not None and raised:
            ticket.own_raises += raised
            ticket.acceptance = replace(ticket.acceptance, generation=generation + raised)
            self._write(Requeued(ticket.acceptance.operation, generation + raised))

    def _cancel_before(self, line: ActionQueue, kill: Ticket) -> None:
        for ticket in line.cancelled_by(kill):
            self._cancel(ticket)

    def _cancel(self, ticket: Ticket) -> None:
        msg = f"Cannot {ticket.what}: it was killed after this was requested; ask again to go on"
        self._give_up(ticket, Outcome.CANCELLED, CancelledByKill.code, msg)

    def _advance(self, uuid: str) -> None:
        """Begin whoever may, and give up whoever waited too long."""
        line = self._lines.get(uuid)
        while line is not None and not self.ending:
            ready, late = line.next(), line.late(self._loop.time())
            for ticket in ready:
                self._runs.begin(ticket)
            for ticket in late:
                self._refuse(ticket)
            if not ready and not late:
                break
        if line is not None and not line.tickets:
            del self._lines[uuid]

    def _on_ended(self, ticket: Ticket, result: Result, unwritten: bool) -> None:
        if was_put_off(result):
            self._operations.put_off(ticket)
        else:
            self._end(ticket, result)
        if unwritten:
            self._write(Abandoned(result, ticket.acceptance.origin))
        line = self._lines.get(ticket.uuid)
        if line is not None:
            line.remove(ticket)
            for each in line.tickets if ticket.is_kill else ():
                if each.waits:
                    self._follow(each)
            self._advance(ticket.uuid)

    def _refuse(self, ticket: Ticket) -> None:
        """Its wait was over before its turn."""
        if ticket.once:
            why = "another action of it is queued or under way, and wait_seconds is 0"
        else:
            why = f"its turn did not come within {ticket.acceptance.wait_seconds} s"
        msg = f"Cannot {ticket.what}: {why}; wait longer (wait_seconds), or kill it"
        self._give_up(ticket, Outcome.REFUSED, LockTimeout.code, msg)

    def _give_up(self, ticket: Ticket, outcome: Outcome, code: str, msg: str) -> None:
        """End an action that never began."""
        result = ticket.result(self._node.clock.now(), outcome, code, msg)
        self._end(ticket, result)
        self._write(Abandoned(result, ticket.acceptance.origin))

    def _end(self, ticket: Ticket, result: Result) -> None:
        self._operations.ended(ticket, result)
        self._tell(ticket, result)
