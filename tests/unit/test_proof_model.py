# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The prover decides as the model of the proof: `decide` of both, in the states of a walk."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.proof import Proof, ProofFacts, ProofStep, decide, intent_text
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import Verdict
from ansible_collections.fleet.power.tests.unit import supervisor_protocol_proof_states as model
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof import walk_proof

#: The verdicts of the model. The supervisor ends the candidate with a restart, or with a stop if it must stay down.
_VERDICTS = {
    model.Verdict.CRASH: Verdict.CRASHED,
    model.Verdict.OURS: Verdict.STOPPED,
    model.Verdict.TO_START: Verdict.RESTARTING,
    model.Verdict.TAKEN_DOWN: Verdict.RESTARTING,
    model.Verdict.PERSON: Verdict.STOPPED_EXTERNALLY,
    model.Verdict.ENGINE: Verdict.ENGINE_STOPPED,
    model.Verdict.UNOBSERVED: Verdict.ENDED_UNOBSERVED,
}
#: The model has no decision for a note and for the beginning of the time to stay up, and none for a revert that is done.
_DECISIONS = {
    ProofStep.WAIT: model.Decision.WAIT,
    ProofStep.NOTE: model.Decision.WAIT,
    ProofStep.SETTLE: model.Decision.WAIT,
    ProofStep.FAIL: model.Decision.FAIL,
    ProofStep.REVERTED: model.Decision.FAIL,
    ProofStep.LEFT_DOWN: model.Decision.FAIL,
    ProofStep.PROVED: model.Decision.PROVED,
    ProofStep.VOID: model.Decision.VOID,
    ProofStep.UNKNOWN: model.Decision.UNKNOWN,
}
#: Seconds of the boot: the present, the end of the time to stay up, and the limit of the time to become ready.
_EARLY, _SETTLED, _LATE = 1.0, 5.0, 10.0
_CANDIDATE, _PREVIOUS_START = Run("candidate", "its start"), "the last start of the previous version"


def _intent(intent: model.Intent) -> str:
    return intent_text(intent.operation.replace(" ", "-"), str(intent.up))


def _proof(state: model.State, row: model.Proof) -> Proof:
    """Return the row as the code has it."""
    is_back = row.decided is model.Decision.FAIL and model.has_run_since(state.run, row)
    return Proof(
        "uuid",
        "name",
        row.operation.replace(" ", "-"),
        "at",
        intent=_intent(row.before),
        present=str(row.previous),
        present_started_at=_PREVIOUS_START,
        previous=str(row.previous),
        back="back" if is_back else "",
        container=_CANDIDATE.container if row.named else "",
        started_at=_CANDIDATE.started_at if row.named else "",
        forbids="" if row.revertible else "a rule",
        boot="boot",
        ready_by=_LATE if row.named else 0.0,
        settled_by=_SETTLED if row.named and state.run.settled else 0.0,
        tried=row.named,
        failed="it failed" if row.decided is model.Decision.FAIL else "",
    )


def _run(state: model.State, proof: Proof) -> Run | None:
    """Return the run of the container with the server's name."""
    run = state.run
    if state.place != run.container:
        return None
    if run.prior and str(run.container) == proof.previous:
        return Run(proof.previous, _PREVIOUS_START)
    if proof.back:
        return Run(proof.back, "its start")
    return _CANDIDATE if run.noted else Run(str(run.container), "another start")


def _facts(state: model.State, row: model.Proof, proof: Proof) -> ProofFacts:
    run = state.run
    verdict = None if run.verdict is None else _VERDICTS[run.verdict]
    if run.verdict is model.Verdict.TAKEN_DOWN and not row.revertible:
        verdict = Verdict.STOPPED
    return ProofFacts(
        "boot",
        _LATE if run.late or run.settled else _EARLY,
        killed=state.raised != row.generation,
        intent=_intent(state.intent),
        should_be_up=state.intent.up is True,
        by_revert=state.intent.operation == "prover",
        run=_run(state, proof),
        live=run.up,
        verdict=None if run.prior else verdict,
        due=run.due,
        present_verdict=verdict if run.prior else Verdict.RESTARTING,
    )


def _is_comparable(state: model.State) -> bool:
    """Tell if both decide by themselves. Only the code looks for a stop under way and for the previous container elsewhere."""
    row, run = state.open, state.run
    if row is None or not (state.alive and state.writable and state.free) or state.away or row.decided not in (None, model.Decision.FAIL):
        return False
    is_ending = run.up and run.asked is not None
    return not is_ending and row.previous in (state.place, state.aside)


@pytest.mark.samples("deaths", "no revert")
@pytest.mark.parametrize("name", ["deaths", "two power cuts", "a definition read again", "no revert", "no revert, a person here"])
def test_code_and_model_decide_alike(name: str) -> None:
    compared, wrong = 0, []

    def look(state: model.State) -> None:
        nonlocal compared
        if not _is_comparable(state):
            return
        row = state.open
        assert row is not None
        compared += 1
        proof = _proof(state, row)
        step, why = decide(proof, _facts(state, row, proof))
        if _DECISIONS[step] is not model.decide(state, model.ALL_RULES):
            wrong.append((step, why, state))

    walk_proof(name, model.ALL_RULES, look=look)
    assert not wrong, wrong[0]
    assert compared > 500
