# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on configuration files says what the parsers do: its examples and tables are run through them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot import config_edit
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS, paths, placeholders, tree, tree_rules
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.fault import ConfigFault
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.file_diff import file_diff
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.json import json_file
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.toml import toml_read, toml_tree, toml_words
from ansible_collections.fleet.power.plugins.module_utils._power.config_files.xml import xml_path, xml_tree
from ansible_collections.fleet.power.plugins.module_utils._power.definitions import settings
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import (
    ConfigFile,
    ConfigRule,
    Definition,
    parse_definition,
)
from ansible_collections.fleet.power.plugins.module_utils._power.host import regex_sandbox
from ansible_collections.fleet.power.plugins.module_utils._power.model.redaction import secrets_in
from ansible_collections.fleet.power.plugins.module_utils._power.volume import volume_file
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, Example, csv_tables, examples, literals

PAGE = GUIDES / "config_files_guide.rst"
LINES = PAGE.read_text().splitlines()
TABLES = csv_tables(PAGE)
MARK = "not a value of the page"
#: The parsers that have an example of their own; the other name has the same.
SHOWN = sorted(set(PARSERS) - {"yml"})


def definition() -> Definition:
    """The server of the examples."""
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
    """Rules of the page, placeholders replaced."""
    raw = tuple(ConfigRule(rule["match"], rule["replace_with"], rule.get("if_value")) for rule in rules)
    return placeholders.expand(ConfigFile("file", parser, raw), definition(), settings.parse_settings({}, where="test")).rules


def blocks() -> dict[str, dict[str, Example]]:
    """Of each section of the page, its blocks of code by the word before them."""
    found: dict[str, dict[str, Example]] = {}
    for example in examples(PAGE):
        above = LINES[: example.line - 1]
        section = next(above[place - 1] for place in range(len(above) - 1, 0, -1) if re.fullmatch(r"[=~-]{3,}", above[place]))
        word = next(line for line in reversed(above) if line)
        found.setdefault(section.strip("`"), {})[word] = example
    return found


BLOCKS = blocks()


def document(language: str) -> str:
    """The file that the paths of the page are about."""
    return next(example.text for example in BLOCKS["Paths"].values() if example.language == language)


# ----- the examples


def test_yml_is_another_name_of_yaml() -> None:
    assert PARSERS["yml"] is PARSERS["yaml"]


@pytest.mark.parametrize("parser", SHOWN)
def test_an_example_is_what_the_parser_does(parser: str) -> None:
    before, rules, after = (BLOCKS[parser][word].text for word in ("Before:", "Rules:", "After:"))
    meant = expanded(parser, json.loads(rules))
    assert before != after
    assert PARSERS[parser](before, meant) == after
    assert PARSERS[parser](after, meant) == after


def test_the_first_example_is_a_file_of_a_definition() -> None:
    (example,) = BLOCKS["A rule"].values()
    raw = {
        "settings": {"uuid": definition().server.uuid, "container": {"image": "a"}},
        "process_configuration": {"configs": [json.loads(example.text)]},
    }
    parsed = parse_definition(raw, where="test")
    assert parsed.warnings == ()
    assert [(len(config.rules), config.parser in PARSERS) for config in parsed.configs] == [(2, True)]


# ----- paths


def leaves(value: Any) -> Iterator[str]:
    """The values of a document as JSON or bare text, in order."""
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    else:
        yield value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("row", TABLES["Paths of JSON, YAML and TOML"], ids=lambda row: row[0])
def test_a_path_leads_to_the_values_that_the_page_says(row: list[str]) -> None:
    before = document("json")
    for parser in ("json", "yaml"):
        after = PARSERS[parser](before, [ConfigRule(literals(row[0])[0], MARK, None)])
        pairs = zip(leaves(json.loads(before)), leaves(json.loads(after) if parser == "json" else load_yaml(after)))
        assert [old for old, new in pairs if new == MARK] == literals(row[2])


def load_yaml(text: str) -> Any:
    """What another reader sees."""
    return pytest.importorskip("yaml").safe_load(text)


def test_a_path_means_the_same_in_toml() -> None:
    before = 'name = "Hub"\n[proxy]\nhost = "h"\nport = 8080\n[[worlds]]\npvp = true\nid = "nether"\n[[worlds]]\npvp = false\nid = "end"\n'
    before += '[routes]\n"hub.example.test" = "lobby"\n'
    for match, _meaning, values in TABLES["Paths of JSON, YAML and TOML"]:
        after = PARSERS["toml"](before, [ConfigRule(literals(match)[0], MARK, None)])
        assert after.count(MARK) == len(literals(values))
        assert len(after.splitlines()) == len(before.splitlines())


@pytest.mark.parametrize("row", TABLES["Paths of XML"], ids=lambda row: row[0])
def test_a_path_of_xml_leads_to_the_values_that_the_page_says(row: list[str]) -> None:
    before, values = document("xml"), literals(row[2])
    after = PARSERS["xml"](before, [ConfigRule(literals(row[0])[0], MARK, None)])
    places = [found.start() for found in re.finditer(re.escape(MARK), after)]
    assert len(places) == len(values)
    # With the values of the page put back in that order it is the file of the page again.
    assert re.sub(re.escape(MARK), lambda _found: values.pop(0), after) == before


@pytest.mark.parametrize("parser", ["json", "yaml"])
def test_a_path_through_a_value_and_one_to_a_map_are_errors_unless_behind_a_wildcard(parser: str) -> None:
    before = document("json")
    for match in ("name.x", "proxy", "worlds"):
        with pytest.raises(ConfigFault):
            PARSERS[parser](before, [ConfigRule(match, "x", None)])
    for match in ("*.x.y", "*"):
        PARSERS[parser](before, [ConfigRule(match, "x", None)])


def test_an_item_is_added_where_the_page_says() -> None:
    for parser in ("json", "yaml"):
        assert MARK in PARSERS[parser]('{"a": ["b"]}\n', [ConfigRule("a[1]", MARK, None)])
    with pytest.raises(ConfigFault):
        PARSERS["toml"]('a = ["b"]\n', [ConfigRule("a[1]", MARK, None)])
    for before in ("a = []\n", "b = 1\n"):
        assert MARK in PARSERS["toml"](before, [ConfigRule("a[0]", MARK, None)])


# ----- types and placeholders


@pytest.mark.parametrize("row", TABLES["Types"], ids=lambda row: f"{row[0]}, {row[1]}")
def test_a_value_takes_the_type_that_the_page_says(row: list[str]) -> None:
    present, value, written = (literals(cell)[0] for cell in row)
    rule = [ConfigRule("a", json.loads(value), None)]
    assert json_file.replace_json(f'{{"a": {present}}}', rule) == f'{{"a": {written}}}'
    seen = load_yaml(PARSERS["yaml"](f"a: {present}\n", rule))["a"]
    assert (type(seen), seen) == (type(json.loads(written)), json.loads(written))


def test_a_new_key_is_treated_like_null() -> None:
    for present, value, written in TABLES["Types"]:
        if literals(present) == ["null"]:
            rule = [ConfigRule("a", json.loads(literals(value)[0]), None)]
            assert json_file.replace_json('{"b": 1}', rule) == f'{{"b": 1, "a": {literals(written)[0]}}}'


def placeholder_names() -> list[str]:
    return [name for row in TABLES["Placeholders"] for cell in row for name in literals(cell) if "{{" in name]


@pytest.mark.parametrize("name", placeholder_names())
def test_a_placeholder_of_the_page_is_known(name: str) -> None:
    (rule,) = expanded("json", [{"match": "a", "replace_with": name}])
    assert "{{" not in str(rule.replace_with)


def test_every_placeholder_is_on_the_page() -> None:
    known = {f"{{{{server.{name}}}}}" for name in placeholders._server_values(definition())}
    known |= {f"{{{{config.{name}}}}}" for name in placeholders._node_values(settings.parse_settings({}, where="test"))}
    assert known | {"{{env.NAME}}", "{{server.build.env.NAME}}"} == set(placeholder_names())


@pytest.mark.parametrize("name", ["{{config.token}}", "{{env.NOBODY}}", "{{server.build.colour}}"])
def test_an_unknown_placeholder_is_an_error_that_says_the_name(name: str) -> None:
    with pytest.raises(ConfigFault, match=re.escape(name)):
        expanded("json", [{"match": "a", "replace_with": name}])


def test_a_value_gives_no_text_the_form_of_an_attribute_but_may_stand_between_its_quotes() -> None:
    match = "Settings.Network"
    (rule,) = expanded("xml", [{"match": match, "replace_with": "[bind='{{env.NAME}}']"}])
    assert 'bind="Cobalt"' in PARSERS["xml"](document("xml"), [rule])
    with pytest.raises(ConfigFault):
        expanded("xml", [{"match": match, "replace_with": "[{{env.NAME}}='0.0.0.0']"}])


def test_blanks_may_stand_in_the_braces_and_kinds_are_in_lower_case() -> None:
    (rule,) = expanded("file", [{"match": "a", "replace_with": "{{  env.name }} {{player}}"}])
    assert rule.replace_with == "Cobalt {{player}}"
    with pytest.raises(ConfigFault, match=re.escape("{{ENV.NAME}}")):
        expanded("file", [{"match": "a", "replace_with": "{{ENV.NAME}}"}])


def test_a_line_end_is_an_error_in_ini_and_makes_lines_in_file() -> None:
    for value in ("k=a\nb", "k=a\r\nb\n"):
        assert PARSERS["file"]("k=\nc\n", [ConfigRule("k", value)]) == "k=a\nb\nc\n"
        with pytest.raises(ConfigFault, match="line end"):
            PARSERS["ini"]("k=\nc\n", [ConfigRule("k", value)])
    assert PARSERS["ini"]("k=\n", [ConfigRule("k", "a\n")]) == "k=a\n"


# ----- the diff

#: What stands before and behind a key's value, by parser: in UTF-8, and where a format has it, in another encoding or quotes.
FRAMES = (
    ("properties", "", "k"),
    ("properties", "\u00e9 = 1\n", "k"),
    ("ini", '[s]\nk = "old" ; x\n', "s.k"),
    ("json", "", "k"),
    ("yaml", "k: old\n", "k"),
    ("yaml", "k: |\n  old\n", "k"),
    ("toml", "k = 'old'\n", "k"),
    ("xml", "<s><k>old</k></s>", "s.k"),
    ("xml", "<s k='old'/>", "s.@k"),
    ("xml", "<?xml version='1.0' encoding='iso-8859-1'?><s k='old'/>", "s.@k"),
    ("file", "k\r\n", "k"),
)


SECRETS = ("p\u00e4ss\u20acwort", "a=b:c#d!e", 'it\'s <"x"> & c:\\d', "tail-end\n", '-----BEGIN-----\r\nabcdef"\n')
#: A value of an ini file holds no line end.
HELD = [(frame, secret) for frame in FRAMES for secret in SECRETS if frame[0] != "ini" or "\n" not in secret.rstrip()]


@pytest.mark.parametrize("frame, secret", HELD, ids=str)
def test_the_diff_shows_no_secret_however_a_format_writes_it(frame: tuple[str, str, str], secret: str) -> None:
    parser, before, match = frame
    bare, after = (PARSERS[parser](before, [ConfigRule(match, value, None)]) for value in ("SECRET", secret))
    shown = file_diff("f", b"", after.encode("utf-8", "surrogateescape"), secrets_in([secret])).after
    # A secret of several lines may be several masks; quotes and blanks around it are the format's.
    masked, plain = (re.sub(r"[\s'\"]", "", text) for text in (shown, bare))
    assert re.sub(r"[*]+", "SECRET", masked) == plain


# ----- limits


LIMITS: dict[str, Callable[[], float]] = {
    "Size of a file, before and after": lambda: volume_file.FILE_LIMIT / 1024 / 1024,
    "Lines of a file": lambda: config_edit._MOST_LINES,
    "Lines of a TOML file": lambda: toml_read._MOST_LINES,
    "Values of a JSON, YAML or TOML file": lambda: tree.MOST_VALUES if tree.MOST_VALUES == toml_tree._MOST_NODES else -1,
    "Characters of a TOML value or comment": lambda: toml_words._LONGEST,
    "Characters ``<``, and ``=``, of an XML file": lambda: xml_tree._MOST_SIGNS,
    "Elements of an XML file": lambda: xml_tree._MOST_ELEMENTS,
    "Levels in JSON and YAML": lambda: tree.DEEPEST,
    "Levels in a value of a TOML file": lambda: toml_read._DEEPEST,
    "Levels in XML": lambda: xml_tree._DEEPEST,
    "Places that the rules of a JSON or YAML file change": lambda: tree_rules._MOST_PLACES,
    "Characters of a path": lambda: paths._LONGEST if paths._LONGEST == xml_path._LONGEST else -1,
    "Steps of a path": lambda: paths._MOST_STEPS if paths._MOST_STEPS == xml_path._MOST_STEPS else -1,
    "Characters of a pattern": lambda: regex_sandbox._LONGEST_PATTERN,
    "Seconds of processor time for all patterns of a file": lambda: regex_sandbox._PROCESSOR_SECONDS,
    "Seconds for one pattern of a file": lambda: regex_sandbox._ANSWER_SECONDS,
    "Memory for the patterns of a file": lambda: regex_sandbox._MEMORY / 1024 / 1024,
}


def test_the_limits_are_those_of_the_code() -> None:
    told = {what: float(limit.replace(",", "").removesuffix(" MiB")) for what, limit in TABLES["Limits"]}
    assert told == {what: limit() for what, limit in LIMITS.items()}
