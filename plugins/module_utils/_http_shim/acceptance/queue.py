# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue of one server's accepted actions: those that may begin, that are cancelled, that waited too long; pure.

Actions run in the order in which they were taken. A kill waits for nobody, cancels those before it that have not begun, and those after it
wait until it has ended. One that waits for players, or for its server to be ready, stands aside meanwhile: it holds nothing, so those after
it do not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Union

from ..._power.journal.acceptance import Acceptance, ended, moved
from ..._power.model.request import PowerAction, WaitFor
from ..._power.model.result import Outcome, Result
from .shared_node import Write

#: How many actions of one server may wait for their turn, how many may wait for it to be ready, and how many kills may be under way.
MOST_WAITING = 16


@dataclass(eq=False)
class Ticket:
    """One action in the queue. ``deadline`` is by the monotonic clock; ``own_raises`` is how often this process had raised the server's
    kill generation when the action's was read; ``turn_seconds`` is how long it waited until it began.
    """

    acceptance: Acceptance
    deadline: float
    own_raises: int = 0
    #: Tries once: it ends refused where it is not the first.
    once: bool = False
    #: Its acceptance is on the disk; a kill does not wait for that.
    kept: bool = False
    begun: bool = False
    #: A kill that came after it did not wait for it to be on the disk.
    killed: bool = False
    turn_seconds: float = 0.0
    #: It has begun, and waits for players or tells them: ``phase`` and, where that is known, when it is ``due``; empty: it does not.
    aside: Mapping[str, str] = field(default_factory=dict)
    #: Its server is up, and it waits for it to be ready.
    awaits_ready: bool = False

    @property
    def is_kill(self) -> bool:
        """Tell whether it is a kill."""
        return self.acceptance.action is PowerAction.KILL

    @property
    def uuid(self) -> str:
        """Return the UUID of its server."""
        return self.acceptance.server.uuid

    @property
    def what(self) -> str:
        """Name the action and its server, for a sentence."""
        return f"{self.acceptance.action.value} server {self.uuid}"

    def waited(self, now: datetime) -> float:
        """Return the seconds since it was accepted."""
        return max(0.0, (now - self.acceptance.accepted_at).total_seconds())

    def result(self, now: datetime, outcome: Outcome, code: str, msg: str) -> Result:
        """Return the result of an action that was not performed to its end."""
        acceptance, waited = self.acceptance, round(self.waited(now), 3)
        return Result(
            server=acceptance.server,
            action=acceptance.action,
            outcome=outcome,
            operation=acceptance.operation,
            requested_at=acceptance.requested_at,
            ended_at=now,
            code=code,
            msg=msg,
            waited_seconds=waited,
            seconds=waited,
        )

    @property
    def waits(self) -> bool:
        """Tell whether it is on the disk and waits for its turn."""
        return self.kept and not self.begun and not self.once


@dataclass
class ActionQueue:
    """The tickets of one server that have not ended, in the order taken."""

    tickets: list[Ticket] = field(default_factory=list)

    @property
    def first(self) -> Ticket | None:
        """Return the one before which nobody is that could keep it from its turn."""
        return next((ticket for ticket in self.tickets if not (ticket.aside or ticket.awaits_ready)), None)

    def has_room(self, *, kill: bool) -> bool:
        """Tell whether one more may be taken that waits. Those that try once take no room."""
        waits = (ticket.is_kill if kill else not (ticket.begun or ticket.once or ticket.is_kill) for ticket in self.tickets)
        return sum(waits) < MOST_WAITING

    @property
    def is_full_of_waits(self) -> bool:
        """Tell whether no more may be taken that waits for the server to be ready: each of them has a thread for as long."""
        return sum(ticket.acceptance.ready.wait_for is not WaitFor.CONTAINER for ticket in self.tickets) >= MOST_WAITING

    def take(self, ticket: Ticket) -> None:
        """Put one more at its end; one that tries once must not find anybody before it."""
        ticket.once = ticket.once and self.first is not None
        self.tickets.append(ticket)

    def take_first(self, tickets: list[Ticket]) -> None:
        """Put before all others what was accepted before them."""
        self.tickets = [*tickets, *self.tickets]

    def remove(self, ticket: Ticket) -> None:
        """Remove one that has ended, or was not taken after all."""
        if ticket in self.tickets:
            self.tickets.remove(ticket)

    def cancelled_by(self, kill: Ticket) -> list[Ticket]:
        """Remove and return those before a kill that have not begun. Those that are not on the disk yet are marked instead."""
        before = [ticket for ticket in self.tickets[: self.tickets.index(kill)] if not ticket.begun and not ticket.is_kill]
        cancelled = [ticket for ticket in before if ticket.kept]
        for ticket in before:
            ticket.killed = True
        self.tickets = [ticket for ticket in self.tickets if ticket not in cancelled]
        return cancelled

    def next(self) -> list[Ticket]:
        """Return those whose turn has come: every kill, and the first if nobody is before it. They count as begun from now on."""
        ready = [ticket for ticket in self.tickets if ticket.kept and not ticket.begun and (ticket.is_kill or ticket is self.first)]
        for ticket in ready:
            ticket.begun = True
        return ready

    def late(self, now: float) -> list[Ticket]:
        """Remove and return those whose wait is over, and those that try once and found somebody before them."""
        late = [ticket for ticket in self.tickets if ticket.kept and not ticket.begun and (ticket.once or ticket.deadline <= now)]
        self.tickets = [ticket for ticket in self.tickets if ticket not in late]
        return late


@dataclass(frozen=True)
class Written:
    """A ticket whose acceptance was written, or its end, which is ``result``; or ``reason`` why that could not be."""

    ticket: Ticket
    reason: str = ""
    result: Result | None = None


@dataclass(frozen=True)
class Abandoned:
    """The end of an action that nobody but its acceptor writes: it never began, or had a fault of ours."""

    ticket: Ticket
    result: Result

    @property
    def origin(self) -> str:
        """Return who asked for the action."""
        return self.ticket.acceptance.origin

    @property
    def uuid(self) -> str:
        """Of its server."""
        return self.result.server.uuid


@dataclass(frozen=True)
class Requeued:
    """The kill generation that an accepted action is to be begun with, should this process not come to that."""

    uuid: str
    operation: str
    generation: int


#: What becomes of acceptances that are written already.
Afterwards = Union[Abandoned, Requeued]
Unwritten = Union[Ticket, Afterwards]


def writes_of(after: Sequence[Afterwards]) -> list[Write]:
    """Return what writes these to the journal."""
    ends = [(each.result, each.origin) for each in after if isinstance(each, Abandoned)]
    moves = [(each.operation, each.generation) for each in after if isinstance(each, Requeued)]
    return [*([ended(ends)] if ends else ()), *([moved(moves)] if moves else ())]
