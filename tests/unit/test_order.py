# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Priorities: whose word counts, and which servers are acted on together."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import Priorities, read_priorities
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

COBALT = Server("0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001", "Cobalt")


def test_the_definitions_own_counts_where_no_map_has_the_server() -> None:
    assert Priorities.of({"Lobby": 1}).priority(COBALT, 7) == 7
    assert Priorities.of({"Cobalt": 1}).priority(COBALT, 7) == 1
    assert Priorities.of({"Cobalt": 0}).priority(COBALT, 7) == 0
    assert Priorities.of().priority(COBALT, 0) == 0


def test_the_first_map_that_has_it_counts_and_in_a_map_the_uuid_before_the_name() -> None:
    assert Priorities.of({"Cobalt": 3}, {COBALT.uuid: 4}).priority(COBALT) == 3
    assert Priorities.of({}, {"Cobalt": 3, COBALT.uuid: 4}).priority(COBALT) == 4


def test_a_uuid_counts_in_any_case_and_a_name_as_it_is() -> None:
    assert Priorities.of({COBALT.uuid.upper(): 3}).priority(COBALT) == 3
    assert Priorities.of({"cobalt": 3}).priority(COBALT) == 100
    assert Priorities.of({COBALT.short_id: 3}).priority(COBALT) == 100


@pytest.mark.parametrize("given, read", [(5, 5), (-7, -7), (0, 0), ("12", 12), (" -3 ", -3)])
def test_priorities_are_whole_numbers_be_they_written_as_text(given: object, read: int) -> None:
    assert read_priorities({"Cobalt": given, 404: 1}) == {"Cobalt": read, "404": 1}
    assert read_priorities(None) == {}


@pytest.mark.parametrize("given", [True, None, "high", 1.5, [1], 10**9, "\u0661"])
def test_anything_else_is_told_by_its_name(given: object) -> None:
    with pytest.raises(SettingsInvalid, match=r"Cannot use priorities\.Cobalt: it is .*, expected a whole number of at most 9 digits"):
        read_priorities({"Cobalt": given})
