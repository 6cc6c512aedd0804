# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Panel's console over the HTTP shim: its events, permissions, tokens and limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from .lab import Lab, wait_until
from .shim import NO_ENGINE, Shim, configure, shim_on
from .websockets import PANEL, USER, browser, close_all, console, open_console, token

ALLOWED = {"allowed_origins": [PANEL]}


@pytest.fixture(name="shim")
def running_shim(lab: Lab) -> Iterator[Shim]:
    with shim_on(lab, **ALLOWED) as shim:
        yield shim


@pytest.fixture(name="bare")
def shim_without_engine(tmp_path: Path) -> Iterator[tuple[Lab, Shim]]:
    lab = Lab(tmp_path, NO_ENGINE, None)
    with shim_on(lab, **ALLOWED) as shim:
        yield lab, shim


def test_a_console_starts_a_server_and_shows_its_output_from_the_first_line(lab: Lab, shim: Shim) -> None:
    server = lab.server(BOOT_SECONDS="0.5", build={"memory_limit": 512})

    async def story() -> None:
        async with console(shim, server) as page:
            await page.until("status", "offline")
            assert json.loads(await page.until("stats"))["memory_limit_bytes"] == 588_800_000
            await page.send("set state", "start")
            await page.until("status", "running")
            await page.until("console output", "ready")
            assert await page.until("daemon message") == "start: done"
            assert page.states == ["offline", "starting", "running"]
            use = json.loads(await page.until("stats", '"state":"running"'))
            assert use["memory_bytes"] > 0
            shown = len(page.texts("console output"))
            assert shown == len(set(page.texts("console output"))) == len(lab.log(server).splitlines())

    asyncio.run(story())
    assert lab.is_up(server)
    assert [row.origin for row in lab.node().journal.operations.of(server)] == [f"127.0.0.1 (user {USER})"]


@pytest.mark.parametrize("by", ["the console", "another process"])
def test_a_console_shows_a_stop_that_no_look_sees(lab: Lab, shim: Shim, by: str) -> None:
    server = lab.server()
    shim.done(server, "start")
    lab.await_ready(server)

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with console(shim, server) as page:
            await page.until("status", "running")
            for _unused in range(3):
                begun = len(page.heard)
                if by == "the console":
                    await page.send("set state", "restart")
                else:
                    with lab.actor("restart", server) as actor:
                        await loop.run_in_executor(None, actor.result)
                await page.until("status", "running", after=begun)
            assert page.states == ["running", *["stopping", "offline", "starting", "running"] * 3]

    asyncio.run(story())


def test_a_console_shows_actions_of_other_processes_as_they_happen(lab: Lab, shim: Shim) -> None:
    server = lab.server(STOP_SECONDS="0.5", BOOT_SECONDS="0.3")

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with console(shim, server) as page:
            await page.until("status", "offline")
            # A separate process, like the module.
            with lab.actor("start", server) as actor:
                await page.until("status", "starting")
                await page.until("status", "running")
                await loop.run_in_executor(None, actor.result)
            with lab.actor("stop", server) as actor:
                await page.until("status", "stopping")
                await loop.run_in_executor(None, actor.result)
            await page.until_states("offline", "starting", "running", "stopping", "offline")
            begun = len(page.heard)
            await loop.run_in_executor(None, lab.client.start, server)
            await page.until("status", "running", after=begun)
            count = len(page.heard)
            await loop.run_in_executor(None, lab.client.kill, server)
            killed = time.monotonic()
            await page.until("status", "offline", after=count)
            assert time.monotonic() - killed < 1.0
            assert json.loads(await page.until("stats", '"state":"offline"', after=count))["memory_bytes"] == 0

    asyncio.run(story())


def test_a_console_refuses_events_that_its_token_does_not_permit(lab: Lab, shim: Shim) -> None:
    server = lab.server(MARK="1")
    shim.done(server, "start")
    lab.await_ready(server)

    async def story() -> None:
        async with console(shim, server, "websocket.connect", "control.start") as page:
            for action in ("stop", "kill", "restart"):
                count = len(page.heard)
                await page.send("set state", action)
                assert "lacks the permission control." in await page.until("daemon error", action, after=count)
            await page.send("set state", "explode")
            assert "must be one of" in await page.until("daemon error", "must be")
            await page.send("send command", "hello")
            assert "control.console" in await page.until("daemon error", "command")
            await asyncio.sleep(1.0)
            await page.send("set state", "start")
            assert "unchanged" in await page.until("daemon message")

    asyncio.run(story())
    assert lab.is_up(server)
    assert "hello" not in lab.log(server)
    assert [row.action for row in lab.node().journal.operations.of(server)] == ["start", "start"]


def test_only_a_good_token_opens_a_console(bare: tuple[Lab, Shim]) -> None:
    lab, shim = bare
    server, other = lab.server(), lab.server()
    refused = {
        "": "jwt: malformed token",
        "a.b.c": "jwt: malformed token",
        token(server, key="another key of some length, but no other token"): "jwt: HMAC verification failed",
        token(other): "jwt: server uuid mismatch",
        token(server, lasts=-1): "jwt: exp claim is invalid",
        token(server, exp=None): "jwt: exp claim is invalid",
        token(server, iat=None): "jwt: created too far in past (denylist)",
        token(server, issued=-60): "jwt: created too far in past (denylist)",
        token(server, "control.start"): "jwt: missing connect permission",
        token(server, nbf=time.time() + 60): "jwt: nbf claim is invalid",
    }

    async def story() -> None:
        async with browser() as session:
            for given, reason in refused.items():
                page = await open_console(session, shim, server)
                await page.send("set state", "kill")
                assert await page.until("jwt error") == "jwt: no jwt present"
                await page.send("auth", given)
                assert (await page.until("jwt error", reason)).startswith("Error Event [")
                await page.send("set state", "kill")
                await page.send("send stats")
                await page.auth()
                assert {event for _at, event, _text in page.heard} <= {"jwt error", "auth success"}
                await page.close()

    asyncio.run(story())
    assert lab.node().journal.operations.of(server) == []


def test_a_new_token_of_the_node_closes_consoles_with_the_old_token(bare: tuple[Lab, Shim]) -> None:
    lab, shim = bare
    server, other, new = lab.server(), lab.server(), "another token of this node, as long as it should be"

    async def story() -> None:
        async with console(shim, server) as page, console(shim, other) as elsewhere, browser() as session:
            waits = await open_console(session, shim, server)
            configure(lab, allowed_origins=[PANEL, "https://another.example.com"])
            wait_until(lambda: shim.events("settings_reloaded"), "the settings are reloaded")
            await page.send("set state", "explode")
            await page.until("daemon error", "must be one of")
            assert (page.close_code, elsewhere.close_code) == (None, None)
            configure(lab, token=new)
            for each in (page, elsewhere):
                assert await each.until_closed() == 1008
                assert each.texts("token expired") == [""]
            # A console without a token stays open and may send a new token.
            await waits.auth(key=new)
            await waits.close()
            async with console(shim, server, key=new) as reopened:
                assert reopened.close_code is None

    asyncio.run(story())
    assert [entry["closed"] for entry in wait_until(lambda: shim.events("token_changed"), "the change is in the log")] == [2]


def test_a_token_that_the_panel_revokes_opens_no_console(bare: tuple[Lab, Shim]) -> None:
    lab, shim = bare
    server = lab.server()
    given = token(server)

    async def story() -> None:
        async with console(shim, server) as page, console(shim, server, jti="another") as other:
            path, body = f"/api/servers/{server}/ws/deny", {"jtis": ["8c7dd922ad47494fc02c388e12c00eac"]}
            assert shim.ask("POST", path, body, token=None).status == 401
            assert shim.ask("POST", path, {"jtis": [1]}).status == 400
            assert shim.ask("POST", path, body).status == 204
            assert await page.until("jwt error") == "jwt: created too far in past (denylist)"
            await page.send("set state", "kill")
            await page.until("jwt error", after=len(page.heard))
            await page.send("auth", given)
            await page.until("jwt error", "Error Event")
            await page.auth(issued=2)
            await other.send("set state", "explode")
            await other.until("daemon error", "must be one of")

    asyncio.run(story())
    assert lab.node().journal.operations.of(server) == []


@pytest.mark.long
def test_an_expired_token_mutes_a_console_until_a_new_token(lab: Lab, shim: Shim) -> None:
    server = lab.server(NOISE=20)
    shim.done(server, "start")

    async def story() -> None:
        async with console(shim, server, lasts=1.5) as page:
            await page.until("token expiring")
            await page.until("console output")
            await page.until("token expired")
            count = len(page.heard)
            await page.send("set state", "kill")
            assert await page.until("jwt error") == "jwt: exp claim is invalid"
            await asyncio.sleep(1.2)
            assert [event for _at, event, _text in page.heard[count:]] == ["jwt error"]
            await page.auth(lasts=600)
            await page.until("status", "running", after=count)
            await page.until("console output", after=count)

    asyncio.run(story())
    assert lab.is_up(server)


def test_invalid_events_get_no_answer_and_too_large_frames_close_the_console(bare: tuple[Lab, Shim]) -> None:
    lab, shim = bare
    server = lab.server()
    odd = (
        "",
        "null",
        "[]",
        "{}",
        '{"event":1}',
        '{"event":"auth","args":"x"}',
        '{"event":"auth","args":[{}]}',
        "[" * 2000,
        '{"event":"none"}',
    )

    async def story() -> None:
        async with console(shim, server) as page:
            count = len(page.heard)
            for text in odd:
                await page.socket.send_str(text)
            await page.socket.send_bytes(b"\x00\xff")
            await page.send("set state", "explode")
            await page.until("daemon error", "must be one of")
            assert [event for _at, event, _text in page.heard[count:] if event not in ("status", "stats")] == ["daemon error"]
            # The largest allowed frame, and one byte more.
            largest = '{"event":"set state","args":["explode"]}'.ljust(4096)
            count = len(page.heard)
            await page.socket.send_str(largest)
            await page.until("daemon error", "must be one of", after=count)
            await page.socket.send_str(largest + " ")
            assert await page.until_closed() == 1009

    asyncio.run(story())
    assert shim.ask("GET", "/healthz").status == 200


@pytest.mark.samples("01810000")
@pytest.mark.parametrize(
    "sent",
    [
        b"\xf1\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        b"\x89\xfe\x01\x00\0\0\0\0" + b"x" * 256,
        b"\x81\x82\0\0\0\0\xff\xfe",
        b"\x80\x81\0\0\0\0x",
        b"\x01\x81\0\0\0\0x" + b"\x00\xfe\x0f\xff\0\0\0\0" + b"x" * 4095 + b"\x00\x81\0\0\0\0x",
        b"\x88\x81\0\0\0\0x",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=lambda sent: sent[:4].hex(),
)
def test_an_invalid_frame_closes_only_its_websocket(bare: tuple[Lab, Shim], sent: bytes) -> None:
    lab, shim = bare
    server = lab.server()
    head = (
        f"GET /api/servers/{server}/ws HTTP/1.1\r\nHost: x\r\nOrigin: {PANEL}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    began = time.monotonic()
    answer = shim.raw(head.encode() + sent, seconds=30.0)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Server:" not in answer
    assert time.monotonic() - began < 20.0
    assert shim.ask("GET", "/healthz").status == 200
    assert shim.events("fault") == []


@pytest.mark.parametrize("frame", [b"\x81\xff\0\0\0\0\x40\0\0\0\0\0\0\0", b"\x01\xff\0\0\0\0\x40\0\0\0\0\0\0\0"])
def test_the_shim_does_not_collect_an_endless_frame(bare: tuple[Lab, Shim], frame: bytes) -> None:
    lab, shim = bare
    server, sent = lab.server(), 0
    with socket.create_connection(shim.address, timeout=20) as connection:
        connection.sendall(
            f"GET /api/servers/{server}/ws HTTP/1.1\r\nHost: x\r\nOrigin: {PANEL}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 101 ")
        with contextlib.suppress(OSError):
            connection.sendall(frame)
            while sent < 64_000_000:
                connection.sendall(b"x" * 64_000)
                sent += 64_000
    # The count includes bytes in buffers when the shim hung up.
    assert sent < 32_000_000
    assert shim.ask("GET", "/healthz").status == 200


def test_consoles_without_a_token_block_no_valid_console_and_are_closed(tmp_path: Path) -> None:
    lab = Lab(tmp_path, NO_ENGINE, None)
    server = lab.server()
    with shim_on(lab, api={"port": 0, "request_timeout": 6}, **ALLOWED) as shim:

        async def story() -> None:
            async with browser() as session:
                strangers = [await open_console(session, shim, server) for _unused in range(40)]
                async with console(shim, server):
                    assert sum(each.close_code is not None for each in strangers) <= 11
                codes = [await each.until_closed() for each in strangers]
                assert codes == [1013] * 11 + [1008] * 29
                await close_all(strangers)

        asyncio.run(story())


def test_a_server_has_at_most_thirty_consoles(bare: tuple[Lab, Shim]) -> None:
    lab, shim = bare
    server, other = lab.server(), lab.server()

    async def story() -> None:
        async with browser() as session:
            pages = [await open_console(session, shim, server) for _unused in range(30)]
            late = await open_console(session, shim, server)
            for page in pages[1:]:
                await page.auth()
            await late.auth()
            refused = pages[0]
            assert await refused.until_closed() == 1013
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await open_console(session, shim, server)
            free = await open_console(session, shim, other)
            await free.auth()
            await close_all([*pages, late, free])
            opened = await open_console(session, shim, server)
            await opened.auth()
            await opened.close()

    asyncio.run(story())


def test_too_many_requests_on_a_console_are_throttled(bare: tuple[Lab, Shim]) -> None:
    lab, shim = bare
    server = lab.server()

    async def story() -> None:
        async with console(shim, server) as page:
            for _unused in range(8):
                await page.send("set state", "explode")
            assert await page.until("throttled") == "set state"
            assert len(page.texts("daemon error")) <= 5

    asyncio.run(story())


def test_the_ending_shim_closes_consoles_and_finishes_their_actions(lab: Lab, shim: Shim) -> None:
    server = lab.server(STOP_SECONDS=1)
    shim.done(server, "start")
    lab.await_ready(server)

    async def story() -> None:
        async with console(shim, server) as page:
            await page.send("set state", "stop")
            await page.until("status", "stopping")
            shim.signal(15)
            assert await page.until_closed() == 1001

    asyncio.run(story())
    assert shim.child.wait(20) == 0
    assert [row.outcome for row in lab.node().journal.operations.of(server, 1)] == ["done"]
