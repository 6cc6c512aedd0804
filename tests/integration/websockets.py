# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consoles as the Panel's page opens them in a browser; many fit in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import jwt

from .lab import SOON_SECONDS
from .shim import TOKEN, Shim

PANEL = "https://panel.example.com"
USER = "b2f6a9d4-8a51-4c1e-9c0d-2f8f8f1f0a77"


def token(server: str, *permissions: str, key: str = TOKEN, lasts: float = 600.0, issued: float = 0.0, **claims: Any) -> str:
    """Return a token of the Panel for a server. Without permissions it is the owner's. ``issued``: seconds from now."""
    now = time.time() + issued
    wanted = {
        "iss": PANEL,
        "aud": ["https://node.example.com:8080"],
        "jti": "8c7dd922ad47494fc02c388e12c00eac",
        "iat": int(now),
        "nbf": int(now) - 300,
        "exp": time.time() + lasts,
        "server_uuid": server,
        "permissions": list(permissions) or ["*"],
        "user_uuid": USER,
        "user_id": 1,
        "unique_id": "YGcLMqIqXHO1ZqIN",
        **claims,
    }
    return jwt.encode({name: value for name, value in wanted.items() if value is not None}, key, algorithm="HS256")


class Console:
    def __init__(self, server: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.server = server
        self.socket = socket
        #: Every event so far: its time, name and text.
        self.heard: list[tuple[float, str, str]] = []
        self.close_code: int | None = None
        self._more = asyncio.Condition()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                found = json.loads(message.data)
                self.heard.append((time.monotonic(), found["event"], "".join(found.get("args", []))))
                async with self._more:
                    self._more.notify_all()
        self.close_code = self.socket.close_code
        async with self._more:
            self._more.notify_all()

    async def send(self, event: str, *texts: str) -> None:
        await self.socket.send_str(json.dumps({"event": event, "args": list(texts)}))

    async def auth(self, *permissions: str, **claims: Any) -> None:
        await self.send("auth", token(self.server, *permissions, **claims))
        await self.until("auth success")

    def texts(self, event: str) -> list[str]:
        return [text for _at, name, text in self.heard if name == event]

    @property
    def states(self) -> list[str]:
        return self.texts("status")

    async def until(self, event: str, part: str = "", *, seconds: float = SOON_SECONDS, after: int = 0) -> str:
        """Wait for an event whose text contains ``part``; skip the first ``after`` events. Return the text."""
        deadline = time.monotonic() + seconds
        while True:
            for _at, name, text in self.heard[after:]:
                if name == event and part in text:
                    return text
            left = deadline - time.monotonic()
            if left <= 0 or self._reader.done():
                raise AssertionError(f"no {event} {part!r} in {self.heard}, closed {self.close_code}")
            async with self._more:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._more.wait(), min(left, 0.5))

    async def until_states(self, *states: str, seconds: float = SOON_SECONDS) -> None:
        """Wait until the console has shown exactly these states, in this order, since its opening."""
        deadline = time.monotonic() + seconds
        while len(self.states) < len(states) and time.monotonic() < deadline and not self._reader.done():
            async with self._more:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._more.wait(), 0.5)
        assert self.states == list(states)

    async def until_closed(self, seconds: float = SOON_SECONDS) -> int | None:
        """Wait until the HTTP shim closes the console; return the close code."""
        await asyncio.wait_for(asyncio.shield(self._reader), seconds)
        return self.close_code

    async def close(self) -> None:
        await self.socket.close()
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._reader


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session without a limit of connections."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def open_console(session: aiohttp.ClientSession, shim: Shim, server: str, origin: str | None = PANEL) -> Console:
    headers = {} if origin is None else {"Origin": origin}
    url = f"{shim.url}/api/servers/{server}/ws"
    # Browsers offer compression.
    return Console(server, await session.ws_connect(url, headers=headers, compress=15))


@contextlib.asynccontextmanager
async def console(shim: Shim, server: str, *permissions: str, **claims: Any) -> AsyncIterator[Console]:
    async with browser() as session:
        opened = await open_console(session, shim, server)
        try:
            await opened.auth(*permissions, **claims)
            yield opened
        finally:
            await opened.close()


async def close_all(consoles: Sequence[Console]) -> None:
    await asyncio.gather(*(each.close() for each in consoles))
