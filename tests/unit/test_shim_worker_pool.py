# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads for the event loop of the HTTP face are bounded, and newer knowledge wins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.worker_pool import ThreadRefused, WorkerPool
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers import server_cache as server_cache_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.server_cache import KnownServer, ServerCache
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.thread_support import few_threads, until

ONE, OTHER = Server("11111111-1111-4111-8111-111111111111"), Server("22222222-2222-4222-8222-222222222222")


def test_who_is_cancelled_while_a_thread_works_gives_no_place_to_another_thread() -> None:
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


def test_a_thread_that_cannot_begin_is_an_error_and_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_was_told_while_everything_was_asked_is_newer_than_what_that_finds(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_however_many_without_a_token_ask_for_what_is_not_there_it_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = Searches(monkeypatch)
    looks: list[int] = []

    def new_servers(_node: object, _before: object) -> Mapping[str, KnownServer]:
        looks.append(1)
        return {ONE.uuid: KnownServer(ONE)}

    monkeypatch.setattr(server_cache_file, "_new_servers", new_servers)

    async def story(server_cache: ServerCache) -> None:
        found = await asyncio.gather(*(server_cache.find_shared(f"{number:08}-1111-4111-8111-111111111111") for number in range(200)))
        assert found.count(None) == 200
        assert await server_cache.find_shared(ONE.uuid) == KnownServer(ONE)
        assert (len(looks), searches.searched) == (1, [])
        searches.go.set()

    with_known(story)
