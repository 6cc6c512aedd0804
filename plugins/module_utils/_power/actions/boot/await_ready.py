# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for a started server to be ready, without the lock."""

from __future__ import annotations

import contextlib

from ...engine.output import Deframer, Output
from ...engine.readiness import Lines, Matchers
from ...journal.schema import JournalUnusable
from ...locking.holder import Holder
from ...model.cancellation import Deadline
from ...model.errors import ENGINE_FAULTS, PowerError, StartFailed, StartTimeout, Superseded
from ...model.news import READY
from ...model.request import WaitFor
from ...model.result import Phase
from ...model.server import Run, Snapshot, Startup
from ...model.supervision import Verdict
from ..node.context import ActionContext
from ..node.node import Node
from .startup import AwaitedRun, exited, last_lines, start_failed

#: Verdicts on a run that ended by itself. PENDING: the end was found, and no action here caused it.
_BY_ITSELF = (Verdict.CRASHED, Verdict.ENDED, Verdict.PENDING)
#: Verdicts on a run that another action ended.
_BY_ACTION = (Verdict.STOPPED, Verdict.RESTARTING, Verdict.HUNG)
#: Longest wait for output, and seconds between looks at the engine and at the log of this run.
_READ_SECONDS, _LOOK_SECONDS, _LOG_SECONDS = 0.1, 0.5, 1.0
#: The last lines that a server which is not ready shows.
_SHOWN = 3


class _Console:
    """Finds a readiness line in the output, or once a second in the log of this run: output may begin late or be lost."""

    def __init__(self, node: Node, awaited: AwaitedRun) -> None:
        self._node = node
        self._run = awaited.snapshot.run
        self._matchers = awaited.matchers
        self._output = awaited.output
        self._lines = Lines()
        self._deframer = None if awaited.snapshot.tty else Deframer()
        self._next_log = Deadline.after(node.clock, _LOG_SECONDS)

    def ready(self) -> bool:
        if self._output is None:
            self._node.clock.sleep(_READ_SECONDS)
        elif self._read(self._output):
            return True
        if not self._next_log.is_over:
            return False
        self._next_log = Deadline.after(self._node.clock, _LOG_SECONDS)
        return self.in_log()

    def _read(self, output: Output) -> bool:
        chunk = output.read(_READ_SECONDS)
        if chunk == b"":
            self._output = None
        payload = b"" if not chunk else chunk if self._deframer is None else self._deframer.feed(chunk)
        return self._matchers.match(self._lines.feed(payload), self._run)

    def in_log(self) -> bool:
        """Return True if the log of this run has a readiness line; False if it is unreadable."""
        try:
            return self._matchers.match_any(self._node.engine.logs.of_run(self._run), self._run)
        except ENGINE_FAULTS:
            return False


def await_ready(context: ActionContext, awaited: AwaitedRun) -> None:
    """Wait until the server is ready, as ``wait_for`` asks, at most ``wait_timeout`` seconds, then close the output.

    Raises `StartFailed` (the run ended by itself), `StartTimeout` (the container stays up), `Superseded` or `CancelledByKill`. A signal
    ends only the wait, with a warning; an action that is `handed_on` waits on.
    """
    progress = context.progress
    progress.is_state_old = True
    with contextlib.ExitStack() as stack:
        if awaited.output is not None:
            stack.callback(awaited.output.close)
        wanted = _wanted(context, awaited)
        if wanted is not None and _wait(context, awaited, wanted) and progress.downtime is not None:
            progress.downtime = progress.downtime.ready(progress.seconds)


def _wanted(context: ActionContext, awaited: AwaitedRun) -> WaitFor | None:
    """Return the state to wait for; None if the server has it, or has no readiness line."""
    uuid, wanted = context.uuid, context.request.wait_for
    if wanted is WaitFor.HEALTHY and awaited.snapshot.health is None:
        context.warn("its image has no HEALTHCHECK; waiting for it to be running instead of healthy")
        wanted = WaitFor.RUNNING
    if wanted is WaitFor.RUNNING:
        known = context.node.journal.runs.of(uuid)
        is_ready = known is not None and known.run == awaited.snapshot.run and known.matched
        return wanted if awaited.matchers and not is_ready else None
    return wanted


def _wait(context: ActionContext, awaited: AwaitedRun, wanted: WaitFor) -> bool:
    node, progress, uuid, matchers = context.node, context.progress, context.uuid, awaited.matchers
    run, clock = awaited.snapshot.run, node.clock
    deadline = Deadline.after(clock, context.request.wait_timeout)
    console = _Console(node, awaited)
    next_look = Deadline(clock, 0.0)
    context.report(READY)
    progress.note(READY)
    while True:
        ready = bool(matchers) and console.ready()
        context.warn(*matchers.warnings)
        if ready:
            node.journal.runs.record_match(uuid, run)
            if wanted is WaitFor.RUNNING:
                return True
        elif not matchers:
            clock.sleep(_READ_SECONDS)
        if next_look.is_over:
            next_look = Deadline.after(clock, _LOOK_SECONDS)
            if _look(context, run).health == "healthy" and wanted is WaitFor.HEALTHY:
                return True
        # A service that ends completes the wait: a later "done" must not hide a server that was not ready.
        if node.caller.interrupted() and not node.caller.handed_on():
            context.warn("a signal ended the wait for it to become ready; it was started")
            return False
        if deadline.is_over:
            progress.secrets |= awaited.snapshot.secrets
            progress.show_log(last_lines(node, awaited.snapshot, progress.secrets)[-_SHOWN:])
            late = f"not ready {context.request.wait_timeout} s after its start"
            missed = f", without a line like {matchers.words}" if wanted is WaitFor.RUNNING else ""
            raise StartTimeout(f"Cannot tell that server {uuid} is {wanted.value}: {late}{missed}; it is left up")


def _look(context: ActionContext, run: Run) -> Snapshot:
    snapshot = context.node.engine.inspect(context.uuid)
    holder = context.node.locks.holder(context.uuid)
    is_stopping = holder is not None and holder.phase == Phase.STOP.value
    if snapshot is not None and snapshot.live and snapshot.run == run and not is_stopping:
        return snapshot
    raise _over(context, snapshot, run, holder)


def _over(context: ActionContext, snapshot: Snapshot | None, run: Run, holder: Holder | None) -> PowerError:
    """Return the error for a run that has ended, or that ``holder``, as read before, is stopping."""
    node, uuid, operation = context.node, context.uuid, context.request.operation
    context.check_cancelled()
    # In this order, because an action writes the journal, clears the lock's record, and then releases.
    stop = node.locks.ended_here(uuid)
    row = None
    with contextlib.suppress(JournalUnusable, OSError):
        row = node.journal.ended_runs.of_run(run)
    if row is not None and row.verdict in _BY_ITSELF:
        # A later start, mostly by the supervisor, changes nothing about this run.
        context.progress.exit_code = row.exit_code
        context.progress.show_log(row.log)
        return start_failed(context, row.exit_code, oom_killed=row.oom_killed, shown_by="crashes=1")
    intent = node.journal.intents.of(uuid)
    if (
        (holder is not None and holder.operation != operation)
        # A stop or restart may have released already.
        or (stop is not None and stop.run == run)
        or (row is not None and row.verdict in _BY_ACTION)
        # Another start that found the run up did not end it.
        or (intent is not None and not intent.up and intent.operation != operation)
        or (snapshot is not None and snapshot.run != run)
    ):
        by = "" if holder is None else f": {holder.sentence()}"
        return Superseded(f"Cannot wait for server {uuid} any longer: it was started, but another action took it over{by}")
    if snapshot is None:
        return StartFailed(f"Cannot start server {uuid}: its container was removed while it was starting")
    return exited(context, snapshot)


def seen_ready(node: Node, snapshot: Snapshot, matchers: Matchers, startup: Startup) -> bool:
    """Return True if an unwatched server is ready by now. For readers: one look, no wait."""
    return startup is Startup.WAITING and bool(matchers) and _Console(node, AwaitedRun(snapshot, matchers)).in_log()
