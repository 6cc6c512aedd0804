# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A separate Docker Engine, which a test may shut down, kill and start again: all tests share the lab's engine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine

from .lab import IMAGE, wait_until

#: It changes nothing that other engines use: no packet filter, no bridge.
_CONFIGURATION: dict[str, Any] = {"bridge": "none", "iptables": False, "ip6tables": False, "ip-masq": False, "ip-forward": False}
if os.environ.get("FLEET_LAB_ENGINE", "").endswith("-containerd"):
    _CONFIGURATION["features"] = {"containerd-snapshotter": True}
_START_SECONDS = 60.0


class OwnEngine:
    """An engine below a directory with a short name: the paths of sockets have a limit."""

    def __init__(self, root: Path, *, activated: bool = False, configuration: Mapping[str, Any] | None = None) -> None:
        self.host = f"unix://{root}/docker.sock"
        self._root = root
        self._log = (root / "log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        #: With ``activated`` this process opens the socket, as systemd does.
        self._listener = socket.socket(socket.AF_UNIX) if activated else None
        if self._listener is not None:
            self._listener.bind(f"{root}/docker.sock")
            self._listener.listen()
        (root / "daemon.json").write_text(json.dumps({**_CONFIGURATION, **(configuration or {})}))

    @property
    def pid_file(self) -> str:
        return f"{self._root}/pid"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def client(self) -> Any:
        """The SDK's low-level client, for calls that the collection does not have."""
        import docker

        if self._client is None:
            self._client = docker.APIClient(base_url=self.host, version="auto")
        return self._client

    def engine(self) -> DockerEngine:
        return DockerEngine(Connection(host=self.host))

    def start(self) -> None:
        root = self._root
        command = ["dockerd", f"--config-file={root}/daemon.json", f"--data-root={root}/data"]
        command += [f"--exec-root={root}/exec", f"--pidfile={self.pid_file}", f"--host={self.host if self._listener is None else 'fd://'}"]
        if self._listener is not None:
            passed = f'exec env LISTEN_FDS=1 LISTEN_PID=$$ "$@" 3<&{self._listener.fileno()}'
            command = ["bash", "-c", passed, "bash", *command]
        descriptors = () if self._listener is None else (self._listener.fileno(),)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, pass_fds=descriptors)
        wait_until(self._answers, "the engine answers", _START_SECONDS)

    def shut_down(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the engine, and with it its containerd. Docker 20.10 takes a containerd that is a zombie for alive, and waits for it."""
        self._end(signal.SIGKILL)
        (self._root / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def begin_shutdown(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def await_end(self) -> None:
        assert self._process is not None
        self._process.wait(60)

    def up(self, name: str | None = None, *, config: Mapping[str, Any] | None = None, **environment: Any) -> str:
        """Start a test server with the behaviour in ``environment``; return its id when it is ready."""
        identity = self.made(name, config=config, **environment)
        self.client.start(identity)
        wait_until(lambda: b"ready" in self.client.logs(identity), "the server is ready")
        return identity

    def made(self, name: str | None = None, *, config: Mapping[str, Any] | None = None, **environment: Any) -> str:
        body = {"Image": IMAGE[1:], "HostConfig": {"NetworkMode": "none"}, **(config or {})}
        body["Env"] = [f"{key}={value}" for key, value in environment.items()]
        return str(self.client.create_container_from_config(body, name)["Id"])

    def load_image(self, docker_host: str) -> None:
        import docker

        with contextlib.closing(docker.APIClient(base_url=docker_host, version="auto")) as other:
            self.client.load_image(b"".join(other.get_image(IMAGE[1:])))

    def clean(self) -> None:
        if self._process is not None and self._process.poll() is None:
            for row in self.client.containers(all=True):
                self.client.remove_container(row["Id"], force=True)
            self.shut_down()
        self._end_leftovers()
        self._log.close()
        if self._listener is not None:
            self._listener.close()
        mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        for mount in sorted((mount for mount in mounts if mount.startswith(f"{self._root}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self._root)

    def _end_leftovers(self) -> None:
        """End the containers of an engine that was killed and did not start again."""
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if f"{self._root}/exec/containerd/" in file.read_text(errors="replace"):
                    children = " ".join(each.read_text() for each in file.parent.glob("task/*/children"))
                    for pid in (file.parent.name, *children.split()):
                        os.kill(int(pid), signal.SIGKILL)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._root / "log").read_text()[-2000:]
        try:
            return bool(self.client.ping())
        except Exception:  # the library raises many types while the engine starts
            self._forget_client()
            return False

    def _end(self, number: int) -> None:
        os.kill(self.pid, number)
        self.await_end()
        self._forget_client()

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def own_engine(docker_host: str, *, activated: bool = False, configuration: Mapping[str, Any] | None = None) -> Iterator[OwnEngine]:
    """An engine with the test server's image; ``configuration`` adds to its ``daemon.json``. Skips the test where no engine can start."""
    if os.geteuid() != 0:
        pytest.skip("only root may start an engine")
    if shutil.which("dockerd") is None:
        pytest.skip("dockerd is missing: install docker.io")
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="fleet-power-own-", dir="/run")), activated=activated, configuration=configuration)
    try:
        engine.start()
        engine.load_image(docker_host)
        yield engine
    finally:
        engine.clean()
