# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slots of a server that waits for its players: given to others meanwhile, and taken again for its turn."""

from __future__ import annotations

from ...model.cancellation import CheckCancelled
from ..node.context import ActionContext
from ..node.limiter import Slots


class SlotsAside:
    """The slots of one server."""

    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._given: list[Slots] | None = None

    @property
    def are_aside(self) -> bool:
        """True while others have them."""
        return self._given is not None

    def leave(self, *, counts_on: bool) -> None:
        """Give them to others, but for the place of a countdown that goes on."""
        if self._given is None:
            self._given = self._context.slot.leave(counts_on=counts_on)

    def come_back(self, check_cancelled: CheckCancelled, *, first: bool) -> float:
        """Take them again, before all who wait or behind them; return how many seconds that took.

        Raises `FailureBudget` if too many others have failed meanwhile, and what ``check_cancelled`` raises.
        """
        if self._given is None:
            return 0.0
        context, clock = self._context, self._context.node.clock
        given, self._given = self._given, None
        began = clock.monotonic()
        context.slot.come_back(given, check_cancelled, first=first)
        context.slot.refuse_over_budget(context.uuid)
        return clock.monotonic() - began
