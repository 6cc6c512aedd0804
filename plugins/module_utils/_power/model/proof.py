# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proofs: the time in which a new version of a server must become ready and stay up, and how it ended; pure."""

from __future__ import annotations

from enum import Enum

from .records import dataclass, replace
from .server import Run
from .supervision import EndedRun, Verdict

#: The origin of a revert. It differs from that of the supervisor's other actions, whose ends count as hangs.
REVERT_ORIGIN = "supervisor (revert)"


class ProofEnd(str, Enum):
    """How a proof ended, or that it is still open."""

    OPEN = "open"
    #: The new version was ready and stayed up.
    PROVED = "proved"
    #: The new version failed, and the previous one is up.
    REVERTED = "reverted"
    #: The new version failed, and a rule forbids the previous one: the server is down.
    LEFT_DOWN = "left_down"
    #: Somebody acted on the server, or nothing was begun.
    VOID = "void"
    #: The new version failed, and the way back failed, too; or the reason of its end is unknown. The usual rules of crashes apply.
    FAILED = "failed"


@dataclass(frozen=True)
class Proof:
    """One proof. The journal has the last one of each server, open or ended.

    ``operation`` is that of the action, ``generation`` the kill generation of its request, ``intent`` the intent before it, as
    `intent_text`. ``present`` is the container at that time, ``present_started_at`` its last start, and ``was_up`` tells if it was up.
    ``previous`` is the container to go back to: the present one, or the one before it if the present one was on trial itself; ``ran``
    tells that such a version ran. ``files`` is the operation that began to keep configuration files. ``back`` is the container like
    the previous one with which the server went back, empty before that. ``tries`` counts failed ways back.

    ``container`` and ``started_at`` are the new version's run, empty before its start. It must be ready by ``ready_by``, and then stay up
    until ``settled_by`` (0: not ready yet), both in seconds of the boot ``boot``. ``tried`` tells that its start was requested. ``failed``
    says why it failed, once decided; ``log`` has its last lines, secrets masked. ``forbids`` names a rule with ``revertible: false``.

    ``fingerprint`` is that of the definition, ``image`` the image's id: the pair that is on trial. ``differs`` has the keys in which the
    versions differ. ``restored`` and ``not_restored`` are configuration files that were put back, and those that were not.
    """

    uuid: str
    name: str
    operation: str
    at: str
    origin: str = ""
    generation: int = 0
    intent: str = ""
    present: str = ""
    present_started_at: str = ""
    was_up: bool = True
    previous: str = ""
    ran: bool = False
    files: str = ""
    back: str = ""
    tries: int = 0
    container: str = ""
    started_at: str = ""
    wait_for: str = "running"
    wait_timeout: int = 300
    settle: int = 30
    forbids: str = ""
    fingerprint: str = ""
    image: str = ""
    differs: tuple[str, ...] = ()
    boot: str = ""
    ready_by: float = 0.0
    settled_by: float = 0.0
    tried: bool = False
    failed: str = ""
    ended: ProofEnd = ProofEnd.OPEN
    msg: str = ""
    log: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    not_restored: tuple[str, ...] = ()

    @property
    def run(self) -> Run:
        """The run of the new version."""
        return Run(self.container, self.started_at)

    @property
    def has_run(self) -> bool:
        return self.container != ""

    @property
    def must_stay_down(self) -> bool:
        """True if a failure leaves the server down. A version that never ran has converted no data."""
        return self.forbids != "" and (self.has_run or self.ran)

    def on_trial(self, run: Run, boot: str, boot_seconds: float) -> Proof:
        """Return the proof from the start of a run of the new version on."""
        return replace(
            self,
            container=run.container,
            started_at=run.started_at,
            boot=boot,
            ready_by=boot_seconds + self.wait_timeout,
            settled_by=0.0,
            tried=True,
            failed="",
        )

    def facts(self) -> dict[str, object]:
        """Return the facts for readers, without empty ones."""
        run = {"container": self.container, "started_at": self.started_at} if self.has_run else None
        told = {
            "ended": self.ended.value,
            "at": self.at,
            "operation": self.operation,
            "run": run,
            "differs": list(self.differs),
            "restored": list(self.restored),
            "not_restored": list(self.not_restored),
            "forbids": self.forbids,
            "msg": self.msg,
        }
        return {name: value for name, value in told.items() if value}

    @property
    def is_open(self) -> bool:
        return self.ended is ProofEnd.OPEN

    def gave_up(self, fingerprint: str, image: str) -> bool:
        """Tell if it is the proof of this definition with this image, and they were tried and failed."""
        has_failed = self.ended in (ProofEnd.REVERTED, ProofEnd.LEFT_DOWN) or (self.ended is ProofEnd.FAILED and self.failed != "")
        return self.tried and has_failed and (self.fingerprint, self.image) == (fingerprint, image)

    def went_back(self, fingerprint: str, container: str) -> bool:
        """Tell if the server went back from this definition to this container. The image does not count: it may be gone."""
        return self.ended is ProofEnd.REVERTED and (self.fingerprint, self.back) == (fingerprint, container)


def intent_text(operation: str, at: str) -> str:
    """Return an intent as a proof has it. Some intents have no operation."""
    return f"{operation} {at}"


def is_held_back(proof: Proof | None, row: EndedRun) -> bool:
    """Tell if a due start must wait for the end of a proof: any but that of the new version after a stop of the engine."""
    if proof is None or not proof.is_open:
        return False
    return not (row.verdict is Verdict.ENGINE_STOPPED and row.run == proof.run and not proof.failed)


class ProofStep(Enum):
    """What a proof needs next."""

    WAIT = "wait"
    #: The new version's run is not noted yet.
    NOTE = "note"
    SETTLE = "settle"
    FAIL = "fail"
    PROVED = ProofEnd.PROVED
    REVERTED = ProofEnd.REVERTED
    LEFT_DOWN = ProofEnd.LEFT_DOWN
    VOID = ProofEnd.VOID
    UNKNOWN = ProofEnd.FAILED


@dataclass(frozen=True)
class ProofFacts:
    """What is known of a server on trial.

    ``held``: somebody has its lock. ``killed``: since the request. ``intent`` is its intent as `intent_text`, ``should_be_up`` what it
    says, and ``by_revert`` tells that it is that of the way back. ``run`` is the run of its container, None without one or before its
    start, ``live`` if it is up. ``verdict`` is that on the noted run's end, None if there is none, ``exit_code`` its exit code, and
    ``due`` tells if a start is due after it, which failed ``tries`` times. ``present_verdict`` is that on the last run of the present
    container of the proof. ``ready``: as the action asked. ``boot`` and ``now`` as in `Proof`.
    """

    boot: str
    now: float
    held: bool = False
    killed: bool = False
    intent: str = ""
    should_be_up: bool = True
    by_revert: bool = False
    run: Run | None = None
    live: bool = False
    verdict: Verdict | None = None
    exit_code: int | None = None
    due: bool = False
    tries: int = 0
    present_verdict: Verdict | None = None
    ready: bool = False


#: Verdicts on a run that ended by itself, and those that do not tell.
_BY_ITSELF = (Verdict.CRASHED, Verdict.ENDED)
_UNKNOWN = (Verdict.ENDED_UNOBSERVED, Verdict.INITIALLY_DOWN)
_UNJUDGED = (None, Verdict.PENDING)
_BY_SOMEBODY = (Verdict.STOPPED, Verdict.STOPPED_EXTERNALLY)

#: Failed starts after a stop of the engine that make a new version a failed one.
_MOST_STARTS = 3

Decision = tuple[ProofStep, str]


def decide(proof: Proof, facts: ProofFacts) -> Decision:
    """Return the next step of an open proof, and why, as a part of a sentence. ``test_proof_model.py`` compares it with its model."""
    run = facts.run
    if facts.held:
        return ProofStep.WAIT, ""
    if run is not None and run.container == proof.back:
        # Whatever followed: the way back was done.
        return ProofStep.REVERTED, proof.failed
    if proof.failed and proof.must_stay_down and facts.by_revert and facts.intent != proof.intent:
        return ProofStep.LEFT_DOWN, proof.failed
    if facts.killed:
        return ProofStep.VOID, "a kill ended it"
    if _is_foreign(proof, facts):
        return ProofStep.VOID, "another action followed"
    if run is not None and run.container in (proof.present, proof.previous):
        return _with_present(proof, facts, run)
    if proof.has_run and run != proof.run:
        return _after_noted_run(proof, facts)
    if run is None:
        return _without_run(proof, facts)
    if not proof.has_run or (facts.live and proof.boot != facts.boot):
        return ProofStep.NOTE, ""
    return _of_live_run(proof, facts) if facts.live else _of_ended_run(proof, facts)


def _is_foreign(proof: Proof, facts: ProofFacts) -> bool:
    """Tell if another action has changed the server. An action that only found the new version up does not count."""
    is_own = facts.intent == proof.intent or facts.intent.partition(" ")[0] == proof.operation
    return not is_own and not (facts.should_be_up and proof.has_run and facts.run == proof.run)


def _with_present(proof: Proof, facts: ProofFacts, run: Run) -> Decision:
    """Decide while the container from before the action has the server's name."""
    if run.container == proof.present and run.started_at != proof.present_started_at:
        return ProofStep.VOID, "another run followed"
    if facts.live:
        return ProofStep.VOID, "another run followed" if proof.has_run else "the action ended before its stop"
    return _without_run(proof, facts)


def _without_run(proof: Proof, facts: ProofFacts) -> Decision:
    """Decide if the new version has no run. Somebody may have stopped the version before it."""
    counts = proof.was_up and not proof.has_run
    if counts and facts.present_verdict in _UNJUDGED:
        return ProofStep.WAIT, ""
    if counts and facts.present_verdict in _BY_SOMEBODY:
        return ProofStep.VOID, "somebody stopped the version before it"
    # A server that should be down stays down if no start was requested.
    why = proof.failed or "the action ended before its start"
    return (ProofStep.FAIL if proof.tried or facts.should_be_up else ProofStep.VOID), why


def _after_noted_run(proof: Proof, facts: ProofFacts) -> Decision:
    """Decide if another run, or none, is in the place of the noted one."""
    if facts.run is None:
        if facts.verdict is Verdict.ENGINE_STOPPED and not (proof.failed or facts.should_be_up):
            return ProofStep.VOID, "it is to stay down"
        decided = _of_ended_run(proof, facts)
        return decided if decided[0] is ProofStep.VOID or facts.verdict in _UNJUDGED else (ProofStep.FAIL, proof.failed or decided[1])
    # Only the supervisor starts it after a stop of the engine.
    return (ProofStep.NOTE, "") if facts.verdict is Verdict.ENGINE_STOPPED else (ProofStep.VOID, "another run followed")


def _of_live_run(proof: Proof, facts: ProofFacts) -> Decision:
    if proof.settled_by:
        return (ProofStep.PROVED if facts.now >= proof.settled_by else ProofStep.WAIT), ""
    if facts.ready:
        return ProofStep.SETTLE, ""
    if facts.now >= proof.ready_by:
        return ProofStep.FAIL, f"it was not ready ({proof.wait_for}) {proof.wait_timeout} s after its start"
    return ProofStep.WAIT, ""


def _of_ended_run(proof: Proof, facts: ProofFacts) -> Decision:
    verdict = facts.verdict
    own_end = Verdict.STOPPED if proof.must_stay_down else Verdict.RESTARTING
    if proof.failed and verdict in (own_end, Verdict.ENGINE_STOPPED):
        # The supervisor took it down, and died before it was finished.
        return ProofStep.FAIL, proof.failed
    if verdict in _BY_ITSELF:
        code = "" if facts.exit_code is None else f" with exit code {facts.exit_code}"
        return ProofStep.FAIL, f"its process ended{code}"
    if verdict in _UNKNOWN:
        return ProofStep.UNKNOWN, "its process ended, and nothing tells why"
    if verdict is Verdict.ENGINE_STOPPED and facts.due and facts.tries >= _MOST_STARTS:
        return ProofStep.FAIL, "it could not be started again after a stop of the engine"
    if verdict in _UNJUDGED or (verdict is Verdict.ENGINE_STOPPED and facts.due):
        return ProofStep.WAIT, ""
    return ProofStep.VOID, "somebody stopped it" if verdict is not Verdict.ENGINE_STOPPED else "it stays down after a stop of the engine"
