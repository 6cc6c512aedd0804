# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill: it always wins, and says so only when it is true.

It raises the kill generation, so that everything asked before it gives up; kills at once, whoever holds the lock; then waits for the
holder to notice and release, takes the lock and kills again. Only then is the server offline for certain.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from ...journal.journal_rows import Intent
from ...locking.holder import Holder
from ...locking.lock import PowerLock
from ...model.cancellation import no_check
from ...model.errors import UNGUARDED, EngineError, EngineUnreachable, KillUnsettled, LockTimeout, LockUnavailable
from ...model.model import Outcome, Phase, PowerAction, PowerState, Request, Snapshot, timestamp
from ..node.node import Node
from ..node.progress import Ending, Progress
from ..node.recovery import fence_start

#: How much longer than the engine's time limit a holder may take to notice a kill and release.
_HOLDER_SECONDS = 10.0


@dataclass(frozen=True)
class _FirstTry:
    """What came of trying the lock once: got it, or it is held (by ``holder``, if that has written its record), or it cannot be had."""

    lock: PowerLock | None = None
    held: bool = False
    holder: Holder | None = None


def kill(request: Request, node: Node, progress: Progress) -> Ending:
    """Kill a server; how it ended. Without a lock or a generation that can be written it still kills, and says so.

    Nothing stands between the request and SIGKILL that may be waited for: not the journal, not a look at the server.
    """
    uuid = progress.server.uuid
    faults: list[str] = []
    _raise_generation(node, uuid, faults)
    progress.begun = True
    with contextlib.ExitStack() as stack:
        first = _try_lock(request, node, uuid, faults)
        lock = first.lock
        if lock is not None:
            stack.enter_context(lock)
        _kill_now(node, progress)
        _keep_generation(node, progress, faults)
        progress.begin(node.journal)
        _see_before(node, progress)
        if first.held:
            lock = _await_holder(request, node, progress, first.holder, faults)
            if lock is not None:
                stack.enter_context(lock)
        if lock is None:
            _await_gone(node, progress)
        else:
            _settle_and_kill(node, lock, progress)
        _note_intent(request, node, progress, changed=_has_changed(progress) or bool(faults))
    if faults:
        progress.warn(
            f"server {uuid}: the kill could not be guarded ({'; '.join(faults)}): an action under way might start the server again"
        )
        return Outcome.DONE, UNGUARDED, "it is down, but an action under way might start it again"
    if _has_changed(progress):
        return Outcome.DONE, "", ""
    return Outcome.UNCHANGED, "", "it is offline already"


def _has_changed(progress: Progress) -> bool:
    return progress.changed or progress.cancelled is not None


def _note_intent(request: Request, node: Node, progress: Progress, *, changed: bool) -> None:
    node.journal.intents.set(
        progress.server,
        Intent(False, request.operation, request.origin, timestamp(node.clock.now())),
        keep_since=None if changed else request.requested_at,
    )


def _raise_generation(node: Node, uuid: str, faults: list[str]) -> None:
    try:
        node.generations.raise_for(uuid)
    except LockUnavailable as error:
        if str(error) not in faults:
            faults.append(str(error))


def _keep_generation(node: Node, progress: Progress, faults: list[str]) -> None:
    """What was accepted before the kill must not be done after it because the power failed in between."""
    if faults:
        return
    try:
        node.generations.keep(progress.server.uuid)
    except LockUnavailable as error:
        progress.warn(f"server {progress.server.uuid}: {error}; should the power fail now, an action accepted before may start it again")


def _try_lock(request: Request, node: Node, uuid: str, faults: list[str]) -> _FirstTry:
    try:
        return _FirstTry(node.acquire(request, uuid, 0.0, no_check))
    except LockTimeout as error:
        holder = error.facts.get("holder")
        return _FirstTry(held=True, holder=holder if isinstance(holder, Holder) else None)
    except LockUnavailable as error:
        faults.append(str(error))
        return _FirstTry()


def _await_holder(request: Request, node: Node, progress: Progress, holder: Holder | None, faults: list[str]) -> PowerLock | None:
    """Wait until the holder has noticed the kill and released; the generation is raised again for each holder that is met.

    Even for the first: it may have been asked for after the generation was raised, and the lock taken before it was tried. None if the
    lock cannot be had after all.
    """
    uuid = progress.server.uuid
    bound = node.engine.timeout + _HOLDER_SECONDS
    met: str | None = None

    def raise_again() -> None:
        nonlocal met
        now = node.locks.holder(uuid)
        if now is not None and now.operation != met:
            met = now.operation
            _note_cancelled(now, progress)
            _raise_generation(node, uuid, faults)

    if holder is not None:
        _note_cancelled(holder, progress)
    try:
        lock = node.acquire(request, uuid, bound, raise_again)
    except LockUnavailable as error:
        faults.append(str(error))
        return None
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


def _note_cancelled(holder: Holder, progress: Progress) -> None:
    if holder.action in (PowerAction.START.value, PowerAction.RESTART.value):
        progress.cancelled = PowerAction(holder.action)


def _settle_and_kill(node: Node, lock: PowerLock, progress: Progress) -> None:
    """Kill again under the lock until nothing can come up any more, an unfinished start included."""
    uuid = progress.server.uuid
    with contextlib.suppress(LockUnavailable):
        # Held is held, whatever its record says.
        lock.enter(Phase.KILL)
    progress.enter(Phase.KILL)
    deadline = node.clock.monotonic() + node.engine.timeout
    while node.clock.monotonic() < deadline:
        _kill_now(node, progress)
        _await_gone(node, progress)
        left = lock.leftover
        if left is not None and left.phase is Phase.START and fence_start(node, left.run):
            progress.changed = True
        snapshot = _look(node, progress)
        if snapshot is None or not snapshot.live:
            if snapshot is not None and progress.changed and snapshot.restart_policy != "no":
                # The engine brings such a container up again when it starts itself.
                node.engine.containers.forbid_restart(snapshot.id)
            lock.settle()
            return
    raise KillUnsettled(f"Cannot tell that server {uuid} stays down: somebody starts it again and again; look for what does")


def _kill_now(node: Node, progress: Progress) -> None:
    """SIGKILL whatever runs under the server's name; "not running" and "no such container" count as done."""
    if node.engine.signal(progress.server.uuid, "SIGKILL"):
        progress.changed = True


def _see_before(node: Node, progress: Progress) -> None:
    """Note the state before, by a look after SIGKILL, which waits for none: what it was sent to lived at that moment."""
    uuid = progress.server.uuid
    try:
        snapshot = node.engine.inspect(uuid)
    except (EngineError, EngineUnreachable):
        return
    if progress.changed and snapshot is None:
        # Removed or renamed: that it lived is all there is to know.
        progress.state_before = PowerState.RUNNING
    if progress.changed and snapshot is not None:
        snapshot = replace(snapshot, live=True)
    progress.saw(node.seen_as(uuid, snapshot))


def _look(node: Node, progress: Progress) -> Snapshot | None:
    """The container after SIGKILL. Raises `KillUnsettled` where something was killed and nobody can tell what became of it."""
    uuid = progress.server.uuid
    try:
        return node.engine.inspect(uuid)
    except (EngineError, EngineUnreachable) as error:
        if not progress.changed:
            raise
        raise KillUnsettled(
            f"Cannot tell that server {uuid} is down: it was killed, but then the engine could not be asked ({error}); "
            "look at the engine, and kill again"
        ) from error


def _await_gone(node: Node, progress: Progress) -> None:
    snapshot = _look(node, progress)
    if snapshot is not None and snapshot.live and not node.await_end(snapshot.run, node.engine.timeout, no_check):
        raise KillUnsettled(
            f"Cannot tell that server {progress.server.uuid} is down: its process still runs {node.engine.timeout:.0f} s after SIGKILL; "
            "look at the engine"
        )
