# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests: a power action asked of a server, and what is asked with it; no behaviour beyond reading them."""

from __future__ import annotations

import re
import uuid as uuid_module
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from .errors import SettingsInvalid
from .players import PlayerPolicy
from .schema import blanked, describe, printable
from .server import PowerState, Server, parse_uuid
from .supervision import EndedRun


class PowerAction(str, Enum):
    """An action on a server: a verb."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"
    #: Sets no power, and is asked for by a way of its own: the limits of what runs. Lock, journal and all else it has in common with them.
    LIMIT = "limit"

    @classmethod
    def named(cls, text: object) -> PowerAction | None:
        """The action of this name, None where there is none."""
        return next((each for each in cls if each.value == text), None)

    @classmethod
    def asked(cls, text: object) -> PowerAction | None:
        """The action of this name that sets power, None where there is none: what users may ask of power."""
        found = cls.named(text)
        return found if found in POWER_ACTIONS else None

    @property
    def traits(self) -> ActionTraits:
        """What it is like."""
        return TRAITS[self]

    @property
    def boots(self) -> bool:
        """True if the action ends with a start, and so needs a definition and respects suspension."""
        return self.traits.meant_up is True


@dataclass(frozen=True)
class ActionTraits:
    """What an action is like, whatever the state it finds; what it does in which state is its plan (`plan`)."""

    #: Whether a server is meant to be up after it; None: as before.
    meant_up: bool | None
    #: The permission that a console's token needs for it, by the Panel's name.
    permission: str
    #: Whether of all servers it means those alone that are up.
    all_means_up: bool = False
    #: Whether it ends what players are in the middle of, and may be asked for with regard to them. A kill has regard to nobody.
    regards_players: bool = False


TRAITS: Mapping[PowerAction, ActionTraits] = {
    PowerAction.START: ActionTraits(meant_up=True, permission="control.start"),
    PowerAction.STOP: ActionTraits(meant_up=False, permission="control.stop", regards_players=True),
    PowerAction.RESTART: ActionTraits(meant_up=True, permission="control.restart", all_means_up=True, regards_players=True),
    # Who may stop a server may kill it.
    PowerAction.KILL: ActionTraits(meant_up=False, permission="control.stop"),
    # No token has it.
    PowerAction.LIMIT: ActionTraits(meant_up=None, permission=""),
}
#: Those that set power.
POWER_ACTIONS = tuple(action for action in PowerAction if action.traits.meant_up is not None)


class WaitFor(str, Enum):
    """The moment at which a start counts as done."""

    CONTAINER = "container"
    RUNNING = "running"
    HEALTHY = "healthy"


@dataclass(frozen=True)
class Readiness:
    """The moment at which a start counts as done, and how many seconds are waited for it at most."""

    wait_for: WaitFor = WaitFor.CONTAINER
    wait_timeout: int = 300


#: A start counts as done once its container runs.
CONTAINER_UP = Readiness()

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
    wait_for: WaitFor = CONTAINER_UP.wait_for
    wait_timeout: int = CONTAINER_UP.wait_timeout
    #: The states a server must be in for its turn to come; None: any.
    only: frozenset[PowerState] | None = None
    #: Whether the server was not named, but is one of all.
    one_of_all: bool = False
    #: A kill of all: the actions that held servers when it was asked for, by their UUIDs.
    held: Mapping[str, str] = field(default_factory=dict)
    #: Where only servers that are meant to be up have their turn: the UUIDs of those that were when this was asked for. None: all have.
    meant_up: frozenset[str] | None = None
    #: Whether only a server is meant whose container is not what its definition says.
    outdated: bool = False
    adopt: bool = False
    check: bool = False
    #: Whether the configuration files that change are to be shown: masking them takes long, and the lock is held meanwhile.
    diff: bool = False
    origin: str = ""
    reason: str = ""
    #: The ended run that a start of the supervisor is for: only as long as no newer run has come, and without an intent of its own.
    answers: EndedRun | None = None
    #: What ``reason`` begins with, if under this key the action is to be done once; empty: as often as it is asked for.
    once: str = ""
    #: What a stop or restart owes the players of a server that is up; None: nothing.
    players: PlayerPolicy | None = None

    def __post_init__(self) -> None:
        # Results, logs, locks and the journal show these to others than those who asked.
        for name in ("origin", "reason", "once"):
            object.__setattr__(self, name, blanked(getattr(self, name)))

    def generation(self, uuid: str) -> int:
        """The kill generation of ``uuid`` when this was requested: where it is not known by itself, how often all were killed."""
        return self.generations.get(uuid, self.generations.get(ALL, 0))


def new_operation_id() -> str:
    """A fresh id for one power action."""
    return str(uuid_module.uuid4())


#: The priority of a server where nothing says another.
DEFAULT_PRIORITY = 100
#: The most seconds between the beginnings of two servers.
LONGEST_STAGGER_SECONDS = 3600
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,9}\s*")


@dataclass(frozen=True)
class Priorities:
    """Maps of servers, by name or by UUID in any case, to their priorities: a lower one starts first and stops last."""

    maps: tuple[Mapping[str, int], ...] = ()

    @classmethod
    def of(cls, *given: Mapping[str, int]) -> Priorities:
        """Priorities from maps, the first that has a server being the one that counts. In each a UUID counts before a name."""
        return cls(tuple({parse_uuid(name) or name.strip(): priority for name, priority in each.items()} for each in given))

    def priority(self, server: Server, own: int | None = None) -> int:
        """The priority of a server, ``own`` being what its definition says, if it says any."""
        for each in self.maps:
            for name in filter(None, (server.uuid, server.name)):
                if name in each:
                    return each[name]
        return DEFAULT_PRIORITY if own is None else own


def read_priorities(given: Mapping[object, object] | None) -> dict[str, int]:
    """Priorities as a user gives them in a call, whole numbers that came as text included. Raises `SettingsInvalid`."""
    return {str(name): _whole_number(str(name), value) for name, value in (given or {}).items()}


def _whole_number(name: str, value: object) -> int:
    if isinstance(value, bool) or not _WHOLE_NUMBER.fullmatch(str(value)):
        raise SettingsInvalid(
            f"Cannot use priorities.{printable(name)}: it is {describe(value)}, expected a whole number of at most 9 digits"
        )
    return int(str(value))


def tiers(priorities: Sequence[int], *, highest_first: bool) -> list[list[int]]:
    """The positions of those that are acted on together, tier by tier: those of one priority, in the order given."""
    found: dict[int, list[int]] = {}
    for position, priority in enumerate(priorities):
        found.setdefault(priority, []).append(position)
    return [found[priority] for priority in sorted(found, reverse=highest_first)]
