# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run: seen, recorded, and what an interrupted action has left."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from ...host.liveness import boot_id, boot_seconds
from ...journal.intents import Intent
from ...locking.holder import EndedHere
from ...locking.lock import PowerLock
from ...model.cancellation import Deadline
from ...model.clock import timestamp
from ...model.errors import EngineError, LockUnavailable
from ...model.request import PowerAction
from ...model.result import Phase, RunEnd
from ...model.server import Run, Server, Snapshot
from ...model.supervision import EndedRun, Verdict
from .node import Node
from .progress import Progress

#: The run that is meant where a server has no container.
NO_RUN = Run("", "")


_UNSEEN_END = RunEnd()


def record_stop(
    node: Node, server: Server, lock: PowerLock | None, ended: EndedHere, operation: str = "", end: RunEnd = _UNSEEN_END
) -> None:
    """Write the row of a run that was ended here; where that cannot be, have the lock's record say it. Its leftover is settled by that."""
    written = node.journal.ended_runs.write(_row_here(node, server, ended, operation, end))
    if lock is not None:
        lock.settle(None if written else ended)


def settle_ended(node: Node, server: Server, lock: PowerLock) -> None:
    """Write what the lock's record says of an ended run, and of a stop that left no intent also that the server is meant to be down.

    What cannot be written stays in the record, unless another run has come.
    """
    ended = lock.ended
    if ended is None:
        return
    is_newest = _is_of_newest_run(ended, node.engine.inspect(server.uuid))
    written = not ended.ended_it or node.journal.ended_runs.write(_row_here(node, server, ended))
    action = PowerAction.named(ended.action)
    # Whoever has killed what a restart stopped writes that himself.
    if written and is_newest and (action is None or not action.boots):
        at = timestamp(node.clock.now())
        written = node.journal.intents.set(server, Intent(False, "", ended.origin, at))
    if written or not is_newest:
        lock.settle()


def _is_of_newest_run(ended: EndedHere, snapshot: Snapshot | None) -> bool:
    """Return False if another run has followed the one that the lock's record names."""
    if snapshot is None or not snapshot.has_run or snapshot.run == ended.run:
        return True
    # Where nobody could say which run it was that was found down.
    return not ended.run.container and not snapshot.live


def unwritten_stop(node: Node, server: Server, snapshot: Snapshot | None) -> EndedHere | None:
    """Return the stop or kill of the newest run that the lock's record alone tells of; None if it tells of none."""
    ended = node.locks.ended_here(server.uuid)
    is_stop = ended is not None and _is_of_newest_run(ended, snapshot) and fate_of(node, server, ended) is Verdict.STOPPED
    return ended if is_stop else None


def keep_unwritten_stop(progress: Progress, lock: PowerLock | None, stop: EndedHere) -> None:
    """Have the lock's record say that the server is meant to be down, since the journal cannot, and warn of what that is worth."""
    said = "nothing says"
    if lock is not None:
        said = "only its lock file says"
        before = lock.ended
        is_carried = before is not None and before.run == stop.run and before.ended_it
        lock.settle(replace(stop, ended_it=stop.ended_it or is_carried))
    progress.warn(
        f"server {progress.server.uuid}: the journal cannot be written, so {said} that it is meant to be down: "
        f"{'a boot of this machine' if lock is not None else 'the supervisor or a boot of this machine'} may start it; "
        f"see that the journal can be written, then {stop.action} it again"
    )


def warn_of_unwritten_start(progress: Progress) -> None:
    """Mark the result as not durable, and warn: the journal could not be written, so a crash or a boot leaves the server down."""
    progress.is_durable = False
    progress.warn(
        f"server {progress.server.uuid}: the journal cannot be written, so nothing says that it is meant to be up: after a crash or a boot "
        "it stays down; see that the journal can be written, then start it again"
    )


def fate_of(node: Node, server: Server, ended: EndedHere) -> Verdict:
    """Return what the end is that the lock's record names: `RESTARTING` where a restart was to start the server again, with no kill since.

    `ENDED_UNOBSERVED` where the kill generation cannot be read.
    """
    action = PowerAction.named(ended.action)
    if action is None or not action.boots:
        return Verdict.STOPPED
    try:
        killed = node.generations.read(server.uuid) != ended.generation
    except LockUnavailable:
        return Verdict.ENDED_UNOBSERVED
    return Verdict.STOPPED if killed else Verdict.RESTARTING


def note_found_end(node: Node, server: Server, snapshot: Snapshot | None) -> None:
    """Write that a run was found over, before what tells of it is gone: whoever starts the server or removes its container does so."""
    if snapshot is not None and snapshot.has_run and not snapshot.live:
        generation = None
        with suppress(LockUnavailable):
            generation = node.generations.read(server.uuid)
        node.journal.ended_runs.write(replace(end_of(node, server, snapshot, Verdict.PENDING), generation=generation))


def end_of(node: Node, server: Server, snapshot: Snapshot, verdict: Verdict) -> EndedRun:
    """Return the row of the run that a container that is down ran last."""
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


def _row_here(node: Node, server: Server, ended: EndedHere, operation: str = "", end: RunEnd = _UNSEEN_END) -> EndedRun:
    """The row of a run that was ended here, as the lock's record names it."""
    verdict = fate_of(node, server, ended)
    return EndedRun(
        server,
        ended.run,
        verdict,
        ended_at=end.finished_at,
        seconds=end.seconds_since(ended.run.started_at),
        operation=operation,
        origin=ended.origin,
        at=timestamp(node.clock.now()),
        due=verdict is Verdict.RESTARTING,
        boot=boot_id(),
        next_at=boot_seconds(),
    )


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
