# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of the settings for games: profiles, and rules that assign them to servers; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..model.records import dataclass, replace
from ..model.schema import (
    REQUIRED,
    Check,
    Gathered,
    KeyLocation,
    KeySpec,
    Mismatch,
    ValueType,
    as_map,
    as_text,
    joined,
    printable,
    read_keys,
)
from .kinds import FILLED_TEXT, list_of, text_that, whole_number
from .selectors import ServerSelector, rule_of

MESSAGE = "{message}"
PROTOCOLS = ("minecraft", "a2s", "quake3")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_LONGEST_LINE = 200
_MOST_WORDS, _LONGEST_WORD = 64, 4096
#: Programs that take a script as a word, and their option.
_SHELLS = ("sh", "ash", "bash", "dash", "ksh", "zsh", "busybox")
_SCRIPT_OPTION = re.compile(r"-[a-z]*c")


@dataclass(frozen=True)
class Rcon:
    """Source RCON: a port or the environment variable with it, and the variable with the password."""

    password_variable: str
    command: str
    port: int | None = None
    port_variable: str | None = None


@dataclass(frozen=True)
class GameProfile:
    """How to count players of a game, and how to send them a message; at most one way of each.

    ``protocol`` is one of `PROTOCOLS`. ``count`` and ``command`` run in the server's container. ``port`` None is that of the default
    allocation. ``stdin`` is a line of standard input. Every way to send contains `MESSAGE`.
    """

    protocol: str = ""
    count: tuple[str, ...] = ()
    port: int | None = None
    stdin: str = ""
    rcon: Rcon | None = None
    command: tuple[str, ...] = ()


#: Built-in profiles; a profile of the same name in the settings overrides parts of it.
BUILT_IN: Mapping[str, GameProfile] = {
    "minecraft": GameProfile(protocol="minecraft", stdin=f"say {MESSAGE}"),
    "source": GameProfile(protocol="a2s", stdin=f"say {MESSAGE}"),
    "quake3": GameProfile(protocol="quake3", stdin=f"say {MESSAGE}"),
}


@dataclass(frozen=True)
class GameRule:
    servers: ServerSelector
    game: str


def _words(value: object, place: KeyLocation) -> tuple[str, ...]:
    found: tuple[str, ...] = list_of(FILLED_TEXT, ARGV.words).read(value, place)
    if not found or len(found) > _MOST_WORDS or any(len(word) > _LONGEST_WORD for word in found):
        raise Mismatch(place.key, f"is a list of {len(found)} words, expected 1 to {_MOST_WORDS} of at most {_LONGEST_WORD} characters")
    return found


ARGV = ValueType("a list of words, the program first", _words)


def _announcing_words(value: object, place: KeyLocation) -> tuple[str, ...]:
    words = _words(value, place)
    if MESSAGE in words[0] or not any(MESSAGE in word for word in words):
        raise Mismatch(place.key, f"is a list without a word that has {MESSAGE} in it after the program, expected {_ANNOUNCING_ARGV.words}")
    for index, (before, word) in enumerate(zip(words, words[1:]), 1):
        if MESSAGE in word and words[0].rpartition("/")[2] in _SHELLS and _SCRIPT_OPTION.fullmatch(before):
            raise Mismatch(
                place.item(index).key, f'has {MESSAGE} in a script, expected it as a word after the script, which has it as "$1"'
            )
    return words


_ANNOUNCING_ARGV = ValueType(f"a list of words, the program first, with {MESSAGE} in one of them", _announcing_words)


def _is_line(text: str) -> bool:
    command, message, _rest = text.partition(MESSAGE)
    return text.isprintable() and len(text) <= _LONGEST_LINE and bool(message and command.strip())


_LINE = text_that(f"one line with {MESSAGE} after a command, such as say {MESSAGE}", _is_line, strip=True)


def _variable_name(value: object, place: KeyLocation) -> str:
    text = as_text(value, place, _NAME_OF_VARIABLE.words)
    if not _VARIABLE.fullmatch(text):
        # It may be a password in the wrong place.
        raise place.no_collection(value, _NAME_OF_VARIABLE.words)
    return text


_NAME_OF_VARIABLE = ValueType("the name of a variable, such as RCON_PASSWORD", _variable_name)
_PORT = whole_number(1, 65535)
_COUNT_KEYS = (KeySpec("command", ARGV, REQUIRED, "Command in the container; prints the number of players"),)


def _query(value: object, place: KeyLocation) -> str | tuple[str, ...]:
    if isinstance(value, Mapping):
        words: tuple[str, ...] = read_keys(value, _COUNT_KEYS, place).complete(_COUNT_KEYS)["command"]
        return words
    if not isinstance(value, str) or value not in PROTOCOLS:
        raise place.wrong(value, _QUERY.words)
    return value


_QUERY = ValueType(f"{', '.join(PROTOCOLS)}, or a map with command", _query, _COUNT_KEYS)
PROFILE_KEYS = (
    KeySpec("query", _QUERY, None, "How to count players: a protocol or a command"),
    KeySpec("port", _PORT, None, "Port of the query; unset: that of the default allocation"),
    KeySpec("announce.stdin", _LINE, None, "How to warn players: a line on the standard input"),
    KeySpec("announce.rcon.port", _PORT, None, "How to warn players: Source RCON on this port; unset: as `port`"),
    KeySpec("announce.rcon.port_variable", _NAME_OF_VARIABLE, None, "Variable of the environment with the port"),
    KeySpec("announce.rcon.password_variable", _NAME_OF_VARIABLE, None, "Variable with the password; required for RCON"),
    KeySpec("announce.rcon.command", _LINE, f"say {MESSAGE}", "Command to send"),
    KeySpec("announce.command", _ANNOUNCING_ARGV, None, "How to warn players: a command in the container"),
)


def _profile(value: object, place: KeyLocation, base: GameProfile) -> GameProfile:
    reading = read_keys(value, PROFILE_KEYS, place)
    given = reading.complete(PROFILE_KEYS)
    found = base
    if isinstance(given["query"], str):
        found = replace(found, protocol=given["query"], count=())
    elif given["query"] is not None:
        found = replace(found, protocol="", count=given["query"])
    if given["port"] is not None:
        found = replace(found, port=given["port"])
    announcement = _announcement(reading.values, given, place)
    if announcement:
        found = replace(found, **{"stdin": "", "rcon": None, "command": (), **announcement})
    if not (found.protocol or found.count or found.stdin or found.rcon or found.command):
        raise Mismatch(place.key, "has neither query nor announce, expected query, announce or both")
    return found


def _announcement(said: Mapping[str, Any], given: Mapping[str, Any], place: KeyLocation) -> dict[str, Any]:
    announce = place.entry("announce")
    of_rcon = any(name.startswith("announce.rcon.") for name in said)
    all_ways = {"stdin": given["announce.stdin"], "rcon": of_rcon, "command": given["announce.command"]}
    ways = [name for name, is_given in all_ways.items() if is_given]
    if len(ways) > 1:
        raise Mismatch(announce.key, f"has {' and '.join(ways)}, expected one of stdin, rcon and command")
    if ways != ["rcon"]:
        return {name: given[f"announce.{name}"] for name in ways}
    values = {name: given[f"announce.rcon.{name}"] for name in ("port", "port_variable", "password_variable", "command")}
    rcon = announce.entry("rcon")
    gathered = Gathered()
    if values["password_variable"] is None:
        gathered.note(Mismatch(rcon.entry("password_variable").key, f"is missing, expected {_NAME_OF_VARIABLE.words}"))
    if values["port"] is not None and values["port_variable"] is not None:
        gathered.note(Mismatch(rcon.key, "has port and port_variable, expected one of them"))
    gathered.end()
    return {"rcon": Rcon(**values)}


def _profiles(value: object, place: KeyLocation) -> dict[str, GameProfile]:
    gathered = Gathered()
    found = {
        gathered.read(FILLED_TEXT.read, name, place.entry(name)): gathered.read(
            _profile, item, place.entry(name), BUILT_IN.get(name, GameProfile())
        )
        for name, item in as_map(value, place).items()
    }
    gathered.end()
    return found


_PROFILES = ValueType("a map of names to profiles", _profiles, PROFILE_KEYS)
_GAME = KeySpec("game", FILLED_TEXT, REQUIRED, "Profile of these servers")
_RULES = list_of(rule_of(lambda servers, game: GameRule(servers, game.strip()), (_GAME,)), "a list of rules")
GAME_RULES, _PROFILES_KEY = "games.rules", "games.profiles"

GAME_KEYS = (
    KeySpec(
        _PROFILES_KEY,
        _PROFILES,
        {},
        f"Profiles of games, besides {', '.join(f'`{name}`' for name in BUILT_IN)}; these names change the built-in ones",
        "game_profiles",
    ),
    KeySpec(GAME_RULES, _RULES, (), "Profiles of servers; the first match counts, after `settings.meta.game`", "game_rules"),
)


def profile_named(name: str, profiles: Mapping[str, GameProfile]) -> GameProfile | None:
    return profiles.get(name) or BUILT_IN.get(name)


def names_of_profiles(profiles: Mapping[str, GameProfile]) -> str:
    return joined(sorted({*BUILT_IN, *map(printable, profiles)}))


def _require_profiles(values: Mapping[str, Any]) -> None:
    profiles, gathered = values[_PROFILES_KEY], Gathered()
    for index, rule in enumerate(values[GAME_RULES]):
        if profile_named(rule.game, profiles) is None:
            place = KeyLocation(GAME_RULES, []).item(index).entry("game")
            gathered.note(place.wrong(rule.game, f"a profile: {names_of_profiles(profiles)}"))
    gathered.end()


PROFILES_EXIST = Check((GAME_RULES, _PROFILES_KEY), _require_profiles)
