# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples for a deploy pipeline, the execution environment, Ansible's settings and the packed collection."""

from __future__ import annotations

import ast
import configparser
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
requirements = pytest.importorskip("packaging.requirements")

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "docs" / "deploy"
SCRIPT = DEPLOY / "deploy.sh"


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), yaml.BaseLoader)


def tool(name: str) -> str:
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else pytest.skip(f"{name} is not installed")


STAND_IN = """#!/bin/sh
for word in ansible-playbook "$@"; do printf '%s\\0' "$word"; done | tr '\\n' ' ' >> "$STAND_IN/calls"
printf '\\n' >> "$STAND_IN/calls"
if [ "$3" = fleet.power.rolling_restart ] && [ -e "$STAND_IN/result" ]; then cp "$STAND_IN/result" "$DEPLOY_RESULT"; fi
exit "$(cat "$STAND_IN/$3.rc" 2>/dev/null || echo 0)"
"""


@dataclass(frozen=True)
class Deploy:
    """A directory like a repository's, where deploy.sh runs a stand-in for Ansible."""

    place: Path

    @property
    def result(self) -> Path:
        return self.place / "result.json"

    @property
    def resume(self) -> Path:
        return self.place / "resume.json"

    def will(self, *, validate: int = 0, update: int = 0, restart: int = 0, result: Mapping[str, Any] | None = None) -> None:
        (self.place / "fleet.power.validate.rc").write_text(str(validate))
        (self.place / "fleet.power.node.rc").write_text(str(update))
        (self.place / "fleet.power.rolling_restart.rc").write_text(str(restart))
        if result is not None:
            (self.place / "result").write_text(json.dumps(result))

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.place}:{os.environ['PATH']}",
            "STAND_IN": str(self.place),
            "DEPLOY_RESULT": str(self.result),
            "DEPLOY_RESUME": str(self.resume),
            **variables,
        }
        return subprocess.run(
            [str(SCRIPT), *arguments], cwd=self.place, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    def calls(self) -> list[list[str]]:
        path = self.place / "calls"
        return [line.split("\0")[:-1] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    stand_in = tmp_path / "ansible-playbook"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    return Deploy(tmp_path)


def result(*servers: Mapping[str, Any], ok: bool = True) -> dict[str, Any]:
    """A result as the role writes it, with the fields that the script reads."""
    return {"schema": 1, "ok": ok, "msg": f"restart of {len(servers)}: so it went", "servers": list(servers)}


def test_a_deploy_validates_then_updates_the_nodes_and_then_restarts(deploy: Deploy) -> None:
    deploy.will(result=result({"node": "node1", "name": "Echo", "outcome": "done"}))
    ran = deploy.run("--limit", "node 1", DEPLOY_INVENTORY="in ventory.yml")
    assert (ran.returncode, ran.stdout) == (0, "deploy: restart of 1: so it went\n")
    validate, update, restart = deploy.calls()
    called = ["ansible-playbook", "--inventory", "in ventory.yml"]
    assert validate == [*called, "fleet.power.validate", "--limit", "node 1"]
    assert update == [*called, "fleet.power.node", "--tags", "node_definitions", "--limit", "node 1"]
    assert [*restart[:5], *restart[6:]] == [*called, "fleet.power.rolling_restart", "--extra-vars", "--limit", "node 1"]


def test_a_misspelt_variable_ends_the_deploy_at_once(deploy: Deploy) -> None:
    deploy.will()
    ended = deploy.run(DEPLOY_CANRY="3", DEPLOY_TOKEN="of the pipeline", DEPLOY_REGION="eu")
    assert (ended.returncode, deploy.calls()) == (2, [])
    assert ended.stderr == "Cannot deploy: there is no DEPLOY_CANRY (did you mean DEPLOY_CANARY?)\n"


@pytest.mark.parametrize("code", [1, 2, 4, 99])
def test_a_deploy_returns_the_exit_code_of_the_restart_and_names_the_failed_servers(deploy: Deploy, code: int) -> None:
    bad = {"node": "node1", "name": "Echo", "outcome": "failed", "code": "start_failed"}
    deploy.will(restart=code, result=result(bad, {"node": "node1", "name": "Fox", "outcome": "not_done"}, ok=False))
    deploy.resume.write_text("{}")
    ran = deploy.run("--resume")
    assert ran.returncode == code
    assert "deploy: node1 Echo failed start_failed\n" in ran.stdout
    assert "Fox" not in ran.stdout
    assert f"{deploy.resume} has the servers that are left; correct the cause, then run '{SCRIPT} --resume' instead" in ran.stdout


def test_a_failed_update_of_a_node_prevents_all_restarts(deploy: Deploy) -> None:
    deploy.will(update=4)
    deploy.resume.write_text("{}")
    assert deploy.run().returncode == 4
    assert [call[3] for call in deploy.calls()] == ["fleet.power.validate", "fleet.power.node"]
    assert deploy.resume.exists()


@pytest.mark.parametrize("left", ["", "{", json.dumps({"msg": "it went wrong", "servers": [], "ok": False})])
def test_a_missing_or_bad_result_fails_the_deploy(deploy: Deploy, left: str) -> None:
    if left:
        (deploy.place / "result").write_text(left)
    assert deploy.run().returncode == 1


def test_an_old_result_is_ignored(deploy: Deploy) -> None:
    deploy.result.write_text(json.dumps(result()))
    assert deploy.run().returncode == 1


@pytest.mark.parametrize("word", ["--check", "-C"])
def test_a_check_keeps_the_files_of_the_last_deploy_and_needs_no_result(deploy: Deploy, word: str) -> None:
    deploy.result.write_text("of the last")
    deploy.resume.write_text("of the last")
    assert [deploy.run(word).returncode, deploy.run("--resume", word).returncode] == [0, 0]
    assert [deploy.result.read_text(), deploy.resume.read_text()] == ["of the last"] * 2
    deploy.will(restart=2)
    assert deploy.run(word).returncode == 2


#: The distribution that contains each imported package.
BROUGHT_BY = {"docker": "docker", "requests": "requests", "urllib3": "requests", "yaml": "pyyaml"}


def imported() -> set[str]:
    """The third-party packages that the collection imports outside the HTTP shim, without those that ansible-core requires."""
    found: set[str] = set()
    for path in (CHECKOUT / "plugins").rglob("*.py"):
        if "_http_shim" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    return found - set(sys.stdlib_module_names) - {"__future__", "ansible", "ansible_collections", "jinja2", "markupsafe"}


def required(text: str) -> set[str]:
    return {requirements.Requirement(line).name.lower() for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.long
@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 cannot list its own modules")
def test_the_execution_environment_contains_exactly_the_imported_libraries() -> None:
    described = load(CHECKOUT / "meta" / "execution-environment.yml")["dependencies"]
    assert {BROUGHT_BY[name] for name in imported()} == required((CHECKOUT / described["python"]).read_text())


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, built like `make build` does it and unpacked where ansible-builder looks for collections."""
    place = tmp_path_factory.mktemp("packed")
    copy = place / "copy"
    leave = shutil.ignore_patterns(".*", "__pycache__", "*.tar.gz", "fixtures")
    shutil.copytree(CHECKOUT, copy, ignore=leave)
    for name in (".build/x", ".git", "__pycache__/x.pyc", "plugins/__pycache__/x.pyc", "docs/.x", "old.tar.gz", "tests/output/x"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).touch()
    command = [tool("ansible-galaxy"), "collection", "build", "--output-path", str(place)]
    (place / "ansible.cfg").write_text("")
    environment = {**os.environ, "HOME": str(place), "ANSIBLE_CONFIG": str(place / "ansible.cfg")}
    subprocess.run(command, cwd=copy, env=environment, check=True, capture_output=True, timeout=120)
    target = place / "ansible_collections" / "fleet" / "power"
    target.mkdir(parents=True)
    with tarfile.open(next(place.glob("*.tar.gz"))) as archive:
        archive.extractall(target)  # built a line above
    return place


def test_the_packed_collection_contains_everything_for_the_operation_of_a_fleet(packed: Path) -> None:
    root = packed / "ansible_collections" / "fleet" / "power"
    for wanted in ("roles", "playbooks", "extensions", "docs/deploy", "docs/docsite/rst", "meta", "plugins"):
        here = {path.relative_to(CHECKOUT) for path in (CHECKOUT / wanted).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        there = {path.relative_to(root) for path in (root / wanted).rglob("*") if path.is_file()}
        assert {path for path in here if not any(part.startswith(".") for part in path.parts)} == there, wanted


def sections(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def test_a_silent_connection_stays_open_and_a_dead_one_ends_within_75_seconds() -> None:
    text = sections((CHECKOUT / "ansible.cfg").read_text())["ssh_connection"]["ssh_extra_args"]
    seen = subprocess.run(["ssh", "-G", *text.split(), "node1"], check=True, capture_output=True, text=True, timeout=10).stdout
    options = dict(line.split(maxsplit=1) for line in seen.splitlines() if line.startswith("serveralive"))
    interval, count = int(options["serveraliveinterval"]), int(options["serveralivecountmax"])
    assert 0 < interval <= 30
    assert interval * (count + 1) <= 75
