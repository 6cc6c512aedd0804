# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of games: profiles and rules are read, and each bad value gives one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.game_keys import GameProfile, Rcon
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
    def test_players_are_told_in_one_way(self, announce: object, fields: dict[str, Any]) -> None:
        assert profile(announce=announce) == GameProfile(**fields)

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
        ({}, ' says neither how it is asked who plays nor how they are told, expected query, announce or both'),
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
    )  # fmt: skip
    def test_a_bad_value_is_one_sentence_with_its_key_and_what_was_expected(self, given: object, sentence: str) -> None:
        assert refusal(own=given) == f"games.profiles.own{sentence}"


class TestRules:
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
