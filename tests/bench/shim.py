# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face: requests a second and their waits beside the library's own empty handler, memory, slow clients, and the way to a stop.

Load and server share the processors of this machine, so that a rate is that of both together; each way of a row meets the same load.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.http_load import Address, Load, empty_handler, load, request
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound, ratio
from ansible_collections.fleet.power.tests.integration.lab import Lab, wait_until
from ansible_collections.fleet.power.tests.integration.shim import TOKEN, Shim, shim_on

_CONNECTIONS, _ROUNDS = 64, 5
_SLOW_CLIENTS, _GOOD_ONES = 5000, 20
_SERVERS = 50
_FORK = multiprocessing.get_context("fork")


def rejected(lab: Lab) -> list[Row]:
    """Requests whose action is none: 422."""
    servers = [lab.server() for _number in range(4)]
    with shim_on(lab) as shim:
        return _beside_the_library("rejected", shim.address, _requests(servers, b'{"action":"reboot"}'), 422, 20_000)


def accepted(lab: Lab) -> list[Row]:
    """Requests that are accepted while the server is busy: written durably, answered, and ended refused, which is written as well."""
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
    """Two rows: the rate, and the wait that one request of a hundred exceeds."""

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
    note = f"{number} requests on {_CONNECTIONS} connections, each way in turn"
    rate = Row(f"shim, {what}: rate", *rates, "empty handler", rates[1].median / rates[0].median, 2, "times", (note,))
    return [rate, ratio(f"shim, {what}: p99", *waits, "empty handler", 3)]


def memory(lab: Lab) -> Row:
    """The process with many servers, when it has been asked for all of them and has acted."""
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
    """Megabytes of memory that the process has now."""
    status = Path(f"/proc/{shim.child.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


def slow(lab: Lab) -> Row:
    """A good client among very many that send a byte a second."""
    server = lab.server()
    waits = []
    with shim_on(lab, api={"port": 0, "request_timeout": 120}) as shim, _slow_clients(shim.address):
        for _number in range(_GOOD_ONES):
            began = time.monotonic()
            answer = shim.ask("POST", f"/api/servers/{server}/power", b"{}")
            waits.append(time.monotonic() - began)
            assert answer.status == 422
            time.sleep(0.1)
    note = f"the longest of {_GOOD_ONES}, each on a connection of its own"
    return Row(f"shim, beside {_SLOW_CLIENTS} slow clients", Spread(tuple(waits)), None, "", 1000 * max(waits), 200, "ms", (note,))


@contextlib.contextmanager
def _slow_clients(address: Address) -> Iterator[None]:
    here, there = _FORK.Pipe()
    clients = _FORK.Process(target=lambda: asyncio.run(_send_slowly(address, there)), daemon=True)
    clients.start()
    try:
        assert here.recv() == _SLOW_CLIENTS
        yield
        here.send("how many are left")
        assert here.recv() == _SLOW_CLIENTS
    finally:
        clients.kill()
        clients.join()


async def _send_slowly(address: Address, tell: Connection) -> None:
    writers = []
    for _number in range(_SLOW_CLIENTS):
        _reader, writer = await asyncio.open_connection(*address[:2])
        writer.write(b"POST /api/servers HTTP/1.1\r\nX: ")
        writers.append(writer)
    tell.send(len(writers))
    while True:
        began = time.monotonic()
        for number, writer in enumerate(writers):
            writer.write(b"a")
            # A byte a second each, not all at one moment.
            await asyncio.sleep(max(0.0, began + number / len(writers) - time.monotonic()) if number % 50 == 0 else 0)
        if tell.poll():
            tell.recv()
            tell.send(sum(not writer.is_closing() for writer in writers))


def stop(lab: Lab) -> Row:
    """From the answer to the moment at which the engine has the container's word that the signal has come."""
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
    """When the server said last that it was signalled."""

    def stamps() -> list[bytes]:
        lines = lab.client.logs(server, timestamps=True).splitlines()
        return [line.split(b" ")[0] for line in lines if b"got SIGTERM" in line]

    last = wait_until(stamps, "the server was signalled")[-1].decode()
    return datetime.fromisoformat(last[:26] + "+00:00").timestamp()
