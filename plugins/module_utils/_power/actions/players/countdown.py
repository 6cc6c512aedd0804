# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The countdown before an action: the watched run, warnings to players, and countdowns of dead processes resumed or cancelled."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta

from ...events.event import Event, EventType
from ...games.game import Game
from ...games.message import filled, spoken_time
from ...host.concurrency import map_concurrently
from ...locking.countdown import Countdown, HeldCountdown
from ...model.cancellation import CheckCancelled, Deadline
from ...model.clock import timestamp
from ...model.errors import ENGINE_FAULTS, PowerError, Superseded
from ...model.news import COUNTDOWN
from ...model.players import COUNTING, WAITING, PlayerPolicy
from ...model.records import replace
from ...model.server import Run, Server, Snapshot
from ..node.context import STALE_SECONDS, ActionContext
from ..node.node import Node
from .countdown_rules import mark_reached

#: Seconds before a look at the engine, if no action took the lock in between.
_TRUSTED_SECONDS = 120.0


class RunWatch:
    """One run, which was up when the wait for its players began."""

    def __init__(self, context: ActionContext, run: Run) -> None:
        self._context = context
        #: A server without an intent may be up.
        self._should_be_up = self._intent_up() is not False
        self._changed_at = context.node.locks.changed_at(context.uuid)
        self._looked_at = context.node.clock.monotonic()
        self.run = run
        #: The run was seen to be over: it has no players.
        self.is_over = False

    def check(self) -> None:
        """Raise as `ActionContext.check_interrupted`, and `Superseded` for a stop whose server was killed."""
        context = self._context
        context.check_interrupted()
        generation = context.node.generations.read_or_none(context.uuid)
        if not context.request.action.boots and generation not in (None, context.request.generation(context.uuid)):
            raise superseded(context, "was killed")

    def look(self, *, certain: bool) -> None:
        """Check that the run goes on, with the same intent. Raises as `check`, and else `Superseded`.

        The engine is asked if ``certain``, after a change of the lock, and now and then: often costs too much with hundreds of servers.
        """
        node, uuid = self._context.node, self._context.uuid
        now, changed_at = node.clock.monotonic(), node.locks.changed_at(uuid)
        if not certain and now - self._looked_at < _TRUSTED_SECONDS and changed_at == self._changed_at:
            return
        should_be_up = self._intent_up()
        if should_be_up is not None and should_be_up is not self._should_be_up:
            raise self._ended_by(f"should be {'up' if should_be_up else 'down'} now")
        try:
            snapshot = node.engine.inspect(uuid)
        except ENGINE_FAULTS:
            # Unknown: a later stage decides.
            return
        self._looked_at, self._changed_at = now, changed_at
        if snapshot is not None and snapshot.live and snapshot.run != self.run:
            raise self._ended_by("was started again")
        self.is_over = snapshot is None or not snapshot.live

    def _ended_by(self, what: str) -> Superseded:
        """Return the error after another action. Raises as `check` after a kill, to report it as one."""
        self.check()
        return superseded(self._context, what)

    def is_there(self) -> bool:
        try:
            snapshot = self._context.node.engine.inspect(self._context.uuid)
        except ENGINE_FAULTS:
            return False
        return snapshot is not None and snapshot.live and snapshot.run == self.run

    def _intent_up(self) -> bool | None:
        intent = self._context.node.journal.intents.of(self._context.uuid)
        return None if intent is None else intent.up


def superseded(context: ActionContext, what: str) -> Superseded:
    intent = context.node.journal.intents.of(context.uuid)
    # An older intent, or a restart at the engine, does not name the actor.
    is_newer = intent is not None and intent.at > timestamp(context.request.requested_at)
    by = f" by {intent.origin}" if intent is not None and is_newer and intent.origin else ""
    return Superseded(context.cannot(f"it {what}{by} during the wait for its players"))


#: A mark that is late by so many seconds, and this part of it, announces the time that is left.
_LATE_SECONDS, _LATE_PART = 2.0, 0.15


def called_off(action: str) -> str:
    return filled("Server {action} called off.", {"action": action})


def require_unchanged(context: ActionContext, snapshot: Snapshot | None) -> None:
    """Raise `Superseded` if another action came after this one's process died. Raises as `ActionContext.check_interrupted`."""
    found = context.node.countdowns.abandoned(context.uuid)
    if found is None or found.operation != context.request.operation:
        return
    # This reports a kill as one.
    context.check_interrupted()
    if snapshot is not None and snapshot.live and snapshot.run != found.run:
        raise superseded(context, "was started again")
    intent = context.node.journal.intents.of(context.uuid)
    if intent is not None and intent.operation != context.request.operation and intent.at > found.since:
        raise superseded(context, "was acted on")


def take_slots(context: ActionContext, check_cancelled: CheckCancelled, *, first: bool) -> float:
    """Take the slots again, before or behind all waiters, and wait for the stagger; return the seconds. Raises `FailureBudget`."""
    slot, clock = context.slot, context.node.clock
    began = clock.monotonic()
    if slot.is_aside:
        slot.come_back(context.uuid, check_cancelled, first=first)
    # It may take long, so it precedes the last warning and the last look.
    slot.await_stagger(context.uuid, check_cancelled)
    return clock.monotonic() - began


#: The server has its slot so many seconds before the end, or from an earlier last mark: then the announcement holds.
_SLOT_SECONDS = 30.0
#: After a cancellation it pauses so long unless it must begin: one player who comes and goes would cause endless messages.
_QUIET_SECONDS = 60.0
#: A countdown of a dead process is not resumed later after its end: players heard nothing since.
_OVERDUE_SECONDS = 10.0


class PlayerCountdown:
    """The countdown of one action. ``due`` is its end, None while none runs."""

    def __init__(self, context: ActionContext, policy: PlayerPolicy, game: Game | None, watch: RunWatch) -> None:
        self._context, self._policy = context, policy
        self._game, self._watch = game, watch
        self._record: HeldCountdown | None = None
        self._last_mark = 0
        self._quiet_until = Deadline(context.node.clock, 0.0)
        self.due: Deadline | None = None
        self.marks: list[int] = []
        #: Whether all messages reached the game; None before the first.
        self.reached: bool | None = None
        #: An earlier countdown. Its players must still read that it is cancelled.
        self.owed: Countdown | None = None

    def keep_in(self, record: HeldCountdown) -> None:
        """Write the countdown to a record. An earlier countdown there is resumed if it is of this action, else cancelled."""
        self._record, found, clock = record, record.found, self._context.node.clock
        left = 0.0 if found is None else found.seconds_left(clock.now())
        if found is None or not found.last_mark or found.run != self._watch.run:
            record.write()
        elif found.operation == self._context.request.operation and left > -_OVERDUE_SECONDS:
            self._last_mark = found.last_mark
            self._run_until(Deadline.after(clock, left))
        else:
            # Said first: the write replaces the only record of it.
            self.owed = found
            self.say_owed()
            record.write()

    def say_owed(self) -> None:
        """Tell players that the earlier countdown is cancelled, if they did not read it yet."""
        owed = self.owed
        if owed is not None and self._game is not None and owed.is_remembered(self._context.node.clock.now()):
            self.owed = None if self._say(called_off(owed.action)) else replace(owed, tries=owed.tries + 1)

    def go_on(self, latest: Deadline | None) -> None:
        """Begin, take a slot, or warn, whatever is due; ``latest`` is the latest end. Raises as `RunWatch.check` and `RunWatch.look`."""
        if self.due is None and ((latest is None and not self._quiet_until.is_over) or not self._begin(latest)):
            return
        self._reserve()
        if self.due is None:
            return
        mark = mark_reached(self._policy.warn, self.due.left, self._last_mark)
        if mark:
            self._watch.look(certain=True)
            if not self._watch.is_over:
                # Written first, so that another process does not repeat the warning.
                self._last_mark = mark
                self._write(last_mark=mark)
                self._announce(mark, self.due.left)

    def stop(self, waits_until: datetime) -> None:
        """Cancel it for now, and wait for players again."""
        if self._last_mark:
            self._quiet_until = Deadline.after(self._context.node.clock, _QUIET_SECONDS)
        self.call_off()
        self._context.slot.end_countdown()
        self.due = None
        self._write(phase=WAITING, due=timestamp(waits_until), last_mark=0)

    def call_off(self) -> None:
        """Tell warned players that the action does not come, if their run goes on."""
        if self._last_mark and self._watch.is_there():
            self._say(called_off(self._context.verb))
        self._last_mark = 0

    @property
    def seconds_to_next(self) -> float:
        """Seconds until a mark, a slot or the end; infinite if none runs."""
        if self.due is None:
            return float("inf")
        left = self.due.left
        return left - max((moment for moment in (*self._policy.warn, self._reserve_seconds, 0.0) if moment < left), default=0.0)

    @property
    def _reserve_seconds(self) -> float:
        return min(float(self._policy.warn[-1]), _SLOT_SECONDS)

    def _begin(self, latest: Deadline | None) -> bool:
        clock = self._context.node.clock
        seconds = self._policy.countdown_seconds
        agreed = self._context.slot.begin_countdown(seconds, clock)
        if agreed is None:
            return False
        # If all servers of a call must end at the same moment, that moment counts.
        due = latest if latest is not None and agreed.at - seconds < latest.at <= agreed.at else agreed
        self._run_until(due)
        self._write_event(due)
        return True

    def _write_event(self, due: Deadline) -> None:
        context, now = self._context, self._context.node.clock.now()
        data = {
            "operation": context.request.operation,
            "action": context.request.action.value,
            "origin": context.request.origin or None,
            "reason": context.request.reason or None,
            "ends_at": timestamp(now + timedelta(seconds=due.left)),
            "warn": list(self._policy.warn),
            "players": None if context.progress.players is None else context.progress.players.online,
        }
        context.node.journal.events.write(Event(EventType.COUNTDOWN_BEGUN, timestamp(now), data, context.progress.server))

    def _run_until(self, due: Deadline) -> None:
        moment = self._context.node.clock.now() + timedelta(seconds=due.left)
        self.due = due
        self._write(phase=COUNTING, due=timestamp(moment), last_mark=self._last_mark)
        self._context.progress.note(COUNTDOWN)
        self._context.report(COUNTDOWN, moment, "" if self._game is not None else "without warnings: no game profile")

    def _reserve(self) -> None:
        """Take the slots back before the last warning; if that takes long, the end moves by as much."""
        if self.due is None or not self._context.slot.is_aside or self.due.left > self._reserve_seconds:
            return
        waited = take_slots(self._context, self._watch.check, first=True)
        if waited > STALE_SECONDS:
            self._run_until(Deadline(self.due.clock, self.due.at + waited))

    def _announce(self, mark: int, left: float) -> None:
        """Announce the action in so many seconds as the mark says, or fewer if less time is left."""
        seconds = mark if mark - left <= max(mark * _LATE_PART, _LATE_SECONDS) else max(round(left), 1)
        self.marks.append(mark)
        context, request = self._context, self._context.request
        # The key of a rolling run or a deployment means nothing to players.
        reason = request.reason[len(request.idempotency_key) :].lstrip(": ") if request.idempotency_key else request.reason
        server = context.progress.server
        values = {"time": spoken_time(seconds), "action": context.verb, "reason": reason, "server": server.name or server.short_id}
        self._say(filled(self._policy.warn_message, values))

    def _say(self, text: str) -> bool:
        context = self._context
        if self._game is None:
            self.reached = False
            return False
        why = self._game.announce(text)
        if why:
            context.warn(f"its players got no message: {why}")
        self.reached = self.reached is not False and not why
        return not why

    def _write(self, **changes: object) -> None:
        if self._record is not None:
            self._record.write(**changes)


#: The next process of the HTTP shim may resume an accepted action so many seconds after its moment.
_RESUMED_SECONDS = 30.0
#: Seconds for all servers together, because games may be silent. The next call handles the rest.
_ALL_SECONDS = 4.0


def call_off_all_abandoned(node: Node) -> None:
    """Tell players of all servers about actions that do not come; see `call_off_abandoned`."""
    map_concurrently(lambda uuid: call_off_abandoned(node, Server(uuid)), node.countdowns.all_abandoned(), _ALL_SECONDS)


def call_off_abandoned(node: Node, server: Server) -> None:
    """Tell players that an announced action does not come, if its process died, unless another process resumes it or still may.

    Players without a warning, in another run, or warned long ago hear nothing. The record is cleared, unless the next look tries again or
    the action may still be resumed: then it shows if another action came first (`require_unchanged`).
    """
    held, keep = None, True
    with contextlib.suppress(PowerError):
        held = node.countdowns.take_abandoned(server.uuid)
    if held is None:
        return
    try:
        found, now = held.record, node.clock.now()
        keep = waits = node.journal.operations.waits(found.operation) is not False
        if not found.is_remembered(now) or (waits and found.seconds_left(now) > -_RESUMED_SECONDS):
            return
        if found.seconds_left(now) > 0:
            # Its end may be hours away: from now on, the time of the tries is limited.
            held.write(due=timestamp(now))
        snapshot = node.engine.inspect(server.uuid)
        if snapshot is None or not snapshot.live or snapshot.run != found.run:
            return
        game = node.games.of(server, snapshot, node.sources.definition_for_stop(server.uuid))
        if game is not None:
            # Written first, because this process may die while players read it.
            held.write(tries=found.tries + 1)
            if not game.announce(called_off(found.action)):
                held.write(last_mark=0)
        # A game that is missing or fails may take it at the next look.
        keep = waits or held.record.is_remembered(now)
    except PowerError:
        # The engine is silent: the next look may succeed.
        keep = True
    finally:
        held.release(keep=keep)
