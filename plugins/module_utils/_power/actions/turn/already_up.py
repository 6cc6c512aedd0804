# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions whose work is done already: nothing is repeated, but a boot still waits as ``wait_for`` asks."""

from __future__ import annotations

from ...journal.intents import Intent
from ...journal.operations import OperationRow
from ...model.clock import timestamp
from ...model.plan import plan
from ...model.request import WaitFor
from ...model.result import Outcome
from ..boot.await_ready import await_ready
from ..boot.startup import AwaitedRun, matchers_of
from ..node.context import ActionContext, date_anew, done_before
from ..node.node import Observed
from ..node.progress import Ending
from ..node.run_end import warn_of_unwritten_start
from .look import look_again


def found_up(context: ActionContext, seen: Observed) -> Ending:
    """End a start of a server that is up: it needs no definition and no lock."""
    request = context.request
    date_anew(context, seen)
    if request.answers is None:
        intent = Intent(True, request.operation, request.origin, timestamp(request.requested_at))
        if not context.node.journal.intents.set(context.progress.server, intent, only_if_newer=context.node.clock.now()):
            warn_of_unwritten_start(context.progress)
    _await_found(context, seen)
    return Outcome.UNCHANGED, "", plan(request.action, seen.state).reason


def found_done(context: ActionContext, same: OperationRow) -> Ending:
    """End an action that was done under the same key; a signal may have ended that action's wait for ready."""
    look_again(context)
    if context.request.action.boots:
        seen = context.node.observe(context.uuid)
        if seen.is_settled:
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
