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
    began = clock.monotonic()
    try:
        lock = _acquire_aside(context, began) if context.slot.holds else _try(context, float(context.request.wait_seconds))
    except LockTimeout as error:
        holder = error.facts.get("holder")
        progress.holder = holder.facts() if isinstance(holder, Holder) else None
        progress.waited_seconds = round(clock.monotonic() - began, 3)
        raise
    progress.waited_seconds = round(lock.waited_seconds, 3)
    return lock


def _try(context: ActionContext, seconds: float, waited_before: float = 0.0) -> PowerLock:
    return context.node.acquire(context.request, context.uuid, seconds, _Waiting(context), waited_before)


class _Waiting:
    """The look of one who waits for the lock, who tells of it once it takes long."""

    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._long = Deadline.after(context.node.clock, _LONG_SECONDS)
        self._is_told = False

    def __call__(self) -> None:
        self._context.check_waiting()
        if self._long.is_over and not self._is_told:
            self._is_told = True
            self._context.tell(LOCKED)


def _acquire_aside(context: ActionContext, began: float) -> PowerLock:
    """Take the lock without keeping others from their slots: tried once, then waited for outside of them, then tried once again."""
    slot, clock = context.slot, context.node.clock
    deadline = Deadline(clock, began + context.request.wait_seconds)
    waited = 0.0
    while True:
        try:
            return _try(context, 0.0, waited)
        except LockTimeout:
            if deadline.is_over:
                raise
        context.tell(LOCKED)
        with slot.aside(context.check_waiting):
            # Not by taking it: it would be held while waiting for a slot.
            _await_free(context, deadline)
        slot.refuse_over_budget(context.uuid)
        # Others have begun meanwhile.
        slot.begin_apart(context.uuid, context.check_waiting)
        waited = clock.monotonic() - began


def _await_free(context: ActionContext, deadline: Deadline) -> None:
    """Wait a moment, then until nobody is seen to hold the lock, or the deadline is over."""
    # At least a moment: a holder that has not written its record yet is not seen.
    context.check_waiting()
    deadline.pause(_LOOK_SECONDS)
    wait_until(lambda: context.node.locks.holder(context.uuid) is None, deadline, context.check_waiting, every=_LOOK_SECONDS)
