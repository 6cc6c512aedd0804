# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The acceptor: one thread that writes acceptances, the ends that no action's own thread wrote, and late writes."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence

from ..._power.host.system_log import announce
from ..._power.journal.acceptance import Acceptance, accept, forget, pending
from ..._power.journal.schema import JournalUnusable
from ..._power.model.cancellation import Deadline
from ..._power.model.errors import LockUnavailable, internal_error
from ..._power.model.request import Request
from ..._power.model.result import Result
from ..http.log import Log
from .queue import Abandoned, Afterwards, Handled, Ticket, Unwritten, writes_of
from .shared_node import SharedNode

#: Seconds between two attempts to use a journal that cannot be read or written.
AGAIN_SECONDS = 5.0
_UNUSABLE = (JournalUnusable, OSError)
#: A larger transaction would delay its first entries.
_MOST_AT_ONCE = 256
#: After so many acceptances, old ones are removed.
_MOST_TO_FORGET = 1000
_STUCK_SECONDS = 10.0


def set_request_times(tickets: Sequence[Ticket], node: SharedNode) -> dict[Ticket, str]:
    """Set the request time of each action to now, except for a kill. Return for each why it cannot be accepted, empty if it can. The kill
    generations are read before the time: a kill after that must cancel the action."""
    read = {uuid: _generation(uuid, node) for uuid in dict.fromkeys(ticket.uuid for ticket in tickets)}
    now, faults = node.clock.now(), dict.fromkeys(tickets, "")
    for ticket in tickets:
        generation, own_raises, fault = read[ticket.uuid]
        # A stop needs the generation only to report a kill.
        if fault and ticket.acceptance.action.boots:
            faults[ticket] = fault
        elif not ticket.is_kill:
            ticket.own_raises = own_raises
            ticket.acceptance = ticket.acceptance.requested(now, generation)
    return faults


def _generation(uuid: str, node: SharedNode) -> tuple[int | None, int, str]:
    """Return a server's kill generation, how often this process had raised it, and why it is unreadable, if so."""
    try:
        return (*node.generations.read_both(uuid), "")
    except LockUnavailable as error:
        return None, 0, str(error)


def _why(error: Exception) -> str:
    return str(error) or error.__class__.__name__ if isinstance(error, _UNUSABLE) else internal_error(error)


class Acceptor:
    """Writes tickets and ends in order: all that gathers during a write, in one transaction. Then calls ``done`` with them in its thread.

    First it passes the acceptances of an earlier process to ``found``. Until they can be read, it writes nothing. It keeps an end until the
    journal takes it, because the next process must not repeat an ended action. Other threads write the begin and the end of a performed
    action, and leave them to this one if the write fails.
    """

    def __init__(
        self, node: SharedNode, log: Log, found: Callable[[Sequence[Acceptance], str], None], done: Callable[[Sequence[Handled]], None]
    ) -> None:
        """``found`` is called after each attempt, with the reason if it failed."""
        self._node = node
        self._log = log
        self._found = found
        self._done = done
        self._fault = "the journal was not read yet"
        #: The end of the thread's last wait for work, by the monotonic clock; None while it waits.
        self._busy_since: float | None = None
        #: The last write failed.
        self._failing = False
        self._to_forget = 0
        #: None ends the thread; an empty sequence only wakes it.
        self._waiting: queue.SimpleQueue[Sequence[Unwritten] | None] = queue.SimpleQueue()
        #: When to try the late writes again, and why they could not be written, as the log says it.
        self._next_try = Deadline(node.clock, float("-inf"))
        self._late_reason = ""
        #: Ends for the system log, which a thread writes because it may be stuck.
        self._ends: queue.SimpleQueue[tuple[Result, str]] = queue.SimpleQueue()
        node.journal.late_writes.on_change = lambda: self._waiting.put(())
        node.journal.late_writes.on_fault = lambda fault: log.error("not_recorded", reason=_why(fault))
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)

    def start(self) -> None:
        self._thread.start()
        threading.Thread(target=self._announce, name="announce", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def stuck(self) -> bool:
        """Tell if the journal is still unread, failed at the last write, late or not, or delays this thread for more than 10 seconds."""
        busy = self._busy_since
        return bool(self._fault or self._failing or self._late_reason) or (busy is not None and time.monotonic() - busy > _STUCK_SECONDS)

    def write(self, what: Sequence[Unwritten]) -> None:
        self._waiting.put(what)

    def close(self, seconds: float) -> None:
        """Write all that waits, then end. Waits for so many seconds at most."""
        self._waiting.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        ending = False
        while not ending:
            if self._fault:
                self._read_pending()
            try:
                gathered, ending = self._gather()
            except queue.Empty:
                self._write_late(last=False)
                self._try_journal()
                continue
            handled = self._record(gathered)
            if handled:
                self._done(handled)
            for each in handled:
                if each.result is not None:
                    self._ends.put((each.result, each.ticket.acceptance.origin))
            self._write_late(last=ending)

    def _announce(self) -> None:
        while True:
            result, origin = self._ends.get()
            announce(result, Request(result.server.uuid, result.action, result.operation, result.requested_at, origin=origin))

    def _gather(self) -> tuple[list[Unwritten], bool]:
        """Wait for work; return all of it, and whether it is the last. Raises `queue.Empty` when it is time to try the journal again."""
        self._busy_since = None
        try:
            handed = self._waiting.get(timeout=AGAIN_SECONDS)
        finally:
            # The work that follows may hang on the disk, late writes too.
            self._busy_since = time.monotonic()
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

    def _read_pending(self) -> None:
        accepted: Sequence[Acceptance] = ()
        try:
            accepted = pending(self._node.journal)
            self._fault = ""
        except Exception as error:
            self._fault = _why(error)
        self._found(accepted, self._fault)

    def _record(self, gathered: Sequence[Unwritten]) -> list[Handled]:
        """Set the request times, then write all in one transaction. Return each ticket with the reason if that failed, and each end, which
        otherwise becomes a late write."""
        faults = set_request_times([each for each in gathered if isinstance(each, Ticket)], self._node)
        if self._fault:
            self._read_pending()
        sound = [ticket for ticket, fault in faults.items() if not fault]
        after = [each for each in gathered if not isinstance(each, Ticket)]
        if self._fault:
            self._write_later(after, self._fault)
            faults.update(dict.fromkeys(sound, self._fault))
        elif sound or after:
            faults.update(dict.fromkeys(sound, self._write(sound, after)))
        ends = [Handled(each.ticket, result=each.result) for each in after if isinstance(each, Abandoned)]
        return [*(Handled(ticket, fault) for ticket, fault in faults.items()), *ends]

    def _write(self, tickets: Sequence[Ticket], after: Sequence[Afterwards]) -> str:
        """Write them in one transaction, after the late writes; return why that failed, empty if not."""
        self._to_forget += len(tickets)
        forgets = [forget] if self._to_forget >= _MOST_TO_FORGET else []
        try:
            with self._node.journal.store.mutex:
                self._node.journal.late_writes.write_all()
                accept(self._node.journal, [ticket.acceptance for ticket in tickets], [*writes_of(after), *forgets])
        except Exception as error:
            reason, self._failing = _why(error), True
            if not isinstance(error, _UNUSABLE):
                # A fault of ours must not end this thread.
                self._log.error("not_recorded", reason=reason)
            self._write_later(after, reason)
            return reason
        self._failing = False
        if forgets:
            self._to_forget = 0
        return ""

    def _try_journal(self) -> None:
        """Try the journal even without new actions, so that the health check is right."""
        # Another thread's write may hang with the mutex.
        with self._node.journal.store.mutex, contextlib.suppress(Exception):
            if self._failing and not self._fault:
                self._node.journal.store.rewrite()
                self._failing = False

    def _write_later(self, after: Sequence[Afterwards], reason: str) -> None:
        """Keep these for a later write, because of ``reason``."""
        for each in after:
            for write in writes_of([each]):
                self._node.journal.late_writes.add(each.uuid, write)
        if self._node.journal.late_writes:
            self._delay_late_writes(reason)

    def _write_late(self, *, last: bool) -> None:
        """Write the late entries if a try is due, or if this is the ``last`` time."""
        late_writes = self._node.journal.late_writes
        # An action's thread may have written them all. Then only the log lacks that.
        is_due = (last or self._next_try.is_over) if late_writes else bool(self._late_reason)
        if self._fault or not is_due:
            return
        try:
            late_writes.write_all()
        except _UNUSABLE as error:
            self._delay_late_writes(_why(error))
            return
        self._late_reason, self._next_try = "", Deadline(self._node.clock, float("-inf"))
        self._log.note("recorded_late")

    def _delay_late_writes(self, reason: str) -> None:
        self._next_try = Deadline.after(self._node.clock, AGAIN_SECONDS)
        if reason != self._late_reason:
            self._late_reason = reason
            self._log.error("not_recorded_yet", reason=reason)
