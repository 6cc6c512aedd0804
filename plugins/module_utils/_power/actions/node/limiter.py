# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many servers of one call run at a time, and in which order."""

from __future__ import annotations

import contextlib
import copy
import heapq
import itertools
import os
import threading
from collections.abc import Iterator

from ...model.cancellation import CheckCancelled, Deadline, no_check
from ...model.clock import SYSTEM_CLOCK, Clock
from ...model.errors import LEFT_ALONE, FailureBudget
from ...model.result import Outcome, Result

#: Seconds between two looks while waiting for a slot.
_LOOK_SECONDS = 0.5
#: Enough to keep an engine busy, even with few processors.
_LEAST_SLOTS = 8
_FAILURES = (Outcome.REFUSED, Outcome.CANCELLED, Outcome.FAILED)


def default_slots() -> int:
    return max(_LEAST_SLOTS, os.cpu_count() or 1)


class Slots:
    """A number of slots. Waiters get them in the order of their tickets; one waiter uses a ticket at a time."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, threading.Event]] = []
        self._mutex = threading.Lock()

    def take(self, ticket: int, check_cancelled: CheckCancelled) -> None:
        """Wait for a slot and take it. ``check_cancelled`` runs at least every second and may raise."""
        with self._mutex:
            if self._free:
                self._free -= 1
                return
            mine = (ticket, threading.Event())
            heapq.heappush(self._waiting, mine)
        try:
            while not mine[1].wait(_LOOK_SECONDS):
                check_cancelled()
        except BaseException:
            self._withdraw(mine)
            raise

    def try_take(self) -> bool:
        with self._mutex:
            is_free = self._free > 0
            self._free -= is_free
        return is_free

    def give_back(self) -> None:
        """Give a slot to the first waiter, or keep it for a later one."""
        with self._mutex:
            if self._waiting:
                heapq.heappop(self._waiting)[1].set()
            else:
                self._free += 1

    def _withdraw(self, mine: tuple[int, threading.Event]) -> None:
        with self._mutex:
            if not mine[1].is_set():
                self._waiting.remove(mine)
                heapq.heapify(self._waiting)
                return
        # It was given at the last moment.
        self.give_back()


class Stagger:
    """The least seconds between the starts of two servers, which start in the order of their tickets."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._gate = Slots(1)
        self._earliest = Deadline(SYSTEM_CLOCK, 0.0)

    def take(self, ticket: int, check_cancelled: CheckCancelled) -> bool:
        """Wait until the next start is due, and take it; return True if there was a wait. ``check_cancelled`` may raise."""
        began = SYSTEM_CLOCK.monotonic()
        self._gate.take(ticket, check_cancelled)
        try:
            waits = began < self._earliest.at
            self._earliest.wait_out(check_cancelled, every=_LOOK_SECONDS)
            check_cancelled()
            self._earliest = Deadline.after(SYSTEM_CLOCK, self._seconds)
        finally:
            self._gate.give_back()
        return waits


class Limiter:
    """The slots of one call: for whole servers, from their turn to the end of their wait, or for boots alone."""

    def __init__(self, max_parallel: int = 0, max_failures: int | None = None, stagger: float = 0) -> None:
        """``max_failures`` limits whole servers even without ``max_parallel``: else all would begin before a failure."""
        self._max_failures, self._failures = max_failures, 0
        bounded = max_parallel > 0 or max_failures is not None
        self.whole = Slots(max_parallel or default_slots()) if bounded else None
        self.boots = None if bounded else Slots(default_slots())
        self.stagger = Stagger(stagger) if stagger else None
        #: Limits countdowns like actions, so that announced actions come on time.
        self.counting = Slots(max_parallel or default_slots()) if bounded else None
        self._countdown_end: Deadline | None = None
        self._tickets = itertools.count()
        self._mutex = threading.Lock()

    def without_stagger(self) -> Limiter:
        """Return a limiter with the same slots and tickets, but without stagger. Each of the two counts its own failures."""
        other = copy.copy(self)
        other.stagger = None
        return other

    def slot(self) -> Slot:
        """Return the slot of one more server, behind earlier ones."""
        return Slot(self)

    def ticket(self, shift: int = 0) -> int:
        """Return the next number, shifted."""
        return next(self._tickets) + shift

    def count(self, result: Result) -> None:
        """Count a failure. Frozen servers, and those left to their players, do not count."""
        with self._mutex:
            self._failures += result.outcome in _FAILURES and result.code not in LEFT_ALONE

    def refuse_over_budget(self, server: str) -> None:
        """Raise `FailureBudget` if too many others failed for ``server`` to begin."""
        with self._mutex:
            failures = self._failures
        if self._max_failures is not None and failures > self._max_failures:
            raise FailureBudget(f"Cannot begin with server {server}: {failures} others failed, and max_failures is {self._max_failures}")

    def join_countdown(self, seconds: float, clock: Clock) -> Deadline:
        """Return the end of a countdown that begins now. It may be seconds early, with another: a proxy and its lobbies count as one."""
        shorter = min(_WAVE_SECONDS, seconds * _WAVE_PART)
        with self._mutex:
            if self._countdown_end is None or not seconds - shorter <= self._countdown_end.left <= seconds:
                self._countdown_end = Deadline.after(clock, seconds)
            return self._countdown_end


#: A countdown may be shorter by so many seconds, or this part of its length, to end with another.
_WAVE_SECONDS = 5.0
_WAVE_PART = 0.1
#: Shifts a ticket behind all first turns, or before them: more servers than any call has.
_SHIFT = 1 << 32


class Slot:
    """The slots that one server holds, and gives back during its waits."""

    def __init__(self, limiter: Limiter | None = None) -> None:
        self._limiter = limiter
        self._whole = None if limiter is None else limiter.whole
        self._boots = None if limiter is None else limiter.boots
        self._counting = None if limiter is None else limiter.counting
        self._ticket = 0 if limiter is None else limiter.ticket()
        self._held: list[Slots] = []
        #: The slots that `come_back` takes again; None if it is not aside.
        self._aside: list[Slots] | None = None
        self._is_staggered = False

    @property
    def holds(self) -> bool:
        """True if it holds slots that others may wait for."""
        return bool(self._held)

    def begin(self, check_cancelled: CheckCancelled = no_check) -> None:
        self._take(self._whole, check_cancelled)

    def refuse_over_budget(self, server: str) -> None:
        if self._limiter is not None:
            self._limiter.refuse_over_budget(server)

    def may_boot(self) -> bool:
        """Return True if the server may boot at once; it then holds a boot slot, if boots are limited."""
        return self._try_take(self._boots)

    def begin_boot(self, check_cancelled: CheckCancelled) -> None:
        self._take(self._boots, check_cancelled)

    def await_stagger(self, server: str, check_cancelled: CheckCancelled) -> bool:
        """Wait for the stagger before ``server``, once until it steps aside. Return True after a wait. Raises as `refuse_over_budget`."""
        if self._limiter is None or self._limiter.stagger is None or self._is_staggered:
            return False

        def look_up() -> None:
            check_cancelled()
            self.refuse_over_budget(server)

        waited = self._limiter.stagger.take(self._ticket, look_up)
        self._is_staggered = True
        return waited

    def end_boot(self) -> None:
        self._give_back([slots for slots in self._held if slots is self._boots])

    def leave(self) -> None:
        self._give_back(list(self._held))

    @property
    def is_aside(self) -> bool:
        return self._aside is not None

    def step_aside(self, *, counts_on: bool = False) -> None:
        """Give all slots to others until `come_back`. A running countdown (``counts_on``) keeps its place."""
        if self._aside is None:
            self._aside, self._is_staggered = [slots for slots in self._held if slots is not self._counting], False
            self._give_back(self._aside if counts_on else list(self._held))

    def come_back(self, server: str, check_cancelled: CheckCancelled, *, first: bool = False) -> None:
        """Take the slots again, behind all other waiters, or before them. Raises as `refuse_over_budget`."""
        aside, self._aside = self._aside or [], None
        if self._limiter is not None:
            self._ticket = self._limiter.ticket(-_SHIFT if first else _SHIFT)
        for slots in aside:
            self._take(slots, check_cancelled)
        self.refuse_over_budget(server)

    @contextlib.contextmanager
    def aside(self, server: str, check_cancelled: CheckCancelled) -> Iterator[None]:
        """Let others pass in the meantime, then wait at the end of the queue. Raises as `refuse_over_budget`."""
        self.step_aside()
        yield
        self.come_back(server, check_cancelled)

    def begin_countdown(self, seconds: float, clock: Clock) -> Deadline | None:
        """Return the end of a countdown that begins now; None if too many countdowns run."""
        if self._limiter is None:
            return Deadline.after(clock, seconds)
        return self._limiter.join_countdown(seconds, clock) if self._try_take(self._counting) else None

    def end_countdown(self) -> None:
        self._give_back([slots for slots in self._held if slots is self._counting])

    def _try_take(self, slots: Slots | None) -> bool:
        if slots is None or slots in self._held:
            return True
        if slots.try_take():
            self._held.append(slots)
        return slots in self._held

    def _take(self, slots: Slots | None, check_cancelled: CheckCancelled) -> None:
        if slots is not None and slots not in self._held:
            slots.take(self._ticket, check_cancelled)
            self._held.append(slots)

    def _give_back(self, slots: list[Slots]) -> None:
        for each in slots:
            self._held.remove(each)
            each.give_back()
