# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action asked for under a key is done once: who asks again under it, meanwhile or later, in whatever process, finds it done.

The key stands first in the reason, so the journal has it. Without a journal nobody can tell, and the action is done.
"""

from __future__ import annotations

from ...journal.operations import OperationRow
from ...model.cancellation import Deadline
from ...model.errors import LockTimeout
from ...model.result import Outcome
from ...model.server import PowerState
from .context import ActionContext

_LOOK_SECONDS = 0.2
_WELL = (Outcome.DONE.value, Outcome.UNCHANGED.value)


def keyed(key: str, reason: str) -> str:
    """Return the reason of an action that is to be done once under ``key``; the same reason where there is none."""
    return f"{key}: {reason}" if key and reason else key or reason


def same_action(context: ActionContext) -> OperationRow | None:
    """Return another action of this kind under the same key: one that ended well, else one under way; None if there is neither.

    Certain under the server's lock, where one that is under way has done all but wait until the server is ready.
    """
    request = context.request
    if not request.once:
        return None
    rows = context.node.journal.operations.under(request.once, context.uuid, request.action, but=request.operation)
    return next((row for row in rows if row.outcome in _WELL), next((row for row in rows if row.under_way), None))


def await_same(context: ActionContext) -> None:
    """Wait until the same action is no longer under way. Raises `LockTimeout` if that takes too long, and as `check_waiting`."""
    limit = max(context.request.wait_seconds, context.request.wait_timeout)
    deadline = Deadline.after(context.node.clock, limit)
    while (same := same_action(context)) is not None and not same.outcome:
        context.check_waiting()
        if deadline.is_over:
            raise LockTimeout(
                f"Cannot {context.verb} server {context.uuid}: the same action, requested at {same.requested_at}, "
                f"has not ended after {limit} s; wait for its end"
            )
        deadline.pause(_LOOK_SECONDS)


def fell_since(context: ActionContext, state: PowerState) -> bool:
    """Return True if a server that is to boot under a key went down with its node, or by itself: nobody told in the journal wanted it down.

    It was chosen when it was up, and is still meant.
    """
    request = context.request
    if not request.once or not request.action.boots or state is not PowerState.OFFLINE:
        return False
    intent = context.node.journal.intents.of(context.uuid)
    return intent is not None and intent.up


def done_before(same: OperationRow) -> str:
    """Return why there is nothing to do."""
    return f"it was done at {same.ended_at or same.requested_at} under the same key"
