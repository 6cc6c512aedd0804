# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real players of a real Minecraft server: what they read before it is restarted, and when it is not."""

from __future__ import annotations

import signal
import time
from datetime import datetime

import pytest

from .controller import Controller
from .lab import Lab, wait_until
from .many import beside, endings, power_each
from .minecraft import Player, build, minecraft_up, playing

pytestmark = pytest.mark.long

CALLED_OFF = "[Server] Server restart called off."


@pytest.fixture(scope="session", autouse=True)
def image(docker_host: str) -> None:
    """The server's image, made once a machine."""
    build(docker_host)


def told_to(player: Player) -> list[str]:
    """What the server itself has told a player; who joins is told as well."""
    return [line for line in player.chat() if line.startswith("[Server] ")]


def started_at(lab: Lab, uuid: str) -> str:
    container = lab.container(uuid)
    assert container is not None
    return str(container["State"]["StartedAt"])


def test_players_read_each_mark_once_in_the_games_own_chat(lab: Lab) -> None:
    uuid, port = minecraft_up(lab, name="Lobby")
    with playing(port) as alice, playing(port, "bob") as bob:
        (result,) = power_each(lab, "restart", [uuid], players={"warn": [8, 4, 2]}, reason="new map", wait_for="running")
        assert result.outcome.value == "done" and result.players is not None and result.players.online == 2
        assert result.player_wait is not None and result.player_wait.announced is True
        wait_until(lambda: alice.is_gone and bob.is_gone, "both were taken out of the game")
        told = [f"[Server] Server restart in {seconds} seconds. new map" for seconds in (8, 4, 2)]
        assert told_to(alice) == told_to(bob) == told


def test_a_proxy_and_its_lobbies_count_together(lab: Lab) -> None:
    proxy, lobby = minecraft_up(lab, name="Proxy"), minecraft_up(lab, name="Lobby")
    with playing(proxy[1]) as alice, playing(lobby[1], "bob") as bob:
        results = power_each(lab, "restart", [proxy[0], lobby[0]], players={"warn": [6, 2]}, wait_for="running")
        assert endings(results) == [("done", "")] * 2
        assert len(told_to(alice)) == len(told_to(bob)) == 2
    moments = [datetime.fromisoformat(started_at(lab, uuid)[:19]) for uuid, _port in (proxy, lobby)]
    assert abs((moments[0] - moments[1]).total_seconds()) <= 3


def test_who_leaves_ends_the_wait_within_5_s(lab: Lab) -> None:
    uuid, port = minecraft_up(lab)
    with playing(port) as alice, beside(lambda: power_each(lab, "restart", [uuid], players={"warn": [120]}), lambda: None) as call:
        alice.await_chat("2 minutes")
        alice.leave()
        left = time.monotonic()
        (result,) = call.result(30)
        assert result.outcome.value == "done" and result.player_wait is not None
        # Its stop and its start take a moment, too.
        acted = result.seconds - result.player_wait.seconds
        assert time.monotonic() - left - acted < 5.5


def test_only_empty_ones_are_restarted(lab: Lab) -> None:
    busy, empty = minecraft_up(lab, name="Survival"), minecraft_up(lab, name="Creative")
    before = started_at(lab, busy[0])
    with playing(busy[1]) as alice:
        results = power_each(lab, "restart", [busy[0], empty[0]], players={"players_at_most": 0})
        assert endings(results) == [("refused", "players_online"), ("done", "")]
        assert told_to(alice) == [] and not alice.is_gone
    assert started_at(lab, busy[0]) == before


def test_players_who_were_told_read_that_it_is_called_off(lab: Lab) -> None:
    uuid, port = minecraft_up(lab)
    with playing(port) as alice:
        with beside(lambda: power_each(lab, "restart", [uuid], players={"warn": [8]}), lambda: None) as call:
            alice.await_chat("8 seconds")
            lab.edit(uuid, suspended=True)
            assert endings(call.result(30)) == [("refused", "suspended")]
        assert alice.await_chat("called off") == CALLED_OFF and not alice.is_gone


def test_ctrl_c_calls_it_off(lab: Lab, controller: Controller) -> None:
    uuid, port = minecraft_up(lab)
    with playing(port) as alice:
        with controller.start_play([controller.task("restart", uuid, warn=[300])]) as running:
            alice.await_chat("5 minutes")
            running.signal_all(signal.SIGINT)
            assert alice.await_chat("called off") == CALLED_OFF
            running.wait()
        assert not alice.is_gone and lab.node().countdowns.running(uuid) is None
