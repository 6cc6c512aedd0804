# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads for the event loop of the HTTP shim, and its certificate."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.listener import load_certificate, tls_context
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.worker_pool import ThreadRefused, WorkerPool
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers import server_cache as server_cache_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.server_cache import KnownServer, ServerCache
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.thread_support import few_threads, until
from ansible_collections.fleet.power.tests.unit.tls_support import self_signed

ONE, OTHER = Server("11111111-1111-4111-8111-111111111111"), Server("22222222-2222-4222-8222-222222222222")


def test_a_cancelled_task_keeps_its_place_until_its_thread_ends() -> None:
    async def run() -> None:
        threads, go, at_work = WorkerPool(2, "test"), threading.Event(), []

        def work() -> None:
            at_work.append(1)
            go.wait(20.0)

        for _unused in range(5):
            task = asyncio.ensure_future(threads.ask(work))
            await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await until(lambda: len(at_work) >= 2)
        await asyncio.sleep(0.05)
        assert len(at_work) == 2
        go.set()
        assert await asyncio.wait_for(threads.ask(lambda: "done"), 5.0) == "done"

    asyncio.run(run())


def test_a_thread_that_cannot_start_raises_an_error_and_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        threads = WorkerPool(1, "test")
        with monkeypatch.context() as patch:
            few_threads(patch)
            for _unused in range(3):
                with pytest.raises(ThreadRefused):
                    await threads.ask(lambda: None)
        assert await asyncio.wait_for(threads.ask(lambda: "done"), 5.0) == "done"

    asyncio.run(run())


class Searches:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.searched: list[str] = []
        self.everything: Mapping[str, KnownServer] = {}
        monkeypatch.setattr(server_cache_file, "_everything", lambda _node, _before: self._answer(self.everything))
        monkeypatch.setattr(server_cache_file, "_at_hand", lambda _node: {})
        monkeypatch.setattr(server_cache_file, "_search", self._search)
        self.found: list[str] = []

    def _answer(self, found: Mapping[str, KnownServer]) -> tuple[Mapping[str, KnownServer], tuple[str, ...]]:
        self.go.wait(5.0)
        return found, ()

    def _search(self, _node: object, uuid: str) -> KnownServer | None:
        self.searched.append(uuid)
        return KnownServer(Server(uuid)) if uuid in self.found else None


def with_known(story: Callable[[ServerCache], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        server_cache = ServerCache(
            cast("Any", SimpleNamespace(settings=SimpleNamespace(remote=""))), cast("Any", SimpleNamespace(warn=print, error=print))
        )
        await server_cache.load()
        await story(server_cache)

    asyncio.run(run())


def test_a_change_during_a_full_search_wins_over_the_search_result(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = Searches(monkeypatch)
    searches.found = [ONE.uuid]
    searches.everything = {ONE.uuid: KnownServer(ONE), OTHER.uuid: KnownServer(OTHER)}

    async def story(server_cache: ServerCache) -> None:
        assert await server_cache.find(ONE.uuid) == KnownServer(ONE)
        server_cache.note_suspension(ONE.uuid, suspended=True)
        searches.go.set()
        await until(lambda: server_cache.cached(OTHER.uuid))
        assert server_cache.cached(ONE.uuid) == KnownServer(ONE, suspended=True)

    with_known(story)


def test_many_requests_for_unknown_servers_share_a_single_search(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = Searches(monkeypatch)
    looks: list[int] = []

    def new_servers(_node: object, _before: object) -> Mapping[str, KnownServer]:
        looks.append(1)
        return {ONE.uuid: KnownServer(ONE)}

    monkeypatch.setattr(server_cache_file, "_new_servers", new_servers)

    async def story(server_cache: ServerCache) -> None:
        found = await asyncio.gather(*(server_cache.find(f"{number:08}-1111-4111-8111-111111111111", shared=True) for number in range(200)))
        assert found.count(None) == 200
        assert await server_cache.find(ONE.uuid, shared=True) == KnownServer(ONE)
        assert (len(looks), searches.searched) == (1, [])
        searches.go.set()

    with_known(story)


Pair = tuple[bytes, bytes]


def pair_of(directory: Path, name: str) -> Pair:
    cert, key = self_signed(directory, name)
    return cert.read_bytes(), key.read_bytes()


def put(settings: Settings, cert: bytes, key: bytes) -> None:
    Path(settings.api_ssl_cert).write_bytes(cert)
    Path(settings.api_ssl_key).write_bytes(key)


@pytest.fixture(name="settings")
def of_files(tmp_path: Path) -> Settings:
    ssl_settings = {"enabled": True, "cert": str(tmp_path / "used.crt"), "key": str(tmp_path / "used.key")}
    return parse_settings({"api": {"ssl": ssl_settings}}, where="a test")


@contextlib.contextmanager
def repeatedly(*steps: Callable[[], None]) -> Iterator[None]:
    """Repeat each step in its own thread until the end. Files that do not match are no error."""
    over = threading.Event()

    def repeat(step: Callable[[], None]) -> None:
        while not over.is_set():
            with contextlib.suppress(SettingsInvalid):
                step()

    threads = [threading.Thread(target=repeat, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def certificate_for_client(context: ssl.SSLContext, name: str | None = None, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """The certificate that a client gets. Both ends of the connection are here."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode, trusting.maximum_version = False, ssl.CERT_NONE, newest
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname=name)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        for end in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
    return client.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("name", [None, "node.example.com"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_next_client_gets_the_new_certificate(tmp_path: Path, settings: Settings, name: str | None, newest: ssl.TLSVersion) -> None:
    pairs = [pair_of(tmp_path, each) for each in ("first", "second", "third")]
    put(settings, *pairs[0])
    context = tls_context(settings)
    for cert, key in pairs:
        put(settings, cert, key)
        load_certificate(context, settings)
        assert certificate_for_client(context, name, newest) == ssl.PEM_cert_to_DER_cert(cert.decode())


def test_clients_get_a_matching_pair_while_the_files_are_replaced(tmp_path: Path, settings: Settings) -> None:
    first, second = pair_of(tmp_path, "first"), pair_of(tmp_path, "second")
    put(settings, *first)
    context = tls_context(settings)

    def replace() -> None:
        put(settings, *second)
        put(settings, *first)

    with repeatedly(replace, lambda: load_certificate(context, settings)):
        given = {certificate_for_client(context) for _unused in range(500)}
    assert given <= {ssl.PEM_cert_to_DER_cert(cert.decode()) for cert, _key in (first, second)}
