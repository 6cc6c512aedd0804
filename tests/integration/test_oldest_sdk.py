# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The oldest Docker SDK that `sdk_fault` accepts, with the libraries of Debian 11, runs a server on a real engine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine import sdk_fault

from .command import MODULE, environment, with_config
from .lab import Lab, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
LIBRARIES = (f"docker=={sdk_fault._OLDEST}.0", "requests==2.25.1", "urllib3==1.26.5", "PyYAML")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with these libraries. The SDK needs distutils, which Python 3.12 lacks."""
    found = subprocess.run([CHECKOUT / "tests/tools/python", "3.9", "3.11"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(found.stderr)
    made = tmp_path_factory.mktemp("oldest") / "venv"
    subprocess.run([found.stdout.strip(), "-m", "venv", made], check=True)
    subprocess.run([made / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *LIBRARIES], check=True)
    return made / "bin/python"


@pytest.mark.long
def test_the_oldest_sdk_runs_a_server_from_its_start_to_its_kill(lab: Lab, python: Path) -> None:
    # Only the path of the collection, without the libraries of this Python.
    here = {**environment(lab), "PYTHONPATH": os.environ.get("PYTHONPATH") or str(CHECKOUT / ".build")}

    def begun(*arguments: str) -> subprocess.Popen[str]:
        words = [str(python), "-m", MODULE, *with_config(lab, arguments)]
        return subprocess.Popen(words, env=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ran(*arguments: str) -> str:
        with begun(*arguments) as child:
            out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        return out

    def used(uuid: str) -> str:
        script = (
            "import sys; from ansible_collections.fleet.power.plugins.module_utils._power.engine import connection, docker_engine; "
            "print(docker_engine.DockerEngine(connection.connect({'docker_host': sys.argv[1]}, None)).use(sys.argv[2]))"
        )
        return subprocess.run(
            [str(python), "-c", script, lab.docker_host, uuid], env=here, capture_output=True, text=True, check=True
        ).stdout

    uuid = lab.server(name="Lobby")
    assert ran("start", "Lobby", "--wait-for", "running").startswith("Lobby: start done in ")
    assert json.loads(ran("status", "Lobby", "--json"))["servers"][0]["state"] == "running"
    assert ran("log", "Lobby") == "ready\n"
    assert used(uuid).startswith("Use(")
    with begun("log", "Lobby", "-f") as log:
        assert log.stdout is not None and log.stdout.readline() == "ready\n"
        assert ran("restart", "Lobby", "--wait-for", "running").startswith("Lobby: restart done in ")
        _out, err = log.communicate(timeout=60)
    assert (log.returncode, "The run has ended" in err) == (0, True), err
    assert ran("kill", "Lobby").startswith("Lobby: kill done in ")
    wait_until(lambda: not lab.is_up(uuid), "it is down")
