# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who plays, for whoever looks at a server: no game is asked more often than every few seconds, and no look waits for a silent one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes import servers
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.servers import PlayerCounts
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount
from ansible_collections.fleet.power.tests.unit.fake_node import OTHER, UUID, FakeGame


class Hanging(FakeGame):
    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def players(self) -> PlayerCount:
        found = super().players()
        self.let_go.wait(20.0)
        return found


def test_many_looks_within_some_seconds_ask_the_game_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, game = PlayerCounts(), FakeGame()
    game.online = 3
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _unused: counts.of(UUID, game), range(200)))
    assert (found, game.looks) == ({PlayerCount(3, 20)}, 1)
    counts.of(OTHER, game)
    assert game.looks == 2
    monkeypatch.setattr(servers, "_FRESH_SECONDS", 0.0)
    game.online = 4
    assert (counts.of(UUID, game), game.looks) == (PlayerCount(4, 20), 3)


def test_a_silent_game_is_waited_for_by_one_thread_and_by_nobody_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "_PLAYERS_SECONDS", 0.05)
    monkeypatch.setattr(servers, "_FRESH_SECONDS", 0.0)
    counts, game = PlayerCounts(), Hanging()
    began = time.monotonic()
    found = {counts.of(UUID, game) for _unused in range(5)}
    assert time.monotonic() - began < 10.0
    assert (found, game.looks) == ({PlayerCount(why="the game has not answered yet")}, 1)
    monkeypatch.setattr(servers, "_FRESH_SECONDS", 60.0)
    game.let_go.set()
    monkeypatch.setattr(servers, "_PLAYERS_SECONDS", 20.0)
    assert (counts.of(UUID, game), game.looks) == (PlayerCount(0, 20), 1)
