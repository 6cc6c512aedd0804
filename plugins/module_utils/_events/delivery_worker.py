# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One receiver's thread: reads events from the outbox, sends them, and records its progress."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from uuid import NAMESPACE_URL, uuid5

from .._power.definitions.receiver_keys import DISCORD
from .._power.events.discord import MOST_LINES
from .._power.events.event import Event, EventType
from .._power.events.webhook import node_source
from .._power.host.system_log import announce_line
from .._power.journal.journal import Journal
from .._power.journal.outbox import KEPT_EVENTS, Delivery, OutboxState
from .._power.journal.schema import JournalUnusable
from .._power.model.cancellation import Deadline
from .._power.model.clock import SYSTEM_CLOCK, Clock, timestamp
from .._power.model.errors import internal_error
from .._power.model.records import dataclass, replace
from .._power.receivers.receiver import DefinitionOf, Posted, Receiver, Taking, WebhookClient, message_of
from .delivery import DROPPED, DeliveryPlan, lane_of

#: At the end of the process, the receiver has so long to take a message under way.
GRACE_SECONDS = 3.0
_PAGE = 500
#: The longest sleep of a thread: clocks change, and events grow old.
_LONGEST_SLEEP = 5.0
_DISCORD_SECONDS = 2.0
#: After so many failures in a row, a line goes to the system log.
_TRIES_BEFORE_WARNING = 3
_TROUBLE_SECONDS = 1.0
#: Seconds between two looks for old events in all lanes, at another time for each receiver: a look reads all waiting events.
_TIDY_SECONDS = 10.0
#: Seconds between two writes of progress that no delivery depends on.
_SAVE_SECONDS = 1.0
#: A difference of more seconds means that the clock was set.
_SET_BACK_SECONDS = 1.0


class SenderEnds(Exception):
    """The process ends and gives up the message under way."""


@dataclass(frozen=True)
class OutboxSight:
    """The outbox, None if missing or unreadable, and the number up to which its events are too old to send."""

    outbox: OutboxState | None = None
    too_old: int = 0


class OutboxWatch:
    """The latest sight, shared between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.sight = OutboxSight()
        self._ends: Deadline | None = None

    @property
    def ends(self) -> bool:
        return self._ends is not None

    def show(self, sight: OutboxSight) -> None:
        with self._changed:
            if sight != self.sight:
                self.sight = sight
                self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ends = Deadline.after(SYSTEM_CLOCK, GRACE_SECONDS)
            self._changed.notify_all()

    def wait(self, seen: OutboxSight, seconds: float) -> None:
        """Wait for another sight than ``seen``, for so many seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: self.ends or self.sight != seen, seconds)

    def check(self) -> None:
        """Raise `SenderEnds` once the grace period is over."""
        if self._ends is not None and self._ends.is_over:
            raise SenderEnds


@dataclass(frozen=True)
class Surroundings:
    """The things that all receivers' threads share. ``node`` is the node's name in events."""

    journal: Journal
    outbox_watch: OutboxWatch
    definition_of: DefinitionOf
    node: str
    clock: Clock


class DeliveryWorker:
    """One receiver's thread. `run` is its life, `turn` one step."""

    def __init__(self, receiver: Receiver, surroundings: Surroundings, client: WebhookClient | None = None) -> None:
        self._receiver = receiver
        self._around = surroundings
        self._client = client or WebhookClient(receiver, clock=surroundings.clock)
        self._is_for_persons = receiver.format == DISCORD
        self._at_once = MOST_LINES if self._is_for_persons else 1
        self._plan: DeliveryPlan | None = None
        self._saved: Delivery | None = None
        self._spacing = Deadline(surroundings.clock, 0.0)
        self._tidy_at = Deadline(surroundings.clock, 0.0)
        self._save_at = Deadline(surroundings.clock, 0.0)
        self._clock_behind = self._clock_behind_now()
        self._has_warned = False

    def run(self) -> None:
        """Send until the process ends. A failure of one receiver does not affect the others."""
        outbox_watch, last_fault = self._around.outbox_watch, ""
        while not outbox_watch.ends:
            sight = outbox_watch.sight
            try:
                seconds = self.turn(sight)
            except SenderEnds:
                break
            except (JournalUnusable, OSError):
                seconds = _TROUBLE_SECONDS
            except Exception as error:
                fault, seconds = internal_error(error), _LONGEST_SLEEP
                if fault != last_fault:
                    last_fault = fault
                    announce_line(f"events: receiver {self._receiver.name}: {fault}", warn=True)
            if seconds > 0:
                outbox_watch.wait(sight, seconds)
        if self._plan is not None:
            self._save(self._plan, ends=True)
        self._client.close()

    def turn(self, sight: OutboxSight) -> float:
        """Read new events, send one message if due, and return the seconds until the next turn. Raises `JournalUnusable`, OSError,
        `SenderEnds`."""
        if sight.outbox is None:
            return _LONGEST_SLEEP
        plan = self._plan_in(sight.outbox)
        before, self._clock_behind = self._clock_behind, self._clock_behind_now()
        if self._clock_behind - before > _SET_BACK_SECONDS:
            plan.set_back(self._clock_behind - before)
        # Read all before any send: the last event may belong to a server with an empty lane.
        while self._take_up(plan, sight.outbox):
            pass
        if self._tidy_at.is_over:
            self._tidy_at = Deadline.after(self._around.clock, _TIDY_SECONDS * random.uniform(0.5, 1.5))
            self._let_go(plan, sight, *plan.delivery.lanes)
        now = self._now()
        names = plan.due_lanes(now)[: self._at_once] if self._spacing.is_over else []
        if names:
            self._let_go(plan, sight, *names)
            self._send(plan, [name for name in names if name in plan.delivery.lanes])
        unsaved = self._save(plan)
        if names:
            return 0.0
        next_at = plan.next_at(now)
        if plan.delivery.is_off or next_at is None:
            return unsaved
        return min(max(next_at - now, self._spacing.left), unsaved)

    def _plan_in(self, outbox: OutboxState) -> DeliveryPlan:
        """Return the plan for an outbox. A new receiver gets only events from now on."""
        plan = self._plan
        if plan is None:
            found = self._around.journal.deliveries.of(self._receiver.name)
            # A receiver that wanted no more gets a new try after a restart of this process.
            kept = Delivery(outbox.id, outbox.last) if found is None else replace(found, is_off=False)
            self._saved = found
            plan = self._plan = DeliveryPlan(kept)
        if plan.delivery.outbox != outbox.id:
            plan.begin_anew(outbox.id)
        return plan

    def _take_up(self, plan: DeliveryPlan, outbox: OutboxState) -> bool:
        if plan.delivery.cursor >= outbox.last or plan.delivery.is_off:
            return False
        page = self._around.journal.events.after(plan.delivery.cursor, _PAGE)
        if page is None or page.outbox.id != outbox.id:
            return False
        plan.see(page.events, self._wants, page.outbox.last)
        return len(page.events) == _PAGE

    def _let_go(self, plan: DeliveryPlan, sight: OutboxSight, *names: str) -> None:
        """Drop the events of these lanes that are too old or have left the outbox."""
        events, dropped = self._around.journal.events, plan.delivery.dropped
        waiting = {name: plan.delivery.lanes[name] for name in names if name != DROPPED}
        oldest = events.oldest_of(waiting)
        # A lane without events in the outbox is stale, whatever its numbers are.
        first = {name: max(oldest.get(name, lane.last + 1), sight.too_old + 1) for name, lane in waiting.items()}
        stale = {name: lane for name, lane in waiting.items() if lane.number < first[name]}
        if not stale:
            return
        left: dict[str, list[int]] = {name: [] for name in stale}
        only = None if len(stale) > 1 else next(iter(stale))
        for event in events.outlines(min(first[name] for name in stale), max(lane.last for lane in stale.values()), only):
            name = lane_of(event)
            if name in stale and first[name] <= event.number <= stale[name].last and self._wants(event):
                left[name].append(event.number)
        for name, numbers in left.items():
            plan.begin_at(name, numbers[0] if numbers else 0, len(numbers))
        count = plan.delivery.dropped - dropped
        if count:
            self._tell(f"has lost {count} event{'s' if count > 1 else ''}: it did not take them within a day, or there were too many")

    def _first_events(self, plan: DeliveryPlan, name: str) -> list[Event]:
        if name == DROPPED:
            return [self._dropped_event(plan.delivery)]
        lane = plan.delivery.lanes[name]
        # A lane may begin with events that the receiver does not want.
        for most in (self._at_once, KEPT_EVENTS):
            found = self._around.journal.events.of(lane.number, lane.last, most, name)
            wanted = [event for event in found if self._wants(event)]
            if wanted:
                return wanted
        return []

    def _dropped_event(self, delivery: Delivery) -> Event:
        data = {"receiver": self._receiver.name, "count": delivery.unreported}
        id = str(uuid5(NAMESPACE_URL, f"fleet.power:{delivery.outbox}:{self._receiver.name}:{delivery.dropped}"))
        return Event(EventType.EVENTS_DROPPED, timestamp(self._around.clock.now()), data, None, id)

    def _wants(self, event: Event) -> bool:
        return self._receiver.wants(event, self._around.definition_of)

    def _send(self, plan: DeliveryPlan, names: Sequence[str]) -> None:
        firsts = {name: self._first_events(plan, name) for name in names}
        for name in names:
            if not firsts[name]:
                plan.forget(name)
        in_turn = zip_longest(*([(name, event) for event in events] for name, events in firsts.items()))
        waiting = [each for turn in in_turn for each in turn if each is not None]
        if not waiting:
            return
        unreported = plan.delivery.unreported
        message = message_of(self._receiver, [event for _name, event in waiting], node_source(self._around.node), self._around.node)
        posted = self._client.post(message, check_cancelled=self._around.outbox_watch.check)
        now = self._around.clock.now()
        sent: dict[str, list[int]] = {}
        for name, event in waiting[: message.events]:
            sent.setdefault(name, []).append(event.number)
        if posted.taking is Taking.TAKEN:
            for name, numbers in sent.items():
                plan.taken(name, numbers[-1], len(numbers), timestamp(now))
            if DROPPED in sent:
                plan.reported_dropped(unreported)
            if self._has_warned:
                self._has_warned = False
                self._tell("takes events again", warn=False)
        elif posted.taking is Taking.GONE:
            plan.gone(posted.reason, timestamp(now))
            self._tell("refuses further events (status 410): no event is sent until the settings change or this service restarts")
        else:
            self._note_failure(plan, sent, posted)
        if self._is_for_persons:
            self._spacing = Deadline.after(self._around.clock, _DISCORD_SECONDS)

    def _note_failure(self, plan: DeliveryPlan, names: Iterable[str], posted: Posted) -> None:
        now = self._around.clock.now()
        plan.failed(names, posted.reason, now=now.timestamp(), at=timestamp(now), retry_after=posted.retry_after, jitter=random.random())
        if plan.delivery.tries >= _TRIES_BEFORE_WARNING and not self._has_warned:
            self._has_warned = True
            self._tell(f"does not take events, which are kept for a day: {posted.reason}")

    def _save(self, plan: DeliveryPlan, *, ends: bool = False) -> float:
        """Write the progress; return the seconds until the next write. Only taken or dropped events are written at once, because they must
        not be sent again. Otherwise many receivers would write all the time."""
        delivery, saved = plan.delivery, self._saved
        if delivery == saved:
            return _LONGEST_SLEEP
        is_urgent = ends or saved is None or _done(delivery) != _done(saved)
        if not is_urgent and not self._save_at.is_over:
            return self._save_at.left
        if self._around.journal.deliveries.save(self._receiver.name, plan.delivery):
            self._saved = plan.delivery
        self._save_at = Deadline.after(self._around.clock, _SAVE_SECONDS)
        return _LONGEST_SLEEP

    def _tell(self, words: str, *, warn: bool = True) -> None:
        announce_line(f"events: receiver {self._receiver.name} {words}", warn=warn)

    def _now(self) -> float:
        return self._around.clock.now().timestamp()

    def _clock_behind_now(self) -> float:
        """Return how far the wall clock is behind one that cannot be set. The difference grows if it is set back."""
        return self._around.clock.monotonic() - self._now()


def _done(delivery: Delivery) -> tuple[object, ...]:
    return delivery.sent, delivery.sent_at, delivery.unreported, delivery.is_off
