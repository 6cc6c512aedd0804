# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection under ansible-runner and under molecule."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from .lab import CHECKOUT, Going, Lease, Node, bring_up, environment, inventory, server, tool
from .scratch import collection_root, collections

pytest.importorskip("ansible_runner")
RUNNER = str(Path(sys.executable).with_name("ansible-runner"))


@dataclass(frozen=True)
class Job:
    """A job as AWX has it: a directory with project, inventory, variables and environment, and its results."""

    directory: Path

    @property
    def artifacts(self) -> Path:
        return self.directory / "artifacts" / "job"

    @property
    def stdout(self) -> str:
        return (self.artifacts / "stdout").read_text()

    @property
    def rc(self) -> int:
        return int((self.artifacts / "rc").read_text())

    def events(self, kind: str) -> list[dict[str, Any]]:
        every = [json.loads(path.read_text()) for path in (self.artifacts / "job_events").glob("*.json")]
        return [event for event in sorted(every, key=lambda event: event["counter"]) if event["event"] == kind]


def prepared(directory: Path, nodes: Sequence[Node], **variables: object) -> Job:
    """Return a job with a project file for each playbook, and with the settings that AWX gives."""
    for name in ("env", "inventory", "project"):
        (directory / name).mkdir(parents=True)
    for playbook in ("status", "rolling_restart"):
        text = f"---\n- name: From the collection\n  ansible.builtin.import_playbook: fleet.power.{playbook}\n"
        (directory / "project" / f"{playbook}.yml").write_text(text)
    shutil.copy(inventory(nodes), directory / "inventory" / "hosts.yml")
    (directory / "env" / "extravars").write_text(json.dumps(variables))
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(collections()), "ANSIBLE_HOME": str(directory / "home"), "ANSIBLE_NOCOLOR": "1"}
    (directory / "env" / "envvars").write_text(json.dumps(environment))
    return Job(directory)


def ran(job: Job, playbook: str) -> Job:
    _runner("run", str(job.directory), "--playbook", playbook, "--ident", "job", "--quiet")
    return job


def _runner(*arguments: str, stdin: bytes = b"") -> bytes:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run([RUNNER, *arguments], env=environment, input=stdin, stdout=subprocess.PIPE, timeout=300, check=False).stdout


@pytest.mark.long
def test_a_runner_job_shows_the_fleet_table_and_its_events_contain_the_servers(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    bring_up({node: [server("Atlas")]})
    job = ran(prepared(tmp_path / "job", [node]), "status.yml")
    assert job.rc == 0, job.stdout
    (line,) = (line for line in job.stdout.splitlines() if "Atlas" in line)
    assert line.split()[0] == node.name
    assert "running" in line
    assert len(line) <= 80, "as wide as ansible-runner's terminal"
    (result,) = (event["event_data"]["res"] for event in job.events("runner_on_ok") if "servers" in event["event_data"]["res"])
    assert [(entry["name"], entry["state"]) for entry in result["servers"]] == [("Atlas", "running")]
    assert [event["event_data"]["ok"][node.name] > 0 for event in job.events("playbook_on_stats")] == [True]


#: The number of nodes for each scenario.
SCENARIOS = {"default": 1, "rolling": 3}
#: The longest scenario on a loaded machine.
SECONDS = 420


def test_every_molecule_scenario_has_a_test() -> None:
    assert sorted(path.parent.name for path in (CHECKOUT / "extensions" / "molecule").glob("*/molecule.yml")) == sorted(SCENARIOS)


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_converges_is_idempotent_and_verifies(lease: Lease, tmp_path: Path, scenario: str) -> None:
    where = inventory(lease(SCENARIOS[scenario]))
    variables = environment() | {
        "FLEET_POWER_INVENTORY": str(where),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule"),
    }
    # Molecule writes its own.
    del variables["ANSIBLE_CONFIG"]
    ran = Going([tool("molecule"), "test", "--scenario-name", scenario], variables, collection_root()).finish(SECONDS)
    assert ran.rc == 0, ran.output
    # A sequence without these steps would succeed, too.
    sequence = yaml.safe_load((CHECKOUT / "extensions" / "molecule" / scenario / "molecule.yml").read_text())["scenario"]["test_sequence"]
    assert {"converge", "verify"} <= set(sequence)
    assert "no hosts matched" not in ran.output
