# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests: a power action for one server, with its options. No behaviour beyond reading them."""

from __future__ import annotations

import re
import uuid as uuid_module
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from .cancellation import Deadline
from .errors import SettingsInvalid
from .players import PlayerPolicy
from .records import dataclass, field
from .schema import blanked, describe, printable
from .server import PowerState, Server, parse_uuid
from .supervision import EndedRun

if TYPE_CHECKING:
    from .proof import Proof


class PowerAction(str, Enum):
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"
    #: Sets limits, not power, and has its own entry points. Lock and journal work as for power actions.
    LIMIT = "limit"

    @classmethod
    def named(cls, text: object) -> PowerAction | None:
        return next((each for each in cls if each.value == text), None)

    @classmethod
    def asked(cls, text: object) -> PowerAction | None:
        found = cls.named(text)
        return found if found in POWER_ACTIONS else None

    @property
    def traits(self) -> ActionTraits:
        return TRAITS[self]

    @property
    def boots(self) -> bool:
        """True if the action ends with a start: it needs a definition and respects suspension."""
        return self.traits.should_be_up is True


@dataclass(frozen=True)
class ActionTraits:
    """The properties of an action, in any state. `plan` has what it does in each state."""

    #: Whether the server should be up afterwards; None: as before.
    should_be_up: bool | None
    #: The Panel's permission that a console token needs.
    permission: str
    #: "all" selects only servers that are up.
    all_means_up: bool = False
    #: It interrupts players, and can wait for them. A kill never waits.
    affects_players: bool = False


TRAITS: Mapping[PowerAction, ActionTraits] = {
    PowerAction.START: ActionTraits(should_be_up=True, permission="control.start"),
    PowerAction.STOP: ActionTraits(should_be_up=False, permission="control.stop", affects_players=True),
    PowerAction.RESTART: ActionTraits(should_be_up=True, permission="control.restart", all_means_up=True, affects_players=True),
    # A token that may stop may kill.
    PowerAction.KILL: ActionTraits(should_be_up=False, permission="control.stop"),
    PowerAction.LIMIT: ActionTraits(should_be_up=None, permission=""),
}
POWER_ACTIONS = tuple(action for action in PowerAction if action.traits.should_be_up is not None)


class WaitFor(str, Enum):
    CONTAINER = "container"
    RUNNING = "running"
    HEALTHY = "healthy"


class OnFailedStart(str, Enum):
    LEAVE = "leave"
    #: Start the previous version again.
    REVERT = "revert"


DEFAULT_SETTLE_SECONDS, LONGEST_SETTLE_SECONDS = 30, 3600


@dataclass(frozen=True)
class Readiness:
    """``wait_for`` and the longest wait in seconds. The others are as in `Request`."""

    wait_for: WaitFor = WaitFor.CONTAINER
    wait_timeout: int = 300
    on_failed_start: OnFailedStart | None = None
    settle: int | None = None

    @property
    def waits(self) -> bool:
        """True if the request itself asks for more than a process."""
        return self.wait_for is not WaitFor.CONTAINER or self.on_failed_start is OnFailedStart.REVERT


#: A start counts as done once its container runs.
CONTAINER_UP = Readiness()

#: Selects every server of the node.
ALL = "all"


@dataclass(frozen=True)
class Request:
    """One power action for one server. All later decisions use only this and the state of the server."""

    server: str
    action: PowerAction
    operation: str
    requested_at: datetime
    #: The kill generations at the time of the request: a kill cancels earlier requests.
    generations: Mapping[str, int] = field(default_factory=dict)
    wait_seconds: int = 30
    stop_timeout: int | None = None
    wait_for: WaitFor = CONTAINER_UP.wait_for
    wait_timeout: int = CONTAINER_UP.wait_timeout
    #: None: as `revert_policy` takes it from the definition and the settings.
    on_failed_start: OnFailedStart | None = None
    #: Seconds that a new version must stay up after it is ready; None: the setting's.
    settle: int | None = None
    #: With ``outdated``: select a server also if its present definition and image failed before, and were reverted.
    retry_reverted: bool = False
    #: The server must be in one of these states; None: any.
    only: frozenset[PowerState] | None = None
    #: The server was selected by "all", not by name.
    one_of_all: bool = False
    #: For a kill of all: the holders of locks at the request (`Holder`), by UUID.
    held: Mapping[str, Any] = field(default_factory=dict)
    #: If set: UUIDs of the servers that should be up at the time of the request; others are skipped. None: no condition.
    should_be_up: frozenset[str] | None = None
    #: Only a server whose container differs from its definition is selected.
    outdated: bool = False
    adopt: bool = False
    #: A freeze does not refuse it: it brings back a server after a boot.
    ignores_freeze: bool = False
    check: bool = False
    #: Show changes of configuration files. Masking is slow and holds the lock.
    diff: bool = False
    origin: str = ""
    reason: str = ""
    #: The ended run that a supervisor's start follows, or the run that its restart ends, because it hangs. Another run makes the action
    #: void; it writes no intent.
    ended_run: EndedRun | None = None
    #: The proof of a new version that failed, for the supervisor's way back.
    proof: Proof | None = None
    #: The action runs once under this key, with which ``reason`` begins; empty: every time.
    idempotency_key: str = ""
    #: A stop before the node stops: when its grace ends at the latest. It writes no intent, and runs no hook.
    stop_by: Deadline | None = None
    #: How a stop or restart considers players; None: not at all.
    players: PlayerPolicy | None = None

    def __post_init__(self) -> None:
        # Results, logs, locks and the journal show these to other users.
        for name in ("origin", "reason", "idempotency_key"):
            object.__setattr__(self, name, blanked(getattr(self, name)))

    @property
    def follows_end(self) -> bool:
        """True for a start by the supervisor after a run's end."""
        return self.ended_run is not None and self.action is PowerAction.START

    @property
    def follows_hang(self) -> bool:
        """True for a restart by the supervisor of a server that hangs."""
        return self.ended_run is not None and self.action is PowerAction.RESTART

    def generation(self, uuid: str) -> int:
        """Return the kill generation of ``uuid`` at the request; if that is unknown, that of all servers."""
        return self.generations.get(uuid, self.generations.get(ALL, 0))


def new_operation_id() -> str:
    return str(uuid_module.uuid4())


DEFAULT_PRIORITY = 100
LONGEST_STAGGER_SECONDS = 3600
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,9}\s*")


@dataclass(frozen=True)
class Priorities:
    """Maps from server name or UUID (any case) to priority: a lower one starts first and stops last."""

    maps: tuple[Mapping[str, int], ...] = ()

    @classmethod
    def of(cls, *given: Mapping[str, int]) -> Priorities:
        """The first map that has a server counts. In each map the UUID counts before the name."""
        return cls(tuple({parse_uuid(name) or name.strip(): priority for name, priority in each.items()} for each in given))

    def priority(self, server: Server, own: int | None = None) -> int:
        for each in self.maps:
            for name in filter(None, (server.uuid, server.name)):
                if name in each:
                    return each[name]
        return DEFAULT_PRIORITY if own is None else own


def read_priorities(given: Mapping[object, object] | None) -> dict[str, int]:
    """Read priorities of a call; text that is a whole number counts. Raises `SettingsInvalid`."""
    return {str(name): _whole_number(str(name), value) for name, value in (given or {}).items()}


def _whole_number(name: str, value: object) -> int:
    if isinstance(value, bool) or not _WHOLE_NUMBER.fullmatch(str(value)):
        raise SettingsInvalid(
            f"Cannot use priorities.{printable(name)}: it is {describe(value)}, expected a whole number of at most 9 digits"
        )
    return int(str(value))


def tiers(priorities: Sequence[int], *, highest_first: bool) -> list[list[int]]:
    """Return the positions of each priority, tier by tier, in the given order."""
    found: dict[int, list[int]] = {}
    for position, priority in enumerate(priorities):
        found.setdefault(priority, []).append(position)
    return [found[priority] for priority in sorted(found, reverse=highest_first)]
