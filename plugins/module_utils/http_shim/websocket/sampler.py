# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one server uses, as its websockets are told. For threads."""

from __future__ import annotations

import json

from ...power.container_resources import memory_bytes
from ...power.engine_use import Use
from ...power.errors import PowerError
from ...power.node import Node
from ...power.state import age_seconds
from ..server_view import Utilization, utilization_entry
from ..utilization import Disks
from .sight import Sight

#: Two looks at the CPU that are so far apart say how busy it is.
_LEAST_SECONDS, _MOST_SECONDS = 0.5, 10.0


class Sampler:
    """What one server uses, from one look at it to the next."""

    def __init__(self, uuid: str, disks: Disks) -> None:
        self._uuid = uuid
        self._disks = disks
        self._last: tuple[str, Use] | None = None
        self._percent = 0.0

    def text(self, sight: Sight, node: Node) -> str:
        """The object that clients get, as JSON. What the engine does not say is 0."""
        disk = self._disks.of(self._uuid, node.settings)
        use = self._use(sight, node)
        if use is None or sight.snapshot is None:
            definition = node.sources.definition_for_stop(self._uuid)
            limit = 0 if definition is None else memory_bytes(definition.build.memory_limit, node.settings)
            found = Utilization(memory_limit_bytes=limit, disk_bytes=disk)
        else:
            age = age_seconds(sight.snapshot.started_at, node.clock.now())
            found = Utilization(
                memory_bytes=use.memory,
                memory_limit_bytes=use.memory_limit,
                cpu_absolute=self._cpu(sight.snapshot.id, use),
                rx_bytes=use.received,
                tx_bytes=use.sent,
                uptime=0 if age is None else max(0, int(age * 1000)),
                disk_bytes=disk,
            )
        return json.dumps(utilization_entry(found, sight.state), separators=(",", ":"))

    def _use(self, sight: Sight, node: Node) -> Use | None:
        if sight.run is None:
            return None
        try:
            return node.engine.use(sight.run.container)
        except PowerError:
            return None

    def _cpu(self, container: str, use: Use) -> float:
        """Percent of one core since a look a moment ago; as last known where that was just now."""
        before = self._last
        if before is None or before[0] != container or not 0 <= use.at - before[1].at <= _MOST_SECONDS:
            self._last, self._percent = (container, use), 0.0
        elif use.at - before[1].at >= _LEAST_SECONDS:
            self._last, self._percent = (container, use), use.cpu_percent_since(before[1])
        return self._percent
