# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor: how soon a crashed server is started, how soon a hundred are, whether a crash is lost, and what it needs when idle."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.many import equals, servers
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound, ratio
from ansible_collections.fleet.power.tests.integration.engine_proxy import EngineProxy
from ansible_collections.fleet.power.tests.integration.lab import Lab, wait_until
from ansible_collections.fleet.power.tests.integration.supervisors import Supervising, rows_of

_ROUNDS = 30
_HUNDRED = 100
_IDLE_SECONDS = 600
_CALM = {"reset_after": 1, "max_restarts": 1000}


def latency(lab: Lab) -> Iterator[Row]:
    """One crash at a time: from the end of the process to the request that starts it again."""
    lab.write_settings(supervisor=_CALM)
    uuid = lab.server(done=())
    assert lab.power("start", uuid).outcome.value == "done"
    proxy = EngineProxy(lab.docker_host, lab.root / "supervisor.sock")
    samples = []
    try:
        with Supervising(lab.at(proxy.host)):
            for number in range(_ROUNDS):
                samples.append(_to_request(lab, proxy, uuid))
                # A run of a second is a calm one here: the next crash is the first in a row again.
                time.sleep(1.3)
                wait_until(lambda expected=number + 1: len(rows_of(lab, uuid)) == expected, "the crash has its row")
    finally:
        proxy.close()
    spread = Spread(tuple(samples))
    yield bound("crash to start request, median", spread, 400, ["gathering of 200 ms included"])
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
    wait_until(lambda: lab.is_up(uuid), "it is up again")
    return requested_at - died_at


def _start_after(proxy: EngineProxy, seen: int) -> float | None:
    return next((each.at for each in proxy.seen[seen:] if each.method == "POST" and re.search(r"/containers/\w+/start", each.path)), None)


def hundred(lab: Lab) -> Iterator[Row]:
    """A hundred that crash in the same second, beside the engine's own time to start a hundred."""
    lab.write_settings(supervisor=_CALM)
    ours, floor = [], []
    with servers(lab, _HUNDRED) as uuids, equals(lab, uuids) as names, Supervising(lab):
        for _round in range(3):
            floor.append(_seconds_to_start(lab, names))
            ours.append(_seconds_to_come_back(lab, uuids))
            time.sleep(2)
    mine, least = Spread(tuple(ours), "s"), Spread(tuple(floor), "s")
    yield ratio(f"{_HUNDRED} crash in a second", mine, least, "engine", 1.3, ["from the last crash to the last start"])


def _pids(lab: Lab, names: Sequence[str]) -> list[int]:
    found = [lab.container(name) for name in names]
    return [each["State"]["Pid"] for each in found if each is not None]


def _down(lab: Lab, names: Sequence[str]) -> float:
    for pid in _pids(lab, names):
        os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def _seconds_to_come_back(lab: Lab, uuids: Sequence[str]) -> float:
    runs = {uuid: lab.container(uuid)["State"]["StartedAt"] for uuid in uuids}  # type: ignore[index]
    began = _down(lab, uuids)
    left = set(uuids)
    while left:
        left = {uuid for uuid in left if lab.container(uuid)["State"]["StartedAt"] == runs[uuid]}  # type: ignore[index]
        time.sleep(0.2)
        assert time.monotonic() - began < 300, f"{len(left)} are down still"
    return max(_since(lab, uuid) for uuid in uuids) - (time.time() - (time.monotonic() - began))


def _since(lab: Lab, name: str) -> float:
    from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time

    found = lab.container(name)
    began = None if found is None else engine_time(found["State"]["StartedAt"])
    assert began is not None
    return began.timestamp()


def _seconds_to_start(lab: Lab, names: Sequence[str]) -> float:
    """The engine alone: as many starts at a time as it is given by the supervisor."""
    began = _down(lab, names)
    wait_until(lambda: not any(lab.is_up(name) for name in names), "all are down", 60)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lab.node().engine.start, names))
    return time.monotonic() - began


def idle(lab: Lab, count: int) -> Iterator[Row]:
    """Nothing happens to hundreds of servers: memory, and processor time over ten minutes."""
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
