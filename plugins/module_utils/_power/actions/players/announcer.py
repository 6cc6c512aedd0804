# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling players of a server what is about to happen to it, at each mark of a countdown, and that it does not happen after all."""

from __future__ import annotations

from ...games.game import Game
from ...games.message import filled, spoken_time
from ...model.players import PlayerPolicy
from ..node.context import ActionContext

_CALLED_OFF = "Server {action} called off."
#: Later than by so much, in seconds and as a part of it, a mark says how much is left.
_LATE_SECONDS, _LATE_PART = 2.0, 0.15


def called_off(action: str) -> str:
    """Return what players are told of an action that does not come after all."""
    return filled(_CALLED_OFF, {"action": action})


class Announcer:
    """Tells the players of one run."""

    def __init__(self, context: ActionContext, policy: PlayerPolicy, game: Game | None) -> None:
        self._context = context
        self._policy = policy
        self._game = game
        #: The marks at which players were told, in their order.
        self.marks: list[int] = []
        #: Whether all that was said reached the game; None while nothing was said.
        self.reached: bool | None = None

    def tell(self, mark: int, left: float) -> None:
        """Tell that it comes: in so many seconds as the mark says, unless fewer are left by now."""
        seconds = mark if mark - left <= max(mark * _LATE_PART, _LATE_SECONDS) else max(round(left), 1)
        self.marks.append(mark)
        context, request = self._context, self._context.request
        # The key of a run or a deployment means nothing to players.
        reason = request.reason[len(request.once) :].lstrip(": ") if request.once else request.reason
        server = context.progress.server
        values = {"time": spoken_time(seconds), "action": context.verb, "reason": reason, "server": server.name or server.short_id}
        self._say(filled(self._policy.warn_message, values))

    def call_off(self, action: str) -> None:
        """Tell that an action does not come, this one or one that was told of before."""
        self._say(called_off(action))

    def _say(self, text: str) -> None:
        context = self._context
        if self._game is None:
            self.reached = False
            return
        why = self._game.announce(text)
        if why:
            context.progress.warn(f"server {context.uuid}: its players could not be told: {why}")
        self.reached = self.reached is not False and not why
