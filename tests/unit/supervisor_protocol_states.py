# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of the supervisor's protocol, small enough to walk every order of its events.

The model has one server, its runs, and these actors:
- The run crashes, ends or hangs. A person here starts, stops, restarts or kills the server.
- A person at the engine uses `docker stop`, `kill`, `start` and `restart`, or sends a signal that stops no run.
- The engine shuts down and returns as another process, with or without the run. The power fails.
- The journal cannot be written, or is replaced. The supervisor and the actions die between any two steps.
The model assumes of the engine:
- It reports a signal of its API before the end. The same process can repeat its reports, but may lose some.
- In a shutdown it refuses requests before the first stop, and breaks the stream after the last stop.
- After its kill, the next engine stops running containers before it accepts requests, and marks them as stopped manually.
- Its mark of a manual stop (`HasBeenManuallyStopped`) is set when the run has ended. A look right before a request sees its state.
A requested end always comes. A living supervisor sees each new run at once. Not in the model: late start requests, two persons here
at a time (see the kill protocol), waits, back-off and counts.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Cause(str, Enum):
    """Why a run has really ended."""

    CRASH = "crashed"
    ENDED = "ended by itself with exit code 0"
    HERE = "stopped or killed here"
    PERSON = "stopped at the engine"
    SHUTDOWN = "stopped by the engine's shutdown"


class Verdict(str, Enum):
    PENDING = "pending: written by a start, not judged yet"
    OURS = "an action here"
    TO_START = "a restart that did not reach its start"
    ENGINE = "a stop by the engine"
    PERSON = "a stop by a person at the engine"
    CRASH = "a crash"
    ENDED = "ended by itself"
    HUNG = "a hang: the supervisor ended it"
    UNOBSERVED = "ended unobserved"
    BASELINE = "down at the first look"


STARTED = frozenset((Verdict.CRASH, Verdict.ENGINE, Verdict.TO_START, Verdict.HUNG))


class Wish(str, Enum):
    """The state that a person wants; EITHER if that is unclear."""

    UP = "up"
    DOWN = "down"
    EITHER = "either"


class Action(str, Enum):
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"


class At(str, Enum):
    """The next step of an actor."""

    # a person's action here
    RAISE = "raise the generation"
    SIGKILL = "kill without the lock"
    ACQUIRE = "take the lock"
    LOOK = "look"
    AWAIT_END = "await the end of the run"
    CREATE = "create the container"
    SEND = "send the start"
    NOTE_INTENT = "note the intent"
    # the supervisor
    IDLE = "idle"
    HANG = "end the run that hangs"
    WRITE = "write the row"
    RESTART = "send its start"
    CLOSE = "close the row"
    DEAD = "dead"


HOLDS = frozenset((At.LOOK, At.AWAIT_END, At.CREATE, At.SEND, At.NOTE_INTENT, At.RESTART, At.CLOSE))


class Row(NamedTuple):
    """The row of an ended run. ``due``: it requests a start. ``copies`` and ``starts`` above 1 are faults."""

    verdict: Verdict
    due: bool = False
    copies: int = 1
    starts: int = 0


class Run(NamedTuple):
    """One run. ``heard``: the supervisor has heard its end, or can still hear it."""

    cause: Cause | None = None
    telling: bool = False  # its exit code differs from that of a default stop
    signalled: bool = False  # the engine reported its stop signal or SIGKILL
    marked: bool = False  # HasBeenManuallyStopped
    spoilt: bool = False  # another signal was heard
    known_spoilt: bool = False  # and that is still known
    heard: bool = False
    kept: bool = False  # the journal records that it was seen up
    asked: bool = False  # an action asked it to end, and it will
    hangs: bool = False  # the engine calls it unhealthy
    orphaned: bool = False  # its engine was killed
    in_startup: bool = False  # it ended before the next engine accepted requests
    engine: int = 0  # the engine's process when it was last seen up
    generation: int = 0
    row: Row | None = None
    # Facts that only the walk knows.
    excused: bool = False  # no actor could have written its row
    owed: bool = False  # an actor could, and did not
    blurred: bool = False  # the evidence of its end was removed while the journal could not be written
    dulled: bool = False  # its end could have been heard, and was not
    counts: bool = False  # the supervisor asked it to end because it hung, and no person did so later


def row_fault(run: Run) -> str:
    """The fault of the row of a run; empty without a fault."""
    if run.row is None:
        return ""
    if run.row.starts > 1:
        return "two starts for one row"
    if run.row.copies > 1:
        return "two rows for one end"
    if run.counts and run.row.verdict is Verdict.TO_START:
        return "a hang that does not count"
    if run.cause is Cause.HERE and not run.excused:
        return {Verdict.CRASH: "a stop reported as a crash", Verdict.PERSON: "an action here reported as a stop at the engine"}.get(
            run.row.verdict, ""
        )
    if run.cause is Cause.CRASH and run.dulled and run.row.verdict is Verdict.UNOBSERVED:
        return "a crash reported as unobserved, although it could have been heard"
    is_known = run.cause is Cause.CRASH and (run.heard or run.telling)
    return "a crash reported as a stop" if is_known and run.row.verdict is Verdict.OURS else ""


class Record(NamedTuple):
    """The lock record: a stop (or kill) or a restart, its run, and whether it ends that run. ``hung``: the supervisor's restart."""

    action: Action
    run: int
    ended_it: bool = True
    generation: int = 0
    hung: bool = False


class Task(NamedTuple):
    """A person's action here. ``hit``: the run that it ended."""

    action: Action
    at: At
    hit: int = -1
    generation: int = 0


class Supervisor(NamedTuple):
    """The supervisor: its next step, the run of that step, and its verdict."""

    at: At = At.IDLE
    run: int = -1
    verdict: Verdict | None = None
    due: bool = False
    generation: int = 0  # when it took the lock


class Left(NamedTuple):
    """How often each event may still happen."""

    crashes: int = 0
    ends: int = 0
    hangs: int = 0
    recoveries: int = 0  # of a run that hangs
    actions: int = 0
    deaths: int = 0  # of the supervisor
    cuts: int = 0  # of actions here
    stops: int = 0  # at the engine
    starts: int = 0
    signals: int = 0
    shutdowns: int = 0
    losses: int = 0  # of the engine's reports
    faults: int = 0  # the journal cannot be written for a while
    replacements: int = 0  # the journal is replaced


class State(NamedTuple):
    """Everything at one moment."""

    runs: tuple[Run, ...]
    left: Left
    supervisor: Supervisor = Supervisor()
    task: Task | None = None
    intent: bool | None = True
    record: Record | None = None
    raised: int = 0
    writable: bool = True
    engine: int = 0
    stopping: bool = False  # the engine's shutdown has begun: it refuses requests, and the stream still works
    away: bool = False
    fresh: bool = False  # the container is new and never ran
    readable: bool = True  # the engine's own file can be read
    looked: bool = True  # the first look is over
    keeps: bool = True  # the supervisor uses the runs that the journal records as up
    # Facts that only the walk knows.
    wish: Wish = Wish.UP
    intended_up: bool | None = True
    guessed: bool = False
    wronged: bool = False  # the supervisor ended a run that did not hang

    @property
    def newest(self) -> int:
        return len(self.runs) - 1

    @property
    def up(self) -> bool:
        return self.runs[-1].cause is None

    @property
    def free(self) -> bool:
        return self.supervisor.at not in HOLDS and (self.task is None or self.task.at not in HOLDS)

    def run(self, number: int, **change: object) -> State:
        runs = list(self.runs)
        runs[number] = runs[number]._replace(**change)  # type: ignore[arg-type]
        return self._replace(runs=tuple(runs))

    def at(self, at: At, **change: object) -> State:
        assert self.task is not None
        return self._replace(task=self.task._replace(at=at, **change))  # type: ignore[arg-type]

    def used(self, name: str) -> State:
        return self._replace(left=self.left._replace(**{name: getattr(self.left, name) - 1}))

    def shows(self, number: int) -> bool:
        run = self.runs[number]
        recorded = self.record is not None and self.record.run == number
        return self.tells_of(number) or recorded or (run.kept and self.keeps)

    def tells_of(self, number: int) -> bool:
        run = self.runs[number]
        inspected = number == self.newest and not self.fresh
        return inspected or run.heard or run.row is not None

    def mark_of(self, run: Run, spoilt: bool) -> bool | None:
        """The mark of a manual stop in the engine's file; None if it is unknown."""
        return run.marked if self.readable and not spoilt else None

    @property
    def bad_at_once(self) -> str:
        """The fault of this state that no later event repairs; empty without a fault."""
        other = "started on a guess" if self.guessed else "a run that did not hang was ended" if self.wronged else ""
        return next(filter(None, map(row_fault, self.runs)), other)

    @property
    def bad_at_rest(self) -> str:
        """The fault of this state if no more step follows; empty without a fault."""
        if any(run.cause is Cause.CRASH and run.row is None and not run.excused for run in self.runs):
            return "a crash without a row"
        if self.up and self.wish is Wish.DOWN:
            return "up although a person stopped it"
        if self.up and self.runs[-1].hangs and self.intent and self.wish is Wish.UP:
            return "up and hangs for good"
        if not self.up and self.wish is Wish.UP and not self._doubtful:
            return "down although it should be up"
        return ""

    @property
    def _doubtful(self) -> bool:
        """Whether the server stays down because the evidence also fits a stop."""
        run = self.runs[-1]
        if run.row is None or run.row.verdict not in (Verdict.UNOBSERVED, Verdict.PERSON, Verdict.BASELINE):
            return False
        mark = self.mark_of(run, run.spoilt)
        by_mark = mark is True and (run.signalled or not run.heard) and not run.in_startup
        return (
            run.excused
            or run.blurred
            or by_mark
            or (not run.heard and mark is None and not run.telling)
            or run.row.verdict is Verdict.BASELINE
        )


class Rule(Enum):
    """The rules of the protocol, for the supervisor and for actions."""

    ROW_BEFORE_START = "the row of an end is written before the start that it requests"
    ROW_IS_UNIQUE = "an end has one row, named by container and StartedAt, and the first stays"
    START_ASKS_INTENT = "the start checks the intent while it holds the lock"
    JUDGE_ASKS_NONE = "a verdict ignores the intent: a start under way has not written its intent yet"
    START_ASKS_RECORD = "the start checks the lock record for a stop without an intent while it holds the lock"
    ROW_NAMES_RUN = "a row requests a start only while its run is the newest: a newer run, also an ended one, cancels it"
    INTENT_IS_KNOWN = "a missing intent, as in a replaced journal, does not count as up"
    WRITES_NO_INTENT = "a person's stop at the engine is a verdict on this run, not an intent"
    ENDER_WRITES_ROW = "an action that ends a run writes its row, together with its intent if it has one"
    KEEP_UNWRITTEN = "a stop or kill that cannot write its intent notes that in the lock record, even if the server was down before"
    KEEP_LEFTOVER = "a stop in the lock record stays until a newer run or a written intent, not only until its run has ended"
    KEEP_RESTART = "a restart's record says `to be started` from its stop until its start"
    KILL_ENDS_RESTART = "that record has the generation of its request: after a kill the server is not started"
    KEEP_GENERATION = "a run keeps the generation of its latest start request; another generation explains a signal"
    STARTER_NOTES_END = "an action writes a row of the end that it finds before it starts a server or creates its container again"
    KEEP_SEEN = "the journal keeps the run that was seen up: when another run is seen, the first one gets a row"
    KEEP_CURSOR = "the next supervisor process hears ends without a row again"
    AWAIT_SHUTDOWN = "a stop through the engine is judged if the engine still accepts requests, else after its stream has broken"
    ENGINE_RESTORES = "a run that the engine's shutdown ended is started again"
    MARK_BEFORE_ENGINE = "the engine's mark of a manual stop counts before a restart of the engine"
    STARTUP_BEFORE_MARK = "a run that ended before the engine accepted requests was stopped by the engine, despite its mark"
    MARK_BEFORE_CODE = "the engine's mark of a manual stop counts before the exit code of an end that was not heard"
    MARK_DECIDES = "without that mark an end that was not heard is a crash, with any exit code"
    SIGNAL_SPOILS_MARK = "another signal to a run makes that mark useless"
    KEEP_SIGNAL = "the journal keeps such a signal: the engine does not report it again after a boot"
    UNSEEN_IS_DOWN = "after an end that was not heard and that may be a stop, the server stays down"
    BASELINE = "a server that is down at the first look stays down"
    HANG_ASKS_RUN = "a restart of what hangs checks while it holds the lock that the run is still the newest, and still hangs"
    HANG_ASKS_RECORD = "that restart leaves a run alone that a stop here has asked to end"
    HANG_KEEPS_GENERATION = "that restart has the generation of the start of its run: it ends no run that a kill here is about to end"
    HANG_IN_RECORD = "the lock record says that the restart is for a hang, so the end counts, also if the supervisor dies"


ALL_RULES = frozenset(Rule)
