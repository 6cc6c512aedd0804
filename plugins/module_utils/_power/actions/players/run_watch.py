# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches a server during the wait for its players: any other action on it ends the wait."""

from __future__ import annotations

from ...model.clock import timestamp
from ...model.errors import EngineError, EngineUnreachable, LockUnavailable, Superseded
from ...model.server import Run
from ..node.context import ActionContext

#: Seconds before a look at the engine, if no action took the lock in between.
_TRUSTED_SECONDS = 120.0


class RunWatch:
    """One run, which was up when the wait for its players began."""

    def __init__(self, context: ActionContext, run: Run) -> None:
        self._context = context
        #: A server without an intent may be up.
        self._meant_up = self._intent_up() is not False
        self._changed_at = context.node.locks.changed_at(context.uuid)
        self._looked_at = context.node.clock.monotonic()
        self.run = run
        #: The run was seen to be over: it has no players.
        self.is_over = False

    def check(self) -> None:
        """Raise as `ActionContext.check_interrupted`, and `Superseded` for a stop whose server was killed."""
        context = self._context
        context.check_interrupted()
        if not context.request.action.boots and self._is_killed():
            raise superseded(context, "was killed")

    def look(self, *, certain: bool) -> None:
        """Check that the run goes on, with the same intent. Raises as `check`, and else `Superseded`.

        The engine is asked if ``certain``, after a change of the lock, and now and then: for hundreds of servers, a question every few
        seconds costs too much.
        """
        node, uuid = self._context.node, self._context.uuid
        now, changed_at = node.clock.monotonic(), node.locks.changed_at(uuid)
        if not certain and now - self._looked_at < _TRUSTED_SECONDS and changed_at == self._changed_at:
            return
        meant_up = self._intent_up()
        if meant_up is not None and meant_up is not self._meant_up:
            raise self._ended_by(f"should be {'up' if meant_up else 'down'} now")
        try:
            snapshot = node.engine.inspect(uuid)
        except (EngineError, EngineUnreachable):
            # Unknown: a later stage decides.
            return
        self._looked_at, self._changed_at = now, changed_at
        if snapshot is not None and snapshot.live and snapshot.run != self.run:
            raise self._ended_by("was started anew")
        self.is_over = snapshot is None or not snapshot.live

    def _ended_by(self, what: str) -> Superseded:
        """Return the error after another action. Raises as `check` after a kill, to report it as one."""
        self.check()
        return superseded(self._context, what)

    def is_there(self) -> bool:
        try:
            snapshot = self._context.node.engine.inspect(self._context.uuid)
        except (EngineError, EngineUnreachable):
            return False
        return snapshot is not None and snapshot.live and snapshot.run == self.run

    def _is_killed(self) -> bool:
        try:
            return self._context.killed
        except LockUnavailable:
            # A stop continues without this knowledge, as elsewhere.
            return False

    def _intent_up(self) -> bool | None:
        intent = self._context.node.journal.intents.of(self._context.uuid)
        return None if intent is None else intent.up


def superseded(context: ActionContext, what: str) -> Superseded:
    intent = context.node.journal.intents.of(context.uuid)
    # An older intent, or a restart at the engine, does not name the actor.
    is_newer = intent is not None and intent.at > timestamp(context.request.requested_at)
    by = f" by {intent.origin}" if intent is not None and is_newer and intent.origin else ""
    return Superseded(f"Cannot {context.verb} server {context.uuid}: it {what}{by} while its players were waited for")
