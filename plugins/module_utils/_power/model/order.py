# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order servers are acted on: the priority of each, decided in one place, and which of them are acted on together; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import SettingsInvalid
from .schema import describe, printable
from .server import Server, parse_uuid

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
