# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The use that one server makes of the machine, as its websockets are told. For threads."""

from __future__ import annotations

import json

from ..._power.actions.node.node import Node
from ..._power.engine.engine_answers import Use
from ..servers.disks import Disks
from ..servers.server_view import utilization_entry
from ..servers.utilization import memory_limit, uptime, use_of, utilization
from .views import ServerView

#: Two looks at the CPU that are so far apart say how busy it is.
_LEAST_SECONDS, _MOST_SECONDS = 0.5, 10.0


class Sampler:
    """Reads what one server uses, from one look at it to the next."""

    def __init__(self, uuid: str, disks: Disks) -> None:
        self._uuid = uuid
        self._disks = disks
        self._last: tuple[str, Use] | None = None
        self._percent = 0.0

    def text(self, view: ServerView, node: Node) -> str:
        """Return the object that clients get, as JSON. What the engine does not say is 0."""
        disk = self._disks.of(self._uuid, node.settings)
        use = None if view.run is None else use_of(view.run.container, node)
        if use is None or view.snapshot is None:
            limit = memory_limit(node.sources.definition_for_stop(self._uuid), node.settings)
            found = utilization(None, 0.0, uptime=0, disk=disk, limit=limit)
        else:
            up = uptime(view.snapshot.started_at, node.clock.now())
            found = utilization(use, self._cpu(view.snapshot.id, use), uptime=up, disk=disk, limit=0)
        return json.dumps(utilization_entry(found, view.state), separators=(",", ":"))

    def _cpu(self, container: str, use: Use) -> float:
        """Return the percent of one core since a look a moment ago; as last known where that was just now."""
        before = self._last
        if before is None or before[0] != container or not 0 <= use.at - before[1].at <= _MOST_SECONDS:
            self._last, self._percent = (container, use), 0.0
        elif use.at - before[1].at >= _LEAST_SECONDS:
            self._last, self._percent = (container, use), use.cpu_percent_since(before[1])
        return self._percent
