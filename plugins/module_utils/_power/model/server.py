# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and what the engine says of them: state, run, snapshot, image; how a run is stopped; no behaviour beyond reading them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Union

from .redaction import secrets_in


class PowerState(str, Enum):
    """The state of a server: a noun, always derived from the engine."""

    OFFLINE = "offline"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Startup(str, Enum):
    """The readiness line of this run: seen, or not."""

    MATCHED = "matched"
    WAITING = "waiting"
    UNKNOWN = "unknown"


class StopType(str, Enum):
    """How a graceful stop is asked for: Wings' three types."""

    COMMAND = "command"
    SIGNAL = "signal"
    NATIVE = "stop"


@dataclass(frozen=True)
class StopWay:
    """How one run is stopped. ``value`` is the command or the signal's name; ``timeout`` is the grace in seconds, if it has its own."""

    type: StopType
    value: str = ""
    timeout: int | None = None


@dataclass(frozen=True)
class Server:
    """The thing controlled. ``uuid`` is lower case, with hyphens."""

    uuid: str
    name: str = ""

    @property
    def short_id(self) -> str:
        """The first 8 characters, as the Panel shows them."""
        return self.uuid[:8]


@dataclass(frozen=True)
class Run:
    """One life of a container: its id and the engine's time of the start, as the engine writes it."""

    container: str
    started_at: str


#: A limit in the units of its key.
Amount = Union[int, float, str, None]


@dataclass(frozen=True)
class ContainerLimits:
    """The limits of a container, in the engine's units and as it tells them: 0, -1, None and empty stand for none, as each has it."""

    memory: int = 0
    reservation: int = 0
    #: Memory and swap together.
    memory_swap: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    cpu_shares: int = 0
    cpus: str = ""
    io_weight: int = 0
    pids: int | None = None
    #: CPUs given as a number, in billionths, which excludes a quota; only others than this collection and Wings give them so.
    nano_cpus: int = 0


#: The engine's StartedAt of a container that was never started.
NEVER_STARTED = "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class Snapshot:
    """One container at one moment, as the engine told it."""

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
    open_stdin: bool = False
    tty: bool = False
    restart_policy: str = "no"
    stop_signal: str = ""
    #: Seconds from the engine's own stop signal to its SIGKILL, where the container says so; the engine has a default.
    stop_timeout: int | None = None
    image: str = ""
    image_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    #: What a live one has published, as ``25565/tcp``.
    ports: frozenset[str] = frozenset()
    #: The addresses of this machine, with their ports, that lead to each of these.
    addresses: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    #: Whether it has the machine's own network, where nothing need be published.
    on_host_network: bool = False
    environment: tuple[str, ...] = field(default=(), repr=False)
    #: What its creator named its host, which no image can.
    hostname: str = ""
    limits: ContainerLimits = ContainerLimits()

    @property
    def run(self) -> Run:
        """This life of the container."""
        return Run(self.id, self.started_at)

    @property
    def has_run(self) -> bool:
        """Whether it was ever started: the engine writes the zero time of its language until then."""
        return self.started_at not in ("", NEVER_STARTED)

    @property
    def secrets(self) -> frozenset[str]:
        """The values of the process's environment that may be secret."""
        return secrets_in(entry.partition("=")[2] for entry in self.environment)


@dataclass(frozen=True)
class ListedContainer:
    """A container that belongs to a server, as a list of all tells it. ``waiting``: one of ours, made to take the place of another."""

    server: str
    id: str
    live: bool
    waiting: bool = False


@dataclass(frozen=True)
class ImageSeen:
    """An image that is on the node."""

    id: str
    healthcheck: bool = False
    volumes: tuple[str, ...] = ()


UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SHORT_ID_PATTERN = re.compile(r"[0-9a-f]{8}")


def parse_uuid(text: str) -> str | None:
    """The canonical form of a full UUID written with hyphens in any case, or None: nothing else may name a file or a container."""
    lowered = text.strip().lower()
    return lowered if UUID_PATTERN.fullmatch(lowered) else None
