# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``properties``: what Java reads, and not one byte more changed."""

from __future__ import annotations

import re

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.properties_file import replace_properties
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault, value_text
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule
from hypothesis import given, settings
from hypothesis import strategies as st


def edited(text: str, *rules: tuple[str, object]) -> str:
    return replace_properties(text, [ConfigRule(match, value) for match, value in rules])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (" lead and trail ", "\\ lead and trail "),
        ("a\\b", "a\\\\b"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("=:#!", "=:#!"),
        ("\u00e9\U0001f600\u2028", "\\u00E9\\uD83D\\uDE00\\u2028"),
        (None, ""),
        (True, "true"),
        (2**70, str(2**70)),
    ],
)
def test_a_value_is_written_so_that_java_reads_it_back(value: object, written: str) -> None:
    once = edited("a=1\n", ("a", value), ("new", value))
    assert once == f"a={written}\nnew={written}\n"
    assert edited(once, ("a", value), ("new", value)) == once


def test_bytes_that_are_not_utf8_are_latin_1_as_minecraft_reads_them_and_stay() -> None:
    text = b"a=\xe9\nb=\xe9\n".decode("utf-8", "surrogateescape")
    assert edited(text, ("a", "\u00e9"), ("c", "\u00e9")) == f"{text}c=\\u00E9\n"


@pytest.mark.parametrize("text", ["a=b\\", "a=b\\\n", "a=b\\\r", "a\\", "\\"])
def test_a_line_that_would_take_in_the_next_one_does_not_take_in_a_new_key(text: str) -> None:
    once = edited(text, ("new", 1))
    assert once.startswith(text)
    assert edited(once, ("new", 1), ("new", 2)).count("2") == 1
    assert edited(edited(text, ("a", 5)), ("a", 5)) == edited(text, ("a", 5))


@pytest.mark.parametrize("text", ["b=\\\nx", "b=\\\r\nx", "b=\\\n\\\nx", "b=\\\nx\\"])
def test_a_new_key_does_not_go_on_with_a_value_that_became_empty(text: str) -> None:
    once = edited(text, ("b", ""), ("c", 1))
    assert read_as_java_does(once) == {"b": "", "c": "1"}
    assert edited(once, ("b", ""), ("c", 1)) == once
    assert read_as_java_does(edited(edited(text, ("b", "")), ("c", 1))) == {"b": "", "c": "1"}


def test_a_rule_without_a_key_is_a_fault_that_names_the_rule() -> None:
    rule = ConfigRule("", "x")
    with pytest.raises(ConfigFault) as raised:
        replace_properties("a=1\n", [rule])
    assert raised.value.rule is rule


def read_as_java_does(text: str) -> dict[str, str]:
    """What the documentation of `java.util.Properties.load` says that there is; written from that, not from the parser."""
    logical: list[str] = []
    goes_on = False
    for line in (natural.lstrip(" \t\f") for natural in re.split("\r\n|\r|\n", text)):
        if goes_on:
            logical[-1] += line
        elif line and line[0] not in "#!":
            logical.append(line)
        else:
            continue
        backslashes = len(logical[-1]) - len(logical[-1].rstrip("\\"))
        goes_on = backslashes % 2 == 1
        if goes_on:
            logical[-1] = logical[-1][:-1]
    found = (re.fullmatch(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", line, re.DOTALL) for line in logical)
    return {unescaped(entry.group(1)): unescaped(entry.group(2)) for entry in found if entry is not None}


def unescaped(text: str) -> str:
    controls = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
    units = re.sub(
        r"\\(?:u([0-9A-Fa-f]{4})|(.))",
        lambda mark: chr(int(mark.group(1), 16)) if mark.group(1) else controls.get(mark.group(2), mark.group(2)),
        text,
        flags=re.DOTALL,
    )
    return units.encode("utf-16", "surrogatepass").decode("utf-16")


CHARACTERS = st.one_of(st.characters(exclude_categories=("Cs",)), st.sampled_from(" =:#!\\\t\n\r"))
ANY_TEXT = st.text(CHARACTERS, max_size=8)
SEPARATORS = st.sampled_from(["=", " = ", ":", " : ", " ", "\t", "=\\\n   ", "\\\n  : ", "\\\n=", " \\\n "])
ANY_KEY = st.one_of(st.sampled_from(["a", "rcon.password", "a b", "#a"]), st.text(CHARACTERS, min_size=1, max_size=8))
ENTRIES = st.dictionaries(ANY_KEY, st.tuples(SEPARATORS, ANY_TEXT), min_size=1, max_size=5)


def escaped(text: str, more: str) -> str:
    units = text.encode("utf-16-be")
    characters = (chr(units[place] * 256 + units[place + 1]) for place in range(0, len(units), 2))
    return "".join(
        f"\\{character}" if character in more else character if " " <= character <= "~" else f"\\u{ord(character):04x}"
        for character in characters
    )


@settings(max_examples=80, deadline=None)
@given(
    entries=ENTRIES,
    value=st.one_of(ANY_TEXT, st.integers(), st.booleans(), st.none()),
    is_new=st.booleans(),
    choice=st.data(),
)
def test_another_reader_finds_the_value_and_every_other_key_as_it_was(
    entries: dict[str, tuple[str, str]], value: object, is_new: bool, choice: st.DataObject
) -> None:
    before = "# mine\n" + "".join(
        f"{escaped(key, ' =:#!' + chr(92))}{separator}{escaped(standing, ' =:' + chr(92))}\n! \u00e9\n"
        for key, (separator, standing) in entries.items()
    )
    assert read_as_java_does(before) == {key: standing for key, (_separator, standing) in entries.items()}
    key = "new key" if is_new else choice.draw(st.sampled_from(sorted(entries)))
    after = edited(before, (key, value))
    assert read_as_java_does(after) == {**read_as_java_does(before), key: value_text(value)}  # type: ignore[arg-type]
    assert [line for line in after.split("\n") if line[:1] in ("#", "!")] == [line for line in before.split("\n") if line[:1] in ("#", "!")]
