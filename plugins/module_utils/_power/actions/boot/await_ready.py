# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting, without the lock, until a server that was started is ready."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...engine.output import Deframer, Output
from ...engine.readiness import Lines, Matchers
from ...host.concurrency import map_concurrently
from ...model.errors import EngineError, EngineUnreachable, PowerError, StartFailed, StartTimeout, Superseded
from ...model.model import Phase, PowerState, Request, Run, Snapshot, Startup, WaitFor
from ..node.node import KillWatch, Node, Observed
from ..node.progress import Progress
from .startup import exited

#: Longest wait for output, and seconds between two looks at the engine and at the log of this run.
_READ_SECONDS, _LOOK_SECONDS, _LOG_SECONDS = 0.1, 0.5, 1.0
#: Longest look for the readiness line of a server that nobody watches.
_UNWATCHED_SECONDS = 5.0


@dataclass
class _Console:
    """Looks for a readiness line, in the attached output as it comes and once a second in the log of this run.

    The log is looked at as well because a line may be missed: it came before we attached, or the stream was lost.
    """

    node: Node
    snapshot: Snapshot
    matchers: Matchers
    output: Output | None
    lines: Lines
    deframer: Deframer | None
    next_log: float

    def ready(self) -> bool:
        """Whether a readiness line was seen; waits a moment for output."""
        if self.output is None:
            self.node.clock.sleep(_READ_SECONDS)
        elif self._read(self.output):
            return True
        now = self.node.clock.monotonic()
        if now < self.next_log:
            return False
        self.next_log = now + _LOG_SECONDS
        return self.in_log()

    def _read(self, output: Output) -> bool:
        chunk = output.read(_READ_SECONDS)
        if chunk == b"":
            self.output = None
        payload = b"" if not chunk else chunk if self.deframer is None else self.deframer.feed(chunk)
        return self.matchers.match(self.lines.feed(payload), self.snapshot.run)

    def in_log(self) -> bool:
        """Whether the log of this run has a readiness line. One that cannot be read has none: there is the output, too."""
        try:
            return self.matchers.match_any(self.node.engine.logs.of_run(self.snapshot.run), self.snapshot.run)
        except (EngineError, EngineUnreachable):
            return False


def await_ready(
    request: Request, node: Node, watch: KillWatch, snapshot: Snapshot, matchers: Matchers, output: Output | None, progress: Progress
) -> None:
    """Wait as ``wait_for`` asks, at most ``wait_timeout`` seconds; return when the server is ready.

    Raises `StartFailed` (the run ended by itself), `StartTimeout` (the container is left up), `Superseded` or `CancelledByKill`.
    A signal ends the wait alone, with a warning.
    """
    wanted = _wanted(request, snapshot, progress)
    known = node.journal.runs.of(progress.server.uuid)
    if wanted is WaitFor.CONTAINER or (wanted is WaitFor.RUNNING and known is not None and known.run == snapshot.run and known.matched):
        return
    if wanted is WaitFor.RUNNING and not matchers:
        return
    clock = node.clock
    deadline = clock.monotonic() + request.wait_timeout
    console = _Console(node, snapshot, matchers, output, Lines(), None if snapshot.tty else Deframer(), clock.monotonic() + _LOG_SECONDS)
    next_look = 0.0
    while True:
        ready = bool(matchers) and console.ready()
        progress.warn(*(f"server {progress.server.uuid}: {warning}" for warning in matchers.warnings))
        if ready:
            node.journal.runs.record_match(progress.server.uuid, snapshot.run)
            if wanted is WaitFor.RUNNING:
                return
        elif not matchers:
            clock.sleep(_READ_SECONDS)
        if clock.monotonic() >= next_look:
            next_look = clock.monotonic() + _LOOK_SECONDS
            if _look(request, node, watch, snapshot.run, progress).health == "healthy" and wanted is WaitFor.HEALTHY:
                return
        if node.interrupted():
            progress.warn(f"server {progress.server.uuid}: a signal ended the wait for it to become ready; it was started")
            return
        if clock.monotonic() >= deadline:
            raise StartTimeout(
                f"Cannot tell that server {progress.server.uuid} is {wanted.value}: "
                f"not ready {request.wait_timeout} s after its start; it is left up"
            )


def _wanted(request: Request, snapshot: Snapshot, progress: Progress) -> WaitFor:
    if request.wait_for is WaitFor.HEALTHY and snapshot.health is None:
        progress.warn(f"server {progress.server.uuid}: its image has no HEALTHCHECK; waiting for it to be running instead of healthy")
        return WaitFor.RUNNING
    return request.wait_for


def _look(request: Request, node: Node, watch: KillWatch, run: Run, progress: Progress) -> Snapshot:
    """The run as it is, while it is still ours to wait for."""
    snapshot = node.engine.inspect(progress.server.uuid)
    if snapshot is not None and snapshot.live and snapshot.run == run:
        holder = node.locks.holder(progress.server.uuid)
        if holder is None or holder.phase != Phase.STOP.value:
            return snapshot
    raise _ended(request, node, watch, snapshot, run, progress)


def _ended(request: Request, node: Node, watch: KillWatch, snapshot: Snapshot | None, run: Run, progress: Progress) -> PowerError:
    """Why a run is over: a kill, another action, or by itself."""
    uuid = progress.server.uuid
    watch.look()
    holder = node.locks.holder(uuid)
    taken = holder is not None and holder.operation != request.operation
    intent = node.journal.intents.of(uuid)
    # Somebody's stop may have ended and released already. Another start found it up and has nothing to do with its end.
    taken = taken or (intent is not None and not intent.up and intent.operation != request.operation)
    if taken or (snapshot is not None and snapshot.run != run):
        by = "" if holder is None else f" by {holder.sentence()}"
        return Superseded(f"Cannot wait for server {uuid} any longer: it was started, but another action took it{by}")
    if snapshot is None:
        return StartFailed(f"Cannot start server {uuid}: its container was removed while it was starting")
    return exited(node, snapshot, progress)


def seen_ready(node: Node, snapshot: Snapshot, matchers: Matchers, startup: Startup) -> bool:
    """Whether a server nobody watched has become ready. For readers, who look once and do not wait."""
    return startup is Startup.WAITING and bool(matchers) and _Console(node, snapshot, matchers, None, Lines(), None, 0.0).in_log()


def as_chosen_by_state(request: Request, node: Node, uuid: str, seen: Observed) -> Observed:
    """A server as it is to a request that tells starting from running: it may have become ready without anybody watching.

    Its log is looked at for 5 s at most; what was found is remembered, as a reader does.
    """
    snapshot, only = seen.snapshot, request.only
    if only is None or (PowerState.STARTING in only) is (PowerState.RUNNING in only):
        return seen
    if snapshot is None or seen.state is not PowerState.STARTING:
        return seen
    definition = node.sources.definition_for_stop(uuid)
    matchers = Matchers((), strip=False) if definition is None else Matchers.of(definition.startup)
    if not any(map_concurrently(lambda run: seen_ready(node, run, matchers, seen.startup), [snapshot], _UNWATCHED_SECONDS)):
        return seen
    node.journal.runs.record_match(uuid, snapshot.run)
    return replace(seen, state=PowerState.RUNNING, startup=Startup.MATCHED)
