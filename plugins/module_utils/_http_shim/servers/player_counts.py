# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The players of servers: each game gets one question in some seconds, whatever the number of clients. For threads."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from ..._power.games.game import Game
from ..._power.model.errors import internal_error
from ..._power.model.players import PlayerCount

_FRESH_SECONDS = 5.0
#: The longest wait for an answer. Panels look all the time, so only the asking thread waits longer for a silent game.
_WAIT_SECONDS = 0.5
_SILENT = PlayerCount(why="the game has not answered yet")


@dataclass
class _Asked:
    """One question to a game: its time, and the answer once it is there."""

    since: float
    answered: threading.Event = field(default_factory=threading.Event)
    count: PlayerCount = _SILENT


class PlayerCounts:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._asked: dict[str, _Asked] = {}

    def of(self, uuid: str, game: Game) -> PlayerCount:
        """Return the players, a few seconds old at most; unknown if the game does not answer at once."""
        now = time.monotonic()
        with self._guard:
            asked = self._asked.get(uuid)
            if asked is None or (asked.answered.is_set() and now - asked.since >= _FRESH_SECONDS):
                asked = self._begin(uuid, game, now)
        asked.answered.wait(_WAIT_SECONDS)
        return asked.count

    def _begin(self, uuid: str, game: Game, now: float) -> _Asked:
        old = [each for each, asked in self._asked.items() if asked.answered.is_set() and now - asked.since >= _FRESH_SECONDS]
        for each in old:
            del self._asked[each]
        asked = self._asked[uuid] = _Asked(now)

        def ask() -> None:
            try:
                asked.count = game.players()
            except Exception as error:
                # A fault of ours must not hide the rest of the server.
                asked.count = PlayerCount(why=internal_error(error))
            finally:
                asked.answered.set()

        try:
            threading.Thread(target=ask, name="players", daemon=True).start()
        except RuntimeError as error:
            asked.count = PlayerCount(why=str(error))
            asked.answered.set()
        return asked
