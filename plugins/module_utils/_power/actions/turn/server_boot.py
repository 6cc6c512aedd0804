# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot of a turn: have image and container before the server is stopped for them, end the run that is up, start the server."""

from __future__ import annotations

from ...locking.lock import PowerLock
from ...model.errors import PowerError, ServerNotFound, Suspended
from ...model.result import Phase, PlanStep
from ...model.server import Snapshot
from ..boot.container import Boot, Staged, pull, stage, unstage
from ..boot.preboot import preboot, taken_step
from ..boot.prepare import prepare
from ..boot.startup import AwaitedRun, start
from ..node.context import STALE_SECONDS, ActionContext
from ..node.node import Observed
from .stop import end_run


def boot_server(context: ActionContext, lock: PowerLock, boot: Boot, seen: Observed, steps: tuple[PlanStep, ...]) -> AwaitedRun:
    """End the run that is up, if one is, and start the server. Until it is in its place, the container may be given up again."""
    node, staged = context.node, None
    try:
        staged = _stage(context, lock, boot, seen.snapshot)
        began = node.clock.monotonic()
        end_run(context, lock, seen, steps)
        _await_slot(context, lock)
        if node.clock.monotonic() - began > STALE_SECONDS:
            boot, staged = _refresh(context, lock, boot, staged)
        preboot(context, lock, boot, staged)
    except PowerError:
        if staged is not None:
            unstage(node, staged)
        raise
    return start(context, lock, boot, staged)


def _stage(context: ActionContext, lock: PowerLock, boot: Boot, snapshot: Snapshot | None, kept: Staged | None = None) -> Staged:
    """Pull the image if need be, and return the container that will be started, made if need be; ``kept`` is given up for another."""
    node = context.node
    context.enter(lock, Phase.PULL)
    pull(context, boot.definition)
    # The engine creates no container for a data directory that is not there.
    with taken_step(context, "volume") as step:
        step.changed = boot.volume.create(node.settings.uid, node.settings.gid)
    context.check_cancelled()
    with taken_step(context, "container"):
        # What waits under another name is no change yet: it may be given up again.
        staged = stage(context, boot, snapshot, kept)
    if kept is not None and kept != staged:
        unstage(node, kept)
    return staged


def _await_slot(context: ActionContext, lock: PowerLock) -> None:
    """Wait for the server's turn to boot, in phase ``queue``: a restart keeps its lock meanwhile."""
    if not context.slot.may_boot():
        context.enter(lock, Phase.QUEUE)
        context.slot.begin_boot(context.check_cancelled)


def _refresh(context: ActionContext, lock: PowerLock, boot: Boot, staged: Staged) -> tuple[Boot, Staged]:
    """Fetch the definition again after a stop that took a while; return boot and container as it wants them.

    Suspended or gone meanwhile ends the boot, a definition that cannot boot or be had does not.
    """
    try:
        snapshot = context.node.engine.inspect(context.uuid)
        # What is in the data directory is pre-boot's to look at, in a moment: whatever is wrong there, the definition is not.
        fresh = prepare(context, snapshot, again=True, data=False)
        return fresh, _stage(context, lock, fresh, snapshot, staged)
    except PowerError as error:
        if isinstance(error, (Suspended, ServerNotFound)) or error.cancels:
            raise
        context.progress.warn(f"server {context.uuid}: its definition as it is after the stop cannot be used ({error}); the one in hand is")
        return boot, staged
