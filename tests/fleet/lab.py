# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real nodes for tests: leases on the lab that ``make fleet`` or ``make lab`` has brought up, and Ansible over SSH.

Tests that run side by side share the lab: each uses only the nodes it has leased. A node is made as good as new when it is leased.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid as uuid_module
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
NODES = CHECKOUT / "tests" / "lab" / "nodes"
IMAGE = "~fleet-power/testserver:latest"
#: Longest that one run of Ansible may take on a loaded machine with two cores.
RUN_SECONDS = 180.0
#: Longest that anything which should happen "soon" may take there.
SOON_SECONDS = 20.0
#: Longest that a test waits for nodes that others have leased.
LEASE_SECONDS = 300.0
#: An open connection is kept no longer than tests need it.
SSH_PERSISTS = "ControlPersist=15s"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = SOON_SECONDS) -> Any:
    """Wait until ``condition`` returns something true, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def home() -> Path:
    """The lab's directory."""
    found = Path(os.environ.get("FLEET_LAB") or CHECKOUT / ".build" / "lab")
    if not (found / "inventory.yml").exists():
        pytest.fail("there is no lab of nodes; run these tests by: make fleet")
    return found


@cache
def lab_inventory(group: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The connection variables of the lab, and the addresses of a group's nodes by name."""
    inventory = yaml.safe_load((home() / "inventory.yml").read_text())["all"]
    hosts = inventory["children"].get(group, {"hosts": {}})["hosts"]
    return inventory["vars"], {name: each["ansible_host"] for name, each in hosts.items()}


def nodes_command(*arguments: str) -> str:
    """Run ``tests/lab/nodes``; its output."""
    ran = subprocess.run([str(NODES), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise AssertionError(f"nodes {shlex.join(arguments)}: {ran.stderr or ran.stdout}")
    return ran.stdout.strip()


@dataclass(frozen=True)
class Node:
    """A real node, leased. Its faults are injected from this machine, its servers are looked at without Ansible."""

    name: str
    address: str

    def ssh(self, command: str, check: bool = True) -> str:
        """Run a shell command on it over SSH; its standard output. Errors are raised unless ``check`` is false."""
        connection, _unused = lab_inventory("nodes")
        options = [word for word in shlex.split(connection["ansible_ssh_args"]) if word != "-o" and not word.startswith("Control")]
        arguments = [argument for option in ("BatchMode=yes", "ConnectTimeout=5", *options) for argument in ("-o", option)]
        words = ["ssh", "-i", connection["ansible_ssh_private_key_file"], *arguments, f"root@{self.address}", command]
        ran = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if check and ran.returncode != 0:
            raise AssertionError(f"{self.name}: {command!r} ended {ran.returncode}: {ran.stderr or ran.stdout}")
        return ran.stdout

    @property
    def root(self) -> Path:
        """Its root directory, as this machine sees it; it changes with each boot."""
        with contextlib.suppress(FileNotFoundError):
            root = Path("/proc", (home() / self.name / "init.pid").read_text().strip(), "root")
            if root.exists():
                return root
        raise AssertionError(f"{self.name} is halted")

    def is_halted(self) -> bool:
        """Whether it is down, or just between two boots."""
        try:
            return not self.root
        except AssertionError:
            return True

    def write(self, path: str, content: str) -> None:
        """Write a file on it."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def define(self, *definitions: Mapping[str, Any]) -> None:
        """Write definitions into its directory."""
        for definition in definitions:
            self.write(f"/etc/fleet-power/servers/{definition['settings']['uuid']}.json", json.dumps(definition))

    def halt(self) -> None:
        """Pull the plug."""
        nodes_command("halt", self.name)

    def boot(self) -> None:
        """Plug it in again, and wait for SSH and its engine."""
        nodes_command("boot", self.name)

    def reboot(self) -> None:
        """Let it reboot in order, and wait until it is back."""
        nodes_command("reboot", self.name)

    def freeze(self) -> None:
        """Let its engine answer nothing any more."""
        nodes_command("freeze", self.name)

    def thaw(self) -> None:
        """Let its engine answer again."""
        nodes_command("thaw", self.name)

    def cut(self) -> None:
        """Cut it off the network."""
        nodes_command("cut", self.name)

    def join(self) -> None:
        """Join it to the network again."""
        nodes_command("join", self.name)

    def stop_engine(self) -> None:
        """Stop its engine, and the servers with it."""
        nodes_command("stop-engine", self.name)

    def start_engine(self) -> None:
        """Start its engine."""
        nodes_command("start-engine", self.name)

    def disk(self, mib: int, path: str) -> None:
        """Lay a disk of so many MiB over a directory."""
        nodes_command("disk", self.name, str(mib), path)

    @property
    def docker_host(self) -> str:
        """Its engine, as this machine reaches it, network or not; it changes with each boot."""
        return f"unix://{self.root}/run/docker.sock"

    def container(self, name: str) -> dict[str, Any] | None:
        """What its engine says of a container, or None; None as well while the node is halted."""
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
        """Whether a server's container runs."""
        found = self.container(uuid)
        return found is not None and bool(found["State"]["Running"])

    def started_at(self, uuid: str) -> str:
        """When a server's container was last started, as its engine writes it."""
        found = self.container(uuid)
        assert found is not None, f"{uuid} has no container on {self.name}"
        return str(found["State"]["StartedAt"])


##### leases


class Lease(Protocol):
    """Takes free nodes of the lab and returns them as good as new."""

    def __call__(self, count: int, *, bare: bool = False, renewed: bool = False) -> list[Node]:
        """``bare``: nodes without Docker, as new. ``renewed``: also what roles have installed on them is gone, which takes a boot."""


def leases() -> Iterator[Lease]:
    """What the fixture ``lease`` is made of."""
    with contextlib.ExitStack() as held:

        def lease(count: int, *, bare: bool = False, renewed: bool = False) -> list[Node]:
            _unused, addresses = lab_inventory("bare" if bare else "nodes")
            if count > len(addresses):
                pytest.fail(f"the lab has {len(addresses)} such nodes, this test needs {count}; end it by `make lab-down`, or let it grow")
            names = _take(count, list(addresses), held)
            _at_once("renew" if renewed else "reset", names)
            return [Node(name, addresses[name]) for name in names]

        yield lease


def _take(count: int, names: Sequence[str], held: contextlib.ExitStack) -> list[str]:
    """Lock so many free nodes: all of them or none, so that two tests never wait for each other."""
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


##### servers and inventories


def server(
    name: str,
    *,
    priority: int | None = None,
    suspended: bool = False,
    labels: Mapping[str, str] | None = None,
    egg: str | None = None,
    **environment: object,
) -> dict[str, Any]:
    """A definition with a fresh uuid; the environment says how the test server behaves (tests/lab/README.md)."""
    settings: dict[str, Any] = {
        "uuid": str(uuid_module.uuid4()),
        "meta": {"name": name},
        "suspended": suspended,
        "container": {"image": IMAGE},
        "environment": dict(environment),
        "allocations": {},
    }
    if priority is not None:
        settings["meta"]["priority"] = priority
    if labels is not None:
        settings["labels"] = dict(labels)
    if egg is not None:
        settings["egg"] = {"id": egg}
    return {
        "settings": settings,
        "process_configuration": {"startup": {"done": ["ready"]}, "stop": {"type": "command", "value": "stop"}},
    }


@dataclass
class _Test:
    """The test that runs in this process."""

    directory: Path
    sockets: Path
    going: list[Going] = field(default_factory=list)
    files: int = 0

    def file(self, name: str) -> Path:
        """A path of a new file of its own."""
        self.files += 1
        return self.directory / f"{self.files}-{name}"


_tests: list[_Test] = []


def scratch(directory: Path) -> Iterator[None]:
    """Say where the test that begins keeps its files; ends after it whatever it has begun."""
    # The address of a control socket has at most 107 bytes: a test's own directory has too long a name.
    test = _Test(directory, Path(tempfile.mkdtemp(prefix="fleet-")))
    _tests.append(test)
    try:
        yield
    finally:
        _tests.remove(test)
        for going in test.going:
            going.kill()
        for socket in test.sockets.iterdir():
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "node"], check=False, capture_output=True, timeout=2)
        shutil.rmtree(test.sockets, ignore_errors=True)


def inventory(nodes: Sequence[Node], **variables: object) -> Path:
    """Write an inventory whose group ``nodes`` is these nodes; ``variables`` are those of all of them."""
    connection, _unused = lab_inventory("nodes")
    test = _tests[-1]
    words = [SSH_PERSISTS if word.startswith("ControlPersist=") else word for word in connection["ansible_ssh_args"].split()]
    common = {**connection, "ansible_ssh_args": " ".join(words), "ansible_control_path_dir": str(test.sockets), **variables}
    hosts = {node.name: {"ansible_host": node.address} for node in nodes}
    path = test.file("inventory.yml")
    path.write_text(json.dumps({"all": {"vars": common, "children": {"nodes": {"hosts": hosts}}}}, indent=2))
    return path


##### Ansible


@dataclass(frozen=True)
class Ran:
    """A run of Ansible that has ended."""

    rc: int
    stdout: str
    stderr: str
    seconds: float
    #: For each host and task, in the order they ended: ``host``, ``task``, ``result``.
    results: tuple[dict[str, Any], ...] = ()

    @property
    def output(self) -> str:
        """All it said."""
        return self.stdout + self.stderr


class Going:
    """A run of Ansible that goes on, in a session of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        test = _tests[-1]
        # Files: an open connection that outlives the run would keep a pipe open.
        self._stdout, self._stderr, self._results = test.file("stdout"), test.file("stderr"), test.file("results")
        self._began = time.monotonic()
        with self._stdout.open("w") as stdout, self._stderr.open("w") as stderr:
            self._child = subprocess.Popen(
                # A process in the background may have been born deaf to SIGINT.
                ["env", "--default-signal=INT", *command],
                cwd=CHECKOUT,
                env={**environment, "FLEET_RESULTS": str(self._results)},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        test.going.append(self)

    @property
    def pid(self) -> int:
        """The process, and its group."""
        return self._child.pid

    @property
    def stdout(self) -> str:
        """What it has said up to now."""
        return self._stdout.read_text()

    def is_going(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to its whole group."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to its whole group."""
        self._signal(signal.SIGKILL)
        self._child.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    def finish(self, seconds: float = RUN_SECONDS) -> Ran:
        """Wait for its end."""
        try:
            rc = self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"not within {seconds} s: {self.stdout}{self._stderr.read_text()}") from None
        elapsed = time.monotonic() - self._began
        lines = self._results.read_text().splitlines() if self._results.exists() else []
        return Ran(rc, self.stdout, self._stderr.read_text(), elapsed, tuple(json.loads(line) for line in lines))


def environment() -> dict[str, str]:
    """The environment for Ansible in tests: nothing of the caller's but the path, the checkout's configuration."""
    test = _tests[-1]
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(test.directory),
        "LANG": "C.UTF-8",
        "COLUMNS": "160",
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_HOME": str(test.directory / "ansible"),
        "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback")),
        "ANSIBLE_CALLBACKS_ENABLED": "by_host",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
        "ANSIBLE_NOCOWS": "true",
        "ANSIBLE_NOCOLOR": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def tool(name: str) -> str:
    """The path of a tool of Ansible, beside the interpreter that runs the tests."""
    return str(Path(sys.executable).with_name(name))


def playbook_begun(name_or_path: str | Path, nodes: Sequence[Node] | Path, *arguments: str, **variables: object) -> Going:
    """Begin `playbook`; it is killed after the test unless it has ended."""
    name = str(name_or_path)
    if "/" not in name and not name.endswith((".yml", ".yaml")):
        name = f"fleet.power.{name.removeprefix('fleet.power.')}"
    where = nodes if isinstance(nodes, Path) else inventory(nodes)
    extra = _tests[-1].file("variables.json")
    extra.write_text(json.dumps(variables))
    return Going([tool("ansible-playbook"), "-i", str(where), "-e", f"@{extra}", *arguments, name], environment())


def playbook(name_or_path: str | Path, nodes: Sequence[Node] | Path, *arguments: str, **variables: object) -> Ran:
    """Run ``ansible-playbook fleet.power.NAME``, or the playbook at a path, on these nodes (or by an inventory) over SSH."""
    return playbook_begun(name_or_path, nodes, *arguments, **variables).finish()


def adhoc(
    nodes: Sequence[Node] | Path, module: str, args: Mapping[str, object] | str = "", *arguments: str, pattern: str = "nodes"
) -> dict[str, dict[str, Any]]:
    """Run one module ad hoc; the result of each host, whatever it is. A short name is one of this collection's ``server_`` modules."""
    where = nodes if isinstance(nodes, Path) else inventory(nodes)
    name = f"fleet.power.{module}" if module.startswith("server_") else module
    options = args if isinstance(args, str) else json.dumps(args)
    ran = Going([tool("ansible"), "-i", str(where), pattern, "-m", name, "-a", options, *arguments], environment()).finish()
    assert ran.results, ran.output
    return {each["host"]: each["result"] for each in ran.results}
