# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A separate node for each test: directories, settings, servers on the shared engine, and actions. The lab removes its containers."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid as uuid_module
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import Node, build_node
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.journal.operations import OperationRow
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result

from .actor import request_on

IMAGE = "~fleet-power/testserver:latest"
#: The longest time of something quick on a loaded machine with two cores.
SOON_SECONDS = 20.0


def wait_until(condition: Callable[[], Any], what: str, seconds: float = SOON_SECONDS) -> Any:
    """Wait until ``condition`` returns a true value, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        # On a busy machine, looks must not take a processor.
        time.sleep(max(0.02, 2 * (now - began)))


def free_port() -> int:
    """Return a port that is free for TCP and UDP. No connection takes it meanwhile: the kernel gives these higher ports."""
    while True:
        port = random.randrange(20000, 32768)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port


def ended(result: Result) -> tuple[str, str]:
    return result.outcome.value, result.code


class Lab:
    """One node: its directories below ``root``, its servers on the engine at ``docker_host``."""

    def __init__(self, root: Path, docker_host: str, client: Any) -> None:
        self.root = root
        self.docker_host = docker_host
        self.client = client
        self.uuids: list[str] = []
        self.images: list[str] = []
        self.settings: dict[str, Any] = {
            "system": {
                "definitions": str(root / "servers"),
                "lock_directory": str(root / "run"),
                "state_directory": str(root / "state"),
                "data": str(root / "volumes"),
            },
            # Without a network a start takes half the time. Networks have their own tests.
            "docker": {"network": {"network_mode": "none"}},
        }
        (root / "servers").mkdir(parents=True)
        self.write_settings()

    def operations(self, uuid: str) -> list[OperationRow]:
        """Return a server's operations in the journal, the newest first."""
        with contextlib.closing(self.node().journal) as journal:
            return journal.operations.of(uuid)

    @property
    def config(self) -> Path:
        return self.root / "config.yml"

    def write_settings(self, **sections: Any) -> None:
        """Write the settings file with ``sections`` merged into the settings (one level deep)."""
        for name, values in sections.items():
            self.settings[name] = {**self.settings.get(name, {}), **values} if isinstance(values, Mapping) else values
        self.config.write_text(json.dumps(self.settings))

    def server(
        self,
        *,
        name: str = "",
        stop: Mapping[str, Any] | None = None,
        done: tuple[str, ...] = ("ready",),
        image: str = IMAGE,
        suspended: bool = False,
        build: Mapping[str, Any] | None = None,
        **environment: object,
    ) -> str:
        """Define a server; ``environment`` sets the behaviour of the test image. Returns its uuid."""
        uuid = str(uuid_module.uuid4())
        self.uuids.append(uuid)
        self.define(
            uuid,
            {
                "settings": {
                    "uuid": uuid,
                    "meta": {"name": name or f"server-{uuid[:8]}"},
                    "suspended": suspended,
                    "container": {"image": image},
                    "environment": dict(environment),
                    "build": dict(build or {}),
                },
                "process_configuration": {
                    "startup": {"done": list(done)},
                    "stop": dict(stop if stop is not None else {"type": "command", "value": "stop"}),
                },
            },
        )
        return uuid

    def define(self, uuid: str, definition: Mapping[str, Any]) -> None:
        (self.root / "servers" / f"{uuid}.json").write_text(json.dumps(definition))

    def definition(self, uuid: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.root / "servers" / f"{uuid}.json").read_text())
        return loaded

    def edit(self, uuid: str, *, process: Mapping[str, Any] | None = None, **settings: Any) -> None:
        """Change a definition in the directory: whole keys of ``settings`` and of ``process_configuration``."""
        definition = self.definition(uuid)
        definition["settings"].update(settings)
        definition["process_configuration"].update(process or {})
        self.define(uuid, definition)

    def volume(self, uuid: str) -> Path:
        return self.root / "volumes" / uuid

    def outsider(self, uuid: str, *, host: Mapping[str, Any] | None = None, **config: Any) -> str:
        """Start a foreign container with the server's name; ``config`` and ``host`` have the engine's keys."""
        body = {"Image": IMAGE[1:], "HostConfig": {"NetworkMode": "none", **(host or {})}, **config}
        identity = str(self.client.create_container_from_config(body, uuid)["Id"])
        self.client.start(identity)
        return identity

    def image(self, *changes: str) -> str:
        """A local image: the test server's with some lines of a Dockerfile. The lab removes it."""
        tag = f"test-{uuid_module.uuid4()}"
        base = self.client.create_container_from_config({"Image": IMAGE[1:], "HostConfig": {"NetworkMode": "none"}}, tag)["Id"]
        try:
            self.client.commit(base, repository="fleet-power/testserver", tag=tag, changes=list(changes))
        finally:
            self.client.remove_container(base, force=True)
        self.images.append(f"fleet-power/testserver:{tag}")
        return f"~{self.images[-1]}"

    def node(self, **options: Any) -> Node:
        """A node as the module builds it, with the module's ``options``."""
        return build_node({"config": str(self.config), "docker_host": self.docker_host, **options})

    def request(self, action: str, server: str, node: Node | None = None, **fields: Any) -> Request:
        return request_on(node or self.node(), action, server, **fields)

    def power(self, action: str, server: str, *, options: Mapping[str, Any] | None = None, **fields: Any) -> Result:
        node = self.node(**(options or {}))
        try:
            return perform(self.request(action, server, node, **fields), node)
        finally:
            node.journal.close()

    def up(self, **server: Any) -> str:
        """Define a server as `server` does, and start it. Returns its uuid when it is ready."""
        uuid = self.server(**server)
        result = self.power("start", uuid, wait_for="running")
        assert ended(result) == ("done", ""), result.msg
        return uuid

    def actor(self, action: str, server: str, **fields: Any) -> Actor:
        """Perform an action in a separate process, which can be killed."""
        return Actor(self, action, server, fields)

    def at(self, docker_host: str) -> Lab:
        """The same node with another engine address for actions; the lab's own look-ups still use the first address."""
        other = copy.copy(self)
        other.docker_host = docker_host
        return other

    def generation(self, uuid: str) -> int:
        return self.node().generations.read(uuid)

    def container(self, uuid: str) -> dict[str, Any] | None:
        import docker.errors

        try:
            found: dict[str, Any] = self.client.inspect_container(uuid)
        except docker.errors.NotFound:
            return None
        return found

    def is_up(self, uuid: str) -> bool:
        found = self.container(uuid)
        return found is not None and bool(found["State"]["Running"])

    def log(self, uuid: str) -> str:
        return str(self.client.logs(uuid).decode().replace("\r\n", "\n"))

    def await_ready(self, uuid: str, line: str = "ready") -> None:
        """Wait for the server's readiness line: before that it reads no stop command."""
        wait_until(lambda: line in self.log(uuid), f"{uuid} says {line!r}")

    def await_phase(self, uuid: str, phase: str) -> None:
        locks = self.node().locks

        def reached() -> bool:
            holder = locks.holder(uuid)
            return holder is not None and holder.phase == phase

        # Several playbooks begin slowly on a busy machine.
        wait_until(reached, f"phase {phase} of {uuid}", 3 * SOON_SECONDS)

    def clean(self) -> None:
        import docker.errors

        def remove(name: str) -> None:
            with contextlib.suppress(docker.errors.NotFound):
                self.client.remove_container(name, force=True, v=True)

        # A killed process leaves new containers under temporary names.
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(remove, (uuid + suffix for uuid in self.uuids for suffix in ("", "-next", "-after", "-previous"))))
        for image in self.images:
            with contextlib.suppress(docker.errors.NotFound):
                self.client.remove_image(image, force=True)


class Actor:
    """A power action in a separate process: its pid is the lock holder's pid, and SIGKILL ends it in any phase."""

    def __init__(self, lab: Lab, action: str, server: str, fields: Mapping[str, Any]) -> None:
        script = [
            sys.executable,
            str(Path(__file__).with_name("actor.py")),
            str(lab.config),
            lab.docker_host,
            action,
            server,
            json.dumps(fields),
        ]
        stdin = subprocess.PIPE if fields.get("gate") else None
        # It imports from the same places as this process.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._child = subprocess.Popen(script, stdin=stdin, stdout=subprocess.PIPE, text=True, env=environment)

    @property
    def pid(self) -> int:
        return self._child.pid

    def await_gate(self) -> None:
        """Wait until an actor with ``gate=True`` is ready to act at once."""
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write("go\n")
        self._child.stdin.close()
        self._child.stdin = None

    def kill(self) -> None:
        self._child.send_signal(signal.SIGKILL)
        self._child.wait()

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def result(self, seconds: float = 60.0) -> dict[str, Any]:
        output, _unused = self._child.communicate(timeout=seconds)
        loaded: dict[str, Any] = json.loads(output)
        return loaded

    def __enter__(self) -> Actor:
        return self

    def __exit__(self, *_unused: object) -> None:
        if self._child.poll() is None:
            self.kill()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()


def lab_on(root: Path, docker_host: str) -> Iterator[Lab]:
    import docker

    client = docker.APIClient(base_url=docker_host, version="auto")
    lab = Lab(root, docker_host, client)
    try:
        yield lab
    finally:
        lab.clean()
        client.close()
