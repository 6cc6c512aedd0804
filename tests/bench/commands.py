# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Ansible as a user does, with its defaults: whole commands, or only the module's process on the node."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._core import VARIABLE
from ansible_collections.fleet.power.plugins.plugin_utils._server_action import SOURCES
from ansible_collections.fleet.power.tests.integration.lab import Lab

POWER = "fleet.power.server_power"
INFO = "fleet.power.server_power_info"
#: The functions of `_options` that are the modules.
_RUN = {POWER: "run_power_module", INFO: "run_info_module"}
#: Seconds between two looks at the memory of a module's processes.
_LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Done:
    """The seconds of a command, and its output."""

    seconds: float
    output: str

    @property
    def result(self) -> dict[str, Any]:
        (line,) = (line for line in self.output.splitlines() if line.startswith("{"))
        result: dict[str, Any] = json.loads(line)
        return result


class Commands:
    """Commands on one node of the lab, with the same configuration, interpreter and engine."""

    def __init__(self, lab: Lab, collections: Path | None = None, *, pipelining: bool = False) -> None:
        """``collections`` is the directory of the peer's collections."""
        self._lab = lab
        self._root = Path(tempfile.mkdtemp(prefix="commands-", dir=lab.root))
        ours = next(path for path in sys.path if (Path(path) / "ansible_collections/fleet/power/galaxy.yml").exists())
        paths = os.pathsep.join(str(path) for path in (ours, collections) if path is not None)
        (self._root / "ansible.cfg").write_text(
            f"[defaults]\ncollections_path = {paths}\nlocalhost_warning = false\n"
            f"[inventory]\ninventory_unparsed_warning = false\n[connection]\npipelining = {pipelining}\n"
        )
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_CONFIG": str(self._root / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._root / "home"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "DOCKER_HOST": lab.docker_host,
        }
        self._payloads = 0

    def ad_hoc(self, module: str, options: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Done:
        """Run one module ad hoc. The command must succeed."""
        return self._run([_tool("ansible"), "localhost", "-m", module, "-a", json.dumps(options)], environment or {})

    def ad_hoc_watched(self, module: str, options: Mapping[str, object]) -> tuple[Done, list[float]]:
        """As `ad_hoc`; return the peak memory in MB of each process of the module on the node: the first, then its children."""
        peaks: dict[int, float] = {}
        command = [_tool("ansible"), "localhost", "-m", module, "-a", json.dumps(options)]
        done = _run(command, self._environment, lambda child: _watch(child.pid, peaks, lambda: child.returncode is not None))
        return done, list(peaks.values())

    def play(self, *tasks: Mapping[str, object]) -> Done:
        playbook = self._root / "play.yml"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        return self._run([_tool("ansible-playbook"), str(playbook)], {})

    def own(self, **options: object) -> dict[str, object]:
        """Return these options with those that select this node for the collection's modules."""
        return {"config": str(self._lab.config), **options}

    def payload(self, module: str, options: Mapping[str, object]) -> Payload:
        """Return the process that Ansible starts on the node for this task. The task runs once."""
        self._payloads += 1
        kept = self._root / f"payload-{self._payloads}"
        self.ad_hoc(module, options, {"ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_REMOTE_TEMP": str(kept)})
        (file,) = kept.glob("*/AnsiballZ_*.py")
        asked = {"run": _RUN.get(module), "collection": SOURCES, "keeps_bytecode": True}
        return Payload(file, {**self._environment, VARIABLE: json.dumps(asked)})

    def _run(self, command: Sequence[str], environment: Mapping[str, str]) -> Done:
        return _run(command, {**self._environment, **environment})


class Payload:
    """A module as Ansible sent it to the node. It runs there without Ansible, from the start of its process to its end."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, str(file)]
        self._environment = environment

    @property
    def size(self) -> int:
        return Path(self._command[1]).stat().st_size

    def run(self) -> Done:
        """Run the module. It must succeed."""
        return _run(self._command, self._environment)


def _run(command: Sequence[str], environment: Mapping[str, str], watch: Callable[[subprocess.Popen[str]], None] | None = None) -> Done:
    began = time.monotonic()
    child = subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watcher = threading.Thread(target=watch or (lambda child: None), args=(child,))
    watcher.start()
    try:
        output, errors = child.communicate()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        watcher.join()
    seconds = time.monotonic() - began
    assert child.returncode == 0, output[-2000:] + errors[-2000:]
    return Done(seconds, output)


def _watch(pid: int, peaks: dict[int, float], over: Callable[[], bool]) -> None:
    """Record the peak memory of the module's processes below ``pid`` until ``over``. The kernel keeps each peak."""
    while not over():
        for each in _below(pid):
            peak = _peak(each) if _is_module(each) else None
            if peak is not None:
                peaks[each] = max(peak, peaks.get(each, 0.0))
        time.sleep(_LOOK_SECONDS)


def _below(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                found += [int(child), *_below(int(child))]
    return found


def _is_module(pid: int) -> bool:
    """Tell whether a process runs the module itself, not the shell that started it."""
    with contextlib.suppress(OSError, IndexError):
        return os.path.basename(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1]).startswith(b"AnsiballZ_")
    return False


def _peak(pid: int) -> float | None:
    """Return the peak memory of a process in MB; None if the process has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
