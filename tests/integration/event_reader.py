# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the event source as ansible-rulebook does, and writes the events it takes to a file: ``event_reader.py OUTPUT < ARGUMENTS``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "extensions" / "eda" / "plugins" / "event_source" / "events.py"


class FilteredQueue:
    """The queue that ansible-rulebook gives to a source: it has `put`, and the real queue inside."""

    def __init__(self, queue: asyncio.Queue[Any]) -> None:
        self.queue = queue

    async def put(self, data: Any) -> None:
        """Wait for a free place."""
        await self.queue.put(data)


async def run(output: int, arguments: dict[str, Any]) -> None:
    """Take one event after the other, until SIGTERM."""
    queue: asyncio.Queue[Any] = asyncio.Queue(1)
    source = asyncio.ensure_future(runpy.run_path(str(SOURCE))["main"](FilteredQueue(queue), arguments))
    reader = asyncio.ensure_future(_take(queue, output))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: (source.cancel(), reader.cancel()))
    with contextlib.suppress(asyncio.CancelledError):
        await source
    with contextlib.suppress(asyncio.CancelledError):
        await reader


async def _take(queue: asyncio.Queue[Any], output: int) -> None:
    while True:
        entry = await queue.get()
        # In one write and without an await: a kill cannot lose an event that was taken.
        os.write(output, f"{json.dumps(entry)}\n".encode())


if __name__ == "__main__":
    asyncio.run(run(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), json.load(sys.stdin)))
