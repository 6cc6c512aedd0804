# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions that change nothing at the engine: check mode, a start of a server that is up, and an action done under the same key."""

from __future__ import annotations

from ...journal.journal import Intent
from ...journal.operations import OperationRow
from ...model.clock import timestamp
from ...model.plan import plan, planned_state
from ...model.request import PowerAction, WaitFor
from ...model.result import Outcome, PlanStep, TimeoutSource
from ..boot.await_ready import await_ready
from ..boot.prepare import prepare
from ..boot.startup import AwaitedRun, matchers_of
from ..node.context import ActionContext, date_anew, done_before, refuse_frozen, same_action
from ..node.node import Observed
from ..node.progress import Ending
from ..node.run_end import warn_of_unwritten_start
from .locked import hooks_of, require_chosen_by_outdated, revert_policy_of
from .look import check_wings, identify, look, look_again


def leave_up(context: ActionContext, seen: Observed) -> Ending:
    """Write that a server that is up should be up, and wait until it is ready. This needs no definition and no lock."""
    request = context.request
    date_anew(context, seen)
    if request.ended_run is None:
        intent = Intent(True, request.operation, request.origin, timestamp(request.requested_at))
        if not context.node.journal.intents.set(context.progress.server, intent, only_if_newer=context.node.clock.now()):
            warn_of_unwritten_start(context)
    _await_found(context, seen)
    return Outcome.UNCHANGED, "", plan(request.action, seen.state).reason


def found_done(context: ActionContext, same: OperationRow) -> Ending:
    """End an action that was done under the same key; a signal may have ended that action's wait for ready."""
    look_again(context)
    if context.request.action.boots and not context.request.check:
        seen = context.node.observe(context.uuid)
        if seen.is_steady:
            _await_found(context, seen)
    return Outcome.UNCHANGED, "", done_before(same)


def _await_found(context: ActionContext, seen: Observed) -> None:
    if seen.snapshot is None:
        return
    context.progress.run = seen.snapshot.run
    if context.request.wait_for is not WaitFor.CONTAINER:
        definition = context.node.sources.definition_for_stop(context.uuid)
        await_ready(context, AwaitedRun(seen.snapshot, matchers_of(definition)))
        look_again(context)


_SOURCES = {
    TimeoutSource.TASK: "the task",
    TimeoutSource.CONTAINER: "the running container",
    TimeoutSource.DEFINITION: "the definition",
    TimeoutSource.SETTINGS: "the node's system.stop_timeout",
}


def dry_run(context: ActionContext) -> Ending:
    """Plan the action. A held lock is reported, without a wait."""
    action, progress = context.request.action, context.progress
    identify(context)
    same = same_action(context)
    if same is not None and same.outcome:
        return found_done(context, same)
    check_wings(context)
    seen = look(context)
    chosen = plan(action, seen.state)
    if action is PowerAction.START and seen.is_steady:
        return Outcome.UNCHANGED, "", chosen.reason
    require_chosen_by_outdated(context, seen.snapshot, context.check_waiting)
    boot = None
    if action.boots:
        refuse_frozen(context)
        boot = prepare(context, seen.snapshot)
        revert_policy_of(context, boot)
    progress.hooks = hooks_of(context, chosen.steps, boot)
    policy = context.request.players
    if seen.snapshot is not None and PlanStep.STOP in chosen.steps:
        from .stop import graceful_stop

        if policy is not None:
            from .player_wait import look_at_players

            look_at_players(context, policy, seen.snapshot)
        stop = graceful_stop(context.node, context.uuid, seen.snapshot, context.request.stop_timeout)
        context.warn(*stop.warnings)
        progress.stop_timeout = stop.timeout
    if seen.holder is not None:
        progress.holder = seen.holder.facts()
    progress.plan = chosen.steps
    progress.changed = bool(chosen.steps)
    has_matchers = boot is not None and bool(boot.definition.startup.done)
    progress.state_planned = planned_state(chosen.steps, seen.state, has_matchers=has_matchers)
    if not chosen.steps:
        return Outcome.UNCHANGED, "", chosen.reason
    timeout = progress.stop_timeout
    return Outcome.DONE, "", "" if timeout is None else f"stop timeout {timeout.seconds} s, from {_SOURCES[timeout.source]}"
