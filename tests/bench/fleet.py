# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure many nodes on this machine over SSH: `make bench-fleet`, or one row: `make bench-fleet ARGS=status`."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / ".build"))

from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, alternately, bound, in_turn, ratio, table  # noqa: E402
from ansible_collections.fleet.power.tests.bench.peer import PEER, PEER_NAME, install_peer  # noqa: E402
from ansible_collections.fleet.power.tests.fleet import lab, scratch  # noqa: E402
from ansible_collections.fleet.power.tests.fleet.cores import bring_core  # noqa: E402

_ROUNDS, _RESTARTS = 3, 30
_NODES, _SERVERS = 8, 20
_FLEET = 500
#: Engine calls of the floor at a time on one node. One engine is fastest with this number.
_AT_ONCE = 8
_PATIENCE_SECONDS = 60


def filled(nodes: Sequence[lab.Node], count: int) -> list[list[str]]:
    """Define ``count`` running servers on each node; return their UUIDs by node."""
    uuids = []
    for node in nodes:
        definitions = [lab.server(f"{node.name}-{number}") for number in range(count)]
        node.define(*definitions)
        uuids.append([str(each["settings"]["uuid"]) for each in definitions])
    succeeds(lab.playbook("power", nodes, power_action="start", power_servers="all"))
    return uuids


def succeeds(ran: lab.Ran) -> lab.Ran:
    if ran.rc != 0:
        raise RuntimeError(ran.output[-3000:])
    return ran


def rolling_restart(nodes: Sequence[lab.Node]) -> list[Row]:
    """A rolling restart of all servers in one batch, beside the slowest engine plus an empty run of Ansible."""
    chosen = nodes[:_NODES]
    uuids = filled(chosen, _SERVERS)
    # All ways use the same open connections.
    where = lab.inventory(chosen)
    nothing = where.with_name("nothing.yml")
    nothing.write_text("- hosts: nodes\n  gather_facts: false\n  tasks: []\n")

    def ours() -> float:
        return succeeds(lab.playbook("rolling_restart", where, rollout_serial=0)).seconds

    ways: list[Callable[[], float]] = [ours, lambda: floor(chosen, uuids), lambda: succeeds(lab.playbook(nothing, where)).seconds]
    mine, engines, start = alternately(ways, _ROUNDS, warm_up=1)
    least = Spread(tuple(engine + begun for engine, begun in zip(engines.samples, start.samples)), "s")
    notes = (f"the slowest engine {engines.shown_in('s').text()}, Ansible with nothing to do {start.shown_in('s').text()}",)
    what = f"{_NODES} nodes with {_SERVERS} servers each, rolling_restart in one batch"
    return [Row(what, mine.shown_in("s"), least, "engine and Ansible's start", mine.median / least.median, 1.3, "times", notes)]


def floor(nodes: Sequence[lab.Node], uuids: Sequence[Sequence[str]]) -> float:
    """Restart all servers by all engines at the same time; return the seconds of the slowest engine."""
    import docker

    clients = [[docker.APIClient(base_url=node.docker_host, version="auto", timeout=300) for _number in range(_AT_ONCE)] for node in nodes]
    left = [queue.SimpleQueue[str]() for _node in nodes]
    for names, waiting in zip(uuids, left):
        for name in names:
            waiting.put(name)

    def restart(client: Any, waiting: queue.SimpleQueue[str]) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                client.restart(waiting.get_nowait(), timeout=_PATIENCE_SECONDS)

    threads = [threading.Thread(target=restart, args=(client, waiting)) for own, waiting in zip(clients, left) for client in own]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    for client in (client for own in clients for client in own):
        client.close()
    return seconds


def one_restart(nodes: Sequence[lab.Node]) -> list[Row]:
    """One restart ad hoc, and one look, beside the peer: both over SSH, with Ansible's defaults and with pipelining."""
    import docker

    node = nodes[0]
    ((uuid,),) = filled([node], 1)
    peer = f"peer-{uuid}"
    engine = docker.APIClient(base_url=node.docker_host, version="auto")
    made = engine.inspect_container(uuid)
    engine.create_container_from_config({**made["Config"], "Labels": {}, "HostConfig": made["HostConfig"]}, peer)
    engine.start(peer)
    paths = os.pathsep.join(map(str, (scratch.current().collections, install_peer(CHECKOUT / ".build/bench"))))
    rows = []
    for what, pipelining in (("", "False"), (", pipelining", "True")):
        surroundings = {"ANSIBLE_COLLECTIONS_PATH": paths, "ANSIBLE_PIPELINING": pipelining}

        def run(module: str, options: Mapping[str, object], given: Mapping[str, str] = surroundings) -> Callable[[], float]:
            return lambda: succeeds(lab.adhoc_begun([node], module, options, surroundings=given).finish()).seconds

        restarts = in_turn(
            run("server_power", {"server": uuid, "action": "restart"}), run(PEER, {"name": peer, "restart": True}), _RESTARTS
        )
        rows.append(ratio(f"restart over SSH{what}", *restarts, PEER_NAME, 1.0))
        looks = in_turn(run("server_power_info", {"server": uuid}), run(f"{PEER}_info", {"name": peer}), _RESTARTS)
        rows.append(ratio(f"info over SSH{what}", *looks, f"{PEER_NAME}_info", 1.0))
    return rows


def status(nodes: Sequence[lab.Node]) -> list[Row]:
    chosen = nodes[:_NODES]
    filled(chosen, -(-_FLEET // _NODES))
    where = lab.inventory(chosen)
    (taken,) = alternately([lambda: succeeds(lab.playbook("status", where)).seconds], 5, warm_up=1)
    return [bound(f"status of {_NODES} nodes with {_FLEET} servers, whole command", taken.shown_in("s"), 5)]


ROWS: Mapping[str, Callable[[Sequence[lab.Node]], list[Row]]] = {
    "one_restart": one_restart,
    "rolling_restart": rolling_restart,
    "status": status,
}


@contextlib.contextmanager
def leased(count: int) -> Iterator[list[lab.Node]]:
    with contextlib.contextmanager(lab.leases)() as lease:
        nodes = lease(count)
        for node in nodes:
            bring_core(node)
        yield nodes


def main(names: Sequence[str]) -> int:
    unknown = set(names) - set(ROWS)
    if unknown:
        print(f"Cannot measure: no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as directory,
        contextlib.contextmanager(scratch.scratch)(Path(directory), scratch.snapshot(Path(directory))),
    ):
        for name in names or ROWS:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            with leased(_NODES) as nodes:
                rows += ROWS[name](nodes)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; medians (10 % to 90 %)")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
