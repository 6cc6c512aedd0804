# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's argument_specs, defaults and README agree on its variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROLES = sorted(path.parent.parent for path in (Path(__file__).resolve().parents[2] / "roles").glob("*/meta/argument_specs.yml"))

pytestmark = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    options: dict[str, dict[str, Any]] = specs["main"]["options"]
    return options


def defaults_of(role: Path) -> dict[str, Any]:
    defaults: dict[str, Any] = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    return defaults


def rows_of(role: Path) -> dict[str, tuple[str, str]]:
    """Default and meaning of each variable in the README's table. A row with several variables may have several defaults."""
    found: dict[str, tuple[str, str]] = {}
    for line in (role / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| `") else []
        if len(cells) != 3:
            continue
        names, defaults = re.findall(r"`(\w+)`", cells[0]), re.findall(r"`([^`]*)`", cells[1])
        for number, name in enumerate(names):
            found[name] = (defaults[number] if len(defaults) == len(names) else cells[1], cells[2])
    return found


def kind_of(value: object) -> object:
    """The type of a value. A list has the set of its items' types; an empty list counts as a list of strings."""
    if isinstance(value, list):
        return {str(kind_of(each)) for each in value} or {"str"}
    return type(value).__name__


def test_every_family_of_distributions_has_the_same_variables(role: Path) -> None:
    families = {path.stem: yaml.safe_load(path.read_text()) for path in (role / "vars").glob("*.yml") if path.stem != "main"}
    if not (role / "vars" / "other.yml").exists():
        assert not families
        return
    assert set(families) == {"Debian", "Fedora", "RedHat", "other"}
    name = f"__{role.name}_distribution"
    kinds = {family: {key: kind_of(value) for key, value in found[name].items()} for family, found in families.items()}
    assert set(map(len, families.values())) == {1}
    assert all(each == kinds["Debian"] for each in kinds.values()), kinds
    known = yaml.safe_load((role / "vars" / "main.yml").read_text())[f"__{role.name}_known"]
    assert set(known) == set(kinds["Debian"])


def is_computed(value: object) -> bool:
    return isinstance(value, str) and "{{" in value


def is_empty(value: object) -> bool:
    return value is None or value in ("", [], {})


def test_every_variable_is_in_argument_specs_defaults_and_readme(role: Path) -> None:
    options = options_of(role)
    optional = {name for name, option in options.items() if not option.get("required")}
    assert set(defaults_of(role)) - set(options) == set(), "a default is not documented"
    assert {name for name in optional if "default" in options[name]} - set(defaults_of(role)) == set(), "a documented default is missing"
    assert set(rows_of(role)) == set(options)


def test_a_role_variable_begins_with_the_name_of_its_role(role: Path) -> None:
    assert [name for name in options_of(role) if not name.startswith(f"{role.name}_")] == []


def test_every_default_is_the_same_in_argument_specs_defaults_and_readme(role: Path) -> None:
    options, defaults, rows = options_of(role), defaults_of(role), rows_of(role)
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert documented == {name: value for name, value in defaults.items() if not is_computed(value)}
    wrong = {
        name: (rows[name][0], value)
        for name, value in documented.items()
        if not is_empty(value) and not isinstance(value, (list, dict)) and rows[name][0].strip("`") != text_of(value)
    }
    assert wrong == {}


def text_of(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
