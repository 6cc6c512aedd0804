# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine as Wings shows it, in its two shapes; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..process.version import VERSION

#: As Go calls what the kernel calls so.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Machine:
    """The machine, as this process sees it."""

    architecture: str
    processors: int
    kernel: str
    system: str


def system_entry(machine: Machine) -> dict[str, Any]:
    """Show the machine in the first shape, which needs no engine."""
    return {
        "architecture": _ARCHITECTURES.get(machine.architecture, machine.architecture),
        "cpu_count": machine.processors,
        "kernel_version": machine.kernel,
        "os": machine.system.lower(),
        "version": VERSION,
    }


def system_entry_2(machine: Machine, engine: Mapping[str, Any]) -> dict[str, Any]:
    """Show the machine in the second shape; ``engine`` is what the engine says of itself. What it does not say is empty or 0."""
    return {
        "version": VERSION,
        "docker": {
            "version": _text(engine.get("ServerVersion")),
            "cgroups": {"driver": _text(engine.get("CgroupDriver")), "version": _text(engine.get("CgroupVersion"))},
            "containers": {
                "total": _number(engine.get("Containers")),
                "running": _number(engine.get("ContainersRunning")),
                "paused": _number(engine.get("ContainersPaused")),
                "stopped": _number(engine.get("ContainersStopped")),
            },
            "storage": {"driver": _text(engine.get("Driver")), "filesystem": _filesystem(engine.get("DriverStatus"))},
            "runc": {"version": _text(_map(engine.get("RuncCommit")).get("ID"))},
        },
        "system": {
            "architecture": _ARCHITECTURES.get(machine.architecture, machine.architecture),
            "cpu_threads": _number(engine.get("NCPU")) or machine.processors,
            "memory_bytes": _number(engine.get("MemTotal")),
            "kernel_version": machine.kernel,
            "os": _text(engine.get("OperatingSystem")),
            "os_type": machine.system.lower(),
        },
    }


def _filesystem(status: object) -> str:
    """Return the file system below the engine's storage, one of the pairs that it tells of that."""
    pairs = status if isinstance(status, list) else []
    found = (pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2 and pair[0] == "Backing Filesystem")
    return _text(next(found, ""))


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
