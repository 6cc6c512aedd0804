# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One task restarts forty servers of one node, beside whole commands of the peer's loop, and beside the engine alone without Ansible."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.tests.bench.commands import POWER, Commands
from ansible_collections.fleet.power.tests.bench.many import Restarts, equals, in_parallel, servers
from ansible_collections.fleet.power.tests.bench.measure import Round, Row, alternately, ratio
from ansible_collections.fleet.power.tests.bench.peer import PEER
from ansible_collections.fleet.power.tests.integration.lab import Lab

_COUNT = 40
#: The engine's longest wait for the end of a server. Each server ends sooner.
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class _Field:
    """Our servers, equal containers, and the commands that restart either."""

    lab: Lab
    commands: Commands
    uuids: Sequence[str]
    equals: Sequence[str]

    def options(self) -> dict[str, object]:
        return self.commands.own(server=list(self.uuids), action="restart")

    def whole(self) -> float:
        with Restarts(self.lab, self.uuids):
            return self.commands.ad_hoc(POWER, self.options()).seconds

    def on_node(self) -> Round:
        payload = self.commands.payload(POWER, self.options())

        def run() -> float:
            with Restarts(self.lab, self.uuids):
                return payload.run().seconds

        return run

    def loop(self, count: int) -> float:
        """Return the seconds of the peer's loop, which restarts one container after another."""
        names = list(self.equals[:count])
        arguments = {"name": "{{ item }}", "restart": True, "stop_timeout": _PATIENCE_SECONDS}
        with Restarts(self.lab, names):
            return self.commands.play({"name": "restart them", PEER: arguments, "loop": names}).seconds

    def floor(self, at_once: int) -> Round:
        """Return the engine's own restart: ``at_once`` at a time, over open connections."""
        import docker

        clients = [docker.APIClient(base_url=self.lab.docker_host, version="auto", timeout=300) for _number in range(at_once)]

        def run() -> float:
            free = queue.SimpleQueue[Any]()
            for client in clients:
                client.ping()
                free.put(client)

            def restart(name: str) -> None:
                client = free.get()
                client.restart(name, timeout=_PATIENCE_SECONDS)
                free.put(client)

            with Restarts(self.lab, self.equals):
                began = time.monotonic()
                in_parallel(restart, self.equals, at_once)
                return time.monotonic() - began

        return run


def quick(lab: Lab, collections: Path) -> list[Row]:
    # As for real servers: the network is a large part of a start.
    lab.write_settings(docker={"network": {"network_mode": "bridge"}})
    with servers(lab, _COUNT) as uuids, equals(lab, uuids, StopTimeout=_PATIENCE_SECONDS) as names:
        field = _Field(lab, Commands(lab, collections), uuids, names)
        widths = (4, 8, 16, _COUNT)
        ways = [field.whole, field.on_node(), lambda: field.loop(_COUNT), *(field.floor(width) for width in widths)]
        whole, node, loop, *floors = (spread.shown_in("s") for spread in alternately(ways, 3))
        output = field.commands.ad_hoc(POWER, field.options()).output
    note = f"output of the command: {output.count(chr(10))} lines, {len(output) / 1000:.1f} KB (at most 400 and 20)"
    against_loop = ratio("40 quick servers", whole, loop, "loop", 0.25, ["whole commands", note])
    best = min(floors, key=lambda floor: floor.median)
    notes = [f"whole command: {whole.text()}, {whole.median / best.median:.2f} times"]
    notes += [f"engine's own restart, {width} at once: {floor.text()}" for width, floor in zip(widths, floors)]
    return [against_loop, ratio("40 quick servers on the node", node, best, "floor", 1.15, notes)]
