# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of an action, its lock, and the steps of its plan under the lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from ...locking.holder import Holder
from ...locking.lock import PowerLock
from ...model.cancellation import CheckCancelled, Deadline, wait_until
from ...model.errors import LockTimeout
from ...model.news import LOCKED
from ...model.plan import plan
from ...model.records import dataclass
from ...model.request import OnFailedStart, PowerAction
from ...model.result import HookReport, Outcome, PlanStep
from ...model.server import Snapshot
from ..node.context import STALE_SECONDS, ActionContext, await_same, date_anew, done_before, refuse_frozen, same_action
from ..node.node import Observed
from ..node.progress import Ending
from ..node.run_end import NO_RUN, write_intent
from .look import check_wings, look, look_locked
from .stop import end_run

if TYPE_CHECKING:
    from ...definitions.revert_policy import RevertPolicy
    from ..boot.container import Boot
    from ..boot.startup import AwaitedRun


_LOOK_SECONDS = 0.05
_LONG_SECONDS = 1.0


def acquire(context: ActionContext) -> PowerLock:
    """Take the lock within ``wait_seconds``. Raises `LockTimeout`, `LockUnavailable`, and as `check_waiting`."""
    context.check_waiting()
    progress, waiting = context.progress, _Waiting(context)
    began_at = progress.seconds
    try:
        lock = waiting.acquire_aside() if context.slot.holds else waiting.acquire(float(context.request.wait_seconds))
    except LockTimeout as error:
        holder = holder_of(error)
        progress.holder = None if holder is None else holder.facts()
        progress.waited_seconds = round(progress.seconds - began_at, 3)
        raise
    finally:
        if waiting.is_long:
            progress.note(LOCKED, began_at)
    progress.waited_seconds = round(lock.waited_seconds, 3)
    return lock


def holder_of(error: LockTimeout) -> Holder | None:
    holder = error.facts.get("holder")
    return holder if isinstance(holder, Holder) else None


class _Waiting:
    """A wait for the lock, reported once if it is long."""

    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._long = Deadline.after(context.node.clock, _LONG_SECONDS)
        self.is_long = False

    def acquire(self, seconds: float, waited_before: float = 0.0) -> PowerLock:
        context = self._context
        return context.node.acquire(context.request, context.uuid, seconds, self._check, waited_before)

    def acquire_aside(self) -> PowerLock:
        """Take the lock without blocking the slots of others: try once, wait outside the slots, and try once more."""
        context, slot, clock = self._context, self._context.slot, self._context.node.clock
        deadline = Deadline.after(clock, context.request.wait_seconds)
        began, waited = clock.monotonic(), 0.0
        while True:
            try:
                return self.acquire(0.0, waited)
            except LockTimeout:
                if deadline.is_over:
                    raise
            with slot.aside(context.uuid, self._check):
                # Without the lock: a wait for a slot must not hold it.
                self._await_free(deadline)
            slot.await_stagger(context.uuid, self._check)
            waited = clock.monotonic() - began

    def _await_free(self, deadline: Deadline) -> None:
        # A new holder shows only after a moment, once it wrote its record.
        self._check()
        deadline.pause(_LOOK_SECONDS)
        locks, uuid = self._context.node.locks, self._context.uuid
        wait_until(lambda: locks.holder(uuid) is None, deadline, self._check, every=_LOOK_SECONDS)

    def _check(self) -> None:
        self._context.check_waiting()
        if self._long.is_over and not self.is_long:
            self.is_long = True
            self._context.report(LOCKED)


@dataclass(frozen=True)
class Checked:
    """Knowledge before a turn, since ``known_at`` (monotonic). ``is_up``: a start found the server up, and needs no turn."""

    seen: Observed
    known_at: float
    boot: Boot | None = None
    is_up: bool = False


def check(context: ActionContext) -> Checked:
    """Raise the error of an action that is not allowed, without touching the server; wait for a start's slot before its lock."""
    action, slot, clock = context.request.action, context.slot, context.node.clock
    check_wings(context)
    known_at, boot = clock.monotonic(), None
    seen = look(context)
    if action is PowerAction.START:
        if not seen.is_steady and not slot.may_boot():
            # First, so that lock and definition are fresh at the boot.
            slot.begin_boot(context.check_waiting)
            seen = look(context)
        if seen.is_steady:
            slot.end_boot()
            return Checked(seen, known_at, is_up=True)
    if action.boots and context.request.proof is None:
        # A stop needs no boot code. A boot imports it all before any change: later the files may be gone, or of another version.
        from ..boot.await_ready import await_ready  # noqa: F401
        from ..boot.prepare import prepare
        from .server_boot import boot_server  # noqa: F401

        require_chosen_by_outdated(context, seen.snapshot, context.check_waiting)
        refuse_frozen(context)
        boot = prepare(context, seen.snapshot)
        context.progress.revert = revert_policy_of(context, boot)
        fetched_at = context.node.sources.fetched_at(context.uuid)
        known_at = clock.monotonic() if fetched_at is None else fetched_at
    hooks_of(context, plan(action, seen.state).steps, boot)
    return Checked(seen, known_at, boot)


def revert_policy_of(context: ActionContext, boot: Boot) -> RevertPolicy | None:
    """Return what to do after a failed start; None: leave it, as after a start by the node itself. Raises `RevertUnavailable`."""
    request, settings = context.request, context.node.settings
    said = (request.on_failed_start, boot.definition.on_failed_start, *settings.revert_rules)
    is_asked = any(said) or settings.revert_on_failed_start != OnFailedStart.LEAVE.value
    if not is_asked or request.ended_run is not None or request.ignores_freeze:
        return None
    from ...definitions.revert_policy import revert_policy

    policy = revert_policy(settings, boot.definition, request)
    if policy.on_failed_start is OnFailedStart.LEAVE:
        return None
    from .proving import as_possible

    return as_possible(context, boot.definition, policy)


def hooks_of(context: ActionContext, steps: tuple[PlanStep, ...], boot: Boot | None) -> tuple[HookReport, ...]:
    """Return the hooks that belong to these steps. Raises `HookUnavailable` if one cannot run."""
    if not context.node.settings.hooks:
        return ()
    from .hooks import check_hooks

    return check_hooks(context, steps, None if boot is None else boot.definition)


def require_chosen_by_outdated(
    context: ActionContext, snapshot: Snapshot | None, check_cancelled: CheckCancelled, *, again: bool = False
) -> None:
    """Raise `NotSelected` if the request selects only outdated servers, and this is none; if unknown, the error of its source.

    ``again`` asks the source once more. ``check_cancelled`` runs during long work; under the lock signals do not count.
    """
    if context.request.outdated:
        from ..boot.outdated import require_outdated

        require_outdated(context, snapshot, check_cancelled, again=again)


def await_stagger(context: ActionContext, checked: Checked) -> None:
    """Wait for the stagger. Refused actions, and those without work, delay no others."""
    seen = checked.seen
    if seen.holder is not None or plan(context.request.action, seen.state).steps:
        context.slot.await_stagger(context.request.server, context.check_waiting)


#: The ending of a turn, and the run that must become ready after it, if any.
TurnEnd = tuple[Ending, Optional["AwaitedRun"]]


def take_turn(context: ActionContext, checked: Checked) -> TurnEnd:
    """Take the lock, follow the plan, and release. Wait without the lock if the same action is running."""
    while True:
        turn = _hold(context, checked)
        if turn is not None:
            return turn
        with context.slot.aside(context.uuid, context.check_waiting):
            await_same(context)


def _hold(context: ActionContext, checked: Checked) -> TurnEnd | None:
    """Do the work under the lock; return None if the same action is running."""
    with acquire(context) as lock:
        # Without an outcome it still runs, outside the lock.
        same = same_action(context)
        if same is not None and not same.outcome:
            return None
        if same is None:
            context.progress.last_look()
        context.progress.begin(context.node.journal)
        context.check_cancelled()
        if same is not None:
            context.progress.is_state_old = True
            seen = None if checked.boot is None else context.node.observe_held(context.uuid, lock.leftover)
            return (Outcome.UNCHANGED, "", done_before(same)), _found_run(checked.boot, seen)
        ending, awaited = _follow_plan(context, lock, checked)
        _note_intent(context, lock, ending)
        if context.node.settings.hooks and not context.request.action.boots:
            # After the intent: should this process die now, the stop is whole.
            from .hooks import run_hooks

            run_hooks(context, lock, None)
    return ending, awaited


def _found_run(boot: Boot | None, seen: Observed | None) -> AwaitedRun | None:
    """Return the run of another starter that a boot finds; its readiness is still unknown."""
    if boot is None or seen is None or seen.snapshot is None or not seen.live:
        return None
    from ..boot.startup import AwaitedRun, matchers_of

    return AwaitedRun(seen.snapshot, matchers_of(boot.definition))


def _follow_plan(context: ActionContext, lock: PowerLock, checked: Checked) -> TurnEnd:
    """Resolve unfinished work of others, look again, and do the steps that the state now needs.

    Knowledge older than a second is read again before the first step: others may have acted during the wait for the lock.
    """
    boot = checked.boot
    seen, fenced = look_locked(context, lock)
    chosen = plan(context.request.action, seen.state)
    context.progress.plan = chosen.steps
    if not chosen.steps:
        date_anew(context, seen)
        # To undo it was a change, though no step was needed.
        undone = Outcome.DONE, "", "an unfinished start was undone"
        return undone if fenced else (Outcome.UNCHANGED, "", chosen.reason), _found_run(boot, seen)
    if context.request.action.boots:
        refuse_frozen(context)
    is_stale = context.node.clock.monotonic() - checked.known_at > STALE_SECONDS
    require_chosen_by_outdated(context, seen.snapshot, context.check_cancelled, again=is_stale)
    if is_stale:
        check_wings(context)
        if boot is not None:
            from ..boot.prepare import prepare

            boot = prepare(context, seen.snapshot, again=True)
    hooks_of(context, chosen.steps, boot)
    if context.request.proof is not None and context.request.action.boots:
        from .revert import revert

        return (Outcome.DONE, "", ""), revert(context, lock, context.request.proof, seen, chosen.steps)
    if boot is None:
        return (Outcome.DONE, "", end_run(context, lock, seen, chosen.steps)), None
    from .server_boot import boot_server

    return (Outcome.DONE, "", ""), boot_server(context, lock, boot, seen, chosen.steps)


def _note_intent(context: ActionContext, lock: PowerLock, ending: Ending) -> None:
    request, progress = context.request, context.progress
    should_be_up = request.action.traits.should_be_up
    # A revert writes the intent of the action that it ends, and a stop of the node leaves it.
    is_wanted = request.ended_run is None and request.stop_by is None and (request.proof is None or not request.action.boots)
    if should_be_up is not None and is_wanted:
        run = progress.stopped_run or progress.seen_run or NO_RUN
        # A state that others caused after the request is not this action's work.
        keep_since = request.requested_at if ending[0] is Outcome.UNCHANGED else None
        write_intent(context, lock, up=should_be_up, run=run, keep_since=keep_since)
