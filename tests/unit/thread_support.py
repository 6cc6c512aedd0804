# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Support for tests of threads and event loops: waiting for a condition, and a limit of threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline, wait_until
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK

_Result = TypeVar("_Result")


def in_threads(count: int, work: Callable[[int], _Result]) -> list[_Result]:
    """Call ``work`` with each number below ``count`` in threads at once; return the results in order, or raise the first error."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Let the event loop run until the condition holds. Fails after so many seconds."""
    deadline = Deadline.after(SYSTEM_CLOCK, seconds)
    while not condition():
        assert not deadline.is_over
        await asyncio.sleep(0.005)


def block_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Let other threads and processes run until the condition holds. Fails after so many seconds."""
    assert wait_until(lambda: bool(condition()), Deadline.after(SYSTEM_CLOCK, seconds), every=0.005)


def few_threads(patch: pytest.MonkeyPatch, count: int = 0) -> None:
    left, start = [None] * count, threading.Thread.start

    def start_if_any(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    patch.setattr(threading.Thread, "start", start_if_any)
