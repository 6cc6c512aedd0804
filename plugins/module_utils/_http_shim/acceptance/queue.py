# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue of one server's accepted actions: which begin, which are cancelled, which waited too long; pure.

Actions run in the order of acceptance. A kill begins at once and cancels earlier actions that have not begun. Later actions wait until it
has ended. An action that waits for players or for readiness stands aside: it holds no lock, so later actions pass it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Union

from ..._power.journal.acceptance import Acceptance, ended, moved
from ..._power.journal.schema import Work
from ..._power.model.records import dataclass, field
from ..._power.model.request import PowerAction
from ..._power.model.result import Outcome, Result

#: For each server: the limit of queued actions, of waits for readiness, and of running kills.
MOST_WAITING = 16


@dataclass(eq=False)
class Ticket:
    """One queued action. ``deadline`` is by the monotonic clock. ``own_raises``: how often this process had raised the kill generation when
    the action read it. ``turn_seconds``: the wait before it began."""

    acceptance: Acceptance
    deadline: float
    own_raises: int = 0
    #: Does not wait: the action is refused if it is not the first. `ActionQueue.add` clears this for the first.
    tries_once: bool = False
    #: Its acceptance is on the disk, or it is a kill, which does not wait for that.
    admitted: bool = False
    begun: bool = False
    #: A later kill came before the acceptance was on the disk.
    killed: bool = False
    turn_seconds: float = 0.0
    #: While it waits for players or warns them: ``phase``, and ``due`` if known. Otherwise empty.
    countdown: Mapping[str, str] = field(default_factory=dict)
    #: The server is up but not yet ready.
    awaits_ready: bool = False

    @property
    def is_kill(self) -> bool:
        return self.acceptance.action is PowerAction.KILL

    @property
    def uuid(self) -> str:
        return self.acceptance.server.uuid

    @property
    def what(self) -> str:
        """Return the action and its server, for a sentence."""
        return f"{self.acceptance.action.value} server {self.uuid}"

    @property
    def sentence(self) -> str:
        """Return the text for people: ``restart by ORIGIN (operation ID)``."""
        return f"{self.acceptance.action.value} by {self.acceptance.origin} (operation {self.acceptance.operation})"

    def waited(self, now: datetime) -> float:
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
        """Tell if it is admitted and waits for its turn."""
        return self.admitted and not self.begun and not self.tries_once


@dataclass
class ActionQueue:
    """The tickets of one server that have not ended, in the order of acceptance."""

    tickets: list[Ticket] = field(default_factory=list)

    @property
    def first(self) -> Ticket | None:
        """Return the first ticket that does not stand aside."""
        return next((ticket for ticket in self.tickets if not (ticket.countdown or ticket.awaits_ready)), None)

    def has_room(self, *, kill: bool) -> bool:
        """Tell if one more ``kill`` or one more waiting action has room. Actions that try once take no room."""
        waits = (ticket.is_kill if kill else not (ticket.begun or ticket.tries_once or ticket.is_kill) for ticket in self.tickets)
        return sum(waits) < MOST_WAITING

    @property
    def is_full_of_waits(self) -> bool:
        """Tell if the limit of waits for readiness is reached: each of them keeps a thread."""
        return sum(ticket.acceptance.ready.waits for ticket in self.tickets) >= MOST_WAITING

    def add(self, ticket: Ticket) -> None:
        """Add a ticket; if it tries once, it must be the first."""
        ticket.tries_once = ticket.tries_once and self.first is not None
        self.tickets.append(ticket)

    def remove(self, ticket: Ticket) -> None:
        """Remove a ticket that has ended or was not accepted."""
        if ticket in self.tickets:
            self.tickets.remove(ticket)

    def cancelled_by(self, kill: Ticket) -> list[Ticket]:
        """Remove and return the tickets that a kill cancels. Those not admitted yet are only marked."""
        before = [ticket for ticket in self.tickets[: self.tickets.index(kill)] if not ticket.begun and not ticket.is_kill]
        cancelled = [ticket for ticket in before if ticket.admitted]
        for ticket in before:
            ticket.killed = True
        self.tickets = [ticket for ticket in self.tickets if ticket not in cancelled]
        return cancelled

    def next(self) -> list[Ticket]:
        """Mark as begun and return the tickets whose turn has come: every kill, and the first ticket."""
        ready = [ticket for ticket in self.tickets if ticket.admitted and not ticket.begun and (ticket.is_kill or ticket is self.first)]
        for ticket in ready:
            ticket.begun = True
        return ready

    def late(self, now: float) -> list[Ticket]:
        """Remove and return the tickets whose wait is over, and those that try once and are not the first."""
        late = [ticket for ticket in self.tickets if ticket.admitted and not ticket.begun and (ticket.tries_once or ticket.deadline <= now)]
        self.tickets = [ticket for ticket in self.tickets if ticket not in late]
        return late


@dataclass(frozen=True)
class Handled:
    """A ticket that the acceptor has handled. Its end, with ``result``, is on the disk or a late write. Otherwise its acceptance is on the
    disk, or ``fault`` says why it is not."""

    ticket: Ticket
    fault: str = ""
    result: Result | None = None


@dataclass(frozen=True)
class Abandoned:
    """An end that only the acceptor writes: the action never began, or had a fault of ours."""

    ticket: Ticket
    result: Result

    @property
    def uuid(self) -> str:
        return self.result.server.uuid


@dataclass(frozen=True)
class Requeued:
    """The kill generation with which the next process begins an accepted action."""

    uuid: str
    operation: str
    generation: int


Afterwards = Union[Abandoned, Requeued]
Unwritten = Union[Ticket, Afterwards]


def writes_of(after: Sequence[Afterwards]) -> list[Work]:
    ends = [(each.result, each.ticket.acceptance.origin) for each in after if isinstance(each, Abandoned)]
    moves = [(each.operation, each.generation) for each in after if isinstance(each, Requeued)]
    return [*([ended(ends)] if ends else ()), *([moved(moves)] if moves else ())]
