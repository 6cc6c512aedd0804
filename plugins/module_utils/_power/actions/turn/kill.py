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

from ...journal.intents import Intent
from ...locking.holder import EndedHere, Holder
from ...locking.lock import PowerLock
from ...model.cancellation import Deadline, no_check
from ...model.clock import timestamp
from ...model.errors import UNGUARDED, EngineError, EngineUnreachable, KillUnsettled, LockTimeout, LockUnavailable
from ...model.news import LOCKED
from ...model.request import PowerAction
from ...model.result import Downtime, Outcome, Phase, RunEnd
from ...model.server import PowerState, Snapshot
from ..node.context import ActionContext
from ..node.progress import Ending, Progress
from ..node.run_end import NO_RUN, fence_start, keep_unwritten_stop, record_stop, settle_ended
from .look import look, refuse_beside_wings

#: How much longer than the engine's time limit a holder may take to notice a kill and release.
_HOLDER_SECONDS = 10.0


@dataclass(frozen=True)
class _FirstTry:
    """The outcome of trying the lock once: got it, or it is held (by ``holder``, if that has written its record), or it cannot be had."""

    lock: PowerLock | None = None
    held: bool = False
    holder: Holder | None = None


def kill(context: ActionContext) -> Ending:
    """Kill a server, if it is chosen as it is, and return how it ended; warn of Wings."""
    if context.request.only is not None:
        look(context)
    try:
        return _kill(context)
    finally:
        # Not before: looking for Wings takes time.
        refuse_beside_wings(context)


def _kill(context: ActionContext) -> Ending:
    """Kill a server. Without a lock or a generation that can be written it still kills, and says so.

    Nothing stands between the request and SIGKILL that may be waited for: not the journal, not a look at the server.
    """
    node, progress = context.node, context.progress
    faults: list[str] = []
    # A holder that looks at the very moment at which the generation is raised has released before the lock is tried.
    before = node.locks.holder(context.uuid)
    _raise_generation(context, faults)
    progress.begun = True
    with contextlib.ExitStack() as stack:
        first = _try_lock(context, faults)
        lock = first.lock
        if lock is not None:
            stack.enter_context(lock)
            _note_cancelled(None if before is None else before.action, progress)
        _kill_now(context)
        _keep_generation(context, faults)
        progress.begin(node.journal)
        _see_before(context)
        if first.held:
            lock = _await_holder(context, first.holder, faults)
            if lock is not None:
                stack.enter_context(lock)
        snapshot = _await_gone(context) if lock is None else _settle_and_kill(context, lock)
        if lock is not None and not _has_changed(progress):
            # It was cancelled when all were, and has taken down itself what it had begun.
            _note_cancelled(context.request.held.get(context.uuid), progress)
        _record_end(context, lock, snapshot)
        _note_intent(context, lock, snapshot, changed=_has_changed(progress) or bool(faults))
    if faults:
        progress.warn(
            f"server {context.uuid}: the kill could not be guarded ({'; '.join(faults)}): an action under way might start the server again"
        )
        return Outcome.DONE, UNGUARDED, "it is down, but an action under way might start it again"
    if _has_changed(progress):
        return Outcome.DONE, "", ""
    return Outcome.UNCHANGED, "", "it is offline already"


def _has_changed(progress: Progress) -> bool:
    return progress.changed or progress.cancelled is not None


def _record_end(context: ActionContext, lock: PowerLock | None, snapshot: Snapshot | None) -> None:
    """Write the row of the run that was killed."""
    request, progress = context.request, context.progress
    if progress.changed and snapshot is not None and snapshot.has_run:
        progress.ended = snapshot.run
        ended = EndedHere(snapshot.run, context.verb, origin=request.origin)
        end = RunEnd("" if snapshot.live else snapshot.finished_at)
        record_stop(context.node, progress.server, lock, ended, request.operation, end)
        progress.downtime = Downtime.since_end(end)


def _note_intent(context: ActionContext, lock: PowerLock | None, snapshot: Snapshot | None, *, changed: bool) -> None:
    """Write that the server is meant to be down; where that cannot be, have the lock's record say it."""
    request = context.request
    written = context.node.journal.intents.set(
        context.progress.server,
        Intent(False, request.operation, request.origin, timestamp(context.node.clock.now())),
        keep_since=None if changed else request.requested_at,
    )
    if not written:
        ended_it = context.progress.ended is not None
        run = NO_RUN if snapshot is None else snapshot.run
        keep_unwritten_stop(context.progress, lock, EndedHere(run, context.verb, origin=request.origin, ended_it=ended_it))


def _raise_generation(context: ActionContext, faults: list[str]) -> None:
    try:
        context.node.generations.raise_for(context.uuid)
    except LockUnavailable as error:
        if str(error) not in faults:
            faults.append(str(error))


def _keep_generation(context: ActionContext, faults: list[str]) -> None:
    """Sync the generation to the disk: what was accepted before must not be done after because the power failed in between."""
    if faults:
        return
    uuid = context.uuid
    try:
        context.node.generations.keep(uuid)
    except LockUnavailable as error:
        context.progress.warn(f"server {uuid}: {error}; should the power fail now, an action accepted before may start it again")


def _try_lock(context: ActionContext, faults: list[str]) -> _FirstTry:
    try:
        return _FirstTry(context.node.acquire(context.request, context.uuid, 0.0, no_check))
    except LockTimeout as error:
        holder = error.facts.get("holder")
        return _FirstTry(held=True, holder=holder if isinstance(holder, Holder) else None)
    except LockUnavailable as error:
        faults.append(str(error))
        return _FirstTry()


def _await_holder(context: ActionContext, holder: Holder | None, faults: list[str]) -> PowerLock | None:
    """Wait until the holder has noticed the kill and released; the generation is raised again for each holder that is met.

    Even for the first: it may have been asked for after the generation was raised, and the lock taken before it was tried. None if the
    lock cannot be had after all.
    """
    node, progress, uuid = context.node, context.progress, context.uuid
    bound = node.engine.timeout + _HOLDER_SECONDS
    met: str | None = None

    def raise_again() -> None:
        nonlocal met
        now = node.locks.holder(uuid)
        if now is not None and now.operation != met:
            met = now.operation
            _note_cancelled(now.action, progress)
            _raise_generation(context, faults)

    _note_cancelled(None if holder is None else holder.action, progress)
    context.tell(LOCKED)
    try:
        lock = node.acquire(context.request, uuid, bound, raise_again)
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


def _note_cancelled(held_by: str | None, progress: Progress) -> None:
    action = PowerAction.named(held_by)
    if action is not None and action.boots:
        progress.cancelled = action


def _settle_and_kill(context: ActionContext, lock: PowerLock) -> Snapshot | None:
    """Kill again under the lock until nothing can come up any more, an unfinished start included; return what is down then."""
    node, progress = context.node, context.progress
    with contextlib.suppress(LockUnavailable):
        # Held is held, whatever its record says.
        lock.enter(Phase.KILL)
    progress.enter(Phase.KILL)
    context.tell(Phase.KILL.value)
    deadline = Deadline.after(node.clock, node.engine.timeout)
    while not deadline.is_over:
        _kill_now(context)
        _await_gone(context)
        left = lock.leftover
        if left is not None and left.phase is Phase.START and fence_start(node, progress.server, left.run):
            progress.changed = True
        snapshot = _look(context)
        if snapshot is None or not snapshot.live:
            if snapshot is not None and progress.changed and snapshot.restart_policy != "no":
                # The engine brings such a container up again when it starts itself.
                node.engine.containers.forbid_restart(snapshot.id)
            if left is not None and left.phase is Phase.STOP:
                lock.settle(EndedHere.left_by(left))
            else:
                lock.settle(lock.ended)
            settle_ended(node, progress.server, lock)
            return snapshot
    raise KillUnsettled(f"Cannot tell that server {context.uuid} stays down: somebody starts it again and again; look for what does")


def _kill_now(context: ActionContext) -> None:
    """SIGKILL whatever runs under the server's name; "not running" and "no such container" count as done."""
    if context.node.engine.signal(context.uuid, "SIGKILL"):
        context.progress.changed = True


def _see_before(context: ActionContext) -> None:
    """Note the state before, by a look after SIGKILL, which waits for none: what it was sent to lived at that moment."""
    node, progress = context.node, context.progress
    try:
        snapshot = node.engine.inspect(context.uuid)
    except (EngineError, EngineUnreachable):
        return
    if progress.changed and snapshot is None:
        # Removed or renamed: that it lived is all there is to know.
        progress.state_before = PowerState.RUNNING
    if progress.changed and snapshot is not None:
        snapshot = replace(snapshot, live=True)
    progress.saw(node.seen_as(context.uuid, snapshot))


def _look(context: ActionContext) -> Snapshot | None:
    """Return the container after SIGKILL.

    Raises `KillUnsettled` where something was killed and nobody can tell what became of it.
    """
    try:
        return context.node.engine.inspect(context.uuid)
    except (EngineError, EngineUnreachable) as error:
        if not context.progress.changed:
            raise
        raise KillUnsettled(
            f"Cannot tell that server {context.uuid} is down: it was killed, but then the engine could not be asked ({error}); "
            "look at the engine, and kill again"
        ) from error


def _await_gone(context: ActionContext) -> Snapshot | None:
    """Return the container once it is down, by a look that is as old as the wait for it."""
    node = context.node
    snapshot = _look(context)
    if snapshot is not None and snapshot.live and not node.await_end(snapshot.run, node.engine.timeout, no_check):
        raise KillUnsettled(
            f"Cannot tell that server {context.uuid} is down: its process still runs {node.engine.timeout:.0f} s after SIGKILL; "
            "look at the engine"
        )
    return snapshot
