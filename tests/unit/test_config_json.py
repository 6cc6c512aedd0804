# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers ``json`` and ``toml``: they replace values in place and change no other byte."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Union

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import parser_of
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.json_file import replace_json
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault, Number
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.toml_tree import Listing, Node, Table, read_toml
from ansible_collections.fleet.power.plugins.module_utils._power.model.config_rule import ConfigRule
from hypothesis import given, settings
from hypothesis import strategies as st


def edited(text: str, *rules: tuple[Any, ...]) -> str:
    return parser_of("json")(text, [ConfigRule(*rule) for rule in rules])


def fault(text: str, *rules: tuple[Any, ...]) -> ConfigFault:
    with pytest.raises(ConfigFault) as caught:
        edited(text, *rules)
    return caught.value


def test_a_pattern_keeps_lone_surrogates_and_bytes_outside_of_utf8() -> None:
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
def test_a_fault_in_broken_json_names_line_and_column_and_shows_no_content(text: str, place: str) -> None:
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


def test_untouched_numbers_and_escapes_keep_their_spelling() -> None:
    text = '{"id": 123456789012345678901, "r": 1.10e+05, "z": -0, "t": "\\u00e9\\/\\ud83d\\ude00", "raw": "\udcff", "x": 1}'
    assert edited(text, ("x", 2)) == text.replace('"x": 1', '"x": 2')


KEYS = st.text(st.sampled_from("abc é"), min_size=1, max_size=3)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5))
TREES = st.recursive(SCALARS, lambda inner: st.one_of(st.dictionaries(KEYS, inner, max_size=3), st.lists(inner, max_size=3)), max_leaves=12)


@settings(max_examples=60)
@given(
    values=st.dictionaries(KEYS, TREES, max_size=4),
    path=st.lists(KEYS, min_size=1, max_size=3),
    value=SCALARS,
    indent=st.sampled_from([None, 2, "\t"]),
)
def test_pythons_json_reader_finds_the_new_value_and_all_others_unchanged(values: Any, path: list[str], value: Any, indent: Any) -> None:
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


Value = Union[str, int, float, bool, None]
#: Python has its own TOML reader since 3.11. The tests compare ours with it.
needs_tomllib = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")


def edited_toml(text: str, *rules: tuple[str, Value]) -> str:
    return parser_of("toml")(text, [ConfigRule(match, value) for match, value in rules])


def toml_fault(text: str, *rules: tuple[str, Value]) -> str:
    with pytest.raises(ConfigFault) as caught:
        edited_toml(text, *rules)
    return str(caught.value)


def tomllib_of(text: str) -> dict[str, Any]:
    import tomllib

    loaded: dict[str, Any] = tomllib.loads(text)
    return loaded


def plain(node: Node) -> object:
    """The tree as plain values, all numbers as floats, for a comparison with tomllib."""
    if isinstance(node, Table):
        return {name: plain(child) for name, child in node.entries.items()}
    if isinstance(node, Listing):
        return [plain(child) for child in node.items]
    return float(node.value.text) if isinstance(node.value, Number) else node.value


def numbers_as_floats(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: numbers_as_floats(child) for name, child in value.items()}
    if isinstance(value, list):
        return [numbers_as_floats(child) for child in value]
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


@pytest.mark.parametrize(
    "text",
    [
        "a = 1\r\n[b]\r\nc = 2\r\n",
        "\ufeffa = 1\n",
        "a = 1   \n\t\n[ b . 'c' ]  \n\t d=2\t# x \n\n\n",
        "a = +1_000\nb = 0xDEAD\nc = 1e3\nd = inf\ne = 07:32:00.10\nf = 1979-05-27 07:32:00\n",
        "a = [ # one\n  1,\n  [2, 'x'], # two\n]\n",
        'a = """\\\n  x ""\r\n y"""\nb = \'\'\'\nraw\\n\'\'\'\n',
        "# \udcff is no text\na = '\udcfe'\n",
    ],
)
def test_untouched_toml_keeps_every_byte(text: str) -> None:
    after = edited_toml(text, ("zz", 1))
    assert after.replace("zz = 1\r\n", "").replace("zz = 1\n", "").replace("zz = 1", "").rstrip("\r\n") == text.rstrip("\r\n")


@pytest.mark.parametrize(
    ("stands", "value", "becomes"),
    [
        ("1", "25565", "25565"),
        ("1.0", "2", "2.0"),
        ("0xFF", "255", "0xFF"),
        ("1", "many", '"many"'),
        ("true", "off", "false"),
        ('"x"', 5, '"5"'),
        ("'x'", "it's", '"it\'s"'),
        ('"x"', 'a "b" \\ \t\n\x00\x7f é', '"a \\"b\\" \\\\ \\t\\n\\u0000\\u007F é"'),
        ("2024-01-01", "2025-01-01", "2025-01-01"),
        ("2024-01-01", "2024-02-29T23:59:59.5+23:59", "2024-02-29T23:59:59.5+23:59"),
        ("2024-01-01", "2024-02-31", '"2024-02-31"'),
        ("10:00:00", "23:00:00", "23:00:00"),
    ],
)
def test_a_value_keeps_its_type_and_its_quotes(stands: str, value: Value, becomes: str) -> None:
    assert edited_toml(f"a = {stands} # c\n", ("a", value)) == f"a = {becomes} # c\n"


def test_a_new_table_comes_at_the_end_and_takes_all_its_keys() -> None:
    assert edited_toml("a = 1\n", ("b.c", 1), ("a", 2), ("b.d", 2)) == "a = 2\n\n[b]\nc = 1\nd = 2\n"


@pytest.mark.parametrize(
    ("text", "match", "says"),
    [
        ("a = 1\na = 2\n", "z", "sets one key twice at line 2"),
        ("a = [{}]\n[[a]]\n", "z", "sets one key twice at line 2"),
        ("a = \n", "z", "is not valid TOML at line 1"),
        ('\na = "\\q"\n', "z", "escape that is not valid"),
        ("a = 1\n", "a.b", "neither a table nor a list"),
        ("a = {b = 1}\n", "a", "ends at a table"),
        ("a = [1]\n", "a[1]", "an item that the list does not have"),
    ],
)
def test_broken_toml_and_wrong_paths_are_faults(text: str, match: str, says: str) -> None:
    assert says in toml_fault(text, (match, "x"))


MEGABYTE = 1024 * 1024
HOSTILE = {
    "nested lists": "a = " + "[" * 15 * MEGABYTE,
    "nested tables": "a = " + "{a=" * 5 * MEGABYTE,
    "a long key": "a" + ".a" * 7 * MEGABYTE + " = 1",
    "many values": "a = [" + "1," * 7 * MEGABYTE + "]",
    "many lines": "\n" * 15 * MEGABYTE,
    "long digits": "a = " + "1" * 15 * MEGABYTE,
    "long escapes": 'a = "' + "\\n" * 7 * MEGABYTE + '"',
    "long quotes": 'a = """' + '""a' * 5 * MEGABYTE + '"""',
}


@pytest.mark.long
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_a_fault_within_seconds(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigFault):
        edited_toml(text, ("a.b", 1))
    assert time.process_time() - began < 5


LINES = [
    *(
        "a = 1",
        "a.b = 2",
        "a.b.c = 'x'",
        "b = {}",
        "b = { c = 1, d.e = 2 }",
        "b.c = [1, [2], {x = 3}]",
        'c = "\\t\\u00e9" # c',
        "c = [",
        "]",
    ),
    *("[a]", "[a.b]", "[[a]]", "[[a.b]]", "[b]", "[[b.c]]", "[c.d.e]", "", "# c", "'q' = true", '"a" . b = -0.5e1', "d = 0x_1", "d = 1__0"),
    *("d = '''", "x'''", 'd = """a""""', "e = +inf", "e = 01", "e = 1.", "f = [1,, 2]", "f = 1 2", "= 1", "g", "b.c.d = 1", "[b.c]"),
]


@needs_tomllib
@settings(max_examples=100)
@given(st.lists(st.sampled_from(LINES), max_size=7))
def test_our_reader_and_pythons_agree_on_toml(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    try:
        expected = tomllib_of(text)
    except ValueError:
        with pytest.raises(ConfigFault):
            read_toml(text)
        return
    assert plain(read_toml(text)) == numbers_as_floats(expected)


PATHS = ["a", "a.b", "a.b.c", "b.c", "c.d.e", "b.n", "n.m.o", "a[0]", "a[0].b", "a.*", "*.b", "q", "b.c[0]", 'x["y z"].w']
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.text(max_size=6), st.integers(), st.floats(allow_nan=False), st.booleans(), st.just("25565")
)


@settings(max_examples=100)
@given(st.lists(st.sampled_from(LINES), max_size=7), st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=3))
def test_edits_give_valid_toml_and_a_second_edit_changes_nothing(lines: list[str], rules: list[tuple[str, Value]]) -> None:
    rules = list(dict(rules).items())
    try:
        once = edited_toml("\n".join(lines), *rules)
        again = edited_toml(once, *rules)
    except ConfigFault:
        return
    # A wildcard also matches keys that a later rule adds.
    if all("*" not in match for match, _value in rules):
        assert again == once
    if sys.version_info >= (3, 11):
        tomllib_of(once)


@needs_tomllib
@settings(max_examples=60)
@given(st.lists(st.sampled_from(LINES), max_size=7), st.sampled_from(["n", "new.table.key", "b.n", "a.n.m", 'a["x y"]']))
def test_a_new_key_changes_nothing_else(lines: list[str], match: str) -> None:
    text = "\n".join(lines)
    try:
        before, after = tomllib_of(text), tomllib_of(edited_toml(text, (match, "v")))
    except (ConfigFault, ValueError):
        return
    *names, last = ["a", "x y"] if "[" in match else match.split(".")
    table = after
    for name in names:
        table = table[name]
    assert table.pop(last) == "v"
    for depth in range(len(names), 0, -1):
        parent: dict[str, Any] = after
        for name in names[: depth - 1]:
            parent = parent[name]
        if not parent[names[depth - 1]]:
            del parent[names[depth - 1]]
            before_parent: Any = before
            for name in names[: depth - 1]:
                before_parent = before_parent.get(name, {})
            if before_parent.get(names[depth - 1]) == {}:
                del before_parent[names[depth - 1]]
    assert after == before
