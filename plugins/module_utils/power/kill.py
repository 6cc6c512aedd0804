# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill: it always wins, and says so only when it is true.

It raises the kill generation, so that everything asked before it gives up; kills at once, whoever holds the lock; then waits for the
holder to notice and release, takes the lock and kills again. Only then is the server offline for certain.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from .errors import UNGUARDED, KillUnsettled, LockTimeout, LockUnavailable
from .holder import Holder
from .lock import PowerLock
from .model import Outcome, Phase, PowerAction, Request
from .node import Node, nothing
from .progress import Progress
from .settle import fence_start

#: How much longer than the engine's time limit a holder may take to notice a kill and release.
_HOLDER_SECONDS = 10.0


@dataclass(frozen=True)
class _FirstTry:
    """What came of trying the lock once: got it, or it is held (by ``holder``, if that has written its record), or it cannot be had."""

    lock: PowerLock | None = None
    held: bool = False
    holder: Holder | None = None
    fault: str = ""


def kill(request: Request, node: Node, progress: Progress) -> tuple[Outcome, str, str]:
    """Kill a server; how it ended. Without a lock or a generation that can be written it still kills, and says so."""
    uuid = progress.server.uuid
    faults = _raise_generation(node, uuid)
    progress.begun = True
    with contextlib.ExitStack() as stack:
        first = _try_lock(request, node, uuid)
        lock = first.lock
        if lock is not None:
            stack.enter_context(lock)
        progress.saw(node.observe(uuid))
        _kill_now(node, progress)
        if first.held:
            lock = stack.enter_context(_await_holder(request, node, progress, first.holder))
        if lock is None:
            _await_gone(node, progress)
        else:
            _settle_and_kill(node, lock, progress)
            node.journal.set_intent(progress.server, False, operation=request.operation, origin=request.origin, at=request.requested_at)
    if first.holder is not None and first.holder.action in (PowerAction.START.value, PowerAction.RESTART.value):
        progress.cancelled = PowerAction(first.holder.action)
    outcome = Outcome.DONE if progress.changed or progress.cancelled is not None else Outcome.UNCHANGED
    faults += [first.fault] if first.fault else []
    if faults:
        progress.warn(
            f"server {uuid}: the kill could not be guarded ({'; '.join(faults)}): an action under way might start the server again"
        )
        return outcome, UNGUARDED, "killed, but an action under way might start the server again"
    return outcome, "", "" if outcome is Outcome.DONE else "it is offline already"


def _raise_generation(node: Node, uuid: str) -> list[str]:
    try:
        node.generations.raise_for(uuid)
    except LockUnavailable as error:
        return [str(error)]
    return []


def _try_lock(request: Request, node: Node, uuid: str) -> _FirstTry:
    try:
        return _FirstTry(_acquire(request, node, uuid, 0.0, nothing))
    except LockTimeout as error:
        holder = error.facts.get("holder")
        return _FirstTry(held=True, holder=holder if isinstance(holder, Holder) else None)
    except LockUnavailable as error:
        return _FirstTry(fault=str(error))


def _acquire(request: Request, node: Node, uuid: str, seconds: float, look: Callable[[], None]) -> PowerLock:
    return node.locks.acquire(
        uuid,
        operation=request.operation,
        action=request.action,
        origin=request.origin,
        reason=request.reason,
        wait_seconds=seconds,
        clock=node.clock,
        look=look,
    )


def _await_holder(request: Request, node: Node, progress: Progress, holder: Holder | None) -> PowerLock:
    """Wait until the holder has noticed the kill and released; the generation is raised again for each new holder."""
    uuid = progress.server.uuid
    bound = node.engine.timeout + _HOLDER_SECONDS
    seen = None if holder is None else holder.operation

    def raise_again() -> None:
        nonlocal seen
        now = node.locks.holder(uuid)
        if now is not None and now.operation != seen:
            seen = now.operation
            # A fault is told already, by the first time it was raised.
            _raise_generation(node, uuid)

    try:
        lock = _acquire(request, node, uuid, bound, raise_again)
    except LockTimeout as error:
        last = error.facts.get("holder")
        who = last if isinstance(last, Holder) else holder
        progress.holder = None if who is None else who.facts()
        raise KillUnsettled(
            f"Cannot tell that server {uuid} stays down: it was killed, but its lock is still held after {bound:.0f} s by "
            f"{'somebody unknown' if who is None else who.sentence()}; end that pid, or kill again"
        ) from error
    progress.waited_seconds = lock.waited_seconds
    return lock


def _settle_and_kill(node: Node, lock: PowerLock, progress: Progress) -> None:
    """Kill again under the lock until nothing can come up any more, an unfinished start included."""
    uuid = progress.server.uuid
    with contextlib.suppress(LockUnavailable):
        # The lock is held whatever its record says, and a kill does not stop for a full disk.
        lock.enter(Phase.KILL)
    progress.enter(Phase.KILL)
    while True:
        _kill_now(node, progress)
        _await_gone(node, progress)
        left = lock.leftover
        if left is not None and left.phase is Phase.START and fence_start(node, left.run):
            progress.changed = True
        snapshot = node.engine.inspect(uuid)
        if snapshot is None or not snapshot.live:
            lock.settle()
            return


def _kill_now(node: Node, progress: Progress) -> None:
    """SIGKILL whatever runs under the server's name; "not running" and "no such container" count as done."""
    if node.engine.signal(progress.server.uuid, "SIGKILL"):
        progress.changed = True


def _await_gone(node: Node, progress: Progress) -> None:
    snapshot = node.engine.inspect(progress.server.uuid)
    if snapshot is not None and snapshot.live and not node.await_end(snapshot.run, node.engine.timeout, nothing):
        raise KillUnsettled(
            f"Cannot tell that server {progress.server.uuid} is down: its process still runs {node.engine.timeout:.0f} s after SIGKILL; "
            "look at the engine"
        )
