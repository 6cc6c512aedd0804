# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The moves of the supervisor in the proof of a new version: the starter and the prover."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof_states import (
    FREE,
    OLD,
    OTHER,
    PERSONS,
    STARTED,
    Actor,
    At,
    By,
    Decision,
    Intent,
    Kind,
    Outcome,
    Proof,
    Rule,
    Rules,
    Run,
    State,
    Verdict,
    Wish,
    decide,
    has_run_since,
    is_candidate,
    knows_intent,
    reverts,
)

Move = tuple[str, State]

_OUTCOMES = {
    Decision.VOID: Outcome.VOID,
    Decision.PROVED: Outcome.PROVED,
    Decision.UNKNOWN: Outcome.UNKNOWN,
    Decision.FAIL: Outcome.REVERTED,
}


def started(state: State, container: int, by: By, rules: Rules) -> State:
    """The state in which a run has started."""
    run, proof = state.run, state.open
    fault = state.fault
    if run.up:
        fault = "two versions are up"
    elif by in (By.STARTER, By.REVERT) and state.failed and container != state.proved:
        fault = "the failed version is started again"
    elif by is By.REVERT and run.by in PERSONS and run.container != container and not run.prior:
        fault = "the previous version replaces a run of a person"
    elif by is By.REVERT and run.by is By.REVERT and not run.prior:
        fault = "a revert is done twice"
    elif by is By.REVERT and container != state.proved:
        fault = "the revert starts what was never proved"
    if by is By.ENGINE and proof is not None and not proof.named and container == proof.container and state.raised == proof.generation:
        # Only a living supervisor could have noted an earlier run of this container.
        could_note = run.container == container and state.alive and state.writable and not _held_by_another(state)
        by = by if could_note else By.UPDATE
    failed = state.failed and by in (By.STARTER, By.REVERT)
    after = state._replace(run=Run(container, by), sent=None, flying=False, unsaid=False, failed=failed, fault=fault)
    return noted(after, rules)


def _held_by_another(state: State) -> bool:
    """Whether an action that is no update holds the lock. It may be about to write its intent, so the prover notes no run."""
    return any(task is not None and task.kind is not Kind.UPDATE and task.at not in FREE for task in state.tasks)


def noted(state: State, rules: Rules) -> State:
    """The state in which a living prover has noted the candidate's run."""
    proof, run = state.open, state.run
    works = state.alive and state.writable and not state.away and Rule.NOTE_BY_PROVER in rules
    if proof is None or run.by is By.HERE or _held_by_another(state) or not works or not knows_intent(state, proof, rules):
        return state
    if not run.prior and is_candidate(run, proof, rules):
        return state.ran(noted=True).row(named=True)
    return state


def judged(state: State) -> State:
    """The state in which the ended run has its verdict."""
    run = state.run
    if run.up or run.verdict is not None or not state.writable:
        return state
    verdict = run.cause
    if run.asked is not None:
        verdict = run.asked if run.asked_at == state.raised else Verdict.OURS
    return state.ran(verdict=verdict, due=verdict in STARTED)


def taken(state: State, rules: Rules) -> State:
    """The state in which an actor takes the lock: it fences an unfinished start, and settles the record."""
    if state.sent is not None:
        keeps = state.proof is not None and state.sent == state.proof.previous and Rule.FENCE_KEEPS_PREVIOUS in rules
        if not keeps:
            place = None if state.place == state.sent else state.place
            state = state._replace(place=place, aside=None if state.aside == state.sent else state.aside)
        state = state._replace(sent=None, flying=False)
    if any(task is not None and task.kind is Kind.KILL and task.at is At.ACQUIRE for task in state.tasks):
        # A kill that waits raises the generation again for each holder; see the kill protocol.
        state = raised_again(state)
    if state.unsaid and state.writable:
        state = state._replace(unsaid=False, intent=Intent("", False))
    return judged(state) if state.run.asked is not None else state


def raised_again(state: State) -> State:
    return state._replace(raised=min(state.raised + 1, 2))


def may_send(state: State, rules: Rules) -> bool:
    """Whether the prover's next step is its start request."""
    ready = state.prover.at is At.SEND and not state.away and not state.run.up
    return ready and state.proof is not None and not has_run_since(state.run, state.proof) and decide(state, rules) is Decision.FAIL


def held(state: State, rules: Rules) -> bool:
    """Whether the open row forbids a start of the starter."""
    proof, run = state.open, state.run
    if proof is None or Rule.START_AFTER_ENGINE not in rules:
        return False
    if proof.decided is not None and Rule.DECIDED_STAYS_DOWN in rules:
        return True
    return not (is_candidate(run, proof, rules) and not run.prior and run.verdict is Verdict.ENGINE)


def starter_moves(state: State, rules: Rules) -> Iterator[Move]:
    """The next step of the starter."""
    starter, run, idle = state.starter, state.run, state._replace(starter=Actor())
    if starter.at is At.IDLE:
        if run.due and not run.up and state.writable and not state.away and not held(state, rules):
            yield "the starter finds a due start", state._replace(starter=Actor(At.ACQUIRE))
    elif starter.at is At.ACQUIRE:
        if state.away:
            yield "the starter gives up", idle
        elif state.free:
            locked = taken(state, rules)
            unwanted = locked.intent.up is not True or locked.unsaid
            if locked.run.up or not locked.run.due or unwanted or (held(locked, rules) and Rule.START_ASKS_PROOF in rules):
                after = locked.ran(due=False) if unwanted and state.writable else locked
                yield "the starter finds that no start is wanted", after._replace(starter=Actor())
            else:
                yield "the starter takes the lock", locked._replace(starter=Actor(At.SEND, generation=state.raised))
    elif state.away or starter.generation != state.raised or run.up or not run.due:
        yield "the starter gives up", idle
    else:
        reverted = state.proof is not None and state.proof.outcome is Outcome.REVERTED and Rule.KEEP_REVERTED in rules
        container = OTHER if state.place is None or (state.place == OLD and not reverted) else state.place
        yield "the starter starts", started(idle._replace(place=container), container, By.STARTER, rules)


def prover_moves(state: State, rules: Rules) -> Iterator[Move]:
    """The next step of the prover."""
    prover, proof, idle = state.prover, state.open, state._replace(prover=Actor())
    if prover.at is At.IDLE:
        if proof is not None and state.writable and not state.away:
            decision = decide(state, rules)
            if decision is not Decision.WAIT:
                yield f"finds: {decision.value}", state._replace(prover=Actor(At.ACQUIRE, decision))
    elif state.away:
        yield "gives up, because the engine is away", idle
    elif prover.at is At.ACQUIRE:
        if state.free:
            yield from _decided(state, rules)
    elif proof is not None:
        yield from _prover_steps(state, proof, rules)


def _decided(state: State, rules: Rules) -> Iterator[Move]:
    """Take the lock, and decide again."""
    locked, decision = taken(state, rules), state.prover.decision
    assert decision is not None
    proof = locked.open
    same = proof is not None and (Rule.DECIDE_AGAIN not in rules or decide(locked, rules) is decision)
    if proof is None or not same or not locked.writable:
        yield "finds other facts under the lock", locked._replace(prover=Actor())
        return
    if Rule.DECIDE_FIRST in rules:
        locked = locked.row(decided=decision)
    run, at = locked.run, At.REMOVE
    if decision is Decision.VOID and ((run.prior and run.up and run.asked is None) or run.verdict is Verdict.ENGINE):
        # The update had no effect, or the action died before its intent, and the one before it is not up.
        locked = locked._replace(disturbed=True)
    if decision is Decision.PROVED and locked.place is not None:
        locked = locked._replace(proved=locked.place)
    if locked.raised != proof.generation:
        locked = locked._replace(failed=False)
    if decision is Decision.FAIL:
        at = At.END
        wish = locked.wish if reverts(run, proof, rules) or locked.wish is Wish.DOWN else Wish.EITHER
        locked = locked._replace(failed=locked.failed or not has_run_since(run, proof), wish=wish)
    yield f"decides: {decision.value}", locked._replace(prover=Actor(at, decision, proof.generation))


def _prover_steps(state: State, proof: Proof, rules: Rules) -> Iterator[Move]:
    """The steps of the prover under the lock."""
    prover, run, idle = state.prover, state.run, state._replace(prover=Actor())

    def then(at: At, after: State = state) -> State:
        return after._replace(prover=prover._replace(at=at))

    if prover.at is At.CLOSE:
        yield "closes the row", _closed(state, proof)
    elif prover.at is At.REMOVE:
        mine = state.aside == proof.previous or Rule.REMOVE_BY_NAME in rules
        after = state._replace(aside=None if mine else state.aside)
        leaves = prover.decision is Decision.FAIL and not has_run_since(run, proof)
        yield "removes the previous container", then(At.LEAVE if leaves else At.CLOSE, after)
    elif prover.at is not At.AWAIT_END and has_run_since(run, proof):
        yield "finds that the previous version has run", then(At.REMOVE)
    elif state.raised != prover.generation:
        yield "gives up, because a kill came", idle
    elif prover.at is not At.AWAIT_END and Rule.DECIDE_AGAIN in rules and decide(state, rules) is not Decision.FAIL:
        yield "finds other facts", idle
    elif prover.at is At.END:
        yield from _end_moves(state, proof, rules)
    elif prover.at is At.AWAIT_END:
        if not run.up:
            yield "sees the end", then(At.REMOVE_CANDIDATE if reverts(run, proof, rules) else At.REMOVE, judged(state))
        elif run.asked is None:
            yield "finds another run", idle
    elif prover.at is At.LEAVE:
        fault = "left down, although the new version never ran" if run.prior and run.container == proof.previous else state.fault
        left = state._replace(intent=Intent("prover", False), fault=fault)
        if run.up or not state.writable:
            yield "gives up", idle
        elif Rule.LEFT_DOWN_TOGETHER in rules:
            yield "leaves it down", left.row(outcome=Outcome.LEFT_DOWN)._replace(prover=Actor())
        else:
            yield "writes the intent of its stop", then(At.CLOSE, left)
    elif run.up:
        yield "finds another run", idle
    else:
        yield from _way_back(state, proof, rules)


def _way_back(state: State, proof: Proof, rules: Rules) -> Iterator[Move]:
    """The steps after the end of the candidate."""
    prover, idle = state.prover, state._replace(prover=Actor())

    def then(at: At, after: State) -> State:
        return after._replace(prover=prover._replace(at=at))

    if prover.at is At.REMOVE_CANDIDATE:
        after = state if state.place == proof.previous else state._replace(place=None)
        yield "removes the candidate's container", then(At.PLACE, after)
    elif prover.at is At.PLACE:
        if proof.previous in (state.place, state.aside):
            aside = state.aside if state.place == proof.previous and Rule.REMOVE_BY_NAME not in rules else None
            back = state._replace(place=proof.previous, aside=aside)
            yield "puts the previous container in place", then(At.SEND, back)
        else:
            yield "fails, because the previous container is gone", _failed(idle)
    elif prover.at is At.SEND:
        assert state.place is not None
        yield "starts the previous version", then(At.CLOSE, started(state, state.place, By.REVERT, rules))
        if state.left.refusals:
            yield "fails, because the engine refuses", _failed(idle.used("refusals"))


def _failed(state: State) -> State:
    """The state in which the revert failed for good: the usual rules go on."""
    return state.row(outcome=Outcome.FAILED)._replace(failed=False) if state.writable else state


def _end_moves(state: State, proof: Proof, rules: Rules) -> Iterator[Move]:
    prover, run = state.prover, state.run
    if not run.up:
        at = At.REMOVE_CANDIDATE if reverts(run, proof, rules) else At.REMOVE
        yield "finds it down", state._replace(prover=prover._replace(at=at))
    else:
        fault = "the previous version replaces a run of a person" if run.by in PERSONS else state.fault
        if reverts(run, proof, rules) and proof.previous not in (state.place, state.aside):
            fault = "the candidate is ended, although the previous version is gone"
        verdict = Verdict.TAKEN_DOWN if Rule.OWN_END in rules else Verdict.TO_START
        asked = state.ran(asked=verdict, asked_at=state.raised)._replace(fault=fault)
        yield "asks the candidate to end", asked._replace(prover=prover._replace(at=At.AWAIT_END))


def _closed(state: State, proof: Proof) -> State:
    """The state in which the row is closed, unless the journal refuses it."""
    prover, idle = state.prover, state._replace(prover=Actor())
    if not state.writable:
        return idle
    assert prover.decision is not None
    outcome = _OUTCOMES[prover.decision]
    if outcome is Outcome.REVERTED and state.intent.operation == "prover":
        outcome = Outcome.LEFT_DOWN
    return idle.row(outcome=outcome)
