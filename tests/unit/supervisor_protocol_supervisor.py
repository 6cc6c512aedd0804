# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the supervisor does in the model of its protocol: judge an end, write its row, start, close the row."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.fleet.power.tests.unit.supervisor_protocol_moves import (
    Move,
    Rules,
    ended,
    seen_up,
    settled,
    start_noted,
    started,
    taken,
)
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_rules import Rule
from ansible_collections.fleet.power.tests.unit.supervisor_protocol_states import (
    STARTED,
    Action,
    At,
    Cause,
    Row,
    Run,
    State,
    Supervisor,
    Verdict,
    Wish,
)


def verdict_of(state: State, number: int, rules: Rules) -> Verdict:
    """Judge an end by what can be seen of it."""
    run, record = state.runs[number], state.record
    if record is not None and record.run == number and record.ended_it:
        killed = record.generation != state.raised and Rule.KILL_ENDS_RESTART in rules
        return Verdict.TO_START if record.action is Action.RESTART and not killed else Verdict.OURS
    if not state.tells_of(number):
        return Verdict.UNSEEN
    if run.heard and not run.signalled:
        return Verdict.CRASH if run.cause is not Cause.ENDED else Verdict.ENDED
    if run.generation != state.raised and not run.telling and Rule.KEEP_GENERATION in rules:
        return Verdict.OURS
    mark = state.mark_of(run, run.known_spoilt and Rule.SIGNAL_SPOILS_MARK in rules)
    if run.in_startup and Rule.STARTUP_BEFORE_MARK in rules:
        mark = None
    if run.engine != state.engine and not (mark and Rule.MARK_BEFORE_ENGINE in rules):
        return Verdict.ENGINE if Rule.ENGINE_RESTORES in rules else Verdict.UNSEEN
    return Verdict.PERSON if run.heard else _unheard(run, mark, rules)


def _unheard(run: Run, mark: bool | None, rules: Rules) -> Verdict:
    """Judge an end that was not heard by exit code and the engine's mark."""
    if mark and Rule.MARK_BEFORE_CODE in rules:
        return Verdict.UNSEEN
    if run.telling:
        return Verdict.CRASH
    if mark is False and Rule.MARK_DECIDES in rules:
        return Verdict.ENDED if run.cause is Cause.ENDED else Verdict.CRASH
    return Verdict.UNSEEN if Rule.UNSEEN_IS_LEFT in rules else Verdict.CRASH


def _is_judged(run: Run) -> bool:
    """Whether the run has a row with a verdict."""
    return run.row is not None and run.row.verdict is not Verdict.NOTED


def supervisor_moves(state: State, rules: Rules) -> Iterator[Move]:
    """The next step of the supervisor."""
    supervisor = state.supervisor
    if supervisor.at is At.DEAD:
        yield "the supervisor lives again", seen_up(state._replace(supervisor=Supervisor()))
    elif supervisor.at is At.WRITE:
        yield "the supervisor writes the row", written(state, supervisor, rules)
    elif supervisor.at is At.RESTART:
        yield from restart_moves(state, supervisor, rules)
    elif supervisor.at is At.CLOSE:
        yield "the supervisor closes the row", closed(state, supervisor)
    elif supervisor.at is At.IDLE and not state.away and state.writable:
        yield from idle_moves(state, rules)


def latest_shown(state: State) -> int:
    """The number of the latest run that anything tells of."""
    return max((number for number, run in enumerate(state.runs) if run.cause is None or state.shows(number)), default=-1)


def idle_moves(state: State, rules: Rules) -> Iterator[Move]:
    """What an idle supervisor finds to do."""
    if not state.looked:
        run = state.runs[-1]
        left = state if run.cause is None or _is_judged(run) else state.run(state.newest, row=Row(Verdict.BASELINE))
        yield "the supervisor looks for the first time", left._replace(looked=True)
        return
    known = latest_shown(state)
    for number, run in enumerate(state.runs):
        row = run.row
        if run.cause is None:
            continue
        if row is None or not _is_judged(run):
            yield from judge_moves(state, number, number == known, rules)
            continue
        if run.heard and Rule.ROW_IS_UNIQUE not in rules:
            yield (
                "the supervisor hears an end again, and writes a row",
                state.run(number, heard=False, row=row._replace(copies=row.copies + 1)),
            )
        if row.due and number != known and Rule.ROW_NAMES_RUN in rules:
            yield f"the supervisor closes the row of run {number}, which another followed", state.run(number, row=row._replace(due=False))
        elif row.due and state.free and not state.stopping:
            yield from look_moves(state, number, rules)


def judge_moves(state: State, number: int, newest: bool, rules: Rules) -> Iterator[Move]:
    """Judge an end, when enough was waited for."""
    run = state.runs[number]
    if not state.shows(number) and (number < state.newest or any(each.row is not None and each.row.due for each in state.runs)):
        return
    if state.stopping and run.signalled and run.heard and Rule.AWAIT_SHUTDOWN in rules:
        return
    verdict = verdict_of(state, number, rules)
    asked = Rule.JUDGE_ASKS_NONE in rules or state.intent is True
    due = newest and verdict in STARTED and asked
    then = At.WRITE if Rule.ROW_BEFORE_START in rules or not due else At.RESTART
    if then is At.RESTART and not state.free:
        return
    mind = Supervisor(then, number, verdict, due, generation=state.raised)
    yield f"the supervisor takes the end of run {number} for {verdict.value}", seen_wrong(state, run)._replace(supervisor=mind)


def seen_wrong(state: State, run: Run) -> State:
    """The state in which nobody can be blamed: nothing that is there to be seen tells a person's stop from what it looks like."""
    looks_otherwise = state.mark_of(run, run.spoilt) is None and (run.engine != state.engine or (run.telling and not run.heard))
    if run.cause is Cause.PERSON and run is state.runs[-1] and state.wish is Wish.DOWN and looks_otherwise:
        return state._replace(wish=Wish.EITHER)
    return state


def written(state: State, supervisor: Supervisor, rules: Rules) -> State:
    """The state in which the row is there, or the journal refused it. A row that somebody else wrote meanwhile stays."""
    idle, number, verdict = state._replace(supervisor=Supervisor()), supervisor.run, supervisor.verdict
    assert verdict is not None
    if not state.writable or _is_judged(state.runs[number]):
        return idle
    if verdict is Verdict.PERSON and Rule.WRITES_NO_INTENT not in rules:
        idle = idle._replace(intent=False)
    return idle.run(number, row=Row(verdict, supervisor.due))


def look_moves(state: State, number: int, rules: Rules) -> Iterator[Move]:
    """Take the lock for a start, and look whether it is still asked for."""
    run, record = taken(state, rules).runs[number], taken(state, rules).record
    assert run.row is not None
    wanted = state.intent is True or Rule.START_ASKS_INTENT not in rules
    if state.intent is None:
        wanted = Rule.INTENT_IS_KNOWN not in rules
    if Rule.START_ASKS_RECORD in rules and record is not None and record.run == number and record.action is Action.STOP:
        wanted = False
    if wanted:
        mind = Supervisor(At.RESTART, number, generation=state.raised)
        begun = taken(state, rules)._replace(supervisor=mind, guessed=state.intent is None)
        yield f"the supervisor takes the lock to start after run {number}", begun
    else:
        closed_row = run.row._replace(due=False)
        yield f"the supervisor finds that nobody wants a start after run {number}", taken(state, rules).run(number, row=closed_row)


def restart_moves(state: State, supervisor: Supervisor, rules: Rules) -> Iterator[Move]:
    """Send the start, unless a kill or the engine came first."""
    idle, number = state._replace(supervisor=Supervisor()), supervisor.run
    if state.stopping or state.away:
        yield "the supervisor gives up, the engine being away", idle
    elif supervisor.generation != state.raised:
        yield "the supervisor gives up, a kill having come", idle
    elif state.up or (Rule.ROW_NAMES_RUN in rules and latest_shown(state) != number):
        yield "the supervisor finds another run", state._replace(supervisor=supervisor._replace(at=At.CLOSE))
    else:
        run = state.runs[number]
        row = None if run.row is None else run.row._replace(starts=run.row.starts + 1)
        sent = settled(start_noted(state.run(number, row=row, owed=run.row is None), rules, -1), rules)
        after = started(sent, supervisor.generation)._replace(supervisor=supervisor._replace(at=At.CLOSE))
        yield "the supervisor starts", after
        if not state.fresh:
            yield "the supervisor makes the container anew", start_noted(state, rules, -1)._replace(fresh=True)


def closed(state: State, supervisor: Supervisor) -> State:
    """The state in which the row is closed, if it can be, and the lock released. What a kill came upon is killed again."""
    if state.up and state.runs[-1].generation == supervisor.generation != state.raised:
        state = ended(state, Cause.HERE, signalled=True, marked=True)
    row = state.runs[supervisor.run].row
    if row is not None and state.writable:
        state = state.run(supervisor.run, row=row._replace(due=False))
    return state._replace(supervisor=Supervisor())
