# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before a server's lock is taken: whether the action may be done, and all that can be known of its boot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...model.cancellation import CheckCancelled
from ...model.plan import plan
from ...model.request import PowerAction
from ...model.server import Snapshot
from ..node.context import ActionContext
from ..node.node import Observed
from .look import look, refuse_beside_wings

if TYPE_CHECKING:
    from ..boot.container import Boot


@dataclass(frozen=True)
class Checked:
    """The knowledge before a turn: the server as it was seen, and the boot, where the action ends with one.

    ``known_at`` says since when, by the monotonic clock. ``is_up`` is a start that finds the server up, and needs no turn.
    """

    seen: Observed
    known_at: float
    boot: Boot | None = None
    is_up: bool = False


def check(context: ActionContext) -> Checked:
    """Refuse what may not be done, without touching the server; wait for the slot that a start needs before its lock."""
    action, slot, clock = context.request.action, context.slot, context.node.clock
    refuse_beside_wings(context)
    known_at, boot = clock.monotonic(), None
    seen = look(context)
    if action is PowerAction.START:
        if not seen.is_settled and not slot.may_boot():
            # Before its lock is taken and its definition asked for: both are to be fresh when it boots.
            slot.begin_boot(context.check_waiting)
            seen = look(context)
        if seen.is_settled:
            slot.end_boot()
            return Checked(seen, known_at, is_up=True)
    if action.boots:
        # A stop needs nothing of all that boots. What does is all imported here, before anything is done: later, nothing may be missing.
        from ..boot import await_ready  # noqa: F401
        from ..boot.prepare import prepare
        from . import booted  # noqa: F401

        require_chosen_by_outdated(context, seen.snapshot, context.check_waiting)
        boot = prepare(context, seen.snapshot)
        fetched_at = context.node.sources.fetched_at(context.uuid)
        known_at = clock.monotonic() if fetched_at is None else fetched_at
    return Checked(seen, known_at, boot)


def require_chosen_by_outdated(
    context: ActionContext, snapshot: Snapshot | None, check_cancelled: CheckCancelled, *, again: bool = False
) -> None:
    """Raise `NotSelected` if only servers are meant that are outdated, and this one is not; as its source where nobody can tell.

    ``again`` asks the source anew. ``check_cancelled`` is called while that takes long: under the lock a signal ends nothing more.
    """
    if context.request.outdated:
        from ..boot.outdated import require_outdated

        require_outdated(context, snapshot, check_cancelled, again=again)


def begin_apart(context: ActionContext, checked: Checked) -> None:
    """Wait until the action may begin after the one before it: who is refused, or has nothing to do, keeps nobody waiting.

    What was learnt is asked again where this takes long.
    """
    seen = checked.seen
    if seen.holder is not None or plan(context.request.action, seen.state).steps:
        context.slot.begin_apart(context.request.server, context.check_waiting)
