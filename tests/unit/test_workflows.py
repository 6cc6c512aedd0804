# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported versions of noxfile.py agree with the workflows, README.md and the required ansible-core."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.tests.unit.docs_support import markdown_tables

CHECKOUT = Path(__file__).resolve().parents[2]
WORKFLOWS = CHECKOUT / ".github" / "workflows"
pytestmark = pytest.mark.skipif(not WORKFLOWS.exists(), reason="the installed collection has no workflows")


@pytest.fixture(scope="module")
def supported() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for statement in ast.parse((CHECKOUT / "noxfile.py").read_text()).body:
        if (
            isinstance(statement, ast.Assign)
            and isinstance(target := statement.targets[0], ast.Name)
            and target.id in ("CONTROLLERS", "DEVEL", "NODES", "OLDEST")
        ):
            found[target.id] = ast.literal_eval(statement.value)
    return found


def matrix_of(job: str) -> dict[str, Any]:
    jobs = yaml.safe_load((WORKFLOWS / "tests.yml").read_text())["jobs"]
    matrix = jobs[job]["strategy"]["matrix"]
    assert isinstance(matrix, dict)
    return matrix


def test_the_workflow_tests_exactly_the_supported_pairs(supported: dict[str, Any]) -> None:
    matrix = matrix_of("controllers")
    left_out = {(pair["core"], pair["python"]) for pair in matrix["exclude"]}
    pairs = set(itertools.product(matrix["core"], matrix["python"])) - left_out
    assert pairs == {(core, python) for core, pythons in supported["CONTROLLERS"].items() for python in pythons}
    assert matrix["tests"] == ["units", "integration", "targets"]
    assert tuple(matrix_of("nodes")["python"]) == supported["NODES"]
    assert matrix_of("sanity")["core"] == list(supported["CONTROLLERS"])
    core, python = supported["DEVEL"]
    assert matrix_of("devel")["session"] == [f"ansible-test-sanity-{core}", f"units-{core}-{python}", f"integration-{core}-{python}"]
    assert f'python: "{python}"\n' in (WORKFLOWS / "tests.yml").read_text()


#: An action of ours, or an action by the commit of a release, with the version as a comment for people and Dependabot.
_PINNED = re.compile(r"\./\.github/actions/[\w-]+|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
_USES = re.compile(r"""^\s*(?:-\s+)?["']?uses["']?\s*:\s*(.*?)\s*$""", re.MULTILINE)


def unpinned(text: str) -> list[str]:
    return [each for each in _USES.findall(text) if not _PINNED.fullmatch(each)]


def files_of_actions() -> list[Path]:
    found = [*WORKFLOWS.iterdir(), *(CHECKOUT / ".github/actions").rglob("*.yml"), CHECKOUT / "docs/deploy/github-actions.yml"]
    assert len(found) == 4
    return found


def test_every_action_is_pinned_to_the_same_commit_everywhere() -> None:
    used: dict[str, set[str]] = {}
    for path in files_of_actions():
        text = path.read_text()
        assert unpinned(text) == [], path
        # The pattern finds every `uses` key.
        assert len(_USES.findall(text)) == text.count("uses:") > 0, path
        for each in _USES.findall(text):
            used.setdefault(each.partition("@")[0], set()).add(each)
    assert {action: names for action, names in used.items() if len(names) > 1} == {}
    assert all((CHECKOUT / action / "action.yml").is_file() for action in used if action.startswith("."))


def test_readme_and_metadata_name_the_same_versions(supported: dict[str, Any]) -> None:
    (table,) = (rows for rows in markdown_tables(CHECKOUT / "README.md") if rows[0][0] == next(iter(supported["CONTROLLERS"])))
    assert {core: tuple(pythons.split(", ")) for core, pythons, _nodes in table} == supported["CONTROLLERS"]
    assert {nodes.partition(" ")[0] for _core, _pythons, nodes in table} == {supported["NODES"][0]}
    assert {core: nodes.rpartition(" ")[2] for core, _pythons, nodes in table} == {
        core: pythons[-1] for core, pythons in supported["CONTROLLERS"].items()
    }
    oldest = yaml.safe_load((CHECKOUT / "roles/node/vars/main.yml").read_text())["__node_oldest"]
    assert oldest["python"] == supported["NODES"][0]
    cores = list(supported["CONTROLLERS"])
    assert yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())["requires_ansible"] == f">={cores[0]}.0"
    bounds = dict(re.findall(r'^(m\w+_version) = "([\d.]+)"', (CHECKOUT / "antsibull-nox.toml").read_text(), re.MULTILINE))
    assert bounds == {"min_version": cores[0], "max_version": cores[-1]}
    (needed,) = re.findall(r"ansible-test-sanity-([\d.]+)", (WORKFLOWS / "release.yml").read_text())
    assert needed == cores[-1]
