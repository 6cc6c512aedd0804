# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What variables ask for the sake of players is understood on the controller as by the module, and refused in the same words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.options import player_policy
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.option import argument_spec
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import PLAYER_OPTIONS, read_policy
from ansible_collections.fleet.power.plugins.module_utils._power.options import POWER_OPTIONS

GIVEN: list[dict[str, Any]] = [
    {"players_at_most": 0, "max_delay": 600},
    {"players_at_most": "0", "max_delay": "600", "on_max_delay": "proceed"},
    {"warn": [600, 60], "warn_message": "{time}"},
    {"warn": "600,300, 60", "players_at_most": "3", "max_delay": "1800"},
    {"warn": ["60", 10]},
    {"warn": "60"},
]


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_values_are_understood_as_the_module_understands_them(given: dict[str, Any]) -> None:
    spec = pytest.importorskip("ansible.module_utils.common.arg_spec")
    options = {name: POWER_OPTIONS[name] for name in PLAYER_OPTIONS}
    validated = spec.ArgumentSpecValidator(argument_spec(options)).validate(given)
    assert validated.error_messages == []
    assert player_policy("restart", given) == read_policy("restart", True, validated.validated_parameters)


def test_what_is_null_was_not_given() -> None:
    assert player_policy("start", dict.fromkeys(PLAYER_OPTIONS)) is None
    assert player_policy("kill", {}) is None


@pytest.mark.parametrize("action", ["start", "kill"])
def test_an_action_that_has_no_regard_to_players_takes_none_of_it(action: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"Cannot {action} with warn: stop and restart alone"):
        player_policy(action, {"warn": [10]})
