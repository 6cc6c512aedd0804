# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The start of a container. After a kill, a crash or a silent engine, nothing comes up later."""

from __future__ import annotations

import contextlib

from ...definitions.definition import Definition
from ...definitions.stop_way import signal_number
from ...engine.output import Output
from ...engine.readiness import Matchers, readable_lines
from ...host.engine_process import engine_life
from ...host.machine import boot_id, boot_seconds
from ...journal.schema import JournalUnusable
from ...locking.holder import EndedHere
from ...locking.lock import PowerLock
from ...model.cancellation import no_check
from ...model.errors import ENGINE_FAULTS, CancelledByKill, EngineError, StartFailed
from ...model.records import dataclass, replace
from ...model.request import PowerAction, WaitFor
from ...model.result import Phase
from ...model.server import Run, Snapshot
from ...model.supervision import SeenRun
from ..node.context import ActionContext, refuse_after_newer_run
from ..node.node import Node
from ..node.run_end import fence_start, note_others_end, record_stop
from .container import Staged, refuse_moved_mounts

_LOG_LINES, _LOG_LINE_BYTES = 20, 500


@dataclass(frozen=True)
class AwaitedRun:
    """A run that is up, with its readiness lines and attached output, if any."""

    snapshot: Snapshot
    matchers: Matchers
    output: Output | None = None


def matchers_of(definition: Definition | None) -> Matchers:
    return Matchers((), strip=False) if definition is None else Matchers.of(definition.startup)


def start(context: ActionContext, lock: PowerLock, definition: Definition | None, staged: Staged) -> AwaitedRun:
    """Start the container and write its run into the journal, so that readers know it as ours."""
    node, progress, uuid = context.node, context.progress, context.uuid
    matchers = matchers_of(definition)
    context.warn(*matchers.warnings)
    attach = context.request.wait_for is not WaitFor.CONTAINER and bool(matchers)
    snapshot, output = start_container(context, lock, staged, attach=attach)
    node.journal.runs.see(uuid, replace(_started_run(context, snapshot), matchers=bool(matchers)))
    if progress.proof is not None and context.request.proof is None:
        progress.proof = progress.proof.on_trial(snapshot.run, boot_id(), boot_seconds())
        node.journal.proofs.note(progress.proof)
    # A new run replaces the ended run of the record.
    lock.clear()
    progress.saw(node.seen_as(uuid, snapshot))
    progress.run = snapshot.run
    if progress.downtime is not None:
        progress.downtime = progress.downtime.until(snapshot.started_at, progress.seconds)
    return AwaitedRun(snapshot, matchers, output)


def start_container(context: ActionContext, lock: PowerLock, staged: Staged, *, attach: bool) -> tuple[Snapshot, Output | None]:
    """Start a container; return its first snapshot, and with ``attach`` its complete output.

    The record has container and last StartedAt before the request, and keeps that phase until the answer. The kill generation and the
    mounts are checked again right before the request.
    """
    engine = context.node.engine
    before = engine.inspect(staged.id)
    if before is None:
        raise StartFailed(f"Cannot start server {context.uuid}: its container was removed by somebody else")
    note_others_end(context, before)
    output = engine.logs.attach(staged.id) if attach else None
    try:
        context.enter(lock, Phase.START, run=before.run)
        context.check_cancelled()
        refuse_after_newer_run(context, before)
        refuse_moved_mounts(staged, context.uuid)
        _request_start(context, lock, before.run)
        lock.enter(Phase.OBSERVE)
        snapshot = _first_look(context, staged.id)
        if not snapshot.live:
            # The run is over already, but it belongs to this request.
            context.node.journal.runs.see(context.uuid, _started_run(context, snapshot))
            lock.clear()
            raise exited(context, snapshot)
        return snapshot, output
    except BaseException:
        if output is not None:
            output.close()
        raise


def _started_run(context: ActionContext, snapshot: Snapshot) -> SeenRun:
    request, row = context.request, context.request.ended_run
    if row is not None and request.follows_hang:
        # Its restart has written the row.
        with contextlib.suppress(JournalUnusable, OSError):
            row = context.node.journal.ended_runs.of_run(row.run)
    life, signal = engine_life(context.node.engine.host), signal_number(snapshot.stop_signal)
    answers = 0 if row is None else row.number
    return SeenRun(snapshot.run, request.generation(context.uuid), life, answers=answers, stop_signal=signal)


def _request_start(context: ActionContext, lock: PowerLock, before: Run) -> None:
    """Send the request. Without the engine's own answer, fence the request, or leave it in the record for the next holder."""
    uuid, engine, progress = context.uuid, context.node.engine, context.progress
    try:
        engine.start(before.container)
    except ENGINE_FAULTS as error:
        failure = StartFailed(f"Cannot start server {uuid}: {error.reason}") if isinstance(error, EngineError) else error
        # The engine answers 500 once it has given up; higher numbers are a gateway's.
        if error.facts.get("no_effect") or error.facts.get("status") == 500:
            raise failure from None
        # The start may have happened.
        progress.changed = True
        try:
            is_fenced = fence_start(context.node, progress.server, before)
        except ENGINE_FAULTS:
            lock.keep()
            raise
        if is_fenced is not False:
            raise failure from None
        context.warn("the engine did not answer the start, but carried it out")
    progress.changed = True


def _first_look(context: ActionContext, container: str) -> Snapshot:
    """Look at the new run, then at the kill generation. A killed start kills what it started."""
    engine = context.node.engine
    snapshot = engine.inspect(container)
    try:
        context.check_killed()
    except CancelledByKill:
        if snapshot is not None and snapshot.live:
            engine.signal(container, "SIGKILL")
            context.node.await_end(snapshot.run, engine.timeout, no_check)
            record_stop(context, None, EndedHere(snapshot.run, PowerAction.KILL.value))
        raise
    if snapshot is None:
        raise StartFailed(f"Cannot start server {context.uuid}: its container was removed right after the start")
    return snapshot


def exited(context: ActionContext, snapshot: Snapshot) -> StartFailed:
    """Return the error for a run that ended before it was ready; the result gets exit code and last log lines."""
    progress = context.progress
    progress.run, progress.exit_code = snapshot.run, snapshot.exit_code
    progress.secrets |= snapshot.secrets
    progress.show_log(last_lines(context.node, snapshot, progress.secrets))
    return start_failed(context, snapshot.exit_code, oom_killed=snapshot.oom_killed, shown_by=f"tail={_LOG_LINES}")


def last_lines(node: Node, snapshot: Snapshot, secrets: frozenset[str]) -> tuple[str, ...]:
    """Return the last lines of a container's log, masked; none if the engine has no log of it."""
    with contextlib.suppress(*ENGINE_FAULTS):
        # A log driver that keeps nothing must not hide the exit.
        return readable_lines(node.engine.logs.tail(snapshot.id, _LOG_LINES), _LOG_LINES, _LOG_LINE_BYTES, secrets)
    return ()


def start_failed(context: ActionContext, exit_code: int | None, *, oom_killed: bool, shown_by: str) -> StartFailed:
    """Return the error. ``shown_by``: the option of server_power_info that shows the last lines of this run."""
    how = "" if exit_code is None else f" with exit code {exit_code}"
    memory = ", out of memory" if oom_killed else ""
    lines = f"server_power_info with {shown_by} shows its last lines"
    return StartFailed(f"Cannot start server {context.uuid}: its process ended{how}{memory}; {lines}")
