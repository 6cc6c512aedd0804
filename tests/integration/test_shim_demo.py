# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make shim`, and each curl command that it and the README show."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import CHECKOUT, examples

from .lab import wait_until

#: The copy uses other names and ports, because the demo may already run on the same engine.
OTHERS = {
    "demo.py": {"-de30-": "-de31-", '"fleet-power-demo"': '"fleet-power-demo-2"', "10.213.77.": "10.213.78.", "= 42600": "= 42700"},
    "shim.py": {"PORT = 42500": "PORT = 42501"},
}


def copied(root: Path) -> None:
    for part in ("demo", "lab"):
        shutil.copytree(CHECKOUT / "tests" / part, root / "tests" / part)
    for name, changes in OTHERS.items():
        script = root / "tests" / "demo" / name
        for old, new in changes.items():
            assert old in script.read_text()
            script.write_text(script.read_text().replace(old, new))


def accepted(answer: str) -> str:
    """Return the id of the operation from a 202."""
    assert answer.startswith("HTTP/1.1 202 "), answer
    (operation,) = re.findall(r"^X-Operation-Id: (\S+)\r?$", answer, re.MULTILINE)
    return str(operation)


def follow(run: Callable[..., str], start: str, result: str, action: str, **given: str) -> str:
    """Request an action, wait for its end and return the id of its operation."""
    operation = accepted(run(start, **given))
    ended = json.loads(run(result.replace("/ID?", f"/{operation}?"), OPERATION=operation, **given))
    assert (ended["action"], ended["outcome"]) == (action, "done")
    return operation


@pytest.mark.long
def test_each_curl_command_works_as_shown(tmp_path: Path, docker_host: str) -> None:
    copied(tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    variables = {**os.environ, "DOCKER_HOST": docker_host, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(line: str, **more: str) -> str:
        command = ["bash", "-c", line]
        ran = subprocess.run(command, cwd=tmp_path, env={**variables, **more}, capture_output=True, text=True, timeout=90, check=False)
        assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    log = tmp_path / "printed"
    with log.open("wb") as output:
        demo = subprocess.Popen([tmp_path / "tests" / "demo" / "shim"], cwd=tmp_path, env=variables, stdout=output, stderr=output)
    try:
        wait_until(lambda: '"listening"' in log.read_text() or demo.poll() is not None, "the HTTP shim listens", 60.0)
        assert demo.poll() is None, log.read_text()
        start, result, all_of_them, server = re.findall(r"^  (curl .+)$", log.read_text(), re.MULTILINE)
        operation = follow(run, start, result, "start")
        assert [each["id"] for each in json.loads(run(all_of_them))] == [operation]
        shown = json.loads(run(server))["configuration"]
        assert shown["meta"]["name"] == "Atlas"

        (page,) = (each.text for each in examples(CHECKOUT / "README.md") if "curl -i" in each.text)
        start, result, server = page.splitlines()
        token = json.loads((tmp_path / ".build" / "demo" / "shim.yml").read_text())["token"]
        given = {"TOKEN": token, "NODE": "http://127.0.0.1:42501", "SERVER": shown["uuid"]}
        follow(run, start, result, "restart", **given)
        assert json.loads(run(server, **given))["configuration"]["uuid"] == shown["uuid"]
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30.0) == 0
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
        servers = " ".join(file.stem for file in tmp_path.glob(".build/demo/servers/*.json"))
        run(f"docker rm --force --volumes {servers}; docker network rm fleet-power-demo-2; true")
