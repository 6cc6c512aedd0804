# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus of configuration files.

``fixtures/config_files/PARSER/CASE/`` holds ``before`` (none: no such file), ``after`` and ``rules.json``.
``rules.json`` is a list of rules as definitions have them. Cases whose name ends in ``-crlf`` are meant with such line ends, and those
whose name ends in ``-cut`` without the last one: files of the collection itself may have neither.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils.power.config_files import PARSERS
from ansible_collections.fleet.power.plugins.module_utils.power.definition import ConfigRule

CORPUS = Path(__file__).parent / "fixtures" / "config_files"


@dataclass(frozen=True)
class Case:
    """One file, its rules and what becomes of it."""

    parser: str
    name: str
    before: str
    after: str
    rules: tuple[ConfigRule, ...]

    def check(self) -> None:
        """The rules give the file that is expected, and nothing new when they are applied to that."""
        parse = PARSERS[self.parser]
        assert parse(self.before, self.rules) == self.after
        assert parse(self.after, self.rules) == self.after
        assert parse(self.before, ()) == self.before


def cases(parser: str) -> list[Case]:
    """All cases of a parser."""
    found = [_case(parser, path) for path in sorted((CORPUS / parser).iterdir())]
    assert found, f"no cases of parser {parser}"
    return found


def _case(parser: str, directory: Path) -> Case:
    raw = json.loads((directory / "rules.json").read_text(encoding="utf-8"))
    rules = tuple(ConfigRule(rule["match"], rule["replace_with"], rule.get("if_value")) for rule in raw)
    return Case(parser, directory.name, _text(directory / "before"), _text(directory / "after"), rules)


def _text(path: Path) -> str:
    text = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
    name = path.parent.name
    if name.endswith("-cut"):
        text = text.removesuffix("\n")
    return text.replace("\n", "\r\n") if name.endswith("-crlf") else text
