# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``json``: values in place, whatever the file looks like, and nothing but a sentence where that cannot be."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.json_file import replace_json
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule
from hypothesis import given, settings
from hypothesis import strategies as st


def edited(text: str, *rules: tuple[Any, ...]) -> str:
    return replace_json(text, [ConfigRule(*rule) for rule in rules])


def fault(text: str, *rules: tuple[Any, ...]) -> ConfigFault:
    with pytest.raises(ConfigFault) as caught:
        edited(text, *rules)
    return caught.value


def test_half_a_character_and_bytes_that_are_no_text_survive_a_pattern() -> None:
    assert edited('{"a": "\\ud800x\udce9"}', ("a", "y", "regex:x")) == '{"a": "\\ud800y\udce9"}'


@pytest.mark.parametrize(
    ("text", "match", "reason"),
    [
        ('{"a": 1}', "a.b", "neither a map nor a list"),
        ("[5]", "[0].a", "neither a map nor a list"),
        ('{"a": {}}', "a", "ends at a map"),
        ('{"a": []}', "a", "ends at a list"),
        ('{"a": [1]}', "a[2]", "has index 2 where the file has a list of 1"),
        ('{"a": []}', "a.b", "a key where the file has a list"),
        ('{"a": {}}', "a[0]", "an index where the file has a map"),
        ("{}", "a..b", "nothing before, behind or between its dots"),
    ],
)
def test_a_path_that_does_not_fit_the_file_is_a_fault_that_names_its_rule(text: str, match: str, reason: str) -> None:
    caught = fault(text, ("*.z", 1, "y"), (match, 1))
    assert reason in str(caught)
    assert caught.rule == ConfigRule(match, 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "line 1, column 2"),
        ('{\n "a": }', "line 2, column 7"),
        ('{"a" 1}', "line 1, column 6"),
        ('{"a": "b', "line 1, column 7"),
        ('{"a": "\t"}', "line 1, column"),
        ('{"a": "\\x"}', "line 1, column"),
        ("{} {}", "line 1, column 4"),
        ("[01]", "line 1, column 2"),
        ("[nul]", "line 1, column 2"),
        ("{,}", "line 1, column 2"),
    ],
)
def test_what_is_not_json_is_told_by_line_and_column_and_not_shown(text: str, place: str) -> None:
    caught = str(fault(text, ("a", 1)))
    assert caught.startswith("it is not JSON: " + place)
    assert caught.isprintable()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 101 + "]" * 101])
def test_deep_nesting_is_a_fault_at_once(text: str) -> None:
    began = time.process_time()
    assert "deeper than 100 levels" in str(fault(text, ("a", 1)))
    assert time.process_time() - began < 1


def test_a_byte_order_mark_a_missing_last_newline_and_odd_blanks_stay() -> None:
    assert edited('\ufeff\r\n{ "a"\t:1 ,"b" : [ ] }', ("a", 2), ("b[0]", "x")) == '\ufeff\r\n{ "a"\t:2 ,"b" : ["x"] }'


def test_numbers_and_escapes_that_no_rule_names_keep_their_spelling() -> None:
    text = '{"id": 123456789012345678901, "r": 1.10e+05, "z": -0, "t": "\\u00e9\\/\\ud83d\\ude00", "raw": "\udcff", "x": 1}'
    assert edited(text, ("x", 2)) == text.replace('"x": 1', '"x": 2')


KEYS = st.text(st.sampled_from("abc é"), min_size=1, max_size=3)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5))
TREES = st.recursive(SCALARS, lambda inner: st.one_of(st.dictionaries(KEYS, inner, max_size=3), st.lists(inner, max_size=3)), max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(
    values=st.dictionaries(KEYS, TREES, max_size=4),
    path=st.lists(KEYS, min_size=1, max_size=3),
    value=SCALARS,
    indent=st.sampled_from([None, 2, "\t"]),
)
def test_another_reader_finds_the_value_and_everything_else_as_it_was(values: Any, path: list[str], value: Any, indent: Any) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    rule = ConfigRule(".".join(path), value)
    try:
        after = replace_json(text, [rule])
    except ConfigFault:
        return
    assert replace_json(after, [rule]) == after
    old, new = copy.deepcopy(values), json.loads(after)
    for step in path[:-1]:
        old, new = old.get(step) if isinstance(old, dict) else None, new[step]
        if old is None:
            return
    assert path[-1] in new
    old.pop(path[-1], None), new.pop(path[-1])
    assert old == new
