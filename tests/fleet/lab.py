# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible on the lab's nodes over SSH, as a user runs it. Helpers for nodes and servers are importable from here, too."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.tests.integration.lab import SOON_SECONDS, wait_until

from .nodes import CHECKOUT, NODES, Lease, Node, home, lab_inventory, leases, nodes_command
from .ran import Ran
from .scratch import current
from .servers import IMAGE, phase_of, server, uuid_of

__all__ = [
    "CHECKOUT",
    "IMAGE",
    "NODES",
    "SOON_SECONDS",
    "Going",
    "Lease",
    "Node",
    "adhoc",
    "adhoc_begun",
    "bring_up",
    "cut_off",
    "environment",
    "home",
    "inventory",
    "lab_inventory",
    "leases",
    "nodes_command",
    "phase_of",
    "playbook",
    "playbook_begun",
    "restored",
    "server",
    "tool",
    "uuid_of",
    "wait_until",
]

#: The longest run of Ansible on a loaded machine with two cores.
RUN_SECONDS = 600.0
#: Open connections end soon after the tests.
SSH_PERSISTS = "ControlPersist=15s"


def inventory(nodes: Sequence[Node], **variables: object) -> Path:
    """Write an inventory with these nodes in the group ``nodes``, and with ``variables`` for all of them."""
    connection, _unused = lab_inventory("nodes")
    test = current()
    words = [SSH_PERSISTS if word.startswith("ControlPersist=") else word for word in connection["ansible_ssh_args"].split()]
    common = {**connection, "ansible_ssh_args": " ".join(words), "ansible_control_path_dir": str(test.sockets), **variables}
    hosts = {node.name: {"ansible_host": node.address} for node in nodes}
    path = test.file("inventory.yml")
    path.write_text(json.dumps({"all": {"vars": common, "children": {"nodes": {"hosts": hosts}}}}, indent=2))
    return path


# ----- Ansible


class Going:
    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path = CHECKOUT) -> None:
        test = current()
        # Files, because an open connection outlives the run and would hold a pipe open.
        self._stdout, self._stderr, self._results = test.file("stdout"), test.file("stderr"), test.file("results")
        self._began = time.monotonic()
        with self._stdout.open("w") as stdout, self._stderr.open("w") as stderr:
            self._child = subprocess.Popen(
                # A background process may ignore SIGINT from its start.
                ["env", "--default-signal=INT", *command],
                cwd=directory,
                env={**environment, "FLEET_POWER_RECORD": str(self._results)},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        test.ends.append(self.kill)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def stdout(self) -> str:
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    def results(self) -> tuple[dict[str, Any], ...]:
        written = self._results.read_text() if self._results.exists() else ""
        # The last line may be incomplete.
        return tuple(json.loads(line) for line in written.splitlines(keepends=True) if line.endswith("\n"))

    def is_going(self) -> bool:
        return self._child.poll() is None

    def interrupt(self) -> None:
        """Send SIGINT to the whole process group, as Ctrl-C does."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._child.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)

    def finish(self, seconds: float = RUN_SECONDS) -> Ran:
        try:
            rc = self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            task = ([line for line in self.stdout.splitlines() if line.startswith("TASK [")] or ["no task"])[-1].rstrip("* ")
            raise AssertionError(f"not within {seconds} s, at last {task}: {self.stdout}{self.stderr}") from None
        elapsed = time.monotonic() - self._began
        return Ran(rc, self.stdout, self.stderr, elapsed, self.results())


def environment() -> dict[str, str]:
    """Return the environment for Ansible in tests: the caller's path, and the checkout's configuration."""
    test = current()
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(test.directory),
        "LANG": "C.UTF-8",
        "COLUMNS": "160",
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(test.collections),
        "ANSIBLE_HOME": str(test.directory / "ansible"),
        "ANSIBLE_CALLBACK_PLUGINS": os.pathsep.join(str(CHECKOUT / "tests" / each / "callback") for each in ("integration", "fleet")),
        "ANSIBLE_CALLBACKS_ENABLED": "record,cut",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
        "ANSIBLE_NOCOWS": "true",
        "ANSIBLE_NOCOLOR": "true",
    }


def tool(name: str) -> str:
    """Return the path of an Ansible tool beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


def playbook_begun(
    name_or_path: str | Path,
    nodes: Sequence[Node] | Path,
    *arguments: str,
    surroundings: Mapping[str, str] | None = None,
    **variables: object,
) -> Going:
    """Begin `playbook`, with ``surroundings`` in the environment. The test's end kills it."""
    name = str(name_or_path)
    if "/" not in name and not name.endswith((".yml", ".yaml")):
        name = f"fleet.power.{name.removeprefix('fleet.power.')}"
    where = nodes if isinstance(nodes, Path) else inventory(nodes)
    extra = current().file("variables.json")
    extra.write_text(json.dumps(variables))
    return Going(
        [tool("ansible-playbook"), "-i", str(where), "-e", f"@{extra}", *arguments, name], {**environment(), **(surroundings or {})}
    )


def playbook(name_or_path: str | Path, nodes: Sequence[Node] | Path, *arguments: str, **variables: object) -> Ran:
    """Run ``ansible-playbook fleet.power.NAME``, or the playbook at a path, over SSH on these nodes or this inventory."""
    return playbook_begun(name_or_path, nodes, *arguments, **variables).finish()


def cut_off(name: str, node: Node, *, after: str, **variables: object) -> None:
    """Run `playbook` on one node, and kill it after the task of this name that changed something."""
    cut = current().file("cut")
    surroundings = {"FLEET_POWER_CUT": str(cut), "FLEET_POWER_CUT_AFTER": after}
    ran = playbook_begun(name, [node], surroundings=surroundings, **variables).finish()
    assert cut.exists(), ran.output


def adhoc_begun(
    nodes: Sequence[Node] | Path,
    module: str,
    args: Mapping[str, object] | str = "",
    *arguments: str,
    pattern: str = "nodes",
    surroundings: Mapping[str, str] | None = None,
) -> Going:
    """Begin `adhoc`, with ``surroundings`` in the environment. The test's end kills it."""
    where = nodes if isinstance(nodes, Path) else inventory(nodes)
    name = f"fleet.power.{module}" if module.startswith("server_") else module
    options = args if isinstance(args, str) else json.dumps(args)
    command = [tool("ansible"), "-i", str(where), pattern, "-m", name, "-a", options, *arguments]
    return Going(command, {**environment(), **(surroundings or {})})


def adhoc(
    nodes: Sequence[Node] | Path, module: str, args: Mapping[str, object] | str = "", *arguments: str, pattern: str = "nodes"
) -> dict[str, dict[str, Any]]:
    """Run one module ad hoc; return each host's result, also a failure. A short name is a ``server_`` module of this collection."""
    ran = adhoc_begun(nodes, module, args, *arguments, pattern=pattern).finish()
    assert ran.results, ran.output
    return {each["host"]: each["result"] for each in ran.results}


def bring_up(servers: Mapping[Node, Sequence[Mapping[str, Any]]]) -> None:
    for node, definitions in servers.items():
        node.define(*definitions)
    results = adhoc(list(servers), "server_power", "server=all action=start wait_for=running")
    assert {node.name: results[node.name].get("summary") for node in servers} == {
        node.name: {"done": len(definitions)} for node, definitions in servers.items()
    }, results


def restored(node: Node) -> str:
    """Wait for the end of the unit that starts servers after a boot; return its state and result."""
    words = "systemctl show --value --property=SubState,Result fleet-power-restore"
    shown = wait_until(lambda: "start" not in (said := node.ssh(words)) and said, "the restore has ended", 60)
    return " ".join(sorted(str(shown).split()))
