# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching a server whose players are waited for: whoever else acts on it meanwhile ends the wait."""

from __future__ import annotations

from ...model.clock import timestamp
from ...model.errors import EngineError, EngineUnreachable, LockUnavailable, Superseded
from ...model.server import Run
from ..node.context import ActionContext

#: Seconds for which a run is taken for granted on which nobody has acted under its lock.
_TRUSTED_SECONDS = 120.0


class RunWatch:
    """One run, seen up when the wait for its players began."""

    def __init__(self, context: ActionContext, run: Run) -> None:
        self._context = context
        #: A server that is up without anybody having said so may be.
        self._meant_up = self._intent_up() is not False
        self._changed_at = context.node.locks.changed_at(context.uuid)
        self._looked_at = context.node.clock.monotonic()
        self.run = run
        #: Whether the run was seen to be over: nobody plays there any more.
        self.is_over = False

    def check(self) -> None:
        """Raise what ends the wait at once: as `ActionContext.check_interrupted`, and `Superseded` of a stop whose server was killed."""
        context = self._context
        context.check_interrupted()
        if not context.request.action.boots and self._is_killed():
            raise superseded(context, "was killed")

    def look(self, *, certain: bool) -> None:
        """See whether the run goes on, and is meant as it was. Raises as `check`, and `Superseded` if that is not so.

        The engine is asked if it is to be ``certain``, if somebody has held the lock since, and now and then: to ask it for each of
        hundreds of servers every few seconds would cost more than the wait is worth.
        """
        node, uuid = self._context.node, self._context.uuid
        now, changed_at = node.clock.monotonic(), node.locks.changed_at(uuid)
        if not certain and now - self._looked_at < _TRUSTED_SECONDS and changed_at == self._changed_at:
            return
        meant_up = self._intent_up()
        if meant_up is not None and meant_up is not self._meant_up:
            raise self._ended_by(f"is meant to be {'up' if meant_up else 'down'} now")
        try:
            snapshot = node.engine.inspect(uuid)
        except (EngineError, EngineUnreachable):
            # Nobody can tell; whoever acts on it in the end says so.
            return
        self._looked_at, self._changed_at = now, changed_at
        if snapshot is not None and snapshot.live and snapshot.run != self.run:
            raise self._ended_by("was started anew")
        self.is_over = snapshot is None or not snapshot.live

    def _ended_by(self, what: str) -> Superseded:
        """Return the error of one that somebody else has ended. Raises as `check` if that was a kill: it is told as one."""
        self.check()
        return superseded(self._context, what)

    def is_there(self) -> bool:
        """Tell if the run goes on, as far as that can be told."""
        try:
            snapshot = self._context.node.engine.inspect(self._context.uuid)
        except (EngineError, EngineUnreachable):
            return False
        return snapshot is not None and snapshot.live and snapshot.run == self.run

    def _is_killed(self) -> bool:
        try:
            return self._context.killed
        except LockUnavailable:
            # A stop goes on without knowing it, here as elsewhere.
            return False

    def _intent_up(self) -> bool | None:
        intent = self._context.node.journal.intents.of(self._context.uuid)
        return None if intent is None else intent.up


def superseded(context: ActionContext, what: str) -> Superseded:
    """The error of an action whose server somebody else has acted on while its players were waited for."""
    intent = context.node.journal.intents.of(context.uuid)
    # What was meant before says nothing of who did it, nor does a restart at the engine.
    is_newer = intent is not None and intent.at > timestamp(context.request.requested_at)
    by = f" by {intent.origin}" if intent is not None and is_newer and intent.origin else ""
    return Superseded(f"Cannot {context.verb} server {context.uuid}: it {what}{by} while its players were waited for")
