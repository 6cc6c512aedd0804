# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as the engine reports them: state, run, snapshot, image; the way to stop a run. No behaviour beyond reading them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Union

from .clock import engine_time
from .records import dataclass, field
from .redaction import secrets_in


class PowerState(str, Enum):
    OFFLINE = "offline"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Startup(str, Enum):
    MATCHED = "matched"
    WAITING = "waiting"
    UNKNOWN = "unknown"


class StopType(str, Enum):
    """Wings' three ways to request a graceful stop."""

    COMMAND = "command"
    SIGNAL = "signal"
    NATIVE = "stop"


@dataclass(frozen=True)
class StopWay:
    """The way to stop one run. ``value`` is the command or the signal's name; ``timeout`` is its own grace in seconds."""

    type: StopType
    value: str = ""
    timeout: int | None = None


@dataclass(frozen=True)
class Server:
    """A server. ``uuid`` is lower case, with hyphens."""

    uuid: str
    name: str = ""

    @property
    def short_id(self) -> str:
        """The first 8 characters, as the Panel shows them."""
        return self.uuid[:8]


@dataclass(frozen=True)
class Run:
    """One life of a container: its id and the start time as the engine writes it."""

    container: str
    started_at: str

    def precedes(self, other: Run) -> bool:
        """Tell if it is an earlier life of the same container. An engine that shows it instead has lost the other in a power cut."""
        mine, later = engine_time(self.started_at), engine_time(other.started_at)
        return self.container == other.container and mine is not None and later is not None and mine < later


Amount = Union[int, float, str, None]


@dataclass(frozen=True)
class ContainerLimits:
    """The limits of a container in the engine's units. 0, -1, None and empty mean unlimited, depending on the field."""

    memory: int = 0
    reservation: int = 0
    memory_swap: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    cpu_shares: int = 0
    cpus: str = ""
    io_weight: int = 0
    pids: int | None = None
    #: CPUs in billionths. They exclude a quota; this collection and Wings never set them.
    nano_cpus: int = 0


#: The state of a failed health check in the engine.
UNHEALTHY = "unhealthy"
NEVER_STARTED = "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class Snapshot:
    """One container at one moment, from the engine."""

    id: str
    name: str
    live: bool
    started_at: str = ""
    finished_at: str = ""
    paused: bool = False
    removing: bool = False
    pid: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    health: str | None = None
    #: The output of the last health check.
    health_output: str = field(default="", repr=False)
    #: Seconds from the end of one health check to the end of the next, at most: its interval and its timeout.
    health_seconds: float = 60.0
    open_stdin: bool = False
    tty: bool = False
    restart_policy: str = "no"
    stop_signal: str = ""
    #: Seconds from the stop signal to SIGKILL, if the container sets them.
    stop_timeout: int | None = None
    image: str = ""
    image_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    #: The addresses and ports of the machine that lead to each port of a live container, such as ``25565/tcp``.
    addresses: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    #: It uses the machine's network and publishes no ports.
    on_host_network: bool = False
    environment: tuple[str, ...] = field(default=(), repr=False)
    #: The host name that its creator set; an image cannot set one.
    hostname: str = ""
    limits: ContainerLimits = ContainerLimits()

    @property
    def run(self) -> Run:
        return Run(self.id, self.started_at)

    @property
    def has_run(self) -> bool:
        """True if it ever started; until then the engine reports a zero time."""
        return self.started_at not in ("", NEVER_STARTED)

    @property
    def machine_ports(self) -> frozenset[str]:
        """The ports of the machine that it holds while it is live, such as ``25565/tcp``."""
        return frozenset(f"{number}/{port.partition('/')[2]}" for port, held in self.addresses.items() for _address, number in held)

    @property
    def secrets(self) -> frozenset[str]:
        return secrets_in(entry.partition("=")[2] for entry in self.environment)


@dataclass(frozen=True)
class ListedContainer:
    """A server's container in the engine's list. ``waiting``: ours, and about to replace another. ``unhealthy``: and not paused."""

    server: str
    id: str
    live: bool
    waiting: bool = False
    unhealthy: bool = False


@dataclass(frozen=True)
class ImageSeen:
    id: str
    volumes: tuple[str, ...] = ()


UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SHORT_ID_PATTERN = re.compile(r"[0-9a-f]{8}")


def parse_uuid(text: str) -> str | None:
    """Return the canonical form of a full UUID with hyphens, or None. Only this form may name files and containers."""
    lowered = text.strip().lower()
    return lowered if UUID_PATTERN.fullmatch(lowered) else None
