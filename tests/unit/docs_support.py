# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the documentation need: its tables, its examples and its links, read from the text.

Tables of what the code declares are made from it. Run this as a module to write them anew where that has changed.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._http_shim.process.shim_settings import FIXED
from ansible_collections.fleet.power.plugins.module_utils._http_shim.route_table import ROUTES
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_keys import KEYS as DEFINITION_KEYS
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings_keys import KEYS as SETTINGS_KEYS
from ansible_collections.fleet.power.plugins.module_utils._power.model.plan import plan
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.schema import ABSENT, REQUIRED, KeySpec, every_key
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
GUIDES = DOCS / "docsite" / "rst"
PAGES = (CHECKOUT / "README.md", *sorted(CHECKOUT.glob("CONTRIBUTING.md")), *sorted(DOCS.glob("*.md")), *sorted(GUIDES.glob("*.rst")))

_INDENT = "   "
Rows = list[list[str]]


@dataclass(frozen=True)
class Example:
    """A block of code in a page: its language, and the line that it begins at."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def list_tables(page: Path) -> dict[str, Rows]:
    """The tables of a guide by title, heading rows left out; a cell that spans lines is joined by blanks."""
    tables: dict[str, Rows] = {}
    rows: Rows | None = None
    heading = False
    for line in page.read_text().splitlines():
        title = re.fullmatch(r"\.\. list-table:: (.+)", line)
        if title:
            rows, heading = tables.setdefault(title[1], []), True
        elif line and not line.startswith(" "):
            rows = None
        elif rows is None or not line.strip() or line.startswith(f"{_INDENT}:"):
            continue
        elif line.startswith(f"{_INDENT}* - "):
            if len(rows) == 1 and heading:
                rows.clear()
                heading = False
            rows.append([line[7:].strip()])
        elif line.startswith(f"{_INDENT}  - "):
            rows[-1].append(line[7:].strip())
        else:
            rows[-1][-1] = f"{rows[-1][-1]} {line.strip()}".strip()
    return tables


def markdown_tables(page: Path) -> list[Rows]:
    """The tables of a Markdown page, heading rows left out."""
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
    """The blocks of code of a page, without the indentation they stand in."""
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
    if value is REQUIRED:
        return "required"
    if value is None or value is ABSENT:
        return "unset"
    if value in ("", (), {}):
        return "empty"
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    if isinstance(value, dict):
        return ", ".join(f"``{name}: {item}``" for name, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(f"``{item}``" for item in value)
    return f"``{value}``"


def key_rows(keys: Sequence[KeySpec]) -> Rows:
    """One row for each key in use: name, type, default, meaning."""
    return [[f"``{key.name}``", key.type.words, default_text(key.default), _rst(key.meaning)] for key in every_key(keys) if key.used]


def unused_rows(keys: Sequence[KeySpec]) -> Rows:
    """One row for each key that is known but not used."""
    return [[f"``{key.name}``", _rst(key.meaning)] for key in every_key(keys) if not key.used]


def _rst(text: str) -> str:
    return re.sub(r"`(.+?)`", r"``\1``", text)


def fixed_rows() -> Rows:
    """One row for each setting that the HTTP shim reads once."""
    return _names(key for key in SETTINGS_KEYS if key.used and key.field in FIXED)


def wings_rows() -> Rows:
    """One row for each setting that is Wings' own."""
    return _names(key for key in SETTINGS_KEYS if not key.used)


def _names(keys: Iterable[KeySpec]) -> Rows:
    return [[f"``{key.name}``"] for key in keys]


def plan_rows() -> Rows:
    """One row for each action: its steps in each state, or why there are none."""
    return [[f"``{action.value}``", *(_plan_cell(action, state) for state in PowerState)] for action in PowerAction]


def _plan_cell(action: PowerAction, state: PowerState) -> str:
    chosen = plan(action, state)
    return ", ".join(f"``{step.value}``" for step in chosen.steps) or chosen.reason


def route_rows() -> Rows:
    """One row for each route of the HTTP shim: method and path, what it does, and whether it asks for the node's token."""
    return [[f"``{route.method} {_readable(route.path)}``", route.summary, "no" if route.public else "yes"] for route in ROUTES]


def _readable(path: str) -> str:
    return path.replace("{server}", "UUID").replace("{operation}", "ID")


_KEY_HEADING, _UNUSED_HEADING = ["Key", "Type", "Default", "Meaning"], ["Key", "What it is"]
_PLAN_HEADING = ["Action", *(f"``{state.value}``" for state in PowerState)]
#: Guide, title, heading, widths and rows of every table that is made from the code.
MADE: tuple[tuple[str, str, list[str], str, Rows], ...] = (
    ("actions_guide.rst", "The plan", _PLAN_HEADING, "12 22 22 22 22", plan_rows()),
    ("definitions_guide.rst", "Keys of a definition", _KEY_HEADING, "30 20 15 35", key_rows(DEFINITION_KEYS)),
    ("definitions_guide.rst", "Keys that are known but not used", _UNUSED_HEADING, "40 60", unused_rows(DEFINITION_KEYS)),
    ("http_guide.rst", "Settings that need a restart", ["Key"], "100", fixed_rows()),
    ("http_guide.rst", "Routes", ["Route", "What it does", "Needs the node's token"], "40 45 15", route_rows()),
    ("settings_guide.rst", "Keys of the settings", _KEY_HEADING, "30 20 15 35", key_rows(SETTINGS_KEYS)),
    ("settings_guide.rst", "Keys of Wings that are known but not used", ["Key"], "100", wings_rows()),
)


def table_text(title: str, heading: Sequence[str], widths: str, rows: Rows) -> str:
    lines = [f".. list-table:: {title}", f"{_INDENT}:header-rows: 1", f"{_INDENT}:widths: {widths}", ""]
    for row in (heading, *rows):
        lines += [f"{_INDENT}{'* -' if index == 0 else '  -'} {cell}" for index, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def write_tables() -> None:
    """Write every table that is made from the code into its guide, in the place of the one that stands there."""
    for name, title, heading, widths, rows in MADE:
        page = GUIDES / name
        standing = re.compile(rf"^\.\. list-table:: {re.escape(title)}\n(?:(?:   .*)?\n)*?(?=^\S|\Z)", re.MULTILINE)
        table = table_text(title, heading, widths, rows).replace("\\", r"\\")
        page.write_text(standing.sub(f"{table}\n", page.read_text()).rstrip("\n") + "\n")


if __name__ == "__main__":
    write_tables()
