# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for players before an action's turn: wait for few players, warn the rest, and cancel if the action does not come.

It follows all checks that may refuse the action, so that players get no false warning. It precedes the lock, so that others may act in the
meantime; it holds no slot. `players/countdown_rules` decides the next move; `RunWatch` ends the wait.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from ...locking.countdown import Countdown, HeldCountdown
from ...model.cancellation import Deadline
from ...model.clock import timestamp
from ...model.errors import CountdownRunning, InterruptedBySignal, PlayersOnline, PlayersUnknown
from ...model.news import PLAYERS
from ...model.plan import plan
from ...model.players import PlayerCount, PlayerPolicy, PlayerWait
from ...model.result import Phase, PlanStep
from ...model.server import Snapshot
from ..node.context import STALE_SECONDS, ActionContext, refuse_frozen, same_action
from ..node.run_end import NO_RUN
from ..players.countdown import PlayerCountdown, RunWatch, require_unchanged, take_slots
from ..players.countdown_rules import Move, Situation, decide, must_go, next_change
from .locked import Checked, TurnEnd, await_stagger, check, take_turn

#: Seconds between player counts, and checks of the run. With hundreds of waits, wake-ups are expensive.
LOOK_SECONDS = 5.0
_RETRY_SECONDS = 1.0
#: A silent game delays a look so long; a closer mark comes first.
_SILENT_SECONDS = 3.5


def take_turn_after_players(context: ActionContext, policy: PlayerPolicy, checked: Checked) -> TurnEnd:
    """Wait and count down as the policy says, then for the stagger, and take the turn with fresh knowledge of the server.

    If the action does not come, warned players get a cancellation. Raises `PlayersOnline`, `PlayersUnknown`, `CountdownRunning`,
    `Superseded`, as `take_turn`, as `check` after a wait, and as `RunWatch.check`.
    """
    seen = checked.seen
    require_unchanged(context, seen.snapshot)
    if seen.snapshot is None or not seen.live or PlanStep.STOP not in plan(context.request.action, seen.state).steps:
        await_stagger(context, checked)
        # The players of a later run were not asked.
        context.progress.waited_run = NO_RUN
        return take_turn(context, checked)
    # From here on, a stop during the pull of the image must prevent the restart.
    watch = RunWatch(context, seen.snapshot.run)
    if checked.boot is not None:
        from ..boot.container import pull

        # Before any warning: a missing image, or minutes of pulling, would make it false. The action may yet never begin.
        if pull(context, checked.boot.definition):
            context.warn(f"image {checked.boot.definition.image} was pulled ahead of its turn")
    wait = _Wait(context, policy, seen.snapshot, watch)
    try:
        return take_turn(context, wait.until_go(checked))
    except BaseException as error:
        wait.give_up(error)
        raise
    finally:
        wait.leave()


def look_at_players(context: ActionContext, policy: PlayerPolicy, snapshot: Snapshot) -> None:
    """Count players once, for check mode. Raises `PlayersOnline` or `PlayersUnknown` if a wait is forbidden or useless."""
    wait = _Wait(context, policy, snapshot, RunWatch(context, snapshot.run))
    count = context.progress.players = wait.look()
    move = decide(policy, Situation(count, 0.0))
    if move is Move.REFUSE:
        raise _too_many(context, policy, count)
    if move is Move.WAIT and decide(policy, Situation(count, float(policy.max_delay))) is Move.REFUSE:
        who = f"its players cannot be counted ({count.why})" if count.online is None else f"{count.online} play on it"
        left = f"it would be skipped after {policy.max_delay} s"
        if wait.game is None:
            raise PlayersUnknown(context.cannot(f"{who}: {left}"))
        context.warn(f"{who}: {left} if nothing changes until then")


def _too_many(context: ActionContext, policy: PlayerPolicy, count: PlayerCount, when: str = "") -> PlayersOnline | PlayersUnknown:
    waited = when or (f" after {policy.max_delay} s" if policy.max_delay else "")
    most = f"players_at_most is {policy.at_most}"
    if count.online is None:
        return PlayersUnknown(context.cannot(f"it is unknown how many play on it ({count.why}){waited}, and {most}"))
    why = "there is no time left to tell them" if count.online <= policy.at_most else most
    return PlayersOnline(context.cannot(f"{count.online} play on it{waited}, and {why}"))


class _Wait:
    def __init__(self, context: ActionContext, policy: PlayerPolicy, snapshot: Snapshot, watch: RunWatch) -> None:
        node, progress = context.node, context.progress
        self._context, self._policy = context, policy
        definition = node.sources.definition_for_stop(context.uuid)
        self.game = node.games.of(progress.server, snapshot, definition)
        self._no_game = None if self.game is not None else node.games.why_none(progress.server, definition)
        if self._no_game is not None:
            context.warn(f"its players cannot be counted or warned: {self._no_game}")
        self._watch = watch
        self._countdown = PlayerCountdown(context, policy, self.game, watch)
        self._record: HeldCountdown | None = None
        self._is_handed_on = False
        self._count = PlayerCount(why=str(self._no_game or "it was not asked yet"))
        self._began = node.clock.monotonic()
        #: By the monotonic clock, because the wall clock may be set.
        self._requested = self._began - max((node.clock.now() - context.request.requested_at).total_seconds(), 0.0)
        self._latest = Deadline(node.clock, self._requested + policy.max_delay)
        self._next_look = Deadline(node.clock, self._began)

    def until_go(self, checked: Checked) -> Checked:
        """Wait and count down until the action may begin; return fresh knowledge of the server."""
        context, progress = self._context, self._context.progress
        if self._begin():
            while not self._advance():
                self._pause()
            progress.waited_run, progress.last_look = self._watch.run, self._last_look
        progress.player_wait = PlayerWait(self._waited)
        return checked if self._waited <= STALE_SECONDS else check(context)

    def look(self) -> PlayerCount:
        if self._context.request.action.boots:
            # Players must not wait for a restart that a freeze refuses.
            refuse_frozen(self._context)
        was_known = self._count.online is not None
        if self.game is not None:
            self._count = self._context.progress.players = self.game.players()
        self._watch.look(certain=was_known is not (self._count.online is not None))
        if self._record is not None:
            self._record.saw(self._count)
        return self._count

    def _last_look(self) -> None:
        """After a long wait for the lock count again, without a wait. Raises `PlayersOnline` or `PlayersUnknown`."""
        if self._next_look.is_over:
            self.look()
            if self._move() is not Move.GO:
                raise _too_many(self._context, self._policy, self._count, " by the time it had the lock")

    def give_up(self, error: BaseException) -> None:
        """Tell warned players that the action does not come, unless it has begun, or another process resumes it after a signal."""
        self._is_handed_on = isinstance(error, InterruptedBySignal) and self._context.node.caller.handed_on()
        # A new image is a change, but players were not warned of that.
        has_stopped = any(phase == Phase.STOP.value for phase, _seconds in self._context.progress.phases)
        if not self._is_handed_on and not has_stopped:
            self._countdown.call_off()

    def leave(self) -> None:
        """Add the wait to the result, and release the record."""
        progress, countdown = self._context.progress, self._countdown
        waited = progress.player_wait or PlayerWait(self._waited)
        progress.players = self._count
        progress.player_wait = replace(waited, marks=tuple(countdown.marks), announced=countdown.reached)
        if self._record is not None:
            self._record.release(keep=self._is_handed_on, instead=countdown.owed)

    @property
    def _waits_until(self) -> datetime:
        return self._context.node.clock.now() + timedelta(seconds=self._latest.left)

    @property
    def _waited(self) -> float:
        return round(self._context.node.clock.monotonic() - self._began, 3)

    def _begin(self) -> bool:
        """Begin the record of the wait, after a wait of the same action and key; return False if that went ahead."""
        context = self._context
        node, request = context.node, context.request
        due = timestamp(self._waits_until)
        while True:
            try:
                self._record = node.countdowns.begin(context.uuid, request, self._watch.run, since=timestamp(node.clock.now()), due=due)
                break
            except CountdownRunning as error:
                running = error.facts.get("running")
                if not isinstance(running, Countdown) or not running.is_of(request):
                    raise
            self._context.slot.step_aside()
            self._check()
            node.clock.sleep(_RETRY_SECONDS)
        if same_action(context) is not None:
            take_slots(self._context, self._check, first=False)
            return False
        context.progress.countdown = self._record
        self._countdown.keep_in(self._record)
        return True

    def _advance(self) -> bool:
        """Make the next move if it is due, and return True if the action may begin."""
        if self._is_look_due():
            self.look()
            self._countdown.say_owed()
        move = self._move()
        if move is Move.REFUSE:
            # A run that ended by itself has no players, but its missing game cannot say so.
            self._watch.look(certain=self._waited > STALE_SECONDS)
            if not self._watch.is_over:
                raise _too_many(self._context, self._policy, self._count)
        if move in (Move.REFUSE, Move.GO):
            return self._come_back()
        if move is Move.CALL_OFF:
            self._countdown.stop(self._waits_until)
        if move is Move.CALL_OFF or (self._countdown.due is None and not self._context.slot.is_aside):
            self._context.slot.step_aside()
            self._context.progress.note(PLAYERS)
            self._context.report(PLAYERS, self._waits_until, "" if self._no_game is None else self._no_game.why)
        if move is Move.COUNT:
            self._countdown.go_on(self._latest if must_go(self._policy, self._situation.passed) else None)
        return False

    def _is_look_due(self) -> bool:
        if not self._next_look.is_over:
            return False
        clock, next_mark = self._context.node.clock, self._countdown.seconds_to_next
        is_silent = self._count.online is None and self.game is not None
        comes_later = is_silent and 0 < next_mark < _SILENT_SECONDS
        self._next_look = Deadline.after(clock, next_mark if comes_later else LOOK_SECONDS)
        return not comes_later

    def _move(self) -> Move:
        return Move.GO if self._watch.is_over else decide(self._policy, self._situation)

    @property
    def _situation(self) -> Situation:
        due = self._countdown.due
        passed = self._context.node.clock.monotonic() - self._requested
        return Situation(self._count, passed, None if due is None else due.at - self._requested)

    def _come_back(self) -> bool:
        clock = self._context.node.clock
        began = clock.monotonic()
        take_slots(self._context, self._check, first=self._countdown.due is not None)
        self._context.node.caller.hold()
        self._check()
        self._watch.look(certain=True)
        if clock.monotonic() - began > STALE_SECONDS:
            self.look()
        if self._move() is Move.GO:
            return True
        self._context.slot.step_aside(counts_on=self._countdown.due is not None)
        return False

    def _pause(self) -> None:
        clock, situation = self._context.node.clock, self._situation
        moments = (self._next_look.left, self._countdown.seconds_to_next, next_change(self._policy, situation) - situation.passed)
        Deadline.after(clock, max(min(moments), 0.0)).wait_out(self._check, every=LOOK_SECONDS)

    def _check(self) -> None:
        if self._context.node.caller.handed_on():
            raise InterruptedBySignal(f"Cannot {self._context.verb} server {self._context.uuid} yet: another process continues it")
        self._watch.check()
