# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a container so that a kill, a crash or a silent engine at any moment leaves nothing that comes up later."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from ...definitions.definition import Definition
from ...engine.output import Output
from ...engine.readiness import Matchers, readable_lines
from ...locking.holder import EndedHere
from ...locking.lock import PowerLock
from ...model.errors import CancelledByKill, EngineError, EngineUnreachable, StartFailed
from ...model.request import PowerAction, WaitFor
from ...model.result import Phase
from ...model.server import Run, Snapshot
from ...model.supervision import SeenRun
from ..node.context import ActionContext, refuse_after_newer_run
from ..node.run_end import fence_start, note_found_end, record_stop
from .container import Boot, Staged, refuse_moved_mounts

#: How much of the log a failed start shows.
_LOG_LINES, _LOG_LINE_BYTES = 20, 500


@dataclass(frozen=True)
class AwaitedRun:
    """A run that is up: what says that it is ready, and its output, where that was attached to."""

    snapshot: Snapshot
    matchers: Matchers
    output: Output | None = None


def matchers_of(definition: Definition | None) -> Matchers:
    """Return what says that a server is ready: nothing, where its definition is not known."""
    return Matchers((), strip=False) if definition is None else Matchers.of(definition.startup)


def start(context: ActionContext, lock: PowerLock, boot: Boot, staged: Staged) -> AwaitedRun:
    """Start the container that is in place, and write the run into the journal, so that no reader takes it for somebody else's."""
    node, progress, uuid = context.node, context.progress, context.uuid
    matchers = matchers_of(boot.definition)
    progress.warn(*(f"server {uuid}: {warning}" for warning in matchers.warnings))
    attach = context.request.wait_for is not WaitFor.CONTAINER and bool(matchers)
    snapshot, output = start_container(context, lock, staged, attach=attach)
    node.journal.runs.see(uuid, replace(_seen(context, snapshot), matchers=bool(matchers)))
    # Whatever the record says of an ended run: another has come.
    lock.settle()
    progress.saw(node.seen_as(uuid, snapshot))
    progress.run = snapshot.run
    if progress.downtime is not None:
        progress.downtime = progress.downtime.until(snapshot.started_at, progress.seconds)
    return AwaitedRun(snapshot, matchers, output)


def start_container(context: ActionContext, lock: PowerLock, staged: Staged, *, attach: bool) -> tuple[Snapshot, Output | None]:
    """Start a container; return its first snapshot, and its output from the very beginning where ``attach`` asks for it.

    The record names container and last StartedAt before the request is sent, and leaves that phase only when it was answered.
    What may have changed since it was checked, the generation and the mounts, is checked right before that.
    """
    engine = context.node.engine
    before = engine.inspect(staged.id)
    if before is None:
        raise StartFailed(f"Cannot start server {context.uuid}: its container was removed by somebody else")
    if before.run != context.progress.ended:
        note_found_end(context.node, context.progress.server, before)
    output = engine.logs.attach(staged.id) if attach else None
    context.enter(lock, Phase.START, run=before.run)
    try:
        context.check_cancelled()
        refuse_after_newer_run(context, before)
        refuse_moved_mounts(staged, context.uuid)
        _request_start(context, lock, before.run)
        lock.enter(Phase.OBSERVE)
        snapshot = _first_look(context, staged.id)
        if not snapshot.live:
            # Over already; it was a run all the same, and that of this request.
            context.node.journal.runs.see(context.uuid, _seen(context, snapshot))
            lock.settle()
            raise exited(context, snapshot)
        return snapshot, output
    except BaseException:
        if output is not None:
            output.close()
        raise


def _seen(context: ActionContext, snapshot: Snapshot) -> SeenRun:
    """The run that was started, as the journal keeps it: of which request it is, and which ended run that was for."""
    request = context.request
    return SeenRun(snapshot.run, request.generation(context.uuid), answers=0 if request.answers is None else request.answers.number)


def _request_start(context: ActionContext, lock: PowerLock, before: Run) -> None:
    """Send the request. No answer is not a "no": the request is fenced, or left in the record for whoever comes next."""
    uuid, engine, progress = context.uuid, context.node.engine, context.progress
    try:
        engine.start(before.container)
    except EngineError as error:
        raise StartFailed(f"Cannot start server {uuid}: {error.reason}") from error
    except EngineUnreachable:
        try:
            progress.changed = fence_start(context.node, progress.server, before) or progress.changed
        except (EngineError, EngineUnreachable):
            lock.keep()
            raise
        snapshot = engine.inspect(before.container)
        if snapshot is None or snapshot.run == before:
            raise
        progress.warn(f"server {uuid}: the engine did not answer the start in time, but carried it out")
    progress.changed = True


def _first_look(context: ActionContext, container: str) -> Snapshot:
    """Look at the run that was just started, then at the kill generation. A killed start kills what it started."""
    snapshot = context.node.engine.inspect(container)
    try:
        context.check_cancelled()
    except CancelledByKill:
        if snapshot is not None and snapshot.live:
            context.node.kill_run(snapshot.run)
            ended = EndedHere(snapshot.run, PowerAction.KILL.value)
            record_stop(context.node, context.progress.server, None, ended)
        raise
    if snapshot is None:
        raise StartFailed(f"Cannot start server {context.uuid}: its container was removed right after the start")
    return snapshot


def exited(context: ActionContext, snapshot: Snapshot) -> StartFailed:
    """Return the error for a run that ended before it was ready; exit code and the end of its log go into the result."""
    progress = context.progress
    progress.run, progress.exit_code = snapshot.run, snapshot.exit_code
    progress.secrets |= snapshot.secrets
    with contextlib.suppress(EngineError, EngineUnreachable):
        # A log driver that keeps nothing must not hide the exit.
        log = context.node.engine.logs.tail(snapshot.id, _LOG_LINES)
        progress.show_log(readable_lines(log, _LOG_LINES, _LOG_LINE_BYTES, progress.secrets))
    return start_failed(context, snapshot.exit_code, oom_killed=snapshot.oom_killed)


def start_failed(context: ActionContext, exit_code: int | None, *, oom_killed: bool) -> StartFailed:
    """Return the error for a run that ended with this exit code before it was ready."""
    how = "" if exit_code is None else f" with exit code {exit_code}"
    memory = ", out of memory" if oom_killed else ""
    return StartFailed(f"Cannot start server {context.uuid}: its process ended{how}{memory}; see its log")
