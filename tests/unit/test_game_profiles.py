# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Games of servers: rules, settings, and messages to players."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import Definition, parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.game_keys import PROTOCOLS, GameProfile, Rcon
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.games.game import Game, ProfiledGames
from ansible_collections.fleet.power.plugins.module_utils._power.games.message import LONGEST_MESSAGE, clean, filled, for_console, for_word
from ansible_collections.fleet.power.plugins.module_utils._power.games.profiled import QUERIES, ProfiledGame
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PlayerCount
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server, Snapshot
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock, FakeEngine
from ansible_collections.fleet.power.tests.unit.game_support import RconGame, minecraft_game, quake_game, source_game
from hypothesis import given
from hypothesis import strategies as st

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


class TestRuleChoice:
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
    def test_the_first_matching_rule_selects_the_game(self, servers: dict[str, object]) -> None:
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

    def test_a_query_goes_to_the_published_address_of_the_port(self) -> None:
        with minecraft_game(lambda: {"online": 3, "max": 20}) as address:
            assert game(MINECRAFT, snapshot(address[1])).players() == PlayerCount(3, 20)
            assert game(MINECRAFT, snapshot(address[1], address="0.0.0.0")).players() == PlayerCount(3, 20)
        with source_game(3, 8, 1) as address:
            assert game(GameProfile(protocol="a2s"), snapshot(address[1], "udp")).players() == PlayerCount(2, 8)
        with quake_game(r"\sv_maxclients\8\g_humanplayers\2") as address:
            assert game(GameProfile(protocol="quake3"), snapshot(address[1], "udp")).players() == PlayerCount(2, 8)

    def test_a_port_that_the_container_has_not_published_is_not_queried(self) -> None:
        given = definition(allocations={"default": {"ip": "0.0.0.0", "port": 25570}})
        asked = game(MINECRAFT, snapshot(25565, environment=()), of=given).players()
        assert asked == PlayerCount(why="its container has not published port 25570/tcp")


HOSTILE = '§aRestart\nop somebody\r\n/stop\0\x1b[2J"; quit; "$(reboot) {message} {time}' + "x" * 10_000


class TestAnnounce:
    def test_a_hostile_message_becomes_one_line_of_plain_text(self) -> None:
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

    def test_the_error_of_a_refused_login_does_not_show_the_password(self) -> None:
        with RconGame("another one").up() as address:
            why = game(self.RCON, self.rcon_snapshot(address[1])).announce("Hello")
        assert why == f"the game at 127.0.0.1:{address[1]} refuses the RCON password"


LINE = "one line with {message} after a command, such as say {message}"


def read(*rules: object, **profiles: object) -> Settings:
    return parse_settings({"games": {"profiles": profiles, "rules": list(rules)}}, where="config.yml")


def profile(**given: object) -> GameProfile:
    return read(own=given).game_profiles["own"]


def refusal(*rules: object, **profiles: object) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        read(*rules, **profiles)
    text = str(caught.value)
    assert "\n" not in text and text.startswith("Cannot read settings config.yml: games.")
    return text.removeprefix("Cannot read settings config.yml: ")


class TestProfiles:
    @pytest.mark.parametrize(
        ("announce", "fields"),
        [
            ({"stdin": "alert {message}"}, {"stdin": "alert {message}"}),
            ({"command": ["tell", "{message}"]}, {"command": ("tell", "{message}")}),
            ({"command": ["sh", "-c", 'tell "$1"', "sh", "{message}"]}, {"command": ("sh", "-c", 'tell "$1"', "sh", "{message}")}),
            ({"rcon": {"password_variable": "RCON_PASS"}}, {"rcon": Rcon("RCON_PASS", "say {message}")}),
            ({"rcon": {"password_variable": "P", "port": 1, "command": "b {message}!"}}, {"rcon": Rcon("P", "b {message}!", 1)}),
            ({"rcon": {"password_variable": "P", "port_variable": "Q"}}, {"rcon": Rcon("P", "say {message}", None, "Q")}),
        ],
    )
    def test_each_way_to_announce_is_read(self, announce: object, fields: dict[str, Any]) -> None:
        assert profile(announce=announce) == GameProfile(**fields)

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({}, " has neither query nor announce, expected query, announce or both"),
            ({"query": "gamespy"}, '.query is "gamespy" (text), expected minecraft, a2s, quake3, or a map with command'),
            ({"query": "a2s", "port": 0}, ".port is 0 (a whole number), expected a whole number from 1 to 65535"),
            *(
                ({"announce": {"stdin": text}}, f'.announce.stdin is "{shown}" (text), expected {LINE}')
                for text, shown in (("say", "say"), (" {message}", " {message}"), ("a\nb {message}", "a?b {message}"))
            ),
            (
                {"announce": {"command": ["/bin/sh", "-ec", "echo {message}"]}},
                '.announce.command[2] has {message} in a script, expected it as a word after the script, which has it as "$1"',
            ),
            (
                {"announce": {"rcon": {"password_variable": "hunter22!"}}},
                ".announce.rcon.password_variable is text, expected the name of a variable, such as RCON_PASSWORD",
            ),
        ],
    )
    def test_a_bad_value_gives_one_sentence_with_its_key_and_the_expected_value(self, given: object, sentence: str) -> None:
        assert refusal(own=given) == f"games.profiles.own{sentence}"


class TestRules:
    @pytest.mark.parametrize(
        ("rule", "sentence"),
        [
            ({"game": "minecraft"}, " selects no server, expected one or more of server, egg, image and label"),
            ({"server": "Lobby"}, ".game is missing, expected text that is not empty"),
            ({"server": "Lobby", "game": 3}, ".game is 3 (a whole number), expected text (put it in quotes)"),
            (
                {"server": "Lobby", "game": "Minecraft"},
                '.game is "Minecraft" (text), expected a profile: minecraft, own, quake3 or source',
            ),
        ],
    )
    def test_a_bad_rule_gives_one_sentence(self, rule: object, sentence: str) -> None:
        assert refusal(rule, own={"query": "a2s"}) == f"games.rules[0]{sentence}"


ANYTHING = st.text(st.characters(exclude_categories=()), max_size=400) | st.text(
    "§\x1b[]31mk;\"'$@a\\/{}% \n\r\0\u202e\u200b\x9b\x07", max_size=80
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\r\nlines\vand\u2028more\u0085\ttoo", "two lines and more too"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07text \x1b]8;;http://x\x1b\\link \x9b1mbold", "red text link bold"),
        ("§cRed §kmagic §§aa § alone", "Red magic a alone"),
        ("\u202eright to left\u2066\u200b\u200d\ufeff", "right to left"),
        ("{time} {} {0.__class__} %s ${HOME}", "{time} {} {0.__class__} %s ${HOME}"),
    ],
)
def test_a_text_becomes_one_line_of_plain_text(text: str, line: str) -> None:
    assert clean(text) == line


@given(ANYTHING)
def test_a_cleaned_text_is_one_printable_line_without_codes(text: str) -> None:
    line = clean(text)
    assert line.isprintable()
    assert len(line) <= LONGEST_MESSAGE
    assert not set(line) & set("§\n\r\0\x1b")
    assert line == line.strip() == clean(line)
    line.encode()


@given(ANYTHING)
def test_a_message_for_a_console_ends_no_command_and_no_quotation(text: str) -> None:
    line = for_console(text)
    assert not set(line) & set(';"\\\n\r\0§')
    assert not re.search(r"@[A-Za-z]|\$[^0-9 .]", line)
    assert clean(line) == line


def test_a_message_cannot_become_an_option_of_a_program() -> None:
    assert for_word("--help") == "help"
    assert for_word("- /op somebody; $(x)") == "op somebody; $(x)"


class TestFilled:
    VALUES: ClassVar[dict[str, str]] = {"time": "10 minutes", "action": "restart", "reason": "Update", "server": "Lobby"}

    def test_a_placeholder_inside_a_value_is_not_filled(self) -> None:
        assert filled("{server}: {reason}", {**self.VALUES, "server": "{reason}", "reason": "{time}\n§a{"}) == "{reason}: {time} {"

    def test_a_long_reason_does_not_push_out_the_time(self) -> None:
        line = filled("{reason} {action} in {time}", {**self.VALUES, "reason": "r" * 10_000})
        assert line.endswith("... restart in 10 minutes")

    @given(ANYTHING, st.fixed_dictionaries(dict.fromkeys(VALUES, ANYTHING)))
    def test_a_filled_template_is_one_line(self, template: str, values: dict[str, str]) -> None:
        line = filled(template, values)
        assert line.isprintable() and "§" not in line and len(line) <= LONGEST_MESSAGE
