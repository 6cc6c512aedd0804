# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action's part of a proof: its conditions before the stop, its row, and the wait for its end. The supervisor does the rest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from ...container.container_labels import PREVIOUS, image_name
from ...container.container_parts import compare
from ...definitions.definition import Definition
from ...definitions.revert_policy import RevertPolicy, forbidding_rule
from ...definitions.supervision import definition_fingerprint
from ...host.library_faults import reason_of
from ...host.supervisor_record import read_record
from ...journal.schema import JournalUnusable
from ...model.cancellation import Deadline
from ...model.clock import timestamp
from ...model.errors import (
    ENGINE_FAULTS,
    LeftDown,
    OutcomeUnknown,
    PowerError,
    Reverted,
    RevertUnavailable,
    StartFailed,
    StartTimeout,
    Superseded,
)
from ...model.news import PROOF
from ...model.proof import Proof, ProofEnd, intent_text
from ...model.records import replace
from ...model.request import WaitFor
from ...model.server import Snapshot
from ..boot.container import Boot, Staged, spec_of
from ..boot.previous import can_return, clear_place, files_fault
from ..node.context import ActionContext, proof_seconds
from ..node.progress import Ending

_LOOK_SECONDS = 0.5
#: The service manager starts a supervisor that died sooner than this.
_ALONE_SECONDS = 30.0


def as_possible(context: ActionContext, definition: Definition, policy: RevertPolicy) -> RevertPolicy | None:
    """Return the policy if a revert is possible, else None. Raises `RevertUnavailable` if the action itself asks for the impossible."""
    why = _unavailable(context) or (files_fault(context.node) if definition.configs else "")
    if not why:
        return policy
    if not policy.is_default:
        raise _refused(context, why)
    context.warn(f"a failed start is left, although on_failed_start is revert here: {why}")
    return None


def _refused(context: ActionContext, why: str) -> RevertUnavailable:
    return RevertUnavailable(f"Cannot {context.verb} server {context.uuid} with on_failed_start: revert: {why}")


def _unavailable(context: ActionContext) -> str:
    if os.geteuid() != 0:
        return "only root can go back to the previous version; act as root (become: true)"
    try:
        record = read_record(context.node.settings.record_directories)
    except OSError as error:
        return f"the record of the supervisor cannot be read: {reason_of(error)}"
    if record is None:
        return "the supervisor does not run on this node; start fleet-power-supervisor"
    if not record.reverts:
        return "the supervisor on this node is an earlier version that cannot go back; restart fleet-power-supervisor"
    return ""


def begin_proof(context: ActionContext, policy: RevertPolicy, boot: Boot, snapshot: Snapshot | None, staged: Staged) -> None:
    """Write the row of the proof before the stop, if there is another version; again if that changed. Raises `RevertUnavailable`."""
    progress, node, uuid = context.progress, context.node, context.uuid
    if snapshot is None or not staged.waiting or not can_return(snapshot, uuid):
        why = "never ran, or another program made it" if staged.waiting else "stays the same"
        previous = "it has no container" if snapshot is None else f"its container {why}"
        context.warn(f"a failed start is left, because there is no previous version: {previous}")
        return
    known, image = progress.proof, node.engine.images.find(boot.definition.image)
    try:
        begun = _proof(context, snapshot) if known is None else known
        begun = _of_version(context, begun, policy, boot.definition, "" if image is None else image.id)
        node.journal.proofs.begin(begun)
    except (JournalUnusable, OSError) as error:
        raise _refused(context, f"the journal cannot be written: {reason_of(error)}") from error
    progress.proof = begun
    if known is None and begun.previous == snapshot.id:
        clear_place(node, uuid)


def _proof(context: ActionContext, snapshot: Snapshot) -> Proof:
    """Return a new proof. If the present version is on trial itself, the one before it stays the previous one."""
    request, node, uuid = context.request, context.node, context.uuid
    intent, earlier = node.journal.intents.known_of(uuid), node.journal.proofs.of(uuid)
    kept = _kept(context, earlier)
    proof = Proof(
        uuid,
        context.progress.server.name,
        request.operation,
        timestamp(node.clock.now()),
        origin=request.origin,
        generation=request.generation(uuid),
        intent="" if intent is None else intent_text(intent.operation, intent.at),
        present=snapshot.id,
        present_started_at=snapshot.started_at,
        was_up=snapshot.live,
        previous=snapshot.id,
        files=request.operation,
        wait_for=request.wait_for.value,
        wait_timeout=request.wait_timeout,
    )
    if earlier is None or kept is None:
        return proof
    return replace(proof, previous=kept.id, files=earlier.files, ran=earlier.has_run or earlier.ran)


def is_on_trial(context: ActionContext) -> bool:
    """Tell if the present version is on trial, and this action can go back to the version before it. Raises `RevertUnavailable`."""
    try:
        return _kept(context, context.node.journal.proofs.of(context.uuid)) is not None
    except (JournalUnusable, OSError) as error:
        raise _refused(context, f"the journal cannot be written: {reason_of(error)}") from error


def _kept(context: ActionContext, earlier: Proof | None) -> Snapshot | None:
    """Return the previous container of an earlier proof that is still open."""
    if earlier is None or not earlier.is_open:
        return None
    kept = context.node.engine.inspect(context.uuid + PREVIOUS)
    return kept if kept is not None and can_return(kept, context.uuid) else None


def _of_version(context: ActionContext, proof: Proof, policy: RevertPolicy, definition: Definition, image_id: str) -> Proof:
    """Return the proof of a definition with an image."""
    node = context.node
    previous = node.engine.inspect(proof.previous)
    differs: tuple[str, ...] = ()
    if previous is not None:
        found = compare(previous, spec_of(node, definition, image_id=image_id).config)
        differs = tuple(sorted((*found.restart, *found.in_place)))
    return replace(
        proof,
        settle=policy.settle,
        forbids=forbidding_rule(node.settings, definition, None if previous is None else image_name(previous)),
        fingerprint=definition_fingerprint(definition),
        image=image_id,
        differs=differs,
    )


def prove(context: ActionContext, act: Callable[[ActionContext], Ending]) -> Ending:
    """Act, and then wait for the end of the proof, if the action began one. Raises `Reverted`, `LeftDown`, and the errors of ``act``."""
    if context.request.wait_for is WaitFor.CONTAINER:
        context = replace(context, request=replace(context.request, wait_for=WaitFor.RUNNING))
    try:
        ending = act(context)
    except PowerError as error:
        if context.progress.proof is None:
            raise
        # The revert itself may have ended the run.
        if error.cancels and not isinstance(error, Superseded):
            raise
        _await_end(context, context.progress.proof, error)
        raise
    if context.progress.proof is not None:
        _await_end(context, context.progress.proof, None)
    return ending


def _await_end(context: ActionContext, proof: Proof, error: PowerError | None) -> None:
    """Wait for the end of a proof. Return if the new version is proved, or if ``error`` says all."""
    node, progress = context.node, context.progress
    progress.is_state_old = True
    progress.note(PROOF)
    context.report(PROOF)
    attended = Deadline.after(node.clock, _ALONE_SECONDS)
    deadline = Deadline.after(node.clock, proof.wait_timeout + proof_seconds(node, 0 if error else proof.settle))
    while True:
        try:
            found = node.journal.proofs.of(context.uuid)
        except (JournalUnusable, OSError) as fault:
            _leave_open(context, error, f"the journal cannot be read: {reason_of(fault)}")
            return
        if found is None or found.operation != proof.operation:
            found = replace(proof, ended=ProofEnd.VOID, msg="another action followed")
        if not found.is_open:
            progress.proof = found
            _raise_end(context, found, error)
            return
        context.check_cancelled()
        if not _unavailable(context):
            attended = Deadline.after(node.clock, _ALONE_SECONDS)
        if deadline.is_over or attended.is_over:
            _leave_open(context, error, "the supervisor has not ended its proof in time")
            return
        if node.caller.interrupted() and not node.caller.handed_on():
            context.warn("a signal ended the wait for the proof of its new version; the supervisor goes on with it")
            return
        deadline.pause(_LOOK_SECONDS)


def _leave_open(context: ActionContext, error: PowerError | None, why: str) -> None:
    """Report that the end is unknown: a new version that is not proved is not done. Raises `OutcomeUnknown` without another ``error``."""
    said = f"whether the new version of server {context.uuid} stays up is unknown: {why}"
    if error is None:
        raise OutcomeUnknown(f"Cannot end the {context.verb}: {said}; fleet-power why {context.uuid} tells it later")
    context.progress.warn(said)


def _raise_end(context: ActionContext, proof: Proof, error: PowerError | None) -> None:
    uuid, verb = context.uuid, context.verb
    if proof.log:
        context.progress.show_log(proof.log)
    if proof.ended is ProofEnd.REVERTED:
        with contextlib.suppress(*ENGINE_FAULTS):
            now = context.node.engine.inspect(uuid)
            context.progress.run = context.progress.run if now is None else now.run
        raise Reverted(f"Cannot {verb} server {uuid} with its new version: {proof.msg}; the previous version is up again") from error
    if proof.ended is ProofEnd.LEFT_DOWN:
        raise LeftDown(
            f"Cannot {verb} server {uuid} with its new version: {proof.msg}; it is down, because {proof.forbids} says revertible: false"
        ) from error
    if proof.ended is ProofEnd.FAILED and (error is None or proof.failed):
        raise StartFailed(f"Cannot {verb} server {uuid} with its new version: {proof.msg}") from error
    if proof.ended is ProofEnd.FAILED:
        context.warn(proof.msg)
    # A server that somebody stopped or started since is not left up.
    if proof.ended is ProofEnd.VOID and (error is None or isinstance(error, StartTimeout)):
        raise Superseded(f"Cannot prove the new version of server {uuid}: {proof.msg}") from error
