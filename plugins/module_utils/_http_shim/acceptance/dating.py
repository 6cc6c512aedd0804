# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The moment that counts as an action's request, and the kill generation that was its server's then. For the acceptor's thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..._power.model.errors import LockUnavailable
from .queue import Ticket
from .shared_node import SharedNode


@dataclass(frozen=True)
class _GenerationSeen:
    """A server's kill generation, how often this process had raised it, and why it cannot be read, if so."""

    generation: int | None
    own_raises: int = 0
    fault: str = ""


def date(tickets: Sequence[Ticket], node: SharedNode) -> dict[Ticket, str]:
    """Let the actions be requested now; return for each why it cannot be taken, empty if it can.

    What was asked before a kill must not survive it: generations are read before the moment of the request.
    """
    seen = {uuid: _seen(uuid, node) for uuid in dict.fromkeys(ticket.uuid for ticket in tickets)}
    now = node.clock.now()
    return {ticket: _date(ticket, now, seen[ticket.uuid]) for ticket in tickets}


def _seen(uuid: str, node: SharedNode) -> _GenerationSeen:
    try:
        return _GenerationSeen(*node.generations.read_both(uuid))
    except LockUnavailable as error:
        return _GenerationSeen(None, fault=str(error))


def _date(ticket: Ticket, now: datetime, seen: _GenerationSeen) -> str:
    acceptance = ticket.acceptance
    if ticket.is_kill:
        return ""
    # A stop needs the generation only to tell whether a kill forced it.
    if seen.fault and acceptance.action.boots:
        return seen.fault
    ticket.own_raises = seen.own_raises
    ticket.acceptance = acceptance.requested(now, seen.generation)
    return ""
