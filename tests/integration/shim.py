# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the HTTP shim in a process of its own, and send it requests or bytes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .lab import Lab, wait_until

TOKEN = "the-token-of-the-node-alone"
_MODULE = "ansible_collections.fleet.power.plugins.module_utils.http_shim"
#: The address of an engine that does not exist, for tests that need no engine.
NO_ENGINE = "unix:///nonexistent/engine.sock"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Shim:
    def __init__(self, config: Path, docker_host: str, log: Path, user: Mapping[str, Any] | None = None, **environment: str) -> None:
        """``user`` names the user and the groups of the process, in the arguments of `subprocess.Popen`."""
        self.config = config
        self._log = log
        # The child imports from the same path as this process.
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "DOCKER_HOST": docker_host, **environment}
        self._before = len(self.entries())
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", _MODULE, "--config", str(config)],
                stdout=output,
                stderr=subprocess.PIPE,
                env=variables,
                **(user or {}),
            )
        try:
            wait_until(lambda: self.events("listening") or self.child.poll() is not None, "the HTTP shim listens", 60.0)
            assert self.child.poll() is None, self.child.communicate()[1].decode()
        except BaseException:
            self.close()
            raise
        self.url = str(self.events("listening")[-1]["address"])

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 0)

    def entries(self) -> list[dict[str, Any]]:
        """Return all entries of the log, with those of earlier processes."""
        if not self._log.exists():
            return []
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries()[self._before :] if entry["event"] == event]

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = TOKEN, seconds: float = 60.0, **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection(*self.address, timeout=seconds)
        sent = {} if token is None else {"Authorization": f"Bearer {token}"}
        sent.update((name.replace("_", "-"), value) for name, value in headers.items())
        payload = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        try:
            connection.request(method, path, payload, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def power(self, uuid: str, action: str, wait_seconds: int | None = None) -> Answer:
        body = {"action": action} if wait_seconds is None else {"action": action, "wait_seconds": wait_seconds}
        return self.ask("POST", f"/api/servers/{uuid}/power", body)

    def took(self, uuid: str, action: str, wait_seconds: int | None = None) -> str:
        """Request a power action, which must be accepted; return the location of its operation."""
        answer = self.power(uuid, action, wait_seconds)
        assert answer.status == 202, (answer.status, answer.body)
        assert answer.headers["location"] == f"/api/servers/{uuid}/operations/{answer.headers['x-operation-id']}"
        return answer.headers["location"]

    def operation(self, location: str, wait: int = 0) -> dict[str, Any]:
        """Return the operation when it has ended, or after ``wait`` seconds."""
        answer = self.ask("GET", f"{location}?wait={wait}", seconds=wait + 30.0)
        assert answer.status == 200, (answer.status, answer.body)
        found: dict[str, Any] = answer.json
        return found

    def done(self, uuid: str, action: str, wait_seconds: int | None = None) -> dict[str, Any]:
        found = self.operation(self.took(uuid, action, wait_seconds), wait=60)
        assert found["outcome"] is not None, found
        return found

    def raw(self, sent: bytes, seconds: float = 5.0) -> bytes:
        """Send bytes; return all that the shim sends until it closes the connection or is silent for ``seconds``."""
        with socket.create_connection(self.address, timeout=seconds) as connection:
            connection.sendall(sent)
            received = b""
            with contextlib.suppress(OSError):
                while chunk := connection.recv(65536):
                    received += chunk
            return received

    def peak_mib(self) -> int:
        """Return the peak memory of the process in MiB."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.child.wait()

    def end(self, seconds: float = 90.0) -> int:
        """Send SIGTERM, wait for the end and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.child.wait(seconds)

    def close(self) -> None:
        if self.child.poll() is None:
            self.kill()
        if self.child.stderr is not None:
            self.child.stderr.close()

    def __enter__(self) -> Shim:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()


def configure(lab: Lab, **sections: Any) -> None:
    """Write settings with a token and a free port; only their owner can read them."""
    lab.write_settings(**{"token": TOKEN, "token_id": "a1b2", "api": {"port": 0}, **sections})
    lab.config.chmod(0o600)


def shim_on(lab: Lab, **sections: Any) -> Shim:
    configure(lab, **sections)
    return again(lab)


def again(lab: Lab, **environment: str) -> Shim:
    return Shim(lab.config, lab.docker_host, lab.root / "shim.log", **environment)
