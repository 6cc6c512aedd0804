# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who plays on many servers, asked of their games at the same time, and in a bounded time whatever they answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from ...definitions.definition import Definition
from ...games.game import Game, Games
from ...host.concurrency import map_concurrently
from ...model.players import PlayerCount
from ...model.server import Server, Snapshot

#: Asks the game of a server, by its UUID, who plays.
AskPlayers = Callable[[str, Game], PlayerCount]

#: Seconds for all games together: one that does not answer takes some by itself.
_ALL_SECONDS = 10.0
_AT_ONCE = 32
_UNASKED = PlayerCount(why="the games of other servers took too long to answer")


def ask_players(_uuid: str, game: Game) -> PlayerCount:
    """Ask a game who plays, now."""
    return game.players()


def count_each(
    seen: Sequence[tuple[Server, Snapshot | None, Definition | None]], games: Games, ask: AskPlayers | None
) -> dict[str, dict[str, Any]]:
    """Return who plays on those that are up and of which something says what is played there, by UUID; ``ask`` None asks nobody."""
    if ask is None:
        return {}
    played: dict[str, Game] = {}
    for server, snapshot, definition in seen:
        game = games.of(server, snapshot, definition) if snapshot is not None and snapshot.live else None
        if game is not None:
            played[server.uuid] = game
    # Where time does not suffice for all, those that are slow must not take it from the same others every time.
    asked = random.sample(list(played.items()), len(played))
    counts = map_concurrently(lambda each: ask(*each), asked, _ALL_SECONDS, at_once=_AT_ONCE)
    return {uuid: (count or _UNASKED).facts() for (uuid, _game), count in zip(asked, counts)}
