# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What servers use: the engine asked for all at once, the CPU between two looks, the disk by walks in the background. For threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from ..power.at_once import at_once
from ..power.container_resources import memory_bytes
from ..power.definition import Definition
from ..power.engine_use import Use
from ..power.errors import PowerError
from ..power.look import nothing
from ..power.node import Node
from ..power.settings import Settings
from ..power.state import age_seconds
from ..power.volume import Volume
from .server_view import Utilization

#: Two looks at the CPU that are so far apart say how busy it is now.
_LEAST_SECONDS, _MOST_SECONDS = 0.1, 10.0
#: How long what a walk over a data directory found counts, and how long anybody waits for one.
_DISK_SECONDS, _WALK_SECONDS = 60.0, 0.25


class Uses:
    """What the servers of one node use."""

    def __init__(self, disks: Disks) -> None:
        self._last: dict[str, Use] = {}
        self._disks = disks

    def of_each(
        self, up: Mapping[str, tuple[str, str]], servers: Sequence[tuple[str, Definition | None]], node: Node
    ) -> dict[str, Utilization]:
        """What each server uses; ``up`` has container and StartedAt of those that are up."""
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
        """What was seen of it last, if that says how busy it is now."""
        last = self._last.get(container)
        return last if last is not None and _LEAST_SECONDS <= use.at - last.at <= _MOST_SECONDS else None

    def _forget(self, node: Node) -> None:
        """Those that ended long ago."""
        oldest = node.clock.now().timestamp() - _DISK_SECONDS
        self._last = {container: use for container, use in self._last.items() if use.at > oldest}


class Disks:
    """How much the data directories hold. A walk takes its time: what the last one found is told meanwhile."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._found: dict[str, tuple[float, int]] = {}
        #: Those to be walked over, in turn: one at a time, since they are not to keep the disk from the servers.
        self._queued: dict[str, Settings] = {}
        self._walks = False

    def of(self, uuid: str, settings: Settings) -> int:
        """Bytes of one server, as they were a while ago; 0 where nobody knows yet."""
        return self.of_each([uuid], settings)[uuid]

    def of_each(self, uuids: Sequence[str], settings: Settings) -> dict[str, int]:
        """Bytes of several, for none of which it is waited any longer than for one."""
        began = time.monotonic()
        with self._changed:
            for uuid in uuids:
                at, _held = self._found.get(uuid, (float("-inf"), 0))
                if began - at > _DISK_SECONDS:
                    self._queued.setdefault(uuid, settings)
            if self._queued and not self._walks:
                self._begin()
            # Who cannot be walked over is not waited for.
            self._changed.wait_for(lambda: not self._walks or all(uuid in self._found for uuid in uuids), _WALK_SECONDS)
            return {uuid: self._found.get(uuid, (0.0, 0))[1] for uuid in uuids}

    def _begin(self) -> None:
        try:
            threading.Thread(target=self._walk_all, name="disk", daemon=True).start()
        except RuntimeError:
            # The system has no thread for it now; who asks next tries again.
            self._queued.clear()
        else:
            self._walks = True

    def _walk_all(self) -> None:
        while True:
            with self._changed:
                uuid, settings = next(iter(self._queued.items()), (None, None))
                if uuid is None or settings is None:
                    self._walks = False
                    self._changed.notify_all()
                    return
            held = self._walk(uuid, settings)
            with self._changed:
                del self._queued[uuid]
                self._found[uuid] = time.monotonic(), held
                self._changed.notify_all()

    def _walk(self, uuid: str, settings: Settings) -> int:
        try:
            volume = Volume(f"{settings.data}/{uuid}")
            return volume.survey(nothing, owner=None).bytes if volume.exists() else 0
        except Exception:
            # What one server has in it must not keep others from being walked over.
            return self._found.get(uuid, (0.0, 0))[1]


def _looked_at(containers: Mapping[str, str], node: Node) -> dict[str, Use]:
    uuids = list(containers)
    found = at_once(lambda uuid: use_of(containers[uuid], node), uuids)
    return {uuid: use for uuid, use in zip(uuids, found) if use is not None}


def use_of(container: str, node: Node) -> Use | None:
    """What a container uses; None where the engine does not say."""
    try:
        return node.engine.use(container)
    except PowerError:
        return None


def _percent(use: Use | None, before: Use | None) -> float:
    return 0.0 if use is None or before is None else use.cpu_percent_since(before)


def memory_limit(definition: Definition | None, settings: Settings) -> int:
    """Bytes that a server may have, as its definition says; 0 where there is none."""
    return 0 if definition is None else memory_bytes(definition.build.memory_limit, settings)


def utilization(use: Use | None, percent: float, *, uptime: int, disk: int, limit: int) -> Utilization:
    """What a server uses, ``percent`` being of one core; where the engine does not say, its ``limit`` of memory stands alone."""
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
    """Milliseconds since a start; 0 where the engine names none."""
    age = age_seconds(started_at, now)
    return 0 if age is None else max(0, int(age * 1000))
