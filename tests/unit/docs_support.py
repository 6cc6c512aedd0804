# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables, examples and links of the documentation. Run it as a module to write the tables that come from the code."""

from __future__ import annotations

import csv
import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._http_shim.service import ROUTES
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_keys import KEYS as DEFINITION_KEYS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings_keys import KEYS as SETTINGS_KEYS
from ansible_collections.fleet.power.plugins.module_utils._power.model import errors
from ansible_collections.fleet.power.plugins.module_utils._power.model.plan import plan
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import ABSENT, REQUIRED, KeySpec
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
GUIDES = DOCS / "docsite" / "rst"
PAGES = (CHECKOUT / "README.md", *sorted(CHECKOUT.glob("CONTRIBUTING.md")), *sorted(DOCS.glob("*.md")), *sorted(GUIDES.glob("*.rst")))

_INDENT = "   "
_WIDTH = 140
Rows = list[list[str]]


@dataclass(frozen=True)
class Example:
    """A block of code in a page, with its language and first line."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def csv_tables(page: Path) -> dict[str, Rows]:
    """The tables of a guide by title, without their headings. A line break in a cell is a blank."""
    tables: dict[str, Rows] = {}
    for title, body in re.findall(r"^\.\. csv-table:: (.+)\n(?:   :.*\n)*\n((?:   .*\n)+)", page.read_text(), re.MULTILINE):
        rows = csv.reader(textwrap.dedent(body).splitlines(keepends=True), skipinitialspace=True)
        tables[title] = [[" ".join(cell.split()) for cell in row] for row in rows]
    return tables


def markdown_tables(page: Path) -> list[Rows]:
    tables: list[Rows] = []
    before = ""
    for line in page.read_text().splitlines():
        if re.fullmatch(r"\|(?: ?-+ ?\|)+", line):
            tables.append([])
        elif line.startswith("|") and before.startswith("|"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return tables


def examples(page: Path) -> Iterator[Example]:
    """The blocks of code of a page, without their indentation."""
    lines = page.read_text().splitlines()
    pattern, ends = (r"( *)```([\w+]+)", _fence) if page.suffix == ".md" else (r"( *)\.\. code-block:: ([\w+]+)", _indentation)
    for number, line in enumerate(lines, 1):
        opening = re.fullmatch(pattern, line)
        if opening:
            body = ends(lines[number:], opening[1])
            yield Example(page, number, opening[2], textwrap.dedent("\n".join(body)).strip("\n") + "\n")


def _fence(lines: Sequence[str], indent: str) -> Sequence[str]:
    return lines[: lines.index(f"{indent}```")]


def _indentation(lines: Sequence[str], indent: str) -> Sequence[str]:
    return list(itertools.takewhile(lambda line: not line or line.startswith(f"{indent}{_INDENT}"), lines))


def literals(cell: str) -> list[str]:
    return re.findall(r"``(.+?)``", cell)


def default_text(value: Any) -> str:
    """A default as the tables show it: empty for an unset or empty key."""
    if value is REQUIRED:
        return "required"
    if value is None or value is ABSENT or value in ("", (), {}):
        return ""
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    if isinstance(value, dict):
        return ", ".join(f"``{name}: {item}``" for name, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(f"``{item}``" for item in value)
    return f"``{value}``"


#: Patterns that shorten the words for a type. The words come from messages.
_SHORT = (
    (r"a whole number of seconds from (\d+) to (\d+)", r"\1 to \2 s"),
    (r"(?:a whole )?number from (\S+) to (\d+)", r"\1 to \2"),
    (r"a whole number of (\S+) or more", r"\1 or more"),
    (r"a path that begins with /", "absolute path"),
    (r"true or false", "boolean"),
    (r"text that is not empty", "text"),
    (r"(.+?),? such as \S+(?: \{message\})?(, or empty text)?", r"\1\2"),
    (r"(?:an?|the) (.+)", r"\1"),
)


def type_text(words: str) -> str:
    """A type as the tables show it."""
    for pattern, short in _SHORT:
        words = re.sub(f"^{pattern}$", short, words)
    return words


def every_key(keys: Sequence[KeySpec], prefix: str = "") -> Iterator[KeySpec]:
    """Yield the table with those of its records: ``settings.mounts``, ``settings.mounts[].source`` and so on."""
    for key in keys:
        yield replace(key, name=prefix + key.name)
        yield from every_key(key.type.keys, f"{prefix}{key.name}[].")


def all_codes() -> set[str]:
    others = {errors.INTERRUPTED, errors.EXPIRED, errors.UNGUARDED, errors.NOT_DURABLE, errors.INTERNAL_ERROR}
    return {error.code for error in errors.PowerError.__subclasses__()} | others


def key_rows(keys: Sequence[KeySpec]) -> Rows:
    """One row for each key in use: name, type, default, meaning."""
    return [
        [f"``{key.name}``", type_text(key.type.words), default_text(key.default), _rst(key.meaning)] for key in every_key(keys) if key.used
    ]


def _rst(text: str) -> str:
    return re.sub(r"`(.+?)`", r"``\1``", text)


def plan_rows() -> Rows:
    """One row for each action: its steps in each state, or why it has none."""
    return [[f"``{action.value}``", *(_plan_cell(action, state) for state in PowerState)] for action in PowerAction]


def _plan_cell(action: PowerAction, state: PowerState) -> str:
    chosen = plan(action, state)
    return ", ".join(f"``{step.value}``" for step in chosen.steps) or chosen.reason


def route_rows() -> Rows:
    """One row for each route of the HTTP shim: method and path, need of the node's token, and summary."""
    return [[f"``{route.method} {_readable(route.path)}``", "no" if route.public else "yes", route.summary] for route in ROUTES]


def _readable(path: str) -> str:
    return path.replace("{server}", "UUID").replace("{operation}", "ID")


_KEY_HEADING = ["Key", "Type", "Default", "Meaning"]
_PLAN_HEADING = ["Action", *(f"``{state.value}``" for state in PowerState)]
#: Guide, title, heading, widths and rows of every table that is made from the code.
MADE: tuple[tuple[str, str, list[str], str, Rows], ...] = (
    ("actions_guide.rst", "The plan", _PLAN_HEADING, "12 22 22 22 22", plan_rows()),
    ("definitions_guide.rst", "Keys of a definition", _KEY_HEADING, "30 20 15 35", key_rows(DEFINITION_KEYS)),
    ("http_guide.rst", "Routes", ["Route", "Node's token", "What it does"], "40 10 50", route_rows()),
    ("settings_guide.rst", "Keys of the settings", _KEY_HEADING, "30 20 15 35", key_rows(SETTINGS_KEYS)),
)


def table_text(title: str, heading: Sequence[str], widths: str, rows: Rows) -> str:
    """A table in the form of a guide."""
    options = [f"{_INDENT}:header: {', '.join(map(_quoted, heading))}", f"{_INDENT}:widths: {widths}"]
    return "\n".join([f".. csv-table:: {title}", *options, "", *map(_row_text, rows)]) + "\n"


def _row_text(row: Sequence[str]) -> str:
    """A row on one line, or its last cell on lines of its own."""
    *names, meaning = map(_quoted, row)
    line = f"{_INDENT}{', '.join([*names, meaning])}"
    if len(line) <= _WIDTH:
        return line
    folded = textwrap.fill(meaning[1:], _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False)
    return f'{_INDENT}{", ".join(names)}, "\n{folded}'


def _quoted(cell: str) -> str:
    return '"{}"'.format(cell.replace('"', '""'))


def write_tables() -> None:
    """Write every table that is made from the code into its guide, in place of the old table."""
    for name, title, heading, widths, rows in MADE:
        page = GUIDES / name
        standing = re.compile(rf"^\.\. csv-table:: {re.escape(title)}\n(?:(?:   .*)?\n)*?(?=^\S|\Z)", re.MULTILINE)
        table = table_text(title, heading, widths, rows).replace("\\", r"\\")
        page.write_text(standing.sub(f"{table}\n", page.read_text()).rstrip("\n") + "\n")


if __name__ == "__main__":
    write_tables()
