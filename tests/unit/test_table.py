# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text for a terminal: tables are aligned, harmless and no wider than the terminal, and results hold no secret."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.table import Column, cut, render, render_within, width_of, wrapped
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import parser_of
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_text import load_text
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import load_settings
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.config_rule import ConfigRule
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import DefinitionInvalid, EngineError, SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.redaction import mask
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import (
    Detail,
    diff,
    entries,
    failure_message,
    is_failure,
    summary,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import is_nested_deeper, one_line
from ansible_collections.fleet.power.tests.unit.fake_node import NO_GROUP, FakeNode
from hypothesis import given
from hypothesis import strategies as st


def test_wide_and_combining_characters_keep_the_columns() -> None:
    lines = render(["NAME", "X"], [["生存", 1], ["e\u0301te", 2], ["abcd", 3]]).split("\n")
    assert lines == ["NAME  X", "生存  1", "e\u0301te   2", "abcd  3"]


def test_the_middle_of_a_very_long_cell_goes_since_the_reason_is_at_the_end() -> None:
    (_heading, line) = render(["MESSAGE"], [["Cannot start: " + "long " * 1000 + "no space left"]]).split("\n")
    assert len(line) == 400
    assert line.startswith("Cannot start: long ")
    assert line.endswith(" long no space left")


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x07", "\u202e", "\x9b", "\udc80", "\u200b", "\x00"])
def test_the_table_has_no_control_characters(hostile: str) -> None:
    text = render(["A"], [[f"x{hostile}y"]])
    assert text.replace("\n", "").isprintable()
    assert text.encode()


@pytest.mark.parametrize("blank", ["\n", "\r\n", "\t", "\u2028", "\x0b"])
def test_a_cell_never_breaks_its_line(blank: str) -> None:
    assert len(render(["A"], [[f"x{blank}y"]]).splitlines()) == 2


@pytest.mark.parametrize("row", [[1], [1, 2, 3]])
def test_a_row_of_the_wrong_length_raises_an_error(row: list[int]) -> None:
    with pytest.raises(ValueError, match="expected 2"):
        render(["A", "B"], [row])


NAME = Column("NAME", enough=8, least=4, fills=2, ends_count=True)
STATE = Column("STATE", enough=10, least=7, fills=1)
CODE = Column("CODE", goes=2)
NOTE = Column("NOTE", enough=6, goes=1, fills=3)
ALL = (NAME, STATE, CODE, NOTE)
ROW = ("a-long-server-name-1", "offline, and much more", 137, "some reason or other")


def shown(width: int, *rows: tuple[object, ...]) -> list[str]:
    return render_within(ALL, rows or (ROW,), width).split("\n")


def test_the_least_important_column_goes_first() -> None:
    assert shown(33) == ["NAME      STATE              CODE", "a-lo…e-1  offline, and muc…   137"]
    assert shown(20) == ["NAME      STATE", "a-lo…e-1  offline, …"]


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@given(st.lists(st.tuples(TEXT, TEXT, st.integers(0, 255) | st.none(), TEXT | st.none()), max_size=4), st.integers(13, 120))
def test_no_line_is_wider_than_the_terminal_for_any_text(rows: list[tuple[object, ...]], width: int) -> None:
    lines = render_within(ALL, rows, width).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(width_of(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("text", "width", "whole", "ends"),
    [
        ("abcdefgh", 8, "abcdefgh", "abcdefgh"),
        ("abcdefgh", 5, "abcd…", "ab…gh"),
        ("abcdefgh", 1, "…", "…"),
        ("abcdefgh", 0, "", ""),
        ("生存生存生存", 6, "生存…", "生…存"),
        ("e\u0301e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301…", "e\u0301…e\u0301"),
    ],
)
def test_a_text_is_cut_by_its_width_in_columns(text: str, width: int, whole: str, ends: str) -> None:
    assert (cut(text, width), cut(text, width, ends_count=True)) == (whole, ends)


@pytest.mark.parametrize("width", range(22, 40))
def test_no_line_ends_within_a_time(width: int) -> None:
    lines = wrapped("It is up since 02:58:00 UTC (58 s ago), and waits until 03:00:00 UTC (2 min from now) or for 30 s.", width)
    assert all(any(time in line for line in lines) for time in ("(58 s ago),", "(2 min from now)", "30 s."))


def test_the_cell_of_a_frozen_server_has_end_and_person() -> None:
    frozen = f"Cannot restart server {'a' * 36}: it is frozen until 2026-01-31T06:00:00.000Z by alice@web1: {'cup ' * 50}; wait"
    assert "until 2026-01-31T06:00:00.000Z by alice@web1: cup" in render(("SERVER", "MESSAGE"), [("Lobby", frozen)])


@given(st.text(), st.integers(2, 40))
def test_wrapping_keeps_all_text_and_the_width(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(width_of(line) <= width for line in lines)
    assert len("".join(lines).replace(" ", "")) == len("".join(text.split()))


#: Clears the screen by two introducers, reverses the text direction, overwrites the line, and rings.
EVIL = "a\x1b[2J\x9b31m\u202eb\rc\x07\u2028"
EVIL_BLANKED = "a [2J 31m b c  "
FILE = "settings.txt"
EDIT = {"file": FILE, "parser": "file", "replace": [{"match": "a", "replace_with": "b"}]}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "a file that changes": {"process": {"configs": [EDIT]}},
    "the name of a file": {"process": {"configs": [{**EDIT, "file": EVIL, "parser": "properties"}]}},
    "a parser": {"process": {"configs": [{**EDIT, "file": EVIL, "parser": EVIL}]}},
    "a rule": {"process": {"configs": [{**EDIT, "parser": "yaml", "replace": [{"match": EVIL, "replace_with": EVIL}]}]}},
    "a placeholder": {"process": {"configs": [{**EDIT, "replace": [{"match": "a", "replace_with": f"{{{{env.{EVIL}}}}}"}]}]}},
    "a stop": {"process": {"stop": {"type": EVIL, "value": EVIL}}},
    "a readiness line": {"process": {"startup": {"done": [EVIL, f"regex:({EVIL}"]}}},
    "a command": {"invocation": f"{EVIL} {{{{{EVIL}}}}}"},
    "a variable": {"environment": {EVIL: EVIL, "B": EVIL}},
    "an image": {"container": {"image": EVIL}},
    "a name": {"meta": {"name": EVIL, "game": EVIL}, "egg": {"id": EVIL}, "labels": {EVIL: EVIL}},
    "a mount": {"mounts": [{"source": f"/{EVIL}", "target": f"/{EVIL}"}]},
    "an allocation": {"allocations": {"mappings": {EVIL: [1]}, "default": {"ip": EVIL, "port": 1}}},
    "a limit": {"build": {"memory_limit": EVIL, "threads": EVIL}},
    "a key that is not known": {EVIL: EVIL},
}


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from (*texts(name), *texts(each))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts(each)


def unsafe_texts(value: object) -> list[str]:
    """The texts of a value with control characters. Texts of a diff have several lines."""
    return [text for text in texts(value) if not text.replace("\r\n", "").replace("\n", "").replace("\t", "").isprintable()]


def safe_text(result: Result) -> list[object]:
    shown_entries = entries([result], check=True, all_steps=True, detail=Detail.WHOLE, timed=True)
    failure = [failure_message([result])] if is_failure(result) else []
    return [shown_entries, diff([result]), summary([result, result]), result.warnings, failure]


@pytest.mark.parametrize("given", DEFINITIONS.values(), ids=DEFINITIONS)
@pytest.mark.parametrize("action", ["start", "restart"])
def test_the_result_of_an_action_has_no_control_characters(fake: FakeNode, given: dict[str, Any], action: str) -> None:
    if action == "start":
        fake.down()
    else:
        fake.up()
    (fake.volume / FILE).write_bytes(f"a: {EVIL}\n".encode() + b"\xff\x9b\n")
    fake.define(**given)
    for check in (True, False):
        result = fake.perform(action, check=check, diff=True, reason=EVIL, origin=EVIL)
        assert unsafe_texts(safe_text(result)) == []


def test_the_facts_of_a_server_have_no_control_characters(fake: FakeNode) -> None:
    fake.define(**DEFINITIONS["a name"])
    fake.up()
    fake.engine.logs[fake.seen().id] = f"{EVIL}\nlast\n".encode()
    fake.perform("restart", reason=EVIL, origin=EVIL, idempotency_key=EVIL)
    fake.engine.logs[fake.seen().id] = f"{EVIL}\nlast\n".encode()
    settings = fake.node.settings
    with fake.lock("restart"):
        journal = Journal(settings.state_directory, settings.lock_directory, NO_GROUP, fake.clock, read_only=True)
        facts = describe((), replace(fake.build(), journal=journal), FactOptions(10, 10), remember=lambda *_unused: None)
        journal.close()
        busy = fake.perform("stop", wait_seconds=0, reason=EVIL, origin=EVIL)
    (entry,) = facts.entries
    assert (entry["operations"][0]["origin"], entry["log"][-1], len(entry["log"]), busy.outcome.value) == (
        EVIL_BLANKED,
        "last",
        2,
        "refused",
    )
    assert unsafe_texts([entry, facts.warnings, safe_text(busy)]) == []


@pytest.mark.parametrize(
    ("text", "secrets", "masked"),
    [
        ("token=hunter22!", ["hunter22"], "token=********!"),
        ("no secret", ["hunter22"], "no secret"),
        ("hunter22hunter22", ["hunter22"], "****************"),
        ("hunter22-long", ["hunter22", "hunter22-long"], "********"),
        ("abcdefgh", ["abcdef", "cdefgh"], "********"),
        ("a.c abc", ["a.c"], "******** abc"),
        ("text", ["", "absent"], "text"),
    ],
)
def test_each_secret_and_overlapping_secrets_are_masked(text: str, secrets: list[str], masked: str) -> None:
    assert mask(text, secrets) == masked


@given(st.text("ab*", max_size=30), st.sets(st.text("ab", min_size=6, max_size=8), max_size=4))
def test_no_secret_survives(text: str, secrets: set[str]) -> None:
    masked = mask(text, secrets)
    assert not any(secret in masked for secret in secrets)
    assert mask(text, sorted(secrets)) == masked


@given(text=st.text("ab", max_size=60), secrets=st.lists(st.text("ab", min_size=1, max_size=9), max_size=3))
def test_mask_covers_the_same_as_a_search_at_every_position(text: str, secrets: list[str]) -> None:
    found = sorted((at, at + len(secret)) for secret in secrets for at in range(len(text)) if text.startswith(secret, at))
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    expected = text
    for start, end in reversed(merged):
        expected = expected[:start] + "*" * 8 + expected[end:]
    assert mask(text, secrets) == expected


@pytest.mark.parametrize("foul", ["\n", "\0", "\x1b", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_texts_for_a_single_line_have_no_control_characters(foul: str) -> None:
    assert one_line(f"a{foul}b{foul}") == "a b"


def test_a_longer_text_is_cut_with_an_ellipsis() -> None:
    assert one_line("x" * 1000) == "x" * 1000
    assert one_line("x" * 1001) == "x" * 997 + "..."
    assert one_line("\n" * 5000 + "x") == "..."
    assert one_line("abcdefgh", 6) == "abc..."


def test_words_in_other_alphabets_stay() -> None:
    assert one_line("Größe 大きさ 🎮") == "Größe 大きさ 🎮"


@pytest.mark.parametrize("secret", ["hunter22-is-secret", "hunter22\nis\tsecret", "hunter22-is-secret\n"])
@pytest.mark.parametrize("before", [*range(970, 1003), 0])
def test_a_secret_in_a_cut_message_of_the_engine_is_masked(fake: FakeNode, secret: str, before: int) -> None:
    progress = fake.progress()
    progress.secrets = frozenset((secret, "another-secret"))
    said = EngineError(f"Cannot create it: {one_line('x' * before + secret + ' and so on')}")
    assert "h" not in progress.sentence(said).partition(": ")[2].replace("...", "")


#: Invalid YAML, line and column, and words of the message.
NOT_YAML: list[tuple[str, str, str]] = [
    ("a: b: c\n", "1, 5", "a mapping value is not allowed here"),
    ("settings:\n\tuuid: x\n", "2, 1", "a tab stands where spaces indent"),
    ("a: [1, 2\nb: 3\n", "2, 2", "a comma or a closing bracket is missing in the list that begins in line 1"),
    ("a: 1\nbcd\ne: 2\n", "2, 1", "a key has no colon"),
    ("a: 1\n- b\n", "2, 1", "whether a list and a map are mixed"),
    ("a: - b\n", "1, 4", "a list item is not allowed here"),
    ('a: "C:\\yes"\n', "1, [0-9]+", "a backslash that begins no known escape"),
    ("a: !e!x y\n", "1, 4", "a tag is not valid"),
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
#: Words of PyYAML or the json module, which no message may hold.
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
        parser_of("yaml")(text, [ConfigRule("nothing", "new")])
    return str(caught.value)


def check_sentence(said: str, kind: str, place: str, words: str) -> None:
    """Check that a message has its place and its words, and no words or signs of a parser."""
    line, column = place.split(", ")
    assert re.match(f"it is not {kind}: line {line}, column {column}: ", said), said
    assert re.search(words, said), said
    assert THEIRS.search(said) is None, said
    assert said.count("'") == said.count('"') == 0, said
    assert "{" not in said and not said.endswith((":", ".", " ")), said


@pytest.mark.usefixtures("yaml_reader")
@pytest.mark.parametrize("read", [of_definition, of_settings, of_configuration])
@pytest.mark.parametrize(("text", "place", "words"), NOT_YAML, ids=[repr(row[0])[:30] for row in NOT_YAML])
def test_broken_yaml_has_a_full_message_with_line_and_column(
    tmp_path: Path, read: Callable[[str, Path], str], text: str, place: str, words: str
) -> None:
    check_sentence(read(text, tmp_path / "x.yml"), "YAML", place, words)


@pytest.mark.parametrize(("text", "place", "words"), NOT_JSON, ids=[repr(row[0])[:30] for row in NOT_JSON])
def test_broken_json_has_a_full_message_with_line_and_column(tmp_path: Path, text: str, place: str, words: str) -> None:
    check_sentence(of_definition(text, tmp_path / "x.json", yaml=False), "JSON", place, words)


@pytest.mark.parametrize(("text", "place", "words"), NOT_TOML, ids=[repr(row[0])[:30] for row in NOT_TOML])
def test_broken_toml_has_a_full_message_with_line_and_column(text: str, place: str, words: str) -> None:
    line, column = place.split(", ")
    with pytest.raises(ConfigFault, match=f"the file is not valid TOML at line {line}, column {column}: {words}"):
        parser_of("toml")(text, [ConfigRule("nothing", "new")])


@pytest.mark.usefixtures("yaml_reader")
def test_messages_about_broken_files_hold_no_content_of_the_file(tmp_path: Path) -> None:
    """500 broken texts, each read by 7 parsers."""
    secret = "Zq7Xk9Vj"
    good = (
        f"token: {secret}a\nsettings:\n  environment:\n    A: \"{secret}b\"\n    {secret}c: '{secret}d'\n"
        f"  list: [{secret}e, {{x: {secret}f}}]\n  more:\n  - &{secret}g !!str {secret}h\n  - |\n    {secret}i\n  - *{secret}g\n"
    )
    spoil = [*"\t\"'[]{}:,-?!&*#|>%@`\\\x01\n ", "\n---\n", "\n... ", "! ", "\n\t"]
    spoil += [f"{sign}{secret} " for sign in "*!&\\"]
    chance = random.Random(11)
    faults = 0
    for number in range(500):
        at = chance.randrange(len(good))
        text = good[:at] + chance.choice(spoil) + good[at + chance.randrange(3) :]
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        for read in (
            lambda text=text, path=path: load_text(text.encode(), str(path), yaml=True),
            lambda text=text, path=path: load_text(text.encode(), str(path), yaml=False),
            lambda path=path: load_settings(str(path)),
            *(lambda text=text, name=name: parser_of(name)(text, [ConfigRule("no", "new")]) for name in ("yaml", "json", "toml", "xml")),
        ):
            try:
                read()
            except (DefinitionInvalid, SettingsInvalid, ConfigFault) as error:
                faults += 1
                assert "Zq7" not in str(error) and "k9V" not in str(error), str(error)
                assert str(error).isprintable()
    assert faults > 1500


VALUES = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a'), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((depth_of(each) for each in inner), default=0)


@given(VALUES)
def test_the_depth_of_json_text_equals_the_depth_of_its_value(value: Any) -> None:
    depth = depth_of(value)
    assert not is_nested_deeper(json.dumps(value), depth)
    assert depth == 0 or is_nested_deeper(json.dumps(value), depth - 1)


@pytest.mark.parametrize("text", ["[" * 65, "[" * 1_000_000, '{"a":' * 65, '["[]", ' * 65])
def test_a_text_that_is_too_deep_is_detected_although_it_is_incomplete(text: str) -> None:
    assert is_nested_deeper(text, 64)


@pytest.mark.parametrize("text", ["[]" * 100, '["' + "[" * 100, '["' + '\\"[' * 100, "]" * 100 + "[" * 150, "", '"'])
def test_wide_text_and_quoted_text_are_not_deep(text: str) -> None:
    assert not is_nested_deeper(text, 64)


#: Prints how many bytes of memory the check of a text takes at most, beside the text.
MEASURED = """
import resource, sys
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import is_nested_deeper
is_nested_deeper('["a"]', 0)
text = '["' + sys.argv[1] * (int(sys.argv[2]) // len(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
is_nested_deeper(text, 0)
is_nested_deeper(text, 10)
is_nested_deeper("[" * 11 + text, 11)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("piece", ["\\\\", '\\"', "a", '"', "[", "x\\u0041"])
def test_the_depth_of_a_text_takes_at_most_twice_its_size_in_memory(piece: str) -> None:
    size = 16 * 1024 * 1024
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MEASURED, piece, str(size)]
    measured = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert int(measured.stdout) < 2 * size


@pytest.mark.parametrize("piece", ["[],", '"[",', '\\"[', '"\\', "[" + '"' * 3])
def test_a_large_text_takes_time_in_proportion(piece: str) -> None:
    small, large = piece * 20_000, piece * 200_000
    began = time.process_time()
    is_nested_deeper(small, 10**9)
    is_nested_deeper("[" * 10 + small, 9)
    middle = time.process_time()
    is_nested_deeper("[" * 10 + large, 10**7)
    assert time.process_time() - middle < 100 * (middle - began + 0.01)
