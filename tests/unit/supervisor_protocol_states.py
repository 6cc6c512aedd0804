# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's protocol as a model, small enough to walk every interleaving of it.

One server, its runs, and who acts on it: the run itself (it crashes, or ends), a person here (start, stop, restart, kill), a person at
the engine (`docker stop` or `kill`, `docker start`, both as `docker restart`, and a signal that stops nothing), the engine (shut down, back
as another process, with or without what ran; the power fails), the journal (cannot be written, begun anew), and the supervisor. Supervisor
and acting modules may be killed between any two of their steps.

Assumed of the engine: it tells of a signal sent through its API before it tells of the end; in a shutdown it lets nobody in before it
stops the first one, and breaks the stream after the last; if it is killed, the next one stops what still runs before it lets anybody in,
and marks that as stopped by hand; as long as it is the same process it tells again what it told (but may lose it); its own mark of a
manual stop (`HasBeenManuallyStopped`) stands when the run has ended; whoever looks right before a request knows what the request meets.
Assumed of the rest: a run that was asked to end ends, and a supervisor that lives sees at once that a run is up.

Not here: what a late start request does, and two persons here at a time, which is the kill protocol's business; waits, back-off and counts.

This file holds the state, the rules and the bad states, supervisor_protocol_moves.py the moves, and supervisor_protocol.py the walk.
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
    """What the supervisor takes an end for."""

    NOTED = "noted by a start, not judged yet"
    OURS = "ours"
    TO_START = "a restart that did not come to its start"
    ENGINE = "the engine's"
    PERSON = "a person's at the engine"
    CRASH = "a crash"
    ENDED = "ended by itself"
    UNSEEN = "ended unseen"
    BASELINE = "down at the first look"


STARTED = frozenset((Verdict.CRASH, Verdict.ENGINE, Verdict.TO_START))


class Wish(str, Enum):
    """What a person wants of the server by now; EITHER where nobody can say."""

    UP = "up"
    DOWN = "down"
    EITHER = "either"


class Action(str, Enum):
    """What a person here asks for."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    KILL = "kill"


class At(str, Enum):
    """What an actor does next."""

    # a person's action here
    RAISE = "raise the generation"
    SIGKILL = "kill without the lock"
    ACQUIRE = "take the lock"
    LOOK = "look"
    AWAIT_END = "await the end of the run"
    CREATE = "make the container"
    SEND = "send the start"
    NOTE_INTENT = "note the intent"
    # the supervisor
    IDLE = "idle"
    WRITE = "write the row"
    RESTART = "send its start"
    CLOSE = "close the row"
    DEAD = "dead"


HOLDS = frozenset((At.LOOK, At.AWAIT_END, At.CREATE, At.SEND, At.NOTE_INTENT, At.RESTART, At.CLOSE))


class Row(NamedTuple):
    """The row of an ended run. ``due``: it asks for a start. ``copies`` and ``starts`` count what there should be one of."""

    verdict: Verdict
    due: bool = False
    copies: int = 1
    starts: int = 0


class Run(NamedTuple):
    """One run. ``heard``: the supervisor has heard its end, or can still hear it."""

    cause: Cause | None = None
    telling: bool = False  # its exit code is none that a stop brings by default
    signalled: bool = False  # the engine told of its stop signal or SIGKILL
    marked: bool = False  # HasBeenManuallyStopped
    spoilt: bool = False  # it was heard that another signal was sent
    known_spoilt: bool = False  # and it is still known
    heard: bool = False
    kept: bool = False  # the journal has it as seen up
    asked: bool = False  # it was asked to end, and will
    orphaned: bool = False  # its engine was killed
    in_startup: bool = False  # it ended before the next engine let anybody in
    engine: int = 0  # the engine's process by which it was last seen up
    generation: int = 0
    row: Row | None = None
    # What only an onlooker knows.
    excused: bool = False  # nobody could have written its row
    owed: bool = False  # somebody could, and did not
    blurred: bool = False  # what told how it ended was removed when nobody could write that down
    dulled: bool = False  # its end could have been heard, and was not


def badly_told(run: Run) -> str:
    """In which way the row of a run is bad, if it is."""
    if run.row is None:
        return ""
    if run.row.starts > 1:
        return "two starts for one row"
    if run.row.copies > 1:
        return "two rows for one end"
    if run.cause is Cause.HERE and not run.excused:
        return {Verdict.CRASH: "a stop told as a crash", Verdict.PERSON: "an action of ours told as somebody else's"}.get(
            run.row.verdict, ""
        )
    if run.cause is Cause.CRASH and run.dulled and run.row.verdict is Verdict.UNSEEN:
        return "a crash told as unseen, though it could have been heard"
    is_known = run.cause is Cause.CRASH and (run.heard or run.telling)
    return "a crash told as a stop" if is_known and run.row.verdict is Verdict.OURS else ""


class Record(NamedTuple):
    """What the lock record says: a stop (or kill) or a restart, of which run, and whether that has ended it or is about to."""

    action: Action
    run: int
    ended_it: bool = True
    generation: int = 0


class Task(NamedTuple):
    """A person's action here. ``hit``: the run that it ended."""

    action: Action
    at: At
    hit: int = -1
    generation: int = 0


class Supervisor(NamedTuple):
    """The supervisor: what it does next, with which run, and what it has in mind."""

    at: At = At.IDLE
    run: int = -1
    verdict: Verdict | None = None
    due: bool = False
    generation: int = 0  # when it took the lock


class Left(NamedTuple):
    """How often each thing may still happen."""

    crashes: int = 0
    ends: int = 0
    actions: int = 0
    deaths: int = 0  # of the supervisor
    cuts: int = 0  # of actions here
    stops: int = 0  # at the engine
    starts: int = 0
    signals: int = 0
    shutdowns: int = 0
    losses: int = 0  # of what the engine told
    faults: int = 0  # the journal cannot be written for a while
    anews: int = 0  # the journal is begun anew


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
    stopping: bool = False  # the engine's shutdown has begun: it lets nobody in, and the stream is still there
    away: bool = False
    fresh: bool = False  # the container was made anew and never ran
    readable: bool = True  # the engine's own file can be read
    looked: bool = True  # the baseline is behind us
    keeps: bool = True  # the supervisor uses what the journal has as seen up
    # What only an onlooker knows.
    wish: Wish = Wish.UP
    meant: bool | None = True
    guessed: bool = False

    @property
    def newest(self) -> int:
        """The number of the latest run."""
        return len(self.runs) - 1

    @property
    def up(self) -> bool:
        """Whether the server runs."""
        return self.runs[-1].cause is None

    @property
    def free(self) -> bool:
        """Whether nobody holds the lock."""
        return self.supervisor.at not in HOLDS and (self.task is None or self.task.at not in HOLDS)

    def run(self, number: int, **change: object) -> State:
        """The state in which that run has changed."""
        runs = list(self.runs)
        runs[number] = runs[number]._replace(**change)  # type: ignore[arg-type]
        return self._replace(runs=tuple(runs))

    def at(self, at: At, **change: object) -> State:
        """The state in which the action here is at that step."""
        assert self.task is not None
        return self._replace(task=self.task._replace(at=at, **change))  # type: ignore[arg-type]

    def used(self, name: str) -> State:
        """The state in which that may happen once less."""
        return self._replace(left=self.left._replace(**{name: getattr(self.left, name) - 1}))

    def shows(self, number: int) -> bool:
        """Whether anything tells the supervisor of that run."""
        run = self.runs[number]
        recorded = self.record is not None and self.record.run == number
        return self.tells_of(number) or recorded or (run.kept and self.keeps)

    def tells_of(self, number: int) -> bool:
        """Whether anything tells how that run ended."""
        run = self.runs[number]
        inspected = number == self.newest and not self.fresh
        return inspected or run.heard or run.row is not None

    def mark_of(self, run: Run, spoilt: bool) -> bool | None:
        """What the engine's own file tells of a stop by hand, if anything."""
        return run.marked if self.readable and not spoilt else None

    @property
    def bad_at_once(self) -> str:
        """In which way this state is bad whatever comes, if it is."""
        return next(filter(None, map(badly_told, self.runs)), "started on a guess" if self.guessed else "")

    @property
    def bad_at_rest(self) -> str:
        """In which way this state is bad when nothing is under way any more, if it is."""
        if any(run.cause is Cause.CRASH and run.row is None and not run.excused for run in self.runs):
            return "a crash without a row"
        if self.up and self.wish is Wish.DOWN:
            return "up although somebody stopped it"
        if not self.up and self.wish is Wish.UP and not self._doubtful:
            return "down although it is meant to be up"
        return ""

    @property
    def _doubtful(self) -> bool:
        """Whether the last end was left, and told, because all that could be seen might as well have been a stop."""
        run = self.runs[-1]
        if run.row is None or run.row.verdict not in (Verdict.UNSEEN, Verdict.PERSON, Verdict.BASELINE):
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
    """What the protocol asks of the supervisor, and of others for its sake."""

    ROW_BEFORE_START = "the row of an end is written before the start that it asks for"
    ROW_IS_UNIQUE = "an end has one row, named by container and StartedAt, and the first stays"
    START_ASKS_INTENT = "the start asks for the intent, with the lock held"
    JUDGE_ASKS_NONE = "an end is judged without the intent: that of a start under way is not written yet"
    START_ASKS_RECORD = "the start asks the lock record for a stop that left no intent, with the lock held"
    ROW_NAMES_RUN = "a row asks for a start only while its run is the newest: if another came, even one that is over, it starts nothing"
    INTENT_IS_KNOWN = "an intent that is gone, as in a journal begun anew, is not up"
    WRITES_NO_INTENT = "a person's stop at the engine is a verdict on this run, not an intent"
    ENDER_WRITES_ROW = "whoever ends a run here writes its row, with the intent where there is one"
    KEEP_UNWRITTEN = "a stop or kill that cannot write its intent says so in the lock record, even if it found the server down"
    KEEP_LEFTOVER = "a stop in the lock record stays until a newer run or a written intent, not only until its run has ended"
    KEEP_RESTART = "a restart's record says `to be started` from its stop until its start"
    KILL_ENDS_RESTART = "that record has the generation of its request: after a kill it is not to be started"
    KEEP_GENERATION = "a run remembers the generation of the latest start that was asked for it; another one explains a signal"
    STARTER_NOTES_END = "whoever starts a server or makes its container anew first writes a row of the end that it finds"
    KEEP_SEEN = "the journal keeps which run was seen up: when another is seen, it has a row, if only that it ended unseen"
    KEEP_CURSOR = "the next life hears again what has no row yet"
    AWAIT_SHUTDOWN = "a stop through the engine is judged when the engine still lets somebody in, else when its stream has broken"
    ENGINE_RESTORES = "what the engine's shutdown ended is started"
    MARK_BEFORE_ENGINE = "the engine's mark of a manual stop counts before its restart does"
    STARTUP_BEFORE_MARK = "what ended before the engine let anybody in was stopped by it, whatever its mark says"
    MARK_BEFORE_CODE = "the engine's mark of a manual stop counts before the exit code of an end that was not heard"
    MARK_DECIDES = "without that mark an end that was not heard is a crash, whatever its exit code"
    SIGNAL_SPOILS_MARK = "that mark says nothing of a run that another signal was sent to"
    KEEP_SIGNAL = "that such a signal was heard is kept in the journal: the engine does not tell it again after a boot"
    UNSEEN_IS_LEFT = "an end that was not heard, and that a stop may have brought, is left"
    BASELINE = "what is down at the first look of all is left"


ALL_RULES = frozenset(Rule)
