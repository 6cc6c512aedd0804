# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values the core speaks in: enumerations and frozen dataclasses, no behaviour beyond reading them."""

from __future__ import annotations

import re
import uuid as uuid_module
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from .redaction import secrets_in


class PowerAction(str, Enum):
    """An action on a server: a verb."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"

    @property
    def boots(self) -> bool:
        """True if the action ends with a start, and so needs a definition and respects suspension."""
        return self in (PowerAction.START, PowerAction.RESTART)


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


class WaitFor(str, Enum):
    """The moment at which a start counts as done."""

    CONTAINER = "container"
    RUNNING = "running"
    HEALTHY = "healthy"


class Outcome(str, Enum):
    """How an action on one server ended."""

    DONE = "done"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SKIPPED = "skipped"


class Phase(str, Enum):
    """The work of a lock's holder; ``START`` and ``STOP`` mean that a request to the engine may be under way."""

    PREPARE = "prepare"
    PULL = "pull"
    STOP = "stop"
    QUEUE = "queue"
    PREBOOT = "preboot"
    START = "start"
    OBSERVE = "observe"
    KILL = "kill"


class PlanStep(str, Enum):
    """A part of a plan."""

    AWAIT_EXIT = "await_exit"
    STOP = "stop"
    KILL = "kill"
    PREBOOT = "preboot"
    START = "start"


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
    image: str = ""
    image_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    #: What a live one has published, as ``25565/tcp``.
    ports: frozenset[str] = frozenset()
    environment: tuple[str, ...] = field(default=(), repr=False)
    #: What its creator named its host, which no image can.
    hostname: str = ""

    @property
    def run(self) -> Run:
        """This life of the container."""
        return Run(self.id, self.started_at)

    @property
    def secrets(self) -> frozenset[str]:
        """The values of the process's environment that may be secret."""
        return secrets_in(entry.partition("=")[2] for entry in self.environment)


@dataclass(frozen=True)
class ImageSeen:
    """An image that is on the node."""

    id: str
    healthcheck: bool = False
    volumes: tuple[str, ...] = ()


#: The word that stands for every server of the node.
ALL = "all"


@dataclass(frozen=True)
class Request:
    """One power action asked of one server. Everything that is decided later is decided from this and what is found.

    ``generations`` are the kill generations at the moment of the request: what was asked before a kill must not survive it.
    """

    server: str
    action: PowerAction
    operation: str
    requested_at: datetime
    generations: Mapping[str, int] = field(default_factory=dict)
    wait_seconds: int = 30
    stop_timeout: int | None = None
    wait_for: WaitFor = WaitFor.CONTAINER
    wait_timeout: int = 300
    #: The states a server must be in for its turn to come; None: any.
    only: frozenset[PowerState] | None = None
    #: Whether the server was not named, but is one of all.
    one_of_all: bool = False
    #: Where only servers that are meant to be up have their turn: the UUIDs of those that were when this was asked for. None: all have.
    meant_up: frozenset[str] | None = None
    adopt: bool = False
    check: bool = False
    #: Whether the configuration files that change are to be shown: masking them takes long, and the lock is held meanwhile.
    diff: bool = False
    origin: str = ""
    reason: str = ""
    #: What ``reason`` begins with, if under this key the action is to be done once; empty: as often as it is asked for.
    once: str = ""

    def generation(self, uuid: str) -> int:
        """The kill generation of ``uuid`` when this was requested: where it is not known by itself, how often all were killed."""
        return self.generations.get(uuid, self.generations.get(ALL, 0))


@dataclass(frozen=True)
class StopReport:
    """How a stop went: by which way, whether SIGKILL was needed, and how long it took."""

    how: str
    forced: bool
    seconds: float


@dataclass(frozen=True)
class PrebootStep:
    """One pre-boot step as it went."""

    step: str
    changed: bool = False
    failed: bool = False
    seconds: float = 0.0
    msg: str = ""


@dataclass(frozen=True)
class FileDiff:
    """A configuration file before and after, for people to see, with secrets masked; ``path`` is within the data directory."""

    path: str
    before: str = field(repr=False)
    after: str = field(repr=False)


@dataclass(frozen=True)
class Result:
    """The result of one action on one server: what really happened."""

    server: Server
    action: PowerAction
    outcome: Outcome
    operation: str
    requested_at: datetime
    ended_at: datetime
    code: str = ""
    msg: str = ""
    changed: bool = False
    state_before: PowerState | None = None
    state: PowerState | None = None
    state_planned: PowerState | None = None
    stop: StopReport | None = None
    waited_seconds: float = 0.0
    holder: Mapping[str, Any] | None = None
    plan: tuple[PlanStep, ...] = ()
    preboot: tuple[PrebootStep, ...] = ()
    cancelled: PowerAction | None = None
    exit_code: int | None = None
    log: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    #: The configuration files that were written, in the order written; in check mode those that would be.
    files: tuple[FileDiff, ...] = ()


UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SHORT_ID_PATTERN = re.compile(r"[0-9a-f]{8}")


def parse_uuid(text: str) -> str | None:
    """The canonical form of a full UUID written with hyphens in any case, or None: nothing else may name a file or a container."""
    lowered = text.strip().lower()
    return lowered if UUID_PATTERN.fullmatch(lowered) else None


def new_operation_id() -> str:
    """A fresh id for one power action."""
    return str(uuid_module.uuid4())
