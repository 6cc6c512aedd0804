# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of definitions, settings and configuration files, and JSON that is too deep."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_text import load_text
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import load_settings
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import DefinitionInvalid, SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import is_nested_deeper
from hypothesis import given
from hypothesis import strategies as st

#: Texts that are not YAML; line and column; and words of the sentence.
NOT_YAML: list[tuple[str, str, str]] = [
    ("a: b: c\n", "1, 5", "a mapping value is not allowed here"),
    ("settings:\n\tuuid: x\n", "2, 1", "a tab stands where spaces indent"),
    ("a: [1, 2\nb: 3\n", "2, 2", "a comma or a closing bracket is missing in the list that begins in line 1"),
    ("a: 1\nbcd\ne: 2\n", "2, 1", "a key has no colon"),
    ("a: 1\n- b\n", "2, 1", "whether a list and a map are mixed"),
    ("a: - b\n", "1, 4", "a list item is not allowed here"),
    ('a: "C:\\yes"\n', "1, [0-9]+", "a backslash that begins no known escape"),
    ("a: !e!x y\n", "1, 4", "a tag is not written as YAML has it"),
    ("a: 1\nb: \x01\n", "2, 4", "it holds a control character"),
    ("a: ]\n", "1, 4", "a bracket, a brace or a comma stands where a value is expected"),
]
NOT_JSON: list[tuple[str, str, str]] = [
    ('{"a": 1', "1, 8", "a comma or a closing bracket or brace is expected here"),
    ('{"a" 1}', "1, 6", "a colon is expected here"),
    ("{\"a\": 'x'}", "1, 7", "text stands in double quotes"),
    ('{"a": "\t"}', "1, 8", "a line break, a tab or another control character"),
]
NOT_TOML: list[tuple[str, str, str]] = [
    ("a = \n", "1, 5", "a value is missing, or needs quotes"),
    ("b = 1\na 1\n", "2, 3", "there is no = where one is expected"),
    ("a = '''x\n", "1, 5", "three quotes are never closed"),
    ("a = [1 2]\n", "1, 8", "there is no , where one is expected"),
]
#: What no sentence of ours is without being PyYAML's or the json module's.
THEIRS = re.compile("while |did not find|could not|mapping values|but found|Expecting|delimiter|token|scalar|stream|block ")


def of_definition(text: str, path: Path, *, yaml: bool = True) -> str:
    with pytest.raises(DefinitionInvalid) as caught:
        load_text(text.encode("utf-8", "surrogatepass"), str(path), yaml=yaml)
    return str(caught.value).removeprefix(f"Cannot read definition {path}: ")


def of_settings(text: str, path: Path) -> str:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(str(path))
    return str(caught.value).removeprefix(f"Cannot read settings {path}: ")


def of_configuration(text: str, _path: Path) -> str:
    with pytest.raises(ConfigFault) as caught:
        PARSERS["yaml"](text, [ConfigRule("nothing", "new")])
    return str(caught.value)


def reads_aloud(said: str, kind: str, place: str, words: str) -> None:
    """Hold a sentence against what it is to say, and against words and signs that nobody could make sense of."""
    line, column = place.split(", ")
    assert re.match(f"it is not {kind}: line {line}, column {column}: ", said), said
    assert re.search(words, said), said
    assert THEIRS.search(said) is None, said
    assert said.count("'") == said.count('"') == 0, said
    assert "{" not in said and not said.endswith((":", ".", " ")), said


@pytest.mark.usefixtures("yaml_reader")
@pytest.mark.parametrize("told", [of_definition, of_settings, of_configuration])
@pytest.mark.parametrize(("text", "place", "words"), NOT_YAML, ids=[repr(row[0])[:30] for row in NOT_YAML])
def test_broken_yaml_is_told_in_full_with_its_place(
    tmp_path: Path, told: Callable[[str, Path], str], text: str, place: str, words: str
) -> None:
    reads_aloud(told(text, tmp_path / "x.yml"), "YAML", place, words)


@pytest.mark.parametrize(("text", "place", "words"), NOT_JSON, ids=[repr(row[0])[:30] for row in NOT_JSON])
def test_broken_json_is_told_in_full_with_its_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    reads_aloud(of_definition(text, tmp_path / "x.json", yaml=False), "JSON", place, words)


@pytest.mark.parametrize(("text", "place", "words"), NOT_TOML, ids=[repr(row[0])[:30] for row in NOT_TOML])
def test_broken_toml_is_told_in_full_with_its_place(text: str, place: str, words: str) -> None:
    line, column = place.split(", ")
    with pytest.raises(ConfigFault, match=f"the file is not valid TOML at line {line}, column {column}: {words}"):
        PARSERS["toml"](text, [ConfigRule("nothing", "new")])


@pytest.mark.usefixtures("yaml_reader")
def test_what_stands_in_the_file_is_in_no_message(tmp_path: Path) -> None:
    """Broken in 1,500 ways, most of them wrong somewhere; every secret is of letters that no sentence has together."""
    secret = "Zq7Xk9Vj"
    good = (
        f"token: {secret}a\nsettings:\n  environment:\n    A: \"{secret}b\"\n    {secret}c: '{secret}d'\n"
        f"  list: [{secret}e, {{x: {secret}f}}]\n  more:\n  - &{secret}g !!str {secret}h\n  - |\n    {secret}i\n  - *{secret}g\n"
    )
    spoil = [*"\t\"'[]{}:,-?!&*#|>%@`\\\x01\n ", "\n---\n", "\n... ", "! ", "\n\t"]
    spoil += [f"{sign}{secret} " for sign in "*!&\\"]
    chance = random.Random(11)
    told = 0
    for number in range(500):
        at = chance.randrange(len(good))
        text = good[:at] + chance.choice(spoil) + good[at + chance.randrange(3) :]
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        for read in (
            lambda text=text, path=path: load_text(text.encode(), str(path), yaml=True),
            lambda text=text, path=path: load_text(text.encode(), str(path), yaml=False),
            lambda path=path: load_settings(str(path)),
            *(lambda text=text, name=name: PARSERS[name](text, [ConfigRule("nothing", "new")]) for name in ("yaml", "json", "toml", "xml")),
        ):
            try:
                read()
            except (DefinitionInvalid, SettingsInvalid, ConfigFault) as error:
                told += 1
                assert "Zq7" not in str(error) and "k9V" not in str(error), str(error)
                assert str(error).isprintable()
    assert told > 1500


VALUES = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a'), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((depth_of(each) for each in inner), default=0)


@given(VALUES)
def test_it_is_the_depth_of_the_value(value: Any) -> None:
    depth = depth_of(value)
    assert not is_nested_deeper(json.dumps(value), depth)
    assert depth == 0 or is_nested_deeper(json.dumps(value), depth - 1)


@pytest.mark.parametrize("text", ["[" * 65, "[" * 1_000_000, '{"a":' * 65, '["[]", ' * 65])
def test_what_is_too_deep_is_told_of_even_if_it_never_ends(text: str) -> None:
    assert is_nested_deeper(text, 64)


@pytest.mark.parametrize("text", ["[]" * 100, '["' + "[" * 100, '["' + '\\"[' * 100, "]" * 100 + "[" * 150, "", '"'])
def test_what_is_wide_or_text_is_not_deep(text: str) -> None:
    assert not is_nested_deeper(text, 64)


@pytest.mark.parametrize("piece", ["[],", '"[",', '\\"[', '"\\', "[" + '"' * 3])
def test_a_large_text_takes_time_in_proportion(piece: str) -> None:
    small, large = piece * 20_000, piece * 200_000
    began = time.process_time()
    is_nested_deeper(small, 10**9)
    is_nested_deeper("[" * 10 + small, 9)
    middle = time.process_time()
    is_nested_deeper("[" * 10 + large, 10**7)
    assert time.process_time() - middle < 100 * (middle - began + 0.01)
