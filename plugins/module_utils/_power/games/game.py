# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The game that runs on a server: asked who plays, and made to tell them something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..definitions.definition import Definition
from ..definitions.game_keys import names_of_profiles, profile_named
from ..definitions.settings import Settings
from ..engine.engine import Engine
from ..model.players import PlayerCount
from ..model.schema import printable
from ..model.server import Server, Snapshot


class Game(Protocol):
    """The game of one run of a server."""

    def players(self) -> PlayerCount:
        """Ask how many play; takes a few seconds at most, the whole exchange. Raises nothing: what was not answered is unknown."""

    def announce(self, text: str) -> str:
        """Tell those who play, in one line of text; return why that was not possible, empty where it was. Raises nothing."""


@dataclass(frozen=True)
class NoGame:
    """Why a server has no game: the reason, as it stands after its name, and where one was looked for."""

    why: str
    where: str

    def __str__(self) -> str:
        return f"{self.why}: {self.where}"


class Games(Protocol):
    """The games of a node."""

    def of(self, server: Server, snapshot: Snapshot, definition: Definition | None) -> Game | None:
        """Return the game of the run in ``snapshot``, None where no profile says what is played there."""

    def why_none(self, server: Server, definition: Definition | None) -> NoGame | None:
        """Say why a server has no game; None if it has one."""


class ProfiledGames:
    """The games that the profiles of the node's settings describe, and those that are built in."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine

    def of(self, server: Server, snapshot: Snapshot, definition: Definition | None) -> Game | None:
        name = self._named(server, definition)
        profile = profile_named(name, self._settings.game_profiles) if name else None
        if profile is None:
            return None
        # Who has no games needs nothing of what it takes to ask one.
        from .profiled import ProfiledGame

        return ProfiledGame(profile, snapshot, definition, self._engine)

    def why_none(self, server: Server, definition: Definition | None) -> NoGame | None:
        name, settings = self._named(server, definition), self._settings
        if not name:
            where = "neither settings.meta.game of its definition nor games.rules of the settings"
            return NoGame("nothing says what is played there", where)
        if profile_named(name, settings.game_profiles) is not None:
            return None
        return NoGame(f'settings.meta.game is "{printable(name)}", expected a profile', names_of_profiles(settings.game_profiles))

    def _named(self, server: Server, definition: Definition | None) -> str:
        """Return the name of a server's profile: what its definition says, else the first rule that is for it; empty if nothing does."""
        if definition is not None and definition.game:
            return definition.game
        return next((rule.game for rule in self._settings.game_rules if rule.servers.selects(server, definition)), "")
