# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The use that servers make of the machine: the engine asked for all at once, and the CPU between two looks. For threads."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from ..._power.actions.node.node import Node
from ..._power.actions.node.state import age_seconds
from ..._power.container.container_limits import memory_bytes
from ..._power.definitions.definition import Definition
from ..._power.definitions.settings import Settings
from ..._power.engine.engine_answers import Use
from ..._power.host.concurrency import map_concurrently
from ..._power.model.errors import PowerError
from .disks import Disks
from .server_view import Utilization

#: Two looks at the CPU that are so far apart say how busy it is now.
_LEAST_SECONDS, _MOST_SECONDS = 0.1, 10.0
#: How long ago a container was looked at last that is not remembered any more.
_FORGET_SECONDS = 60.0


class Uses:
    """Reads what the servers of one node use."""

    def __init__(self, disks: Disks) -> None:
        self._last: dict[str, Use] = {}
        self._disks = disks

    def of_each(
        self, up: Mapping[str, tuple[str, str]], servers: Sequence[tuple[str, Definition | None]], node: Node
    ) -> dict[str, Utilization]:
        """Return what each server uses; ``up`` has container and StartedAt of those that are up."""
        containers = {uuid: container for uuid, (container, _started) in up.items()}
        found = _looked_at(containers, node)
        before = {uuid: self._before(containers[uuid], use) for uuid, use in found.items()}
        new = {uuid: containers[uuid] for uuid, earlier in before.items() if earlier is None}
        if new:
            time.sleep(_LEAST_SECONDS)
            first = {uuid: found[uuid] for uuid in new}
            found = {**found, **_looked_at(new, node)}
            before.update(first)
        self._last = {**self._last, **{containers[uuid]: use for uuid, use in found.items()}}
        self._forget(node)
        now = node.clock.now()
        held = self._disks.of_each([uuid for uuid, _definition in servers], node.settings)
        return {
            uuid: utilization(
                found.get(uuid),
                _percent(found.get(uuid), before.get(uuid)),
                uptime=uptime(up[uuid][1], now) if uuid in up else 0,
                disk=held[uuid],
                limit=memory_limit(definition, node.settings),
            )
            for uuid, definition in servers
        }

    def _before(self, container: str, use: Use) -> Use | None:
        """Return what was seen of it last, if that says how busy it is now."""
        last = self._last.get(container)
        return last if last is not None and _LEAST_SECONDS <= use.at - last.at <= _MOST_SECONDS else None

    def _forget(self, node: Node) -> None:
        """Forget containers that ended long ago."""
        oldest = node.clock.now().timestamp() - _FORGET_SECONDS
        self._last = {container: use for container, use in self._last.items() if use.at > oldest}


def _looked_at(containers: Mapping[str, str], node: Node) -> dict[str, Use]:
    uuids = list(containers)
    found = map_concurrently(lambda uuid: use_of(containers[uuid], node), uuids)
    return {uuid: use for uuid, use in zip(uuids, found) if use is not None}


def use_of(container: str, node: Node) -> Use | None:
    """Return what a container uses; None where the engine does not say."""
    try:
        return node.engine.use(container)
    except PowerError:
        return None


def _percent(use: Use | None, before: Use | None) -> float:
    return 0.0 if use is None or before is None else use.cpu_percent_since(before)


def memory_limit(definition: Definition | None, settings: Settings) -> int:
    """Return the bytes of memory that a server may have, as its definition says; 0 where there is none."""
    return 0 if definition is None else memory_bytes(definition.build.memory_limit, settings)


def utilization(use: Use | None, percent: float, *, uptime: int, disk: int, limit: int) -> Utilization:
    """Return what a server uses, ``percent`` being of one core; where the engine does not say, its ``limit`` of memory stands alone."""
    if use is None:
        return Utilization(memory_limit_bytes=limit, disk_bytes=disk, uptime=uptime)
    return Utilization(
        memory_bytes=use.memory,
        memory_limit_bytes=use.memory_limit,
        cpu_absolute=percent,
        rx_bytes=use.received,
        tx_bytes=use.sent,
        uptime=uptime,
        disk_bytes=disk,
    )


def uptime(started_at: str, now: datetime) -> int:
    """Return the milliseconds since a start; 0 where the engine names none."""
    age = age_seconds(started_at, now)
    return 0 if age is None else max(0, int(age * 1000))
