# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Very many idle consoles at the HTTP face: how long a change of each server takes to be known to all, and what they cost in memory."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.fleet.power.tests.bench.many import in_parallel, take_away
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound
from ansible_collections.fleet.power.tests.bench.shim import resident
from ansible_collections.fleet.power.tests.integration.lab import Lab
from ansible_collections.fleet.power.tests.integration.shim import Shim, shim_on
from ansible_collections.fleet.power.tests.integration.websockets import PANEL, Console, browser, close_all, open_console

_SERVERS, _EACH = 50, 20
_KILLS_AT_ONCE = 8


def measure(lab: Lab) -> list[Row]:
    """Two rows: the time from the request to the engine that changes a server's state to the last console's word, and megabytes."""
    servers = [lab.server() for _number in range(_SERVERS)]
    try:
        in_parallel(lab.outsider, servers)
        with shim_on(lab, allowed_origins=[PANEL]) as shim:
            waits, idle, most = asyncio.run(_story(lab, shim, servers))
    finally:
        take_away(lab, servers)
    told = Spread(tuple(waits), "s")
    note = f"{_SERVERS * _EACH} consoles of {_SERVERS} servers, each of which is killed; median {1000 * told.median:.0f} ms"
    return [
        Row("shim, a change told to the last", told, None, "", max(waits), 1, "s", (note,)),
        bound(
            "shim, memory with consoles", Spread((max(idle, most),), "MB"), 100, [f"{idle:.1f} MB idle, {most:.1f} MB after the changes"]
        ),
    ]


async def _story(lab: Lab, shim: Shim, servers: list[str]) -> tuple[list[float], float, float]:
    """The seconds of each console, and megabytes before and after."""
    killed: dict[str, float] = {}

    def kill(server: str) -> None:
        killed[server] = time.monotonic()
        lab.client.kill(server)

    async with browser() as session:
        pages: list[Console] = []
        for server in servers:
            opened = await asyncio.gather(*(open_console(session, shim, server) for _number in range(_EACH)))
            await asyncio.gather(*(page.auth() for page in opened))
            pages += opened
        for page in pages:
            await page.until("status", "running")
        await asyncio.sleep(3.0)
        idle = resident(shim)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(_KILLS_AT_ONCE) as pool:
            await asyncio.gather(*(loop.run_in_executor(pool, kill, server) for server in servers))
        for page in pages:
            await page.until("status", "offline")
        waits = [next(at for at, _event, text in page.heard if text == "offline") - killed[page.server] for page in pages]
        most = resident(shim)
        await close_all(pages)
    return waits, idle, most
