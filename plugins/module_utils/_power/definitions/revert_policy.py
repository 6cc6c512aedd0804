# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens after a failed start of a server, from request, definition and settings; pure."""

from __future__ import annotations

from ..model.records import dataclass, replace
from ..model.request import OnFailedStart, Request
from .definition import Definition
from .health_keys import REVERT_RULES, RevertRule
from .settings import Settings


@dataclass(frozen=True)
class RevertPolicy:
    """``settle``: seconds that a new version must stay up after it is ready. ``is_default``: the request does not ask itself."""

    on_failed_start: OnFailedStart
    settle: int
    is_default: bool


def revert_policy(settings: Settings, definition: Definition, request: Request) -> RevertPolicy:
    """Return the policy of a start. Request, definition, rules and setting count in this order; the first rule with a key counts for it."""
    rules = (rule.on_failed_start for _number, rule in _rules(settings, definition))
    said = (definition.on_failed_start, *rules, settings.revert_on_failed_start)
    default = OnFailedStart(next(each for each in said if each is not None))
    return RevertPolicy(
        on_failed_start=request.on_failed_start or default,
        settle=settings.revert_settle if request.settle is None else request.settle,
        is_default=request.on_failed_start is None,
    )


def forbidding_rule(settings: Settings, definition: Definition, previous_image: str | None) -> str:
    """Return the rule that forbids the way back from a definition to an older image, by either image; "" if none does."""
    for each in (definition,) if previous_image is None else (definition, replace(definition, image=previous_image)):
        said = ((number, rule.revertible) for number, rule in _rules(settings, each) if rule.revertible is not None)
        number, revertible = next(said, (0, True))
        if not revertible:
            return f"rule {number} of {REVERT_RULES}"
    return ""


def _rules(settings: Settings, definition: Definition) -> list[tuple[int, RevertRule]]:
    """Return the rules that select a server, with their numbers."""
    return [(number, rule) for number, rule in enumerate(settings.revert_rules, 1) if rule.servers.selects(definition.server, definition)]
