# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What threads do for the event loop of the HTTP face: bounded, told apart by what is newer, and begun again where it could not begin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.process.worker_pool import ThreadRefused, WorkerPool
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.backend import Backend
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.metrics import Metrics
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers import server_cache as server_cache_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.census import Census, NodeNumbers, ServerNumbers
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.commands import NotWritten
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.server_cache import KnownServer, ServerCache
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.client_messages import ClientMessages
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import Verdict
from ansible_collections.fleet.power.tests.unit.thread_support import few_threads, until

ONE, OTHER = Server("11111111-1111-4111-8111-111111111111"), Server("22222222-2222-4222-8222-222222222222")


# ----- threads


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


# ----- what is known of servers


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


# ----- metrics


def shown(servers: ServerNumbers, runs: NodeNumbers) -> set[str]:
    return set((Metrics(dict).text(servers, runs) or b"").decode().splitlines())


def test_a_crash_and_a_stop_are_counted_apart_and_what_keeps_the_supervisor_is_told() -> None:
    ended = {**dict.fromkeys(Verdict, 0), Verdict.CRASHED: 4, Verdict.STOPPED: 2}
    servers = ServerNumbers({"running": 1}, {"backoff": 2, "crash_loop": 1})
    lines = shown(servers, NodeNumbers(ended, {"running": True, "since": "", "paused": "wings"}))
    assert {'fleet_power_ended_runs_total{verdict="crashed"} 4.0', 'fleet_power_ended_runs_total{verdict="stopped"} 2.0'} <= lines
    assert {'fleet_power_supervision{state="backoff"} 2.0', 'fleet_power_supervision{state="crash_loop"} 1.0'} <= lines
    paused = {'fleet_power_supervisor_paused{reason="wings"} 1.0', 'fleet_power_supervisor_paused{reason="journal"} 0.0'}
    assert {"fleet_power_supervisor_up 1.0", *paused} <= lines
    assert "fleet_power_supervisor_up 0.0" in shown(servers, NodeNumbers(ended, {"running": False, "since": None, "paused": None}))


def test_metrics_tell_how_far_each_receiver_has_come() -> None:
    receiver = {"receiver": "pager", "waiting": 12, "off": False, "failing_since": "2026-01-31T04:12:01.000Z", "dropped": 3, "sent": 7}
    gone = {"receiver": "chat", "waiting": 0, "off": True, "failing_since": None, "dropped": 0, "sent": 1}
    events = {"running": True, "since": "", "kept": True, "receivers": [receiver, gone]}
    lines = shown(ServerNumbers(), NodeNumbers(events=events))
    assert {
        "fleet_power_event_sender_up 1.0",
        'fleet_power_events_waiting{receiver="pager"} 12.0',
        'fleet_power_events_sent_total{receiver="pager"} 7.0',
        'fleet_power_events_dropped_total{receiver="pager"} 3.0',
        'fleet_power_event_receiver_failing{receiver="pager"} 1.0',
        'fleet_power_event_receiver_off{receiver="pager"} 0.0',
        'fleet_power_event_receiver_off{receiver="chat"} 1.0',
        'fleet_power_event_receiver_failing{receiver="chat"} 0.0',
    } <= lines
    assert "fleet_power_event_sender_up 0.0" in shown(ServerNumbers(), NodeNumbers(events={**events, "running": False}))
    for none in ({}, {**events, "kept": False, "receivers": None}, {**events, "kept": None, "receivers": None}):
        assert not [line for line in shown(ServerNumbers(), NodeNumbers(events=none)) if "event" in line]


def test_countdowns_and_outdated_containers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> ServerNumbers:
        node = SimpleNamespace(
            journal=SimpleNamespace(told_runs=SimpleNamespace(totals=dict)), settings=SimpleNamespace(state_directory="/")
        )
        census = Census(*cast("Any", (node, SimpleNamespace(all_servers=_nothing), None)))
        quiet = {"state": "running", "supervision": None, "countdown": None, "outdated": {"is": None}}
        counting = {**quiet, "countdown": {"phase": "counting"}, "outdated": {"is": True}}
        monkeypatch.setattr(census, "_seen", lambda _servers: [quiet, counting, counting, {**quiet, "state": None, "outdated": None}])
        return (await census.numbers())[0]

    lines = shown(asyncio.run(run()), NodeNumbers())
    assert {'fleet_power_countdowns{phase="waiting"} 0.0', 'fleet_power_countdowns{phase="counting"} 2.0'} <= lines
    outdated = {f'fleet_power_outdated{{outdated="{name}"}} {number}' for name, number in (("yes", 2.0), ("no", 0.0), ("unknown", 1.0))}
    assert outdated <= lines


async def _nothing() -> list[Server]:
    return []


# ----- consoles whose token was taken back


def test_a_muted_client_hears_nothing_of_what_it_asked() -> None:
    sent: list[object] = []
    member = cast(
        "Any", SimpleNamespace(send=lambda *texts: sent.append(texts), send_frame=sent.append, request="r", gone=False, sees_errors=False)
    )
    room = SimpleNamespace()
    ended = {"id": "o", "outcome": "done", "action": "stop"}

    async def ask(_work: object) -> list[str]:
        return ["line"]

    async def stats() -> str:
        return "{}"

    async def one(*_unused: object) -> dict[str, str]:
        return ended

    async def write(_uuid: str, text: str) -> NotWritten:
        return NotWritten(error="the engine is silent") if text == "silent\n" else NotWritten("it does not read")

    async def listening() -> None:
        pass

    async def run() -> None:
        room.ask, room.stats, room.listening = ask, stats, listening
        websockets = SimpleNamespace(room=lambda _uuid: room, ending=False, look=lambda _uuid: None)
        log = SimpleNamespace(warn=lambda *_unused, **_fields: None)
        node, operations = SimpleNamespace(now=lambda: None), SimpleNamespace(one=one)
        backend = Backend(*cast("Any", (node, None, None, operations, SimpleNamespace(write=write), None, log)))
        messages = ClientMessages(backend, cast("Any", websockets))
        for members, heard in ((set(), 0), ({id(member)}, 5)):
            room.members = _Members(members)
            await messages._send_logs(ONE, member, cast("Any", None), "")
            await messages._send_stats(ONE, member, cast("Any", None), "")
            await messages._report(ONE, member, "o")
            for text in ("silent", "say"):
                await messages._write(ONE, member, cast("Any", room), text)
            assert len(sent) == heard

    asyncio.run(run())


class _Members:
    """The members of a room, by identity: what stands for one here has no hash."""

    def __init__(self, members: set[int]) -> None:
        self._members = members

    def __contains__(self, member: object) -> bool:
        return id(member) in self._members
