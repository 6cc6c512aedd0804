# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The game of a server: its player count, and messages to its players."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..definitions.definition import Definition
from ..definitions.game_keys import names_of_profiles, profile_named
from ..definitions.settings import Settings
from ..model.players import PlayerCount
from ..model.records import dataclass
from ..model.schema import printable
from ..model.server import Server, Snapshot

if TYPE_CHECKING:
    from ..engine.docker_engine import DockerEngine


class Game(Protocol):
    """The game of one run of a server."""

    def players(self) -> PlayerCount:
        """Return the player count, within a few seconds. Raises nothing: without an answer the count is unknown."""

    def announce(self, text: str) -> str:
        """Send players one line of text; return the reason of a failure, else an empty text. Raises nothing."""


@dataclass(frozen=True)
class NoGame:
    """The reason why a server has no game, and what to do."""

    why: str
    advice: str

    def __str__(self) -> str:
        return f"{self.why}; {self.advice}"


class ProfiledGames:
    """The games of a node, from the profiles of its settings and from built-in ones."""

    def __init__(self, settings: Settings, engine: DockerEngine) -> None:
        self._settings = settings
        self._engine = engine

    def of(self, server: Server, snapshot: Snapshot, definition: Definition | None) -> Game | None:
        """Return the game of the run in ``snapshot``, None without a profile."""
        name = self._named(server, definition)
        profile = profile_named(name, self._settings.game_profiles) if name else None
        if profile is None:
            return None
        # Loaded here: a node without games does not need it.
        from .profiled import ProfiledGame

        return ProfiledGame(profile, snapshot, definition, self._engine)

    def why_none(self, server: Server, definition: Definition | None) -> NoGame | None:
        """Return why a server has no game; None if it has one."""
        name, settings = self._named(server, definition), self._settings
        if not name:
            return NoGame("no game profile", "set settings.meta.game of its definition, or games.rules of the settings")
        if profile_named(name, settings.game_profiles) is not None:
            return None
        return NoGame(f'"{printable(name)}" is no game profile', f"set settings.meta.game to {names_of_profiles(settings.game_profiles)}")

    def _named(self, server: Server, definition: Definition | None) -> str:
        if definition is not None and definition.game:
            return definition.game
        return next((rule.game for rule in self._settings.game_rules if rule.servers.selects(server, definition)), "")
