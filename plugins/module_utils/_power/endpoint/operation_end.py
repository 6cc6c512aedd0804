# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an endpoint's operation as the end of an action here; pure."""

from __future__ import annotations

from ..actions.node.progress import Ending, Progress
from ..model.errors import FailureBudget, NotSelected
from ..model.result import Outcome
from .operation import Operation

#: Codes of servers that nothing was asked of; what was asked for never has one, whatever the endpoint says.
_NEVER_ASKED = (NotSelected.code, FailureBudget.code)


def told_ending(operation: Operation) -> Ending:
    """Return how an operation ended, as a result may say it of what was asked for and taken."""
    outcome, code = operation.outcome or Outcome.FAILED, operation.code
    if outcome in (Outcome.SKIPPED, Outcome.REFUSED):
        # Nobody passes over what was asked for, and what altered something was not refused.
        outcome = Outcome.FAILED if operation.changed else Outcome.REFUSED
    return outcome, "" if code in _NEVER_ASKED else code, operation.msg


def take_over(operation: Operation, progress: Progress) -> None:
    """Let the result have what the operation tells."""
    progress.changed = operation.changed
    progress.state_before = operation.state_before or progress.state_before
    progress.state = operation.state
    progress.stop = operation.stop
    progress.waited_seconds = operation.waited_seconds
    progress.holder = None if operation.holder is None else dict(operation.holder)
    progress.plan = operation.plan or progress.plan
    progress.preboot = list(operation.preboot)
    progress.cancelled = operation.cancelled
    progress.exit_code = operation.exit_code
    progress.players, progress.player_wait = operation.players, operation.player_wait
    progress.downtime = operation.downtime
    progress.log = operation.log
