# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Countdowns whose process has died: players are told that nothing comes of them. Lives in the event loop; a thread looks."""

from __future__ import annotations

import asyncio

from ..._power.actions.players.call_off import call_off_all_abandoned
from ..._power.model.errors import internal_error
from ..process.log import Log
from ..process.worker_pool import WorkerPool
from .shared_node import SharedNode

_EVERY_SECONDS = 10.0


async def keep_calling_off(node: SharedNode, log: Log) -> None:
    """Call off, again and again, what nobody goes on with. What this process has resumed is not among it."""
    threads = WorkerPool(1, "call-off")
    while True:
        try:
            await threads.ask(lambda: call_off_all_abandoned(node.for_reading()))
        except Exception as error:
            # A fault of ours must not be the last look.
            log.error("fault", reason=internal_error(error))
        await asyncio.sleep(_EVERY_SECONDS)
