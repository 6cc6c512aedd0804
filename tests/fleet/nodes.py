# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real nodes for tests: leases on the lab of ``make fleet`` or ``make lab``, faults of a node, and the state of its servers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
NODES = CHECKOUT / "tests" / "lab" / "nodes"
#: The longest wait for nodes that other tests have leased.
LEASE_SECONDS = 1200.0


def home() -> Path:
    found = Path(os.environ.get("FLEET_LAB") or CHECKOUT / ".build" / "lab")
    if not (found / "inventory.yml").exists():
        pytest.fail("there is no lab of nodes; run these tests by: make fleet")
    return found


@cache
def lab_inventory(group: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the lab's connection variables, and the addresses of a group's nodes by name."""
    inventory = yaml.safe_load((home() / "inventory.yml").read_text())["all"]
    hosts = inventory["children"].get(group, {"hosts": {}})["hosts"]
    return inventory["vars"], {name: each["ansible_host"] for name, each in hosts.items()}


def nodes_command(*arguments: str) -> str:
    """Run ``tests/lab/nodes``; return its output."""
    ran = subprocess.run([str(NODES), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise AssertionError(f"nodes {shlex.join(arguments)}: {ran.stderr or ran.stdout}")
    return ran.stdout.strip()


@dataclass(frozen=True)
class Faults:
    """The faults of a node. They work without a connection to it."""

    node: str

    def halt(self) -> None:
        nodes_command("halt", self.node)

    def boot(self) -> None:
        nodes_command("boot", self.node)

    def reboot(self) -> None:
        nodes_command("reboot", self.node)

    def freeze(self) -> None:
        nodes_command("freeze", self.node)

    def thaw(self) -> None:
        nodes_command("thaw", self.node)

    def cut(self) -> None:
        nodes_command("cut", self.node)

    def join(self) -> None:
        nodes_command("join", self.node)

    def stop_engine(self) -> None:
        nodes_command("stop-engine", self.node)

    def start_engine(self) -> None:
        nodes_command("start-engine", self.node)

    def disk(self, mib: int, path: str) -> None:
        """Mount a disk of this size over a directory."""
        nodes_command("disk", self.node, str(mib), path)


@dataclass(frozen=True)
class Node:
    """A real, leased node. Its servers are inspected without Ansible."""

    name: str
    address: str
    #: The longest wait for a connection.
    connect_seconds: ClassVar[int] = 5
    #: How much longer a short time on the node may take than on a machine of its own.
    slowness: ClassVar[float] = 1.0

    @property
    def faults(self) -> Faults:
        return Faults(self.name)

    def ssh(self, command: str, check: bool = True) -> str:
        """Run a shell command on the node over SSH; return its standard output. AssertionError on failure, unless ``check`` is false."""
        ran = subprocess.run([*self._ssh(), command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if check and ran.returncode != 0:
            raise AssertionError(f"{self.name}: {command!r} ended {ran.returncode}: {ran.stderr or ran.stdout}")
        return ran.stdout

    def feed(self, command: str, content: bytes) -> bytes:
        """Run a shell command on the node with this input; return its standard output."""
        return subprocess.run([*self._ssh(), command], input=content, capture_output=True, check=True).stdout

    def _ssh(self, *more: str) -> list[str]:
        """Return the words of an SSH command, with more arguments before the address."""
        connection, _unused = lab_inventory("nodes")
        options = [word for word in shlex.split(connection["ansible_ssh_args"]) if word != "-o" and not word.startswith("Control")]
        arguments = [
            argument for option in ("BatchMode=yes", f"ConnectTimeout={self.connect_seconds}", *options) for argument in ("-o", option)
        ]
        return ["ssh", "-i", connection["ansible_ssh_private_key_file"], *arguments, *more, f"root@{self.address}"]

    @contextlib.contextmanager
    def reaching(self, port: int) -> Iterator[None]:
        """Forward a port of the node's loopback to the same port of this machine."""
        tunnel = ("-R", f"127.0.0.1:{port}:127.0.0.1:{port}", "-o", "ExitOnForwardFailure=yes")
        words = self._ssh(*tunnel)
        with subprocess.Popen([*words, "echo open; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout is not None and child.stdout.readline() == "open\n", f"{self.name} cannot reach port {port}"
                yield
            finally:
                child.kill()

    def needs_network(self) -> None:
        """Skip the test if the lab cannot reach the distribution's packages and a package index."""
        if not (home() / "online").exists():
            pytest.skip("the lab has no network; make it with --online")
        # If a proxy inspects TLS, pip on the node needs this machine's CA certificates.
        believed = Path("/etc/ssl/certs/ca-certificates.crt")
        if believed.exists():
            self.write("/etc/believed.pem", believed.read_text())
            self.write("/etc/pip.conf", "[global]\ncert = /etc/believed.pem\n")

    @property
    def root(self) -> Path:
        """Return the node's root directory on this machine. It changes with each boot."""
        with contextlib.suppress(FileNotFoundError):
            root = Path("/proc", (home() / self.name / "init.pid").read_text().strip(), "root")
            if root.exists():
                return root
        raise AssertionError(f"{self.name} is halted")

    def is_halted(self) -> bool:
        try:
            return not self.root
        except AssertionError:
            return True

    def write(self, path: str, content: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def read(self, path: str) -> str:
        """Return a file's text. FileNotFoundError without the file."""
        return (self.root / path.lstrip("/")).read_text(errors="replace")

    def has(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()

    def define(self, *definitions: Mapping[str, Any]) -> None:
        for definition in definitions:
            self.write(f"/etc/fleet-power/servers/{definition['settings']['uuid']}.json", json.dumps(definition))

    @property
    def docker_host(self) -> str:
        """Return the address of the node's engine for this machine. It works without network, and changes with each boot."""
        return f"unix://{self.root}/run/docker.sock"

    def container(self, name: str) -> dict[str, Any] | None:
        """Return the engine's inspection of a container; None without one, or while the node is halted."""
        import docker
        import docker.errors

        if self.is_halted():
            return None
        client = docker.APIClient(base_url=self.docker_host, version="auto", timeout=10)
        try:
            found: dict[str, Any] = client.inspect_container(name)
        except docker.errors.NotFound:
            return None
        finally:
            client.close()
        return found

    def is_up(self, uuid: str) -> bool:
        found = self.container(uuid)
        return found is not None and bool(found["State"]["Running"])

    def started_at(self, uuid: str) -> str:
        """Return the last start of a server's container, as its engine writes it."""
        found = self.container(uuid)
        assert found is not None, f"{uuid} has no container on {self.name}"
        return str(found["State"]["StartedAt"])


# ----- leases


class Lease(Protocol):
    def __call__(self, count: int, *, bare: bool = False, renewed: bool = False, kept: bool = False) -> list[Node]:
        """``bare``: new nodes without Docker. ``renewed``: nodes without installations of roles, which takes a boot. ``kept``: machines
        with the disks that a test kept, if there are such disks."""


def leases(group: str = "nodes", kind: type[Node] = Node) -> Iterator[Lease]:
    """Yield the fixture ``lease`` for a group of the lab's inventory, then end all its leases."""
    with contextlib.ExitStack() as held:

        def lease(count: int, *, bare: bool = False, renewed: bool = False, kept: bool = False) -> list[Node]:
            _unused, addresses = lab_inventory("bare" if bare else group)
            if count > len(addresses):
                pytest.fail(f"the lab has {len(addresses)} such nodes, this test needs {count}; end it by `make lab-down`, or let it grow")
            names = _take(count, list(addresses), held)
            _at_once("renew" if renewed else "recall" if kept else "reset", names)
            return [kind(name, addresses[name]) for name in names]

        yield lease


def _take(count: int, names: Sequence[str], held: contextlib.ExitStack) -> list[str]:
    """Lock ``count`` free nodes at once, so that two tests never wait for each other."""
    directory = home() / "leases"
    directory.mkdir(exist_ok=True)
    deadline = time.monotonic() + LEASE_SECONDS
    while True:
        with contextlib.ExitStack() as attempt:
            gate = attempt.enter_context((directory / "gate").open("w"))
            fcntl.flock(gate, fcntl.LOCK_EX)
            with contextlib.ExitStack() as locks:
                taken: list[str] = []
                for name in names:
                    if len(taken) < count and _lock(directory / name, locks):
                        taken.append(name)
                if len(taken) == count:
                    held.enter_context(locks.pop_all())
                    return taken
        if time.monotonic() > deadline:
            pytest.fail(f"no {count} nodes came free within {LEASE_SECONDS} s")
        time.sleep(0.2)


def _lock(path: Path, locks: contextlib.ExitStack) -> bool:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    locks.enter_context(file)
    return True


def _at_once(verb: str, names: Sequence[str]) -> None:
    children = [subprocess.Popen([str(NODES), verb, name], stderr=subprocess.PIPE, text=True) for name in names]
    errors = [child.communicate()[1] for child in children]
    if any(child.returncode != 0 for child in children):
        raise AssertionError("".join(errors))
