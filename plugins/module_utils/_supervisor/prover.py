# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proofs of new versions: each ends here, by a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace

from .._power.actions.boot.previous import forget_previous
from .._power.actions.boot.startup import last_lines
from .._power.actions.node.context import frozen_fault
from .._power.actions.node.node import Node
from .._power.actions.turn.perform import perform
from .._power.actions.turn.revert import facts_of
from .._power.container.container_labels import image_name
from .._power.definitions.definition import secrets_of
from .._power.definitions.revert_policy import forbidding_rule
from .._power.host.system_log import announce_line
from .._power.journal.schema import JournalUnusable
from .._power.model.cancellation import Deadline, no_check, wait_until
from .._power.model.clock import SYSTEM_CLOCK
from .._power.model.errors import (
    EngineError,
    EngineUnreachable,
    Frozen,
    IntentUnknown,
    InterruptedBySignal,
    LockTimeout,
    LockUnavailable,
    NodeStopping,
    NotSelected,
    UnderMaintenance,
    WingsActive,
    internal_error,
)
from .._power.model.proof import REVERT_ORIGIN, Proof, ProofEnd, ProofStep, decide
from .._power.model.request import PowerAction, Request, new_operation_id
from .._power.model.result import Outcome
from .._power.model.server import Server

#: Seconds between two looks at a server on trial, after a failed look, and after a fault of ours.
_LOOK_SECONDS, _RETRY_SECONDS, _FAULT_SECONDS = 0.5, 1.0, 60.0
#: The longest wait between two tries of a way back, and the tries before it is given up.
_LONGEST_SECONDS, _MOST_TRIES = 30.0, 5
_PASSING = (
    *(EngineUnreachable, Frozen, IntentUnknown, InterruptedBySignal),
    *(LockTimeout, LockUnavailable, NodeStopping, NotSelected, UnderMaintenance),
)
#: Obstacles to a way back that pass by themselves. They are no tries.
_NOT_NOW = (*(error.code for error in _PASSING), WingsActive.code)


class _NotNow(Exception):
    """The way back did not succeed yet."""


class Prover:
    """Ends the open proofs, each in a thread of its own."""

    def __init__(self, node: Callable[[], Node], may_act: Callable[[], bool], on_trouble: Callable[[], None]) -> None:
        """``may_act`` tells if the supervisor may act now. ``on_trouble`` is called when the journal is unusable."""
        self._node = node
        self._may_act = may_act
        self._on_trouble = on_trouble
        self._threads: dict[str, threading.Thread] = {}

    def begin(self) -> None:
        """Begin with the proofs that are new. Raises `JournalUnusable`, OSError."""
        self._threads = {uuid: thread for uuid, thread in self._threads.items() if thread.is_alive()}
        for proof in self._node().journal.proofs.open():
            if proof.uuid not in self._threads:
                thread = threading.Thread(target=self._prove, args=(proof.uuid,), name="proof")
                # If the system allows no more threads, the next turn tries again.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._threads[proof.uuid] = thread

    def join(self) -> None:
        for thread in list(self._threads.values()):
            thread.join()

    def _prove(self, uuid: str) -> None:
        """Look at a server until its proof has ended."""
        failed = 0
        while not self._node().caller.interrupted():
            seconds = _LOOK_SECONDS
            try:
                if self._step(self._node(), uuid):
                    return
                failed = 0
            except _NotNow:
                failed += 1
                seconds = min(_RETRY_SECONDS * 2 ** min(failed - 1, 8), _LONGEST_SECONDS)
            except (JournalUnusable, OSError):
                self._on_trouble()
                seconds = _RETRY_SECONDS
            except (EngineError, EngineUnreachable, LockUnavailable):
                seconds = _RETRY_SECONDS
            except Exception as error:
                # One row must not end the proofs of others.
                announce_line(f"supervisor: proof of {uuid}: {internal_error(error)}", warn=True)
                seconds = _FAULT_SECONDS
            wait_until(self._node().caller.interrupted, Deadline.after(SYSTEM_CLOCK, seconds), every=_LOOK_SECONDS)

    def _step(self, node: Node, uuid: str) -> bool:
        """Do what the proof needs next. Return True if it has ended. Raises `JournalUnusable`, OSError, and the engine's errors."""
        proof = node.journal.proofs.of(uuid)
        if proof is None or not proof.is_open:
            return True
        facts = facts_of(node, proof)
        step, why = decide(proof, facts)
        if isinstance(step.value, ProofEnd):
            return _end(node, replace(proof, ended=step.value, msg=why))
        if step is ProofStep.WAIT or (step is ProofStep.FAIL and not self._may_act()):
            return False
        if step is ProofStep.FAIL:
            failed = replace(proof, failed=why, forbids=proof.forbids or _forbidding_rule(node, proof))
            if not _is_free_to_start(node, failed):
                return False
            failed = replace(failed, log=_log(node, proof) or proof.log)
            _note(node, failed, durable=True)
            return _fail(node, failed)
        if step is ProofStep.SETTLE:
            _note(node, replace(proof, settled_by=facts.now + proof.settle))
        elif facts.run is not None:
            _note(node, proof.on_trial(facts.run, facts.boot, facts.now))
        return False


def _forbidding_rule(node: Node, proof: Proof) -> str:
    """Return the rule that forbids the previous version now; a rule may be newer than the proof. Raises the engine's errors."""
    definition = node.sources.definition_for_stop(proof.uuid)
    if definition is None:
        return ""
    previous = node.engine.inspect(proof.previous)
    return forbidding_rule(node.settings, definition, None if previous is None else image_name(previous))


def _is_free_to_start(node: Node, proof: Proof) -> bool:
    """Tell if no freeze and no suspension forbids the way back. Each try under one would be an operation in the journal."""
    if proof.must_stay_down:
        return True
    definition = node.sources.definition_for_stop(proof.uuid)
    is_suspended = definition is not None and definition.suspended
    return not (is_suspended or frozen_fault(PowerAction.RESTART, proof.uuid, node, by_supervisor=True))


def _fail(node: Node, proof: Proof) -> bool:
    """Take the new version down. Return True if the proof has ended; the next look ends it if all went well. Raises `_NotNow`,
    `JournalUnusable`, OSError, and the engine's errors."""
    result = perform(_request(node, proof), node, Server(proof.uuid, proof.name))
    back = result.proof
    if back is not None:
        _note(node, back)
    is_done = result.outcome in (Outcome.DONE, Outcome.UNCHANGED)
    if is_done or (back is not None and result.run is not None and result.run.container == back.back):
        # It went back, even if that version ended at once.
        return False
    if result.code in _NOT_NOW or result.outcome is Outcome.CANCELLED:
        raise _NotNow
    tried = replace(back or proof, tries=proof.tries + 1)
    # Without the previous container, another try cannot succeed.
    if tried.tries < _MOST_TRIES and (proof.must_stay_down or node.engine.inspect(proof.previous) is not None):
        _note(node, tried)
        raise _NotNow
    times = "" if tried.tries == 1 else f" {tried.tries} times"
    why = f"{proof.failed}, and the way back failed{times}: {result.msg}"
    return _end(node, replace(tried, ended=ProofEnd.FAILED, msg=why))


def _end(node: Node, proof: Proof) -> bool:
    """Remove what the proof has kept, and write its end. Return False if somebody has the lock: a second update may use the same. After a
    way back that failed, the previous container stays for the operator. Raises `JournalUnusable`, OSError, `EngineUnreachable`."""
    try:
        with node.acquire(_request(node, proof), proof.uuid, 0.0, no_check):
            found = node.journal.proofs.of(proof.uuid)
            if found is None or not found.is_open or found.operation != proof.operation:
                return True
            if proof.ended is not ProofEnd.FAILED:
                # The next update removes a container that the engine does not remove now.
                with contextlib.suppress(EngineError):
                    forget_previous(node, proof)
            node.journal.proofs.close(proof)
    except LockTimeout:
        return False
    named = f"{proof.uuid} ({proof.name})" if proof.name else proof.uuid
    said = f": {proof.msg}" if proof.msg else ""
    announce_line(f"new version of {named}: {proof.ended.value}{said}", warn=proof.ended not in (ProofEnd.PROVED, ProofEnd.VOID))
    return True


def _note(node: Node, proof: Proof, *, durable: bool = False) -> None:
    """Write what is new of an open proof. Raises `JournalUnusable`."""
    if not node.journal.proofs.note(proof, durable=durable):
        raise JournalUnusable("it cannot be written")


def _log(node: Node, proof: Proof) -> tuple[str, ...]:
    """Return the last lines of the failed run. Raises the engine's errors."""
    snapshot = node.engine.inspect(proof.container) if proof.has_run else None
    definition = node.sources.definition_for_stop(proof.uuid)
    # Only of this server: a group may write to the journal.
    return () if snapshot is None or snapshot.name != proof.uuid else last_lines(node, snapshot, secrets_of(definition) | snapshot.secrets)


def _request(node: Node, proof: Proof) -> Request:
    """Return the stop of a new version that must stay down, or the way back to the previous one."""
    because = f", and {proof.forbids} says revertible: false" if proof.must_stay_down else ""
    return Request(
        server=proof.uuid,
        action=PowerAction.STOP if proof.must_stay_down else PowerAction.RESTART,
        operation=new_operation_id(),
        requested_at=node.clock.now(),
        # A kill since the action's request wants the server down.
        generations={proof.uuid: proof.generation},
        stop_timeout=node.settings.supervisor_unhealthy_stop_timeout,
        proof=proof,
        origin=REVERT_ORIGIN,
        reason=f"the new version failed: {proof.failed}{because}",
    )
