# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which game a server has, where it is asked, and how its players are told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.game_keys import PROTOCOLS, GameProfile, Rcon
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_commands import CommandEnd
from ansible_collections.fleet.power.plugins.module_utils._power.games import minecraft
from ansible_collections.fleet.power.plugins.module_utils._power.games.game import Game, ProfiledGames
from ansible_collections.fleet.power.plugins.module_utils._power.games.profiled import QUERIES, ProfiledGame
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server, Snapshot
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock, FakeEngine
from ansible_collections.fleet.power.tests.unit.game_support import RconGame, minecraft_game, quake_game, source_game, stream_game

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

    def test_without_a_word_of_it_a_server_has_none(self) -> None:
        assert profile_of({}, of=definition()) is None
        assert profile_of({"profiles": self.OWN}, of=definition()) is None

    def test_its_definition_names_one_built_in_or_of_the_settings(self) -> None:
        assert profile_of({}, of=definition(game="minecraft")) == GameProfile(protocol="minecraft", stdin="say {message}")
        assert profile_of({"profiles": self.OWN}, of=definition(game=" own ")) == GameProfile(protocol="a2s")

    @pytest.mark.parametrize(
        "servers",
        [
            {"server": "Lobby"},
            {"server": LOBBY.uuid.upper()},
            {"egg": EGG.upper()},
            {"label": {"tier": "gold"}},
            {"image": "registry.example.test:5000/games"},
            {"image": "registry.example.test:5000/games/java"},
            {"image": "registry.example.test:5000/games/java:21"},
            {"egg": EGG, "label": {"tier": "gold"}, "server": "Lobby", "image": "registry.example.test:5000/"},
        ],
    )
    def test_else_the_first_rule_that_is_for_it_does(self, servers: dict[str, object]) -> None:
        rules = [{"server": "Other", "game": "quake3"}, {**servers, "game": "own"}, {"server": "Lobby", "game": "quake3"}]
        assert profile_of({"profiles": self.OWN, "rules": rules}, of=definition()) == GameProfile(protocol="a2s")

    @pytest.mark.parametrize(
        "servers",
        [
            {"egg": "other"},
            {"label": {"tier": "silver"}},
            {"image": "registry.example.test"},
            {"image": "registry.example.test:5000/games/jav"},
            {"image": "games/java"},
            {"image": "registry.example.test:5000/games/java", "egg": "other"},
        ],
    )
    def test_a_rule_is_for_no_other(self, servers: dict[str, object]) -> None:
        assert profile_of({"rules": [{**servers, "game": "minecraft"}]}, of=definition()) is None

    def test_the_definition_counts_before_the_rules(self) -> None:
        assert profile_of(
            {"profiles": self.OWN, "rules": [{"server": "Lobby", "game": "quake3"}]}, of=definition(game="own")
        ) == GameProfile(protocol="a2s")

    def test_without_its_definition_only_its_name_and_uuid_count(self) -> None:
        assert profile_of({"rules": [{"server": "Lobby", "game": "quake3"}]}) is not None
        assert profile_of({"rules": [{"egg": EGG, "game": "quake3"}]}) is None

    def test_what_stands_on_the_container_that_runs_gives_it_none(self) -> None:
        found = ProfiledGames(
            parse_settings({"games": {"rules": [{"label": {"game": "x"}, "game": "quake3"}]}}, where="config.yml"), engine()
        )
        told = snapshot(labels={"game": "x"}, environment=("GAME=quake3",), image="quake")
        assert found.of(LOBBY, told, definition()) is None

    def test_why_there_is_none_is_one_sentence(self) -> None:
        games = ProfiledGames(parse_settings({}, where="config.yml"), engine())
        assert games.why_none(LOBBY, definition(game="minecraft")) is None
        assert str(games.why_none(LOBBY, definition())).startswith("nothing says what is played there: neither settings.meta.game")
        mistyped = definition(game="Mine\x1bcraft")
        assert games.of(LOBBY, snapshot(), mistyped) is None
        assert str(games.why_none(LOBBY, mistyped)) == 'settings.meta.game is "Mine?craft", expected a profile: minecraft, quake3 or source'

    def test_who_has_no_games_loads_nothing_that_asks_one(self) -> None:
        module = "ansible_collections.fleet.power.plugins.module_utils._power"
        script = (
            f"import sys, {module}.actions.node.assemble\n"
            f"from {module}.games.game import ProfiledGames\n"
            f"from {module}.definitions.settings import parse_settings\n"
            "assert ProfiledGames(parse_settings({}, where=''), None).of(None, None, None) is None\n"
            f"print(*(name.rpartition('.')[2] for name in sys.modules if name.startswith('{module}.games.')))\n"
            f"print(*(name for name in sys.modules if name.endswith(('engine_commands', 'contained'))))"
        )
        assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout == "game\n\n"


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

    def test_a_port_of_the_profile_counts_and_where_it_is_published_as_another_that(self) -> None:
        with minecraft_game(lambda: {"online": 3, "max": 20}) as address:
            seen = snapshot(addresses={"25575/tcp": (("127.0.0.1", address[1]),)})
            assert game(replace(MINECRAFT, port=25575), seen).players() == PlayerCount(3, 20)

    def test_where_the_container_does_not_say_its_default_port_the_definition_does(self) -> None:
        with minecraft_game(lambda: {"online": 3, "max": 20}) as address:
            given = definition(allocations={"default": {"ip": "0.0.0.0", "port": address[1]}})
            for told in ("x", "", "99999", "²", "٣"):
                seen = snapshot(address[1], environment=(f"SERVER_PORT={told}",))
                assert game(MINECRAFT, seen, of=given).players().online == 3

    def test_another_servers_port_is_never_asked_though_the_definition_names_it_by_now(self) -> None:
        given = definition(allocations={"default": {"ip": "0.0.0.0", "port": 25570}})
        asked = game(MINECRAFT, snapshot(25565, environment=()), of=given).players()
        assert asked == PlayerCount(why="its container has not published port 25570/tcp")

    @pytest.mark.parametrize(
        ("seen", "local", "why"),
        [
            (snapshot(environment=()), True, "it has no default allocation, and its profile names no port"),
            (snapshot(protocol="udp"), True, "its container has not published port 25565/tcp"),
            (snapshot(addresses={"25565/tcp": ()}), True, "its container has not published port 25565/tcp"),
            (snapshot(), False, "its engine is on another machine, where only a command can ask and tell"),
        ],
    )
    def test_where_it_cannot_be_asked_it_is_unknown(self, seen: Snapshot, local: bool, why: str) -> None:
        assert game(MINECRAFT, seen, engine(local=local)).players() == PlayerCount(why=why)

    def test_what_is_not_answered_is_unknown_and_names_who_was_asked(self) -> None:
        with stream_game(lambda connection: connection.recv(4096) and connection.recv(1)) as address:
            silent = game(MINECRAFT, snapshot(address[1]), seconds=0.2).players()
        assert silent == PlayerCount(why=f"the game at 127.0.0.1:{address[1]} gave no whole answer within 0.2 s")

    def test_without_a_query_it_is_unknown(self) -> None:
        assert game(GameProfile(stdin="say {message}"), snapshot()).players() == PlayerCount(why="its game has no query")

    def test_a_fault_of_ours_is_unknown_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(minecraft, "read_answer", lambda read: 1 / 0)
        with minecraft_game(lambda: {"online": 3}) as address:
            assert game(MINECRAFT, snapshot(address[1])).players() == PlayerCount(
                why="the query failed by a fault in this collection (ZeroDivisionError)"
            )

    @pytest.mark.parametrize(
        ("ended", "count"),
        [
            (CommandEnd(0, b"3\n"), PlayerCount(3)),
            (CommandEnd(0, b"3/20\n"), PlayerCount(3, 20)),
            (CommandEnd(0, b"none\n"), PlayerCount(why="its query command prints no number of players")),
            (CommandEnd(3, b"3\n"), PlayerCount(why="its query command ended with exit code 3")),
            (
                CommandEnd(127),
                PlayerCount(why="its query command cannot be run: its container has no such program, or none that may be run"),
            ),
            (CommandEnd(None, b"", "has not ended in time"), PlayerCount(why="its query command has not ended in time")),
        ],
    )
    def test_a_command_asks_wherever_the_engine_is(self, ended: CommandEnd, count: PlayerCount) -> None:
        for local in (True, False):
            own = engine(local=local)
            own.commands.ends.append(ended)
            assert game(GameProfile(count=("players", "-c")), snapshot(), own).players() == count
            assert own.commands.ran == [("players", "-c")]


HOSTILE = '§aRestart\nop somebody\r\n/stop\0\x1b[2J"; quit; "$(reboot) {message} {time}' + "x" * 10_000


class TestAnnounce:
    def test_a_line_is_written_to_standard_input(self) -> None:
        own = engine()
        assert game(MINECRAFT, snapshot(), own).announce("Restart in 10 minutes.") == ""
        assert own.calls == [("write_stdin", "say Restart in 10 minutes.\n")]

    def test_whatever_the_message_holds_it_is_one_line_of_plain_text(self) -> None:
        own = engine()
        assert game(MINECRAFT, snapshot(), own).announce(HOSTILE) == ""
        line = own.calls[0][1]
        assert line.startswith("say Restart op somebody /stop ', quit, '(reboot) {message} {time}x")
        assert (line.count("\n"), line.endswith("\n"), len(line) < 250) == (1, True, True)
        assert line[:-1].isprintable() and not set(line) & set('§;"')

    def test_without_an_open_standard_input_it_is_told_and_nothing_is_written(self) -> None:
        own = engine()
        assert game(MINECRAFT, snapshot(open_stdin=False), own).announce("Hello") == "its container has no open standard input"
        assert own.calls == []

    def test_a_process_that_does_not_read_is_told(self) -> None:
        own = engine()
        own.fail("write_stdin", EngineError("Cannot write: its process does not read it", not_read=True))
        assert "does not read its standard input" in game(MINECRAFT, snapshot(), own).announce("Hello")

    @pytest.mark.parametrize("error", [EngineUnreachable("Cannot write: the engine is gone"), EngineError("Cannot write: no")])
    def test_what_the_engine_refuses_is_told(self, error: Exception) -> None:
        own = engine()
        own.fail("write_stdin", error)
        assert game(MINECRAFT, snapshot(), own).announce("Hello") == str(error)

    @pytest.mark.parametrize("text", ["", "\n", "\0\x1b[31m§c", "\u202e"])
    def test_an_empty_message_is_not_sent(self, text: str) -> None:
        own = engine()
        assert game(MINECRAFT, snapshot(), own).announce(text) == "the message is empty"
        assert own.calls == []

    def test_without_an_announcement_it_is_told(self) -> None:
        assert game(GameProfile(protocol="a2s"), snapshot()).announce("Hello") == "its game has no announcement"

    def test_a_command_gets_the_message_as_one_word(self) -> None:
        own = engine(local=False)
        assert game(GameProfile(command=("tell", "-x", "{message}", "all: {message}")), snapshot(), own).announce(f"--{HOSTILE}") == ""
        words = own.commands.ran[0]
        assert words[:2] == ("tell", "-x") and len(words) == 4
        assert words[2].startswith('Restart op somebody /stop "; quit; "$(reboot) {message} {time}x')
        assert words[3] == f"all: {words[2]}" and words[2].isprintable()

    def test_a_command_that_fails_is_told(self) -> None:
        own = engine()
        own.commands.ends += [CommandEnd(1), CommandEnd(None, b"", "has not ended in time")]
        told = [game(GameProfile(command=("tell", "{message}")), snapshot(), own).announce("Hello") for _each in range(2)]
        assert told == ["its announce command ended with exit code 1", "its announce command has not ended in time"]

    RCON = GameProfile(rcon=Rcon("RCON_PASS", "say {message}", None, "RCON_PORT"))

    def rcon_snapshot(self, port: int, password: str = "hunter22") -> Snapshot:
        return snapshot(port, environment=(f"RCON_PASS={password}", f"RCON_PORT={port}", "SERVER_PORT=1"))

    def test_rcon_gets_one_line_of_plain_text(self) -> None:
        rcon = RconGame("hunter22")
        with rcon.up() as address:
            assert game(self.RCON, self.rcon_snapshot(address[1])).announce(HOSTILE) == ""
        assert rcon.heard[0].startswith("say Restart op somebody /stop ', quit, '(reboot) {message}")
        assert rcon.heard[0].isprintable() and len(rcon.heard) == 1

    def test_a_port_that_is_not_the_servers_own_is_not_connected_to(self) -> None:
        seen = replace(self.rcon_snapshot(25575), addresses={"25565/tcp": (("127.0.0.1", 25565),)})
        assert game(self.RCON, seen).announce("Hello") == "its container has not published port 25575/tcp"

    def test_the_password_is_in_no_sentence(self) -> None:
        with RconGame("another one").up() as address:
            why = game(self.RCON, self.rcon_snapshot(address[1])).announce("Hello")
        assert why == f"the game at 127.0.0.1:{address[1]} refuses the RCON password"
