# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Minecraft server and real players: the count of players and their warnings before a restart."""

from __future__ import annotations

import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount

from .lab import Lab, wait_until
from .many import beside, power_each
from .minecraft import Player, build, minecraft_up, playing
from .played import game_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="session", autouse=True)
def image(docker_host: str) -> None:
    """Make the server's image once per machine."""
    build(docker_host)


def test_players_are_counted_and_read_announcements(lab: Lab) -> None:
    uuid, port = minecraft_up(lab, name="Lobby")
    game = game_of(lab, uuid)
    assert game.players() == PlayerCount(0, 10)
    with playing(port) as alice:
        assert game.players() == PlayerCount(1, 10)
        with playing(port, "bob"):
            assert game.players() == PlayerCount(2, 10)
            assert game.announce("Restart in 10 minutes.") == ""
            assert alice.await_chat("Restart in") == "[Server] Restart in 10 minutes."
        assert game.announce('§cRestart\n/stop\nstop\r\x1b[31m; stop "{message}" Grüße @a') == ""
        line = alice.await_chat("Grüße")
        assert line == "[Server] Restart /stop stop , stop '{message}' Grüße (at)a"
        wait_until(lambda: game.players() == PlayerCount(1, 10), "bob has left")
        alice.leave()
        wait_until(lambda: game.players() == PlayerCount(0, 10), "alice has left")
    assert lab.is_up(uuid)


def test_the_player_count_of_a_hanging_server_is_unknown_in_time(lab: Lab) -> None:
    uuid, _port = minecraft_up(lab)
    game = game_of(lab, uuid)
    lab.client.pause(uuid)
    try:
        began = time.monotonic()
        assert game.players().online is None
        assert time.monotonic() - began < 4.0
    finally:
        lab.client.unpause(uuid)
    assert game.players() == PlayerCount(0, 10)
    lab.power("stop", uuid)
    assert game.players().online is None


def announced_to(player: Player) -> list[str]:
    return [line for line in player.chat() if line.startswith("[Server] ")]


def test_players_read_each_warning_once_in_the_chat(lab: Lab) -> None:
    uuid, port = minecraft_up(lab, name="Lobby")
    with playing(port) as alice, playing(port, "bob") as bob:
        (result,) = power_each(lab, "restart", [uuid], players={"warn": [8, 4, 2]}, reason="new map", wait_for="running")
        assert result.outcome.value == "done" and result.players is not None and result.players.online == 2
        assert result.player_wait is not None and result.player_wait.announced is True
        wait_until(lambda: alice.is_gone and bob.is_gone, "both players are out of the game")
        expected = [f"[Server] Server restart in {seconds} seconds. new map" for seconds in (8, 4, 2)]
        assert announced_to(alice) == announced_to(bob) == expected


def test_a_wait_for_players_ends_within_5_s_after_the_last_player_left(lab: Lab) -> None:
    uuid, port = minecraft_up(lab)
    with playing(port) as alice, beside(lambda: power_each(lab, "restart", [uuid], players={"warn": [120]}), lambda: None) as call:
        alice.await_chat("2 minutes")
        alice.leave()
        left = time.monotonic()
        (result,) = call.result(30)
        assert result.outcome.value == "done" and result.player_wait is not None
        # The stop and the start do not count.
        acted = result.seconds - result.player_wait.seconds
        assert time.monotonic() - left - acted < 5.5
