# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets of the HTTP shim, its settings and its service."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.listener import Listener
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.tests.unit.thread_support import until
from ansible_collections.fleet.power.tests.unit.tls_support import server_tls

pytest.importorskip("aiohttp")
import io
import json

import pytest
from aiohttp import web
from ansible_collections.fleet.power.plugins.module_utils._http_shim import service as service_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.log import Log
from ansible_collections.fleet.power.plugins.module_utils._http_shim.service import Service
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def good(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="good")


def serve(client: Callable[[Listener, int], Awaitable[None]], answer: Answer = good, tls: ssl.SSLContext | None = None, **api: int) -> None:
    async def run() -> None:
        settings = parse_settings({"api": {"host": "127.0.0.1", "port": 0, "request_timeout": 1, **api}}, where="a test")
        listener = Listener(answer, settings, tls)
        await listener.bind()
        await listener.open()
        try:
            await client(listener, int(listener.address.rpartition(":")[2]))
        finally:
            await listener.close()

    asyncio.run(run())


def test_the_listener_disconnects_a_client_that_reads_no_answers() -> None:
    waiting: list[int] = []

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        waiting.append(len(getattr(request.protocol, "_messages", ())))
        await asyncio.sleep(0.01)
        return web.Response(body=b"x" * 65536)

    async def client(listener: Listener, port: int) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET)
        await until(lambda: waiting)
        writer.write(GET * 100_000)
        await until(lambda: listener.connections == 0)
        writer.transport.abort()
        # A read of the socket returns up to 256 KiB.
        assert max(waiting) * len(GET) < 512 * 1024

    serve(client, slow)


@pytest.mark.parametrize("method, goes_on", [("GET", False), ("POST", True)])
def test_a_disconnect_cancels_a_get_request_and_not_a_post_request(method: str, goes_on: bool) -> None:
    at_work: list[int] = []
    ends: list[str] = []

    async def slow(_request: web.BaseRequest) -> web.StreamResponse:
        at_work.append(1)
        try:
            await asyncio.sleep(1.5)
            ends.append("done")
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return web.Response(text="good")

    async def client(listener: Listener, port: int) -> None:
        before = len(asyncio.all_tasks())
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET.replace(b"GET", method.encode()))
        await until(lambda: at_work)
        writer.close()
        await until(lambda: listener.connections == 0, 1.0)
        await until(lambda: len(asyncio.all_tasks()) == before)

    serve(client, slow)
    assert ends == ["done" if goes_on else "cancelled"]


@pytest.fixture(name="tls")
def own_tls(tmp_path: Path) -> ssl.SSLContext:
    return server_tls(tmp_path)


def test_handshakes_count_and_connections_over_the_limit_get_no_handshake(tls: ssl.SSLContext) -> None:
    async def client(listener: Listener, port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _unused in range(3)]
        await until(lambda: listener.connections == 3)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(1), 20.0) == b""
        for _reader, each in [*held, (reader, writer)]:
            each.close()
        await asyncio.sleep(1.1)
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.write(GET)
        assert b"200" in await asyncio.wait_for(reader.readline(), 20.0)
        writer.close()

    serve(client, tls=tls, max_connections=3, request_timeout=60)


def test_an_endless_handshake_is_disconnected(tls: ssl.SSLContext) -> None:
    async def client(listener: Listener, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"\x16\x03\x01")
            await until(lambda: listener.connections == 1)
            await until(lambda: gc.collect() is not None and listener.connections == 0)

    serve(client, tls=tls)


OLD, NEW = "the-token-that-counts-now", "the-token-that-comes-after-it"


class World:
    def __init__(self, root: Path) -> None:
        self.path = root / "config.yml"
        self._root = root
        self._output = io.StringIO()

    def write(self, token: str) -> None:
        directories = {name: str(self._root) for name in ("lock_directory", "state_directory", "data", "definitions")}
        self.path.write_text(json.dumps({"token": token, "system": directories}))
        self.path.chmod(0o600)

    def run(self, story: Callable[[Service], Awaitable[None]]) -> list[dict[str, str]]:
        async def main() -> None:
            await story(Service(str(self.path), service_file.read_settings(str(self.path)), log))

        log = Log(self._output)
        asyncio.run(main())
        log.close()
        return [json.loads(line) for line in self._output.getvalue().splitlines()]


@pytest.fixture(name="world")
def world_of_the_test(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.write(OLD)
    return world


def broken(*_unused: object) -> None:
    raise KeyError("a fault of ours")


@pytest.mark.parametrize(
    "token", [f"{OLD}\n", f" {OLD}", f"{OLD}\t", f"{OLD}\x01", f"{OLD}\r\nX: {OLD}", f"{OLD}\x7f", f"{OLD}\u00a0"], ids=repr
)
def test_a_token_that_no_request_can_carry_is_refused_and_the_old_token_stays(world: World, token: str) -> None:
    async def story(service: Service) -> None:
        world.write(token)
        await service._reload()
        assert service._settings.token == OLD

    (entry,) = world.run(story)
    with pytest.raises(SettingsInvalid) as refused:
        service_file.read_settings(str(world.path))
    assert (entry["event"], entry["reason"]) == ("settings_not_reloaded", str(refused.value))
    assert "control characters, or blanks at an end" in entry["reason"]
    assert OLD not in entry["reason"]
    assert "\n" not in entry["reason"]


@pytest.mark.parametrize("where", ["read_settings", "applicable"])
def test_a_bug_during_a_reload_is_logged_and_the_next_reload_works(world: World, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async def story(service: Service) -> None:
        world.write(NEW)
        with monkeypatch.context() as patch:
            patch.setattr(service_file, where, broken)
            await service._reload()
        assert service._settings.token == OLD
        await service._reload()
        assert service._settings.token == NEW

    entries = world.run(story)
    assert [entry["event"] for entry in entries] == ["fault", "token_changed", "settings_reloaded"]
    assert "KeyError" in entries[0]["reason"]
