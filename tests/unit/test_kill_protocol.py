# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kill protocol holds in every order of events, and needs each of its rules."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.tests.unit.kill_protocol import ALL_RULES, At, Rule, walk


def test_all_rules_together_prevent_every_bad_state() -> None:
    found, reverting = walk(ALL_RULES), walk(ALL_RULES, proves=True)
    assert (found.bad, reverting.bad) == ({}, {})
    # The walks cover the whole protocol: they reach every step but the forbidden one.
    assert found.reached | reverting.reached == set(At) - {At.UNHEARD}
    assert found.states > 100_000


@pytest.mark.samples("KILL_UNDER_LOCK", "LOOK_UNDER_LOCK", "REVERT_KEEPS_GENERATION")
@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_a_missing_rule_allows_a_bad_state(rule: Rule) -> None:
    found = walk(ALL_RULES - {rule}, proves=rule is Rule.REVERT_KEEPS_GENERATION, first_bad=True)
    assert found.bad, rule.value
