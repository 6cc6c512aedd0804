# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a place among the websockets, and what a server is said to use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket import rooms as rooms_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket import stats_reporter as stats_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket import websockets as websockets_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.client.member import Member
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.rooms import Rooms
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.sampler import Sampler
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.stats_reporter import StatsReporter
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.views import ServerView
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.websockets import Websockets
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_use import Use
from ansible_collections.fleet.power.plugins.module_utils._power.locking.countdown import Countdown
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SystemClock
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Snapshot


class Closed(Member):
    """A member of whom only the close code is of interest."""

    def __init__(self) -> None:
        super().__init__(cast("Any", None), lambda: None, "r", "127.0.0.1", lambda _member: None)
        self.code: int | None = None
        self.sent: list[str] = []

    def send(self, event: str, *texts: str) -> None:
        self.sent.append(event)

    def close(self, code: int, reason: str) -> None:
        self.code = code


def in_loop(story: Callable[[Websockets], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        resources = SimpleNamespace(node=None, log=None, disks=None)
        await story(Websockets(Rooms(cast("Any", resources), cast("Any", None))))

    asyncio.run(run())


def test_who_waits_longest_without_a_token_leaves_for_who_comes_and_members_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websockets_file, "MOST_IN_ALL", 4)

    async def story(websockets: Websockets) -> None:
        members = [Closed() for _unused in range(6)]
        for number, member in enumerate(members):
            assert websockets.has_place()
            websockets.enter(f"server {number}", member)
        assert [member.code for member in members] == [1013, 1013, None, None, None, None]
        assert websockets.count() == 4
        for gone in members[:2]:
            websockets.leave("server", gone)
        assert websockets.count() == 4

    in_loop(story)


def test_who_is_shut_out_has_no_token_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    room = SimpleNamespace(uuid="server", members=set(), close=lambda: None)
    room.join = room.members.add
    monkeypatch.setattr(rooms_file, "Room", lambda _uuid, _resources: room)
    monkeypatch.setattr(rooms_file, "Changes", lambda *_unused: SimpleNamespace(want=lambda _wanted: None))

    async def story(websockets: Websockets) -> None:
        stranger, expired, hears = Closed(), Closed(), Closed()
        for member in (stranger, expired, hears):
            websockets.enter("server", member)
        expired.claims = hears.claims = cast("Any", "claims")
        websockets.let_in("server", hears)
        assert websockets.shut_out() == 2
        assert [(each.code, each.claims, each.sent) for each in (stranger, expired, hears)] == [
            (None, None, []),
            (1008, None, ["token expired"]),
            (1008, None, ["token expired"]),
        ]
        assert (websockets.room("server"), websockets.count()) == (None, 1)

    in_loop(story)


# ----- use


class Engine:
    """An engine that says what a test lets it."""

    def __init__(self) -> None:
        self.said: list[Use | Exception] = []

    def use(self, _name: str) -> Use | None:
        found = self.said.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def sampled(*said: Use | Exception) -> list[float]:
    engine = Engine()
    engine.said = list(said)
    sources = SimpleNamespace(definition_for_stop=lambda _uuid: None)
    node = cast("Any", SimpleNamespace(engine=engine, settings=None, clock=SystemClock(), sources=sources))
    sampler = Sampler("u", cast("Any", SimpleNamespace(of=lambda _uuid, _settings: 7)))
    sight = ServerView(PowerState.RUNNING, snapshot=Snapshot(id="c", name="n", live=True, started_at="2026-01-01T00:00:00Z"))
    found = [json.loads(sampler.text(sight, node)) for _unused in said]
    assert all(each["disk_bytes"] == 7 and each["state"] == "running" for each in found)
    return [each["cpu_absolute"] for each in found]


def use(at: float, cpu: float) -> Use:
    return Use(at=at, cpu_seconds=cpu, memory=1, memory_limit=2)


def test_who_asks_between_two_looks_gets_the_last_figure_and_spoils_none() -> None:
    assert sampled(use(10, 5), use(11, 5.5), use(11.1, 5.6), use(12, 6)) == [0.0, 50.0, 50.0, 50.0]


def test_an_engine_that_does_not_answer_is_no_use_and_no_error() -> None:
    assert sampled(EngineUnreachable("gone"), use(10, 5)) == [0.0, 0.0]


# ----- countdowns


def test_a_room_hears_of_a_countdown_but_not_of_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_file, "_SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(stats_file, "_LEAST_PAUSE_SECONDS", 0.0)
    waiting = Countdown(1, 2, "boot", "op-1", "restart", "12:00", "waiting", "13:00", origin="alice@web1", reason="secret")
    counting = replace(waiting, phase="counting", due="13:01", online=3)
    found = [None, waiting, waiting, counting, replace(counting, online=2), None, None]
    view = ServerView(PowerState.RUNNING, snapshot=Snapshot("c", "server", live=True, started_at="s"))
    heard: list[str] = []

    async def run() -> None:
        over = asyncio.Event()

        def running(_uuid: str) -> Countdown | None:
            if len(found) == 1:
                over.set()
            return found.pop(0) if found else None

        node = SimpleNamespace(countdowns=SimpleNamespace(running=running))
        resources = SimpleNamespace(node=SimpleNamespace(now=lambda: node), disks=None, stats_threads=InLoop())
        reporter = StatsReporter("server", cast("Any", resources), lambda: view, heard.extend)
        monkeypatch.setattr(reporter, "_sampler", SimpleNamespace(text=lambda *_unused: "{}"))
        reporter.begin()
        await over.wait()
        await asyncio.sleep(0)
        reporter.stop()

    asyncio.run(run())
    events = [json.loads(frame) for frame in heard]
    told = [json.loads(event["args"][0]) for event in events if event["event"] == "countdown"]
    facts = {"action": "restart", "since": "12:00"}
    assert told == [{**facts, "phase": "waiting", "due": "13:00"}, {**facts, "phase": "counting", "due": "13:01"}, None]


class InLoop:
    async def ask(self, work: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        return work()
