# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What noxfile.py says is supported is what the workflows run, README.md says and ansible-core is asked for."""

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
pytestmark = pytest.mark.skipif(not WORKFLOWS.exists(), reason="what was installed has no workflows")


@pytest.fixture(scope="module")
def supported() -> dict[str, Any]:
    """The constants of noxfile.py, which nothing here could import."""
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


def test_the_workflow_tests_each_supported_pair_and_no_other(supported: dict[str, Any]) -> None:
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


def test_the_pythons_that_sessions_ask_for_are_there(supported: dict[str, Any]) -> None:
    # Ours brings the one of nox, and nox fails on GitHub where another one is missing.
    jobs = yaml.safe_load((WORKFLOWS / "tests.yml").read_text())["jobs"]
    asked = {name: job["steps"][-1].get("with", {}).get("python") for name, job in jobs.items()}
    assert asked == {
        "checks": None,
        "sanity": None,
        "nodes": "${{ matrix.python }}",
        "controllers": "${{ matrix.python }}",
        "devel": supported["DEVEL"][1],
    }


def release_jobs() -> dict[str, Any]:
    jobs = yaml.safe_load((WORKFLOWS / "release.yml").read_text())["jobs"]
    assert isinstance(jobs, dict)
    return jobs


def test_the_file_of_a_release_is_kept_although_its_directory_is_hidden() -> None:
    kept = release_jobs()["build"]["steps"][-1]["with"]
    assert kept["path"].startswith(".") and kept["include-hidden-files"] is True and kept["if-no-files-found"] == "error"


def test_the_file_of_a_release_is_made_where_no_tool_of_the_checks_has_run() -> None:
    jobs = release_jobs()
    assert set(jobs) == {"check", "build"} and jobs["build"]["needs"] == "check"
    steps = jobs["build"]["steps"]
    assert [each["uses"].partition("@")[0] for each in steps if "uses" in each] == [
        *("actions/checkout", "actions/setup-python", "actions/upload-artifact")
    ]
    compared, installed, built = (each["run"].strip() for each in steps if "run" in each)
    assert compared.startswith("grep ") and built == "make package"
    assert installed == "python -m pip install --require-hashes --only-binary :all: --requirement tests/build-requirements.txt"
    lines = [line for line in (CHECKOUT / "tests/build-requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    assert len([line for line in lines if line.startswith("ansible-core==")]) == 1


#: An action of ours, or one by the commit that a release is, with its name for people and Dependabot.
_PINNED = re.compile(r"\./\.github/actions/[\w-]+|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
_USES = re.compile(r"""^\s*(?:-\s+)?["']?uses["']?\s*:\s*(.*?)\s*$""", re.MULTILINE)


def unpinned(text: str) -> list[str]:
    """What a workflow uses that is not named by its commit."""
    return [each for each in _USES.findall(text) if not _PINNED.fullmatch(each)]


def files_of_actions() -> list[Path]:
    found = [*WORKFLOWS.iterdir(), *(CHECKOUT / ".github/actions").rglob("*.yml"), CHECKOUT / "docs/deploy/github-actions.yml"]
    assert len(found) == 4
    return found


def test_every_action_is_named_by_its_commit_and_everywhere_by_the_same() -> None:
    used: dict[str, set[str]] = {}
    for path in files_of_actions():
        text = path.read_text()
        assert unpinned(text) == [], path
        # What YAML finds is what was looked at.
        assert len(_USES.findall(text)) == text.count("uses:") > 0, path
        for each in _USES.findall(text):
            used.setdefault(each.partition("@")[0], set()).add(each)
    assert {action: names for action, names in used.items() if len(names) > 1} == {}
    assert all((CHECKOUT / action / "action.yml").is_file() for action in used if action.startswith("."))


@pytest.mark.parametrize(
    "line",
    [
        "      - uses: actions/checkout@v6",
        "        uses: actions/checkout@v6.0.2 # v6.0.2",
        "      - uses: actions/checkout@main",
        "      - uses: actions/checkout",
        '      - "uses": "actions/checkout@v6"',
        "      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd",
        "      - uses: actions/checkout@de0fac2 # v6.0.2",
        "    uses: acme/power/.github/workflows/x.yml@main",
        "      - uses: docker://alpine:3.20",
    ],
)
def test_an_action_that_is_not_named_by_its_commit_is_found(line: str) -> None:
    assert len(unpinned(f"jobs:\n  build:\n    steps:\n{line}\n")) == 1


def test_it_runs_on_every_pull_request_and_weekly() -> None:
    asked = yaml.safe_load((WORKFLOWS / "tests.yml").read_text())["on"]
    assert asked["pull_request"] is None
    assert re.fullmatch(r"\d+ \d+ \* \* \d", asked["schedule"][0]["cron"])


def test_readme_and_metadata_name_the_same_versions(supported: dict[str, Any]) -> None:
    (table,) = (rows for rows in markdown_tables(CHECKOUT / "README.md") if rows[0][0] == next(iter(supported["CONTROLLERS"])))
    assert {core: tuple(pythons.split(", ")) for core, pythons, _nodes in table} == supported["CONTROLLERS"]
    assert {nodes.partition(" ")[0] for _core, _pythons, nodes in table} == {supported["NODES"][0]}
    assert {core: nodes.rpartition(" ")[2] for core, _pythons, nodes in table} == {
        core: pythons[-1] for core, pythons in supported["CONTROLLERS"].items()
    }
    cores = list(supported["CONTROLLERS"])
    assert yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())["requires_ansible"] == f">={cores[0]}.0"
    bounds = dict(re.findall(r'^(m\w+_version) = "([\d.]+)"', (CHECKOUT / "antsibull-nox.toml").read_text(), re.MULTILINE))
    assert bounds == {"min_version": cores[0], "max_version": cores[-1]}
    (needed,) = re.findall(r"ansible-test-sanity-([\d.]+)", (WORKFLOWS / "release.yml").read_text())
    assert needed == cores[-1]


def test_nox_is_the_same_wherever_it_runs() -> None:
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (CHECKOUT / "tests/nox-requirements.txt").read_text(), re.MULTILINE))
    assert sorted(pins) == ["antsibull-nox", "nox"]
    script = dict(re.findall(r'"([\w-]+)==([\d.]+)"', (CHECKOUT / "noxfile.py").read_text()))
    assert script == pins
    action = (CHECKOUT / ".github/actions/nox/action.yml").read_text()
    assert "python -m pip install --requirement tests/nox-requirements.txt" in action


def test_the_http_face_is_tested_with_what_its_role_takes_and_with_the_oldest_of_it(supported: dict[str, Any]) -> None:
    taken = yaml.safe_load((CHECKOUT / "roles/shim/defaults/main.yml").read_text())["shim_virtualenv_libraries"]
    lines = (CHECKOUT / "tests/demo-requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith(("#", "ansible-core"))] == taken
    assert {line.partition(",")[0] for line in supported["OLDEST"]} <= {line.partition(",")[0] for line in taken}


def test_a_tool_is_asked_for_alike_wherever_it_is_asked_for() -> None:
    asked: dict[str, set[str]] = {}
    lists = [(CHECKOUT / "tests" / f"{name}requirements.txt").read_text().splitlines() for name in ("", "core-", "demo-", "release-")]
    bundled = re.findall(r'^\w+_package = "(.+)"$', (CHECKOUT / "antsibull-nox.toml").read_text(), re.MULTILINE)
    assert len(bundled) == 4
    for line in itertools.chain(bundled, *lists):
        tool, bounds = re.fullmatch(r"([\w-]*)(.*)", line).groups()  # type: ignore[union-attr]
        # By the Python that runs it, or for what only Galaxy looks at, there is another one.
        if tool and tool not in ("ansible-core", "ansible-lint"):
            asked.setdefault(tool, set()).add(bounds)
    assert {tool: bounds for tool, bounds in asked.items() if len(bounds) > 1} == {}
