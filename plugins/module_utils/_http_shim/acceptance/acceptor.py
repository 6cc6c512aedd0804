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

from ..._power.journal.acceptance import Acceptance, accept, forget, pending
from ..._power.journal.schema import JournalUnusable
from ..._power.model.errors import internal_error
from ..process.log import Log
from . import late_writes
from .dating import date
from .end_announcer import EndAnnouncer
from .late_writes import LateWrites
from .queue import Ticket
from .shared_node import SharedNode
from .writes import Abandoned, Afterwards, Unwritten, Written, writes_of

#: More than this in one transaction would keep the first waiting.
_MOST_AT_ONCE = 256
#: After so many acceptances those are forgotten that count no more.
_MOST_TO_FORGET = 1000
#: A write that takes longer is none that will be.
_STUCK_SECONDS = 10.0


class Acceptor:
    """Writes what it is handed, in that order, and hands tickets and ends on to ``done``, called in its thread with all of one transaction.

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
        self._waiting: queue.SimpleQueue[Sequence[Unwritten] | None] = queue.SimpleQueue()
        self._late = LateWrites(node, log)
        self._announcer = EndAnnouncer()
        node.journal.owed.on_more = lambda: self._waiting.put(())
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()
        self._announcer.start()

    @property
    def alive(self) -> bool:
        """Tell whether it still writes."""
        return self._thread.is_alive()

    @property
    def stuck(self) -> bool:
        """Tell whether the journal could not be read yet, could not be written when that was tried last, or takes very long."""
        busy = self._busy_since
        return bool(self._fault) or self._failing or (busy is not None and time.monotonic() - busy > _STUCK_SECONDS)

    def write(self, what: Sequence[Unwritten]) -> None:
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
                gathered, ending = self._gather()
            except queue.Empty:
                self._settle(last=False)
                self._try_again()
                continue
            self._busy_since = time.monotonic()
            kept = self._kept(gathered)
            self._busy_since = None
            if kept:
                self._done(kept)
            self._announcer.tell([each for each in gathered if isinstance(each, Abandoned)])
            self._settle(last=ending)

    def _gather(self) -> tuple[list[Unwritten], bool]:
        """Wait for what is to be written; return what is there, and whether it is the last.

        Raises `queue.Empty` when it is time to try again what failed.
        """
        troubled = self._fault or self._failing or self._node.journal.owed
        handed = self._waiting.get(timeout=late_writes.AGAIN_SECONDS if troubled else None)
        gathered: list[Unwritten] = []
        while handed is not None:
            gathered += handed
            if len(gathered) >= _MOST_AT_ONCE:
                break
            try:
                handed = self._waiting.get_nowait()
            except queue.Empty:
                break
        return gathered, handed is None

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

    def _kept(self, gathered: Sequence[Unwritten]) -> list[Written]:
        reasons = date([each for each in gathered if isinstance(each, Ticket)], self._node)
        if self._fault:
            # The journal may be there again.
            self._read_left()
        sound = [ticket for ticket, reason in reasons.items() if not reason]
        after = [each for each in gathered if not isinstance(each, Ticket)]
        if self._fault:
            self._late.owe(after, self._fault)
            reasons.update(dict.fromkeys(sound, self._fault))
        elif sound or after:
            reasons.update(dict.fromkeys(sound, self._written(sound, after)))
        ends = [Written(each.ticket, result=each.result) for each in after if isinstance(each, Abandoned)]
        return [*(Written(ticket, reason) for ticket, reason in reasons.items()), *ends]

    def _written(self, tickets: Sequence[Ticket], after: Sequence[Afterwards]) -> str:
        """Write them together; return why that cannot be, if so."""
        self._to_forget += len(tickets)
        forgets = [forget] if self._to_forget >= _MOST_TO_FORGET else []
        try:
            accept(self._node.journal, [ticket.acceptance for ticket in tickets], [*writes_of(after), *forgets])
        except (JournalUnusable, OSError) as error:
            reason, self._failing = str(error) or error.__class__.__name__, True
            self._late.owe(after, reason)
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
        """Look whether the journal can be written again, so that our health is right even if no action is asked for."""
        if self._failing and not self._fault:
            with contextlib.suppress(Exception):
                self._node.journal.store.rewrite()
                self._failing = False

    def _settle(self, *, last: bool) -> None:
        if not self._fault:
            self._late.settle(last=last)
