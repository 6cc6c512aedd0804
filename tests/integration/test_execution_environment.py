# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example's execution environment, built from Debian by ansible-builder, and a play in it by ansible-runner, as AWX does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .lab import Lab

pytest.importorskip("ansible_builder")
pytest.importorskip("ansible_runner")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the base image"),
]
CHECKOUT = Path(__file__).resolve().parents[2]
BASE, LABEL = "fleet-power/ee-base:1", "fleet.power.ee"
PYTHON = "/usr/bin/python3"


def called(*command: str, directory: Path, seconds: float = 900, **variables: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # The old builder: BuildKit is a separate package, which some engines lack.
    environment = {**os.environ, "PATH": path, "DOCKER_BUILDKIT": "0", **variables}
    ran = subprocess.run(
        command, cwd=directory, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    return ran.stdout


def definition_of(file: str) -> dict[str, Any]:
    """The example, on the local base image, with the collection from a file."""
    definition: dict[str, Any] = yaml.safe_load((CHECKOUT / "docs/deploy/execution-environment.yml").read_text())
    definition["images"]["base_image"]["name"] = BASE
    definition["dependencies"]["python_interpreter"] = {"package_system": "python3-pip python3-venv", "python_path": PYTHON}
    definition["dependencies"]["galaxy"]["collections"] = [{"name": f"/build/collections/{file}", "type": "file"}]
    return {
        **definition,
        "options": {"package_manager_path": "/usr/bin/apt-get", "skip_pip_install": True},
        "build_arg_defaults": {"PKGMGR_PRESERVE_CACHE": "always"},
        "additional_build_files": [{"src": file, "dest": "collections"}],
        "additional_build_steps": {"prepend_base": [f"LABEL {LABEL}=1", "RUN apt-get update"]},
    }


@pytest.fixture(scope="module")
def image(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The environment's image, removed with all leftovers of its build."""
    place, name = tmp_path_factory.mktemp("environment"), "fleet-power/ee:1"
    try:
        called("tests/lab/ee/build", BASE, directory=CHECKOUT, DOCKER_HOST=docker_host)
        called("tests/tools/copy", "ee", directory=CHECKOUT)
        collection = CHECKOUT / ".build/ee/ansible_collections/fleet/power"
        called("ansible-galaxy", "collection", "build", "--output-path", str(place), directory=collection)
        (file,) = place.glob("*.tar.gz")
        (place / "execution-environment.yml").write_text(json.dumps(definition_of(file.name)))
        # Containers of the tests' private engine have no route to the Internet.
        how = ("--container-runtime", "docker", "--extra-build-cli-args=--network host", "--verbosity", "3")
        called("ansible-builder", "build", "--tag", name, *how, directory=place, DOCKER_HOST=docker_host)
        yield name
    finally:
        subprocess.run(["docker", "image", "rm", "--force", name], capture_output=True, check=False)
        subprocess.run(["docker", "image", "prune", "--force", "--filter", f"label={LABEL}"], capture_output=True, check=False)
        subprocess.run(["docker", "image", "rm", "--force", BASE], capture_output=True, check=False)


def within(image: str, *command: str) -> str:
    return called("docker", "run", "--rm", "--network", "none", image, *command, directory=CHECKOUT)


def test_the_environment_has_the_collection_and_its_requirements(image: str) -> None:
    assert "fleet.power" in within(image, "ansible-galaxy", "collection", "list", "fleet.power")
    assert "OpenSSH" in within(image, "ssh", "-V")
    within(image, PYTHON, "-c", "import docker, requests, yaml")
    within(image, "ansible-doc", "fleet.power.server_power")


def results_of(job: Path) -> dict[str, Any]:
    events = [json.loads(path.read_text()) for path in (job / "artifacts/job/job_events").glob("*.json")]
    return {event["event_data"]["task"]: event["event_data"]["res"] for event in events if event["event"] == "runner_on_ok"}


def test_a_play_in_the_environment_starts_a_server_and_sees_it(image: str, lab: Lab, tmp_path: Path) -> None:
    if not lab.docker_host.startswith("unix://"):
        pytest.skip("the engine has no socket for a container")
    uuid, job = lab.server(name="Atlas"), tmp_path / "job"
    options = {"config": str(lab.config), "docker_host": lab.docker_host}
    start = {"name": "start", "fleet.power.server_power": {**options, "server": "Atlas", "action": "start", "wait_for": "running"}}
    look = {"name": "look", "fleet.power.server_power_info": {**options, "server": "Atlas"}}
    for folder in ("project", "inventory"):
        (job / folder).mkdir(parents=True)
    (job / "inventory/hosts").write_text(f"localhost ansible_connection=local ansible_python_interpreter={PYTHON}\n")
    play = {"name": "the play", "hosts": "localhost", "gather_facts": False, "tasks": [start, look]}
    (job / "project/play.yml").write_text(json.dumps([play]))
    socket = lab.docker_host.partition("://")[2]
    mounts = [word for path in (lab.root, socket) for word in ("--container-volume-mount", f"{path}:{path}")]
    isolation = ("--process-isolation", "--process-isolation-executable", "docker", "--container-image", image)
    called("ansible-runner", "run", str(job), "--playbook", "play.yml", "--ident", "job", *isolation, *mounts, directory=tmp_path)
    found = results_of(job)
    assert [entry["outcome"] for entry in found["start"]["servers"]] == ["done"]
    assert [(entry["server"], entry["state"]) for entry in found["look"]["servers"]] == [(uuid, "running")]
    assert lab.is_up(uuid)
