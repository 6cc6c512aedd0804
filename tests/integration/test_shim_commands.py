# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands for a process that does not read its standard input: their sender gets an error, and no other client waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .shim import Shim, shim_on
from .websockets import PANEL, Console, browser, close_all, console, open_console

#: More than all buffers between a client and a process hold, in lines short enough for a terminal.
_FULL = ("x" * 100 + "\n") * 1500
#: Longest time without a delay, on a loaded machine. A delayed client once took 60.
_AT_ONCE_SECONDS = 20.0


@pytest.fixture(name="shim")
def running_shim(lab: Lab, proxy: EngineProxy) -> Iterator[Shim]:
    with shim_on(lab.at(proxy.host), allowed_origins=[PANEL]) as shim:
        yield shim


def _running(lab: Lab) -> str:
    server = lab.server(MARK="1")
    assert lab.power("start", server).outcome == "done"
    lab.await_ready(server)
    return server


def _stuck(lab: Lab) -> str:
    """Return a server that is up; its process reads nothing, and its pipe is full."""
    server = _running(lab)
    lab.client.kill(server, "SIGSTOP")
    for _unused in range(3):
        lab.node().engine.write_stdin(server, _FULL)
    return server


def _attached(proxy: EngineProxy) -> int:
    """Count requests to the engine that attach to a standard input."""
    return sum("/attach?" in request.path and "stdin=1" in request.path for request in proxy.seen)


def test_the_shim_reports_an_unread_command_and_does_not_try_the_next(lab: Lab, proxy: EngineProxy, shim: Shim) -> None:
    server = _stuck(lab)

    async def story() -> None:
        async with console(shim, server) as page:
            for number in range(8):
                await page.send("send command", f"say {number}")
            await page.until("daemon error", "its process does not read")
            deadline = time.monotonic() + _AT_ONCE_SECONDS
            while len(page.texts("daemon error")) < 8:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    asyncio.run(story())
    assert _attached(proxy) == 1
    # The commands route reports no error, as in Wings; the log does.
    assert shim.ask("POST", f"/api/servers/{server}/commands", {"commands": ["say"]}).status == 204
    (logged,) = wait_until(lambda: shim.events("commands_not_written"), "it is in the log")
    assert "does not read" in logged["reason"]


@pytest.mark.long
def test_consoles_of_a_server_that_does_not_read_delay_no_other_client(lab: Lab, shim: Shim) -> None:
    stuck, other, down = _stuck(lab), _running(lab), lab.server()

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with browser() as session, console(shim, other) as page, console(shim, down) as starts:
            pages = [await _opened(session, shim, stuck) for _unused in range(16)]
            began = time.monotonic()
            for each in pages:
                for number in range(4):
                    await each.send("send command", f"say {number}")
            await page.send("send command", "say this")
            await page.until("console output", "got command say this")
            answer = await loop.run_in_executor(
                None, lambda: shim.ask("POST", f"/api/servers/{other}/commands", {"commands": ["say that"]})
            )
            assert answer.status == 204
            await page.until("console output", "got command say that")
            await starts.send("set state", "start")
            await starts.until("daemon message", "start: done")
            await pages[0].send("set state", "kill")
            await pages[0].until("daemon message", "kill: done")
            assert time.monotonic() - began < _AT_ONCE_SECONDS
            await close_all(pages)

    asyncio.run(story())
    assert not lab.is_up(stuck)


def test_an_engine_silent_for_one_server_does_not_delay_commands_to_others(lab: Lab, proxy: EngineProxy, shim: Shim) -> None:
    held, other = _running(lab), _running(lab)
    container = lab.container(held)
    assert container is not None
    hold = proxy.hold("POST", rf"/containers/{container['Id']}/attach\?.*stdin=1")

    def send(server: str) -> int:
        return shim.ask("POST", f"/api/servers/{server}/commands", {"commands": ["say this"]}).status

    with ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(send, held) for _unused in range(16)]
        hold.await_arrival()
        began = time.monotonic()
        assert send(other) == 204
        lab.await_ready(other, "got command say this")
        assert time.monotonic() - began < _AT_ONCE_SECONDS
        # The timeout of a command is shorter than the other timeouts of the engine.
        assert {each.result(30.0) for each in waiting} == {204}
        hold.drop()


async def _opened(session: object, shim: Shim, server: str) -> Console:
    opened = await open_console(session, shim, server)  # type: ignore[arg-type]
    await opened.auth()
    return opened
