# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers of lines: ``file``, ``ini`` and ``properties`` change only the places that rules name."""

from __future__ import annotations

import configparser
import re
import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import parser_of
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.ini_file import replace_ini
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.properties_file import replace_properties
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault, value_text
from ansible_collections.fleet.power.plugins.module_utils._power.model.config_rule import ConfigRule
from hypothesis import given, settings
from hypothesis import strategies as st


def edited(text: str, *rules: tuple[str, object]) -> str:
    return parser_of("ini")(text, [ConfigRule(match, value) for match, value in rules])  # type: ignore[arg-type]


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
def test_a_new_value_keeps_the_text_around_the_old_value(line: str, value: object, expected: str) -> None:
    once = edited(f"[s]\n{line}\n", ("s.k", value))
    assert once == f"[s]\n{expected}\n"
    assert edited(once, ("s.k", value)) == once


@pytest.mark.parametrize("value", ["; z", "Tom ; Jerry", "a # b", ";", "#"])
@pytest.mark.parametrize("line", ["k:1", "k: 1", "k = 1 ; why", "k=", "j = 1"])
def test_a_value_with_a_comment_sign_is_quoted_like_the_file_or_a_fault(line: str, value: str) -> None:
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
def test_an_equal_value_keeps_its_spelling(standing: str) -> None:
    assert edited(f"[s]\n{standing}\n", ("s.k", 1)) == f"[s]\n{standing}\n"


@pytest.mark.parametrize(
    ("match", "value"), [("s.", "x"), ("", "x"), ("s.k=l", "x"), ("s.;k", "x"), ("s.a\nb", "x"), ("s.k", "a\n[evil]\nb=c")]
)
def test_a_key_or_value_that_ini_cannot_hold_is_a_fault_with_its_rule(match: str, value: str) -> None:
    rule = ConfigRule(match, value)
    with pytest.raises(ConfigFault) as raised:
        replace_ini("[s]\nk=1\n", [rule])
    assert raised.value.rule is rule
    assert "evil" not in str(raised.value)


def test_a_new_key_goes_below_the_continuation_lines_of_a_value() -> None:
    assert edited("[s]\nk = one\n    two\n\n[t]\n", ("s.l", 1)) == "[s]\nk = one\n    two\nl = 1\n\n[t]\n"


def test_a_byte_order_mark_is_kept_and_does_not_hide_the_first_section() -> None:
    assert edited("\ufeff[s]\nk=1\n", ("s.k", 2)) == "\ufeff[s]\nk=2\n"


def test_if_value_selects_values_and_creates_no_key() -> None:
    rules = [ConfigRule("s.k", "2", "1"), ConfigRule("s.l", "2", "other"), ConfigRule("s.new", "2", ""), ConfigRule("t.k", "2", "regex:.*")]
    assert replace_ini("[s]\nk=1\nl=1\n", rules) == "[s]\nk=2\nl=1\n"


@pytest.mark.parametrize("text", ["[" * 500_000, "k=" + " " * 500_000 + "x", 'k="' * 200_000, "] " * 300_000])
def test_large_files_take_linear_time(text: str) -> None:
    began = time.process_time()
    assert text in edited(text, ("s.new", 1))
    assert time.process_time() - began < 3


def read_by_python(text: str) -> dict[tuple[str, str], str]:
    """Values by section and key as Python's own reader finds them, with the comments behind them."""
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


@settings(max_examples=80)
@given(file=FILES, value=st.one_of(PLAIN, st.integers(), st.booleans(), st.none()), end=st.sampled_from(["\n", "\r\n"]), choice=st.data())
def test_pythons_reader_finds_the_new_value_and_every_other_key_unchanged(
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


@settings(max_examples=60)
@given(file=FILES, value=PLAIN, section=SECTIONS)
def test_a_new_key_changes_no_other_key(file: dict[str, dict[str, tuple[str, str, str, str]]], value: str, section: str) -> None:
    before = "".join(
        f"[{name}]\n"
        + "".join(f"{key}{division}{standing.strip()}{comment}\n" for key, (division, _quote, standing, comment) in keys.items())
        for name, keys in file.items()
    )
    after = edited(before, (f"[{section}].new", value))
    assert read_by_python(after) == {**read_by_python(before), (section, "new"): value.strip()}


def edited_properties(text: str, *rules: tuple[str, object]) -> str:
    return parser_of("properties")(text, [ConfigRule(match, value) for match, value in rules])  # type: ignore[arg-type]


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
def test_a_value_has_the_escapes_that_java_reads(value: object, written: str) -> None:
    once = edited_properties("a=1\n", ("a", value), ("new", value))
    assert once == f"a={written}\nnew={written}\n"
    assert edited_properties(once, ("a", value), ("new", value)) == once


def test_bytes_outside_of_utf8_are_latin_1_as_in_minecraft_and_stay() -> None:
    text = b"a=\xe9\nb=\xe9\n".decode("utf-8", "surrogateescape")
    assert edited_properties(text, ("a", "\u00e9"), ("c", "\u00e9")) == f"{text}c=\\u00E9\n"


@pytest.mark.parametrize("text", ["a=b\\", "a=b\\\n", "a=b\\\r", "a\\", "\\"])
def test_a_last_line_with_a_backslash_does_not_absorb_a_new_key(text: str) -> None:
    once = edited_properties(text, ("new", 1))
    assert once.startswith(text)
    assert edited_properties(once, ("new", 1), ("new", 2)).count("2") == 1
    assert edited_properties(edited_properties(text, ("a", 5)), ("a", 5)) == edited_properties(text, ("a", 5))


@pytest.mark.parametrize("text", ["b=\\\nx", "b=\\\r\nx", "b=\\\n\\\nx", "b=\\\nx\\"])
def test_an_emptied_value_does_not_absorb_a_new_key(text: str) -> None:
    once = edited_properties(text, ("b", ""), ("c", 1))
    assert read_as_java_does(once) == {"b": "", "c": "1"}
    assert edited_properties(once, ("b", ""), ("c", 1)) == once
    assert read_as_java_does(edited_properties(edited_properties(text, ("b", "")), ("c", 1))) == {"b": "", "c": "1"}


def test_a_rule_without_a_key_is_a_fault_that_names_the_rule() -> None:
    rule = ConfigRule("", "x")
    with pytest.raises(ConfigFault) as raised:
        replace_properties("a=1\n", [rule])
    assert raised.value.rule is rule


def read_as_java_does(text: str) -> dict[str, str]:
    """Follows the documentation of `java.util.Properties.load`, independently of the parser."""
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


@settings(max_examples=80)
@given(
    entries=ENTRIES,
    value=st.one_of(ANY_TEXT, st.integers(), st.booleans(), st.none()),
    is_new=st.booleans(),
    choice=st.data(),
)
def test_java_reads_the_new_value_and_every_other_key_unchanged(
    entries: dict[str, tuple[str, str]], value: object, is_new: bool, choice: st.DataObject
) -> None:
    before = "# mine\n" + "".join(
        f"{escaped(key, ' =:#!' + chr(92))}{separator}{escaped(standing, ' =:' + chr(92))}\n! \u00e9\n"
        for key, (separator, standing) in entries.items()
    )
    assert read_as_java_does(before) == {key: standing for key, (_separator, standing) in entries.items()}
    key = "new key" if is_new else choice.draw(st.sampled_from(sorted(entries)))
    after = edited_properties(before, (key, value))
    assert read_as_java_does(after) == {**read_as_java_does(before), key: value_text(value)}  # type: ignore[arg-type]
    assert [line for line in after.split("\n") if line[:1] in ("#", "!")] == [line for line in before.split("\n") if line[:1] in ("#", "!")]


def edited_lines(text: str, *rules: tuple[str, object]) -> str:
    return parser_of("file")(text, [ConfigRule(match, value) for match, value in rules])  # type: ignore[arg-type]


def test_a_line_that_begins_with_the_match_is_replaced_as_a_whole() -> None:
    assert (
        edited_lines("hostname old\n\n  hostname kept\n#hostname\n", ("hostname", "hostname new"))
        == "hostname new\n\n  hostname kept\n#hostname\n"
    )


def test_a_rule_without_a_matching_line_adds_no_line() -> None:
    assert edited_lines("a\n", ("b", "b=1")) == "a\n"
    assert edited_lines("", ("b", "b=1")) == ""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_edit_keeps_line_ends_and_a_missing_last_line_end(end: str) -> None:
    assert edited_lines(f"x{end}a=1{end}y\r{end}a=2", ("a=", "a=3")) == f"x{end}a=3{end}y\r{end}a=3"


@pytest.mark.parametrize("separator", ["\x0b", "\x85", "\u2028", "\r"])
def test_only_line_feeds_end_a_line(separator: str) -> None:
    assert edited_lines(f"x{separator}a=1\n", ("a=", "a=3")) == f"x{separator}a=1\n"


def test_a_byte_order_mark_is_kept_and_does_not_hide_the_first_line() -> None:
    assert edited_lines("\ufeffa=1\n", ("a=", "a=2")) == "\ufeffa=2\n"


def test_the_longest_match_wins_and_the_first_of_equals() -> None:
    rules = (("rcon", "rcon=on"), ("rcon_password", "rcon_password=x"), ("rcon", "rcon=off"))
    assert edited_lines("rcon_password=\nrcon=\n", *rules) == "rcon_password=x\nrcon=on\n"


def test_a_second_boot_does_not_repeat_a_value_of_several_lines() -> None:
    once = edited_lines("motd old\r\nend\r\n", ("motd", "motd a\nmotd b"))
    assert once == "motd a\r\nmotd b\r\nend\r\n"
    assert edited_lines(once, ("motd", "motd a\nmotd b")) == once
