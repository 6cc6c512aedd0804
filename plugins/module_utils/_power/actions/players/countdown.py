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
#: Later than by so much, in seconds and as a part of it, a mark says how much is left.
_LATE_SECONDS, _LATE_PART = 2.0, 0.15


def called_off(action: str) -> str:
    """Return what players are told of an action that does not come after all."""
    return filled(_CALLED_OFF, {"action": action})


class Announcer:
    """Tells the players of one run."""

    def __init__(self, context: ActionContext, policy: PlayerPolicy, game: Game | None) -> None:
        self._context = context
        self._policy = policy
        self._game = game
        #: The marks at which players were told, in their order.
        self.marks: list[int] = []
        #: Whether all that was said reached the game; None while nothing was said.
        self.reached: bool | None = None

    def tell(self, mark: int, left: float) -> None:
        """Tell that it comes: in so many seconds as the mark says, unless fewer are left by now."""
        seconds = mark if mark - left <= max(mark * _LATE_PART, _LATE_SECONDS) else max(round(left), 1)
        self.marks.append(mark)
        context, request = self._context, self._context.request
        # The key of a run or a deployment means nothing to players.
        reason = request.reason[len(request.once) :].lstrip(": ") if request.once else request.reason
        server = context.progress.server
        values = {"time": spoken_time(seconds), "action": context.verb, "reason": reason, "server": server.name or server.short_id}
        self._say(filled(self._policy.warn_message, values))

    def call_off(self, action: str) -> None:
        """Tell that an action does not come, this one or one that was told of before."""
        self._say(called_off(action))

    def _say(self, text: str) -> None:
        context = self._context
        if self._game is None:
            self.reached = False
            return
        why = self._game.announce(text)
        if why:
            context.progress.warn(f"server {context.uuid}: its players could not be told: {why}")
        self.reached = self.reached is not False and not why


def require_unchanged(context: ActionContext, snapshot: Snapshot | None) -> None:
    """Raise `Superseded` if this action waited for players when its process died, and somebody has acted on the server since.

    Raises as `ActionContext.check_interrupted`, too.
    """
    found = context.node.countdowns.abandoned(context.uuid)
    if found is None or found.operation != context.request.operation:
        return
    # A kill is told as one.
    context.check_interrupted()
    if snapshot is not None and snapshot.live and snapshot.run != found.run:
        raise superseded(context, "was started anew")
    if _was_meant(context, found):
        raise superseded(context, "was acted on")


def _was_meant(context: ActionContext, found: Countdown) -> bool:
    intent = context.node.journal.intents.of(context.uuid)
    return intent is not None and intent.operation != context.request.operation and intent.at > found.since


class SlotsAside:
    """The slots of one server."""

    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._given: list[Slots] | None = None
        self._is_apart = False

    @property
    def are_aside(self) -> bool:
        """True while others have them."""
        return self._given is not None

    def leave(self, *, counts_on: bool) -> None:
        """Give them to others, but for the place of a countdown that goes on."""
        if self._given is None:
            self._given, self._is_apart = self._context.slot.leave(counts_on=counts_on), False

    def come_back(self, check_cancelled: CheckCancelled, *, first: bool) -> float:
        """Take them again, before all who wait or behind them, and wait until it may begin after the one before it.

        Return how many seconds that took. Raises `FailureBudget` if too many others have failed meanwhile, and what ``check_cancelled``
        raises.
        """
        context, clock = self._context, self._context.node.clock
        given, self._given = self._given, None
        began = clock.monotonic()
        if given is not None:
            context.slot.come_back(given, check_cancelled, first=first)
            context.slot.refuse_over_budget(context.uuid)
        if not self._is_apart:
            # Before players are told for the last time, and before the last look at them: it may take long.
            context.slot.begin_apart(context.uuid, check_cancelled)
            self._is_apart = True
        return clock.monotonic() - began


#: From so many seconds before the end on, or from a later last mark, the server has its slot: what players are told then comes.
_SLOT_SECONDS = 30.0
#: So long after it was called off it does not begin again unless it has to: where one comes and goes, players would hear nothing else.
_QUIET_SECONDS = 60.0
#: A countdown of a process that died is not gone on with if its end is longer ago: players have heard nothing of it since.
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
        """Keep it in a record from now on. What a dead process left there is gone on with if it is this very action, else called off."""
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
        """Begin if there is room for it, have a slot in time, and tell players of the mark that is reached.

        ``latest`` is when it has to end; None where it need not at any moment. Raises as `RunWatch.check` and `RunWatch.look`.
        """
        if self.due is None and ((latest is None and not self._quiet_until.is_over) or not self._begin(latest)):
            return
        self._reserve()
        if self.due is None:
            return
        mark = mark_reached(self._policy.warn, self.due.left, self._told)
        if mark:
            self._watch.look(certain=True)
            if not self._watch.is_over:
                # Written first: whoever goes on with it does not tell them twice.
                self._told = mark
                self._write(told=mark)
                self._announcer.tell(mark, self.due.left)

    def stop(self, waits_until: datetime) -> None:
        """Call it off, for now: players are waited for again."""
        if self._told:
            self._quiet_until = Deadline.after(self._context.node.clock, _QUIET_SECONDS)
        self.call_off()
        self._context.slot.end_countdown()
        self.due = None
        self._write(phase=WAITING, due=timestamp(waits_until), told=0)

    def call_off(self) -> None:
        """Tell players who were told, if their run goes on, that what they were told of does not come."""
        if self._told and self._watch.is_there():
            self._announcer.call_off(self._context.verb)
        self._told = 0

    @property
    def seconds_to_next(self) -> float:
        """Seconds until a mark is reached, or a slot is needed, or it ends; infinite where none runs."""
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
        # Where all of a call have to go at the same moment, that is it.
        self._run_until(latest if latest is not None and agreed.at - seconds < latest.at <= agreed.at else agreed)
        self._tell_begun()
        return True

    def _tell_begun(self) -> None:
        """Tell who is told beyond the node that players of this server are told."""
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
        """Take the slots back before players are told for the last time; where that takes long, the end is later by as much."""
        if self.due is None or not self._slots.are_aside or self.due.left > self._reserve_seconds:
            return
        waited = self._slots.come_back(self._watch.check, first=True)
        if waited > STALE_SECONDS:
            self._run_until(Deadline(self.due.clock, self.due.at + waited))

    def _write(self, **changes: object) -> None:
        if self._record is not None:
            self._record.write(**changes)
