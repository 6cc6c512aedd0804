# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clients have a place among the websockets, and which ones lose their token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket import client_messages as websockets_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket import rooms as rooms_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.client_messages import Websockets
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.member import Member
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.rooms import Rooms
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import Use


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


def test_a_client_that_is_shut_out_has_no_token_even_if_it_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
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


def use(at: float, cpu: float) -> Use:
    return Use(at=at, cpu_seconds=cpu, memory=1, memory_limit=2)
