# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many consoles, and consoles while all actions run at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .lab import SOON_SECONDS, Lab
from .shim import Shim, shim_on
from .websockets import PANEL, Console, browser, close_all, open_console

SERVERS, EACH = 50, 20
MEGABYTES, SECONDS = 100.0, 1.0


def resident(shim: Shim) -> float:
    """Return the present memory of the process in megabytes."""
    status = Path(f"/proc/{shim.child.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


def cpu_seconds(shim: Shim) -> float:
    fields = Path(f"/proc/{shim.child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.long
def test_a_thousand_consoles_show_a_change_within_a_second(lab: Lab) -> None:
    servers = [lab.server() for _unused in range(SERVERS)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lab.outsider, servers))
    killed: dict[str, float] = {}

    def kill(server: str) -> None:
        killed[server] = time.monotonic()
        lab.client.kill(server)

    async def story(shim: Shim) -> None:
        loop = asyncio.get_running_loop()
        before = resident(shim)
        async with browser() as session:
            pages: list[Console] = []
            for server in servers:
                opened = await asyncio.gather(*(open_console(session, shim, server) for _unused in range(EACH)))
                await asyncio.gather(*(page.auth() for page in opened))
                pages += opened
            for page in pages:
                await page.until("status", "running")
            used = cpu_seconds(shim)
            await asyncio.sleep(3.0)
            idle, used = resident(shim), (cpu_seconds(shim) - used) / 3.0
            with ThreadPoolExecutor(8) as pool:
                await asyncio.gather(*(loop.run_in_executor(pool, kill, server) for server in servers))
            for page in pages:
                await page.until("status", "offline")
            waits = sorted(next(at for at, _event, text in page.heard if text == "offline") - killed[page.server] for page in pages)
            most = resident(shim)
            print(f"\n{before:.0f} MB before, {idle:.0f} idle, {most:.0f} after; {used * 100:.0f} % CPU idle")
            print(f"shown after {waits[len(waits) // 2] * 1000:.0f} ms (median), {waits[-1] * 1000:.0f} ms (last)")
            await close_all(pages)
            assert waits[-1] < SECONDS
            assert max(idle, most) < MEGABYTES

    with shim_on(lab, allowed_origins=[PANEL]) as shim:
        asyncio.run(story(shim))


#: The possible next states of each state.
NEXT = {
    "offline": {"starting", "running"},
    "starting": {"running", "stopping", "offline"},
    "running": {"stopping", "offline"},
    "stopping": {"offline", "running", "starting"},
}


@pytest.mark.samples("0")
@pytest.mark.parametrize("seed", range(3))
def test_consoles_show_possible_states_and_the_true_last_state(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    node = lab.node()
    servers = [lab.server(BOOT_SECONDS="0.2", STOP_SECONDS="0.1") for _unused in range(3)]

    def outside(server: str, choice: str) -> None:
        import docker.errors

        with contextlib.suppress(docker.errors.APIError):
            if choice == "module":
                lab.power(chance.choice(["start", "stop", "restart", "kill"]), server, wait_seconds=0)
            else:
                getattr(lab.client, choice)(server)

    async def agree(page: Console) -> None:
        """Wait until the last shown state is true and no action holds the lock."""
        deadline = time.monotonic() + SOON_SECONDS
        while True:
            seen = node.observe(page.server)
            if seen.holder is None and seen.state.value == page.states[-1] != "stopping":
                return
            assert time.monotonic() < deadline, (seen, page.heard)
            await asyncio.sleep(0.1)

    async def act(pages: list[Console], pool: ThreadPoolExecutor) -> None:
        for _unused in range(6):
            page = chance.choice(pages)
            choice = chance.choice(["console", "console", "module", "kill", "start"])
            if choice == "console":
                await page.send("set state", chance.choice(["start", "stop", "restart", "kill"]))
                await asyncio.sleep(chance.random() * 0.3)
            else:
                await asyncio.get_running_loop().run_in_executor(pool, outside, page.server, choice)

    async def story() -> None:
        async with browser() as session:
            pages = [await open_console(session, shim, server) for server in servers for _unused in range(2)]
            for page in pages:
                await page.auth()
                await page.until("status", "offline")
            with ThreadPoolExecutor(4) as pool:
                await asyncio.gather(*(act(pages, pool) for _unused in range(3)))
            for page in pages:
                await agree(page)
            for page in pages:
                assert all(after in NEXT[before] for before, after in zip(page.states, page.states[1:])), page.states
            assert [page.states for page in pages[::2]] == [page.states for page in pages[1::2]]
            await close_all(pages)
        node.journal.close()

    with shim_on(lab, allowed_origins=[PANEL]) as shim:
        asyncio.run(story())
        assert shim.events("fault") == []
