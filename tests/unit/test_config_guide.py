# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on configuration files says what the parsers do: its examples and tables are run through them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS, placeholders
from ansible_collections.fleet.power.plugins.module_utils._power.definitions import settings
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import (
    ConfigFile,
    ConfigRule,
    Definition,
    parse_definition,
)
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, Example, csv_tables, examples, literals

PAGE = GUIDES / "config_files_guide.rst"
LINES = PAGE.read_text().splitlines()
TABLES = csv_tables(PAGE)
#: The parsers that have an example of their own; the other name has the same.
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


# ----- the examples


@pytest.mark.parametrize("parser", SHOWN)
def test_an_example_is_what_the_parser_does(parser: str) -> None:
    before, rules, after = (BLOCKS[parser][word].text for word in ("Before:", "Rules:", "After:"))
    meant = expanded(parser, json.loads(rules))
    assert before != after
    assert PARSERS[parser](before, meant) == after
    assert PARSERS[parser](after, meant) == after


# ----- types and placeholders


def placeholder_names() -> list[str]:
    return [name for row in TABLES["Placeholders"] for cell in row for name in literals(cell) if "{{" in name]


def test_every_placeholder_is_on_the_page() -> None:
    known = {f"{{{{server.{name}}}}}" for name in placeholders._server_values(definition())}
    known |= {f"{{{{config.{name}}}}}" for name in placeholders._node_values(settings.parse_settings({}, where="test"))}
    assert known | {"{{env.NAME}}", "{{server.build.env.NAME}}"} == set(placeholder_names())
