# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The graceful stop: the way of this run, the grace, and SIGKILL at its end."""

from __future__ import annotations

from datetime import timedelta

from ...container.container_labels import made_to_stop
from ...definitions.stop_way import stop_signal
from ...locking.holder import EndedHere, Leftover
from ...locking.lock import PowerLock
from ...model.cancellation import no_check
from ...model.errors import EngineError, LockTimeout, PowerError, StopFailed
from ...model.records import dataclass, replace
from ...model.request import PowerAction
from ...model.result import Downtime, Phase, PlanStep, RunEnd, StopReport, StopTimeout, TimeoutSource
from ...model.server import Run, Snapshot, StopType, StopWay
from ..node.context import ActionContext
from ..node.node import Node, Observed
from ..node.run_end import record_own_stop, record_stop

_STOP_KEY = "process_configuration.stop"
#: The exit code after SIGKILL.
_KILLED = 137


def end_run(context: ActionContext, lock: PowerLock, seen: Observed, steps: tuple[PlanStep, ...]) -> str:
    """End the present run as planned: wait for a stop in progress, or stop it. Return a message if a kill ended the stop, else empty."""
    if PlanStep.AWAIT_EXIT in steps and seen.snapshot is not None and seen.leftover is not None:
        # A stop may take minutes; others can boot.
        context.slot.end_boot()
        _await_exit(context, lock, seen.snapshot.run, seen.leftover)
    elif PlanStep.STOP in steps and seen.snapshot is not None:
        context.check_cancelled()
        before = context.node.generations.read_or_none(context.uuid)
        end = stop_run(context, lock, seen.snapshot)
        if context.request.stop_by is not None and seen.stop_left and seen.leftover is not None:
            # Another action had begun this stop and died. What it wanted counts.
            record_stop(context, lock, EndedHere.left_by(seen.leftover), seen.leftover.operation, end)
        else:
            record_own_stop(context, lock, seen.snapshot.run, end)
        stop, generation = context.progress.stop, context.node.generations.read_or_none(context.uuid)
        is_killed = None not in (before, generation) and generation != before and end.exit_code == _KILLED
        if stop is not None and not stop.forced and is_killed:
            context.progress.stop = replace(stop, forced=True)
            rows = context.node.journal.operations.of(context.uuid, 5)
            by = [f" by {row.origin}" for row in rows if row.action == PowerAction.KILL.value and row.under_way and row.origin]
            return f"a kill{''.join(by[:1])} ended it"
    return ""


def _await_exit(context: ActionContext, lock: PowerLock, run: Run, who: Leftover) -> None:
    wait_seconds = context.request.wait_seconds
    end = context.node.await_end(run, wait_seconds - lock.waited_seconds, context.check_interrupted)
    if end is None:
        context.progress.holder = who.facts()
        by = f" by {who.origin}" if who.origin else ""
        stopping = f"it is still stopping after {wait_seconds} s; the stop was sent by {who.action}{by} at {who.since}"
        raise LockTimeout(context.cannot(f"{stopping}; wait longer (wait_seconds), stop it again, or kill it"))
    record_stop(context, lock, EndedHere.left_by(who), who.operation, end)
    context.progress.downtime = Downtime.since_end(end)


def stop_run(context: ActionContext, lock: PowerLock, snapshot: Snapshot) -> RunEnd:
    """Stop a run gracefully, with SIGKILL after the timeout, and return its end.

    A stop that may still be in progress stays in the lock record. Raises `StopFailed` if the engine refuses the stop, which kills nothing,
    or if the process survives SIGKILL. Raises as `check_killed` during the wait, and errors of other calls and of `PowerLock.enter`.
    """
    node, progress = context.node, context.progress
    stop = graceful_stop(node, context.uuid, snapshot, context.request.stop_timeout)
    context.warn(*stop.warnings)
    stop_by = context.request.stop_by
    grace = stop.timeout.seconds if stop_by is None else min(stop.timeout.seconds, stop_by.left)
    _make_stoppable(context, snapshot, unpause=grace > 0)
    began = node.clock.monotonic()
    context.enter(lock, Phase.STOP, run=snapshot.run, deadline=node.clock.now() + timedelta(seconds=grace))
    how, by_itself, is_sent = "kill", None, False
    try:
        if grace > 0:
            how = _send(context, snapshot, stop.way)
            # The request changes the process, however the wait ends.
            is_sent = progress.changed = True
            by_itself = node.await_end(snapshot.run, grace, context.check_killed)
        if by_itself is None:
            node.engine.signal(snapshot.id, "SIGKILL")
            is_sent = progress.changed = True
        end = by_itself or node.await_end(snapshot.run, node.engine.timeout, no_check)
        if end is None:
            raise StopFailed(f"Cannot stop server {context.uuid}: its process still runs {node.engine.timeout:.0f} s after SIGKILL")
    except PowerError as error:
        # An inspect may have no effect either: only the request's own error counts.
        if is_sent or not error.facts.get("no_effect"):
            # The next holder must know of a stop in progress.
            lock.keep()
            progress.changed = True
        raise
    progress.stop = StopReport(how=how, forced=by_itself is None, seconds=round(node.clock.monotonic() - began, 3))
    return end


@dataclass(frozen=True)
class GracefulStop:
    """The way to stop a run, the timeout in force, and warnings about them."""

    way: StopWay
    timeout: StopTimeout
    warnings: tuple[str, ...] = ()


def graceful_stop(node: Node, uuid: str, snapshot: Snapshot | None, asked: int | None = None) -> GracefulStop:
    """Return the way to stop the run of ``snapshot``; None: its container is gone. ``asked`` is the task's ``stop_timeout``.

    The first of these decides: the task's ``definitions``, the container's label, the definition of another source, the image.
    """
    task = node.sources.task_definition(uuid)
    labelled = None if snapshot is None else made_to_stop(snapshot, uuid)
    way, source = StopWay(StopType.NATIVE), TimeoutSource.SETTINGS
    warnings: tuple[str, ...] = ()
    if task is None and labelled is not None:
        way, source = labelled, TimeoutSource.CONTAINER
    else:
        definition = task if task is not None else node.sources.definition_for_stop(uuid)
        if definition is not None:
            # Other faults of the definition do not matter for a stop.
            warnings = tuple(warning for warning in definition.warnings if warning.startswith(_STOP_KEY))
            way, source = definition.stop, TimeoutSource.DEFINITION
        elif snapshot is not None:
            warnings = (f"no definition says how it is stopped; it is sent {snapshot.stop_signal}",)
    if asked is not None:
        timeout = StopTimeout(asked, TimeoutSource.TASK)
    elif way.timeout is not None:
        timeout = StopTimeout(way.timeout, source)
    else:
        timeout = StopTimeout(node.settings.stop_timeout, TimeoutSource.SETTINGS)
    return GracefulStop(way, timeout, warnings)


def _make_stoppable(context: ActionContext, snapshot: Snapshot, *, unpause: bool) -> None:
    containers, progress = context.node.engine.containers, context.progress
    if snapshot.restart_policy != "no":
        # Otherwise the engine restarts the server after any exit except its own stop.
        containers.forbid_restart(snapshot.id)
        progress.changed = True
    if unpause and snapshot.paused:
        context.node.engine.unpause(snapshot.id)
        progress.changed = True


def _send(context: ActionContext, snapshot: Snapshot, way: StopWay) -> str:
    engine, uuid = context.node.engine, context.uuid
    if way.type is StopType.COMMAND and not snapshot.open_stdin:
        context.warn(f"its container has no open standard input for the command {way.value!r}; it is sent {snapshot.stop_signal}")
        way = StopWay(StopType.NATIVE)
    try:
        if way.type is StopType.COMMAND:
            engine.write_stdin(snapshot.id, way.value + "\n")
        else:
            engine.signal(snapshot.id, snapshot.stop_signal if way.type is StopType.NATIVE else stop_signal(way.value))
    except EngineError as error:
        # Without its container, the run has ended.
        if error.facts.get("status") != 404:
            no_effect = bool(error.facts.get("no_effect"))
            how = "refused the stop" if no_effect else "failed, but may still carry out the stop"
            raise StopFailed(f"Cannot stop server {uuid}: the engine {how}: {error.reason}", no_effect=no_effect) from error
    return "native" if way.type is StopType.NATIVE else way.type.value
