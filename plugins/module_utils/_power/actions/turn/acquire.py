# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a server's lock, without keeping other servers of the call from their slots meanwhile."""

from __future__ import annotations

from ...locking.holder import Holder
from ...locking.lock import PowerLock
from ...model.cancellation import Deadline, wait_until
from ...model.errors import LockTimeout
from ...model.news import LOCKED
from ..node.context import ActionContext

#: Seconds between two looks at a lock that is waited for without taking it.
_LOOK_SECONDS = 0.05
#: A wait that is told of.
_LONG_SECONDS = 1.0


def acquire(context: ActionContext) -> PowerLock:
    """Take the lock within ``wait_seconds``; how long that took, or who holds it, goes into the result.

    Raises `LockTimeout`, `LockUnavailable`, and as `check_waiting`.
    """
    context.check_waiting()
    progress, clock = context.progress, context.node.clock
    waiting = _Waiting(context)
    began, taken_up = clock.monotonic(), progress.seconds
    try:
        lock = waiting.acquire_aside(began) if context.slot.holds else waiting.acquire(float(context.request.wait_seconds))
    except LockTimeout as error:
        holder = error.facts.get("holder")
        progress.holder = holder.facts() if isinstance(holder, Holder) else None
        progress.waited_seconds = round(clock.monotonic() - began, 3)
        raise
    finally:
        if waiting.is_long:
            progress.note(LOCKED, taken_up)
    progress.waited_seconds = round(lock.waited_seconds, 3)
    return lock


class _Waiting:
    """One who waits for the lock, and tells of it, once, when it takes long."""

    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._long = Deadline.after(context.node.clock, _LONG_SECONDS)
        #: Whether it took long.
        self.is_long = False

    def acquire(self, seconds: float, waited_before: float = 0.0) -> PowerLock:
        """Take the lock within so many seconds."""
        context = self._context
        return context.node.acquire(context.request, context.uuid, seconds, self._check, waited_before)

    def acquire_aside(self, began: float) -> PowerLock:
        """Take the lock without keeping others from their slots: tried once, then waited for outside of them, then tried once again."""
        context, slot, clock = self._context, self._context.slot, self._context.node.clock
        deadline = Deadline(clock, began + context.request.wait_seconds)
        waited = 0.0
        while True:
            try:
                return self.acquire(0.0, waited)
            except LockTimeout:
                if deadline.is_over:
                    raise
            with slot.aside(self._check):
                # Not by taking it: it would be held while waiting for a slot.
                self._await_free(deadline)
            slot.refuse_over_budget(context.uuid)
            # Others have begun meanwhile.
            slot.begin_apart(context.uuid, self._check)
            waited = clock.monotonic() - began

    def _await_free(self, deadline: Deadline) -> None:
        """Wait a moment, then until nobody is seen to hold the lock, or the deadline is over."""
        # At least a moment: a holder that has not written its record yet is not seen.
        self._check()
        deadline.pause(_LOOK_SECONDS)
        locks, uuid = self._context.node.locks, self._context.uuid
        wait_until(lambda: locks.holder(uuid) is None, deadline, self._check, every=_LOOK_SECONDS)

    def _check(self) -> None:
        self._context.check_waiting()
        if self._long.is_over and not self.is_long:
            self.is_long = True
            self._context.tell(LOCKED)
