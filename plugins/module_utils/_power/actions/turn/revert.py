# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back to the previous version, by the supervisor: the facts of a proof, and the revert under the lock."""

from __future__ import annotations

from ...definitions.definition import secrets_of
from ...host.machine import boot_id, boot_seconds
from ...host.pauses import maintenance_pause
from ...journal.journal import Intent
from ...locking.holder import Leftover
from ...locking.lock import PowerLock
from ...model.clock import timestamp
from ...model.errors import NotSelected, ServerNotFound, Suspended, UnderMaintenance
from ...model.proof import REVERT_ORIGIN, Proof, ProofFacts, ProofStep, decide, intent_text
from ...model.records import replace
from ...model.request import WaitFor
from ...model.result import Phase, PlanStep
from ...model.server import Run, Snapshot, Startup
from ...volume.volume import Volume
from ..boot.await_ready import seen_ready
from ..boot.container import Boot, data_directory
from ..boot.prepare import boot_step, put_disk_right
from ..boot.previous import put_back, require_previous, restore_files
from ..boot.startup import AwaitedRun, matchers_of, start
from ..node.context import ActionContext, known
from ..node.node import Node, Observed, age_seconds
from .stop import end_run, graceful_stop

#: After its stop timeout, a run gets this long to end.
_LATE_SECONDS = 10.0


def facts_of(node: Node, proof: Proof, *, held: bool | None = None) -> ProofFacts:
    """Look at a server on trial, and for ``held`` None at its lock. Raises `JournalUnusable`, OSError, `LockUnavailable`, engine errors."""
    uuid, journal = proof.uuid, node.journal
    # In this order: once the action has released the lock, the look shows all that it did. A start after a row shows, too.
    holder, leftover = node.locks.look(uuid)
    row = journal.ended_runs.of_run(proof.run) if proof.has_run else None
    before = journal.ended_runs.of_run(Run(proof.present, proof.present_started_at))
    snapshot = node.engine.inspect(uuid)
    is_held = holder is not None or _is_stopping(node, uuid, leftover, snapshot) if held is None else held
    intent = journal.intents.known_of(uuid)
    return ProofFacts(
        boot_id(),
        boot_seconds(),
        held=is_held,
        killed=node.generations.changed_since(uuid, proof.generation),
        intent="" if intent is None else intent_text(intent.operation, intent.at),
        should_be_up=proof.was_up if intent is None else intent.up,
        by_revert=intent is not None and not intent.up and intent.origin == REVERT_ORIGIN,
        run=snapshot.run if snapshot is not None and snapshot.has_run else None,
        live=snapshot is not None and snapshot.live,
        verdict=None if row is None else row.verdict,
        exit_code=None if row is None else row.exit_code,
        due=row is not None and row.due,
        tries=0 if row is None else row.tries,
        present_verdict=None if before is None else before.verdict,
        ready=snapshot is not None and not is_held and _is_ready(node, proof, snapshot),
    )


def _is_stopping(node: Node, uuid: str, leftover: Leftover | None, snapshot: Snapshot | None) -> bool:
    """Tell if an action that died has left a stop of the present run unfinished, and the run can still obey it."""
    if snapshot is None or not snapshot.live or leftover is None or leftover.phase is not Phase.STOP or leftover.run != snapshot.run:
        return False
    age = age_seconds(leftover.since, node.clock.now())
    return age is None or age < graceful_stop(node, uuid, snapshot).timeout.seconds + _LATE_SECONDS


def _is_ready(node: Node, proof: Proof, snapshot: Snapshot) -> bool:
    """Tell if the run on trial is ready as the action asked."""
    if not snapshot.live or snapshot.run != proof.run or proof.settled_by:
        return False
    if proof.wait_for == WaitFor.HEALTHY.value and snapshot.health is not None:
        return snapshot.health == "healthy"
    seen = node.journal.runs.known_of(proof.uuid)
    if seen is not None and seen.run == snapshot.run and (seen.matched or seen.matchers is False):
        return True
    matchers = matchers_of(node.sources.definition_for_stop(proof.uuid))
    if matchers and not seen_ready(node, snapshot, matchers, Startup.WAITING):
        return False
    node.journal.runs.record_match(proof.uuid, snapshot.run)
    return True


def require_failed(context: ActionContext, proof: Proof) -> None:
    """Raise `NotSelected` unless the proof is still open and its version has failed. Certain under the lock."""
    if maintenance_pause(context.node.settings.state_directory):
        raise UnderMaintenance(context.cannot("a maintenance is under way; it is done after that"))
    found = known(context, lambda: context.node.journal.proofs.of(context.uuid))
    if found is None or not found.is_open or found.operation != proof.operation or found.run != proof.run:
        raise NotSelected(context.cannot("the proof of its new version is over"))
    step, why = decide(found, known(context, lambda: facts_of(context.node, found, held=False)))
    if step is not ProofStep.FAIL:
        raise NotSelected(context.cannot(f"its new version has not failed{': ' if why else ''}{why}"))


def revert(context: ActionContext, lock: PowerLock, proof: Proof, seen: Observed, steps: tuple[PlanStep, ...]) -> AwaitedRun:
    """End the failed run, if it is up, and start the previous container with the server's name."""
    node, uuid = context.node, context.uuid
    definition = node.sources.definition_for_stop(uuid)
    if definition is None:
        raise ServerNotFound(f"Cannot go back to the previous version of server {uuid}: no source of this node has its definition")
    if definition.suspended:
        raise Suspended(f"Cannot go back to the previous version of server {uuid}: it is suspended")
    context.progress.secrets |= secrets_of(definition) | require_previous(node, proof).secrets
    end_run(context, lock, seen, steps)
    if node.settings.hooks:
        from .hooks import run_hooks

        run_hooks(context, lock, definition)
    context.enter(lock, Phase.PREBOOT)
    context.check_cancelled()
    volume = Volume(data_directory(node, uuid))
    with boot_step(context, "disk") as step:
        # The new version may have used the space. Without the previous one the server would be down.
        step.changed = put_disk_right(context, Boot(definition, volume), limited=False)
    with boot_step(context, "placement") as step:
        proof, staged = put_back(context, proof)
        step.changed = True
    with boot_step(context, "configuration") as step:
        restored, others = restore_files(context, volume, proof)
        context.progress.proof = replace(proof, restored=restored, not_restored=others)
        step.changed = bool(restored)
    started = start(context, lock, definition, staged)
    # The action may have ended before it wrote its intent.
    intent = Intent(True, proof.operation, proof.origin, timestamp(node.clock.now()))
    node.journal.intents.set(context.progress.server, intent)
    return started
