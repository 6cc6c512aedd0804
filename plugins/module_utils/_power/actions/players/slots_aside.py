# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slots of a server that waits for its players: given to others meanwhile, and taken again for its turn, apart from the one before."""

from __future__ import annotations

from ...model.cancellation import CheckCancelled
from ..node.context import ActionContext
from ..node.limiter import Slots


class SlotsAside:
    """The slots of one server."""

    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._given: list[Slots] | None = None
        self._is_apart = False

    @property
    def are_aside(self) -> bool:
        """True while others have them."""
        return self._given is not None

    def leave(self, *, counts_on: bool) -> None:
        """Give them to others, but for the place of a countdown that goes on."""
        if self._given is None:
            self._given, self._is_apart = self._context.slot.leave(counts_on=counts_on), False

    def come_back(self, check_cancelled: CheckCancelled, *, first: bool) -> float:
        """Take them again, before all who wait or behind them, and wait until it may begin after the one before it.

        Return how many seconds that took. Raises `FailureBudget` if too many others have failed meanwhile, and what ``check_cancelled``
        raises.
        """
        context, clock = self._context, self._context.node.clock
        given, self._given = self._given, None
        began = clock.monotonic()
        if given is not None:
            context.slot.come_back(given, check_cancelled, first=first)
            context.slot.refuse_over_budget(context.uuid)
        if not self._is_apart:
            # Before players are told for the last time, and before the last look at them: it may take long.
            context.slot.begin_apart(context.uuid, check_cancelled)
            self._is_apart = True
        return clock.monotonic() - began
