# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which game a server has, where it is asked, and how its players get a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.game_keys import PROTOCOLS, GameProfile, Rcon
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.games.game import Game, ProfiledGames
from ansible_collections.fleet.power.plugins.module_utils._power.games.profiled import QUERIES, ProfiledGame
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server, Snapshot
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock, FakeEngine
from ansible_collections.fleet.power.tests.unit.game_support import RconGame, minecraft_game, quake_game, source_game

LOBBY = Server("566bf9d7-c55a-45f8-91a6-e55e9b9b1325", "Lobby")
EGG = "5d96cf7f-265b-4da9-8f0c-26ef4243ed52"
CONTAINER = "c" * 64


def definition(*, game: str | None = None, **own: Any) -> Definition:
    written = {
        "uuid": LOBBY.uuid,
        "meta": {"name": LOBBY.name, "game": game},
        "container": {"image": "~registry.example.test:5000/games/java:21"},
        "egg": {"id": EGG},
        "labels": {"tier": "gold"},
    }
    return parse_definition({"settings": {**written, **own}}, where="lobby.json")


def snapshot(port: int = 25565, protocol: str = "tcp", address: str = "127.0.0.1", **fields: Any) -> Snapshot:
    given = {"open_stdin": True, "environment": (f"SERVER_PORT={port}",), "addresses": {f"{port}/{protocol}": ((address, port),)}, **fields}
    return Snapshot(CONTAINER, LOBBY.uuid, live=True, **given)


def engine(*, local: bool = True) -> FakeEngine:
    made = FakeEngine(FakeClock())
    made.local = local
    made.put(snapshot())
    return made


def profile_of(games: Mapping[str, object], server: Server = LOBBY, of: Definition | None = None) -> GameProfile | None:
    found = ProfiledGames(parse_settings({"games": games}, where="config.yml"), engine()).of(server, snapshot(), of)
    return None if found is None else found._profile  # type: ignore[attr-defined, no-any-return]


class TestWhich:
    OWN = {"own": {"query": "a2s"}}  # noqa: RUF012

    @pytest.mark.parametrize(
        "servers",
        [
            {"server": "Lobby"},
            {"egg": EGG.upper()},
            {"label": {"tier": "gold"}},
            {"image": "registry.example.test:5000/games"},
            {"egg": EGG, "label": {"tier": "gold"}, "server": "Lobby", "image": "registry.example.test:5000/"},
        ],
    )
    def test_else_the_first_rule_that_is_for_it_does(self, servers: dict[str, object]) -> None:
        rules = [{"server": "Other", "game": "quake3"}, {**servers, "game": "own"}, {"server": "Lobby", "game": "quake3"}]
        assert profile_of({"profiles": self.OWN, "rules": rules}, of=definition()) == GameProfile(protocol="a2s")


def game(
    profile: GameProfile, seen: Snapshot, on: FakeEngine | None = None, *, seconds: float = 10.0, of: Definition | None = None
) -> Game:
    return ProfiledGame(profile, seen, of, on or engine(), seconds=seconds)


MINECRAFT = GameProfile(protocol="minecraft", stdin="say {message}")


class TestPlayers:
    def test_each_protocol_of_the_settings_has_its_query(self) -> None:
        assert tuple(QUERIES) == PROTOCOLS

    def test_each_protocol_is_asked_where_the_port_is_published(self) -> None:
        with minecraft_game(lambda: {"online": 3, "max": 20}) as address:
            assert game(MINECRAFT, snapshot(address[1])).players() == PlayerCount(3, 20)
            assert game(MINECRAFT, snapshot(address[1], address="0.0.0.0")).players() == PlayerCount(3, 20)
        with source_game(3, 8, 1) as address:
            assert game(GameProfile(protocol="a2s"), snapshot(address[1], "udp")).players() == PlayerCount(2, 8)
        with quake_game(r"\sv_maxclients\8\g_humanplayers\2") as address:
            assert game(GameProfile(protocol="quake3"), snapshot(address[1], "udp")).players() == PlayerCount(2, 8)

    def test_another_servers_port_is_never_asked_though_the_definition_names_it_by_now(self) -> None:
        given = definition(allocations={"default": {"ip": "0.0.0.0", "port": 25570}})
        asked = game(MINECRAFT, snapshot(25565, environment=()), of=given).players()
        assert asked == PlayerCount(why="its container has not published port 25570/tcp")


HOSTILE = '§aRestart\nop somebody\r\n/stop\0\x1b[2J"; quit; "$(reboot) {message} {time}' + "x" * 10_000


class TestAnnounce:
    def test_whatever_the_message_holds_it_is_one_line_of_plain_text(self) -> None:
        own = engine()
        assert game(MINECRAFT, snapshot(), own).announce(HOSTILE) == ""
        line = own.calls[0][1]
        assert line.startswith("say Restart op somebody /stop ', quit, '(reboot) {message} {time}x")
        assert (line.count("\n"), line.endswith("\n"), len(line) < 250) == (1, True, True)
        assert line[:-1].isprintable() and not set(line) & set('§;"')

    def test_a_command_gets_the_message_as_one_word(self) -> None:
        own = engine(local=False)
        assert game(GameProfile(command=("tell", "-x", "{message}", "all: {message}")), snapshot(), own).announce(f"--{HOSTILE}") == ""
        words = own.commands.ran[0]
        assert words[:2] == ("tell", "-x") and len(words) == 4
        assert words[2].startswith('Restart op somebody /stop "; quit; "$(reboot) {message} {time}x')
        assert words[3] == f"all: {words[2]}" and words[2].isprintable()

    RCON = GameProfile(rcon=Rcon("RCON_PASS", "say {message}", None, "RCON_PORT"))

    def rcon_snapshot(self, port: int, password: str = "hunter22") -> Snapshot:
        return snapshot(port, environment=(f"RCON_PASS={password}", f"RCON_PORT={port}", "SERVER_PORT=1"))

    def test_the_password_is_in_no_sentence(self) -> None:
        with RconGame("another one").up() as address:
            why = game(self.RCON, self.rcon_snapshot(address[1])).announce("Hello")
        assert why == f"the game at 127.0.0.1:{address[1]} refuses the RCON password"
