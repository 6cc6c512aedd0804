# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The call that changes limits, and the way back where it fails.

An engine that refuses a change may have made a part of it: of memory and swap that cannot both be had it sets one, and tells the old ones
(tried: 26.1, control groups of version 1). So the old ones are set again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...container.container_limits import can_change, differing_limits, update_of
from ...model.errors import EngineError, EngineUnreachable, LimitBelowUse, PowerError
from ...model.server import ContainerLimits, Snapshot
from ..node.context import ActionContext

#: How a kernel's refusal reads that cannot take back memory in use.
_IN_USE = "unable to set memory limit"
#: What an engine answers that changes nothing: to limits that cannot be, such as CPUs that are not there, and of a container that is gone.
_NOT_BEGUN, _GONE = 400, 404


def update_limits(context: ActionContext, snapshot: Snapshot, wanted: ContainerLimits, keys: Sequence[str]) -> set[str]:
    """Change the limits of these keys; return those that the engine has taken. What it cannot do is a warning.

    Raises `EngineError`, or `LimitBelowUse`, where it fails: the old limits are in force again then, or the sentence says that they may
    not be. Raises `EngineUnreachable` where nobody can tell which are.
    """
    engine, progress, uuid = context.node.engine, context.progress, context.uuid
    before = snapshot.limits
    warnings: list[str] = []
    try:
        warnings = engine.containers.set_limits(snapshot.id, update_of(before, wanted, keys))
    except EngineError as error:
        raise _undone(context, snapshot, keys, error) from error
    except EngineUnreachable:
        # It may be at it, or have done it.
        found = engine.inspect(snapshot.id)
        if found is not None and set(keys) & set(differing_limits(found.limits, wanted)):
            raise
    try:
        found = engine.inspect(snapshot.id)
    except (EngineError, EngineUnreachable):
        # It has taken them, as far as it can have them.
        progress.alter()
        raise
    left = set() if found is None else set(keys) & set(differing_limits(found.limits, wanted))
    taken = set(keys) - left
    if taken:
        progress.alter()
    progress.warn(*(f"server {uuid}: {warning}" for warning in warnings))
    if left:
        progress.warn(f"server {uuid}: this node cannot change {', '.join(sorted(left))}")
    return taken


def _undone(context: ActionContext, snapshot: Snapshot, keys: Sequence[str], refusal: EngineError) -> PowerError:
    """Set the old limits again; return the error that says so, or that it cannot be told which are in force."""
    before, reason = snapshot.limits, refusal.reason
    text = f"Cannot {context.verb} server {context.uuid}: {reason}"
    if refusal.facts.get("status") in (_NOT_BEGUN, _GONE):
        return EngineError(text)
    # As from themselves: of the new ones none counts, also not one that was left to a restart.
    body = update_of(before, before, [key for key in keys if can_change(key, before, before)])
    # What had no limit the engine itself leaves without one.
    lasting = [key for key in keys if not can_change(key, before, before)]
    try:
        if body:
            context.node.engine.containers.set_limits(snapshot.id, body)
    except (EngineError, EngineUnreachable) as error:
        context.progress.alter()
        return EngineError(f"{text}; nor can the old limits be set again ({error}), so that some may be the new ones until a restart")
    if lasting:
        return EngineError(f"{text}; the old limits are in force, but for {', '.join(lasting)}, of which nobody can tell before a restart")
    if _IN_USE in reason:
        return LimitBelowUse(f"{text}; the old limits are in force again; restart it to bring it in line")
    return EngineError(f"{text}; the old limits are in force again")
