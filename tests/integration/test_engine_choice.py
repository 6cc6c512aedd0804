# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engine demo and tests take, by tests/lab/engine in a checkout of the test's own, and what `make demo-down` removes from it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import CHECKOUT

_IMAGE = "fleet-power/testserver:latest"
_LABEL = "fleet.power.testserver.checkout"


class Checkout:
    """A copy of the scripts; the current context leads nowhere, so that nothing of this machine's user is in the way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nowhere = f"unix://{root}/nowhere.sock"
        for part in ("demo", "lab", "tools"):
            shutil.copytree(CHECKOUT / "tests" / part, root / "tests" / part)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        self._environment["DOCKER_CONFIG"] = str(root / "docker")
        self.use(self.nowhere)

    def use(self, host: str) -> None:
        """Make an engine that of the current context."""
        name = f"context-{len(list(self.root.glob('docker/contexts/meta/*')))}"
        self.run("docker", "context", "create", name, "--docker", f"host={host}")
        self.run("docker", "context", "use", name)

    def run(self, *command: str, docker_host: str = "", fails: bool = False) -> str:
        """Run a command in it; what it said."""
        environment = {**self._environment, **({"DOCKER_HOST": docker_host} if docker_host else {})}
        ran = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert (ran.returncode != 0) == fails, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def created(self, image: str, docker_host: str) -> str:
        """Create a container; its id, without what the engine warns of on a machine that forwards nothing yet."""
        identity = self.run("docker", "create", "--network", "none", image, docker_host=docker_host).split()[0]
        assert len(identity) == 64, identity
        return identity

    def engine(self, *words: str, docker_host: str = "", fails: bool = False) -> str:
        """Run tests/lab/engine."""
        return self.run("tests/lab/engine", *words, docker_host=docker_host, fails=fails)

    def have_demo(self) -> None:
        """Have what the demo leaves in a checkout."""
        (self.root / ".build" / "demo" / "servers").mkdir(parents=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout in which nothing has been chosen yet."""
    checkout = Checkout(tmp_path)
    yield checkout
    checkout.engine("down")


def test_an_engine_that_merely_runs_on_the_machine_is_not_taken(checkout: Checkout, docker_host: str) -> None:
    assert docker_host not in checkout.engine("status")
    assert "private engine" in checkout.engine("host", fails=True)


def test_the_engine_of_the_current_context_is_taken_and_remembered(checkout: Checkout, docker_host: str) -> None:
    checkout.use(docker_host)
    assert docker_host in checkout.engine("up")
    checkout.use(checkout.nowhere)
    assert checkout.engine("host") == f"{docker_host}\n"


def test_a_docker_host_that_does_not_answer_is_refused_and_nothing_started(checkout: Checkout) -> None:
    refused = checkout.engine("up", docker_host=checkout.nowhere, fails=True)
    assert refused == f"Cannot use the Docker Engine at {checkout.nowhere}: it does not answer; start it, or unset DOCKER_HOST\n"
    assert not (checkout.root / ".build" / "engine").exists()
    unnamed = checkout.engine("host", docker_host=checkout.nowhere, fails=True)
    assert unnamed.endswith("does not answer; start it, or unset DOCKER_HOST\n"), "no private one is started in its place"


def test_demo_down_removes_its_own_unused_images_and_says_so(checkout: Checkout, docker_host: str) -> None:
    def made_by(owner: Path, tag: str) -> str:
        container = checkout.created(_IMAGE, docker_host)
        name = f"fleet-power-test/choice:{tag}-{checkout.root.name.replace('_', '-')[-40:]}"
        try:
            checkout.run("docker", "commit", "--change", f"LABEL {_LABEL}={owner}", container, name, docker_host=docker_host)
        finally:
            checkout.run("docker", "rm", container, docker_host=docker_host)
        return name

    used, unused, others = made_by(checkout.root, "used"), made_by(checkout.root, "unused"), made_by(Path("/elsewhere"), "others")
    container = checkout.created(used, docker_host)
    try:
        checkout.engine("up", docker_host=docker_host)
        checkout.have_demo()
        said = checkout.run("tests/demo/down")
        assert said.splitlines()[0] == "demo: removed 1 image, .build/demo"
        left = checkout.run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", docker_host=docker_host).split()
        assert (used in left, unused in left, others in left) == (True, False, True)
        assert checkout.run("tests/demo/down") == "demo: there is nothing to remove\n"
    finally:
        checkout.run("docker", "rm", "--force", container, docker_host=docker_host)
        checkout.run("docker", "image", "rm", used, others, docker_host=docker_host)
