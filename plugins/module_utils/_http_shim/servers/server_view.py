# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as Wings shows them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..._power.definitions.definition import Definition, secrets_of
from ..._power.locking.countdown import Countdown
from ..._power.model.redaction import mask
from ..._power.model.server import PowerState, Server


@dataclass(frozen=True)
class Utilization:
    """The use that a server makes of its machine: bytes, percent of one core, milliseconds since its start."""

    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    cpu_absolute: float = 0.0
    rx_bytes: int = 0
    tx_bytes: int = 0
    uptime: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True)
class ServerFlags:
    """What there is to say of a server beside its definition; ``environment``: it is shown with its environment, secrets included."""

    suspended: bool = False
    environment: bool = False
    supervised: bool = False


def server_entry(server: Server, state: PowerState, definition: Definition | None, use: Utilization, flags: ServerFlags) -> dict[str, Any]:
    """Show one server."""
    return {
        "state": state.value,
        "is_suspended": flags.suspended,
        "utilization": utilization_entry(use, state),
        "configuration": _shown(server, definition, flags),
    }


def unseen_entry(server: Server, definition: Definition | None, flags: ServerFlags, *, code: str, msg: str) -> dict[str, Any]:
    """Show a server that could not be seen: it has no state, and its use is not known. Wings has no such entries."""
    return {
        "state": None,
        "is_suspended": flags.suspended,
        "utilization": None,
        "configuration": _shown(server, definition, flags),
        "code": code,
        "msg": msg,
    }


def utilization_entry(use: Utilization, state: PowerState) -> dict[str, Any]:
    """Show what a server uses."""
    return {
        "memory_bytes": use.memory_bytes,
        "memory_limit_bytes": use.memory_limit_bytes,
        "cpu_absolute": round(use.cpu_absolute, 3),
        "network": {"rx_bytes": use.rx_bytes, "tx_bytes": use.tx_bytes},
        "uptime": use.uptime,
        "state": state.value,
        "disk_bytes": use.disk_bytes,
    }


def countdown_entry(countdown: Countdown | None) -> dict[str, str] | None:
    """Show a countdown to whoever sees the server's console: not who asked for it, which is for the node's owner alone."""
    if countdown is None:
        return None
    return {"action": countdown.action, "phase": countdown.phase, "since": countdown.since, "due": countdown.due}


def _shown(server: Server, definition: Definition | None, flags: ServerFlags) -> dict[str, Any]:
    if definition is None:
        return {**_unknown(server), "suspended": flags.suspended}
    configuration = {
        **_configuration(definition),
        "suspended": flags.suspended,
        # Of a server that does not say so itself, the node's settings do.
        "crash_detection_enabled": flags.supervised,
    }
    if flags.environment:
        configuration["environment"] = dict(_map(_settings(definition).get("environment")))
    else:
        # The start command has secrets of the environment too, and some of its own; as a whole it is itself a variable of the Panel's.
        configuration["invocation"] = mask(definition.invocation, secrets_of(definition) - {definition.invocation})
    return configuration


def _unknown(server: Server) -> dict[str, Any]:
    """Show what is known of a server that has no definition here."""
    return {"uuid": server.uuid, "meta": {"name": server.name, "description": ""}, "labels": None}


def _configuration(definition: Definition) -> dict[str, Any]:
    settings, allocations, build = _settings(definition), definition.allocations, definition.build
    return {
        "uuid": definition.server.uuid,
        "meta": {"name": definition.server.name, "description": _text(_map(settings.get("meta")).get("description"))},
        "invocation": definition.invocation,
        "skip_egg_scripts": settings.get("skip_egg_scripts") is True,
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
        "egg": {"id": definition.egg or "", "file_denylist": _texts(_map(settings.get("egg")).get("file_denylist"))},
        "container": {"image": f"{'~' if definition.image_is_local else ''}{definition.image}"},
    }


def _settings(definition: Definition) -> Mapping[str, Any]:
    return _map(definition.source.get("settings"))


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
