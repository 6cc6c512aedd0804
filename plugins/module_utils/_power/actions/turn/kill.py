# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill: it always wins, and reports success only if it is certain.

It raises the kill generation, which cancels all earlier requests, and kills at once despite the lock. Then it waits for the lock holder to
notice and release, takes the lock and kills again. Only then is the server certainly offline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from ...host.library_faults import reason_of
from ...host.machine import end_processes_of
from ...host.pauses import hook_runs
from ...locking.holder import EndedHere, Holder, Leftover
from ...locking.lock import PowerLock
from ...model.cancellation import Deadline, no_check
from ...model.errors import ENGINE_FAULTS, UNGUARDED, EngineUnreachable, HookUnavailable, KillUnsettled, LockTimeout, LockUnavailable
from ...model.news import LOCKED
from ...model.request import PowerAction
from ...model.result import Outcome, Phase, RunEnd
from ...model.server import PowerState, Snapshot
from ..node.context import ActionContext
from ..node.progress import Ending, Progress
from ..node.run_end import NO_RUN, fence_start, record_own_stop, write_ended_run, write_intent
from .locked import holder_of
from .look import check_wings, look

#: Seconds beyond the engine's time limit in which a holder must notice a kill and release.
_HOLDER_SECONDS = 10.0


def kill(context: ActionContext) -> Ending:
    """Kill a server, if it is selected, and return the ending; warn of Wings."""
    if context.request.only is not None:
        look(context)
    try:
        return _kill(context)
    finally:
        # After the kill, because the search for Wings takes time.
        check_wings(context)


def _kill(context: ActionContext) -> Ending:
    """Kill a server, even without a writable lock or generation. Nothing that may block precedes SIGKILL."""
    node, progress = context.node, context.progress
    faults: list[str] = []
    # Read the record before its holder can notice the kill. It may release at any time after that, and is reported as cancelled.
    record = node.locks.look(context.uuid)
    _note_cancelled(record[0], progress)
    is_raised = _raise_generation(context, faults)
    progress.begun = True
    with contextlib.ExitStack() as stack:
        lock: PowerLock | None = None
        held: LockTimeout | None = None
        try:
            lock = stack.enter_context(node.acquire(context.request, context.uuid, 0.0, no_check))
        except LockTimeout as error:
            held = error
        except LockUnavailable as error:
            faults.append(str(error))
        fault = _kill_first(context, lock)
        if is_raised:
            _keep_generation(context)
        _end_hook(context, warns=lock is not None)
        progress.begin(node.journal)
        if fault:
            msg = "its last known container is down, but the engine or an action under way might start the server again"
            return _ending(context, [*faults, fault], msg)
        _see_before(context, record)
        if held is not None:
            lock = _await_holder(context, holder_of(held), faults)
            if lock is not None:
                stack.enter_context(lock)
                _end_hook(context, warns=True)
        with _unsettled_without_engine(context):
            snapshot = _await_gone(context) if lock is None else _kill_until_down(context, lock)
        if lock is not None and not _has_changed(progress):
            # A kill of all servers had already cancelled the action, which then took down its own work.
            _note_cancelled(context.request.held.get(context.uuid), progress)
        _forget_if_finished(context)
        _record(context, lock, snapshot, is_change=_has_changed(progress) or bool(faults))
    return _ending(context, faults)


def _end_hook(context: ActionContext, *, warns: bool) -> None:
    """End a hook of the server, also that of an action that died. ``warns``: no other action can end it."""
    if hook_runs(context.uuid):
        from .hooks import end_left_hook

        try:
            end_left_hook(context)
        except HookUnavailable as error:
            context.progress.warn(*([str(error)] if warns else []))


def _kill_first(context: ActionContext, lock: PowerLock | None) -> str:
    """Kill. If the engine does not answer, end the processes of the last known run instead, and return why that is not certain."""
    node, progress = context.node, context.progress
    try:
        _kill_now(context)
        return ""
    except EngineUnreachable as error:
        seen = node.journal.runs.of(context.uuid)
        try:
            if seen is None or not end_processes_of(seen.run.container, node.engine.timeout):
                raise
        except OSError as fault:
            why = f"Cannot end the last known container of server {context.uuid} without the engine: {reason_of(fault)}"
            raise EngineUnreachable(f"{why}; {error}", **error.facts) from fault
        progress.changed, progress.is_engine_silent, progress.state_before = True, True, PowerState.RUNNING
        record_own_stop(context, lock, seen.run, RunEnd())
        write_intent(context, lock, up=False, run=seen.run, keep_since=None)
        return f"only its last known container could be ended, without the engine: {error}"


def _ending(
    context: ActionContext, faults: list[str], unguarded: str = "it is down, but an action under way might start it again"
) -> Ending:
    """Return the ending of a kill that took effect. ``unguarded`` is its message if there are faults."""
    if faults:
        context.warn(f"the kill could not be guarded ({'; '.join(faults)}): an action under way might start the server again")
        return Outcome.DONE, UNGUARDED, unguarded
    if _has_changed(context.progress):
        return Outcome.DONE, "", ""
    return Outcome.UNCHANGED, "", "it is offline already"


def _has_changed(progress: Progress) -> bool:
    return progress.changed or progress.cancelled is not None


def _record(context: ActionContext, lock: PowerLock | None, snapshot: Snapshot | None, *, is_change: bool) -> None:
    if context.progress.changed and snapshot is not None and snapshot.has_run:
        record_own_stop(context, lock, snapshot.run, RunEnd("" if snapshot.live else snapshot.finished_at))
    run, keep_since = NO_RUN if snapshot is None else snapshot.run, None if is_change else context.request.requested_at
    write_intent(context, lock, up=False, run=run, keep_since=keep_since)


def _raise_generation(context: ActionContext, faults: list[str]) -> bool:
    """Raise the kill generation; return False, with a fault, if that is impossible."""
    try:
        context.node.generations.raise_for(context.uuid)
    except LockUnavailable as error:
        if str(error) not in faults:
            faults.append(str(error))
        return False
    return True


def _keep_generation(context: ActionContext) -> None:
    """Sync the generation to the disk: after a power failure, no earlier request must run."""
    uuid = context.uuid
    try:
        context.node.generations.keep(uuid)
    except LockUnavailable as error:
        context.warn(f"{error}; should the power fail now, an action accepted before may start it again")


def _await_holder(context: ActionContext, holder: Holder | None, faults: list[str]) -> PowerLock | None:
    """Wait until the holder notices the kill and releases. The generation is raised again for each holder.

    That includes the first: its request may be newer than the generation, and it may have taken the lock before our try. Returns None if
    the lock is unavailable.
    """
    node, progress, uuid = context.node, context.progress, context.uuid
    bound = node.engine.timeout + _HOLDER_SECONDS
    met: str | None = None
    is_raised = False

    def raise_again() -> None:
        nonlocal met, is_raised
        now = node.locks.holder(uuid)
        if now is not None and now.operation != met:
            met = now.operation
            _note_cancelled(now, progress)
            is_raised = _raise_generation(context, faults) or is_raised

    _note_cancelled(holder, progress)
    context.report(LOCKED)
    try:
        lock = node.acquire(context.request, uuid, bound, raise_again)
    except LockUnavailable as error:
        faults.append(str(error))
        return None
    except LockTimeout as error:
        who = holder_of(error) or holder
        progress.holder = None if who is None else who.facts()
        by = "somebody unknown" if who is None else who.sentence()
        held = f"it was killed, but its lock is still held after {bound:.0f} s by {by}"
        raise KillUnsettled(f"Cannot tell that server {uuid} stays down: {held}; end that pid, or kill again") from error
    progress.waited_seconds = lock.waited_seconds
    if is_raised:
        _keep_generation(context)
    return lock


def _note_cancelled(holder: Holder | None, progress: Progress) -> None:
    action = None if holder is None else PowerAction.named(holder.action)
    if holder is not None and action is not None and action.boots:
        progress.cancelled, progress.cancelled_operation = action, holder.operation


def _forget_if_finished(context: ActionContext) -> None:
    """Do not report an action as cancelled if the journal has another ending of it."""
    progress = context.progress
    rows = context.node.journal.operations.of(context.uuid) if progress.cancelled is not None else ()
    if any(row.id == progress.cancelled_operation and row.outcome not in ("", Outcome.CANCELLED.value) for row in rows):
        progress.cancelled = None


def _kill_until_down(context: ActionContext, lock: PowerLock) -> Snapshot | None:
    """Kill again under the lock until nothing can come up, an unfinished start included; return the container."""
    node, progress = context.node, context.progress
    with contextlib.suppress(LockUnavailable):
        # The lock counts, whatever its record says.
        lock.enter(Phase.KILL)
    progress.enter(Phase.KILL.value)
    context.report(Phase.KILL.value)
    deadline = Deadline.after(node.clock, node.engine.timeout)
    while not deadline.is_over:
        _kill_now(context)
        _await_gone(context)
        left = lock.leftover
        if left is not None and left.phase is Phase.START and fence_start(node, progress.server, left.run):
            progress.changed = True
        snapshot = node.engine.inspect(context.uuid)
        if snapshot is None or not snapshot.live:
            if snapshot is not None and progress.changed and snapshot.restart_policy != "no":
                # The engine starts such a container at its own start.
                node.engine.containers.forbid_restart(snapshot.id)
            lock.clear(carry=EndedHere.left_by(left) if left is not None and left.phase is Phase.STOP else lock.ended)
            write_ended_run(node, progress.server, lock)
            return snapshot
    again = f"it came up again, and the time limit of {node.engine.timeout:.0f} s is over"
    raise KillUnsettled(f"Cannot tell that server {context.uuid} stays down: {again}; find what starts it, and kill it again")


def _kill_now(context: ActionContext) -> None:
    """Send SIGKILL; "not running" and "no such container" are success."""
    try:
        is_sent = context.node.engine.signal(context.uuid, "SIGKILL")
    except ENGINE_FAULTS as error:
        # Without an answer of its own, the engine may have sent it.
        context.progress.changed |= not error.facts.get("no_effect")
        raise
    context.progress.changed |= is_sent


def _see_before(context: ActionContext, record: tuple[Holder | None, Leftover | None]) -> None:
    """Note the state before, from a look after SIGKILL: a container that got the signal was alive then. ``record`` is from before it."""
    node, progress = context.node, context.progress
    try:
        snapshot = node.engine.inspect(context.uuid)
    except ENGINE_FAULTS:
        return
    if progress.changed and snapshot is None:
        # Removed or renamed: only that it lived is known.
        progress.state_before = PowerState.RUNNING
    if progress.changed and snapshot is not None:
        snapshot = replace(snapshot, live=True)
    progress.saw(node.seen_as(context.uuid, snapshot, record))


@contextlib.contextmanager
def _unsettled_without_engine(context: ActionContext) -> Iterator[None]:
    """Raise `KillUnsettled` for an error of the engine after something was killed."""
    try:
        yield
    except ENGINE_FAULTS as error:
        if not context.progress.changed:
            raise
        why = f"it was killed, but then the engine could not be asked ({error})"
        raise KillUnsettled(f"Cannot tell that server {context.uuid} is down: {why}; look at the engine, and kill again") from error


def _await_gone(context: ActionContext) -> Snapshot | None:
    """Wait for the end of the process. Return the container as it was before the wait, perhaps still live; None without a container."""
    node = context.node
    snapshot = node.engine.inspect(context.uuid)
    if snapshot is not None and snapshot.live and not node.await_end(snapshot.run, node.engine.timeout, no_check):
        late = f"its process still runs {node.engine.timeout:.0f} s after SIGKILL"
        raise KillUnsettled(f"Cannot tell that server {context.uuid} is down: {late}; look at the engine")
    return snapshot
