# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's turn: what start, stop and restart do under its lock, and the wait for readiness after it."""

from __future__ import annotations

import contextlib
import dataclasses

from .await_ready import await_ready
from .errors import InterruptedBySignal, LockTimeout, LockUnavailable, PowerError, Suspended
from .holder import Holder, Leftover
from .lock import PowerLock
from .model import Outcome, Phase, PowerAction, Request, Run, Snapshot, Step, WaitFor
from .node import KillWatch, Node
from .output import Output
from .plan import plan
from .preboot import Boot, fetch, preboot, prepare, pull
from .progress import Ending, Progress
from .readiness import Matchers
from .settle import settle
from .startup import start_container
from .stop import stop_run

#: What was known before a wait or a stop longer than this is asked again.
_STALE_SECONDS = 1.0


class Turn:
    """One action's turn on one server. What it does is decided under the lock, from what is found there."""

    def __init__(self, request: Request, node: Node, progress: Progress) -> None:
        self._request = request
        self._node = node
        self._progress = progress
        self._uuid = progress.server.uuid
        self._watch = KillWatch(node, request, self._uuid)
        self._up: Snapshot | None = None
        self._matchers = Matchers((), strip=False)
        self._output: Output | None = None

    def look(self) -> None:
        """Raise if the action must not go on. A stop is not cancelled by a kill: both want the server down."""
        if self._request.action.boots:
            self._watch.look()

    def look_while_waiting(self) -> None:
        """The same while nothing is done yet that would have to be finished: a signal ends it, too."""
        if self._node.interrupted():
            raise InterruptedBySignal(f"Cannot {self._request.action.value} server {self._uuid}: a signal ended its wait")
        self.look()

    def take(self, boot: Boot | None) -> Ending:
        """Take the lock, do what the plan says, release, wait for readiness."""
        with self._acquire() as lock:
            self._progress.begin(self._node.journal)
            self.look()
            ending = self._follow_plan(lock, boot)
            self._note_intent()
        if self._up is not None:
            self._await_ready(self._up)
        return ending

    def _acquire(self) -> PowerLock:
        self.look_while_waiting()
        seconds = float(self._request.wait_seconds)
        try:
            lock = self._node.acquire(self._request, self._uuid, seconds, self.look_while_waiting)
        except LockTimeout as error:
            holder = error.facts.get("holder")
            self._progress.holder = holder.facts() if isinstance(holder, Holder) else None
            self._progress.waited_seconds = seconds
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
            if boot is not None and seen.live:
                # Somebody else started it; whether it is ready is still to be waited for.
                self._up, self._matchers = seen.snapshot, Matchers.of(boot.definition.startup)
            return (Outcome.DONE, "", "an unfinished start was undone") if fenced else (Outcome.UNCHANGED, "", chosen.reason)
        if boot is not None:
            if lock.waited_seconds > _STALE_SECONDS:
                boot = prepare(self._request, self._node, seen.snapshot, self.look, self._progress)
            self._progress.enter(Phase.PULL)
            lock.enter(Phase.PULL)
            self._pull(boot)
        began = self._node.clock.monotonic()
        if Step.AWAIT_EXIT in chosen.steps and seen.snapshot is not None and seen.leftover is not None:
            self._await_exit(lock, seen.snapshot.run, seen.leftover)
        if Step.STOP in chosen.steps and seen.snapshot is not None:
            self._stop(lock, seen.snapshot)
        if boot is not None:
            if self._node.clock.monotonic() - began > _STALE_SECONDS:
                boot = self._refresh(boot)
            self._boot(lock, boot)
        return Outcome.DONE, "", ""

    def _await_exit(self, lock: PowerLock, run: Run, who: Leftover) -> None:
        """A start that finds a stop under way waits for its end with what is left of ``wait_seconds``."""
        left = self._request.wait_seconds - lock.waited_seconds
        if not self._node.await_end(run, left, self.look_while_waiting):
            self._progress.holder = who.facts()
            raise LockTimeout(
                f"Cannot start server {self._uuid}: it is still stopping after {self._request.wait_seconds} s; "
                f"the stop was sent by {who.action}"
                f"{' by ' + who.origin if who.origin else ''} at {who.since}; wait longer (wait_seconds), stop it again, or kill it"
            )
        lock.settle()

    def _stop(self, lock: PowerLock, snapshot: Snapshot) -> None:
        stop_run(self._request, self._node, lock, snapshot, self.look, self._progress)
        lock.settle()
        if self._request.action is not PowerAction.STOP or self._progress.stop is None:
            return
        with contextlib.suppress(LockUnavailable):
            if self._watch.killed:
                self._progress.stop = dataclasses.replace(self._progress.stop, forced=True)

    def _boot(self, lock: PowerLock, boot: Boot) -> None:
        lock.enter(Phase.PREBOOT)
        self._progress.enter(Phase.PREBOOT)
        self.look()
        # Looked at anew: the container may have been removed to fence a start.
        snapshot = self._node.engine.inspect(self._uuid)
        container = preboot(self._request, self._node, boot, snapshot, self.look, self._progress)
        self._matchers = Matchers.of(boot.definition.startup)
        self._progress.warn(*(f"server {self._uuid}: {warning}" for warning in self._matchers.warnings))
        attach = self._request.wait_for is not WaitFor.CONTAINER and bool(self._matchers)
        self._up, self._output = start_container(self._node, lock, container, self._watch, self._progress, attach=attach)
        self._node.journal.record_run(self._uuid, self._up.run, matchers=bool(self._matchers))

    def _refresh(self, boot: Boot) -> Boot:
        """Fetch the definition again after a stop that took a while: suspended meanwhile ends the boot, a failed fetch does not."""
        try:
            fresh = dataclasses.replace(boot, definition=fetch(self._request, self._node, self._progress))
        except Suspended:
            raise
        except PowerError as error:
            self._progress.warn(
                f"server {self._uuid}: its definition could not be fetched again after the stop ({error}); the one in hand is used"
            )
            return boot
        if fresh.definition.image != boot.definition.image:
            self._pull(fresh)
        return fresh

    def _pull(self, boot: Boot) -> None:
        if pull(self._node, boot.definition, self.look):
            self._progress.alter()

    def _note_intent(self) -> None:
        self._node.journal.set_intent(
            self._progress.server,
            self._request.action.boots,
            operation=self._request.operation,
            origin=self._request.origin,
            at=self._node.clock.now(),
        )

    def _await_ready(self, up: Snapshot) -> None:
        try:
            await_ready(self._request, self._node, self._watch, up, self._matchers, self._output, self._progress)
        finally:
            if self._output is not None:
                self._output.close()
