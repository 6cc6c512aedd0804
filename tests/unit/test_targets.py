# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The targets of ansible-test: one for each module and role, in four calls, and where each may run. `make targets` runs them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
TARGETS = CHECKOUT / "tests" / "integration" / "targets"
MODULES = sorted(path.stem for path in (CHECKOUT / "plugins" / "modules").glob("[!_]*.py"))
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir() if path.is_dir())
#: Those that only others need.
SETUPS = sorted(path.name for path in TARGETS.glob("setup_*"))
#: The roles that a machine is not the same after.
DESTRUCTIVE = {"role_node", "role_shim"}


def aliases(target: str) -> set[str]:
    lines = (TARGETS / target / "aliases").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def calls(path: Path) -> list[Any]:
    """Whether each task of a file calls the target's module in check mode, or in a loop over both modes; other tasks are left out."""
    module = f"fleet.power.{path.relative_to(TARGETS).parts[0]}"
    found: list[Any] = []

    def look(tasks: list[dict[str, Any]]) -> None:
        for task in tasks:
            look(task.get("block", []))
            if module in task:
                found.extend(task["loop"] if task.get("check_mode") == "{{ item }}" else [task.get("check_mode", False)])

    look(yaml.safe_load(path.read_text()))
    return found


def test_each_module_and_role_has_its_target_and_nothing_else_has_one() -> None:
    there = {path.name for path in TARGETS.iterdir()}
    assert there == {*MODULES, *(f"role_{role}" for role in ROLES), *SETUPS}


@pytest.mark.parametrize("module", MODULES)
def test_a_modules_target_has_the_four_calls_in_their_order(module: str) -> None:
    in_order = re.compile("1001")
    files = (TARGETS / module / "tasks").glob("*.yml")
    assert any(in_order.search("".join(str(int(each)) for each in calls(path))) for path in files)


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_target_says_what_each_of_four_calls_changes(role: str) -> None:
    script = TARGETS / f"role_{role}" / "runme.sh"
    said = re.search(r"(?:four_calls|with_servers)\.sh (\w+\.yml) (some) (some) (some|none) (some|none)$", script.read_text(), re.MULTILINE)
    assert said is not None and os.access(script, os.X_OK)
    played = (script.parent / said[1]).read_text()
    assert f"role: fleet.power.{role}\n" in played
    # What is no state, but work that is done each time.
    assert said.groups()[3:] == (("some", "some") if role == "maintenance" else ("none", "none"))


@pytest.mark.parametrize("target", [*MODULES, *(f"role_{role}" for role in ROLES)])
def test_a_target_says_where_it_may_run(target: str) -> None:
    said = aliases(target)
    assert ("destructive" in said) == ("needs/root" in said) == (target in DESTRUCTIVE)
    if target in ("node_step", "rollout_step"):
        assert said == {"context/controller"}
    else:
        # The engine would look for a server's data on the machine around ansible-test's container.
        assert "skip/docker" in said
    for needed in said:
        if needed.startswith("needs/target/"):
            assert needed.removeprefix("needs/target/") in SETUPS


@pytest.mark.parametrize("setup", SETUPS)
def test_files_that_a_setup_takes_along_are_there(setup: str) -> None:
    for needed in aliases(setup):
        assert needed == "hidden" or (CHECKOUT / needed.removeprefix("needs/file/")).is_file(), needed
