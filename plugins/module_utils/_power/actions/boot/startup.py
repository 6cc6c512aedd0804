# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a container so that a kill, a crash or a silent engine at any moment leaves nothing that comes up later."""

from __future__ import annotations

import contextlib

from ...engine.output import Output
from ...engine.readiness import readable_lines
from ...locking.lock import PowerLock
from ...model.cancellation import CheckCancelled
from ...model.errors import CancelledByKill, EngineError, EngineUnreachable, StartFailed
from ...model.model import Phase, Run, Snapshot
from ..node.node import KillWatch, Node
from ..node.progress import Progress
from ..node.recovery import fence_start

#: How much of the log a failed start shows.
_LOG_LINES, _LOG_LINE_BYTES = 20, 500


def start_container(
    node: Node, lock: PowerLock, container: str, watch: KillWatch, progress: Progress, *, attach: bool, last_check: CheckCancelled
) -> tuple[Snapshot, Output | None]:
    """Start a container; its first snapshot, and its output from the very beginning where ``attach`` asks for it.

    The record names container and last StartedAt before the request is sent, and leaves that phase only when it was answered.
    ``last_check`` is made right before that, and what it raises keeps the request from being sent.
    """
    before = node.engine.inspect(container)
    if before is None:
        raise StartFailed(f"Cannot start server {progress.server.uuid}: its container was removed by somebody else")
    output = node.engine.logs.attach(container) if attach else None
    lock.enter(Phase.START, run=before.run)
    progress.enter(Phase.START)
    try:
        watch.look()
        last_check()
        _request_start(node, lock, before.run, progress)
        lock.enter(Phase.OBSERVE)
        return _first_look(node, container, watch, progress), output
    except BaseException:
        if output is not None:
            output.close()
        raise


def _request_start(node: Node, lock: PowerLock, before: Run, progress: Progress) -> None:
    """Send the request. No answer is not a "no": the request is fenced, or left in the record for whoever comes next."""
    uuid = progress.server.uuid
    try:
        node.engine.start(before.container)
    except EngineError as error:
        raise StartFailed(f"Cannot start server {uuid}: {error.reason}") from error
    except EngineUnreachable:
        try:
            progress.changed = fence_start(node, before) or progress.changed
        except (EngineError, EngineUnreachable):
            lock.keep()
            raise
        snapshot = node.engine.inspect(before.container)
        if snapshot is None or snapshot.run == before:
            raise
        progress.warn(f"server {uuid}: the engine did not answer the start in time, but carried it out")
    progress.changed = True


def _first_look(node: Node, container: str, watch: KillWatch, progress: Progress) -> Snapshot:
    """Look at the kill generation and at the run that was just started. A killed start kills what it started."""
    snapshot = node.engine.inspect(container)
    try:
        watch.look()
    except CancelledByKill:
        if snapshot is not None and snapshot.live:
            node.kill_run(snapshot.run)
        raise
    if snapshot is None:
        raise StartFailed(f"Cannot start server {progress.server.uuid}: its container was removed right after the start")
    if not snapshot.live:
        raise exited(node, snapshot, progress)
    return snapshot


def exited(node: Node, snapshot: Snapshot, progress: Progress) -> StartFailed:
    """The error for a run that ended before it was ready; exit code and the end of its log go into the result."""
    progress.exit_code = snapshot.exit_code
    progress.secrets |= snapshot.secrets
    with contextlib.suppress(EngineError, EngineUnreachable):
        # A log driver that keeps nothing must not hide the exit.
        log = node.engine.logs.tail(snapshot.id, _LOG_LINES)
        progress.show_log(readable_lines(log, _LOG_LINES, _LOG_LINE_BYTES, progress.secrets))
    memory = ", out of memory" if snapshot.oom_killed else ""
    return StartFailed(
        f"Cannot start server {progress.server.uuid}: its process ended with exit code {snapshot.exit_code}{memory}; see its log"
    )
