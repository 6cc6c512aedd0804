# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP shim beside the library's empty handler, on the same processors: rate, latency, memory, and the time to a stop signal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.http_load import Address, Load, empty_handler, load, request
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound, ratio
from ansible_collections.fleet.power.tests.integration.lab import Lab, wait_until
from ansible_collections.fleet.power.tests.integration.shim import TOKEN, Shim, shim_on

_CONNECTIONS, _ROUNDS = 64, 5
_SERVERS = 50


def rejected(lab: Lab) -> list[Row]:
    """Requests with an unknown action: 422."""
    servers = [lab.server() for _number in range(4)]
    with shim_on(lab) as shim:
        return _beside_the_library("rejected", shim.address, _requests(servers, b'{"action":"reboot"}'), 422, 20_000)


def accepted(lab: Lab) -> list[Row]:
    """Accepted requests for a busy server: written durably, answered, ended as refused, and written again."""
    servers = [lab.server(IGNORE_SIGNALS="all", STOP_SECONDS=3600) for _number in range(4)]
    with shim_on(lab) as shim:
        for server in servers:
            shim.done(server, "start")
            lab.await_ready(server)
            shim.took(server, "stop")
            lab.await_phase(server, "stop")
        try:
            return _beside_the_library("accepted", shim.address, _requests(servers, b'{"action":"stop","wait_seconds":0}'), 202, 5_000)
        finally:
            for server in servers:
                shim.done(server, "kill")


def _requests(servers: Sequence[str], body: bytes) -> list[bytes]:
    return [request(f"/api/servers/{server}/power", TOKEN, body) for server in servers]


def _beside_the_library(what: str, ours: Address, requests: list[bytes], status: int, number: int) -> list[Row]:
    """Return two rows: the rate, and the latency that 1 % of the requests exceed."""

    def of(address: Address, expected: int) -> Load:
        found = load(address, requests, connections=_CONNECTIONS, number=number)
        assert set(found.statuses) == {expected}, found.statuses
        return found

    with empty_handler() as library:
        of(ours, status)
        pairs = [(of(ours, status), of(library, 202)) for _number in range(_ROUNDS)]
    mine, others = ([pair[side] for pair in pairs] for side in (0, 1))
    rates = [Spread(tuple(each.rate for each in side), "1/s") for side in (mine, others)]
    waits = [Spread(tuple(each.quantile(0.99) for each in side)) for side in (mine, others)]
    note = f"{number} requests on {_CONNECTIONS} connections, both in turn"
    rate = Row(f"shim, {what}: rate", *rates, "empty handler", rates[1].median / rates[0].median, 2, "times", (note,))
    return [rate, ratio(f"shim, {what}: p99", *waits, "empty handler", 3)]


def memory(lab: Lab) -> Row:
    """The memory of the process with many servers, after a list, a start and a stop."""
    servers = [lab.server() for _number in range(_SERVERS)]
    with shim_on(lab) as shim:
        at_first = resident(shim)
        shim.ask("GET", "/api/servers")
        for action in ("start", "stop"):
            shim.done(servers[0], action)
        time.sleep(2.0)
        idle = Spread((resident(shim),), "MB")
    return bound("shim, memory idle", idle, 60, [f"{_SERVERS} servers, after a list, a start and a stop; {at_first:.1f} MB before"])


def resident(shim: Shim) -> float:
    """Return the current memory of the process in megabytes."""
    status = Path(f"/proc/{shim.child.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


def stop(lab: Lab) -> Row:
    """The time from the answer until the container logs the signal."""
    server = lab.server(stop={"type": "signal", "value": "SIGTERM"}, MARK="1")
    samples = []
    with shim_on(lab) as shim:
        for _number in range(12):
            shim.done(server, "start")
            lab.await_ready(server)
            location = shim.took(server, "stop")
            answered_at = time.time()
            assert shim.operation(location, wait=30)["outcome"] == "done"
            samples.append(_signalled_at(lab, server) - answered_at)
    return bound("shim, from 202 to the stop signal", Spread(tuple(samples)), 50, [f"longest {1000 * max(samples):.1f} ms"])


def _signalled_at(lab: Lab, server: str) -> float:
    """Return the last time at which the server logged the signal."""

    def stamps() -> list[bytes]:
        lines = lab.client.logs(server, timestamps=True).splitlines()
        return [line.split(b" ")[0] for line in lines if b"got SIGTERM" in line]

    last = wait_until(stamps, "the server was signalled")[-1].decode()
    return datetime.fromisoformat(last[:26] + "+00:00").timestamp()
