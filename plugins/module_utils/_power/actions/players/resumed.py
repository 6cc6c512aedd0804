# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action whose wait for players another process had begun: what happened to its server in between ends it as it would have then."""

from __future__ import annotations

from ...locking.countdown import Countdown
from ...model.server import Snapshot
from ..node.context import ActionContext
from .run_watch import superseded


def require_unchanged(context: ActionContext, snapshot: Snapshot | None) -> None:
    """Raise `Superseded` if this action waited for players when its process died, and somebody has acted on the server since.

    Raises as `ActionContext.check_interrupted`, too.
    """
    found = context.node.countdowns.abandoned(context.uuid)
    if found is None or found.operation != context.request.operation:
        return
    # A kill is told as one.
    context.check_interrupted()
    if snapshot is not None and snapshot.live and snapshot.run != found.run:
        raise superseded(context, "was started anew")
    if _was_meant(context, found):
        raise superseded(context, "was acted on")


def _was_meant(context: ActionContext, found: Countdown) -> bool:
    intent = context.node.journal.intents.of(context.uuid)
    return intent is not None and intent.operation != context.request.operation and intent.at > found.since
