# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's protocol holds in every order of events, and each of its rules is needed for that."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.fleet.power.tests.unit.supervisor_protocol import CASTS, SHOWN_BY, Walk, walk
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof import CASTS as PROOFS
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof import SHOWN_BY as PROOF_SHOWN_BY
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof import walk_proof
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof_states import ALL_RULES as PROOF_RULES
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof_states import Outcome
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof_states import Rule as ProofRule
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_states import ALL_RULES, At, Rule, Verdict

#: These casts take seven seconds in total, and reach every step and verdict.
_QUICK = ("two crashes", "a hang", "a person at the engine", "the first look", "an engine shut down")

_walked = functools.lru_cache(maxsize=None)(functools.partial(walk, rules=ALL_RULES))


@pytest.mark.samples(*_QUICK)
@pytest.mark.parametrize("name", CASTS, ids=str)
def test_with_every_rule_no_order_of_events_ends_badly(name: str) -> None:
    assert _walked(name).bad == {}


def test_the_quick_casts_reach_every_step_and_verdict() -> None:
    walks: list[Walk] = [_walked(name) for name in _QUICK]
    assert frozenset().union(*(found.reached for found in walks)) == set(At)
    assert frozenset().union(*(found.verdicts for found in walks)) == set(Verdict)
    assert sum(found.states for found in walks) > 100_000


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_without_one_rule_some_order_of_events_ends_badly(rule: Rule) -> None:
    found = walk(SHOWN_BY[rule], ALL_RULES - {rule}, first_bad=True)
    assert found.bad, rule.value


#: These casts take half a second in total.
_QUICK_PROOFS = ("deaths", "two power cuts", "a definition read again", "a removed container", "no revert")
#: These walks take half of the time of all.
_LONG_PROOFS = (ProofRule.DONE_IS_DONE, ProofRule.WHOLE_INTENT, ProofRule.NOTE_BY_PROVER, ProofRule.NEWER_RUN_VOIDS)

_proved = functools.lru_cache(maxsize=None)(functools.partial(walk_proof, rules=PROOF_RULES))


@pytest.mark.samples(*_QUICK_PROOFS)
@pytest.mark.parametrize("name", PROOFS, ids=str)
def test_with_every_rule_no_proof_of_a_new_version_ends_badly(name: str) -> None:
    assert _proved(name).bad == {}


def test_the_quick_proofs_reach_every_outcome() -> None:
    outcomes = frozenset().union(*(_proved(name).outcomes for name in (*_QUICK_PROOFS, "lost reports of a new version that exits")))
    assert outcomes == set(Outcome)


@pytest.mark.samples(*(rule.name for rule in ProofRule if rule not in _LONG_PROOFS))
@pytest.mark.parametrize("rule", ProofRule, ids=lambda rule: rule.name)
def test_without_one_rule_some_proof_of_a_new_version_ends_badly(rule: ProofRule) -> None:
    found = walk_proof(PROOF_SHOWN_BY[rule], PROOF_RULES - {rule}, first_bad=True)
    assert found.bad, rule.value
