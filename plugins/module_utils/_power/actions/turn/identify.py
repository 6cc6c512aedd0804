# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first stage: which server is meant."""

from __future__ import annotations

import contextlib

from ...model.errors import EngineError, EngineUnreachable, InterruptedBySignal, LockUnavailable, ServerNotFound
from ...model.request import PowerAction
from ...model.server import Server, parse_uuid
from ..node.context import ActionContext

_NOWHERE = "no definition and no container of this node has it; act on its own node, or look for it with server_power_info"


def identify(context: ActionContext, *, killing: bool = False) -> None:
    """Note which server is meant, unless it is too late to begin.

    ``killing`` says that it is to be killed in earnest, so that an engine that keeps silent may not keep SIGKILL from it. Raises
    `InterruptedBySignal`, `FailureBudget`, `ServerNotFound`, and what sources and engine raise.
    """
    request, node, progress = context.request, context.node, context.progress
    node.caller.hold()
    if node.caller.interrupted():
        raise InterruptedBySignal(f"Cannot {context.verb} server {request.server}: a signal came before its turn; nothing was done")
    context.slot.refuse_over_budget(request.server)
    known = progress.known
    server = node.sources.search.identify(request.server, request.action) if known is None else known
    # One that was found by a name just now is there; one that was found before its turn may be gone.
    is_certain = request.action.boots or (known is None and parse_uuid(request.server) is None)
    progress.server = server if is_certain else _found_here(context, server, killing)


def _found_here(context: ActionContext, server: Server, killing: bool) -> Server:
    """Return the server if the node has anything of it. One with a container, or (kill) a lock record, needs no source to know it."""
    request, node = context.request, context.node
    if request.action is PowerAction.KILL and node.locks.has_record(server.uuid):
        return server
    definition = node.sources.definition_for_stop(server.uuid)
    if definition is not None:
        return definition.server
    # The engine is asked last.
    try:
        is_here = node.engine.inspect(server.uuid) is not None
    except (EngineError, EngineUnreachable):
        if not killing:
            raise
        is_here = True
    if is_here:
        return server
    if killing:
        # Its very first start may be asking the Panel just now, and has left no trace to know it by.
        with contextlib.suppress(LockUnavailable):
            node.generations.raise_for(server.uuid)
    raise ServerNotFound(f"Cannot {context.verb} server {server.uuid}: {_NOWHERE}")
