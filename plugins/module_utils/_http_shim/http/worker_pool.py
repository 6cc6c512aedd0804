# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that may wait for a disk, an engine or a Panel, done outside the event loop by a bounded number of threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    """From a thread, have the event loop make a call. A loop that is closed needs it no more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


class ThreadRefused(Exception):
    """The system lets this process have no more threads."""


class WorkerPool:
    """Does work in at most so many threads at a time, which have a name. They keep no process from ending."""

    def __init__(self, threads: int, name: str) -> None:
        self._slots = asyncio.Semaphore(threads)
        self._name = name

    async def ask(self, work: Callable[[], T]) -> T:
        """Have a thread work; return what ``work`` returns. Raises what it raises, `ThreadRefused`; a cancelled wait leaves it working."""
        loop = asyncio.get_running_loop()
        await self._slots.acquire()
        answer: asyncio.Future[T] = loop.create_future()

        def hand_over(value: T | None, error: BaseException | None) -> None:
            # Now, and not when nobody waits any more: the thread counts for as long as it works.
            self._slots.release()
            if answer.done():
                return
            if error is None:
                answer.set_result(value)  # type: ignore[arg-type]
            else:
                answer.set_exception(error)

        def run() -> None:
            value, error = None, None
            try:
                value = work()
            except BaseException as raised:
                error = raised
            soon(loop, hand_over, value, error)

        try:
            threading.Thread(target=run, name=self._name, daemon=True).start()
        except RuntimeError as error:
            self._slots.release()
            raise ThreadRefused(str(error)) from error
        return await answer
