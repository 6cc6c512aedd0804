# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot of a turn: prepare image and container before the stop, end the present run, start the server."""

from __future__ import annotations

from ...locking.lock import PowerLock
from ...model.errors import NodeStopping, PowerError, ServerNotFound, StartFailed, Suspended
from ...model.records import replace
from ...model.result import Phase, PlanStep
from ...model.server import Snapshot
from ..boot.container import Boot, Staged, pull, stage, unstage
from ..boot.prepare import boot_step, preboot, prepare
from ..boot.startup import AwaitedRun, start
from ..node.context import STALE_SECONDS, ActionContext, require_hanging
from ..node.node import Observed
from .stop import end_run


def boot_server(context: ActionContext, lock: PowerLock, boot: Boot, seen: Observed, steps: tuple[PlanStep, ...]) -> AwaitedRun:
    """End the present run, if any, and start the server. Before it is in place, the new container may be removed again."""
    node, staged = context.node, None
    try:
        staged = _stage(context, lock, boot, seen.snapshot)
        _begin_proof(context, boot, seen.snapshot, staged)
        if context.request.follows_hang:
            # The pull may have taken minutes.
            require_hanging(context, node.engine.inspect(context.uuid))
        began = node.clock.monotonic()
        end_run(context, lock, seen, steps)
        if node.settings.hooks:
            from .hooks import run_hooks

            run_hooks(context, lock, boot.definition)
        if not context.slot.may_boot():
            context.enter(lock, Phase.QUEUE)
            context.slot.begin_boot(context.check_cancelled)
        if node.clock.monotonic() - began > STALE_SECONDS:
            boot, staged = _refresh(context, lock, boot, staged)
            _begin_proof(context, boot, seen.snapshot, staged)
        preboot(context, lock, boot, staged)
    except PowerError as error:
        if context.progress.proof is not None and not error.cancels and not isinstance(error, NodeStopping):
            node.journal.proofs.note(replace(context.progress.proof, failed=context.progress.sentence(error)))
        if staged is not None:
            unstage(node, staged)
        raise
    try:
        return start(context, lock, boot.definition, staged)
    except StartFailed as error:
        if context.progress.proof is not None:
            why = context.progress.sentence(error).partition(": ")[2]
            node.journal.proofs.note(replace(context.progress.proof, tried=True, failed=why))
        raise


def _begin_proof(context: ActionContext, boot: Boot, snapshot: Snapshot | None, staged: Staged) -> None:
    """Put the new version on trial before the stop; again if the definition changed during it."""
    if context.progress.revert is not None:
        from .proving import begin_proof

        begin_proof(context, context.progress.revert, boot, snapshot, staged)


def _stage(context: ActionContext, lock: PowerLock, boot: Boot, snapshot: Snapshot | None, kept: Staged | None = None) -> Staged:
    """Pull the image if needed, and return the container to start, a new one if needed; another one than ``kept`` replaces that."""
    node = context.node
    context.enter(lock, Phase.PULL)
    if not boot.reverted and pull(context, boot.definition):
        context.progress.alter()
    # The engine creates no container without its data directory.
    with boot_step(context, "volume") as step:
        step.changed = boot.volume.create(node.settings.uid, node.settings.gid)
    context.check_cancelled()
    with boot_step(context, "container"):
        on_trial = False
        if context.progress.revert is not None:
            from .proving import is_on_trial

            on_trial = is_on_trial(context)
        # A waiting container is no change yet: it may be removed again.
        staged = stage(context, boot, snapshot, kept, on_trial=on_trial)
    if kept is not None and kept != staged:
        unstage(node, kept)
    return staged


def _refresh(context: ActionContext, lock: PowerLock, boot: Boot, staged: Staged) -> tuple[Boot, Staged]:
    """Fetch the definition again after a long stop. Suspended or gone ends the boot; other errors keep the old one."""
    try:
        snapshot = context.node.engine.inspect(context.uuid)
        # Pre-boot checks the data directory next. Its faults are not the definition's.
        fresh = prepare(context, snapshot, again=True, data=False)
        return fresh, _stage(context, lock, fresh, snapshot, staged)
    except PowerError as error:
        if isinstance(error, (NodeStopping, Suspended, ServerNotFound)) or error.cancels:
            raise
        context.warn(f"its definition after the stop cannot be used ({error}); the earlier one is used")
        return boot, staged
