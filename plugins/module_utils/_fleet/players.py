# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What variables of a role or playbook ask for the sake of players, understood as the module will understand it; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .._power.model.errors import SettingsInvalid
from .._power.model.players import PLAYER_OPTIONS, PlayerPolicy, read_policy
from .._power.model.request import PowerAction
from .._power.options import POWER_OPTIONS

_WHOLE = re.compile(r"\s*[+-]?\d{1,12}\s*", re.ASCII)


def player_policy(action: str, given: Mapping[str, Any]) -> PlayerPolicy | None:
    """Return what an action owes the players by options that are ``given``, None if nothing; what is None was not given.

    Raises `SettingsInvalid`. Numbers may be text, and a list text with commas, as on a command line.
    """
    options = {name: _typed(name, given[name]) for name in PLAYER_OPTIONS if given.get(name) is not None}
    return read_policy(action, PowerAction(action).traits.regards_players, options)


def players_fault(given: Mapping[str, Any], action: str) -> str | None:
    """Why options for the sake of players make no sense for an action, as a sentence; None if they do."""
    try:
        player_policy(action, given)
    except SettingsInvalid as error:
        return str(error)
    return None


def _typed(name: str, value: object) -> object:
    """Return a value as the module's option would have it; one that it would refuse is left as it is."""
    kind = POWER_OPTIONS[name].type
    if kind == "list":
        each = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
        return [_number(item) for item in each]
    return _number(value) if kind == "int" else value


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
