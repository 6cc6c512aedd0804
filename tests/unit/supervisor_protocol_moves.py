# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The moves of the supervisor's protocol: from outside, of the system, and of the supervisor."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.fleet.power.tests.unit.supervisor_protocol_states import (
    STARTED,
    Action,
    At,
    Cause,
    Record,
    Row,
    Rule,
    Run,
    State,
    Supervisor,
    Task,
    Verdict,
    Wish,
)

Rules = frozenset[Rule]
Move = tuple[str, State]


def ended(state: State, cause: Cause, **change: object) -> State:
    return state.run(state.newest, cause=cause, heard=True, **change)


def started(state: State, generation: int) -> State:
    run = Run(engine=state.engine, generation=generation)
    return seen_up(state._replace(runs=(*state.runs, run), fresh=False))


def seen_up(state: State) -> State:
    """The state in which a living supervisor has seen the run up, with its engine. A writable journal keeps that."""
    if not state.up or state.away or state.supervisor.at is At.DEAD:
        return state
    return state.run(state.newest, engine=state.engine, kept=state.runs[-1].kept or state.writable)


def taken(state: State, rules: Rules) -> State:
    """The state in which an actor takes the lock. It turns a record of an earlier run into a row."""
    record = state.record
    if record is None or state.runs[record.run].cause is None:
        return state
    if record.run == state.newest:
        return state if Rule.KEEP_LEFTOVER in rules else state._replace(record=None)
    return settled(state, rules) if state.writable else state


def settled(state: State, rules: Rules) -> State:
    """The state in which the lock record is empty, and a row has its content."""
    record = state.record
    if record is None:
        return state
    run = state.runs[record.run]
    unsaid = run.cause is not None and (run.row is None or run.row.verdict is Verdict.PENDING)
    if unsaid and record.ended_it and not state.writable:
        state = state.run(record.run, excused=True)
    elif unsaid and record.ended_it and Rule.ENDER_WRITES_ROW in rules:
        state = state.run(record.run, row=Row(_after_restart(record) if record.action is Action.RESTART else Verdict.OURS))
    return state._replace(record=None)


def _after_restart(record: Record) -> Verdict:
    return Verdict.HUNG if record.hung else Verdict.TO_START


def recorded(state: State, record: Record) -> State:
    """The state with this lock record. An unwritten row of another run is lost."""
    before = state.record
    if before is not None and before.run != record.run:
        state = state.run(before.run, excused=True)
    return state._replace(record=record)


def forgotten(state: State, *, history_too: bool = True, for_nothing: bool = False) -> State:
    """The state without the heard ends. ``history_too``: also without the ends that this engine could repeat."""
    for number, run in enumerate(state.runs):
        if run.heard and (history_too or run.engine != state.engine or state.away):
            state = state.run(number, heard=False, dulled=run.dulled or for_nothing)
            shows = run.kept or state.shows(number)
            if not (for_nothing or shows or run.row is not None or run.owed):
                state = state.run(number, excused=True)
    return state


def outside_moves(state: State, rules: Rules) -> Iterator[Move]:
    """Events from outside, which may never happen."""
    left, supervisor = state.left, state.supervisor
    works = not (state.stopping or state.away)
    if state.up and not state.away:
        yield from run_moves(state)
    if works:
        yield from person_moves(state)
    if left.shutdowns and not state.stopping and not state.away:
        yield from shutdown_moves(state.used("shutdowns"))
    if state.stopping and state.up:
        yield "the engine is killed in its shutdown", gone(state.run(state.newest, orphaned=True))
    if left.losses and any(run.heard for run in state.runs):
        yield "reports of the engine are lost", forgotten(state.used("losses"))
    if left.deaths and supervisor.at is not At.DEAD:
        dead = state.used("deaths")._replace(supervisor=Supervisor(At.DEAD))
        if Rule.KEEP_SIGNAL not in rules:
            dead = dead.run(dead.newest, known_spoilt=False)
        deaf = forgotten(dead, history_too=False)
        yield "the supervisor dies", deaf if Rule.KEEP_CURSOR in rules else forgotten(deaf, for_nothing=True)
    if left.actions and state.task is None:
        for action in Action:
            task = Task(action, At.RAISE if action is Action.KILL else At.ACQUIRE)
            yield f"{action.value} here is requested", state.used("actions")._replace(task=task)
    if left.cuts and state.task is not None:
        yield f"{state.task.action.value} here dies", cut(state.used("cuts"))
    if left.faults and state.writable:
        yield "the journal cannot be written", state.used("faults")._replace(writable=False)
    if left.replacements:
        yield "the journal is replaced", seen_up(journal_replaced(state.used("replacements")))


def journal_replaced(state: State) -> State:
    """The state in which the journal is empty: its intent and its rows are lost."""
    for number, run in enumerate(state.runs):
        if run.cause is not None:
            state = state.run(number, row=None, excused=True)
        state = state.run(number, kept=False)
    return state._replace(intent=None, intended_up=None, wish=Wish.EITHER if state.wish is Wish.UP else state.wish)


def run_moves(state: State) -> Iterator[Move]:
    """The ends of a run by itself, and its hangs."""
    run = state.runs[-1]
    if state.left.hangs and not run.hangs:
        yield "the run hangs", state.used("hangs").run(state.newest, hangs=True)
    if state.left.recoveries and run.hangs and not run.asked:
        yield "the run is healthy again", state.used("recoveries").run(state.newest, hangs=False)
    if state.left.crashes and not state.runs[-1].asked:
        for telling in (True, False):
            code = "3" if telling else "143"
            yield f"the run crashes, exit code {code}", ended(state.used("crashes"), Cause.CRASH, telling=telling)
    if state.left.ends and not state.runs[-1].asked:
        after = ended(state.used("ends"), Cause.ENDED)
        yield "the run ends, exit code 0", after._replace(wish=Wish.EITHER if after.wish is Wish.UP else after.wish)


def person_moves(state: State) -> Iterator[Move]:
    """The actions of a person at the engine. `docker restart` is a stop and a start."""
    left, run = state.left, state.runs[-1]
    if state.up and left.stops:
        wish = Wish.EITHER if run.asked and state.wish is not Wish.DOWN else Wish.DOWN
        for telling in (True, False):
            after = ended(state.used("stops"), Cause.PERSON, telling=telling, signalled=True, marked=True)
            yield f"docker stop, exit code {'1' if telling else '143'}", after._replace(wish=wish)
    if state.up and left.signals:
        heard = state.supervisor.at is not At.DEAD
        yield "docker kill -s HUP", state.used("signals").run(state.newest, marked=True, spoilt=heard, known_spoilt=heard)
    if not state.up and left.starts:
        replaced = state.used("starts")
        if run.row is None and not run.heard and not run.kept:
            replaced = replaced.run(state.newest, excused=True)
        yield "docker start", started(replaced, state.raised)._replace(wish=Wish.UP if state.intended_up else Wish.EITHER)


def shutdown_moves(state: State) -> Iterator[Move]:
    """The ends of the engine: in order, killed, with the machine's power, or alone (live restore, so the run continues)."""
    lost = state._replace(supervisor=Supervisor(At.DEAD), away=True, engine=state.engine + 1)
    lost = cut(lost) if lost.task is not None else lost
    if state.up:
        yield "the engine restarts alone", gone(state)
        yield "the engine is killed", gone(state.run(state.newest, orphaned=True))
    yield "the engine refuses requests", state._replace(stopping=True)
    for telling in (True, False) if state.up else (False,):
        yield "the power fails", forgotten(ended(lost, Cause.SHUTDOWN, telling=telling) if state.up else lost)


def gone(state: State) -> State:
    """The state in which the engine's process has ended."""
    after = state._replace(stopping=False, away=True, engine=state.engine + 1)
    return forgotten(after) if state.supervisor.at is At.DEAD else after


def back(state: State) -> State:
    """The state in which the next engine accepts requests. It has stopped a run that survived a kill of the last engine."""
    if state.up and state.runs[-1].orphaned:
        state = ended(state, Cause.SHUTDOWN, signalled=True, marked=True, in_startup=True)
    return seen_up(state._replace(away=False))


def cut(state: State) -> State:
    """The state in which the action here is dead. After a kill without a hit, the wish is open."""
    task = state.task
    assert task is not None
    open_kill = task.action is Action.KILL and task.at is not At.RAISE and state.wish is Wish.UP
    return state._replace(task=None, wish=Wish.EITHER if open_kill else state.wish)


def system_moves(state: State, rules: Rules) -> Iterator[Move]:
    """Events that certainly happen, except those of the supervisor."""
    if state.up and state.runs[-1].asked:
        yield "the run ends by its stop command", ended(state, Cause.HERE, telling=True)
        yield "the run ends by its stop signal", ended(state, Cause.HERE, signalled=True, marked=True)
    if state.stopping and state.up:
        for telling in (True, False):
            stopped = ended(state, Cause.SHUTDOWN, telling=telling, signalled=True)
            yield f"the engine's shutdown stops the run{', exit code 1' if telling else ''}", stopped
    elif state.stopping:
        yield "the stream breaks", gone(state)
    if state.away:
        yield "the engine is back", back(state)
    if not state.writable:
        yield "the journal can be written again", seen_up(state._replace(writable=True))
    if state.task is not None:
        yield from task_moves(state, rules)


def task_moves(state: State, rules: Rules) -> Iterator[Move]:
    """The next step of an action here."""
    task = state.task
    assert task is not None
    name, works = f"{task.action.value} here", not (state.stopping or state.away)
    if task.at is At.RAISE:
        yield f"{name} raises the generation", state._replace(raised=state.raised + 1).at(At.SIGKILL)
    elif task.at is At.SIGKILL and works:
        yield f"{name} sends SIGKILL without the lock", killed(state).at(At.ACQUIRE)
    elif task.at is At.ACQUIRE and state.free:
        yield f"{name} takes the lock", taken(state, rules).at(At.LOOK, generation=state.raised)
    elif task.at is At.LOOK and works:
        yield from look_moves(state, task, name, rules)
    elif task.at is At.AWAIT_END and state.runs[task.hit].cause is not None:
        yield f"{name} sees the run ended", end_seen(state, task, rules)
    elif task.at is At.CREATE and works:
        yield f"{name} fails before a start", state._replace(task=None)
        noted = start_noted(state, rules, task.hit)
        yield f"{name} keeps the container", noted.at(At.SEND)
        if not state.up:
            yield f"{name} creates the container again", noted._replace(fresh=True).at(At.SEND)
    elif task.at is At.SEND and works:
        # The action looks right before it sends the start.
        after = settled(start_noted(state, rules, task.hit), rules)
        after = after if state.up else started(after, task.generation)
        wish = Wish.UP if state.intended_up else Wish.EITHER
        yield f"{name} starts", after._replace(wish=wish).at(At.NOTE_INTENT)
    elif task.at is At.NOTE_INTENT:
        yield f"{name} ends", intent_noted(state, task, rules)._replace(task=None)


def killed(state: State) -> State:
    """The state after SIGKILL by a kill here. A run that began after the request is excused."""
    if not state.up:
        return state
    late = state.runs[-1].generation == state.raised
    after = ended(state, Cause.HERE, signalled=True, marked=True, excused=late).at(At.ACQUIRE, hit=state.newest)
    return after._replace(wish=Wish.DOWN)


def look_moves(state: State, task: Task, name: str, rules: Rules) -> Iterator[Move]:
    """The steps of an action that holds the lock."""
    if task.action is Action.KILL:
        yield f"{name} kills with the lock", killed(state).at(At.NOTE_INTENT)
    elif task.action is Action.START and state.up and state.runs[-1].asked:
        return  # it awaits the end
    elif task.action is Action.START or (task.action is Action.RESTART and not state.up):
        yield f"{name} is refused", state._replace(task=None)
        dated = state.run(state.newest, generation=task.generation) if state.up and state.writable else state
        yield f"{name} looks", dated.at(At.NOTE_INTENT if state.up else At.CREATE)
    elif not state.up:
        yield f"{name} finds it down", state.at(At.NOTE_INTENT)
    else:
        restarts = task.action is Action.RESTART
        kept = Action.RESTART if restarts and Rule.KEEP_RESTART in rules else Action.STOP
        asked = recorded(state.run(state.newest, asked=True, counts=False), Record(kept, state.newest, generation=task.generation))
        wish = Wish.DOWN if not restarts else Wish.UP if state.intended_up else Wish.EITHER
        yield f"{name} asks the run to end", asked._replace(wish=wish).at(At.AWAIT_END, hit=state.newest)


def end_seen(state: State, task: Task, rules: Rules) -> State:
    """The state in which a stop or a restart has seen the end that it requested."""
    if task.action is Action.STOP:
        return state.at(At.NOTE_INTENT)
    record = state.record
    return state._replace(record=record if record is not None and record.action is Action.RESTART else None).at(At.CREATE)


def start_noted(state: State, rules: Rules, hit: int) -> State:
    """The state in which a start has written a row of the end that it found, and of the run that it ended (``hit``)."""
    end = state.runs[-1]
    if hit >= 0 and state.runs[hit].row is None and Rule.ENDER_WRITES_ROW in rules:
        row = Row(Verdict.TO_START, due=hit == state.newest)
        state = state.run(hit, row=row) if state.writable else state.run(hit, excused=True)
    if state.up or hit == state.newest or state.runs[-1].row is not None:
        return state
    if not state.writable:
        return state.run(state.newest, blurred=True, excused=end.excused or not (end.heard or end.kept))
    if Rule.STARTER_NOTES_END in rules:
        return state.run(state.newest, row=Row(Verdict.PENDING))
    return state.run(state.newest, owed=True)


def intent_noted(state: State, task: Task, rules: Rules) -> State:
    """The state in which an action here has written its intent, or could not."""
    up = task.action in (Action.START, Action.RESTART)
    if up:
        # A stop at the engine in between wants the server down.
        wish = state.wish if state.runs[-1].cause is Cause.PERSON else Wish.UP
        return settled(state, rules)._replace(intent=True, intended_up=True, wish=wish) if state.writable else state
    if state.writable:
        after = settled(state, rules)._replace(intent=False)
        if Rule.ENDER_WRITES_ROW in rules and task.hit >= 0 and state.runs[task.hit].row is None:
            after = after.run(task.hit, row=Row(Verdict.OURS))
    else:
        after = state if task.hit < 0 else state.run(task.hit, excused=True)
        before = state.record
        carried = before is not None and before.run == state.newest and before.ended_it
        kept = Record(Action.STOP, state.newest, ended_it=carried or task.hit == state.newest)
        after = recorded(after, kept) if Rule.KEEP_UNWRITTEN in rules else after._replace(record=None)
    # A start at the engine in between wants the server up.
    return after._replace(wish=Wish.EITHER if state.up else Wish.DOWN, intended_up=False)


def verdict_of(state: State, number: int, rules: Rules) -> Verdict:
    """Judge an end by the visible evidence."""
    run, record = state.runs[number], state.record
    if record is not None and record.run == number and record.ended_it:
        killed = record.generation != state.raised and Rule.KILL_ENDS_RESTART in rules
        return _after_restart(record) if record.action is Action.RESTART and not killed else Verdict.OURS
    if not state.tells_of(number):
        return Verdict.UNOBSERVED
    if run.heard and not run.signalled:
        return Verdict.CRASH if run.cause is not Cause.ENDED else Verdict.ENDED
    if run.generation != state.raised and not run.telling and Rule.KEEP_GENERATION in rules:
        return Verdict.OURS
    mark = state.mark_of(run, run.known_spoilt and Rule.SIGNAL_SPOILS_MARK in rules)
    if run.in_startup and Rule.STARTUP_BEFORE_MARK in rules:
        mark = None
    if run.engine != state.engine and not (mark and Rule.MARK_BEFORE_ENGINE in rules):
        return Verdict.ENGINE if Rule.ENGINE_RESTORES in rules else Verdict.UNOBSERVED
    return Verdict.PERSON if run.heard else _unheard(run, mark, rules)


def _unheard(run: Run, mark: bool | None, rules: Rules) -> Verdict:
    """Judge an end that was not heard by exit code and the engine's mark."""
    if mark and Rule.MARK_BEFORE_CODE in rules:
        return Verdict.UNOBSERVED
    if run.telling:
        return Verdict.CRASH
    if mark is False and Rule.MARK_DECIDES in rules:
        return Verdict.ENDED if run.cause is Cause.ENDED else Verdict.CRASH
    return Verdict.UNOBSERVED if Rule.UNSEEN_IS_DOWN in rules else Verdict.CRASH


def _is_judged(run: Run) -> bool:
    """Whether the run has a row with a verdict."""
    return run.row is not None and run.row.verdict is not Verdict.PENDING


def supervisor_moves(state: State, rules: Rules) -> Iterator[Move]:
    """The next step of the supervisor."""
    supervisor = state.supervisor
    if supervisor.at is At.DEAD:
        yield "the supervisor lives again", seen_up(state._replace(supervisor=Supervisor()))
    elif supervisor.at is At.WRITE:
        yield "the supervisor writes the row", written(state, supervisor, rules)
    elif supervisor.at is At.HANG and state.free:
        yield "the supervisor takes the lock for the run that hangs", asked_to_end(taken(state, rules), supervisor, rules)
    elif supervisor.at is At.AWAIT_END and state.runs[supervisor.run].cause is not None:
        yield "the supervisor sees the end of the run that hung", hang_ended(state, supervisor)
    elif supervisor.at is At.RESTART:
        yield from restart_moves(state, supervisor, rules)
    elif supervisor.at is At.CLOSE:
        yield "the supervisor closes the row", closed(state, supervisor)
    elif supervisor.at is At.IDLE and not state.away and state.writable:
        yield from idle_moves(state, rules)


def latest_shown(state: State) -> int:
    """The number of the latest run that the supervisor can know of."""
    return max((number for number, run in enumerate(state.runs) if run.cause is None or state.shows(number)), default=-1)


def idle_moves(state: State, rules: Rules) -> Iterator[Move]:
    """The steps of an idle supervisor."""
    if not state.looked:
        run = state.runs[-1]
        left = state if run.cause is None or _is_judged(run) else state.run(state.newest, row=Row(Verdict.BASELINE))
        yield "the supervisor looks for the first time", left._replace(looked=True)
        return
    known = latest_shown(state)
    for number, run in enumerate(state.runs):
        row = run.row
        if run.cause is None:
            if run.hangs and wants_restart(state, rules):
                of_start = Rule.HANG_KEEPS_GENERATION in rules
                busy = Supervisor(At.HANG, number, generation=run.generation if of_start else state.raised)
                yield f"the supervisor finds that run {number} hangs", state._replace(supervisor=busy)
            continue
        if row is None or not _is_judged(run):
            yield from judge_moves(state, number, number == known, rules)
            continue
        if run.heard and Rule.ROW_IS_UNIQUE not in rules:
            yield (
                "the supervisor hears an end againand writes a row",
                state.run(number, heard=False, row=row._replace(copies=row.copies + 1)),
            )
        if row.due and number != known and Rule.ROW_NAMES_RUN in rules:
            yield f"the supervisor closes the row of run {number}, which another followed", state.run(number, row=row._replace(due=False))
        elif row.due and state.free and not state.stopping:
            yield from start_moves(state, number, rules)


def wants_restart(state: State, rules: Rules) -> bool:
    """Whether the newest run may be restarted because it hangs: it should be up, and no stop or kill here is about to end it."""
    record = state.record
    is_stopped = record is not None and record.run == state.newest and record.action is Action.STOP
    killed = state.runs[-1].generation != state.raised and Rule.HANG_KEEPS_GENERATION in rules
    return not state.stopping and state.intent is True and not killed and not (is_stopped and Rule.HANG_ASKS_RECORD in rules)


def asked_to_end(state: State, supervisor: Supervisor, rules: Rules) -> State:
    """The state in which a run that hangs is asked to end, or left alone. The caller holds the lock."""
    run, idle = state.runs[-1], state._replace(supervisor=Supervisor())
    still = supervisor.run == state.newest and run.hangs
    killed = supervisor.generation != state.raised
    if not state.up or killed or state.away or not wants_restart(state, rules) or (not still and Rule.HANG_ASKS_RUN in rules):
        return idle
    kept = Record(Action.RESTART, state.newest, generation=supervisor.generation, hung=Rule.HANG_IN_RECORD in rules)
    # A kill that waits for the lock raises the generation again for each holder; see the kill protocol.
    waits = state.task is not None and state.task.action is Action.KILL and state.task.at is At.ACQUIRE
    asked = recorded(state.run(state.newest, asked=True, counts=True)._replace(raised=state.raised + waits), kept)
    return asked._replace(supervisor=supervisor._replace(at=At.AWAIT_END, run=state.newest), wronged=not run.hangs)


def hang_ended(state: State, supervisor: Supervisor) -> State:
    """The state in which the run that hung has its row, unless the journal refuses it. A start follows."""
    number, record = supervisor.run, state.record
    if state.writable and state.runs[number].row is None and record is not None and record.run == number:
        verdict = _after_restart(record) if record.generation == state.raised else Verdict.OURS
        state = state.run(number, row=Row(verdict, due=verdict is not Verdict.OURS))._replace(record=None)
    return state._replace(supervisor=supervisor._replace(at=At.RESTART))


def judge_moves(state: State, number: int, newest: bool, rules: Rules) -> Iterator[Move]:
    """Judge an end after the necessary wait."""
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
    busy = Supervisor(then, number, verdict, due, generation=state.raised)
    yield f"the supervisor judges the end of run {number}: {verdict.value}", seen_wrong(state, run)._replace(supervisor=busy)


def seen_wrong(state: State, run: Run) -> State:
    """The state in which a wrong verdict is no fault: a person's stop leaves the evidence of another end."""
    looks_otherwise = state.mark_of(run, run.spoilt) is None and (run.engine != state.engine or (run.telling and not run.heard))
    if run.cause is Cause.PERSON and run is state.runs[-1] and state.wish is Wish.DOWN and looks_otherwise:
        return state._replace(wish=Wish.EITHER)
    return state


def written(state: State, supervisor: Supervisor, rules: Rules) -> State:
    """The state in which the row is written, or the journal refused it. A row of another actor stays."""
    idle, number, verdict = state._replace(supervisor=Supervisor()), supervisor.run, supervisor.verdict
    assert verdict is not None
    if not state.writable or _is_judged(state.runs[number]):
        return idle
    if verdict is Verdict.PERSON and Rule.WRITES_NO_INTENT not in rules:
        idle = idle._replace(intent=False)
    return idle.run(number, row=Row(verdict, supervisor.due))


def start_moves(state: State, number: int, rules: Rules) -> Iterator[Move]:
    """Take the lock for a start, and check that the start is still wanted."""
    run, record = taken(state, rules).runs[number], taken(state, rules).record
    assert run.row is not None
    wanted = state.intent is True or Rule.START_ASKS_INTENT not in rules
    if state.intent is None:
        wanted = Rule.INTENT_IS_KNOWN not in rules
    if Rule.START_ASKS_RECORD in rules and record is not None and record.run == number and record.action is Action.STOP:
        wanted = False
    if wanted:
        busy = Supervisor(At.RESTART, number, generation=state.raised)
        begun = taken(state, rules)._replace(supervisor=busy, guessed=state.intent is None)
        yield f"the supervisor takes the lock to start after run {number}", begun
    else:
        closed_row = run.row._replace(due=False)
        yield f"the supervisor finds that no start is wanted after run {number}", taken(state, rules).run(number, row=closed_row)


def restart_moves(state: State, supervisor: Supervisor, rules: Rules) -> Iterator[Move]:
    """Send the start, unless a kill came first or the engine is away."""
    idle, number = state._replace(supervisor=Supervisor()), supervisor.run
    if state.stopping or state.away:
        yield "the supervisor gives up, because the engine is away", idle
    elif supervisor.generation != state.raised:
        yield "the supervisor gives up, because a kill came", idle
    elif state.up or (Rule.ROW_NAMES_RUN in rules and latest_shown(state) != number):
        yield "the supervisor finds another run", state._replace(supervisor=supervisor._replace(at=At.CLOSE))
    else:
        run = state.runs[number]
        row = None if run.row is None else run.row._replace(starts=run.row.starts + 1)
        sent = settled(start_noted(state.run(number, row=row, owed=run.row is None), rules, -1), rules)
        after = started(sent, supervisor.generation)._replace(supervisor=supervisor._replace(at=At.CLOSE))
        yield "the supervisor starts", after
        if not state.fresh:
            yield "the supervisor creates the container again", start_noted(state, rules, -1)._replace(fresh=True)


def closed(state: State, supervisor: Supervisor) -> State:
    """The state in which the lock is free, and the row is closed if the journal works. A late kill also ends the new run."""
    if state.up and state.runs[-1].generation == supervisor.generation != state.raised:
        state = ended(state, Cause.HERE, signalled=True, marked=True)
    row = state.runs[supervisor.run].row
    if row is not None and state.writable:
        state = state.run(supervisor.run, row=row._replace(due=False))
    return state._replace(supervisor=Supervisor())
