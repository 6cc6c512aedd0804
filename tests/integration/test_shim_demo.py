# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make shim`, and the lines of curl that it and the README show, word for word."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import CHECKOUT, examples

from .lab import wait_until

_PORT = "42500"
_NETWORK = "fleet-power-demo"
#: What of the scripts is another's in the copy: somebody may be looking at the demo, on the engine of the tests.
_OTHERS = {
    "demo.py": {
        "-de30-": "-de31-",
        f'"{_NETWORK}"': f'"{_NETWORK}-2"',
        "10.213.77.": "10.213.78.",
        "FIRST_PORT = 42600": "FIRST_PORT = 42700",
    },
    "shim.py": {f"PORT = {_PORT}": "PORT = 42501"},
}


class Demo:
    """A checkout of the test's own with `make shim` running in it, and what that has printed."""

    def __init__(self, root: Path, docker_host: str) -> None:
        self.root = root
        self._variables = {
            **os.environ,
            "DOCKER_HOST": docker_host,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        for part in ("demo", "lab"):
            shutil.copytree(CHECKOUT / "tests" / part, root / "tests" / part)
        for name, changes in _OTHERS.items():
            script = root / "tests" / "demo" / name
            for old, new in changes.items():
                assert old in script.read_text()
                script.write_text(script.read_text().replace(old, new))
        self._log = root / "printed"
        with self._log.open("wb") as output:
            self._child = subprocess.Popen([root / "tests" / "demo" / "shim"], cwd=root, env=self._variables, stdout=output, stderr=output)

    @property
    def printed(self) -> str:
        """All of it so far."""
        return self._log.read_text()

    def await_listening(self) -> None:
        """Wait until it can be asked."""
        # It looks for an engine first, and for the image.
        wait_until(lambda: '"listening"' in self.printed or self._child.poll() is not None, "the HTTP face listens", 60.0)
        assert self._child.poll() is None, self.printed

    def run(self, line: str, **variables: str) -> str:
        """Run a line in the checkout; what it said."""
        ran = subprocess.run(
            ["bash", "-c", line],
            cwd=self.root,
            env={**self._variables, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ran.returncode == 0, f"{line}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def end(self) -> int:
        """Ctrl-C."""
        self._child.send_signal(signal.SIGINT)
        return self._child.wait(30.0)

    def close(self) -> None:
        """Nothing of it is left."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        servers = " ".join(path.stem for path in self.root.glob(".build/demo/servers/*.json"))
        # As far as there are any.
        self.run(f"docker rm --force --volumes {servers}; docker network rm {_NETWORK}-2; true")


@pytest.fixture(name="demo")
def running_demo(tmp_path: Path, docker_host: str) -> Iterator[Demo]:
    if shutil.which("curl") is None:
        subprocess.run([CHECKOUT / "tests" / "lab" / "packages", "curl"], check=True)
    demo = Demo(tmp_path, docker_host)
    try:
        demo.await_listening()
        yield demo
    finally:
        demo.close()


def accepted(said: str) -> str:
    """The operation that an answer names, which must be 202."""
    assert said.startswith("HTTP/1.1 202 "), said
    (operation,) = re.findall(r"^X-Operation-Id: (\S+)\r?$", said, re.MULTILINE)
    return str(operation)


def ended(said: str) -> tuple[Any, Any]:
    found = json.loads(said)
    return found["action"], found["outcome"]


@pytest.mark.long
def test_every_line_of_curl_that_is_printed_and_that_the_readme_shows_does_what_it_says(demo: Demo) -> None:
    start, result, all_of_them, server = re.findall(r"^  (curl .+)$", demo.printed, re.MULTILINE)
    operation = accepted(demo.run(start))
    assert ended(demo.run(result.replace("/ID?", f"/{operation}?"))) == ("start", "done")
    assert [each["id"] for each in json.loads(demo.run(all_of_them))] == [operation]
    shown = json.loads(demo.run(server))
    assert (shown["configuration"]["meta"]["name"], shown["state"] in ("starting", "running")) == ("Atlas", True)

    readme = CHECKOUT / "README.md"
    assert f"on port {_PORT}:" in readme.read_text()
    (page,) = (each.text for each in examples(readme) if "curl -i" in each.text)
    start, result, server = page.splitlines()
    token = json.loads((demo.root / ".build" / "demo" / "shim.yml").read_text())["token"]
    given = {"TOKEN": token, "NODE": "http://127.0.0.1:42501", "SERVER": shown["configuration"]["uuid"]}
    operation = accepted(demo.run(start, **given))
    assert ended(demo.run(result, OPERATION=operation, **given)) == ("restart", "done")
    assert json.loads(demo.run(server, **given))["configuration"]["uuid"] == given["SERVER"]
    assert demo.end() == 0
