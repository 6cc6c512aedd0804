# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The moves of the proof of a new version: from outside, and of actions."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof_prover import (
    Move,
    judged,
    may_send,
    noted,
    prover_moves,
    raised_again,
    started,
    starter_moves,
    taken,
)
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_proof_states import (
    FRESH,
    OLD,
    OTHER,
    SECOND,
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
    State,
    Task,
    Verdict,
    Version,
    Wish,
)


def outside_moves(state: State, rules: Rules) -> Iterator[Move]:
    """Events from outside, which may never happen."""
    left, run = state.left, state.run
    if left.updates and None in state.tasks:
        index = state.tasks.index(None)
        update = Task(Kind.UPDATE, At.ACQUIRE, state.raised, SECOND)
        yield "an update is requested", state.used("updates").task(index, update)
    if left.actions and None in state.tasks:
        for kind in (Kind.START, Kind.STOP, Kind.RESTART, Kind.KILL):
            task = Task(kind, At.RAISE if kind is Kind.KILL else At.ACQUIRE, state.raised)
            yield f"{kind.value} is requested", state.used("actions").task(state.tasks.index(None), task)
    for index, task in enumerate(state.tasks):
        if left.cuts and task is not None:
            yield from cut(state.used("cuts"), index, task, rules)
    if left.deaths and state.alive:
        dead = state.used("deaths")._replace(alive=False, prover=Actor(), starter=Actor())
        yield "the supervisor dies", dead
        if may_send(state, rules):
            yield "the supervisor dies after its start request", dead._replace(sent=state.place, flying=True)
    if left.faults and state.writable:
        yield "the journal cannot be written", state.used("faults")._replace(writable=False)
    if not state.away:
        yield from engine_moves(state, rules)
    if left.losses and not run.up and run.verdict is None and run.cause in (Verdict.CRASH, Verdict.PERSON):
        yield "the report of the end is lost", state.used("losses").ran(cause=Verdict.UNOBSERVED)._replace(disturbed=True)


def engine_moves(state: State, rules: Rules) -> Iterator[Move]:
    """Events at the engine."""
    left, run = state.left, state.run
    if left.crashes and run.up and run.asked is None:
        yield "the run crashes", state.used("crashes").ran(up=False, cause=Verdict.CRASH)
    if left.stops and run.up:
        wish = Wish.EITHER if run.asked is not None and state.wish is not Wish.DOWN else Wish.DOWN
        yield "docker stop", state.used("stops").ran(up=False, cause=Verdict.PERSON)._replace(wish=wish, disturbed=True)
    if left.starts and not run.up and state.place is not None:
        wish = Wish.UP if state.intent.up else Wish.EITHER
        after = started(state.used("starts"), state.place, By.ENGINE, rules)
        if state.failed and after.run.by is By.UPDATE:
            # No trace tells it from a late start of the update.
            wish = Wish.EITHER
        yield "docker start", after._replace(wish=wish, disturbed=True)
    if left.removals and state.aside is not None:
        yield "docker rm of the container aside", state.used("removals")._replace(aside=None, failed=False, disturbed=True)
    if left.shutdowns:
        yield "the engine shuts down", _engine_gone(state.used("shutdowns"))
        if may_send(state, rules):
            killed = state.used("shutdowns")._replace(sent=state.place, prover=Actor())
            yield "the engine is killed in the start of the prover", _engine_gone(killed)
    if left.power_cuts:
        yield from power_cuts(state.used("power_cuts"), rules)


def _engine_gone(state: State) -> State:
    ended = state.ran(up=False, cause=Verdict.ENGINE) if state.run.up else state
    return ended._replace(away=True, flying=False)


def power_cuts(state: State, rules: Rules) -> Iterator[Move]:
    """The power fails. Writes that were not synced may be lost."""
    for index, task in enumerate(state.tasks):
        if task is not None:
            state = next(cut(state, index, task, rules))[1]
    after = _engine_gone(state)._replace(alive=False, prover=Actor(), starter=Actor())
    yield "the power fails", after
    proof = after.proof
    if proof is not None and proof.decided is None and after.run.noted and after.intent == proof.before:
        # A later write that is there is a proof of the earlier one.
        yield "the power fails, and the note of the run is lost", after.ran(noted=False).row(named=False)
    if proof is not None and proof.outcome is Outcome.REVERTED and not state.disturbed and after.run.container == proof.previous:
        yield "the power fails, and the outcome is lost", after.row(outcome=None)


def cut(state: State, index: int, task: Task, rules: Rules) -> Iterator[Move]:
    """The death of an action."""
    dead = state.task(index, None)
    if task.kind is Kind.KILL and task.at is not At.RAISE and state.wish is Wish.UP:
        dead = dead._replace(wish=Wish.EITHER)
    if task.at is At.INTENT:
        dead = _traceless(dead, rules)
    yield f"{task.kind.value} dies", dead
    if task.kind is Kind.UPDATE and task.at is At.SEND and not (state.away or state.run.up) and state.place == task.container:
        wish = Wish.UP if state.intent.up and state.wish is Wish.UP else Wish.EITHER
        yield f"{task.kind.value} dies after its start request", dead._replace(sent=state.place, flying=True, wish=wish)


def _traceless(state: State, rules: Rules) -> State:
    """The state after a start here that wrote no intent: no trace tells it from that of the update."""
    run, proof = state.run, state.open
    unnamed = proof is not None and run.container == proof.container and (run.noted or not proof.named)
    return noted(state.ran(by=By.UPDATE), rules) if run.by is By.HERE and unnamed else state


def system_moves(state: State, rules: Rules) -> Iterator[Move]:
    """Events that certainly happen."""
    run = state.run
    if run.up and run.asked is not None:
        yield "the run ends as asked", state.ran(up=False, cause=Verdict.OURS)
    if state.flying and not state.away and not run.up and state.sent is not None:
        by = By.REVERT if state.proof is not None and state.sent == state.proof.previous else By.UPDATE
        yield "a late start is executed", started(state, state.sent, by, rules)
        yield "a late start is dropped", state._replace(flying=False)
    if run.up and run.container != OLD and state.open is not None and not run.settled and not run.late:
        if state.version is Version.GOOD:
            yield "the new version stays up long enough", state.ran(settled=True)
        elif state.version is Version.MUTE:
            yield "the new version is not ready in time", state.ran(late=True)
        elif run.asked is None:
            yield "the new version exits", state.ran(up=False, cause=Verdict.CRASH)
    if state.away:
        fault = "two versions are up" if state.policy and state.aside == OLD else state.fault
        yield "the engine is back", noted(state._replace(away=False, fault=fault), rules)
    if not state.writable:
        yield "the journal can be written again", noted(state._replace(writable=True), rules)
    if not state.alive:
        yield "the supervisor lives again", noted(state._replace(alive=True), rules)
    for index, task in enumerate(state.tasks):
        if task is not None:
            for event, after in task_moves(state, index, task, rules):
                yield f"{task.kind.value} {event}", after
    if state.alive:
        yield from starter_moves(state, rules)
        for event, after in prover_moves(state, rules):
            yield f"the prover {event}", after
        if not state.away and state.writable and not run.up and run.verdict is None:
            yield "the supervisor judges the end", judged(state)


def task_moves(state: State, index: int, task: Task, rules: Rules) -> Iterator[Move]:
    """The next step of an action."""
    works, over = not state.away, state.task(index, None)

    def then(at: At, after: State = state) -> State:
        return after.task(index, task._replace(at=at))

    if task.at is At.RAISE:
        yield "raises the generation", then(At.SIGKILL, state._replace(raised=state.raised + 1, disturbed=True))
    elif task.at is At.SIGKILL and works:
        yield "sends SIGKILL without the lock", then(At.ACQUIRE, _killed(state if state.free else raised_again(state), Wish.EITHER))
    elif task.at is At.ACQUIRE and works and state.free:
        mine = state.task(index, None)
        yield "takes the lock", then(At.ROW if task.kind is Kind.UPDATE else At.LOOK, taken(mine, rules))
    elif task.at in (At.ACQUIRE, At.SIGKILL):
        return
    elif task.kind is not Kind.KILL and task.kind is not Kind.STOP and task.generation != state.raised and task.at is not At.INTENT:
        yield "is cancelled by a kill", over
    elif task.at is At.LOOK and works:
        yield from _look_moves(state, index, task)
    elif task.at is At.AWAIT_END and not (state.run.up and state.run.asked):
        update = {Kind.UPDATE: At.REREAD, Kind.RESTART: At.CREATE}
        yield "sees the end", then(update.get(task.kind, At.INTENT), judged(state))
    elif task.at is At.INTENT:
        yield "ends", _intended(state, task, rules)._replace(tasks=over.tasks)
    elif task.kind is Kind.UPDATE:
        yield from _update_moves(state, index, task, rules)
    elif task.at is At.CREATE and works:
        place = state.place if state.place not in (None, OLD) else OTHER
        # The definition is tried once more.
        yield "creates the container", then(At.SEND, state if state.run.up else state._replace(place=place, failed=False))
    elif task.at is At.SEND and works:
        after = state if state.run.up else started(state, OTHER if state.place is None else state.place, By.HERE, rules)
        yield "starts", then(At.INTENT, after._replace(wish=Wish.UP if state.intent.up else Wish.EITHER))


def _killed(state: State, wish: Wish = Wish.DOWN) -> State:
    if not state.run.up:
        return state._replace(disturbed=True)
    return state.ran(up=False, cause=Verdict.OURS)._replace(wish=state.wish if state.wish is Wish.DOWN else wish, disturbed=True)


def _look_moves(state: State, index: int, task: Task) -> Iterator[Move]:
    run = state.run

    def then(at: At, after: State) -> State:
        return after.task(index, task._replace(at=at))

    if task.kind is Kind.KILL:
        yield "kills with the lock", then(At.INTENT, judged(_killed(state)))
        return
    found_up = task.kind is Kind.START and run.up and run.noted
    if task.kind is not Kind.UPDATE and not found_up:
        state = state._replace(disturbed=True)
    if run.up and run.asked is not None and task.kind is Kind.START:
        return
    if not run.up or task.kind is Kind.START:
        after = {Kind.UPDATE: At.REREAD, Kind.STOP: At.INTENT}.get(task.kind, At.INTENT if run.up else At.CREATE)
        yield "looks", then(after, state)
        return
    verdict = Verdict.OURS if task.kind is Kind.STOP else Verdict.TO_START
    wish = Wish.DOWN if task.kind is Kind.STOP else Wish.UP if state.intent.up else Wish.EITHER
    asked = state.ran(asked=verdict, asked_at=state.raised)._replace(wish=wish, failed=False)
    yield "asks the run to end", then(At.AWAIT_END, asked)


def _intended(state: State, task: Task, rules: Rules) -> State:
    """The state in which an action has written its intent, or could not."""
    if task.kind in (Kind.STOP, Kind.KILL):
        down = state._replace(wish=Wish.EITHER if state.run.up else Wish.DOWN)
        return judged(down)._replace(intent=Intent("here", False)) if state.writable else down._replace(unsaid=not state.run.up)
    killed = state.raised != task.generation or (not state.run.up and state.run.cause in (Verdict.PERSON, Verdict.OURS))
    wish = state.wish if killed else Wish.UP
    operation = state.proof.operation if task.kind is Kind.UPDATE and state.proof is not None else "here"
    return state._replace(intent=Intent(operation, True), wish=wish) if state.writable else _traceless(state, rules)


def _update_moves(state: State, index: int, task: Task, rules: Rules) -> Iterator[Move]:
    """The steps of an update under the lock."""
    over, works, proof = state.task(index, None), not state.away, state.proof

    def then(at: At, after: State = state, container: int = task.container) -> State:
        return after.task(index, task._replace(at=at, container=container))

    if task.at is At.ROW:
        # Only a version that ran can be the previous one.
        if state.writable and works and state.place == state.run.container:
            yield "writes the row", then(At.LOOK, _row_written(state, task, rules))
        else:
            yield "is refused", over
        return
    assert proof is not None
    if task.at is At.REREAD:
        yield "goes on", then(At.ASIDE)
        if state.left.rereads and (state.writable or Rule.NAME_CONTAINER not in rules):
            named = state.used("rereads")
            named = named.row(container=FRESH) if Rule.NAME_CONTAINER in rules else named
            yield "reads another definition", then(At.ASIDE, named, FRESH)
    elif task.at is At.NOTE:
        mine = state.run.by is By.UPDATE
        yield "notes its run", then(At.INTENT, state.ran(noted=mine).row(named=True) if state.writable else state)
    elif works:
        yield "fails before its start", over
        if task.at is At.ASIDE:
            if state.run.up and (Rule.ASIDE_IS_DOWN in rules or state.place != proof.previous):
                return
            is_previous = state.place == proof.previous
            moved = state._replace(place=None, aside=state.place if is_previous else state.aside)
            quiet = moved._replace(policy=False) if Rule.ASIDE_IS_QUIET in rules else moved
            yield "puts the container aside", then(At.PLACE, quiet)
        elif task.at is At.PLACE and state.place is None:
            yield "puts the new container in place", then(At.SEND, state._replace(place=task.container))
        elif task.at is At.SEND and state.place == task.container:
            wish = Wish.UP if state.intent.up else Wish.EITHER
            seen = state.run.up and state.run.container == state.place
            after = state if seen else started(state, task.container, By.UPDATE, rules)
            yield "starts the new version", then(At.NOTE, after._replace(wish=wish))


def _row_written(state: State, task: Task, rules: Rules) -> State:
    assert state.place is not None
    before, previous = state.open, state.place
    is_proved = before is not None and before.decided is Decision.PROVED
    if before is not None and before.previous in (state.place, state.aside) and Rule.KEEP_PROVED in rules and not is_proved:
        previous = before.previous
    proved = state.proved if before is not None and before.previous in (state.place, state.aside) and not is_proved else state.place
    row = Proof(f"update {task.container}", task.generation, state.intent, previous, task.container, state.revertible)
    return state.ran(prior=True, noted=False)._replace(proof=row, proved=proved, disturbed=False, failed=False)
