# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How accepted actions end: those that were performed as they say, those that never began for a reason of ours. Lives in the event loop."""

from __future__ import annotations

from collections.abc import Callable

from ..._power.model.clock import Clock
from ..._power.model.errors import EXPIRED, CancelledByKill, LockTimeout
from ..._power.model.result import Outcome, Result
from .buffered_journal import was_put_off
from .operations import Operations
from .queue import Ticket
from .unwritten_batch import UnwrittenBatch
from .writes import Abandoned

#: How much longer what was accepted by a process that ended may still begin in the next one.
GRACE_SECONDS = 60.0


class ActionEndings:
    """Ends actions: what nobody else has written to the journal is written, then whoever waits for an end is told."""

    def __init__(self, clock: Clock, operations: Operations, batch: UnwrittenBatch, ended: Callable[[Ticket, Result], None]) -> None:
        """``ended`` is told of every action that ended."""
        self._clock = clock
        self._operations = operations
        self._batch = batch
        self._ended = ended

    def performed(self, ticket: Ticket, result: Result, *, unwritten: bool) -> None:
        """End an action that was performed; ``unwritten``: nobody has written it to the journal yet."""
        if was_put_off(result):
            self._operations.put_off(ticket)
        elif unwritten:
            self._batch.add(Abandoned(ticket, result))
        else:
            self.written(ticket, result)

    def cancel(self, ticket: Ticket) -> None:
        """End an action that was killed before it began."""
        msg = f"Cannot {ticket.what}: it was killed after this was requested; ask again to go on"
        self._give_up(ticket, Outcome.CANCELLED, CancelledByKill.code, msg)

    def refuse(self, ticket: Ticket) -> None:
        """End an action whose wait was over before its turn."""
        if ticket.once:
            why = "another action of it is queued or under way, and wait_seconds is 0"
        else:
            why = f"its turn did not come within {ticket.acceptance.wait_seconds} s"
        msg = f"Cannot {ticket.what}: {why}; wait longer (wait_seconds), or kill it"
        self._give_up(ticket, Outcome.REFUSED, LockTimeout.code, msg)

    def expire(self, ticket: Ticket) -> None:
        """End an action that waited too long for a next process to begin it."""
        waited = f"for longer than it was asked to, and {GRACE_SECONDS:.0f} s more"
        self._give_up(ticket, Outcome.FAILED, EXPIRED, f"Cannot {ticket.what}: it waited {waited}; ask again")

    def _give_up(self, ticket: Ticket, outcome: Outcome, code: str, msg: str) -> None:
        self._batch.add(Abandoned(ticket, ticket.result(self._clock.now(), outcome, code, msg)))

    def written(self, ticket: Ticket, result: Result) -> None:
        """Tell of an end that is on the disk, or that cannot be written now."""
        self._operations.ended(ticket, result)
        self._ended(ticket, result)
