# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor: its latency after a crash, and its memory and processor time when idle."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound
from ansible_collections.fleet.power.tests.integration.engine_proxy import EngineProxy
from ansible_collections.fleet.power.tests.integration.lab import Lab, wait_until
from ansible_collections.fleet.power.tests.integration.supervisors import Supervising, rows_of

_ROUNDS = 30
_IDLE_SECONDS = 600
_CALM = {"reset_after": 1, "max_restarts": 1000}


def latency(lab: Lab) -> Iterator[Row]:
    """One crash at a time: from the end of the process to the request for the next start."""
    lab.write_settings(supervisor=_CALM)
    uuid = lab.server(done=())
    assert lab.power("start", uuid).outcome.value == "done"
    proxy = EngineProxy(lab.docker_host, lab.root / "supervisor.sock")
    samples = []
    try:
        with Supervising(lab.at(proxy.host)):
            for number in range(_ROUNDS):
                samples.append(_to_request(lab, proxy, uuid))
                # A run of a second resets the crash count here.
                time.sleep(1.3)
                wait_until(lambda expected=number + 1: len(rows_of(lab, uuid)) == expected, "the crash has its row")
    finally:
        proxy.close()
    spread = Spread(tuple(samples))
    yield bound("crash to start request, median", spread, 400, ["includes 200 ms of gathering"])
    yield bound("crash to start request, worst", Spread((max(samples),)), 1000)


def _to_request(lab: Lab, proxy: EngineProxy, uuid: str) -> float:
    container = lab.container(uuid)
    assert container is not None
    seen, pid = len(proxy.seen), container["State"]["Pid"]
    descriptor = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        select.select([descriptor], [], [], 60)
        died_at = time.time()
    finally:
        os.close(descriptor)
    wait_until(lambda: _start_after(proxy, seen) is not None, "the start was requested", 60)
    requested_at = _start_after(proxy, seen)
    assert requested_at is not None
    wait_until(lambda: lab.is_up(uuid), "the server is up again")
    return requested_at - died_at


def _start_after(proxy: EngineProxy, seen: int) -> float | None:
    return next((each.at for each in proxy.seen[seen:] if each.method == "POST" and re.search(r"/containers/\w+/start", each.path)), None)


def idle(lab: Lab, count: int) -> Iterator[Row]:
    """Hundreds of idle servers: memory, and processor time over ten minutes."""
    with Supervising(lab) as supervising:
        time.sleep(5)
        pid = supervising.child.pid
        began, used = time.monotonic(), _cpu_seconds(pid)
        while time.monotonic() - began < _IDLE_SECONDS:
            time.sleep(5)
        share = 100 * (_cpu_seconds(pid) - used) / (time.monotonic() - began)
        memory = _resident(pid)
    yield bound(f"memory of the supervisor, {count} servers", Spread((memory,), "MB"), 60)
    yield bound("percent of a core over ten minutes", Spread((share,), "percent"), 0.5)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000
