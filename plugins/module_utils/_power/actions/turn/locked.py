# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action under its server's lock: checks, then each step of its plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...journal.journal import Intent
from ...journal.operations import OperationRow
from ...locking.holder import EndedHere, Holder
from ...locking.lock import PowerLock
from ...model.cancellation import CheckCancelled, Deadline, wait_until
from ...model.clock import timestamp
from ...model.errors import LockTimeout
from ...model.news import LOCKED
from ...model.plan import plan
from ...model.request import PowerAction
from ...model.result import Outcome
from ...model.server import Snapshot
from ..node.context import STALE_SECONDS, ActionContext, await_same, date_anew, done_before, same_action
from ..node.node import Observed
from ..node.progress import Ending
from ..node.run_end import NO_RUN, keep_unwritten_stop, recover_unfinished, warn_of_unwritten_start
from .look import look, look_locked, refuse_beside_wings
from .stop import end_run

if TYPE_CHECKING:
    from ..boot.container import Boot
    from ..boot.startup import AwaitedRun


_LOOK_SECONDS = 0.05
_LONG_SECONDS = 1.0


def acquire(context: ActionContext) -> PowerLock:
    """Take the lock within ``wait_seconds``. Raises `LockTimeout`, `LockUnavailable`, and as `check_waiting`."""
    context.check_waiting()
    progress, clock = context.progress, context.node.clock
    waiting = _Waiting(context)
    began, taken_up = clock.monotonic(), progress.seconds
    try:
        lock = waiting.acquire_aside(began) if context.slot.holds else waiting.acquire(float(context.request.wait_seconds))
    except LockTimeout as error:
        holder = error.facts.get("holder")
        progress.holder = holder.facts() if isinstance(holder, Holder) else None
        progress.waited_seconds = round(clock.monotonic() - began, 3)
        raise
    finally:
        if waiting.is_long:
            progress.note(LOCKED, taken_up)
    progress.waited_seconds = round(lock.waited_seconds, 3)
    return lock


class _Waiting:
    """A wait for the lock, reported once if it is long."""

    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._long = Deadline.after(context.node.clock, _LONG_SECONDS)
        self.is_long = False

    def acquire(self, seconds: float, waited_before: float = 0.0) -> PowerLock:
        context = self._context
        return context.node.acquire(context.request, context.uuid, seconds, self._check, waited_before)

    def acquire_aside(self, began: float) -> PowerLock:
        """Take the lock without blocking the slots of others: try once, wait outside the slots, and try once more."""
        context, slot, clock = self._context, self._context.slot, self._context.node.clock
        deadline = Deadline(clock, began + context.request.wait_seconds)
        waited = 0.0
        while True:
            try:
                return self.acquire(0.0, waited)
            except LockTimeout:
                if deadline.is_over:
                    raise
            with slot.aside(self._check):
                # Without the lock: a wait for a slot must not hold it.
                self._await_free(deadline)
            slot.refuse_over_budget(context.uuid)
            slot.begin_apart(context.uuid, self._check)
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
            self._context.tell(LOCKED)


@dataclass(frozen=True)
class Checked:
    """Knowledge before a turn, since ``known_at`` (monotonic). ``is_up``: a start found the server up, and needs no turn."""

    seen: Observed
    known_at: float
    boot: Boot | None = None
    is_up: bool = False


def check(context: ActionContext) -> Checked:
    """Refuse what is not allowed, without touching the server; wait for a start's slot before its lock."""
    action, slot, clock = context.request.action, context.slot, context.node.clock
    refuse_beside_wings(context)
    known_at, boot = clock.monotonic(), None
    seen = look(context)
    if action is PowerAction.START:
        if not seen.is_settled and not slot.may_boot():
            # First, so that lock and definition are fresh at the boot.
            slot.begin_boot(context.check_waiting)
            seen = look(context)
        if seen.is_settled:
            slot.end_boot()
            return Checked(seen, known_at, is_up=True)
    if action.boots:
        # A stop needs no boot code. A boot imports it all before any change, because files may vanish later.
        from ..boot.prepare import prepare

        require_chosen_by_outdated(context, seen.snapshot, context.check_waiting)
        boot = prepare(context, seen.snapshot)
        fetched_at = context.node.sources.fetched_at(context.uuid)
        known_at = clock.monotonic() if fetched_at is None else fetched_at
    return Checked(seen, known_at, boot)


def require_chosen_by_outdated(
    context: ActionContext, snapshot: Snapshot | None, check_cancelled: CheckCancelled, *, again: bool = False
) -> None:
    """Raise `NotSelected` if the request selects only outdated servers, and this is none; if unknown, the error of its source.

    ``again`` asks the source once more. ``check_cancelled`` runs during long work; under the lock signals do not count.
    """
    if context.request.outdated:
        from ..boot.outdated import require_outdated

        require_outdated(context, snapshot, check_cancelled, again=again)


def begin_apart(context: ActionContext, checked: Checked) -> None:
    """Wait for the stagger. Refused actions, and those without work, delay no others. After a long wait, check again."""
    seen = checked.seen
    if seen.holder is not None or plan(context.request.action, seen.state).steps:
        context.slot.begin_apart(context.request.server, context.check_waiting)


@dataclass(frozen=True)
class TurnEnd:
    """The ending of a turn, and the run that must become ready after it, if any."""

    ending: Ending
    awaited: AwaitedRun | None = None


def take_turn(context: ActionContext, checked: Checked) -> TurnEnd:
    """Take the lock, follow the plan, and release. Wait without the lock if the same action is running."""
    while True:
        turn = _hold(context, checked)
        if turn is not None:
            return turn
        with context.slot.aside(context.check_waiting):
            await_same(context)
        context.slot.refuse_over_budget(context.uuid)


def _hold(context: ActionContext, checked: Checked) -> TurnEnd | None:
    """Do the work under the lock; return None if the same action is running, and needs the lock no more."""
    with acquire(context) as lock:
        same = same_action(context)
        if same is not None and not same.outcome:
            return None
        if same is None:
            context.progress.last_look()
        context.progress.begin(context.node.journal)
        context.check_cancelled()
        if same is not None:
            return _found_done(context, lock, checked.boot, same)
        turn = _follow_plan(context, lock, checked)
        _note_intent(context, lock, turn.ending)
    return turn


def _found_done(context: ActionContext, lock: PowerLock, boot: Boot | None, same: OperationRow) -> TurnEnd:
    context.progress.is_outdated = True
    seen = None if boot is None else context.node.observe_held(context.uuid, lock.leftover)
    return TurnEnd((Outcome.UNCHANGED, "", done_before(same)), _found_up(boot, seen))


def _found_up(boot: Boot | None, seen: Observed | None) -> AwaitedRun | None:
    """Return the run of another starter that a boot finds; its readiness is still unknown."""
    if boot is None or seen is None or seen.snapshot is None or not seen.live:
        return None
    from ..boot.startup import AwaitedRun, matchers_of

    return AwaitedRun(seen.snapshot, matchers_of(boot.definition))


def _follow_plan(context: ActionContext, lock: PowerLock, checked: Checked) -> TurnEnd:
    node, progress, boot = context.node, context.progress, checked.boot
    fenced = recover_unfinished(node, progress.server, lock)
    progress.changed = progress.changed or fenced
    seen = look_locked(context, lock)
    chosen = plan(context.request.action, seen.state)
    progress.plan = chosen.steps
    if not chosen.steps:
        date_anew(context, seen)
        undone = Outcome.DONE, "", "an unfinished start was undone"
        return TurnEnd(undone if fenced else (Outcome.UNCHANGED, "", chosen.reason), _found_up(boot, seen))
    is_stale = node.clock.monotonic() - checked.known_at > STALE_SECONDS
    require_chosen_by_outdated(context, seen.snapshot, context.check_cancelled, again=is_stale)
    if is_stale:
        refuse_beside_wings(context)
        boot = None if boot is None else _prepared_again(context, seen)
    awaited = None
    if boot is None:
        end_run(context, lock, seen, chosen.steps)
    else:
        from .server_boot import boot_server

        awaited = boot_server(context, lock, boot, seen, chosen.steps)
    return TurnEnd((Outcome.DONE, "", ""), awaited)


def _prepared_again(context: ActionContext, seen: Observed) -> Boot:
    from ..boot.prepare import prepare

    return prepare(context, seen.snapshot, again=True)


def _note_intent(context: ActionContext, lock: PowerLock, ending: Ending) -> None:
    request, uuid = context.request, context.uuid
    meant_up = request.action.traits.meant_up
    if meant_up is None or request.answers is not None:
        return
    written = context.node.journal.intents.set(
        context.progress.server,
        Intent(meant_up, request.operation, request.origin, timestamp(context.node.clock.now())),
        # A state that others caused after the request is not this action's work.
        keep_since=request.requested_at if ending[0] is Outcome.UNCHANGED else None,
    )
    if written:
        return
    if meant_up:
        warn_of_unwritten_start(context.progress)
    else:
        ended_it = context.progress.ended is not None
        run = context.progress.ended or context.progress.seen_run or NO_RUN
        stop = EndedHere(run, context.verb, request.generation(uuid), request.origin, ended_it=ended_it)
        keep_unwritten_stop(context.progress, lock, stop)
