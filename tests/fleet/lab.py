# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible on the lab's nodes, over SSH as a user runs it; what a test needs of nodes and servers is here as well."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.tests.integration.lab import SOON_SECONDS, wait_until

from .nodes import CHECKOUT, NODES, Lease, Node, home, lab_inventory, leases, nodes_command
from .servers import IMAGE, phase_of, server, uuid_of

__all__ = [
    "CHECKOUT",
    "IMAGE",
    "NODES",
    "SOON_SECONDS",
    "Going",
    "Lease",
    "Node",
    "Ran",
    "adhoc",
    "bring_up",
    "collection_root",
    "collections",
    "environment",
    "home",
    "inventory",
    "lab_inventory",
    "leases",
    "nodes_command",
    "phase_of",
    "playbook",
    "playbook_begun",
    "scratch",
    "server",
    "snapshot",
    "tool",
    "uuid_of",
    "wait_until",
]

#: Longest that one run of Ansible may take on a loaded machine with two cores.
RUN_SECONDS = 300.0
#: An open connection is kept no longer than tests need it.
SSH_PERSISTS = "ControlPersist=15s"


@dataclass
class _Test:
    """The test that runs in this process."""

    directory: Path
    #: Where Ansible finds this collection.
    collections: Path
    sockets: Path
    going: list[Going] = field(default_factory=list)
    files: int = 0

    def file(self, name: str) -> Path:
        """A path of a new file of its own."""
        self.files += 1
        return self.directory / f"{self.files}-{name}"


_tests: list[_Test] = []


def snapshot(directory: Path) -> Path:
    """A copy of the collection to run, so that an edit of the checkout never meets a test half way; what Ansible takes for collections."""
    power = directory / "ansible_collections" / "fleet" / "power"
    for name in ("extensions", "meta", "playbooks", "plugins", "roles"):
        shutil.copytree(CHECKOUT / name, power / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "galaxy.yml", power)
    return directory


def collections() -> Path:
    """Where Ansible finds the collection in this test."""
    return _tests[-1].collections


def collection_root() -> Path:
    """The root of the collection that this test runs."""
    return collections() / "ansible_collections" / "fleet" / "power"


def scratch(directory: Path, collections: Path) -> Iterator[None]:
    """Say where the test that begins keeps its files, and what it runs; ends after it whatever it has begun."""
    # The address of a control socket has at most 107 bytes: a test's own directory has too long a name.
    test = _Test(directory, collections, Path(tempfile.mkdtemp(prefix="fleet-")))
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


# ----- Ansible


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


def changes(ran: Ran) -> list[str]:
    """The tasks that changed something."""
    return sorted({each["task"].partition(" : ")[2] or each["task"] for each in ran.results if each["result"].get("changed")})


def made(ran: Ran) -> Ran:
    """A run that must have ended well."""
    assert ran.rc == 0, ran.output
    return ran


def refusal(ran: Ran) -> str:
    """The last sentence of a run that must have ended in an error, which is one of ours and not Ansible's."""
    assert ran.rc != 0, ran.output
    message = str([each["result"]["msg"] for each in ran.results if each["result"].get("msg")][-1])
    assert message.startswith("Cannot "), ran.output
    return message


def recap(ran: Ran) -> dict[str, int]:
    """How often each host failed or was unreachable, by the lines that Ansible ends a run with."""
    _said, _title, lines = ran.stdout.rpartition("PLAY RECAP")
    found = re.findall(r"^(\S+) +: ok=.* unreachable=(\d+) +failed=(\d+)", lines, re.MULTILINE)
    return {host: int(unreachable) + int(failed) for host, unreachable, failed in found}


class Going:
    """A run of Ansible that goes on, in a session of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path = CHECKOUT) -> None:
        test = _tests[-1]
        # Files: an open connection that outlives the run would keep a pipe open.
        self._stdout, self._stderr, self._results = test.file("stdout"), test.file("stderr"), test.file("results")
        self._began = time.monotonic()
        with self._stdout.open("w") as stdout, self._stderr.open("w") as stderr:
            self._child = subprocess.Popen(
                # A process in the background may have been born deaf to SIGINT.
                ["env", "--default-signal=INT", *command],
                cwd=directory,
                env={**environment, "FLEET_POWER_RECORD": str(self._results)},
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
        "ANSIBLE_COLLECTIONS_PATH": str(test.collections),
        "ANSIBLE_HOME": str(test.directory / "ansible"),
        "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "tests" / "integration" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "record",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
        "ANSIBLE_NOCOWS": "true",
        "ANSIBLE_NOCOLOR": "true",
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


def bring_up(servers: Mapping[Node, Sequence[Mapping[str, Any]]]) -> None:
    """Define servers, and start all that their nodes have."""
    for node, definitions in servers.items():
        node.define(*definitions)

    def start(node: Node) -> None:
        result = adhoc([node], "server_power", "server=all action=start wait_for=running")[node.name]
        assert result["summary"] == {"done": len(servers[node])}, result

    with ThreadPoolExecutor() as pool:
        list(pool.map(start, servers))
