# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Chromium without a screen, driven by its own protocol: it shows one file at a time and says what became of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

_NEEDS = Path(__file__).parents[1] / "lab" / "needs"
#: Longest wait for anything of it.
_SECONDS = 60.0
#: What reaches out of the window.
_WIDE = """[...document.querySelectorAll('body *')]
.filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
.map(each => each.tagName + '.' + each.getAttribute('class')).slice(0, 5)"""


@dataclass(frozen=True)
class Look:
    width: int = 1280
    dark: bool = False


@dataclass
class Sight:
    """What became of a page: what was logged and requested, by how much it is too wide and what of it, its text, scripts and images."""

    logged: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    overflow: int = 0
    wide: list[str] = field(default_factory=list)
    text: str = ""
    content: str = ""
    scripts: int = 0
    images: int = 0


def program() -> str | None:
    """The browser of this machine, None if it has none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    subprocess.run([_NEEDS, "browser"], check=True)
    found = program()
    assert found is not None, "no Chromium"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-background-networking"]
    process = subprocess.Popen(
        [found, *options, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
        start_new_session=True,
    )
    try:
        yield Browser(_address(folder / "DevToolsActivePort"))
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(file: Path) -> str:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError("Chromium does not begin")


class Browser:
    """Shows files, each in a tab of its own."""

    def __init__(self, address: str) -> None:
        self._address = address

    def show(self, file: Path, look: Look) -> Sight:
        return asyncio.run(asyncio.wait_for(self._within(lambda tab: tab.show(file, look)), _SECONDS))

    async def _within(self, work: Callable[[_Tab], Awaitable[Any]]) -> Any:
        async with aiohttp.ClientSession() as session, session.ws_connect(self._address, max_msg_size=0) as wire:
            tab = _Tab(wire)
            reading = asyncio.ensure_future(tab.read())
            try:
                await tab.open()
                return await work(tab)
            finally:
                await tab.close()
                reading.cancel()


class _Tab:
    def __init__(self, wire: aiohttp.ClientWebSocketResponse) -> None:
        self._wire = wire
        self._count = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session = ""
        self._target = ""
        self._loaded = asyncio.Event()
        self._sight = Sight()

    async def read(self) -> None:
        async for message in self._wire:
            told = message.json()
            answer = self._answers.pop(told.get("id", 0), None)
            if answer is not None:
                answer.set_result(told)
            self._hear(told.get("method", ""), told.get("params", {}))

    def _hear(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded.set()
        elif event == "Log.entryAdded":
            self._sight.logged.append(str(told["entry"]["text"]))
        elif event == "Runtime.consoleAPICalled":
            self._sight.logged.append(str(told["args"]))
        elif event == "Runtime.exceptionThrown":
            self._sight.logged.append(str(told["exceptionDetails"]))
        elif event == "Network.requestWillBeSent":
            self._sight.requested.append(str(told["request"]["url"]))

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        self._answers[self._count] = asyncio.get_running_loop().create_future()
        session = {"sessionId": self._session} if self._session else {}
        answer = self._answers[self._count]
        await self._wire.send_json({"id": self._count, "method": method, "params": parameters, **session})
        told = await answer
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    async def open(self) -> None:
        self._target = (await self.ask("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self.ask("Target.attachToTarget", targetId=self._target, flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.ask(f"{domain}.enable")

    async def close(self) -> None:
        self._session = ""
        await self.ask("Target.closeTarget", targetId=self._target)

    async def show(self, file: Path, look: Look) -> Sight:
        await self.ask("Emulation.setDeviceMetricsOverride", width=look.width, height=900, deviceScaleFactor=1, mobile=look.width < 700)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if look.dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])
        await self.ask("Page.navigate", url=file.as_uri())
        await self._loaded.wait()
        sight = self._sight
        sight.overflow = await self._value("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        sight.wide = await self._value(_WIDE) if sight.overflow else []
        sight.text = await self._value("document.body.innerText")
        sight.content = await self._value("document.body.textContent")
        sight.scripts, sight.images = [await self._value(f"document.{name}.length") for name in ("scripts", "images")]
        return sight

    async def _value(self, expression: str) -> Any:
        return (await self.ask("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")
