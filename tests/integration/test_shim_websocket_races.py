# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consoles while everybody acts at once: what they tell is what was, and they agree on the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .lab import SOON_SECONDS, Lab
from .shim import shim_on
from .websockets import PANEL, Console, browser, close_all, open_console

#: What may follow each state.
NEXT = {
    "offline": {"starting", "running"},
    "starting": {"running", "stopping", "offline"},
    "running": {"stopping", "offline"},
    "stopping": {"offline", "running", "starting"},
}


@pytest.mark.samples("0")
@pytest.mark.parametrize("seed", range(3))
def test_consoles_tell_a_possible_story_and_its_true_end(lab: Lab, seed: int) -> None:
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
        """Wait until what was told last is so, and nobody is about to change it."""
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
