# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens after a failed start of a server, from request, definition and settings; pure."""

from __future__ import annotations

from ..model.records import dataclass
from ..model.request import OnFailedStart, Request
from ..model.server import Server
from .definition import Definition
from .health_keys import REVERT_RULES
from .settings import Settings


@dataclass(frozen=True)
class RevertPolicy:
    """``settle``: seconds that a new version must stay up after it is ready. ``is_default``: the request does not ask itself.

    ``why`` names the rule that forbids the previous version, else it is empty.
    """

    on_failed_start: OnFailedStart
    settle: int
    is_default: bool
    revertible: bool = True
    why: str = ""


def revert_policy(settings: Settings, server: Server, definition: Definition, request: Request) -> RevertPolicy:
    """Return the policy of a start. Request, definition, rules and setting count in this order; the first rule with a key counts for it."""
    rules = [(number, rule) for number, rule in enumerate(settings.revert_rules, 1) if rule.servers.selects(server, definition)]
    said = (definition.on_failed_start, *(rule.on_failed_start for _number, rule in rules), settings.revert_on_failed_start)
    default = OnFailedStart(next(each for each in said if each is not None))
    number, revertible = next(((number, rule.revertible) for number, rule in rules if rule.revertible is not None), (0, True))
    return RevertPolicy(
        on_failed_start=request.on_failed_start or default,
        settle=settings.revert_settle if request.settle is None else request.settle,
        is_default=request.on_failed_start is None,
        revertible=revertible,
        why="" if revertible else f"rule {number} of {REVERT_RULES}",
    )
