# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Regard to players before an action's turn: wait until few enough play, tell those who are left, and call it off if it does not come.

It comes after all that may refuse the action, so that nobody is told of what would be refused, and before the lock, so that everybody
else may act meanwhile. No slot is held. `players/rules` decides what is next, `players/run_watch` what ends it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
from ..node.context import STALE_SECONDS, ActionContext, same_action
from ..node.run_end import NO_RUN
from ..players.countdown import Announcer, PlayerCountdown, SlotsAside, require_unchanged
from ..players.countdown_rules import Move, Situation, decide, must_go, next_change
from ..players.run_watch import RunWatch
from .locked import Checked, begin_apart, check

#: Seconds from one look at the players to the next, and at what ends the wait: nothing is under way that would have to be ended sooner,
#: and with hundreds that wait it is the waking up that costs.
LOOK_SECONDS = 5.0
#: Between two tries to begin while the same action waits.
_RETRY_SECONDS = 1.0
#: A look at a game that does not answer may take so long; a mark that is closer than that comes first.
_SILENT_SECONDS = 3.5


@contextlib.contextmanager
def with_regard_to_players(context: ActionContext, policy: PlayerPolicy, checked: Checked) -> Iterator[Checked]:
    """Wait and count as the policy says, and until the action may begin after the one before it, then give what is known of the server by
    then; players who were told hear if it is called off.

    Raises `PlayersOnline`, `PlayersUnknown`, `CountdownRunning`, `Superseded`, as `check` where it waited, and as `RunWatch.check`.
    """
    seen = checked.seen
    require_unchanged(context, seen.snapshot)
    if seen.snapshot is None or not seen.live or PlanStep.STOP not in plan(context.request.action, seen.state).steps:
        begin_apart(context, checked)
        # Nobody was asked who plays on a run that has come since.
        context.progress.waited_run = NO_RUN
        yield checked
        return
    # From here on: who stops the server while its image is pulled is not to find it started again.
    watch = RunWatch(context, seen.snapshot.run)
    if checked.boot is not None:
        from ..boot.container import pull_ahead

        # Players are told of no image that cannot be had, and nothing takes minutes between what they hear and what comes.
        pull_ahead(context, checked.boot.definition)
    regard = _Regard(context, policy, seen.snapshot, watch)
    try:
        yield regard.until_go(checked)
    except BaseException as error:
        regard.give_up(error)
        raise
    finally:
        regard.leave()


def look_at_players(context: ActionContext, policy: PlayerPolicy, snapshot: Snapshot) -> None:
    """See who plays, once and at once, for check mode. Raises `PlayersOnline` or
    `PlayersUnknown` where the action would not wait for them, or where its wait could change nothing."""
    regard = _Regard(context, policy, snapshot, RunWatch(context, snapshot.run))
    count = context.progress.players = regard.look()
    move = decide(policy, Situation(count, 0.0))
    if move is Move.REFUSE:
        raise _too_many(context, policy, count)
    if move is Move.WAIT and decide(policy, Situation(count, float(policy.max_delay))) is Move.REFUSE:
        who = f"its players cannot be counted ({count.why})" if count.online is None else f"{count.online} play on it"
        left = f"it would be left after {policy.max_delay} s"
        if not regard.has_game:
            raise PlayersUnknown(f"Cannot {context.verb} server {context.uuid}: {who}: {left}")
        context.progress.warn(f"server {context.uuid}: {who}: {left} if nothing changes until then")


def _too_many(context: ActionContext, policy: PlayerPolicy, count: PlayerCount, when: str = "") -> PlayersOnline | PlayersUnknown:
    """The error of an action that has waited for players as long as it may, or may not wait any more; ``when`` says since when."""
    waited = when or (f" after {policy.max_delay} s" if policy.max_delay else "")
    cannot = f"Cannot {context.verb} server {context.uuid}"
    if count.online is None:
        return PlayersUnknown(f"{cannot}: it is unknown how many play on it ({count.why}){waited}, and players_at_most is {policy.at_most}")
    why = "there is no time left to tell them" if count.online <= policy.at_most else f"players_at_most is {policy.at_most}"
    return PlayersOnline(f"{cannot}: {count.online} play on it{waited}, and {why}")


class _Regard:
    """One action's regard to the players of one run."""

    def __init__(self, context: ActionContext, policy: PlayerPolicy, snapshot: Snapshot, watch: RunWatch) -> None:
        node, progress = context.node, context.progress
        self._context, self._policy = context, policy
        definition = node.sources.definition_for_stop(context.uuid)
        self._game = node.games.of(progress.server, snapshot, definition)
        self._no_game = None if self._game is not None else node.games.why_none(progress.server, definition)
        if self._no_game is not None:
            progress.warn(f"server {context.uuid}: its players are neither asked nor told: {self._no_game}")
        self._announcer = Announcer(context, policy, self._game)
        self._watch = watch
        self._slots = SlotsAside(context)
        self._countdown = PlayerCountdown(context, policy, self._announcer, watch, self._slots)
        self._record: HeldCountdown | None = None
        self._is_handed_on = False
        self._count = PlayerCount(why=str(self._no_game or "it was not asked yet"))
        self._began = node.clock.monotonic()
        #: By the monotonic clock: the wall clock may be set meanwhile.
        self._requested = self._began - max((node.clock.now() - context.request.requested_at).total_seconds(), 0.0)
        self._latest = Deadline(node.clock, self._requested + policy.max_delay)
        self._next_look = Deadline(node.clock, self._began)

    @property
    def has_game(self) -> bool:
        """True if there is a game to ask who plays."""
        return self._game is not None

    def until_go(self, checked: Checked) -> Checked:
        """Wait and count until the action may go on; return what is known of the server by then."""
        context, progress = self._context, self._context.progress
        if self._begin():
            while not self._advance():
                self._pause()
            progress.waited_run, progress.last_look = self._watch.run, self._last_look
        progress.player_wait = PlayerWait(self._waited)
        return checked if self._waited <= STALE_SECONDS else check(context)

    def look(self) -> PlayerCount:
        """Ask who plays."""
        was_known = self._count.online is not None
        if self._game is not None:
            self._count = self._context.progress.players = self._game.players()
        self._watch.look(certain=was_known is not (self._count.online is not None))
        if self._record is not None:
            self._record.saw(self._count)
        return self._count

    def _last_look(self) -> None:
        """Look once more where the wait for the lock took long. Raises `PlayersOnline` or `PlayersUnknown`: under the lock
        nobody is waited for."""
        if self._next_look.is_over:
            self.look()
            if self._move() is not Move.GO:
                raise _too_many(self._context, self._policy, self._count, " by the time it had the lock")

    def give_up(self, error: BaseException) -> None:
        """Tell players who were told that it does not come, unless it has begun, or another process goes on with it after a signal."""
        self._is_handed_on = isinstance(error, InterruptedBySignal) and self._context.node.caller.handed_on()
        # A new image is a change, and nothing of what they were told.
        has_stopped = any(phase == Phase.STOP.value for phase, _seconds in self._context.progress.phases)
        if not self._is_handed_on and not has_stopped:
            self._countdown.call_off()

    def leave(self) -> None:
        """Say in the result what was done for the sake of players, and let go of the record."""
        progress, announcer = self._context.progress, self._announcer
        waited = progress.player_wait or PlayerWait(self._waited)
        progress.players = self._count
        progress.player_wait = replace(waited, marks=tuple(announcer.marks), announced=announcer.reached)
        if self._record is not None:
            self._record.release(keep=self._is_handed_on)

    @property
    def _waits_until(self) -> datetime:
        return self._context.node.clock.now() + timedelta(seconds=self._latest.left)

    @property
    def _waited(self) -> float:
        return round(self._context.node.clock.monotonic() - self._began, 3)

    def _begin(self) -> bool:
        """Begin the record of the wait; return False if the same action went ahead, asked for under the same key by somebody else.

        While that waits for the players, this one waits for it.
        """
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
            self._slots.leave(counts_on=False)
            self._check()
            node.clock.sleep(_RETRY_SECONDS)
        if same_action(context) is not None:
            self._slots.come_back(self._check, first=False)
            return False
        context.progress.countdown = self._record
        self._countdown.keep_in(self._record)
        return True

    def _advance(self) -> bool:
        """Look if it is time to, do what is next, and return True if the action may go on."""
        if self._is_look_due():
            self.look()
        move = self._move()
        if move is Move.REFUSE:
            # Nobody plays on one that has ended by itself, which a game that is not there does not tell.
            self._watch.look(certain=self._waited > STALE_SECONDS)
            if not self._watch.is_over:
                raise _too_many(self._context, self._policy, self._count)
        if move in (Move.REFUSE, Move.GO):
            return self._come_back()
        if move is Move.CALL_OFF:
            self._countdown.stop(self._waits_until)
        if move is Move.CALL_OFF or (self._countdown.due is None and not self._slots.are_aside):
            self._slots.leave(counts_on=False)
            self._context.progress.note(PLAYERS)
            self._context.tell(PLAYERS, self._waits_until, "" if self._no_game is None else self._no_game.why)
        if move is Move.COUNT:
            self._countdown.go_on(self._latest if must_go(self._policy, self._situation.passed) else None)
        return False

    def _is_look_due(self) -> bool:
        if not self._next_look.is_over:
            return False
        clock, next_mark = self._context.node.clock, self._countdown.seconds_to_next
        is_silent = self._count.online is None and self._game is not None
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
        """Take the slots again, and return True if the action may still go on: where that took a while, players may be back."""
        clock = self._context.node.clock
        began = clock.monotonic()
        self._slots.come_back(self._check, first=self._countdown.due is not None)
        self._context.node.caller.hold()
        self._check()
        self._watch.look(certain=True)
        if clock.monotonic() - began > STALE_SECONDS:
            self.look()
        if self._move() is Move.GO:
            return True
        self._slots.leave(counts_on=self._countdown.due is not None)
        return False

    def _pause(self) -> None:
        """Wait until something is due: a look, a mark, or what time alone changes."""
        clock, situation = self._context.node.clock, self._situation
        moments = (self._next_look.left, self._countdown.seconds_to_next, next_change(self._policy, situation) - situation.passed)
        Deadline.after(clock, max(min(moments), 0.0)).wait_out(self._check, every=LOOK_SECONDS)

    def _check(self) -> None:
        if self._context.node.caller.handed_on():
            raise InterruptedBySignal(f"Cannot {self._context.verb} server {self._context.uuid} yet: another process goes on with it")
        self._watch.check()
