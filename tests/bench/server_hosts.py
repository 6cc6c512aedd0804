# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers as hosts cost: one look at the servers of one node, a host each, and in one task; the table of the inventory's guide."""

from __future__ import annotations

import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, bound
from ansible_collections.fleet.power.tests.fleet import lab

_COUNTS = (1, 20, 200)
_ROUNDS = 3
#: What a command may take that has one task to do, and each further task.
_TARGET_SECONDS, _TARGET_SECONDS_EACH = 3, 1


def hosts(nodes: Sequence[lab.Node]) -> list[Row]:
    """One node with 1, 20 and 200 servers, none of them running: whole commands over SSH, their time and the controller's processor."""
    return [row for count in _COUNTS for row in _rows(nodes[:1], count)]


def _rows(nodes: Sequence[lab.Node], count: int) -> list[Row]:
    plain = lab.inventory(nodes)
    directory = plain.with_name(f"servers-{count}")
    directory.mkdir()
    (directory / "1-nodes.yml").write_text(plain.read_text())
    _define(nodes[0], count)
    snapshot = directory.with_name(f"fleet-{count}.json")
    ran = lab.playbook("status", plain, status_snapshot=str(snapshot))
    if ran.rc != 0:
        raise RuntimeError(ran.output[-3000:])
    (directory / "2.fleet_power.yml").write_text(json.dumps({"plugin": "fleet.power.servers", "snapshot": str(snapshot)}))
    each, once = _measured([lambda: _look(directory, "all:!nodes", count), lambda: _look(plain, "nodes", 1)])
    what = f"a look at {count} servers of one node"
    return [_row(f"{what}, {count} hosts", count, each), _row(f"{what}, one task", 1, once)]


def _row(what: str, tasks: int, samples: Sequence[tuple[float, float]]) -> Row:
    seconds = Spread(tuple(seconds for seconds, _unused in samples), "s")
    processor = statistics.median(used for _unused, used in samples)
    target = _TARGET_SECONDS + _TARGET_SECONDS_EACH * (tasks - 1)
    return bound(what, seconds, target, (f"the controller's processor {processor:.1f} s",))


def _define(node: lab.Node, count: int) -> None:
    node.ssh("rm -rf /etc/fleet-power/servers")
    node.define(*(lab.server(f"game-{number}") for number in range(count)))


def _look(where: Path, pattern: str, count: int) -> tuple[float, float]:
    """A look by an ad-hoc command with the checkout's forks: seconds, and seconds of the controller's processor."""
    began, used = time.monotonic(), _used()
    found = lab.adhoc(where, "server_power_info", pattern=pattern)
    seconds, processor = time.monotonic() - began, _used() - used
    lost = [host for host, result in found.items() if result.get("unreachable") or result.get("failed")]
    if len(found) != count or lost:
        raise RuntimeError(f"{len(found)} of {count} hosts answered, {len(lost)} of them badly")
    return seconds, processor


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _measured(ways: Sequence[Callable[[], tuple[float, float]]]) -> list[list[tuple[float, float]]]:
    """What each way took, one after the other, so that what disturbs one disturbs all; a first round is not counted."""
    rounds = [[way() for way in ways] for _unused in range(_ROUNDS + 1)]
    return [[each[number] for each in rounds[1:]] for number in range(len(ways))]
