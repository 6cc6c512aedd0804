# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that say what is played where: every profile and rule is read as it is meant, and each bad value is one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.game_keys import BUILT_IN, PROTOCOLS, GameProfile, Rcon
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid

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
    def test_without_settings_there_are_those_that_are_built_in_and_no_rule(self) -> None:
        nothing = parse_settings({}, where="config.yml")
        assert (nothing.game_profiles, nothing.game_rules) == ({}, ())
        assert {name: each.protocol for name, each in BUILT_IN.items()} == {"minecraft": "minecraft", "source": "a2s", "quake3": "quake3"}
        assert {each.stdin for each in BUILT_IN.values()} == {"say {message}"}

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_query_is_a_protocol_with_or_without_a_port(self, protocol: str) -> None:
        assert profile(query=protocol) == GameProfile(protocol=protocol)
        assert profile(query=protocol, port=27016) == GameProfile(protocol=protocol, port=27016)

    def test_a_query_is_a_command(self) -> None:
        assert profile(query={"command": ["players", "--count"]}) == GameProfile(count=("players", "--count"))

    @pytest.mark.parametrize(
        ("announce", "fields"),
        [
            ({"stdin": "alert {message}"}, {"stdin": "alert {message}"}),
            ({"command": ["tell", "{message}"]}, {"command": ("tell", "{message}")}),
            ({"command": ["sh", "-c", 'tell "$1"', "sh", "{message}"]}, {"command": ("sh", "-c", 'tell "$1"', "sh", "{message}")}),
            ({"command": ["mcrcon", "-c", "say {message}"]}, {"command": ("mcrcon", "-c", "say {message}")}),
            ({"rcon": {"password_variable": "RCON_PASS"}}, {"rcon": Rcon("RCON_PASS", "say {message}")}),
            ({"rcon": {"password_variable": "P", "port": 1, "command": "b {message}!"}}, {"rcon": Rcon("P", "b {message}!", 1)}),
            ({"rcon": {"password_variable": "P", "port_variable": "Q"}}, {"rcon": Rcon("P", "say {message}", None, "Q")}),
        ],
    )
    def test_players_are_told_in_one_way(self, announce: object, fields: dict[str, Any]) -> None:
        assert profile(announce=announce) == GameProfile(**fields)

    def test_one_with_the_name_of_a_built_in_one_says_what_is_different(self) -> None:
        found = read(minecraft={"port": 25566}, source={"announce": {"rcon": {"password_variable": "P"}}}).game_profiles
        assert found["minecraft"] == GameProfile(protocol="minecraft", port=25566, stdin="say {message}")
        assert found["source"] == GameProfile(protocol="a2s", rcon=Rcon("P", "say {message}"))
        assert read(minecraft={"query": {"command": ["list"]}}).game_profiles["minecraft"].protocol == ""

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({}, ' says neither how it is asked who plays nor how they are told, expected query, announce or both'),
            (3, " is a whole number, expected a map"),
            ({"query": "gamespy"}, '.query is "gamespy" (text), expected minecraft, a2s, quake3, or a map with command'),
            ({"query": ["players"]}, ".query is a list, expected minecraft, a2s, quake3, or a map with command"),
            ({"query": {}}, ".query.command is missing, expected a list of words, the program first"),
            ({"query": {"command": "players -c"}}, ".query.command is text, expected a list of words, the program first"),
            ({"query": {"command": []}}, ".query.command is a list of 0 words, expected 1 to 64 of at most 4096 characters"),
            ({"query": {"command": ["a", 3]}}, ".query.command[1] is 3 (a whole number), expected text (put it in quotes)"),
            ({"query": {"command": ["a", ""]}}, '.query.command[1] is "" (text), expected text that is not empty'),
            ({"query": "a2s", "port": 0}, ".port is 0 (a whole number), expected a whole number from 1 to 65535"),
            ({"query": "a2s", "port": True}, ".port is true (a boolean), expected a whole number from 1 to 65535"),
            *(
                ({"announce": {"stdin": text}}, f'.announce.stdin is "{shown}" (text), expected {LINE}')
                for text, shown in (("say", "say"), (" {message}", " {message}"), ("a\nb {message}", "a?b {message}"))
            ),
            ({"announce": {"rcon": {"command": "say"}}}, f'.announce.rcon.command is "say" (text), expected {LINE}'),
            (
                {"announce": {"stdin": "say {message}", "command": ["tell", "{message}"]}},
                ".announce has stdin and command, expected one of stdin, rcon and command",
            ),
            (
                {"announce": {"command": ["tell"]}},
                ".announce.command is a list without a word that has {message} in it after the program, expected a list of words, the "
                "program first, with {message} in one of them",
            ),
            (
                {"announce": {"command": ["/bin/sh", "-ec", "echo {message}"]}},
                '.announce.command[2] has {message} in a script, expected it as a word after the script, which has it as "$1"',
            ),
            (
                {"announce": {"rcon": {"port": 1}}},
                ".announce.rcon.password_variable is missing, expected the name of a variable, such as RCON_PASSWORD",
            ),
            (
                {"announce": {"rcon": {"password_variable": "hunter22!"}}},
                ".announce.rcon.password_variable is text, expected the name of a variable, such as RCON_PASSWORD",
            ),
            (
                {"announce": {"rcon": {"password_variable": "P", "port": 1, "port_variable": "Q"}}},
                ".announce.rcon has port and port_variable, expected one of them",
            ),
        ],
    )  # fmt: skip
    def test_a_bad_value_is_one_sentence_with_its_key_and_what_was_expected(self, given: object, sentence: str) -> None:
        assert refusal(own=given) == f"games.profiles.own{sentence}"

    def test_what_nobody_knows_is_one_warning(self) -> None:
        found = read(own={"query": "a2s", "querry": 1, "announce": {"stdout": 1}})
        assert found.warnings == (
            "settings config.yml: unknown keys ignored: games.profiles.own.querry, games.profiles.own.announce.stdout",
        )


class TestRules:
    def test_a_rule_names_servers_and_a_profile(self) -> None:
        rules = read(
            {"egg": "X-1", "game": "minecraft"}, {"image": "itzg/minecraft-server", "label": {"a": 1}, "game": "own"}, own={"query": "a2s"}
        ).game_rules
        assert [(rule.servers.egg, rule.servers.image, rule.servers.label, rule.game) for rule in rules] == [
            ("x-1", "", {}, "minecraft"),
            ("", "itzg/minecraft-server", {"a": "1"}, "own"),
        ]

    @pytest.mark.parametrize(
        ("rule", "sentence"),
        [
            ({"game": "minecraft"}, " says of no server that it is for it, expected one or more of server, egg, image and label"),
            ({"server": "Lobby"}, ".game is missing, expected text that is not empty"),
            ({"server": "Lobby", "game": 3}, ".game is 3 (a whole number), expected text (put it in quotes)"),
            (
                {"server": "Lobby", "game": "Minecraft"},
                '.game is "Minecraft" (text), expected a profile: minecraft, own, quake3 or source',
            ),
        ],
    )  # fmt: skip
    def test_a_bad_rule_is_one_sentence(self, rule: object, sentence: str) -> None:
        assert refusal(rule, own={"query": "a2s"}) == f"games.rules[0]{sentence}"
