# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the settings that select servers: which of them a tenant could turn to himself, and which select no server; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..model.request import ALL
from ..model.schema import Check, Gathered, Mismatch
from ..model.server import Server
from .game_keys import GAME_RULES
from .health_keys import HEALTHCHECKS, REVERT_RULES
from .receiver_keys import RECEIVERS, ReceiverRule
from .selectors import ServerSelector
from .settings_keys import HOOKS, SUPERVISOR_RULES

if TYPE_CHECKING:
    from .definition import Definition

P = TypeVar("P")

_REMOTE = "remote"
#: A tenant gains from these if they select his server: programs of root, checks, an older version.
_TRUSTED = (HEALTHCHECKS, REVERT_RULES, HOOKS)
_RULES = (SUPERVISOR_RULES, *_TRUSTED, GAME_RULES)
#: The keys with rules that select servers.
SELECTING = (*_RULES, RECEIVERS)


def selectors_of(values: Mapping[str, Any]) -> dict[str, ServerSelector]:
    """Return the selector of each rule in the settings ``values``, by its place, for example ``hooks[0]``."""
    found = {f"{key}[{index}]": rule.servers for key in _RULES for index, rule in enumerate(values[key])}
    return {**found, **receiver_selectors(values[RECEIVERS], RECEIVERS)}


def receiver_selectors(rules: Iterable[ReceiverRule], key: str) -> dict[str, ServerSelector]:
    """Return the selectors of receivers by their places below ``key``."""
    return {
        f"{key}[{index}].servers[{number}]": selector for index, rule in enumerate(rules) for number, selector in enumerate(rule.servers)
    }


def idle(selectors: Mapping[P, ServerSelector], servers: Iterable[tuple[Server, Definition | None]]) -> list[P]:
    """Return the places of the rules that cannot select any of the ``servers``. It reads them only as far as necessary."""
    left = dict(selectors)
    for server, definition in servers if left else ():
        left = {place: selector for place, selector in left.items() if not selector.may_select(server, definition)}
        if not left:
            break
    return list(left)


def require_trusted_selectors(values: Mapping[str, Any]) -> None:
    """Raise `Mismatch` for each rule that a tenant could turn to his server: with a Panel he may change its name and its image."""
    if not values[_REMOTE]:
        return
    gathered = Gathered()
    for key in _TRUSTED:
        for index, rule in enumerate(values[key]):
            servers: ServerSelector = rule.servers
            if servers.name or servers.image:
                gathered.note(Mismatch(f"{key}[{index}].{'server' if servers.name else 'image'}", _WHY))
    gathered.end()


_WHY = f"can be changed by the tenant in the Panel, expected {ALL} or a UUID as server, an egg or a label"

TRUSTED_SELECTORS = Check((_REMOTE, *_TRUSTED), require_trusted_selectors)
