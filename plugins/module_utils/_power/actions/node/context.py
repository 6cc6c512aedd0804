# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action has at hand, and what an earlier action has done already."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from ...host.library_faults import reason_of
from ...host.maintenance import maintenance_pause
from ...journal.intents import Intent
from ...journal.operations import OperationRow
from ...journal.schema import JournalUnusable
from ...locking.lock import PowerLock
from ...model.cancellation import Deadline
from ...model.clock import timestamp
from ...model.errors import CancelledByKill, IntentUnknown, InterruptedBySignal, LockTimeout, NotSelected, UnderMaintenance
from ...model.news import News
from ...model.request import PowerAction, Request
from ...model.result import Outcome, Phase
from ...model.server import PowerState, Run, Snapshot
from ...model.supervision import EndedRun, SeenRun
from .limiter import Slot
from .node import Node, Observed
from .progress import Progress

#: What was known before a wait or a stop longer than this is asked again.
STALE_SECONDS = 1.0


@dataclass(frozen=True)
class ActionContext:
    """The things that every stage of an action needs: the request, the node, the progress made, and the server's slot among others."""

    request: Request
    node: Node
    progress: Progress
    slot: Slot = field(default_factory=Slot)

    @property
    def uuid(self) -> str:
        """The UUID of the server acted on."""
        return self.progress.server.uuid

    @property
    def verb(self) -> str:
        """The action as sentences name it."""
        return self.request.action.value

    @property
    def killed(self) -> bool:
        """True if the server was killed since the action was requested."""
        return self.node.generations.changed_since(self.uuid, self.request.generation(self.uuid))

    def check_cancelled(self) -> None:
        """Raise `CancelledByKill` if the server was killed since the request. A kill cancels no stop: both want the server down."""
        if self.request.action.boots and self.killed:
            raise CancelledByKill(f"Cannot {self.verb} server {self.uuid}: it was killed after this was requested; ask again to go on")

    def check_waiting(self) -> None:
        """Raise as `check_interrupted`, once whoever asked is there: for waits without the lock. Under it, a kill is to be seen at once."""
        self.node.caller.hold()
        self.check_interrupted()

    def check_interrupted(self) -> None:
        """Raise as `check_cancelled`, and `InterruptedBySignal`: for waits before which nothing was done that would have to be finished."""
        if self.node.caller.interrupted():
            raise InterruptedBySignal(f"Cannot {self.verb} server {self.uuid}: a signal ended its wait")
        self.check_cancelled()

    def enter(self, lock: PowerLock, phase: Phase, *, run: Run | None = None, deadline: datetime | None = None) -> None:
        """Begin a phase: write it into the lock's record, then note it."""
        lock.enter(phase, run=run, deadline=deadline)
        self.progress.enter(phase)
        self.tell(phase.value, deadline)

    def tell(self, doing: str, deadline: datetime | None = None, why: str = "") -> None:
        """Tell whoever asked what the server is at from now on, a phase or a wait, and ``why`` it may take until the deadline."""
        until = None if deadline is None else timestamp(deadline)
        self.node.caller.listener(News(self.progress.server, self.verb, doing, until, self.progress.seconds, why=why))


T = TypeVar("T")


def refuse_after_newer_run(context: ActionContext, snapshot: Snapshot | None) -> None:
    """Raise `NotSelected` if a start answers an ended run that another one followed, even one that is over as well.

    A container that was made anew and never ran is none. Raises `IntentUnknown` where the journal cannot be read, and `UnderMaintenance`:
    hundreds may have been waiting for their turn when one began. Certain under the lock, and right before the request.
    """
    answers = context.request.answers
    if answers is None:
        return
    _refuse_in_maintenance(context)
    newest = snapshot.run if snapshot is not None and snapshot.has_run else None
    if newest is None:
        seen = _known(context, lambda: context.node.journal.runs.known_of(context.uuid))
        newest = answers.run if seen is None else seen.run
    if newest != answers.run:
        raise NotSelected(f"Cannot {context.verb} server {context.uuid}: another run has followed the one that ended")


def known_intent(context: ActionContext) -> Intent | None:
    """Return the server's intent. Raises `IntentUnknown` where a start of the supervisor cannot know it; all others go on without."""
    if context.request.answers is None:
        return context.node.journal.intents.of(context.uuid)
    return _known(context, lambda: context.node.journal.intents.known_of(context.uuid))


def known_row(context: ActionContext, run: Run) -> EndedRun | None:
    """Return the row of an ended run. Raises `IntentUnknown` where the journal cannot be read."""
    return _known(context, lambda: context.node.journal.ended_runs.of_run(run))


def date_anew(context: ActionContext, seen: Observed) -> None:
    """Write that the run which a start finds up was asked for as late as this: what was killed before does not concern it."""
    request, snapshot, runs = context.request, seen.snapshot, context.node.journal.runs
    if request.action is not PowerAction.START or snapshot is None or not snapshot.live:
        return
    generation = request.generation(context.uuid)
    with contextlib.suppress(JournalUnusable, OSError):
        known = runs.known_of(context.uuid)
        # Hundreds are found up at once, and mostly there is nothing to write.
        if known is None or known.run != snapshot.run or known.generation < generation:
            runs.see(context.uuid, SeenRun(snapshot.run, generation=generation))


def _refuse_in_maintenance(context: ActionContext) -> None:
    if maintenance_pause(context.node.settings.state_directory):
        raise UnderMaintenance(f"Cannot {context.verb} server {context.uuid}: a maintenance goes on; it is started when that is over")


def _known(context: ActionContext, read: Callable[[], T]) -> T:
    try:
        return read()
    except (JournalUnusable, OSError) as error:
        raise IntentUnknown(
            f"Cannot {context.verb} server {context.uuid}: the journal cannot be read ({reason_of(error)}), "
            "so that nobody can tell whether it is meant to be up"
        ) from error


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
