# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settling what another action left unfinished in the lock file, before anything else is done under the lock.

A start request outlives its caller: it may still be on its way to the engine. Whoever comes next makes sure that it cannot bring
the server up behind everybody's back: it either was executed already, or its container is removed, since an id that is gone
cannot be started late.
"""

from __future__ import annotations

from ...locking.holder import EndedHere
from ...locking.lock import PowerLock
from ...model.cancellation import Deadline
from ...model.errors import EngineError
from ...model.result import Phase
from ...model.server import Run, Server
from .ends import note_found_end, settle_ended
from .node import Node

_RETRY_SECONDS = 0.02


def recover_unfinished(node: Node, server: Server, lock: PowerLock) -> bool:
    """Settle the lock's leftover as far as it can be; True if a start was fenced by removing its container.

    A leftover stop is settled once its run has ended; while it lives it stays in the record.
    """
    left, fenced = lock.leftover, False
    if left is not None and left.phase is Phase.STOP:
        snapshot = node.engine.inspect(left.run.container)
        if snapshot is not None and snapshot.live and snapshot.run == left.run:
            return False
        lock.settle(EndedHere.left_by(left))
    elif left is not None:
        fenced = fence_start(node, server, left.run)
        lock.settle(lock.ended)
    settle_ended(node, server, lock)
    return fenced


def fence_start(node: Node, server: Server, before: Run) -> bool:
    """Make sure that a start request for a container, last started as in ``before``, has no effect later.

    True if the container was removed (its volumes are kept); False if the request was executed, or the container is gone.
    Raises `EngineError` if the engine neither runs nor removes it within its time limit.
    """
    deadline = Deadline.after(node.clock, node.engine.timeout)
    while not deadline.is_over:
        snapshot = node.engine.inspect(before.container)
        if snapshot is None or snapshot.live or snapshot.run != before:
            return False
        note_found_end(node, server, snapshot)
        if node.engine.containers.remove(before.container, volumes=False):
            return True
        node.clock.sleep(_RETRY_SECONDS)
    raise EngineError(f"Cannot undo an unfinished start of container {before.container[:12]}: the engine does not remove it")
