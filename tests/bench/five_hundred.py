# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Five hundred running servers on one node: the cost of a call over all of them. All requested rows share the servers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.fleet.power.tests.bench import supervisor
from ansible_collections.fleet.power.tests.bench.commands import INFO, POWER, Commands
from ansible_collections.fleet.power.tests.bench.many import Restarts, servers
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound
from ansible_collections.fleet.power.tests.integration.engine_proxy import EngineProxy
from ansible_collections.fleet.power.tests.integration.lab import Lab

_COUNT = 500
_ROUNDS = 5


@dataclass(frozen=True)
class _Field:
    lab: Lab
    commands: Commands
    uuids: Sequence[str]


def measure(lab: Lab, names: Sequence[str]) -> Iterator[Row]:
    with servers(lab, _COUNT) as uuids:
        field = _Field(lab, Commands(lab), uuids)
        for name in names:
            yield from ROWS[name](field)


def _idle(field: _Field) -> list[Row]:
    options = field.commands.own(server=list(field.uuids), action="start")
    payload = field.commands.payload(POWER, options)
    times = []
    for _round in range(_ROUNDS):
        done = payload.run()
        assert {entry["outcome"] for entry in done.result["servers"]} == {"unchanged"}
        times.append(done.seconds)
    inspects, printed = _inspects(field, options)
    notes = [
        f"on the node; {sum(inspects.values())} inspects in all",
        f"output of the command: {len(printed) / 1000:.0f} KB (at most 250)",
    ]
    most = bound("most inspects of one server by that call", Spread((float(max(inspects.values())),), "inspects"), 1)
    return [bound(f"{_COUNT} servers, nothing to do", Spread(tuple(times), "s"), 3, notes), most]


def _inspects(field: _Field, options: Mapping[str, object]) -> tuple[Counter[str], str]:
    """Return how often one call inspects each container, and the call's output. A proxy counts, in a round of its own."""
    proxy = EngineProxy(field.lab.docker_host, field.lab.root / "counted.sock")
    try:
        printed = field.commands.ad_hoc(POWER, {**options, "docker_host": proxy.host}).output
    finally:
        proxy.close()
    paths = (re.search(r"/containers/([^/]+)/json", request.path) for request in proxy.seen)
    return Counter(found[1] for found in paths if found is not None), printed


def _info(field: _Field) -> list[Row]:
    payload = field.commands.payload(INFO, field.commands.own())
    times = []
    for _round in range(_ROUNDS):
        done = payload.run()
        found = [entry for entry in done.result["servers"] if entry["server"] in set(field.uuids)]
        assert {entry["state"] for entry in found} == {"running"} and len(found) == _COUNT
        times.append(done.seconds)
    size = Spread((len(done.output) / 1_000_000 * _COUNT / len(done.result["servers"]),), "MB")
    return [
        bound(f"server_power_info of {_COUNT}", Spread(tuple(times), "s"), 2, ["on the node"]),
        bound("size of that result", size, 1, [f"{1_000_000 * size.median / _COUNT:.0f} bytes a server"]),
    ]


def _memory(field: _Field) -> list[Row]:
    """One call restarts all servers at once."""
    with Restarts(field.lab, field.uuids):
        options = field.commands.own(server=list(field.uuids), action="restart")
        done, (first, *below) = field.commands.ad_hoc_watched(POWER, options)
    notes = [
        f"peak resident memory of the process that restarts {_COUNT} servers; the whole command takes {done.seconds:.0f} s",
        f"parent process: {first:.1f} MB, most of it shared with the other",
        f"output of the command: {len(done.output) / 1000:.0f} KB (at most 250)",
    ]
    return [bound(f"memory, {_COUNT} servers restarted", Spread((max(below),), "MB"), 100, notes)]


def _supervised(field: _Field) -> list[Row]:
    return list(supervisor.idle(field.lab, _COUNT))


ROWS: Mapping[str, Callable[[_Field], list[Row]]] = {"idle": _idle, "info": _info, "memory": _memory, "supervisor-idle": _supervised}
