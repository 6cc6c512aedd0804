# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The context of an action, and the effects of an earlier action."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from ...host.library_faults import reason_of
from ...host.pauses import is_brought_back, is_node_stopping, maintenance_pause, may_be_frozen
from ...journal.operations import OperationRow
from ...journal.schema import JournalUnusable
from ...locking.lock import PowerLock
from ...model.cancellation import Deadline
from ...model.clock import timestamp
from ...model.errors import (
    CancelledByKill,
    Frozen,
    IntentUnknown,
    InterruptedBySignal,
    LockTimeout,
    NodeStopping,
    NotSelected,
    UnderMaintenance,
)
from ...model.news import News
from ...model.records import dataclass, field
from ...model.request import PowerAction, Request
from ...model.result import Outcome, Phase
from ...model.server import UNHEALTHY, PowerState, Run, Snapshot
from ...model.supervision import SeenRun
from .limiter import Slot
from .node import Node, Observed
from .progress import Progress

#: After a longer wait or stop, earlier knowledge is refreshed.
STALE_SECONDS = 1.0


@dataclass(frozen=True)
class ActionContext:
    """The request, the node, the progress and the slot, for every stage of an action."""

    request: Request
    node: Node
    progress: Progress
    slot: Slot = field(default_factory=Slot)

    @property
    def uuid(self) -> str:
        return self.progress.server.uuid

    @property
    def verb(self) -> str:
        return self.request.action.value

    @property
    def killed(self) -> bool:
        """True if the server was killed since the request."""
        return self.node.generations.changed_since(self.uuid, self.request.generation(self.uuid))

    def cannot(self, why: str) -> str:
        """Return the message of an error that ends or refuses the action."""
        return f"Cannot {self.verb} server {self.uuid}: {why}"

    def warn(self, *sentences: str) -> None:
        self.progress.warn(*(f"server {self.uuid}: {each}" for each in sentences))

    def check_killed(self) -> None:
        """Raise `CancelledByKill` if the server was killed since the request. A kill cancels no stop: both want the server down."""
        if self.request.action.boots and self.killed:
            raise CancelledByKill(self.cannot(CancelledByKill.why))

    def check_cancelled(self) -> None:
        """Raise as `check_killed`, and `NodeStopping` for an action that starts the server."""
        self.check_killed()
        if self.request.action.boots and is_node_stopping(self.node.settings.lock_directory):
            raise NodeStopping(self.cannot(NodeStopping.why))

    def check_waiting(self) -> None:
        """Call `Caller.hold`, which may block, then raise as `check_interrupted`. Call this only without the lock."""
        self.node.caller.hold()
        self.check_interrupted()

    def check_interrupted(self) -> None:
        """Raise as `check_cancelled`, and `InterruptedBySignal`: for waits that leave no unfinished work."""
        if self.node.caller.interrupted():
            raise InterruptedBySignal(self.cannot("a signal interrupted its wait"))
        self.check_cancelled()

    def enter(self, lock: PowerLock, phase: Phase, *, run: Run | None = None, deadline: datetime | None = None) -> None:
        lock.enter(phase, run=run, deadline=deadline, at=self.node.clock.now())
        self.progress.enter(phase.value)
        self.report(phase.value, deadline)

    def report(self, doing: str, deadline: datetime | None = None, why: str = "") -> None:
        """Report a phase or wait to the caller, with its deadline and reason."""
        until = None if deadline is None else timestamp(deadline)
        self.node.caller.listener(News(self.progress.server, self.verb, doing, until, self.progress.seconds, why=why))


T = TypeVar("T")


def refuse_after_newer_run(context: ActionContext, snapshot: Snapshot | None) -> None:
    """Raise `NotSelected` if an action of the supervisor follows a run, and a newer run followed it, even an ended one.

    A new container that never ran is no newer run. Raises `IntentUnknown` if the journal is unreadable, and `UnderMaintenance`: maintenance
    may begin while hundreds of starts wait. Certain under the lock, right before the request.
    """
    ended_run = context.request.ended_run
    if ended_run is None:
        return
    if maintenance_pause(context.node.settings.state_directory):
        raise UnderMaintenance(context.cannot("a maintenance is under way; it is done after that"))
    newest = snapshot.run if snapshot is not None and snapshot.has_run else None
    if newest is None or (snapshot is not None and not snapshot.live and newest.precedes(ended_run.run)):
        last = known(context, lambda: context.node.journal.runs.known_of(context.uuid))
        newest = ended_run.run if last is None else last.run
    if newest != ended_run.run:
        raise NotSelected(context.cannot("another run has followed the one that ended"))


def require_hanging(context: ActionContext, snapshot: Snapshot | None) -> None:
    """Raise `NotSelected` if the supervisor's restart finds its run over, healthy or paused. Certain under the lock."""
    if snapshot is None or not snapshot.live or snapshot.paused or snapshot.health != UNHEALTHY:
        raise NotSelected(context.cannot("it no longer hangs"))


def refuse_frozen(context: ActionContext) -> None:
    """Raise `Frozen` if a freeze forbids the action, or may do so, and as `check_cancelled`. Certain under the lock.

    The supervisor's starts pass, unless the freeze names the supervisor. Starts after a boot or a maintenance pass.
    """
    context.check_cancelled()
    request = context.request
    if not request.ignores_freeze:
        why = frozen_fault(request.action, context.uuid, context.node, by_supervisor=request.follows_end or request.proof is not None)
        if why:
            raise Frozen(why)


def frozen_fault(action: PowerAction, uuid: str, node: Node, *, by_supervisor: bool = False) -> str:
    """Return why a freeze refuses an action on a server, as a sentence; "" if none does."""
    directory = node.settings.state_directory
    why = node.journal.freezes.refusal(uuid, supervisor=by_supervisor) if may_be_frozen(directory) else ""
    if not why or (action is PowerAction.START and is_brought_back(directory, uuid)):
        return ""
    return f"Cannot {action.value} server {uuid}: {why}"


def date_anew(context: ActionContext, seen: Observed) -> None:
    """Record this request's kill generation for the run that a start finds up: earlier kills do not concern it."""
    request, snapshot, runs = context.request, seen.snapshot, context.node.journal.runs
    if request.action is not PowerAction.START or snapshot is None or not snapshot.live:
        return
    generation = request.generation(context.uuid)
    with contextlib.suppress(JournalUnusable, OSError):
        last = runs.known_of(context.uuid)
        # Often hundreds are up, with nothing to write.
        if last is None or last.run != snapshot.run or last.generation < generation:
            runs.see(context.uuid, SeenRun(snapshot.run, generation=generation))


def known(context: ActionContext, read: Callable[[], T], unknown: str = "its intent is unknown") -> T:
    """Return what ``read`` reads from the journal. Raises `IntentUnknown` if it is unreadable; ``unknown`` ends the message."""
    try:
        return read()
    except (JournalUnusable, OSError) as error:
        raise IntentUnknown(context.cannot(f"the journal cannot be read ({reason_of(error)}), so {unknown}")) from error


_LOOK_SECONDS = 0.2
#: A way back takes the supervisor's stop timeout, and this for a boot and the wait for a lock.
_REVERT_SECONDS = 120


def proof_seconds(node: Node, settle: int) -> int:
    """Return the longest time from a new version's readiness to the end of its proof, in seconds."""
    return settle + _REVERT_SECONDS + node.settings.supervisor_unhealthy_stop_timeout


_WELL = (Outcome.DONE.value, Outcome.UNCHANGED.value)


def keyed(key: str, reason: str) -> str:
    """Return the reason of an action that runs once under ``key``; without a key the same reason."""
    return f"{key}: {reason}" if key and reason else key or reason


def same_action(context: ActionContext) -> OperationRow | None:
    """Return a successful, else a running action of this kind and key, else None. Certain under the server's lock.

    Raises `IntentUnknown` if the journal is unreadable.
    """
    request = context.request
    if not request.idempotency_key:
        return None
    operations = context.node.journal.operations
    unknown = f"it may have been done under key {request.idempotency_key}; make the journal readable, or send the action without a key"
    rows = known(context, lambda: operations.under(request.idempotency_key, context.uuid, request.action, but=request.operation), unknown)
    return next((row for row in rows if row.outcome in _WELL), next((row for row in rows if row.under_way), None))


def await_same(context: ActionContext) -> None:
    """Wait for the end of the same action. Raises `LockTimeout` if that takes too long, and as `check_waiting`."""
    request, revert = context.request, context.progress.revert
    proof = 0 if revert is None else proof_seconds(context.node, revert.settle)
    limit = max(request.wait_seconds, request.wait_timeout + proof)
    deadline = Deadline.after(context.node.clock, limit)
    while (same := same_action(context)) is not None and not same.outcome:
        context.check_waiting()
        if deadline.is_over:
            running = f"the same action, requested at {same.requested_at}, has not ended after {limit} s"
            raise LockTimeout(context.cannot(f"{running}; wait for its end"))
        deadline.pause(_LOOK_SECONDS)


def fell_since(context: ActionContext, state: PowerState) -> bool:
    """Return True if a keyed boot's server went down with its node or by itself, without a stop in the journal. It stays selected."""
    request = context.request
    if not request.idempotency_key or not request.action.boots or state is not PowerState.OFFLINE:
        return False
    intent = context.node.journal.intents.of(context.uuid)
    return intent is not None and intent.up


def done_before(same: OperationRow) -> str:
    return f"it was done at {same.ended_at or same.requested_at} under the same key"
