# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last stage: the result, told to the journal and to the system log."""

from __future__ import annotations

from dataclasses import replace

from ...host.system_log import announce
from ...journal.operations import not_durable
from ...model.errors import FailureBudget, NotSelected
from ...model.request import Request
from ...model.result import Result
from ..node.context import ActionContext
from ..node.progress import Ending

#: Codes of servers that leave no trace on the node, unless they were seen under the lock alone: they were not meant, or came too late.
UNREPORTED_CODES = (NotSelected.code, FailureBudget.code)


def tell(context: ActionContext, ending: Ending) -> Result:
    """Write how an action ended into journal and system log, and return its result. A power cut after that undoes none of it."""
    request, node, progress = context.request, context.node, context.progress
    # Also where it says that the server is this node's no more, and nothing else is kept.
    node.sources.keep_list()
    result = progress.result(*ending)
    is_repeated = _is_repeated(result, request)
    is_recorded = progress.begun or not (is_repeated or result.code in UNREPORTED_CODES)
    if is_recorded:
        node.journal.operations.end(result, origin=request.origin, reason=request.reason, is_told=not is_repeated)
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
    """Tell if the supervisor's try before this one came to nothing for the same reason: it goes on trying for as long as that holds."""
    answers = request.answers
    return answers is not None and bool(result.code) and result.code == answers.code and not result.changed
