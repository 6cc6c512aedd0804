# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One power action on one server, from the request to the result: the story. Its chapters are files of their own.

sync and suspension first -> lock -> observe and plan -> stop -> pre-boot -> start -> release -> wait -> report
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from .announce import announce
from .await_ready import await_ready
from .errors import EngineUnreachable, InterruptedBySignal, LockTimeout, PowerError, ServerNotFound, Suspended, WingsActive
from .holder import Holder, Leftover
from .kill import kill
from .lock import PowerLock
from .model import Outcome, Phase, PowerAction, Request, Result, Run, Server, Snapshot, Step, WaitFor, parse_uuid
from .node import KillWatch, Node, Observed, nothing
from .output import Output
from .plan import plan, planned_state
from .preboot import Boot, fetch, preboot, prepare, pull
from .progress import Progress
from .readiness import Matchers
from .settle import settle
from .startup import start_container
from .stop import stop_run

#: What was known before a wait or a stop longer than this is asked again.
_STALE_SECONDS = 1.0

Ending = tuple[Outcome, str, str]


def perform(request: Request, node: Node, server: Server | None = None) -> Result:
    """Perform one power action on one server. Raises no `PowerError`: whatever happens is in the result, the journal and the syslog.

    ``server`` is the one meant, where the caller has identified it already.
    """
    progress = Progress(request, node.clock)
    if server is not None:
        progress.server = server
    answers = True
    try:
        ending = _act(request, node, progress, server)
    except PowerError as error:
        ending = progress.failure(error)
        answers = not isinstance(error, EngineUnreachable)
    if answers and progress.begun:
        _see_again(node, progress)
    result = progress.result(*ending)
    if not request.check:
        node.journal.end(result, progress.phases, origin=request.origin, reason=request.reason)
        announce(result, request)
    return result


def _act(request: Request, node: Node, progress: Progress, known: Server | None) -> Ending:
    if node.interrupted():
        raise InterruptedBySignal(f"Cannot {request.action.value} server {request.server}: a signal came before its turn; nothing was done")
    progress.server = _identify(request, node, known)
    if request.action is PowerAction.KILL and not request.check:
        _begin(request, node, progress)
        return kill(request, node, progress)
    _refuse_beside_wings(request, node)
    seen = node.observe(progress.server.uuid)
    progress.saw(seen)
    if request.action is PowerAction.START and seen.live and seen.holder is None and not seen.stop_left:
        return _already_up(request, node, seen, progress)
    boot = prepare(request, node, seen.snapshot, progress) if request.action.boots else None
    if request.check:
        return _foretell(request, seen, boot, progress)
    return _Locked(request, node, progress).act(boot)


def _identify(request: Request, node: Node, known: Server | None) -> Server:
    """Which server is meant. A full UUID that has a container, or (kill) a lock record, needs no source to know it."""
    server = node.sources.identify(request.server, request.action) if known is None else known
    if request.action.boots or parse_uuid(request.server) is None:
        return server
    if request.action is PowerAction.KILL and node.locks.has_record(server.uuid):
        return server
    definition = node.sources.definition_for_stop(server.uuid)
    if definition is not None:
        return definition.server
    if node.engine.inspect(server.uuid) is not None:
        return server
    raise ServerNotFound(f"Cannot {request.action.value} server {server.uuid}: no source and no container of this node has it")


def _refuse_beside_wings(request: Request, node: Node) -> None:
    """Wings takes a stop from outside for a crash and starts the server again, so only a kill goes on beside it, with a warning."""
    if request.action is PowerAction.KILL or node.settings.allow_wings:
        return
    pid = node.wings_pid()
    if pid is not None:
        raise WingsActive(
            f"Cannot {request.action.value} server {request.server} beside Wings (pid {pid}): Wings would take it for a crash; "
            "act through Wings' own HTTP endpoint, or stop Wings for good (system.allow_wings: true overrides)",
            pid=pid,
        )


def _already_up(request: Request, node: Node, seen: Observed, progress: Progress) -> Ending:
    """A start of a server that is up needs neither sync nor lock; it still waits as ``wait_for`` asks."""
    if not request.check:
        node.journal.set_intent(
            progress.server, True, operation=request.operation, origin=request.origin, at=request.requested_at, only_if_newer=True
        )
    if seen.snapshot is not None and request.wait_for is not WaitFor.CONTAINER and not request.check:
        definition = node.sources.definition_for_stop(progress.server.uuid)
        matchers = (
            Matchers(definition.startup.done, strip=definition.startup.strip_ansi) if definition is not None else Matchers((), strip=False)
        )
        await_ready(request, node, KillWatch(node, request, progress.server.uuid), seen.snapshot, matchers, None, progress)
        _see_again(node, progress)
    return Outcome.UNCHANGED, "", plan(request.action, seen.state).reason


def _foretell(request: Request, seen: Observed, boot: Boot | None, progress: Progress) -> Ending:
    """Check mode: what the action would do to the server as it is now, a held lock reported but not waited for."""
    if seen.holder is not None:
        progress.holder = seen.holder.facts()
    chosen = plan(request.action, seen.state)
    progress.plan = chosen.steps
    progress.changed = bool(chosen.steps)
    matchers = boot is not None and bool(boot.definition.startup.done)
    progress.state_planned = planned_state(chosen.steps, seen.state, has_matchers=matchers)
    return (Outcome.DONE, "", "") if chosen.steps else (Outcome.UNCHANGED, "", chosen.reason)


def _begin(request: Request, node: Node, progress: Progress) -> None:
    """From here on the action is finished whatever signal comes."""
    progress.begun = True
    node.journal.begin(
        operation=request.operation,
        server=progress.server,
        action=request.action,
        origin=request.origin,
        reason=request.reason,
        requested_at=request.requested_at,
    )


def _see_again(node: Node, progress: Progress) -> None:
    """Look once more, so that the state reported is the one seen; where that cannot be, the last one stands."""
    if parse_uuid(progress.server.uuid) is None:
        return
    try:
        progress.saw(node.observe(progress.server.uuid))
    except PowerError:
        progress.state = None


class _Locked:
    """What start, stop and restart do under the lock, and the wait after it."""

    def __init__(self, request: Request, node: Node, progress: Progress) -> None:
        self._request = request
        self._node = node
        self._progress = progress
        self._uuid = progress.server.uuid
        self._watch = KillWatch(node, request, self._uuid)
        # A stop is not cancelled by a kill: both want the server down.
        self._look: Callable[[], None] = self._watch.look if request.action.boots else nothing
        self._up: Snapshot | None = None
        self._output: Output | None = None

    def act(self, boot: Boot | None) -> Ending:
        """Take the lock, do what the plan says, release, wait for readiness."""
        with self._acquire() as lock:
            _begin(self._request, self._node, self._progress)
            self._look()
            if boot is not None and lock.waited_seconds > _STALE_SECONDS:
                boot = prepare(self._request, self._node, self._node.engine.inspect(self._uuid), self._progress)
            ending = self._follow_plan(lock, boot)
            self._note_intent()
        if self._up is not None and boot is not None:
            self._await_ready(self._up, boot)
        return ending

    def _acquire(self) -> PowerLock:
        request = self._request

        def look() -> None:
            if self._node.interrupted():
                raise InterruptedBySignal(
                    f"Cannot {request.action.value} server {self._uuid}: a signal ended the wait for its turn; nothing was done"
                )
            self._look()

        look()
        try:
            lock = self._node.locks.acquire(
                self._uuid,
                operation=request.operation,
                action=request.action,
                origin=request.origin,
                reason=request.reason,
                wait_seconds=request.wait_seconds,
                clock=self._node.clock,
                look=look,
            )
        except LockTimeout as error:
            holder = error.facts.get("holder")
            self._progress.holder = holder.facts() if isinstance(holder, Holder) else None
            self._progress.waited_seconds = float(request.wait_seconds)
            raise
        self._progress.waited_seconds = round(lock.waited_seconds, 3)
        return lock

    def _follow_plan(self, lock: PowerLock, boot: Boot | None) -> Ending:
        fenced = settle(self._node, lock)
        self._progress.changed = self._progress.changed or fenced
        seen = self._node.observe_held(self._uuid, lock.leftover)
        # What was seen before a wait for the lock is not what this action found.
        self._progress.state_before = None
        self._progress.saw(seen)
        chosen = plan(self._request.action, seen.state)
        self._progress.plan = chosen.steps
        if not chosen.steps:
            return (Outcome.DONE, "", "an unfinished start was undone") if fenced else (Outcome.UNCHANGED, "", chosen.reason)
        if boot is not None:
            self._progress.enter(Phase.PULL)
            lock.enter(Phase.PULL)
            pull(self._node, boot.definition, self._look)
        if Step.AWAIT_EXIT in chosen.steps and seen.snapshot is not None and seen.leftover is not None:
            self._await_exit(lock, seen.snapshot.run, seen.leftover)
        if Step.STOP in chosen.steps and seen.snapshot is not None:
            self._stop(lock, seen.snapshot)
        if boot is not None:
            self._boot(lock, boot)
        return Outcome.DONE, "", ""

    def _await_exit(self, lock: PowerLock, run: Run, who: Leftover) -> None:
        """A start that finds a stop under way waits for its end with what is left of ``wait_seconds``."""
        left = self._request.wait_seconds - lock.waited_seconds

        def look() -> None:
            if self._node.interrupted():
                raise InterruptedBySignal(
                    f"Cannot start server {self._uuid}: a signal ended the wait for the stop under way; nothing was done"
                )
            self._look()

        if not self._node.await_end(run, left, look):
            raise LockTimeout(
                f"Cannot start server {self._uuid}: it is still stopping after {self._request.wait_seconds} s; "
                f"the stop was sent by {who.action}"
                f"{' by ' + who.origin if who.origin else ''} at {who.since}; wait longer (wait_seconds), stop it again, or kill it"
            )
        lock.settle()

    def _stop(self, lock: PowerLock, snapshot: Snapshot) -> None:
        stop_run(self._request, self._node, lock, snapshot, self._look, self._progress)
        lock.settle()
        if self._request.action is PowerAction.STOP and self._progress.stop is not None and self._watch.killed:
            self._progress.stop = dataclasses.replace(self._progress.stop, forced=True)

    def _boot(self, lock: PowerLock, boot: Boot) -> None:
        lock.enter(Phase.PREBOOT)
        self._progress.enter(Phase.PREBOOT)
        self._look()
        boot = self._refresh(boot)
        # Looked at anew: the container may have been removed to fence a start.
        snapshot = self._node.engine.inspect(self._uuid)
        container = preboot(self._request, self._node, boot, snapshot, self._look, self._progress)
        attach = self._request.wait_for is not WaitFor.CONTAINER and bool(boot.definition.startup.done)
        self._up, self._output = start_container(self._node, lock, container, self._watch, self._progress, attach=attach)
        self._node.journal.record_run(self._uuid, self._up.run, matchers=bool(boot.definition.startup.done))

    def _refresh(self, boot: Boot) -> Boot:
        """After a stop that took a while fetch the definition again: suspended meanwhile ends the boot, a failed fetch does not."""
        if self._progress.stop is None or self._progress.stop.seconds <= _STALE_SECONDS:
            return boot
        try:
            return dataclasses.replace(boot, definition=fetch(self._request, self._node, self._progress))
        except Suspended:
            raise
        except PowerError as error:
            self._progress.warn(
                f"server {self._uuid}: its definition could not be fetched again after the stop ({error}); the one in hand is used"
            )
            return boot

    def _note_intent(self) -> None:
        self._node.journal.set_intent(
            self._progress.server,
            self._request.action.boots,
            operation=self._request.operation,
            origin=self._request.origin,
            at=self._request.requested_at,
        )

    def _await_ready(self, up: Snapshot, boot: Boot) -> None:
        matchers = Matchers(boot.definition.startup.done, strip=boot.definition.startup.strip_ansi)
        self._progress.warn(*(f"server {self._uuid}: {warning}" for warning in matchers.warnings))
        try:
            await_ready(self._request, self._node, self._watch, up, matchers, self._output, self._progress)
        finally:
            if self._output is not None:
                self._output.close()
