# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a supervisor on a test's node, and read what it has recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import load_settings
from ansible_collections.fleet.power.plugins.module_utils._power.host.supervisor_record import read_record
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun
from ansible_collections.fleet.power.plugins.module_utils._supervisor.service import supervise
from ansible_collections.fleet.power.plugins.module_utils._supervisor.starter import StartOptions

from .lab import Actor, Lab, wait_until

PACKAGE = "ansible_collections.fleet.power.plugins.module_utils"
#: Longest time from the stop of an engine to the end of its stream, and from a stop at the engine to its verdict.
SHUTDOWN_SECONDS = 30.0


class Supervising:
    def __init__(self, lab: Lab, *arguments: str) -> None:
        self._lab = lab
        self._arguments = arguments
        self.errors = lab.root / "supervisor.err"
        self.child = self._begin()

    def _begin(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", f"{PACKAGE}.supervisor", "--config", str(self._lab.config), "--stagger", "0", *self._arguments]
        environment = {**os.environ, "DOCKER_HOST": self._lab.docker_host}
        with self.errors.open("a") as errors:
            return subprocess.Popen(command, env=environment, cwd="/", stdout=subprocess.DEVNULL, stderr=errors, text=True)

    def await_ready(self) -> Supervising:
        """Wait until the supervisor has looked at all servers once."""
        wait_until(lambda: self.is_ready or self.child.poll() is not None, "the supervisor has looked", 60.0)
        assert self.child.poll() is None, self.errors.read_text()
        return self

    @property
    def is_ready(self) -> bool:
        record = read_record([str(self._lab.root / "run")])
        if record is None or record.pid != self.child.pid:
            return False
        node = self._lab.node()
        try:
            return bool(node.journal.supervisor.value("looked"))
        finally:
            node.journal.close()

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def begin_again(self) -> None:
        self.child = self._begin()

    def freeze(self) -> None:
        self.child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.child.send_signal(signal.SIGCONT)

    def __enter__(self) -> Supervising:
        try:
            return self.await_ready()
        except BaseException:
            # Python does not call `__exit__` if `__enter__` fails.
            self.kill()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.child.terminate()
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise


class SupervisingHere:
    """A supervisor in a thread of this process, for tests that replace parts of it."""

    def __init__(self, lab: Lab, *, options: StartOptions | None = None) -> None:
        self._lab = lab
        self._options = options or StartOptions(stagger=0)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        settings = replace(load_settings(str(self._lab.config)), docker_host=self._lab.docker_host)
        supervise(settings, self._options, self._is_over.is_set)

    def __enter__(self) -> SupervisingHere:
        self._thread.start()
        node = self._lab.node()
        with closing(node.journal):
            wait_until(lambda: node.journal.supervisor.value("looked"), "the supervisor has looked", 60.0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def run_of(lab: Lab, uuid: str) -> Run:
    found = lab.container(uuid)
    assert found is not None
    return Run(found["Id"], found["State"]["StartedAt"])


def rows_of(lab: Lab, uuid: str) -> list[EndedRun]:
    """Return the ended runs of a server, newest first."""
    node = lab.node()
    try:
        found = node.journal.ended_runs.history([uuid], 100, datetime.now(timezone.utc))
        assert found is not None
        return list(found.latest.get(uuid, ()))
    finally:
        node.journal.close()


def verdicts(lab: Lab, uuid: str) -> list[str]:
    """Return the verdicts on the ended runs of a server, newest first."""
    return [row.verdict.value for row in rows_of(lab, uuid)]


def await_verdicts(lab: Lab, uuid: str, *expected: str, seconds: float = SHUTDOWN_SECONDS) -> list[EndedRun]:
    """Wait until the ended runs have these verdicts; return the rows, newest first."""
    deadline = time.monotonic() + seconds
    while verdicts(lab, uuid) != list(expected):
        assert time.monotonic() < deadline, f"{uuid}: {verdicts(lab, uuid)}, expected {list(expected)}"
        time.sleep(0.05)
    return rows_of(lab, uuid)


def await_run_after(lab: Lab, uuid: str, run: Run, seconds: float = SHUTDOWN_SECONDS) -> Run:
    """Wait until a server is up in another run, and return that run."""
    wait_until(lambda: lab.is_up(uuid) and run_of(lab, uuid) != run, f"{uuid} is up again", seconds)
    return run_of(lab, uuid)


def crash(lab: Lab, uuid: str) -> Run:
    """SIGKILL a server's process without the engine; return the run that ends."""
    run, found = run_of(lab, uuid), lab.container(uuid)
    assert found is not None
    os.kill(found["State"]["Pid"], signal.SIGKILL)
    return run


def die_in_restart(lab: Lab, uuid: str, actor: Actor) -> None:
    """SIGKILL an actor that restarts a server as soon as that gets its stop. The server needs ``MARK=1``."""
    wait_until(lambda: "got " in lab.log(uuid), "the stop arrived")
    actor.kill()


def state_directory(lab: Lab) -> Path:
    return lab.root / "state"
