# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Having image and container before a server is stopped for them, and the definition anew where the stop took long."""

from __future__ import annotations

from ...locking.lock import PowerLock
from ...model.errors import PowerError, ServerNotFound, Suspended
from ...model.model import Phase, Snapshot
from ..boot.container import Boot, Staged, pull, stage, unstage
from ..boot.prepare import prepare
from ..boot.steps import taken_step
from ..node.context import ActionContext


def stage_boot(context: ActionContext, lock: PowerLock, boot: Boot, snapshot: Snapshot | None, kept: Staged | None = None) -> Staged:
    """Pull the image if need be, and return the container that will be started, made if need be; ``kept`` is given up for another."""
    node = context.node
    context.enter(lock, Phase.PULL)
    pull(context, boot.definition)
    # The engine creates no container for a data directory that is not there.
    with taken_step(context.progress, "volume") as step:
        step.changed = boot.volume.create(node.settings.uid, node.settings.gid)
    context.check_cancelled()
    with taken_step(context.progress, "container"):
        # What waits under another name is no change yet: it may be given up again.
        staged = stage(context, boot, snapshot, kept)
    if kept is not None and kept != staged:
        unstage(node, kept)
    return staged


def await_boot_slot(context: ActionContext, lock: PowerLock) -> None:
    """Wait for the server's turn to boot, in phase ``queue``: a restart keeps its lock meanwhile."""
    if not context.slot.may_boot():
        context.enter(lock, Phase.QUEUE)
        context.slot.begin_boot(context.check_cancelled)


def refresh(context: ActionContext, lock: PowerLock, boot: Boot, staged: Staged) -> tuple[Boot, Staged]:
    """Fetch the definition again after a stop that took a while; return boot and container as it wants them.

    Suspended or gone meanwhile ends the boot, a definition that cannot boot or be had does not.
    """
    try:
        snapshot = context.node.engine.inspect(context.uuid)
        # What is in the data directory is pre-boot's to look at, in a moment: whatever is wrong there, the definition is not.
        fresh = prepare(context, snapshot, again=True, data=False)
        return fresh, stage_boot(context, lock, fresh, snapshot, staged)
    except PowerError as error:
        if isinstance(error, (Suspended, ServerNotFound)) or error.cancels:
            raise
        context.progress.warn(f"server {context.uuid}: its definition as it is after the stop cannot be used ({error}); the one in hand is")
        return boot, staged
