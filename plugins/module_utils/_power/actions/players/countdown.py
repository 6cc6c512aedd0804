# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The countdown before an action: warnings to players, and an earlier countdown resumed."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...events.event import Event, EventType
from ...games.game import Game
from ...games.message import filled, spoken_time
from ...locking.countdown import Countdown, HeldCountdown
from ...model.cancellation import CheckCancelled, Deadline
from ...model.clock import timestamp
from ...model.news import COUNTDOWN
from ...model.players import COUNTING, WAITING, PlayerPolicy
from ...model.server import Snapshot
from ..node.context import STALE_SECONDS, ActionContext
from ..node.limiter import Slots
from .countdown_rules import mark_reached
from .run_watch import RunWatch, superseded

_CALLED_OFF = "Server {action} called off."
#: A mark that is late by so many seconds, and this part of it, announces the time that is left.
_LATE_SECONDS, _LATE_PART = 2.0, 0.15


def called_off(action: str) -> str:
    return filled(_CALLED_OFF, {"action": action})


class Announcer:
    def __init__(self, context: ActionContext, policy: PlayerPolicy, game: Game | None) -> None:
        self._context = context
        self._policy = policy
        self._game = game
        self.marks: list[int] = []
        #: Whether all messages reached the game; None before the first.
        self.reached: bool | None = None

    def tell(self, mark: int, left: float) -> None:
        """Announce the action in so many seconds as the mark says, or fewer if less time is left."""
        seconds = mark if mark - left <= max(mark * _LATE_PART, _LATE_SECONDS) else max(round(left), 1)
        self.marks.append(mark)
        context, request = self._context, self._context.request
        # The key of a rolling run or a deployment means nothing to players.
        reason = request.reason[len(request.once) :].lstrip(": ") if request.once else request.reason
        server = context.progress.server
        values = {"time": spoken_time(seconds), "action": context.verb, "reason": reason, "server": server.name or server.short_id}
        self._say(filled(self._policy.warn_message, values))

    def call_off(self, action: str) -> None:
        """Tell players that an action does not come, this one or an earlier one."""
        self._say(called_off(action))

    def _say(self, text: str) -> None:
        context = self._context
        if self._game is None:
            self.reached = False
            return
        why = self._game.announce(text)
        if why:
            context.progress.warn(f"server {context.uuid}: its players got no message: {why}")
        self.reached = self.reached is not False and not why


def require_unchanged(context: ActionContext, snapshot: Snapshot | None) -> None:
    """Raise `Superseded` if another action came after this one's process died. Raises as `ActionContext.check_interrupted`."""
    found = context.node.countdowns.abandoned(context.uuid)
    if found is None or found.operation != context.request.operation:
        return
    # This reports a kill as one.
    context.check_interrupted()
    if snapshot is not None and snapshot.live and snapshot.run != found.run:
        raise superseded(context, "was started anew")
    if _was_meant(context, found):
        raise superseded(context, "was acted on")


def _was_meant(context: ActionContext, found: Countdown) -> bool:
    intent = context.node.journal.intents.of(context.uuid)
    return intent is not None and intent.operation != context.request.operation and intent.at > found.since


class SlotsAside:
    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._given: list[Slots] | None = None
        self._is_apart = False

    @property
    def are_aside(self) -> bool:
        return self._given is not None

    def leave(self, *, counts_on: bool) -> None:
        """Give the slots to others, but keep the place of a running countdown."""
        if self._given is None:
            self._given, self._is_apart = self._context.slot.leave(counts_on=counts_on), False

    def come_back(self, check_cancelled: CheckCancelled, *, first: bool) -> float:
        """Take the slots again, before or behind all waiters; return the seconds. Raises `FailureBudget`."""
        context, clock = self._context, self._context.node.clock
        given, self._given = self._given, None
        began = clock.monotonic()
        if given is not None:
            context.slot.come_back(given, check_cancelled, first=first)
            context.slot.refuse_over_budget(context.uuid)
        if not self._is_apart:
            # It may take long, so it precedes the last warning and the last look.
            context.slot.await_stagger(context.uuid, check_cancelled)
            self._is_apart = True
        return clock.monotonic() - began


#: The server has its slot so many seconds before the end, or from an earlier last mark: then the announcement holds.
_SLOT_SECONDS = 30.0
#: After a cancellation it pauses so long unless it must begin: one player who comes and goes would cause endless messages.
_QUIET_SECONDS = 60.0
#: A countdown of a dead process is not resumed later after its end: players heard nothing since.
_OVERDUE_SECONDS = 10.0


class PlayerCountdown:
    """The countdown of one action. ``due`` is its end, None while none runs."""

    def __init__(self, context: ActionContext, policy: PlayerPolicy, announcer: Announcer, watch: RunWatch, slots: SlotsAside) -> None:
        self._context, self._policy = context, policy
        self._announcer, self._watch, self._slots = announcer, watch, slots
        self._record: HeldCountdown | None = None
        self._told = 0
        self._quiet_until = Deadline(context.node.clock, 0.0)
        self.due: Deadline | None = None

    def keep_in(self, record: HeldCountdown) -> None:
        """Write the countdown to a record. An earlier countdown there is resumed if it is of this action, else cancelled."""
        self._record, found, clock = record, record.found, self._context.node.clock
        left = 0.0 if found is None else found.seconds_left(clock.now())
        if found is None or not found.told or found.run != self._watch.run:
            record.write()
        elif found.operation == self._context.request.operation and left > -_OVERDUE_SECONDS:
            self._told = found.told
            self._run_until(Deadline.after(clock, left))
        else:
            record.write()
            if found.is_remembered(clock.now()):
                self._announcer.call_off(found.action)

    def go_on(self, latest: Deadline | None) -> None:
        """Begin, take a slot, or warn, whatever is due; ``latest`` is the latest end. Raises as `RunWatch.check` and `RunWatch.look`."""
        if self.due is None and ((latest is None and not self._quiet_until.is_over) or not self._begin(latest)):
            return
        self._reserve()
        if self.due is None:
            return
        mark = mark_reached(self._policy.warn, self.due.left, self._told)
        if mark:
            self._watch.look(certain=True)
            if not self._watch.is_over:
                # Written first, so that another process does not repeat the warning.
                self._told = mark
                self._write(told=mark)
                self._announcer.tell(mark, self.due.left)

    def stop(self, waits_until: datetime) -> None:
        """Cancel it for now, and wait for players again."""
        if self._told:
            self._quiet_until = Deadline.after(self._context.node.clock, _QUIET_SECONDS)
        self.call_off()
        self._context.slot.end_countdown()
        self.due = None
        self._write(phase=WAITING, due=timestamp(waits_until), told=0)

    def call_off(self) -> None:
        """Tell warned players that the action does not come, if their run goes on."""
        if self._told and self._watch.is_there():
            self._announcer.call_off(self._context.verb)
        self._told = 0

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
        self._run_until(latest if latest is not None and agreed.at - seconds < latest.at <= agreed.at else agreed)
        self._tell_begun()
        return True

    def _tell_begun(self) -> None:
        context, now = self._context, self._context.node.clock.now()
        left = 0.0 if self.due is None else self.due.left
        data = {
            "operation": context.request.operation,
            "action": context.request.action.value,
            "origin": context.request.origin or None,
            "reason": context.request.reason or None,
            "ends_at": timestamp(now + timedelta(seconds=left)),
            "warn": list(self._policy.warn),
            "players": None if context.progress.players is None else context.progress.players.online,
        }
        context.node.journal.events.write(Event(EventType.COUNTDOWN_BEGUN, timestamp(now), data, context.progress.server))

    def _run_until(self, due: Deadline) -> None:
        moment = self._context.node.clock.now() + timedelta(seconds=due.left)
        self.due = due
        self._write(phase=COUNTING, due=timestamp(moment), told=self._told)
        self._context.progress.note(COUNTDOWN)
        self._context.tell(COUNTDOWN, moment)

    def _reserve(self) -> None:
        """Take the slots back before the last warning; if that takes long, the end moves by as much."""
        if self.due is None or not self._slots.are_aside or self.due.left > self._reserve_seconds:
            return
        waited = self._slots.come_back(self._watch.check, first=True)
        if waited > STALE_SECONDS:
            self._run_until(Deadline(self.due.clock, self.due.at + waited))

    def _write(self, **changes: object) -> None:
        if self._record is not None:
            self._record.write(**changes)
