# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser ``ini``: keys in their sections, in the style of the file."""

from __future__ import annotations

import configparser
import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.ini_file import replace_ini
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault, value_text
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule
from hypothesis import given, settings
from hypothesis import strategies as st


def edited(text: str, *rules: tuple[str, object]) -> str:
    return replace_ini(text, [ConfigRule(match, value) for match, value in rules])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("match", "section", "key"),
    [
        ("s.k", "s", "k"),
        ("s.a.b", "s", "a.b"),
        ("[/Script/Engine.GameSession].Max", "/Script/Engine.GameSession", "Max"),
        ("a[b.c].k", "ab.c", "k"),
        ("s.k[0]", "s", "k[0]"),
    ],
)
def test_a_match_is_divided_at_its_first_dot_outside_of_brackets(match: str, section: str, key: str) -> None:
    assert edited("", (match, "v")) == f"[{section}]\n{key}=v\n"


@pytest.mark.parametrize(
    ("line", "value", "expected"),
    [
        ("k=1", "2", "k=2"),
        ("  k  =  1  ", "2", "  k  =  2  "),
        ("k:1", "a=b", "k: a=b"),
        ("k = ; nothing", "2", "k = 2 ; nothing"),
        ("k = Server #1", "2", "k = 2"),
        ("k = a;b", "2", "k = 2"),
        ('k = "a ; b" ; why', "2", 'k = "2" ; why'),
        ("k = 'a'", "it's", "k = it's"),
        ("k = 'x'", "Tom ; Jerry", "k = 'Tom ; Jerry'"),
        ("k = 1", "two\n", "k = two"),
        ("k = 1", True, "k = true"),
        ("k = 1", None, "k = "),
    ],
)
def test_a_value_is_replaced_and_what_stands_around_it_stays(line: str, value: object, expected: str) -> None:
    once = edited(f"[s]\n{line}\n", ("s.k", value))
    assert once == f"[s]\n{expected}\n"
    assert edited(once, ("s.k", value)) == once


@pytest.mark.parametrize("value", ["; z", "Tom ; Jerry", "a # b", ";", "#"])
@pytest.mark.parametrize("line", ["k:1", "k: 1", "k = 1 ; why", "k=", "j = 1"])
def test_what_would_read_as_a_comment_is_quoted_as_the_file_does_or_a_fault(line: str, value: str) -> None:
    for quote in ('"', "'"):
        once = edited(f"[s]\n{line}\n[t]\nother={quote}x{quote}\n", ("s.k", value))
        assert f"{quote}{value}{quote}" in once
        assert edited(once, ("s.k", value)) == once
        assert edited(once, ("s.k", "plain")).count(value) == line.count(value)
    rule = ConfigRule("s.k", value)
    with pytest.raises(ConfigFault) as raised:
        replace_ini(f"[s]\n{line}\n", [rule])
    assert raised.value.rule is rule


@pytest.mark.parametrize("standing", ["k=1", 'k = "1"', "k = '1' ; why", "k: 1"])
def test_a_value_that_stands_already_stays_as_it_is_written(standing: str) -> None:
    assert edited(f"[s]\n{standing}\n", ("s.k", 1)) == f"[s]\n{standing}\n"


@pytest.mark.parametrize(
    ("match", "value"), [("s.", "x"), ("", "x"), ("s.k=l", "x"), ("s.;k", "x"), ("s.a\nb", "x"), ("s.k", "a\n[evil]\nb=c")]
)
def test_what_such_a_file_cannot_hold_is_a_fault_that_names_the_rule(match: str, value: str) -> None:
    rule = ConfigRule(match, value)
    with pytest.raises(ConfigFault) as raised:
        replace_ini("[s]\nk=1\n", [rule])
    assert raised.value.rule is rule
    assert "evil" not in str(raised.value)


def test_a_new_key_does_not_come_between_a_value_and_the_lines_that_go_on_with_it() -> None:
    assert edited("[s]\nk = one\n    two\n\n[t]\n", ("s.l", 1)) == "[s]\nk = one\n    two\nl = 1\n\n[t]\n"


def test_a_byte_order_mark_is_kept_and_does_not_hide_the_first_section() -> None:
    assert edited("\ufeff[s]\nk=1\n", ("s.k", 2)) == "\ufeff[s]\nk=2\n"


def test_if_value_counts_and_does_not_create_what_is_missing() -> None:
    rules = [ConfigRule("s.k", "2", "1"), ConfigRule("s.l", "2", "other"), ConfigRule("s.new", "2", ""), ConfigRule("t.k", "2", "regex:.*")]
    assert replace_ini("[s]\nk=1\nl=1\n", rules) == "[s]\nk=2\nl=1\n"


@pytest.mark.parametrize("text", ["[" * 500_000, "k=" + " " * 500_000 + "x", 'k="' * 200_000, "] " * 300_000])
def test_large_files_take_no_more_than_their_length(text: str) -> None:
    began = time.process_time()
    assert text in edited(text, ("s.new", 1))
    assert time.process_time() - began < 3


def read_by_python(text: str) -> dict[tuple[str, str], str]:
    """What Python's own reader finds in a file, comments behind values included."""
    reader = configparser.RawConfigParser(
        delimiters=("=", ":"), comment_prefixes=(";", "#"), inline_comment_prefixes=None, empty_lines_in_values=False
    )
    reader.optionxform = str  # type: ignore[assignment,method-assign]
    reader.read_string(text)
    return {(section, key): value for section in reader.sections() for key, value in reader.items(section)}


PLAIN = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=";#\"'"), max_size=8)
NAMES = st.sampled_from(["k", "K", "+k", "k.k", "k[0]", "k k", "\u00e9", "rcon.password"])
SECTIONS = st.sampled_from(["s", "S", "/Script/Engine.Session", "t.u", "s s"])
WRITTEN = st.tuples(
    st.sampled_from(["=", " = ", " =", ": "]), st.sampled_from(["", '"', "'"]), PLAIN, st.sampled_from(["", " ; why", " # why"])
)
FILES = st.dictionaries(SECTIONS, st.dictionaries(NAMES, WRITTEN, min_size=1, max_size=4), min_size=1, max_size=3)


@settings(max_examples=80, deadline=None)
@given(file=FILES, value=st.one_of(PLAIN, st.integers(), st.booleans(), st.none()), end=st.sampled_from(["\n", "\r\n"]), choice=st.data())
def test_another_reader_finds_the_value_and_every_other_key_as_it_was(
    file: dict[str, dict[str, tuple[str, str, str, str]]], value: object, end: str, choice: st.DataObject
) -> None:
    lines = []
    for section, keys in file.items():
        lines += "; of a section", f"[{section}]"
        for key, (division, quote, standing, comment) in keys.items():
            lines += f"{key}{division}{quote}{standing if quote else standing.strip()}{quote}{comment}", "# of a key"
        lines.append("")
    before = end.join(lines)
    section = choice.draw(st.sampled_from(sorted(file)))
    key = choice.draw(st.sampled_from(sorted(file[section])))
    after = edited(before, (f"[{section}].{key}", value))
    _division, quote, _standing, comment = file[section][key]
    text = value_text(value)  # type: ignore[arg-type]
    expected = {**read_by_python(before), (section, key): f"{quote}{text if quote else text.strip()}{quote}{comment}".strip()}
    assert read_by_python(after) == expected
    assert [line for line in after.split(end) if line[:1] in ";#["] == [line for line in before.split(end) if line[:1] in ";#["]


@settings(max_examples=60, deadline=None)
@given(file=FILES, value=PLAIN, section=SECTIONS)
def test_a_new_key_changes_no_other(file: dict[str, dict[str, tuple[str, str, str, str]]], value: str, section: str) -> None:
    before = "".join(
        f"[{name}]\n"
        + "".join(f"{key}{division}{standing.strip()}{comment}\n" for key, (division, _quote, standing, comment) in keys.items())
        for name, keys in file.items()
    )
    after = edited(before, (f"[{section}].new", value))
    assert read_by_python(after) == {**read_by_python(before), (section, "new"): value.strip()}
