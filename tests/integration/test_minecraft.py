# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Minecraft server and a real player: he is counted, and reads what players are told."""

from __future__ import annotations

import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.games.game import Game
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount

from .lab import Lab, wait_until
from .minecraft import build, minecraft_up, playing

pytestmark = pytest.mark.long


@pytest.fixture(scope="session", autouse=True)
def image(docker_host: str) -> None:
    """The server's image, made once a machine."""
    build(docker_host)


def game_of(lab: Lab, uuid: str) -> Game:
    node = lab.node()
    snapshot, definition = node.engine.inspect(uuid), node.sources.definition_for_stop(uuid)
    assert snapshot is not None and definition is not None
    game = node.games.of(definition.server, snapshot, definition)
    assert game is not None
    return game


def test_players_are_counted_as_they_come_and_go_and_read_what_they_are_told(lab: Lab) -> None:
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
        wait_until(lambda: game.players() == PlayerCount(0, 10), "nobody plays any more")
    assert lab.is_up(uuid)


def test_a_server_that_hangs_is_unknown_in_time(lab: Lab) -> None:
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


def test_a_command_in_the_container_counts_them_as_well(lab: Lab) -> None:
    script = (
        "const net = require('net'), s = net.connect(+process.env.SERVER_PORT, '127.0.0.1', () => s.write(Buffer.from("
        "[15, 0, 47, 9, ...Buffer.from('127.0.0.1'), 99, 221, 1, 1, 0]))); let d = Buffer.alloc(0);"
        "s.on('data', c => { d = Buffer.concat([d, c]); const m = /\"online\":(\\d+)/.exec(d);"
        "if (m) { console.log(m[1]); process.exit() } })"
    )
    games = {"profiles": {"own": {"query": {"command": ["node", "-e", script]}, "announce": {"stdin": "say {message}"}}}}
    uuid, port = minecraft_up(lab, games=games, game="own")
    game = game_of(lab, uuid)
    assert game.players() == PlayerCount(0)
    with playing(port):
        assert game.players() == PlayerCount(1)
