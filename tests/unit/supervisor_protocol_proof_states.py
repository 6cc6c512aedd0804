# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of the proof of a new version: its states, its rules, and the prover's decision.

The model has one server, the previous container, and these actors:
- An update puts a new version in place: row, stop, the previous container aside, the new one in place, start, note of the run, intent.
- The prover is a part of the supervisor. It proves the new version, or brings the previous one back. The starter starts after ends.
- A person here starts, stops, restarts or kills. A person at the engine uses `docker stop` and `docker start`.
- The engine shuts down, the power fails, the journal cannot be written. Each actor dies between any two steps, and a start request
  may outlive its sender.
The verdicts on ends are right or `unobserved`, see `supervisor_protocol`. A newer run cancels the due start of an earlier one. The code
goes back with a copy of the previous container. Here both are one container.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

#: The containers: the previous version, those of the first and the second update, that of a definition read again, and any later one.
OLD, NEW, SECOND, FRESH, OTHER = range(5)


class Rule(Enum):
    """The rules of the proof."""

    DECIDE_AGAIN = "under the lock the prover decides again from all facts, after it has settled the lock record"
    DECIDE_FIRST = "the row has the decision, on the disk, before its first step: the next prover carries it out"
    DECIDED_STAYS_DOWN = "after the decision to revert, the starter leaves the server to the prover, also after a boot"
    OWN_END = "the lock record says that the revert ended the candidate, so that this end does not void the proof"
    NAME_PREVIOUS_RUN = "the row names the run that was the newest at its writing: a later run of the previous version is a done revert"
    DONE_IS_DONE = "a done revert closes the row as reverted, also after a kill or with another intent"
    PREVIOUS_END_COUNTS = "an end of the previous run by a person voids the proof, like that of the candidate"
    AWAIT_STOP = "while a stop that was sent is about to end the newest run, the prover waits, also if its sender died"
    NAME_CONTAINER = "the row gets the container of a definition that was read again before that container is in place"
    NOTE_BY_PROVER = "the prover notes the candidate's run if the action died before it did"
    FENCE_KEEPS_PREVIOUS = "the fence of an unfinished start of the previous version keeps a container like it"
    START_ASKS_PROOF = "a start of the supervisor looks for an open row while it holds the lock"
    START_AFTER_ENGINE = "while the row is open, the starter starts only after an end of the candidate by the engine or a boot"
    OWN_START_IS_CANDIDATE = "a run that the starter started for the candidate is proved in its place"
    UNWANTED_ENDS_PROOF = "a candidate that the engine ended voids the proof, unless a start is due for it"
    KEEP_REVERTED = "a later start of the supervisor keeps the reverted container"
    REMOVE_BY_NAME = "the prover removes each container aside, by its name, not only that of its row"
    KEEP_PROVED = "an update during a proof keeps the proved previous version, and removes the unproved container"
    WHOLE_INTENT = "the row has the whole earlier intent: a stop from the lock record has no operation, like a missing intent"
    INTENT_VOIDS = "an intent that is neither the action's nor that of before voids the proof"
    FOUND_UP_GOES_ON = "a start here that found the candidate's noted run up does not void the proof"
    NEWER_RUN_VOIDS = "a run that neither the action nor the supervisor started voids the proof"
    LEFT_DOWN_TOGETHER = "the stop of what may not be reverted closes the row together with its intent"
    REVERT_WHAT_NEVER_RAN = "a version that never ran has converted no data: the previous one is started, also where a revert is forbidden"
    DOWN_STAYS_DOWN = "an update that ends before its start leaves a server down that should be down"
    PREVIOUS_IS_THERE = "without the previous container the prover reverts nothing, and leaves the server to the usual rules"
    ASIDE_IS_DOWN = "after the rename of the previous container the update looks whether it runs: the engine also renames what runs"
    ASIDE_IS_QUIET = "the engine's restart policy of a container is off before the container is put aside"


ALL_RULES = frozenset(Rule)
Rules = frozenset[Rule]


class By(str, Enum):
    """The starter of a run."""

    BEFORE = "before"
    UPDATE = "the update"
    STARTER = "the starter"
    REVERT = "the revert"
    HERE = "a person here"
    ENGINE = "a person at the engine"


PERSONS = (By.HERE, By.ENGINE)


class Verdict(str, Enum):
    CRASH = "a crash"
    OURS = "a stop or kill here"
    TO_START = "a restart that did not reach its start"
    TAKEN_DOWN = "the revert ended it"
    PERSON = "a stop at the engine"
    ENGINE = "a stop by the engine or a boot"
    UNOBSERVED = "ended unobserved"


#: A start is due after these.
STARTED = (Verdict.CRASH, Verdict.TO_START, Verdict.TAKEN_DOWN, Verdict.ENGINE)


class Version(str, Enum):
    """The new version. A bad one exits before it is proved, or never becomes ready."""

    GOOD = "good"
    EXITS = "exits"
    MUTE = "mute"


class Wish(str, Enum):
    UP = "up"
    DOWN = "down"
    EITHER = "either"


class Kind(str, Enum):
    UPDATE = "the update"
    START = "start here"
    STOP = "stop here"
    RESTART = "restart here"
    KILL = "kill here"


class At(str, Enum):
    """The next step of an actor."""

    # an action
    RAISE = "raise the generation"
    SIGKILL = "kill without the lock"
    ACQUIRE = "take the lock"
    ROW = "write the row"
    LOOK = "look, and ask the run to end"
    AWAIT_END = "await the end"
    REREAD = "read the definition again"
    ASIDE = "put the container aside"
    PLACE = "put the new container in place"
    CREATE = "create the container"
    SEND = "send the start"
    NOTE = "note the candidate's run"
    INTENT = "write the intent"
    # the prover; it has AWAIT_END, PLACE and SEND too
    IDLE = "idle"
    END = "end the candidate"
    REMOVE = "remove the previous container"
    REMOVE_CANDIDATE = "remove the candidate's container"
    LEAVE = "write the intent of its stop"
    CLOSE = "close the row"


FREE = (At.IDLE, At.ACQUIRE, At.RAISE, At.SIGKILL)


class Decision(str, Enum):
    WAIT = "wait"
    VOID = "void"
    FAIL = "fail"
    PROVED = "proved"
    UNKNOWN = "unknown"


class Outcome(str, Enum):
    VOID = "void"
    PROVED = "proved"
    UNKNOWN = "unknown"
    REVERTED = "reverted"
    LEFT_DOWN = "left down"
    FAILED = "failed"


class Intent(NamedTuple):
    """``operation`` is empty without an intent, and after a stop that only the lock record had."""

    operation: str = "before"
    up: bool | None = True


class Run(NamedTuple):
    """The newest run."""

    container: int = OLD
    by: By = By.BEFORE
    up: bool = True
    verdict: Verdict | None = None  # once it is written
    cause: Verdict | None = None  # the verdict that a look gives
    due: bool = False
    asked: Verdict | None = None  # an actor asked it to end; the verdict of the lock record
    asked_at: int = 0  # the generation then
    ready: bool = False
    settled: bool = False
    late: bool = False  # its time to become ready is over
    noted: bool = False  # the row names it as the candidate
    prior: bool = False  # it was the newest when the row was written


class Proof(NamedTuple):
    """The row."""

    operation: str
    generation: int
    before: Intent
    previous: int
    container: int
    revertible: bool = True
    named: bool = False  # it has a run of the candidate
    decided: Decision | None = None
    outcome: Outcome | None = None

    @property
    def open(self) -> bool:
        return self.outcome is None


class Task(NamedTuple):
    kind: Kind
    at: At
    generation: int = 0
    container: int = OTHER  # that it starts


class Actor(NamedTuple):
    """The prover, or the starter."""

    at: At = At.IDLE
    decision: Decision | None = None
    generation: int = 0


class Left(NamedTuple):
    """How often each event may still happen."""

    updates: int = 0
    actions: int = 0
    cuts: int = 0
    deaths: int = 0
    crashes: int = 0
    stops: int = 0
    starts: int = 0
    shutdowns: int = 0
    power_cuts: int = 0
    losses: int = 0
    faults: int = 0
    refusals: int = 0
    rereads: int = 0
    removals: int = 0  # of the container aside, by a person at the engine


class State(NamedTuple):
    """Everything at one moment."""

    left: Left
    version: Version = Version.GOOD
    revertible: bool = True
    run: Run = Run()
    place: int | None = OLD
    aside: int | None = None
    sent: int | None = None  # the lock record has an unfinished start of this container
    flying: bool = False  # and the engine may still execute it
    proof: Proof | None = None
    intent: Intent = Intent()
    unsaid: bool = False  # only the lock record has a stop
    raised: int = 0
    tasks: tuple[Task | None, ...] = (None, None)
    prover: Actor = Actor()
    starter: Actor = Actor()
    alive: bool = True
    away: bool = False
    writable: bool = True
    policy: bool = False  # the engine starts the previous container at its own start
    # Facts that only the walk knows.
    wish: Wish = Wish.UP
    proved: int = OLD
    failed: bool = False  # the failure of the new version was decided
    disturbed: bool = False  # a person acted since the row, or the evidence is in doubt
    fault: str = ""

    @property
    def free(self) -> bool:
        actors = (self.prover, self.starter, *(task for task in self.tasks if task is not None))
        return all(actor.at in FREE for actor in actors)

    @property
    def open(self) -> Proof | None:
        return self.proof if self.proof is not None and self.proof.open else None

    def ran(self, **change: object) -> State:
        return self._replace(run=self.run._replace(**change))  # type: ignore[arg-type]

    def row(self, **change: object) -> State:
        assert self.proof is not None
        return self._replace(proof=self.proof._replace(**change))  # type: ignore[arg-type]

    def task(self, index: int, task: Task | None) -> State:
        return self._replace(tasks=(*self.tasks[:index], task, *self.tasks[index + 1 :]))

    def used(self, name: str) -> State:
        return self._replace(left=self.left._replace(**{name: getattr(self.left, name) - 1}))

    @property
    def bad_at_rest(self) -> str:
        """The fault of this state if no more step follows; empty without a fault."""
        run, outcome = self.run, None if self.proof is None else self.proof.outcome
        if self.open is not None:
            return "an open row that no actor closes"
        if run.up and self.wish is Wish.DOWN:
            return "up although a person stopped it"
        if not run.up and self.wish is Wish.UP and run.verdict is not Verdict.UNOBSERVED:
            return "down although it should be up"
        if self.aside is not None:
            return "the previous container is left over"
        if self.disturbed or outcome in (None, Outcome.PROVED, Outcome.FAILED):
            return ""
        if outcome in (Outcome.VOID, Outcome.UNKNOWN) and not run.prior:
            return "a proof without an outcome, although no other action came"
        return ""


def knows_intent(state: State, proof: Proof, rules: Rules) -> bool:
    """Whether the intent is the action's, or that of before."""
    before, intent = proof.before, state.intent
    same = intent == before if Rule.WHOLE_INTENT in rules else intent.operation == before.operation
    return same or intent.operation == proof.operation


def has_run_since(run: Run, proof: Proof) -> bool:
    """Whether the newest run is a later one of the previous version."""
    return run.container == proof.previous and not run.prior and not run.noted


def is_candidate(run: Run, proof: Proof, rules: Rules) -> bool:
    """Whether the newest run is that of the new version, by the row and the runs that the journal knows as the starter's."""
    if run.by is By.STARTER and Rule.OWN_START_IS_CANDIDATE in rules:
        return True
    return run.noted or (not proof.named and run.container == proof.container)


def decide(state: State, rules: Rules) -> Decision:
    """The prover's decision from the visible facts. ``WAIT`` also while the lock is held, except by the prover."""
    proof, run = state.open, state.run
    assert proof is not None
    if proof.decided is Decision.FAIL and has_run_since(run, proof) and Rule.DONE_IS_DONE in rules and Rule.NAME_PREVIOUS_RUN in rules:
        return Decision.FAIL
    if state.raised != proof.generation:
        # See the kill protocol.
        return Decision.VOID
    if not knows_intent(state, proof, rules) and Rule.INTENT_VOIDS in rules:
        found_up = state.intent.up and (run.noted or run.by is By.STARTER) and Rule.FOUND_UP_GOES_ON in rules
        if not found_up:
            return Decision.VOID
    if proof.decided not in (None, Decision.FAIL):
        return proof.decided
    if not run.up and run.verdict is None:
        return Decision.WAIT
    is_own = run.asked is Verdict.TAKEN_DOWN and proof.decided is not None
    if run.up and run.asked is not None and not is_own and Rule.AWAIT_STOP in rules:
        return Decision.WAIT
    if run.prior and not run.up and state.intent.up is False and Rule.DOWN_STAYS_DOWN in rules:
        return Decision.VOID
    found = _of_run(run, proof, rules)
    is_gone = proof.previous not in (state.place, state.aside) and reverts(run, proof, rules)
    return Decision.VOID if found is Decision.FAIL and is_gone and Rule.PREVIOUS_IS_THERE in rules else found


def reverts(run: Run, proof: Proof, rules: Rules) -> bool:
    """Whether the previous version may follow the newest run."""
    never_ran = run.prior and run.container == proof.previous and Rule.REVERT_WHAT_NEVER_RAN in rules
    return proof.revertible or never_ran


def _of_run(run: Run, proof: Proof, rules: Rules) -> Decision:
    """The decision by the newest run."""
    ran_since = has_run_since(run, proof)
    if run.prior or (ran_since and Rule.NAME_PREVIOUS_RUN not in rules):
        if run.up:
            return Decision.VOID
        return _of_end(run.verdict) if Rule.PREVIOUS_END_COUNTS in rules else Decision.FAIL
    if ran_since:
        return Decision.FAIL if proof.decided else Decision.VOID
    if not is_candidate(run, proof, rules):
        return Decision.VOID if Rule.NEWER_RUN_VOIDS in rules else Decision.FAIL
    if run.up:
        return Decision.FAIL if proof.decided or run.late else Decision.PROVED if run.settled else Decision.WAIT
    if run.verdict is Verdict.TO_START:
        return Decision.VOID
    if run.verdict is Verdict.ENGINE and not proof.decided:
        return Decision.WAIT if run.due or Rule.UNWANTED_ENDS_PROOF not in rules else Decision.VOID
    return _of_end(run.verdict)


def _of_end(verdict: Verdict | None) -> Decision:
    if verdict is Verdict.UNOBSERVED:
        return Decision.UNKNOWN
    return Decision.VOID if verdict in (Verdict.PERSON, Verdict.OURS) else Decision.FAIL
