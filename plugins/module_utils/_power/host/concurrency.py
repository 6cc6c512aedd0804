# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at many things, several at a time, by threads that keep nobody from ending."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..model.cancellation import Deadline
from ..model.clock import SYSTEM_CLOCK

T = TypeVar("T")
R = TypeVar("R")

#: An engine far away answers the sooner, and one on this node is not kept from its work.
_AT_ONCE = 8


def map_concurrently(
    work: Callable[[T], R], items: Sequence[T], seconds: float | None = None, *, at_once: int = _AT_ONCE
) -> list[R | None]:
    """Return what ``work`` makes of each item, in order, ``at_once`` at a time; None for what is not there after ``seconds``.

    Raises what ``work`` raises, beginning nothing more then. Its threads are abandoned with what they are about. Where none is to be had,
    the one who asks does it all, and what it is about when the time is up is waited for.
    """
    found: list[R | None] = [None] * len(items)
    faults: list[Exception] = []
    left: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    for numbered in enumerate(items):
        left.put(numbered)
    over = threading.Event()
    deadline = None if seconds is None else Deadline.after(SYSTEM_CLOCK, seconds)

    def take_turns() -> None:
        with contextlib.suppress(queue.Empty):
            while not over.is_set() and (deadline is None or not deadline.is_over):
                number, item = left.get_nowait()
                try:
                    found[number] = work(item)
                except Exception as error:
                    # Raised again by the thread that waits.
                    faults.append(error)
                    over.set()

    threads = _started(take_turns, min(at_once, len(items)))
    if not threads:
        take_turns()
    for thread in threads:
        thread.join(None if deadline is None else deadline.left)
    over.set()
    if faults:
        raise faults[0]
    return list(found)


def _started(target: Callable[[], None], number: int) -> list[threading.Thread]:
    """So many threads, or as many as are to be had."""
    started = []
    with contextlib.suppress(RuntimeError):
        for _unused in range(number):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            started.append(thread)
    return started
