# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus of configuration files.

``fixtures/config_files/PARSER/CASE/`` holds ``before`` (none: no such file), ``after`` and ``rules.json``.
``rules.json`` is a list of rules as definitions have them. The files themselves are UTF-8 text with line feeds, as all files of the
collection must be; the endings of a case's name say what is meant: ``-cut`` without the last line end, ``-crlf`` with such line ends,
``-latin1`` in that encoding, ``-bom`` with a byte order mark.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils._power.config_files import PARSERS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import ConfigRule

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
        """The rules give the file that is expected, and nothing new when they are applied to that."""
        parse = PARSERS[self.parser]
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
        # As the core reads it: what is not UTF-8 comes through as surrogates.
        text = text.encode("latin-1").decode("utf-8", "surrogateescape")
    return f"\ufeff{text}" if "bom" in endings else text


def _endings(name: str) -> set[str]:
    return set(itertools.takewhile(ENDINGS.__contains__, reversed(name.split("-"))))
