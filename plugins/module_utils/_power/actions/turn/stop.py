# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The graceful stop: the way this run is stopped, the grace, and SIGKILL at its end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from ...definitions.stop_way import stop_signal
from ...engine.container_spec import made_by_us, stop_way_of
from ...locking.lock import PowerLock
from ...model.errors import EngineError, EngineUnreachable, PowerError, StopFailed
from ...model.model import Phase, Request, Snapshot, StopReport, StopType, StopWay
from ..node.node import Node
from ..node.progress import Progress

#: How a definition's warnings about its way to stop begin.
_STOP_KEY = "process_configuration.stop"


def choose_stop_way(node: Node, snapshot: Snapshot, progress: Progress) -> StopWay:
    """How to stop this run: as the task says, else as it was created, else as its definition says, else natively."""
    uuid = progress.server.uuid
    task = node.sources.task_definition(uuid)
    labelled = stop_way_of(snapshot.labels) if made_by_us(snapshot, uuid) else None
    if task is None and labelled is not None:
        return labelled
    definition = task if task is not None else node.sources.definition_for_stop(uuid)
    if definition is not None:
        # What else is wrong with it does not concern a stop.
        progress.warn(*(f"server {uuid}: {warning}" for warning in definition.warnings if warning.startswith(_STOP_KEY)))
        return definition.stop
    progress.warn(f"server {uuid}: no definition says how it is stopped; it is sent {snapshot.stop_signal}")
    return StopWay(StopType.NATIVE)


def stop_run(
    request: Request, node: Node, lock: PowerLock, snapshot: Snapshot, check_cancelled: Callable[[], None], progress: Progress
) -> None:
    """Stop a live run gracefully, by SIGKILL after the grace, and return when it has ended.

    ``check_cancelled`` may end the wait by raising. Raises `StopFailed` if the stop cannot be sent (nothing was killed) or the process
    outlives
    SIGKILL.
    A stop that may still be under way when this gives up stays in the lock record.
    """
    way = choose_stop_way(node, snapshot, progress)
    grace = _grace(request, way, node.settings.stop_timeout)
    began = node.clock.monotonic()
    lock.enter(Phase.STOP, run=snapshot.run, deadline=node.clock.now() + timedelta(seconds=grace))
    progress.enter(Phase.STOP)
    try:
        how = _send(node, snapshot, way, grace, progress)
    except EngineUnreachable:
        # The stop may be under way: the next one must know.
        lock.keep()
        raise
    # A process that was asked to end is not as it was before, whatever becomes of the wait.
    progress.changed = progress.changed or grace > 0
    try:
        ended = grace > 0 and node.await_end(snapshot.run, grace, check_cancelled)
        if not ended and not node.kill_run(snapshot.run):
            raise StopFailed(f"Cannot stop server {progress.server.uuid}: its process still runs {node.engine.timeout:.0f} s after SIGKILL")
    except PowerError:
        lock.keep()
        raise
    progress.changed = True
    progress.stop = StopReport(how=how, forced=not ended, seconds=round(node.clock.monotonic() - began, 3))


def _grace(request: Request, way: StopWay, node_default: int) -> int:
    """Seconds from the stop to SIGKILL: the request's, else the definition's, else the node's."""
    if request.stop_timeout is not None:
        return request.stop_timeout
    return way.timeout if way.timeout is not None else node_default


def _send(node: Node, snapshot: Snapshot, way: StopWay, grace: int, progress: Progress) -> str:
    """Ask the process to end and say how it was asked; with no grace it is not asked at all."""
    engine, uuid = node.engine, progress.server.uuid
    if snapshot.restart_policy != "no":
        # The engine would bring the server back up after any exit that is not its own stop.
        engine.containers.forbid_restart(snapshot.id)
        progress.changed = True
    if grace == 0:
        return "kill"
    if snapshot.paused:
        engine.unpause(snapshot.id)
        progress.changed = True
    if way.type is StopType.COMMAND and not snapshot.open_stdin:
        progress.warn(
            f"server {uuid}: its container has no open standard input for the command {way.value!r}; it is sent {snapshot.stop_signal}"
        )
        way = StopWay(StopType.NATIVE)
    try:
        if way.type is StopType.COMMAND:
            engine.write_stdin(snapshot.id, way.value + "\n")
            return "command"
        name = snapshot.stop_signal if way.type is StopType.NATIVE else stop_signal(way.value)
        engine.signal(snapshot.id, name)
    except EngineError as error:
        raise StopFailed(f"Cannot stop server {uuid}: the engine refused the stop: {error.reason}") from error
    return "native" if way.type is StopType.NATIVE else "signal"
