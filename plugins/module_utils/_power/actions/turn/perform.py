# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One action on one server, from the request to its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...host.system_log import announce
from ...journal.operations import not_durable
from ...model.errors import EngineUnreachable, FailureBudget, InterruptedBySignal, NotSelected, PowerError
from ...model.request import PowerAction, Request, WaitFor
from ...model.result import Outcome, Result
from ...model.server import Server
from ..node.context import ActionContext, same_action
from ..node.limiter import Slot
from ..node.node import Node
from ..node.progress import Ending, Progress, fault_of_ours
from .locked import Checked, await_stagger, check, take_turn
from .look import identify, look_again

#: Not selected, or too late: no trace on the node, unless seen under the lock.
UNREPORTED_CODES = (NotSelected.code, FailureBudget.code)


def _record_ending(context: ActionContext, ending: Ending) -> Result:
    """Write the ending into journal and system log, durably, and return the result."""
    request, node, progress = context.request, context.node, context.progress
    # Also if the list shows that the server left this node, and nothing else is kept.
    node.sources.keep_list()
    result = progress.result(*ending)
    is_repeated = _is_repeated(result, request)
    comes_later = result.code == InterruptedBySignal.code and node.caller.handed_on()
    is_recorded = progress.begun or not (is_repeated or comes_later or result.code in UNREPORTED_CODES)
    if is_recorded and not node.journal.operations.end(result, origin=request.origin, reason=request.reason, with_event=not is_repeated):
        progress.is_durable = False
    fault = node.journal.sync()
    if fault:
        progress.is_durable = False
        result = replace(result, warnings=(*result.warnings, fault))
    if not progress.is_durable:
        result = not_durable(result)
    if is_recorded and not is_repeated:
        announce(result, request)
    return result


def _is_repeated(result: Result, request: Request) -> bool:
    """Return True if the supervisor's last try failed for the same reason; it repeats such tries."""
    ended_run = request.ended_run
    return ended_run is not None and bool(result.code) and result.code == ended_run.code and not result.changed


def perform(request: Request, node: Node, server: Server | None = None, slot: Slot | None = None) -> Result:
    """Perform one power action on one server, in its ``slot``. Raises no `PowerError`: the result has it."""
    progress = Progress(request, node.clock, server)
    context = ActionContext(request, node, progress, slot or Slot())
    stages = _act
    if request.action is PowerAction.LIMIT:
        from .limits import foresee, set_limits

        stages = foresee if request.check else set_limits
    elif request.check:
        from .no_change import dry_run

        stages = dry_run
    ending = _ending_of(context, stages)
    # Hourly calls, or a Panel's, must not push useful rows out of the journal.
    is_idle = request.action is PowerAction.LIMIT and ending[0] is Outcome.UNCHANGED and not progress.begun
    return progress.result(*ending) if request.check or is_idle else _record_ending(context, ending)


def _ending_of(context: ActionContext, stages: Callable[[ActionContext], Ending]) -> Ending:
    """Return the ending of the stages. Look again at a server that may have changed since."""
    progress = context.progress
    try:
        ending = stages(context)
        # A start looks at what it started; no second look is needed.
        again = progress.begun and (progress.is_state_old or not context.request.action.boots) and not progress.is_engine_silent
    except PowerError as error:
        ending = progress.failure(error)
        # A state from before the wait for the lock is old.
        again = progress.begun or progress.state is not None
        if isinstance(error, EngineUnreachable) or isinstance(error.__cause__, EngineUnreachable):
            progress.state, again = None, False
    except Exception as error:
        ending = fault_of_ours(error)
        again = progress.begun
    if again:
        look_again(context)
    return ending


def _act(context: ActionContext) -> Ending:
    identify(context)
    same = same_action(context)
    if same is not None and same.outcome:
        from .no_change import found_done

        return found_done(context, same)
    if context.request.action is PowerAction.KILL:
        from .kill import kill

        return kill(context)
    checked = check(context)
    if checked.is_up:
        from .no_change import leave_up

        return leave_up(context, checked.seen)
    if context.progress.revert is not None:
        from .proving import prove

        return prove(context, lambda context: _take_turn(context, checked))
    return _take_turn(context, checked)


def _take_turn(context: ActionContext, checked: Checked) -> Ending:
    """Do the action, and wait until the server is ready."""
    policy = context.request.players
    if policy is None:
        await_stagger(context, checked)
        ending, awaited = take_turn(context, checked)
    else:
        from .player_wait import take_turn_after_players

        ending, awaited = take_turn_after_players(context, policy, checked)
    context.slot.end_boot()
    if awaited is not None:
        context.progress.run = awaited.snapshot.run
        if context.request.wait_for is not WaitFor.CONTAINER:
            from ..boot.await_ready import await_ready

            await_ready(context, awaited)
    return ending
