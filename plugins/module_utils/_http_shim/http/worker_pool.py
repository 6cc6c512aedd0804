# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that may wait for a disk, an engine or a Panel: a bounded number of threads does it outside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    """From a thread, have the event loop make a call. A closed loop ignores it."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


class ThreadRefused(Exception):
    """The system has no more threads for this process."""


class WorkerPool:
    """Does work in a limited number of named daemon threads."""

    def __init__(self, threads: int, name: str) -> None:
        self._slots = asyncio.Semaphore(threads)
        self._name = name

    async def ask(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns in a thread, once one is free. Raises its errors and `ThreadRefused`. If the caller is cancelled,
        the thread continues."""
        loop = asyncio.get_running_loop()
        await self._slots.acquire()
        future: asyncio.Future[T] = loop.create_future()

        def hand_over(value: T | None, error: BaseException | None) -> None:
            # Release the slot here: a thread occupies it as long as it works, even if its caller is gone.
            self._slots.release()
            if future.done():
                return
            if error is None:
                future.set_result(value)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

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
        return await future
