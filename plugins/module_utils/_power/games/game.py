# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The game that runs on a server: asked who plays, and made to tell them something."""

from __future__ import annotations

from typing import Protocol

from ..definitions.definition import Definition
from ..definitions.settings import Settings
from ..engine.engine import Engine
from ..model.players import PlayerCount
from ..model.server import Server, Snapshot


class Game(Protocol):
    """The game of one run of a server."""

    def players(self) -> PlayerCount:
        """Ask how many play; takes a few seconds at most, the whole exchange. Raises nothing: what was not answered is unknown."""

    def announce(self, text: str) -> str:
        """Tell those who play, in one line of text; return why that was not possible, empty where it was. Raises nothing."""


class Games(Protocol):
    """The games of a node."""

    def of(self, server: Server, snapshot: Snapshot, definition: Definition | None) -> Game | None:
        """Return the game of the run in ``snapshot``, None where no profile says what is played there."""


class ProfiledGames:
    """The games that the profiles of the node's settings describe."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine

    def of(self, server: Server, snapshot: Snapshot, definition: Definition | None) -> Game | None:
        return None
