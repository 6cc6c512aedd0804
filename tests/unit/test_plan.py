# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan table, against a table written by hand a second time: every action in every state."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.plan import TABLE, plan, planned_state
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import TRAITS, PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import PlanStep
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

CELLS = tuple(itertools.product(PowerAction, PowerState))
STATES = ("offline", "starting", "running", "stopping")
WANTED = {
    "start": ("preboot start", "", "", "await_exit preboot start"),
    "stop": ("", "stop", "stop", "stop"),
    "restart": ("preboot start", "stop preboot start", "stop preboot start", "stop preboot start"),
    "kill": ("", "kill", "kill", "kill"),
    "limit": ("", "limit", "limit", ""),
}


def words(steps: tuple[PlanStep, ...]) -> str:
    return " ".join(step.value for step in steps)


@pytest.mark.parametrize("action, state", CELLS, ids=lambda each: each.value)
def test_each_cell_has_the_steps_the_table_of_the_guide_shows(action: PowerAction, state: PowerState) -> None:
    assert words(plan(action, state).steps) == WANTED[action.value][STATES.index(state.value)]


def test_the_table_has_every_cell_and_no_other() -> None:
    assert set(TABLE) == set(CELLS)
    assert [state.value for state in PowerState] == list(STATES)


@pytest.mark.parametrize("action, state", CELLS, ids=lambda each: each.value)
def test_nothing_to_do_is_explained_and_something_to_do_is_not(action: PowerAction, state: PowerState) -> None:
    chosen = plan(action, state)
    assert bool(chosen.reason) == (not chosen.steps)


@pytest.mark.parametrize("action, state", CELLS, ids=lambda each: each.value)
def test_the_state_planned_follows_from_the_action(action: PowerAction, state: PowerState) -> None:
    steps = plan(action, state).steps
    after = planned_state(steps, state, has_matchers=False)
    if not steps:
        assert after is state
    elif action.traits.meant_up:
        assert after is PowerState.RUNNING
        assert planned_state(steps, state, has_matchers=True) is PowerState.STARTING
    elif action.traits.meant_up is False:
        assert after is PowerState.OFFLINE
    else:
        assert after is state


def test_it_is_said_of_every_action_what_it_is_like() -> None:
    assert set(TRAITS) == set(PowerAction)
