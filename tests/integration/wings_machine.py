# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of a Wings daemon as its HTTP clients know it, with the defects that matter to a client. No engine: time alone passes.

It takes an action before anything is done, drops what its lock keeps out, says ``offline`` too early, and tells nobody. `WingsServer` in
``wings_server.py`` puts these behind HTTP.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class WingsProcess:
    """The process in a container: it ends by itself, some time after it was asked to, or at once when it is killed."""

    def __init__(self, age: float = 0.0) -> None:
        self._started = time.monotonic() - age
        self._killed = threading.Event()
        self.ended = threading.Event()

    @property
    def age(self) -> float:
        return time.monotonic() - self._started

    def end_after(self, seconds: float) -> None:
        """Live on for so long, unless killed."""
        self._killed.wait(seconds)
        self.ended.set()

    def kill(self, seconds: float) -> None:
        """SIGKILL; the process is gone so much later."""
        self._killed.wait(seconds)
        self._killed.set()
        self.ended.set()


@dataclass
class Times:
    """How long things take, in seconds."""

    stop: float = 0.1
    preboot: float = 0.05
    #: From ``starting`` to the process: the image is pulled, the container made.
    pull: float = 0.0
    #: From the process to its readiness line; None: it never comes.
    ready: float | None = 0.1
    #: From the process to its end by itself; None: it lives.
    crash: float | None = None
    #: How old figures are.
    figures: float = 0.1
    #: From SIGKILL to the end of the process; ``offline`` is said at once.
    kill: float = 0.0


class WingsMachine:
    """One server. ``log`` is what Wings' own log would say of it, ``taken`` the actions that got as far as being done."""

    def __init__(self, uuid: str, name: str, *, up_for: float | None = None) -> None:
        self.uuid, self.name = uuid, name
        self.times = Times()
        self.stop_by_signal = False
        self.suspended = False
        #: What the Panel says, and a sync finds.
        self.suspended_on_the_panel = False
        self.guarded = False
        self.detects_crashes = False
        self.log: list[str] = []
        self.taken: list[str] = []
        #: What the server wrote; None where it has no container.
        self.output: list[str] | None = []
        self.lock = threading.Lock()
        self._guard = threading.Lock()
        self._process: WingsProcess | None = None
        self._states = [(0.0, "offline")]
        if up_for is not None:
            self._states = [(0.0, "running")]
            self._live(WingsProcess(up_for))

    @property
    def state(self) -> str:
        return self._states[-1][1]

    @property
    def alive(self) -> bool:
        process = self._process
        return process is not None and not process.ended.is_set()

    def act(self, action: str, wait_seconds: int) -> None:
        """What happens after the 202. Returns when it is over; whatever goes wrong is in the log alone."""
        if self.guarded:
            self.log.append("server is currently installing")
            return
        with self._locked(action, wait_seconds) as may:
            if not may:
                self.log.append("locker: cannot acquire lock, already locked")
                return
            self.taken.append(action)
            {"start": self._start, "stop": self._stop, "restart": self._restart, "kill": self._kill}[action]()

    @contextlib.contextmanager
    def _locked(self, action: str, wait_seconds: int) -> Iterator[bool]:
        """The lock; a kill goes on without it, what does not wait for it is dropped."""
        owned = self.lock.acquire(timeout=wait_seconds) if wait_seconds > 0 and action != "kill" else self.lock.acquire(blocking=False)
        try:
            yield owned or action == "kill"
        finally:
            if owned:
                self.lock.release()

    def _start(self) -> None:
        # Not even the log says that a server was up already.
        if self.state == "offline":
            self._boot()

    def _stop(self) -> None:
        process = self._process
        if process is None or process.ended.is_set():
            return
        self._turn("stopping")
        ends = threading.Thread(target=process.end_after, args=(self.times.stop,), daemon=True)
        ends.start()
        if self.stop_by_signal:
            self._turn("offline")
        process.ended.wait(600)
        self._gone(process)

    def _restart(self) -> None:
        self._stop()
        self._boot()

    def _kill(self) -> None:
        process = self._process
        if process is None or process.ended.is_set():
            # What a boot has not made yet cannot be killed: it goes on.
            return
        self._turn("stopping")
        threading.Thread(target=process.kill, args=(self.times.kill,), daemon=True).start()
        self._turn("offline")

    def _boot(self) -> None:
        time.sleep(self.times.preboot)
        self.suspended = self.suspended or self.suspended_on_the_panel
        if self.suspended:
            self.log.append("server is currently in a suspended state")
            return
        if self.alive:
            self._turn("running")
            return
        self._turn("starting")
        time.sleep(self.times.pull)
        self._live(WingsProcess())

    def _live(self, process: WingsProcess) -> None:
        self._process = process
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()
        for seconds, happening in ((self.times.ready, self._ready), (self.times.crash, self._crash)):
            if seconds is not None:
                timer = threading.Timer(seconds, happening, (process,))
                timer.daemon = True
                timer.start()

    def _ready(self, process: WingsProcess) -> None:
        if self._process is process and self.state == "starting":
            self._turn("running")

    def _crash(self, process: WingsProcess) -> None:
        process.kill(0)

    def _watch(self, process: WingsProcess) -> None:
        """The end of the console is the end of the process: a run that was not to end may be started again."""
        process.ended.wait()
        if self._gone(process) and self.detects_crashes:
            self.act("start", 0)

    def _gone(self, process: WingsProcess) -> bool:
        """Take note of the end of a process, once; whether nobody had asked for it."""
        with self._guard:
            if self._process is not process:
                return False
            self._process = None
            crashed = self.state in ("starting", "running")
            if self.state != "offline":
                self._states.append((time.monotonic(), "offline"))
            return crashed

    def _turn(self, state: str) -> None:
        with self._guard:
            if state != self.state:
                self._states.append((time.monotonic(), state))

    def shown(self) -> dict[str, Any]:
        """The server as ``GET /api/servers/{uuid}`` has it; its figures are a little old."""
        at = time.monotonic() - self.times.figures
        old_state = [state for since, state in self._states if since <= at][-1]
        process = self._process
        up = self.alive and self.state != "offline" and process is not None
        uptime = max(0, int((process.age - self.times.figures) * 1000)) if up and process is not None else 0
        return {
            "state": self.state,
            "is_suspended": self.suspended,
            "utilization": {
                "memory_bytes": 734003200 if up else 0,
                "memory_limit_bytes": 1177600000,
                "cpu_absolute": 12.307 if up else 0,
                "network": {"rx_bytes": 10240 if up else 0, "tx_bytes": 20480 if up else 0},
                "uptime": uptime,
                "state": old_state,
                "disk_bytes": 52428800,
            },
            "configuration": {
                "uuid": self.uuid,
                "meta": {"name": self.name, "description": ""},
                "suspended": self.suspended,
                "invocation": "java -jar {{SERVER_JARFILE}}",
                "skip_egg_scripts": False,
                "environment": {"SERVER_JARFILE": "server.jar", "RCON_PASSWORD": "rcon-secret-of-the-server"},
                "labels": None,
                "allocations": {"force_outgoing_ip": False, "default": {"ip": "0.0.0.0", "port": 25601}, "mappings": {"0.0.0.0": [25601]}},
                "build": {"memory_limit": 1024, "swap": 0, "io_weight": 500, "cpu_limit": 100, "disk_space": 5120, "threads": ""},
                "crash_detection_enabled": self.detects_crashes,
                "mounts": [],
                "egg": {"id": "1", "file_denylist": []},
                "container": {"image": "registry.example.test/echo:1"},
            },
        }
