# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every parser against its corpus and against the examples of the guide."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS, parser_of, placeholders
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.rules import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import (
    ConfigFile,
    ConfigRule,
    Definition,
    parse_definition,
)
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, Example, csv_tables, examples, literals
from hypothesis import given, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "fixtures" / "config_files"
ENDINGS = frozenset({"cut", "crlf", "latin1", "bom"})


@dataclass(frozen=True)
class Case:
    parser: str
    name: str
    before: str
    after: str
    rules: tuple[ConfigRule, ...]

    def check(self) -> None:
        """The rules give the expected file, and change nothing when applied again."""
        parse = parser_of(self.parser)
        assert parse(self.before, self.rules) == self.after
        assert parse(self.after, self.rules) == self.after
        assert parse(self.before, ()) == self.before


def cases(parser: str) -> list[Case]:
    found = [_case(parser, path) for path in sorted((CORPUS / parser).iterdir())]
    assert found, f"no cases of parser {parser}"
    return found


def _case(parser: str, directory: Path) -> Case:
    raw = json.loads((directory / "rules.json").read_text(encoding="utf-8"))
    rules = tuple(ConfigRule(rule["match"], rule["replace_with"], rule.get("if_value")) for rule in raw)
    return Case(parser, directory.name, _text(directory / "before"), _text(directory / "after"), rules)


def _text(path: Path) -> str:
    text = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
    endings = _endings(path.parent.name)
    if "cut" in endings:
        text = text.removesuffix("\n")
    if "crlf" in endings:
        text = text.replace("\n", "\r\n")
    if "latin1" in endings:
        # The core, too, reads a byte outside of UTF-8 as a surrogate.
        text = text.encode("latin-1").decode("utf-8", "surrogateescape")
    return f"\ufeff{text}" if "bom" in endings else text


def _endings(name: str) -> set[str]:
    return set(itertools.takewhile(ENDINGS.__contains__, reversed(name.split("-"))))


CASES = [case for path in sorted(CORPUS.iterdir()) for case in cases(path.name)]
PATIENT = settings(max_examples=150)
PARSER = st.sampled_from(sorted(PARSERS))
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=12))
MATCHES = st.one_of(
    st.sampled_from(["a", "a.b", "a[0]", "a.*", "*", "a.*.c", "b.c.d", "[0]", "[s].k", "x.y[1].z", "", "a..b", "#", "<<"]),
    st.text(max_size=8),
)
RULES = st.lists(st.builds(ConfigRule, MATCHES, VALUES, st.one_of(st.none(), st.none(), st.text(max_size=4))), max_size=4)
PIECES = st.lists(
    st.sampled_from(
        [*"ab0 \n\t:-,{}[]<>/=\"'#&*!|?%@;.~\\", "\r\n", "\ufeff", "\udcff", "\x00", "<a>", "</a>", "- ", ": ", "[a]\n", "\u2028"]
    ),
    max_size=25,
).map("".join)


def outcome(parser: str, text: str, rules: list[ConfigRule]) -> str | None:
    """The edited text, or None for a fault with a message of one line."""
    try:
        return parser_of(parser)(text, rules)
    except ConfigFault as fault:
        assert str(fault)
        assert "\n" not in str(fault)
        return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parser}-{case.name}")
def test_each_case_of_the_corpus_gives_its_expected_file(case: Case) -> None:
    case.check()


@PATIENT
@given(parser=PARSER, text=PIECES, rules=RULES)
def test_any_text_is_edited_or_a_fault(parser: str, text: str, rules: list[ConfigRule]) -> None:
    outcome(parser, text, rules)


@PATIENT
@given(parser=PARSER, raw=st.binary(max_size=40), rules=RULES)
def test_any_bytes_are_edited_or_a_fault(parser: str, raw: bytes, rules: list[ConfigRule]) -> None:
    after = outcome(parser, raw.decode("utf-8", "surrogateescape"), rules)
    if after is not None:
        after.encode("utf-8", "surrogateescape")


@PATIENT
@given(case=st.sampled_from(CASES), cut=st.integers(0, 400), piece=PIECES, rules=RULES)
def test_a_damaged_file_is_edited_or_a_fault(case: Case, cut: int, piece: str, rules: list[ConfigRule]) -> None:
    outcome(case.parser, case.before[:cut] + piece + case.before[cut + 3 :], [*case.rules, *rules])


@PATIENT
@given(case=st.sampled_from(CASES), choice=st.data())
def test_a_second_edit_changes_nothing(case: Case, choice: st.DataObject) -> None:
    # Rules that disagree undo each other. So each match has one rule, and no match leads through the place of another.
    # A wildcard and the beginning of a line can match the place of another rule. Each of them is used alone.
    matches = sorted({rule.match for rule in [*case.rules, *choice.draw(RULES)]})
    alone = [match for match in matches if "*" in match or case.parser == "file"]
    places = [match for match in matches if match not in alone]
    together = [match for match in places if not any(other.startswith(match) for other in places if other != match)]
    chosen = choice.draw(st.one_of(st.permutations(together), *(st.just([match]) for match in alone)))
    rules = [ConfigRule(match, choice.draw(VALUES)) for match in chosen]
    once = outcome(case.parser, case.before, rules)
    if once is not None:
        assert outcome(case.parser, once, rules) == once


@PATIENT
@given(case=st.sampled_from(CASES))
def test_an_edit_without_rules_changes_nothing(case: Case) -> None:
    assert parser_of(case.parser)(case.after, []) == case.after


PAGE = GUIDES / "config_files_guide.rst"
LINES = PAGE.read_text().splitlines()
TABLES = csv_tables(PAGE)
#: The parsers with an example. `yml` is another name of `yaml`.
SHOWN = sorted(set(PARSERS) - {"yml"})


def definition() -> Definition:
    return parse_definition(
        {
            "settings": {
                "uuid": "7f9f2b60-6c32-4f4b-9d65-0d6a1dd9a3d1",
                "container": {"image": "registry.example.test/echo:1"},
                "environment": {"BOT_TOKEN": "hunter-2-hunter", "NAME": "Cobalt"},
                "allocations": {"default": {"ip": "192.0.2.10", "port": 25601}},
                "build": {"threads": "0-1"},
                "egg": {"id": "1"},
            }
        },
        where="test",
    )


def expanded(parser: str, rules: list[dict[str, Any]]) -> tuple[ConfigRule, ...]:
    raw = tuple(ConfigRule(rule["match"], rule["replace_with"], rule.get("if_value")) for rule in rules)
    return placeholders.expand(ConfigFile("file", parser, raw), definition(), parse_settings({}, where="test")).rules


def blocks() -> dict[str, dict[str, Example]]:
    """The code blocks of each section, by the word above them."""
    found: dict[str, dict[str, Example]] = {}
    for example in examples(PAGE):
        above = LINES[: example.line - 1]
        section = next(above[place - 1] for place in range(len(above) - 1, 0, -1) if re.fullmatch(r"[=~-]{3,}", above[place]))
        word = next(line for line in reversed(above) if line)
        found.setdefault(section.strip("`"), {})[word] = example
    return found


BLOCKS = blocks()


@pytest.mark.parametrize("parser", SHOWN)
def test_each_example_of_the_guide_matches_its_parser(parser: str) -> None:
    before, rules, after = (BLOCKS[parser][word].text for word in ("Before:", "Rules:", "After:"))
    expected = expanded(parser, json.loads(rules))
    assert before != after
    assert parser_of(parser)(before, expected) == after
    assert parser_of(parser)(after, expected) == after


def placeholder_names() -> list[str]:
    return [name for row in TABLES["Placeholders"] for cell in row for name in literals(cell) if "{{" in name]


def test_every_placeholder_is_on_the_page() -> None:
    known = {f"{{{{server.{name}}}}}" for name in placeholders._server_values(definition())}
    known |= {f"{{{{config.{name}}}}}" for name in placeholders._node_values(parse_settings({}, where="test"))}
    assert known | {"{{env.NAME}}", "{{server.build.env.NAME}}"} == set(placeholder_names())
