# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller for one test: the Ansible of this interpreter and the test's collection, with its own configuration and inventory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import ansible_collections.fleet.power as collection

from .lab import Lab

#: The checkout, as Ansible finds it, and the directory of collections around it.
CHECKOUT = Path(next(iter(collection.__path__)))
COLLECTIONS = CHECKOUT.parents[2]
MODULE = "fleet.power.server_power"
INFO = "fleet.power.server_power_info"
#: The longest time of one run on a loaded machine with two cores.
RUN_SECONDS = 120.0


@dataclass(frozen=True)
class Run:
    """The end of a run of Ansible: exit code, output, and the result of each task in the order of their ends."""

    code: int
    output: str
    results: tuple[dict[str, Any], ...]

    @property
    def result(self) -> dict[str, Any]:
        assert len(self.results) == 1, self.output
        return self.results[0]

    @property
    def server(self) -> dict[str, Any]:
        assert len(self.result.get("servers", ())) == 1, self.output
        entry: dict[str, Any] = self.result["servers"][0]
        return entry


class Running:
    """A process in its own session, so that a signal can reach it and all its children."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path, record: Path) -> None:
        self._record = record
        self._child = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def signal_all(self, number: int) -> None:
        """Send a signal as a terminal does: to the whole foreground group."""
        os.killpg(self.pid, number)

    def close_output(self) -> None:
        assert self._child.stdout is not None
        self._child.stdout.close()

    def wait(self, seconds: float = RUN_SECONDS) -> Run:
        output = ""
        if self._child.stdout is not None and not self._child.stdout.closed:
            output = self._child.communicate(timeout=seconds)[0]
        code = self._child.wait(timeout=seconds)
        results: list[dict[str, Any]] = []
        with contextlib.suppress(FileNotFoundError):
            lines = [json.loads(line) for line in self._record.read_text().splitlines()]
            results = [{"task": line["task"], **line["result"]} for line in lines]
        return Run(code, output, tuple(results))

    def __enter__(self) -> Running:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


class Controller:
    """Runs Ansible against the node of a `Lab`, over a local connection unless ``connection`` says otherwise."""

    def __init__(self, lab: Lab, root: Path, *, connection: Mapping[str, object] | None = None) -> None:
        self.lab = lab
        self.root = root
        self._runs = 0
        # Modules unpack themselves here; a killed module leaves its files.
        (root / "tmp").mkdir(parents=True)
        #: A command that runs the controller's commands.
        self.through: Sequence[str] = ()
        #: Where Ansible finds the collection.
        self.collections = COLLECTIONS
        self.host_vars: dict[str, object] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(root / "remote"),
            "ansible_async_dir": str(root / "async"),
            **(connection or {}),
        }
        #: Settings of ansible.cfg, by section.
        self.config: dict[str, dict[str, object]] = {"defaults": {}}

    def options(self, **more: object) -> dict[str, object]:
        return {"config": str(self.lab.config), "docker_host": self.lab.docker_host, **more}

    def task(self, action: str, server: object, **more: object) -> dict[str, object]:
        return {"name": f"{action} it", MODULE: self.options(action=action, server=server, **more)}

    def power(self, action: str, server: object, *arguments: str, **more: object) -> Run:
        return self.play([self.task(action, server, **more)], *arguments)

    def info(self, *arguments: str, **more: object) -> Run:
        return self.play([{INFO: self.options(**more)}], *arguments)

    def play(self, tasks: Sequence[Mapping[str, object]], *arguments: str, **play: object) -> Run:
        with self.start_play(tasks, *arguments, **play) as running:
            return running.wait()

    def start_play(self, tasks: Sequence[Mapping[str, object]], *arguments: str, **play: object) -> Running:
        playbook = self.root / f"play-{self._runs}.yml"
        # JSON is YAML, and has no surprises.
        common = {"name": "the play", "hosts": "all", "gather_facts": False, "environment": {"TMPDIR": str(self.root / "tmp")}}
        playbook.write_text(json.dumps([{**common, "tasks": list(tasks), **play}]))
        return self._start("ansible-playbook", str(playbook), *arguments)

    def ad_hoc(self, module: str, options: str, *arguments: str) -> Run:
        """Run one module ad hoc, as ``ansible all -m MODULE -a OPTIONS`` does."""
        with self._start("ansible", "all", "-m", module, "-a", options, *arguments) as running:
            return running.wait()

    def module(
        self, name: str = "server_power", *, through: Sequence[str] = (), environment: Mapping[str, str] | None = None, **options: object
    ) -> Running:
        """Start a module as Ansible does on a node. It prints its result. ``through`` is a command that runs commands."""
        self._runs += 1
        arguments = self.root / f"arguments-{self._runs}.json"
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        command = [*through, sys.executable, "-m", f"ansible_collections.fleet.power.plugins.modules.{name}", str(arguments)]
        inherited = {**self.environment(self.root / "none"), "PYTHONPATH": str(self.collections), **(environment or {})}
        return Running(command, inherited, self.root, self.root / "none")

    def run_module(
        self, name: str = "server_power", *, through: Sequence[str] = (), environment: Mapping[str, str] | None = None, **options: object
    ) -> dict[str, Any]:
        with self.module(name, through=through, environment=environment, **options) as running:
            return result_of(running.wait())

    def run(self, tool: str, *arguments: str, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> Run:
        """Run one of Ansible's tools with these arguments only. An empty value in ``environment`` unsets the variable."""
        variables = {**self.environment(self.root / "none"), **(environment or {})}
        given = {name: value for name, value in variables.items() if value}
        with Running([_tool(tool), *arguments], given, directory or self.root, self.root / "none") as running:
            return running.wait()

    def _start(self, tool: str, *arguments: str) -> Running:
        self._runs += 1
        record = self.root / f"record-{self._runs}"
        self._write_files()
        command = [*self.through, _tool(tool), "-i", str(self.root / "inventory.json"), *arguments]
        return Running(command, self.environment(record), self.root, record)

    def _write_files(self) -> None:
        inventory = {"all": {"hosts": {"node": self.host_vars}}}
        (self.root / "inventory.json").write_text(json.dumps(inventory))
        defaults: dict[str, object] = {
            "collections_path": self.collections,
            "callback_plugins": Path(__file__).with_name("callback"),
            "callbacks_enabled": "record",
            "bin_ansible_callbacks": True,
            "nocows": True,
            "retry_files_enabled": False,
            **self.config["defaults"],
        }
        lines = []
        for name, section in {**self.config, "defaults": defaults}.items():
            lines += [f"[{name}]", *(f"{key} = {value}" for key, value in section.items())]
        (self.root / "ansible.cfg").write_text("\n".join(lines) + "\n")

    def environment(self, record: Path) -> dict[str, str]:
        """The variables that the tools need, without the caller's Ansible and Docker settings."""
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.root / "home"),
            "FLEET_POWER_RECORD": str(record),
        }


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def warnings_of(result: Mapping[str, Any]) -> list[str]:
    """The texts of a result's warnings, whose form differs between versions of Ansible."""
    return [warning if isinstance(warning, str) else warning["event"]["msg"] for warning in result.get("warnings", ())]


def result_of(run: Run) -> dict[str, Any]:
    lines = [line for line in run.output.splitlines() if line.startswith("{")]
    assert len(lines) == 1, run.output
    result: dict[str, Any] = json.loads(lines[0])
    return result
