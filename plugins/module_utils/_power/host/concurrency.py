# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Concurrent work on many items, in threads that do not block the process's end."""

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

#: Enough to speed up a remote engine, without too much load for a local one.
_AT_ONCE = 8


def map_concurrently(
    work: Callable[[T], R], items: Sequence[T], seconds: float | None = None, *, at_once: int = _AT_ONCE
) -> list[R | None]:
    """Return the results of ``work`` in order, ``at_once`` at a time; None for items unfinished after ``seconds``.

    Raises what ``work`` raises, and begins nothing more then. Unfinished threads are abandoned. Without threads, the caller does all the
    work, and finishes its current item after the time limit.
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
                    # The waiting thread raises it.
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
    started = []
    with contextlib.suppress(RuntimeError):
        for _unused in range(number):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            started.append(thread)
    return started
