# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers as they are told to readers, those included that could not be seen: what is unknown is not absent; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import PowerError
from .server import Server, parse_uuid


@dataclass(frozen=True)
class Unseen:
    """A server that is known, or that somebody named, and that could not be seen: why, as a stable code and a sentence.

    ``server`` has the text that was asked for in place of a UUID where nobody could tell which server that is.
    """

    server: Server
    code: str
    msg: str

    @classmethod
    def because(cls, server: Server, error: PowerError) -> Unseen:
        """Return a server that could not be seen for an error of ours."""
        return cls(server, error.code, str(error))

    def entry(self, names: Iterable[str]) -> dict[str, Any]:
        """Its entry among those of servers that were seen, which have fields of these ``names``: what is not known is None."""
        known = {
            "server": self.server.uuid,
            "short_id": None if parse_uuid(self.server.uuid) is None else self.server.short_id,
            "name": self.server.name or None,
        }
        return {**{name: known.get(name) for name in names}, "code": self.code, "msg": self.msg}


@dataclass(frozen=True)
class Described:
    """The facts read of servers.

    ``entries`` has one for each that is known, be it seen or not; ``warnings`` a sentence for each that could not be seen, or that nothing
    is known of; ``unlisted`` one for each list of servers that could not be had, so that servers may be missing. ``supervisor`` is what is
    known of the node's supervisor, ``events`` of its events; None where nobody tells.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    supervisor: Mapping[str, Any] | None = None
    events: Mapping[str, Any] | None = None

    @property
    def complete(self) -> bool:
        """True if every server that is meant has an entry, seen or not."""
        return not self.unlisted
