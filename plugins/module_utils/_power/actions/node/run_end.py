# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run: seen, recorded, and left unfinished by an interrupted action."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ...host.machine import boot_id, boot_seconds
from ...journal.journal import Intent
from ...locking.holder import EndedHere
from ...locking.lock import PowerLock
from ...model.cancellation import Deadline
from ...model.clock import timestamp
from ...model.errors import EngineError
from ...model.result import Downtime, Phase, RunEnd
from ...model.server import Run, Server, Snapshot
from ...model.supervision import NODE_STOP_ORIGIN, ORIGIN, STARTED_AFTER, EndedRun, Limits, Verdict
from .context import ActionContext
from .node import Node

#: The run of a server without a container.
NO_RUN = Run("", "")
_UNSEEN_END = RunEnd()


def record_stop(context: ActionContext, lock: PowerLock | None, ended: EndedHere, operation: str = "", end: RunEnd = _UNSEEN_END) -> None:
    """Write the row of a run that was ended here, else keep it in the lock's record. Clears the leftover."""
    written = _write_here(context.node, context.progress.server, ended, operation, end)
    if lock is not None:
        lock.clear(carry=None if written else ended)


def record_own_stop(context: ActionContext, lock: PowerLock | None, run: Run, end: RunEnd) -> None:
    """Write the row of a run that this action ended, as `record_stop` does, and note it for the result."""
    request, progress = context.request, context.progress
    ended = EndedHere(run, context.verb, request.generation(context.uuid), request.origin)
    record_stop(context, lock, ended, request.operation, end)
    progress.stopped_run, progress.downtime = run, Downtime.since_end(end)


def write_intent(context: ActionContext, lock: PowerLock | None, *, up: bool, run: Run, keep_since: datetime | None) -> None:
    """Write whether the server should be up. Without a journal, the lock's record keeps a stop of ``run``, and the result gets a warning.

    An equal intent, written after ``keep_since``, stays.
    """
    request, progress = context.request, context.progress
    intent = Intent(up, request.operation, request.origin, timestamp(context.node.clock.now()))
    if context.node.journal.intents.set_by_action(progress.server, intent, keep_since=keep_since):
        return
    if up:
        warn_of_unwritten_start(context)
        return
    # The lock's record keeps that the server should be down.
    said, starter = "nothing says", "the supervisor or a boot of this machine"
    if lock is not None:
        said, starter = "only its lock file says", "a boot of this machine"
        is_carried = lock.ended is not None and lock.ended.run == run and lock.ended.ended_it
        ended_it = progress.stopped_run is not None or is_carried
        lock.clear(carry=EndedHere(run, context.verb, request.generation(context.uuid), request.origin, ended_it=ended_it))
    unwritten = f"the journal cannot be written, so {said} that it should be down"
    context.warn(f"{unwritten}: {starter} may start it; make the journal writable, then {context.verb} it again")


def write_ended_run(node: Node, server: Server, lock: PowerLock) -> None:
    """Write the ended run of the lock's record, and the intent of its stop; on failure both stay until another run comes."""
    ended = lock.ended
    if ended is None:
        return
    is_newest = _is_of_newest_run(ended, node.engine.inspect(server.uuid))
    written = not ended.ended_it or _write_here(node, server, ended)
    # A kill of a restarting server writes its own intent.
    if written and is_newest and ended.wants_down:
        at = timestamp(node.clock.now())
        written = node.journal.intents.set(server, Intent(False, "", ended.origin, at))
    if written or not is_newest:
        lock.clear()


def _is_of_newest_run(ended: EndedHere, snapshot: Snapshot | None) -> bool:
    if snapshot is None or not snapshot.has_run or snapshot.run == ended.run:
        return True
    # It was found down, and its run was unknown.
    return not ended.run.container and not snapshot.live


def unwritten_stop(node: Node, server: Server, snapshot: Snapshot | None) -> EndedHere | None:
    """Return the stop or kill of the newest run that only the lock's record has, else None."""
    ended = node.locks.ended_here(server.uuid)
    is_stop = ended is not None and _is_of_newest_run(ended, snapshot) and fate_of(node, server, ended) is Verdict.STOPPED
    return ended if is_stop else None


def warn_of_unwritten_start(context: ActionContext) -> None:
    """Mark the result as not durable, and warn: without the journal, a crash or a boot leaves the server down."""
    context.progress.is_durable = False
    unwritten = "the journal cannot be written, so nothing says that it should be up"
    context.warn(f"{unwritten}: after a crash or a boot it stays down; make the journal writable, then start it again")


#: By origin, of a run whose server starts again. The supervisor restarts only what hangs.
_FATES = {ORIGIN: Verdict.HUNG, NODE_STOP_ORIGIN: Verdict.ENGINE_STOPPED}


def fate_of(node: Node, server: Server, ended: EndedHere) -> Verdict:
    """Return the verdict for the run in the lock's record; `ENDED_UNOBSERVED` if the kill generation is unreadable."""
    if ended.wants_down:
        return Verdict.STOPPED
    generation = node.generations.read_or_none(server.uuid)
    if generation is None:
        return Verdict.ENDED_UNOBSERVED
    if generation != ended.generation:
        return Verdict.STOPPED
    return _FATES.get(ended.origin, Verdict.RESTARTING)


def note_found_end(node: Node, server: Server, snapshot: Snapshot | None) -> None:
    """Write the found end of a run before its traces vanish: call this before a start or a removal of the container."""
    if snapshot is not None and snapshot.has_run and not snapshot.live:
        generation = node.generations.read_or_none(server.uuid)
        node.journal.ended_runs.write(replace(ended_row_of(node, server, snapshot, Verdict.PENDING), generation=generation))


def note_others_end(context: ActionContext, snapshot: Snapshot) -> None:
    """Write the found end of a run, unless this action ended it."""
    if snapshot.run != context.progress.stopped_run:
        note_found_end(context.node, context.progress.server, snapshot)


def ended_row_of(node: Node, server: Server, snapshot: Snapshot, verdict: Verdict) -> EndedRun:
    return EndedRun(
        server,
        snapshot.run,
        verdict,
        ended_at=snapshot.finished_at,
        exit_code=snapshot.exit_code,
        oom_killed=snapshot.oom_killed,
        seconds=RunEnd(snapshot.finished_at).seconds_since(snapshot.started_at),
        at=timestamp(node.clock.now()),
        boot=boot_id(),
        next_at=boot_seconds(),
    )


def limits_of(node: Node, server: Server) -> Limits:
    """Return the limits of a server's back-off, by its present definition."""
    # Only a hang needs this code.
    from ...definitions.supervision import policy_of

    return policy_of(node.settings, server, node.sources.definition_for_stop(server.uuid)).limits


def _write_here(node: Node, server: Server, ended: EndedHere, operation: str = "", end: RunEnd = _UNSEEN_END) -> bool:
    verdict = fate_of(node, server, ended)
    row = EndedRun(
        server,
        ended.run,
        verdict,
        ended_at=end.finished_at,
        seconds=end.seconds_since(ended.run.started_at),
        operation=operation,
        origin=ended.origin,
        at=timestamp(node.clock.now()),
        due=verdict in STARTED_AFTER,
        # The restart itself is the first try, and the run that it starts continues the count.
        attempt=operation if verdict is Verdict.HUNG else "",
        boot=boot_id(),
        next_at=boot_seconds(),
    )
    return node.journal.ended_runs.write(row, limits_of(node, server)) if row.is_crash else node.journal.ended_runs.write(row)


_RETRY_SECONDS = 0.02


def recover_unfinished(node: Node, server: Server, lock: PowerLock) -> bool:
    """Resolve the lock's leftover: a start now, a stop once its run has ended. Return True if the removal of a container fenced a start."""
    left, fenced = lock.leftover, False
    if left is not None and left.phase is Phase.STOP:
        snapshot = node.engine.inspect(left.run.container)
        if snapshot is not None and snapshot.live and snapshot.run == left.run:
            return False
        lock.clear(carry=EndedHere.left_by(left))
    elif left is not None:
        fenced = bool(fence_start(node, server, left.run))
        lock.clear(carry=lock.ended)
    write_ended_run(node, server, lock)
    return fenced


def fence_start(node: Node, server: Server, before: Run) -> bool | None:
    """Make sure that a start request for a container has no later effect. ``before`` is the container's last run before the request.

    Returns True if this removed the container (its volumes stay), False if the request started a run, None if the container was gone.
    Raises `EngineError` if the engine does neither within its time limit.
    """
    deadline = Deadline.after(node.clock, node.engine.timeout)
    while not deadline.is_over:
        snapshot = node.engine.inspect(before.container)
        if snapshot is None:
            return None
        if snapshot.live or snapshot.run != before:
            return False
        note_found_end(node, server, snapshot)
        if node.engine.containers.remove(before.container, volumes=False):
            return True
        node.clock.sleep(_RETRY_SECONDS)
    raise EngineError(f"Cannot undo an unfinished start of container {before.container[:12]}: the engine does not remove it")
