# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers ``yaml`` and ``yml``: values change in place, and every reader gives them back."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import parser_of, yaml_read
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.yaml_file import replace_yaml
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.yaml_read import scalar
from ansible_collections.fleet.power.plugins.module_utils._power.model.config_rule import ConfigRule
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import MissingLibrary
from hypothesis import given, settings
from hypothesis import strategies as st


def edited(text: str, *rules: tuple[Any, ...]) -> str:
    return parser_of("yaml")(text, [ConfigRule(*rule) for rule in rules])


def fault(text: str, *rules: tuple[Any, ...]) -> ConfigFault:
    with pytest.raises(ConfigFault) as caught:
        edited(text, *rules)
    return caught.value


AMBIGUOUS = [
    *("yes", "No", "on", "OFF", "true", "False", "y", "N", "null", "Null", "~", "", "<<", "="),
    *("0123", "0o17", "0x1F", "0b1", "1_000", "12:30", "1e5", "1.5", ".5", "5.", ".inf", "-.INF", ".nan", "+1", "-1", "1234567890123456"),
    *("2024-01-01", "2024-01-01T10:00:00Z", "2024-1-1 10:00:00"),
    *(
        " a",
        "a ",
        "- a",
        "-",
        "? a",
        "a: b",
        "a:",
        ":a",
        "a #b",
        "#a",
        "[a",
        "{a",
        "]",
        "}",
        "a, b",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "'a",
        '"a',
    ),
    *("%a", "@a", "`a", "---", "...", "a\nb", "a\tb", "\ta", "\x1b[1m", "a\x85b", "\u2028", "\ufeff", "\x00", "\xa0"),
    *("é§", "\U0001f600", "\\n", "it's"),
]


@pytest.mark.parametrize("value", AMBIGUOUS)
@pytest.mark.parametrize("text", ["k: old\n", 'k: "old"\n', "k: |\n  old\n", "{k: old}\n", "[]\n"])
def test_ambiguous_text_reads_back_as_text(text: str, value: str) -> None:
    match = "[0]" if text.startswith("[") else "k"
    after = edited(text, (match, value))
    read = yaml.safe_load(after)[0 if match == "[0]" else "k"]
    assert read == (int(value) if match == "[0]" and value == "-1" else value)
    assert edited(after, (match, value)) == after


@pytest.mark.parametrize(
    ("text", "rules", "after"),
    [
        # An alias is replaced alone.
        ("a: &x 5\nb: *x\nc: *x\n", [("b", 7)], "a: &x 5\nb: 7\nc: *x\n"),
        ("a: &x {p: 1}\nb: [*x]\n", [("b[0]", "y", "z")], "a: &x {p: 1}\nb: [*x]\n"),
        # An unused anchor stays.
        ("c: &y 6\n", [("c", 7)], "c: &y 7\n"),
        ("c: &y\n", [("c.d", 7)], "c: &y {d: 7}\n"),
        # A rule reads a merged value and overrides it.
        ("d: &d\n  p: 1\ns:\n  <<: *d\n", [("s.p", 2, "1"), ("s.p", 3, "1")], "d: &d\n  p: 1\ns:\n  <<: *d\n  p: 2\n"),
        (
            "a: &a {x: 1}\nb: &b {x: 2, y: 3}\ns: {<<: [*a, *b]}\n",
            [("s.x", 1), ("s.y", 3)],
            "a: &a {x: 1}\nb: &b {x: 2, y: 3}\ns: {<<: [*a, *b]}\n",
        ),
        # A rule that changes nothing is no fault, even for a shared value.
        ("d: &d\n  p: 1\nt: *d\n", [("t.p", 1), ("d.p", 1), ("d.p", 2, "3")], "d: &d\n  p: 1\nt: *d\n"),
    ],
)
def test_an_edit_of_an_alias_or_a_merge_keeps_its_anchor(text: str, rules: list[tuple[Any, ...]], after: str) -> None:
    assert edited(text, *rules) == after


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: &x 5\nb: *x\n", "a"),
        ("d: &d\n  p: 1\nt: *d\n", "t.p"),
        ("d: &d\n  p: 1\nt: *d\n", "d.p"),
        ("d: &d\n  p: 1\ns:\n  <<: *d\n", "d.p"),
        ("d: &d\n  n: {q: 1}\ns:\n  <<: *d\n", "s.n.q"),
        ("l: [&x {p: 1}, *x]\n", "l.*.p"),
    ],
)
def test_a_change_of_a_shared_value_is_a_fault(text: str, match: str) -> None:
    caught = fault(text, (match, 2))
    assert "share" in str(caught)
    assert caught.rule == ConfigRule(match, 2)


def test_an_edit_adapts_a_tag_of_yaml_and_refuses_a_tag_of_the_server() -> None:
    assert edited("a: !!str 12\nb: !place x\n", ("a", 13)) == "a: '13'\nb: !place x\n"
    assert "tag of its own" in str(fault("b: !place x\n", ("b", 13)))


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("# c", "# c\nk: 1"),
        ("--- # c\n...\n", "--- # c\nk: 1\n...\n"),
        ("\ufeff", "\ufeffk: 1\n"),
        ("{}\n", "{k: 1}\n"),
        ("~\n", "{k: 1}\n"),
        ("a: 1", "a: 1\nk: 1"),
        ("a: 1\r\n# c\r\n", "a: 1\r\nk: 1\r\n# c\r\n"),
        ("a: 1\n---\nb: 1\n", "a: 1\nk: 1\n---\nb: 1\n"),
        ("  a: 1\n  b:\n    - 2 # c\n\n# end\n", "  a: 1\n  b:\n    - 2 # c\n  k: 1\n\n# end\n"),
        ("a: |+\n  x\n\n# c\n", "a: |+\n  x\n\nk: 1\n# c\n"),
        ("a: >\n  x\n\n# c\n", "a: >\n  x\nk: 1\n\n# c\n"),
    ],
)
def test_a_new_key_goes_below_the_last_one(text: str, after: str) -> None:
    assert edited(text, ("k", 1)) == after


@pytest.mark.parametrize(
    ("text", "match"), [("? a\n: b\n", "k"), ("{a}\n", "a"), ("? a\n", "a"), ("l:\n-\n  # c\n  x\n", "l[1]"), ("a: 1\rb: 2\r", "a.k")]
)
def test_unsupported_yaml_is_a_fault(text: str, match: str) -> None:
    fault(text, (match, 1))


@pytest.mark.parametrize("match", ["a.*", "a.*.b", "a.b.*", "a[0].*", "a[0].b.*"])
@pytest.mark.parametrize("text", ["k: 1\n", "a:\n", "a: {}\n", "{}\n", ""])
def test_a_wildcard_creates_nothing_in_front_of_it(text: str, match: str) -> None:
    if text == "a: {}\n" and "[" in match:
        assert "index" in str(fault(text, (match, "v")))
    else:
        assert edited(text, (match, "v")) == text


@pytest.mark.parametrize("text", ["\ta: 1\n", "a: [", 'a: "x', "a: b: c\n", "a: *none\n", "- a\nb: 1\n", "%YAML 3.0\n---\n"])
def test_a_fault_in_broken_yaml_shows_no_content(text: str) -> None:
    caught = str(fault("secret: hunter2\n" + text if text[0] in "a-" else text, ("a", 1)))
    assert caught.startswith("it is not YAML")
    assert "hunter2" not in caught


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "[" * 101 + "]" * 101,
        "1" * 100_000 + "x",
    ],
)
def test_hostile_text_is_a_fault_at_once(text: str) -> None:
    began = time.process_time()
    fault(text, ("a", 1))
    assert time.process_time() - began < 2


def test_aliases_of_aliases_are_not_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 40)]
    bomb = "\n".join([*lines, "port: 1", ""])
    began = time.process_time()
    assert edited(bomb, ("port", 2)) == bomb.replace("port: 1", "port: 2")
    assert "more than 200000 places" in str(fault(bomb, ("a39" + ".*" * 40, "y", "no")))
    assert edited("&a [*a]\n", ("*" + ".*" * 60, 1)) == "&a [*a]\n"
    assert time.process_time() - began < 3


def test_too_many_values_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_read, "MOST_VALUES", 1000)
    assert "more than 1000 values" in str(fault("[" + "1," * 1000 + "1]", ("[0]", 2)))


def test_a_pattern_edits_text_with_bytes_outside_of_utf8() -> None:
    assert edited("m: Caf\udce9 au lait\nn: x\n", ("m", "th\u00e9", "regex:au"), ("n", "z")) == "m: Caf\udce9 thé lait\nn: z\n"
    assert "bytes that are not UTF-8" in str(fault("m: \udce9\uf7e9\n", ("m", "x")))


def test_pythons_reader_gives_the_same_result_as_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: {b: 1}\nl:\n- 'x' # é𝒳\n- |\n  y\n\nz:\n"
    rules = [("a.c", 2), ("l[0]", "w"), ("l[1]", "v"), ("l[2]", "u"), ("z.z", True)]
    expected = edited(text, *rules)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert edited(text, *rules) == expected
    fault("a: [", ("a", 1))
    fault("[" * 5000, ("a", 1))


def test_without_pyyaml_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingLibrary, match="PyYAML"):
        edited("a: 1\n", ("a", 2))


KEYS = st.text(st.sampled_from("abnoy1 é#:-"), min_size=1, max_size=3)
TEXTS = st.one_of(st.sampled_from(AMBIGUOUS), st.text(max_size=5))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
TREES = st.recursive(SCALARS, lambda inner: st.one_of(st.dictionaries(KEYS, inner, max_size=3), st.lists(inner, max_size=3)), max_leaves=12)


@settings(max_examples=60)
@given(
    tree=st.dictionaries(KEYS, TREES, max_size=4),
    path=st.lists(KEYS, min_size=1, max_size=3),
    value=SCALARS,
    flow=st.sampled_from([None, False, True]),
    style=st.sampled_from([None, "'", '"', "|"]),
    indent=st.sampled_from([2, 4]),
)
def test_pyyaml_reads_the_new_value_and_every_other_value_unchanged(
    tree: Any, path: list[str], value: Any, flow: Any, style: Any, indent: int
) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow, default_style=style, indent=indent, allow_unicode=True, sort_keys=False)
    tree = yaml.safe_load(text)
    rule = ConfigRule(".".join(f'["{step}"]' for step in path), value)
    try:
        after = replace_yaml(text, [rule])
    except ConfigFault as caught:
        # A block may end with a line end of Unicode. No value can follow there.
        odd = any(separator in text for separator in "\x85\u2028\u2029")
        assert any(reason in str(caught) for reason in ("its path", "not YAML")) or odd
        return
    assert replace_yaml(after, [rule]) == after
    old, new = copy.deepcopy(tree), yaml.safe_load(after)
    for step in path[:-1]:
        if not isinstance(old, dict) or step not in old:
            return
        old, new = old[step], new[step]
    if not isinstance(old, dict):
        # In a list a step of digits names an item.
        return
    assert path[-1] in new
    old.pop(path[-1], None), new.pop(path[-1])
    assert old == new


#: PyYAML has two readers. The one in Python accepts less than libyaml.
READERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]
#: Characters with a meaning in YAML, and some without.
SPECIAL = st.text(st.sampled_from("ab1 ?:-,[]{}#&*!|>'\"%@`=<~\\.;$^/+\t\n\r\x00\x85\u2028\ufeff\xe9"), max_size=5)
WORDS = st.one_of(SPECIAL, st.text(st.characters(exclude_categories=["Cs"]), max_size=4))


def read_by_each(text: str) -> list[Any]:
    return [yaml.load(text, reader) for reader in READERS]


@pytest.mark.parametrize("word", ["Ready?", "a?b", "Ready? yes", "-?"])
def test_a_question_mark_within_brackets_is_quoted(word: str) -> None:
    rules = [ConfigRule("a", word), ConfigRule(f'["{word}"]', word), ConfigRule("l[0]", word)]
    for value in read_by_each(replace_yaml("{a: 1, l: [x]}\n", rules)):
        assert value == {"a": word, "l": [word], word: word}


def test_a_question_mark_in_a_block_needs_no_quotes() -> None:
    assert replace_yaml("a: 1\n", [ConfigRule("a", "Ready?")]) == "a: Ready?\n"


@settings(max_examples=80)
@given(
    name=WORDS.filter(bool),
    value=st.one_of(WORDS, st.none(), st.booleans()),
    style=st.sampled_from(["", "'", '"']),
)
def test_keys_and_scalars_read_back_within_brackets_and_without(name: str, value: Any, style: str) -> None:
    for flow in (False, True):
        written_key, written = scalar(name, style=style.strip("'"), flow=flow), scalar(value, style=style, flow=flow)
        entry, items = f"{written_key}: {written}", [written] * 2
        assert read_by_each(f"{{{entry}}}" if flow else f"{entry}\n") == [{name: value}] * len(READERS)
        listed = f"[{', '.join(items)}]" if flow else "".join(f"- {item}\n" for item in items)
        assert read_by_each(listed) == [[value] * 2] * len(READERS)


#: Prints how many bytes of memory the reading of a long value takes at most.
MEASURED = """
import resource, sys
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import yaml_read
count, character = int(sys.argv[1]), sys.argv[2]
yaml_read.read("k: 1\\n")
text = "k: 1" + character * (count // len(character)) + "\\n"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert yaml_read.read(text).entries
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("repeated", [":1", "_", "1"])
def test_a_long_plain_value_takes_at_most_16_times_its_size_in_memory(repeated: str) -> None:
    size = 16 * 1024 * 1024
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MEASURED, str(size), repeated]
    measured = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert int(measured.stdout) < 16 * size


@pytest.mark.parametrize("value", ["1" * 300, "1" + ":1" * 200, "1" * 150 + "." + "1" * 150])
def test_a_long_text_like_a_number_is_quoted(value: str) -> None:
    after = replace_yaml("a: old\n", [ConfigRule("a", value)])
    assert read_by_each(after) == [{"a": value}] * len(READERS)
    assert replace_yaml(after, [ConfigRule("a", value)]) == after


def test_an_equal_long_plain_value_stays_unquoted() -> None:
    text = f"a: {'1' * 300}\nb: 1\n"
    assert replace_yaml(text, [ConfigRule("a", "1" * 300), ConfigRule("b", 2)]) == text.replace("b: 1", "b: 2")
