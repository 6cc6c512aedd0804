# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action under a server's lock: plan from what is found there, and carry the plan out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...journal.intents import Intent
from ...journal.operations import OperationRow
from ...locking.holder import EndedHere
from ...locking.lock import PowerLock
from ...model.clock import timestamp
from ...model.plan import plan
from ...model.result import Outcome
from ..node.answered import date_anew
from ..node.context import STALE_SECONDS, ActionContext
from ..node.ends import NO_RUN, keep_unwritten_stop, warn_of_unwritten_start
from ..node.idempotency import await_same, done_before, same_action
from ..node.node import Observed
from ..node.progress import Ending
from ..node.recovery import recover_unfinished
from .acquire import acquire
from .checked import Checked, require_chosen_by_outdated
from .look import look_locked, refuse_beside_wings
from .stop import end_run

if TYPE_CHECKING:
    from ..boot.container import Boot
    from ..boot.startup import AwaitedRun


@dataclass(frozen=True)
class TurnEnd:
    """How a turn ended under the lock, and the run that is to become ready after it, if there is one."""

    ending: Ending
    awaited: AwaitedRun | None = None


def take_turn(context: ActionContext, checked: Checked) -> TurnEnd:
    """Take the lock, do what the plan says, and release it. The same action under way is awaited without the lock."""
    while True:
        turn = _hold(context, checked)
        if turn is not None:
            return turn
        with context.slot.aside(context.check_waiting):
            await_same(context)
        context.slot.refuse_over_budget(context.uuid)


def _hold(context: ActionContext, checked: Checked) -> TurnEnd | None:
    """Do what is done under the lock; return None if the same action is under way, and has nothing more to do under it."""
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
    """Return the run that somebody else started, if a boot finds one: whether it is ready is still to be waited for."""
    if boot is None or seen is None or seen.snapshot is None or not seen.live:
        return None
    from ..boot.startup import AwaitedRun, matchers_of

    return AwaitedRun(seen.snapshot, matchers_of(boot.definition))


def _follow_plan(context: ActionContext, lock: PowerLock, checked: Checked) -> TurnEnd:
    """Settle what the last holder left, look, plan, and do it. What has been known for too long is asked again."""
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
        from .booted import boot_server

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
        # Whoever had it so after this was asked for did it, and not this.
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
