# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one thread that writes acceptances: what has gathered while it wrote goes to the disk together, then all are answered."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..._power.host.announce import announce
from ..._power.journal.acceptance import Acceptance, accept, ended, forget, moved, pending
from ..._power.journal.journal_rows import JournalUnusable
from ..._power.model.errors import LockUnavailable, internal_error
from ..._power.model.model import Request, Result
from ..process.log import Log
from .owed_writes import Write
from .queue import Ticket
from .shared_node import SharedNode

#: More than this in one transaction would keep the first waiting.
_MOST_AT_ONCE = 256
#: After so many acceptances those are forgotten that count no more.
_MOST_TO_FORGET = 1000
#: Seconds between two attempts to use a journal that cannot be read or written.
_AGAIN_SECONDS = 5.0
#: A write that takes longer is none that will be.
_STUCK_SECONDS = 10.0


@dataclass(frozen=True)
class Written:
    """A ticket that was written, or ``reason`` why it could not be."""

    ticket: Ticket
    reason: str = ""


@dataclass(frozen=True)
class Abandoned:
    """The end of an action that nobody but its acceptor writes: it never began, or had a fault of ours."""

    result: Result
    origin: str


@dataclass(frozen=True)
class Requeued:
    """The kill generation that an accepted action is to be begun with, should this process not come to that."""

    operation: str
    generation: int


class Acceptor:
    """Writes what it is handed, in that order, and hands tickets on to ``done``, called in its thread with all of one transaction.

    Before the first it hands what a process before this one left to ``found``: until that could be read, nothing is written. What is not
    a ticket is written for certain, once the journal takes it: an action that has ended must not be run again by the next process.
    """

    def __init__(
        self,
        node: SharedNode,
        log: Log,
        found: Callable[[Sequence[Acceptance], str], None],
        done: Callable[[Sequence[Written]], None],
    ) -> None:
        """``found`` is told after each attempt, with the reason where it failed."""
        self._node = node
        self._log = log
        self._found = found
        self._done = done
        self._fault = "the journal was not read yet"
        #: Since when what was handed over is being written, by the monotonic clock, and whether the last write failed.
        self._busy_since: float | None = None
        self._failing = False
        self._to_forget = 0
        self._waiting: queue.SimpleQueue[Sequence[Ticket | Abandoned | Requeued] | None] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[Sequence[Abandoned]] = queue.SimpleQueue()
        #: Why what is owed to the journal cannot be written, and when to try again by the monotonic clock.
        self._owed_reason = ""
        self._settle_at = float("-inf")
        node.journal.owed.on_more = lambda: self._waiting.put(())
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()
        threading.Thread(target=self._announce, name="announce", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it still writes."""
        return self._thread.is_alive()

    @property
    def stuck(self) -> bool:
        """Whether the journal could not be read yet, or could not be written when that was tried last, or takes very long."""
        busy = self._busy_since
        return bool(self._fault) or self._failing or (busy is not None and time.monotonic() - busy > _STUCK_SECONDS)

    def write(self, what: Sequence[Ticket | Abandoned | Requeued]) -> None:
        """Have acceptances, and what becomes of them, written; returns at once."""
        self._waiting.put(what)

    def close(self, seconds: float) -> None:
        """Write what is there, then end; waits for that at most so long."""
        self._waiting.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        ending = False
        while not ending:
            if self._fault:
                self._read_left()
            try:
                troubled = self._fault or self._failing or self._node.journal.owed
                handed = self._waiting.get(timeout=_AGAIN_SECONDS if troubled else None)
            except queue.Empty:
                self._settle(last=False)
                self._try_again()
                continue
            gathered: list[Ticket | Abandoned | Requeued] = []
            while handed is not None:
                gathered += handed
                if len(gathered) >= _MOST_AT_ONCE:
                    break
                try:
                    handed = self._waiting.get_nowait()
                except queue.Empty:
                    break
            ending = handed is None
            ends = [each for each in gathered if isinstance(each, Abandoned)]
            self._busy_since = time.monotonic()
            kept = self._kept(gathered)
            self._busy_since = None
            if kept:
                self._done(kept)
            if ends:
                self._ends.put(ends)
            self._settle(last=ending)

    def _announce(self) -> None:
        """Tell the system log of ends: a thread of its own, since nobody's acceptance is to wait for that."""
        while True:
            for end in self._ends.get():
                announce(end.result, _request_of(end))

    def _read_left(self) -> None:
        left: Sequence[Acceptance] = ()
        try:
            left = pending(self._node.journal)
            self._fault = ""
        except (JournalUnusable, OSError) as error:
            self._fault = str(error) or error.__class__.__name__
        except Exception as error:
            self._fault = internal_error(error)
        self._found(left, self._fault)

    def _kept(self, gathered: Sequence[Ticket | Abandoned | Requeued]) -> list[Written]:
        tickets = [each for each in gathered if isinstance(each, Ticket)]
        generations = self._generations(tickets)
        now = self._node.clock.now()
        told = {ticket: self._date(ticket, now, *generations[ticket.acceptance.server.uuid]) for ticket in tickets}
        if self._fault:
            # The journal may be there again.
            self._read_left()
        sound = [ticket for ticket, reason in told.items() if not reason]
        after = [each for each in gathered if not isinstance(each, Ticket)]
        if self._fault:
            self._enqueue(after, self._fault)
            told.update(dict.fromkeys(sound, self._fault))
        elif sound or after:
            told.update(dict.fromkeys(sound, self._written(sound, after)))
        return [Written(ticket, reason) for ticket, reason in told.items()]

    def _written(self, tickets: Sequence[Ticket], after: Sequence[Abandoned | Requeued]) -> str:
        """Write them together; why that cannot be, if so."""
        self._to_forget += len(tickets)
        forgets = [forget] if self._to_forget >= _MOST_TO_FORGET else []
        try:
            accept(self._node.journal, [ticket.acceptance for ticket in tickets], [*_writes(after), *forgets])
        except (JournalUnusable, OSError) as error:
            reason, self._failing = str(error) or error.__class__.__name__, True
            self._enqueue(after, reason)
            return reason
        except Exception as error:
            # A fault of ours must not end the thread that everybody waits for.
            reason, self._failing = internal_error(error), True
            self._log.error("not_recorded", reason=reason)
            return reason
        self._failing = False
        if forgets:
            self._to_forget = 0
        return ""

    def _try_again(self) -> None:
        """Whether the journal can be written again: who asks for our health is to know without asking for an action."""
        if self._failing and not self._fault:
            with contextlib.suppress(Exception):
                self._node.journal.store.rewrite()
                self._failing = False

    def _enqueue(self, after: Sequence[Abandoned | Requeued], reason: str) -> None:
        for write in _writes(after):
            self._node.journal.owed.add(write)
        if after:
            self._cannot_settle(reason)

    def _settle(self, *, last: bool) -> None:
        """Write what is owed to the journal, if it is time to try, or this is the ``last`` time."""
        owed, monotonic = self._node.journal.owed, self._node.clock.monotonic
        if not owed or self._fault or (monotonic() < self._settle_at and not last):
            return
        try:
            owed.settle()
        except (JournalUnusable, OSError) as error:
            self._cannot_settle(str(error) or error.__class__.__name__)
        except Exception as error:
            self._log.error("not_recorded", reason=internal_error(error))
        else:
            self._owed_reason, self._settle_at = "", float("-inf")
            self._log.note("recorded_late")

    def _cannot_settle(self, reason: str) -> None:
        self._settle_at = self._node.clock.monotonic() + _AGAIN_SECONDS
        if reason != self._owed_reason:
            self._owed_reason = reason
            self._log.error("not_recorded_yet", reason=reason)

    def _generations(self, tickets: Sequence[Ticket]) -> dict[str, tuple[int | None, int, str]]:
        """The generation of each server, how often this process had raised it, and why it cannot be read.

        What was asked before a kill must not survive it: they are read before the moment of the request.
        """
        found: dict[str, tuple[int | None, int, str]] = {}
        for uuid in dict.fromkeys(ticket.acceptance.server.uuid for ticket in tickets):
            try:
                found[uuid] = *self._node.generations.read_both(uuid), ""
            except LockUnavailable as error:
                found[uuid] = None, 0, str(error)
        return found

    def _date(self, ticket: Ticket, now: datetime, generation: int | None, own_raises: int, fault: str) -> str:
        """Let the action be requested now, with this generation, and return why it cannot be taken, if so.

        A stop needs the generation only to tell whether a kill forced it.
        """
        acceptance = ticket.acceptance
        if ticket.is_kill:
            return ""
        if fault and acceptance.action.boots:
            return fault
        ticket.own_raises = own_raises
        ticket.acceptance = acceptance.requested(now, generation)
        return ""


def _writes(after: Sequence[Abandoned | Requeued]) -> list[Write]:
    ends = [(each.result, each.origin) for each in after if isinstance(each, Abandoned)]
    moves = [(each.operation, each.generation) for each in after if isinstance(each, Requeued)]
    return [*([ended(ends)] if ends else ()), *([moved(moves)] if moves else ())]


def _request_of(end: Abandoned) -> Request:
    result = end.result
    return Request(result.server.uuid, result.action, result.operation, result.requested_at, origin=end.origin)
