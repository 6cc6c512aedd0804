# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and the machine as Wings shows them, with the use of processors, memory, disks and network."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..._power.actions.node.node import Node, age_seconds
from ..._power.container.container_limits import memory_bytes
from ..._power.definitions.definition import Definition, secrets_of
from ..._power.definitions.settings import Settings
from ..._power.definitions.supervision import policy_of
from ..._power.engine.engine_answers import Use
from ..._power.host.concurrency import map_concurrently
from ..._power.locking.countdown import Countdown
from ..._power.model.errors import PowerError, alone
from ..._power.model.plain import as_list, as_map, read_whole
from ..._power.model.redaction import mask
from ..._power.model.server import PowerState, Server
from .disks import Disks

#: As in galaxy.yml; a test compares them.
VERSION = "1.0.0"
#: The kernel's names in Go's notation.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
#: Bounds of the seconds between two samples of the CPU: outside of them the result says nothing about now.
_LEAST_SECONDS, _MOST_SECONDS = 0.1, 10.0
_FORGET_SECONDS = 60.0


def server_entry(
    server: Server, state: str | None, definition: Definition | None, use: Mapping[str, Any] | None, settings: Settings, *, suspended: bool
) -> dict[str, Any]:
    """Show a server; without a readable state or use these are None, which Wings does not know."""
    return {
        "state": state,
        "is_suspended": suspended,
        "utilization": use,
        "configuration": _shown(server, definition, settings, suspended=suspended),
    }


def countdown_entry(countdown: Countdown | None) -> dict[str, str] | None:
    """Show a countdown to users of the console. Its origin is only for the node's operators."""
    if countdown is None:
        return None
    return {"action": countdown.action, "phase": countdown.phase, "since": countdown.since, "due": countdown.due}


def _shown(server: Server, definition: Definition | None, settings: Settings, *, suspended: bool) -> dict[str, Any]:
    if definition is None:
        return {"uuid": server.uuid, "meta": {"name": server.name, "description": ""}, "labels": None, "suspended": suspended}
    configuration = {
        **_configuration(definition),
        "suspended": suspended,
        # If the server has no setting, the node's counts.
        "crash_detection_enabled": policy_of(settings, server, definition).supervised,
    }
    if settings.api_environment:
        configuration["environment"] = dict(as_map(_panel_settings(definition).get("environment")))
    else:
        # The start command contains secrets from the environment. As a whole it is a variable of the Panel, too.
        configuration["invocation"] = mask(definition.invocation, secrets_of(definition) - {definition.invocation})
    return configuration


def _configuration(definition: Definition) -> dict[str, Any]:
    given, allocations, build = _panel_settings(definition), definition.allocations, definition.build
    return {
        "uuid": definition.server.uuid,
        "meta": {"name": definition.server.name, "description": _text(as_map(given.get("meta")).get("description"))},
        "invocation": definition.invocation,
        "skip_egg_scripts": given.get("skip_egg_scripts") is True,
        "labels": dict(definition.labels) or None,
        "allocations": {
            "force_outgoing_ip": allocations.force_outgoing_ip,
            "default": {"ip": allocations.default_ip, "port": allocations.default_port},
            "mappings": {address: list(ports) for address, ports in allocations.mappings},
        },
        "build": {
            "memory_limit": build.memory_limit,
            "swap": build.swap,
            "io_weight": build.io_weight,
            "cpu_limit": build.cpu_limit,
            "disk_space": build.disk_space,
            "threads": build.threads,
            "oom_disabled": build.oom_disabled,
        },
        "mounts": [{"source": each.source, "target": each.target, "read_only": each.read_only} for each in definition.mounts],
        "egg": {"id": definition.egg or "", "file_denylist": _texts(as_map(given.get("egg")).get("file_denylist"))},
        "container": {"image": f"{'~' if definition.image_is_local else ''}{definition.image}"},
    }


def _panel_settings(definition: Definition) -> Mapping[str, Any]:
    return as_map(definition.source.get("settings"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [each for each in as_list(value) if isinstance(each, str)]


def system_entry() -> dict[str, Any]:
    """Return the first form of Wings' description of the machine, which needs no engine."""
    machine = platform.uname()
    return {
        "architecture": _ARCHITECTURES.get(machine.machine, machine.machine),
        "cpu_count": os.cpu_count() or 1,
        "kernel_version": machine.release,
        "os": machine.system.lower(),
        "version": VERSION,
    }


def system_entry_2(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the second form of Wings' description of the machine. ``engine`` is the engine's own; missing values are empty or 0."""
    machine = platform.uname()
    return {
        "version": VERSION,
        "docker": {
            "version": _text(engine.get("ServerVersion")),
            "cgroups": {"driver": _text(engine.get("CgroupDriver")), "version": _text(engine.get("CgroupVersion"))},
            "containers": {
                "total": read_whole(engine.get("Containers")) or 0,
                "running": read_whole(engine.get("ContainersRunning")) or 0,
                "paused": read_whole(engine.get("ContainersPaused")) or 0,
                "stopped": read_whole(engine.get("ContainersStopped")) or 0,
            },
            "storage": {"driver": _text(engine.get("Driver")), "filesystem": _filesystem(engine.get("DriverStatus"))},
            "runc": {"version": _text(as_map(engine.get("RuncCommit")).get("ID"))},
        },
        "system": {
            "architecture": _ARCHITECTURES.get(machine.machine, machine.machine),
            "cpu_threads": read_whole(engine.get("NCPU")) or os.cpu_count() or 1,
            "memory_bytes": read_whole(engine.get("MemTotal")) or 0,
            "kernel_version": machine.release,
            "os": _text(engine.get("OperatingSystem")),
            "os_type": machine.system.lower(),
        },
    }


def _filesystem(status: object) -> str:
    found = (pair[1] for pair in as_list(status) if isinstance(pair, list) and len(pair) == 2 and pair[0] == "Backing Filesystem")
    return _text(next(found, ""))


class Uses:
    def __init__(self, disks: Disks) -> None:
        self._last: dict[str, Use] = {}
        self._disks = disks

    def of_each(
        self, entries: Sequence[Mapping[str, Any]], definitions: Mapping[str, Definition | None], node: Node
    ) -> dict[str, dict[str, Any]]:
        """Return Wings' utilization of each server by UUID, from the entries of `describe_each`. Takes 0.1 s more if a container has no
        recent sample."""
        live = [entry for entry in entries if entry["state"] != PowerState.OFFLINE.value and entry["container"] is not None]
        up = {entry["server"]: entry["container"] for entry in live}
        containers = {uuid: container["id"] for uuid, container in up.items()}
        found = _looked_at(containers, node)
        before = {uuid: self._before(containers[uuid], use) for uuid, use in found.items()}
        new = {uuid: containers[uuid] for uuid, earlier in before.items() if earlier is None}
        if new:
            # The percentage of the CPU needs two samples.
            time.sleep(_LEAST_SECONDS)
            before.update({uuid: found[uuid] for uuid in new})
            found = {**found, **_looked_at(new, node)}
        now = node.clock.now()
        oldest = now.timestamp() - _FORGET_SECONDS
        last = {**self._last, **{containers[uuid]: use for uuid, use in found.items()}}
        self._last = {container: use for container, use in last.items() if use.at > oldest}
        percents = {uuid: use.cpu_percent_since(earlier) for uuid, use in found.items() if (earlier := before[uuid]) is not None}
        states = {entry["server"]: entry["state"] for entry in entries}
        disk_uses = self._disks.of_each(list(states), node.settings)
        return {
            uuid: utilization(
                found.get(uuid),
                percents.get(uuid, 0.0),
                state,
                uptime=uptime(up[uuid]["started_at"], now) if uuid in up else 0,
                disk=disk_uses[uuid],
                limit=memory_limit(definitions[uuid], node.settings),
            )
            for uuid, state in states.items()
        }

    def _before(self, container: str, use: Use) -> Use | None:
        last = self._last.get(container)
        return last if last is not None and _LEAST_SECONDS <= use.at - last.at <= _MOST_SECONDS else None


def _looked_at(containers: Mapping[str, str], node: Node) -> dict[str, Use]:
    uuids = list(containers)
    found = map_concurrently(lambda uuid: use_of(containers[uuid], node), uuids)
    return {uuid: use for uuid, use in zip(uuids, found) if use is not None}


def use_of(container: str, node: Node) -> Use | None:
    """Return the use of a container; None if unknown."""
    use = alone("Cannot read the use", lambda: node.engine.use(container))
    return None if isinstance(use, PowerError) else use


def memory_limit(definition: Definition | None, settings: Settings) -> int:
    """Return a server's memory limit in bytes, from its definition; 0 without one."""
    return 0 if definition is None else memory_bytes(definition.build.memory_limit, settings)


def utilization(use: Use | None, percent: float, state: str | None, *, uptime: int, disk: int, limit: int) -> dict[str, Any]:
    """Show the use of a server: bytes, ``percent`` of one core, milliseconds since its start. If ``use`` is unknown, its values are 0, and
    the ``limit`` of memory is the definition's."""
    return {
        "memory_bytes": 0 if use is None else use.memory,
        "memory_limit_bytes": limit if use is None else use.memory_limit,
        "cpu_absolute": round(percent, 3),
        "network": {"rx_bytes": 0 if use is None else use.received, "tx_bytes": 0 if use is None else use.sent},
        "uptime": uptime,
        "state": state,
        "disk_bytes": disk,
    }


def uptime(started_at: str, now: datetime) -> int:
    """Return the milliseconds since a start; 0 if unknown."""
    age = age_seconds(started_at, now)
    return 0 if age is None else max(0, int(age * 1000))
