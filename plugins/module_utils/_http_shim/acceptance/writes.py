# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that are handed to the acceptor to be written, and that it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from ..._power.journal.acceptance import ended, moved
from ..._power.model.result import Result
from .owed_writes import Write
from .queue import Ticket


@dataclass(frozen=True)
class Written:
    """A ticket whose acceptance was written, or its end, which is ``result``; or ``reason`` why that could not be."""

    ticket: Ticket
    reason: str = ""
    result: Result | None = None


@dataclass(frozen=True)
class Abandoned:
    """The end of an action that nobody but its acceptor writes: it never began, or had a fault of ours."""

    ticket: Ticket
    result: Result

    @property
    def origin(self) -> str:
        """Return who asked for the action."""
        return self.ticket.acceptance.origin


@dataclass(frozen=True)
class Requeued:
    """The kill generation that an accepted action is to be begun with, should this process not come to that."""

    operation: str
    generation: int


#: What becomes of acceptances that are written already.
Afterwards = Union[Abandoned, Requeued]
Unwritten = Union[Ticket, Afterwards]


def writes_of(after: Sequence[Afterwards]) -> list[Write]:
    """Return what writes these to the journal."""
    ends = [(each.result, each.origin) for each in after if isinstance(each, Abandoned)]
    moves = [(each.operation, each.generation) for each in after if isinstance(each, Requeued)]
    return [*([ended(ends)] if ends else ()), *([moved(moves)] if moves else ())]
