# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's turn: what start, stop and restart do under its lock, and the wait for readiness after it."""

from __future__ import annotations

import contextlib
import dataclasses

from ...engine.output import Output
from ...engine.readiness import Matchers
from ...journal.journal_rows import Intent
from ...locking.holder import Holder, Leftover
from ...locking.lock import PowerLock
from ...model.cancellation import CheckCancelled
from ...model.errors import (
    InterruptedBySignal,
    LockTimeout,
    LockUnavailable,
    NotSelected,
    PowerError,
    PrebootFailed,
    ServerNotFound,
    Suspended,
    WingsActive,
)
from ...model.model import Outcome, Phase, PlanStep, PowerAction, PowerState, Request, Run, Snapshot, WaitFor, timestamp
from ...model.plan import plan
from ..boot.await_ready import as_chosen_by_state, await_ready
from ..boot.container import Boot, Staged, pull, refuse_moved_mounts, stage, unstage
from ..boot.preboot import preboot, run_step
from ..boot.prepare import prepare
from ..boot.startup import start_container
from ..node.idempotency import await_same, done_before, fell_since, same_action
from ..node.limiter import Slot
from ..node.node import KillWatch, Node
from ..node.progress import Ending, Progress
from ..node.recovery import recover_unfinished
from .stop import stop_run

#: What was known before a wait or a stop longer than this is asked again.
_STALE_SECONDS = 1.0
#: Seconds between two looks at a lock that is waited for without taking it.
_LOOK_SECONDS = 0.05


class Turn:
    """One action's turn on one server. What it does is decided under the lock, from what is found there."""

    def __init__(self, request: Request, node: Node, progress: Progress, place: Slot) -> None:
        self._request = request
        self._node = node
        self._progress = progress
        self._place = place
        self._uuid = progress.server.uuid
        self._watch = KillWatch(node, request, self._uuid)
        self._known_at = node.clock.monotonic()
        self._up: Snapshot | None = None
        self._matchers = Matchers((), strip=False)
        self._output: Output | None = None
        self._staged: Staged | None = None

    def check_cancelled(self) -> None:
        """Raise if the action must not go on. A stop is not cancelled by a kill: both want the server down."""
        if self._request.action.boots:
            self._watch.look()

    def look_while_waiting(self) -> None:
        """The same while nothing is done yet that would have to be finished: a signal ends it, too."""
        if self._node.interrupted():
            raise InterruptedBySignal(f"Cannot {self._request.action.value} server {self._uuid}: a signal ended its wait")
        self.check_cancelled()

    def prepare(self, snapshot: Snapshot | None, check_cancelled: CheckCancelled, *, again: bool = False, data: bool = True) -> Boot:
        """Check what can be known of the boot before anything is touched; see `prepare`."""
        boot = prepare(self._request, self._node, snapshot, check_cancelled, self._progress, again=again, data=data)
        fetched_at = self._node.sources.fetched_at(self._uuid)
        self._known_at = self._node.clock.monotonic() if fetched_at is None else fetched_at
        return boot

    def take(self, boot: Boot | None) -> Ending:
        """Take the lock, do what the plan says, release, wait for readiness."""
        ending = self._hold(boot)
        while ending is None:
            with self._place.aside(self.look_while_waiting):
                await_same(self._request, self._node, self._uuid, self.look_while_waiting)
            self._place.refuse_over_budget(self._uuid)
            ending = self._hold(boot)
        self._place.end_boot()
        if self._up is not None and self._request.wait_for is not WaitFor.CONTAINER:
            self._progress.is_outdated = True
            self._await_ready(self._up)
        return ending

    def _hold(self, boot: Boot | None) -> Ending | None:
        """What is done under the lock; None if the same action is under way, and has nothing more to do under it."""
        with self._acquire() as lock:
            same = same_action(self._request, self._node, self._uuid)
            if same is not None and not same.outcome:
                return None
            self._progress.begin(self._node.journal)
            self.check_cancelled()
            if same is not None:
                self._progress.is_outdated = True
                if boot is not None:
                    seen = self._node.observe_held(self._uuid, lock.leftover)
                    self._up, self._matchers = (seen.snapshot if seen.live else None), Matchers.of(boot.definition.startup)
                return Outcome.UNCHANGED, "", done_before(same)
            ending = self._follow_plan(lock, boot)
            self._note_intent(ending)
        return ending

    def _acquire(self) -> PowerLock:
        self.look_while_waiting()
        began = self._node.clock.monotonic()
        try:
            lock = self._acquire_aside(began) if self._place.holds else self._try(float(self._request.wait_seconds))
        except LockTimeout as error:
            holder = error.facts.get("holder")
            self._progress.holder = holder.facts() if isinstance(holder, Holder) else None
            self._progress.waited_seconds = round(self._node.clock.monotonic() - began, 3)
            raise
        self._progress.waited_seconds = round(lock.waited_seconds, 3)
        return lock

    def _try(self, seconds: float, waited_before: float = 0.0) -> PowerLock:
        return self._node.acquire(self._request, self._uuid, seconds, self.look_while_waiting, waited_before)

    def _acquire_aside(self, began: float) -> PowerLock:
        """Take the lock without keeping others from their slots: tried once, then waited for outside of them, then tried once again."""
        deadline = began + self._request.wait_seconds
        waited = 0.0
        while True:
            try:
                return self._try(0.0, waited)
            except LockTimeout:
                if self._node.clock.monotonic() >= deadline:
                    raise
            with self._place.aside(self.look_while_waiting):
                self._await_free(deadline)
            self._place.refuse_over_budget(self._uuid)
            # Others have begun meanwhile.
            self._place.begin_apart(self._uuid, self.look_while_waiting)
            waited = self._node.clock.monotonic() - began

    def _await_free(self, deadline: float) -> None:
        """Wait until nobody is seen to hold the lock. It is not taken: it would be held while waiting for a slot."""
        clock = self._node.clock
        while True:
            self.look_while_waiting()
            clock.sleep(min(_LOOK_SECONDS, max(deadline - clock.monotonic(), 0.0)))
            if clock.monotonic() >= deadline or self._node.locks.holder(self._uuid) is None:
                return

    def _follow_plan(self, lock: PowerLock, boot: Boot | None) -> Ending:
        fenced = recover_unfinished(self._node, lock)
        self._progress.changed = self._progress.changed or fenced
        seen = as_chosen_by_state(self._request, self._node, self._uuid, self._node.observe_held(self._uuid, lock.leftover))
        # What was seen before a wait for the lock is not what this action found.
        self._progress.state_before = None
        self._progress.saw(seen)
        if not fell_since(self._request, self._node, self._uuid, seen.state):
            require_selected(self._request, self._uuid, seen.state)
        require_meant_up(self._request, self._node, self._uuid)
        chosen = plan(self._request.action, seen.state)
        self._progress.plan = chosen.steps
        if not chosen.steps:
            if boot is not None and seen.live:
                # Somebody else started it; whether it is ready is still to be waited for.
                self._up, self._matchers = seen.snapshot, Matchers.of(boot.definition.startup)
            return (Outcome.DONE, "", "an unfinished start was undone") if fenced else (Outcome.UNCHANGED, "", chosen.reason)
        if self._node.clock.monotonic() - self._known_at > _STALE_SECONDS:
            refuse_beside_wings(self._request, self._node, self._progress)
            boot = None if boot is None else self.prepare(seen.snapshot, self.check_cancelled, again=True)
        try:
            if boot is not None:
                self._stage(lock, boot, seen.snapshot)
            began = self._node.clock.monotonic()
            if PlanStep.AWAIT_EXIT in chosen.steps and seen.snapshot is not None and seen.leftover is not None:
                # That may take minutes, and others can boot meanwhile.
                self._place.end_boot()
                self._await_exit(lock, seen.snapshot.run, seen.leftover)
            if PlanStep.STOP in chosen.steps and seen.snapshot is not None:
                self._stop(lock, seen.snapshot)
            if boot is not None:
                self._await_boot(lock)
                if self._node.clock.monotonic() - began > _STALE_SECONDS:
                    boot = self._refresh(lock, boot)
                self._boot(lock, boot)
        except PowerError:
            self._unstage()
            raise
        return Outcome.DONE, "", ""

    def _await_boot(self, lock: PowerLock) -> None:
        """A restart keeps its lock while it waits for its turn to boot."""
        if not self._place.may_boot():
            lock.enter(Phase.QUEUE)
            self._progress.enter(Phase.QUEUE)
            self._place.begin_boot(self.check_cancelled)

    def _stage(self, lock: PowerLock, boot: Boot, snapshot: Snapshot | None) -> None:
        """Have image and container before anything is stopped for them."""
        self._progress.enter(Phase.PULL)
        lock.enter(Phase.PULL)
        if pull(self._node, boot.definition, self.check_cancelled):
            self._progress.alter()
        kept = self._staged

        def make() -> bool:
            self._staged = stage(self._request, self._node, boot, snapshot, self._progress, kept)
            # What waits under another name is no change yet: it may be given up again.
            return False

        settings = self._node.settings
        # The engine creates no container for a data directory that is not there.
        run_step("volume", lambda: boot.volume.create(settings.uid, settings.gid), self._progress)
        self.check_cancelled()
        run_step("container", make, self._progress)
        if kept is not None and kept != self._staged:
            unstage(self._node, kept)

    def _unstage(self) -> None:
        if self._staged is not None:
            unstage(self._node, self._staged)

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
        self.check_cancelled()
        stop_run(self._request, self._node, lock, snapshot, self.check_cancelled, self._progress)
        lock.settle()
        with contextlib.suppress(LockUnavailable):
            if self._progress.stop is not None and self._watch.killed:
                # Somebody's SIGKILL came before its own end.
                self._progress.stop = dataclasses.replace(self._progress.stop, forced=True)

    def _boot(self, lock: PowerLock, boot: Boot) -> None:
        staged = self._staged
        if staged is None:
            raise PrebootFailed(f"Cannot boot server {self._uuid}: no container was prepared for it")
        lock.enter(Phase.PREBOOT)
        self._progress.enter(Phase.PREBOOT)
        self.check_cancelled()
        preboot(self._request, self._node, boot, staged, self.check_cancelled, self._progress)
        # In place, it is no longer one to give up.
        self._staged = None
        self._matchers = Matchers.of(boot.definition.startup)
        self._progress.warn(*(f"server {self._uuid}: {warning}" for warning in self._matchers.warnings))
        attach = self._request.wait_for is not WaitFor.CONTAINER and bool(self._matchers)
        self._up, self._output = start_container(
            self._node,
            lock,
            staged.id,
            self._watch,
            self._progress,
            attach=attach,
            last_check=lambda: refuse_moved_mounts(staged, self._uuid),
        )
        self._node.journal.runs.record(self._uuid, self._up.run, matchers=bool(self._matchers))
        self._progress.saw(self._node.seen_as(self._uuid, self._up))

    def _refresh(self, lock: PowerLock, boot: Boot) -> Boot:
        """Fetch the definition again after a stop that took a while.

        Suspended or gone meanwhile ends the boot, a definition that cannot boot or be had does not.
        """
        try:
            snapshot = self._node.engine.inspect(self._uuid)
            # What is in the data directory is pre-boot's to look at, in a moment: whatever is wrong there, the definition is not.
            fresh = self.prepare(snapshot, self.check_cancelled, again=True, data=False)
            self._stage(lock, fresh, snapshot)
        except PowerError as error:
            if isinstance(error, (Suspended, ServerNotFound)) or error.cancels:
                raise
            self._progress.warn(f"server {self._uuid}: its definition as it is after the stop cannot be used ({error}); the one in hand is")
            return boot
        return fresh

    def _note_intent(self, ending: Ending) -> None:
        request = self._request
        self._node.journal.intents.set(
            self._progress.server,
            Intent(request.action.boots, request.operation, request.origin, timestamp(self._node.clock.now())),
            # Whoever had it so after this was asked for did it, and not this.
            keep_since=request.requested_at if ending[0] is Outcome.UNCHANGED else None,
        )

    def _await_ready(self, up: Snapshot) -> None:
        try:
            await_ready(self._request, self._node, self._watch, up, self._matchers, self._output, self._progress)
        finally:
            if self._output is not None:
                self._output.close()


def require_selected(request: Request, uuid: str, state: PowerState) -> None:
    """Raise `NotSelected` if the server is in none of the states that the request is meant for."""
    if request.only is not None and state not in request.only:
        if not request.only:
            raise NotSelected(f"Cannot {request.action.value} server {uuid}: only names no state, so that no server is meant")
        wanted = ", ".join(each.value for each in PowerState if each in request.only)
        raise NotSelected(f"Cannot {request.action.value} server {uuid}: it is {state.value}, and only {wanted} is asked for")


def require_meant_up(request: Request, node: Node, uuid: str) -> None:
    """Raise `NotSelected` if the request is for servers that are meant to be up, and this one is not, or is not any more.

    Certain under the lock alone, where whoever stops or kills the server writes what it is meant to be.
    """
    if request.meant_up is None:
        return
    intent, verb = node.journal.intents.of(uuid), request.action.value
    if intent is not None and not intent.up:
        who = f" by {intent.origin}" if intent.origin else ""
        since = "was meant to be up, and is not any more" if uuid in request.meant_up else "is meant to be down"
        raise NotSelected(f"Cannot {verb} server {uuid}: it {since}{who}")
    # Where it was meant to be up when the request was made, the journal has been lost since.
    if intent is None and uuid not in request.meant_up:
        raise NotSelected(f"Cannot {verb} server {uuid}: no action of this node's journal meant it to be up")


def refuse_beside_wings(request: Request, node: Node, progress: Progress) -> None:
    """Wings takes a stop from outside for a crash and starts the server again, so only a kill goes on beside it, with a warning."""
    pid = None if node.settings.allow_wings else node.wings_pid()
    if pid is None:
        return
    if request.action is PowerAction.KILL:
        progress.warn(f"server {progress.server.uuid}: Wings (pid {pid}) is alive; it may take the kill for a crash and start it again")
        return
    raise WingsActive(
        f"Cannot {request.action.value} server {request.server} beside Wings (pid {pid}): Wings would take it for a crash; "
        "act through Wings' own HTTP endpoint (api_url), or stop Wings for good (system.allow_wings: true overrides)",
        pid=pid,
    )
