# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing the limits of a container without a restart."""

from __future__ import annotations

from ...container.container_labels import made_by_us_or_wings
from ...container.container_limits import MEMORY, OVERHEAD, amount, can_change, differing_limits, limits_of, update_of
from ...container.container_parts import limits_to_change
from ...locking.lock import PowerLock
from ...model.cancellation import CheckCancelled
from ...model.errors import ENGINE_FAULTS, ContainerForeign, EngineError, EngineUnreachable, LimitBelowUse, PowerError, Suspended
from ...model.plan import plan
from ...model.records import dataclass
from ...model.result import LimitChange, Outcome, Phase
from ...model.server import Amount, ContainerLimits, Snapshot
from ..boot.container import spec_of
from ..node.context import STALE_SECONDS, ActionContext, refuse_frozen
from ..node.node import Observed
from ..node.progress import Ending
from .locked import acquire
from .look import check_wings, identify, look, look_locked

#: A kernel's refusal to take back memory in use.
_IN_USE = "unable to set memory limit"
#: The engine's answers without any change: to impossible limits, such as missing CPUs, and for a missing container.
_NOT_BEGUN, _GONE = 400, 404


def _update(context: ActionContext, planned: LimitPlan) -> set[str]:
    """Change the limits as planned; return the keys that the engine accepted. The rest becomes a warning.

    On failure it restores the old limits, and raises `EngineError` or `LimitBelowUse`, which says if that fails. Raises `EngineUnreachable`
    if the result is unknown.
    """
    engine, progress = context.node.engine, context.progress
    container, wanted, keys = planned.snapshot.id, planned.wanted, planned.keys
    warnings: list[str] = []
    try:
        warnings = engine.containers.set_limits(container, update_of(planned.snapshot.limits, wanted, keys))
    except EngineError as error:
        raise _undone(context, planned, error) from error
    except EngineUnreachable:
        # The engine may still apply it, or already has.
        found = engine.inspect(container)
        if found is not None and set(keys) & set(differing_limits(found.limits, wanted)):
            raise
    try:
        found = engine.inspect(container)
    except ENGINE_FAULTS:
        # It applied all it can.
        progress.alter()
        raise
    left = set() if found is None else set(keys) & set(differing_limits(found.limits, wanted))
    taken = set(keys) - left
    if taken:
        progress.alter()
    context.warn(*warnings)
    if left:
        context.warn(f"this node cannot change {', '.join(sorted(left))}")
    return taken


def _undone(context: ActionContext, planned: LimitPlan, refusal: EngineError) -> PowerError:
    """Restore the old limits; return the error, which says if the present limits are unknown."""
    before, keys, reason = planned.snapshot.limits, planned.keys, refusal.reason
    text = context.cannot(reason)
    if refusal.facts.get("status") in (_NOT_BEGUN, _GONE):
        return EngineError(text)
    # The body comes from the old limits alone, without those left to a restart.
    body = update_of(before, before, [key for key in keys if can_change(key, before, before)])
    # The engine cannot restore an unlimited value.
    lasting = [key for key in keys if not can_change(key, before, before)]
    try:
        if body:
            context.node.engine.containers.set_limits(planned.snapshot.id, body)
    except ENGINE_FAULTS as error:
        context.progress.alter()
        return EngineError(f"{text}; the old limits cannot be set again ({error}): some may be new until a restart")
    if lasting:
        return EngineError(f"{text}; the old limits are in force, but for {', '.join(lasting)}, which stay unknown until a restart")
    if _IN_USE in reason:
        return LimitBelowUse(f"{text}; the old limits are in force again; restart it to apply the new limits")
    return EngineError(f"{text}; the old limits are in force again")


@dataclass(frozen=True)
class LimitPlan:
    """The changes of a container that are possible while it runs."""

    snapshot: Snapshot
    wanted: ContainerLimits
    keys: tuple[str, ...]

    @property
    def changes(self) -> tuple[LimitChange, ...]:
        now = self.snapshot.limits
        return tuple(LimitChange(key, amount(key, now), amount(key, self.wanted)) for key in self.keys)


def foresee(context: ActionContext) -> Ending:
    """Plan the change of limits, for check mode."""
    progress = context.progress
    seen, planned = _looked_at(context)
    if seen.holder is not None:
        progress.holder = seen.holder.facts()
    if planned is None or not planned.keys:
        return _unchanged(context, seen, planned)
    refuse_frozen(context)
    _refuse_below_use(context, planned)
    progress.limits, progress.changed = planned.changes, True
    return Outcome.DONE, "", ""


def set_limits(context: ActionContext) -> Ending:
    """Set the limits of a running container by its definition, without a restart."""
    seen, planned = _looked_at(context)
    if seen.holder is None and not seen.stop_left and (planned is None or not planned.keys):
        return _unchanged(context, seen, planned)
    with acquire(context) as lock:
        context.progress.begin(context.node.journal)
        return _change(context, lock)


def _looked_at(context: ActionContext) -> tuple[Observed, LimitPlan | None]:
    identify(context)
    check_wings(context)
    seen = look(context)
    return seen, _planned(context, seen, context.check_waiting)


def _change(context: ActionContext, lock: PowerLock) -> Ending:
    progress = context.progress
    seen, _fenced = look_locked(context, lock)
    planned = _planned(context, seen, context.check_cancelled, again=lock.waited_seconds > STALE_SECONDS)
    if planned is None or not planned.keys:
        return _unchanged(context, seen, planned)
    refuse_frozen(context)
    _refuse_below_use(context, planned)
    context.enter(lock, Phase.LIMIT, run=planned.snapshot.run)
    taken = _update(context, planned)
    progress.limits = tuple(change for change in planned.changes if change.key in taken)
    if not taken:
        return Outcome.UNCHANGED, "", "the node cannot limit this"
    # The journal and the system log have no list of changes.
    return Outcome.DONE, "", ", ".join(f"{each.key} from {_shown(each.before)} to {_shown(each.after)}" for each in progress.limits)


def _shown(amount: Amount) -> str:
    return "none" if amount in (None, "") else str(amount)


def _planned(context: ActionContext, seen: Observed, check_cancelled: CheckCancelled, *, again: bool = False) -> LimitPlan | None:
    """Return the changes; None if the server is down. Raises errors of the source, `Suspended` and `ContainerForeign`."""
    progress, snapshot = context.progress, seen.snapshot
    progress.plan = plan(context.request.action, seen.state).steps
    if snapshot is None or not progress.plan:
        return None
    definition = context.node.sources.definition(context.uuid, again=again, check_cancelled=check_cancelled)
    progress.server = definition.server
    if definition.suspended:
        raise Suspended(context.cannot("it is suspended, so it should be down; stop it"))
    if not made_by_us_or_wings(snapshot, context.uuid):
        raise ContainerForeign(context.cannot("neither this collection nor Wings made its container"))
    config = spec_of(context.node, definition, image_id="").config
    wanted, differing = limits_of(config["HostConfig"]), limits_to_change(snapshot, config)
    keys = tuple(key for key in differing if can_change(key, snapshot.limits, wanted))
    progress.restart = tuple(key for key in differing if key not in keys)
    return LimitPlan(snapshot, wanted, keys)


def _unchanged(context: ActionContext, seen: Observed, planned: LimitPlan | None) -> Ending:
    if planned is None:
        return Outcome.UNCHANGED, "", plan(context.request.action, seen.state).reason
    progress = context.progress
    progress.plan = ()
    if progress.restart:
        return Outcome.UNCHANGED, "", f"only a restart applies {', '.join(progress.restart)}"
    return Outcome.UNCHANGED, "", "its limits match its definition"


def _refuse_below_use(context: ActionContext, planned: LimitPlan) -> None:
    """Raise `LimitBelowUse` if more memory is in use: the kernel would kill processes, or refuse."""
    if not {MEMORY, OVERHEAD} & set(planned.keys):
        return
    use = context.node.engine.use(planned.snapshot.id)
    if use is not None and use.memory > planned.wanted.memory:
        now, allowed = (f"{memory / 1_000_000:.0f} MB" for memory in (use.memory, planned.wanted.memory))
        why = f"it uses {now} of memory, and its definition allows {allowed}, overhead included; restart it to apply the new limits"
        raise LimitBelowUse(context.cannot(why))
