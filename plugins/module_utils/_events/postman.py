# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One receiver's thread: takes up what the outbox has for it, sends it, and writes how far it has come."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from uuid import NAMESPACE_URL, uuid5

from .._power.definitions.receiver_keys import DISCORD
from .._power.events.cloudevent import node_source
from .._power.events.event import Event, EventType
from .._power.host.announce import announce_line
from .._power.journal.deliveries import Delivery, DeliveryLane
from .._power.journal.journal import Journal
from .._power.journal.journal_rows import JournalUnusable
from .._power.journal.outbox import KEPT_EVENTS, OutboxState
from .._power.model.cancellation import Deadline
from .._power.model.clock import Clock, timestamp
from .._power.model.errors import internal_error
from .._power.receivers.letter import letter_of
from .._power.receivers.post import Mailbox, Posted, Taking
from .._power.receivers.receiver import DefinitionOf, Receiver
from .delivery import DROPPED, Course
from .outlook import OutboxSight, Outlook, SenderEnds

#: Events that are taken up at a time.
_PAGE = 500
#: The longest that a thread sleeps: a clock may be set, and events grow old.
_LONGEST_SLEEP = 5.0
#: Seconds between two messages that a person reads.
_DISCORD_SECONDS = 2.0
#: So many failures in a row are told in the system log: one alone is not worth a line.
_TOLD_TRIES = 3
_TROUBLE_SECONDS = 1.0
#: Seconds between two looks for what is to be let go of in all lanes, not of all receivers at once: all that waits is read for it.
_TIDY_SECONDS = 10.0
#: Seconds between two writes of how far a receiver has come that nothing depends on.
_SAVE_SECONDS = 1.0
#: A clock that is further back than it should be was set.
_SET_BACK_SECONDS = 1.0


@dataclass(frozen=True)
class Surroundings:
    """What all receivers' threads have in common; ``node`` is what the node is called in events."""

    journal: Journal
    outlook: Outlook
    definition_of: DefinitionOf
    node: str
    clock: Clock


class WallClock:
    """The wall clock, beside one that cannot be set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._behind = self._behind_now()

    def set_back_by(self) -> float:
        """Return by how many seconds it was set back since it was last looked at; negative if it was set forward."""
        before, self._behind = self._behind, self._behind_now()
        return self._behind - before

    def _behind_now(self) -> float:
        return self._clock.monotonic() - self._clock.now().timestamp()


class Postman:
    """One receiver's thread. `run` is its life, `turn` one step of it."""

    def __init__(self, receiver: Receiver, surroundings: Surroundings, mailbox: Mailbox | None = None) -> None:
        self._receiver = receiver
        self._around = surroundings
        self._mailbox = mailbox or Mailbox(receiver, clock=surroundings.clock)
        self._is_for_persons = receiver.format == DISCORD
        self._course: Course | None = None
        self._saved: Delivery | None = None
        #: Nothing is sent before it is over.
        self._spacing = Deadline(surroundings.clock, 0.0)
        self._tidy_at = Deadline(surroundings.clock, 0.0)
        self._save_at = Deadline(surroundings.clock, 0.0)
        self._wall_clock = WallClock(surroundings.clock)
        self._told_failing = False

    def run(self) -> None:
        """Send until the process is to end. Whatever goes wrong with one receiver is no other's trouble."""
        outlook, told = self._around.outlook, ""
        while not outlook.ends:
            sight = outlook.sight
            try:
                seconds = self.turn(sight)
            except SenderEnds:
                break
            except (JournalUnusable, OSError):
                # The service tells of it.
                seconds = _TROUBLE_SECONDS
            except Exception as error:
                fault, seconds = internal_error(error), _LONGEST_SLEEP
                if fault != told:
                    told = fault
                    announce_line(f"events: receiver {self._receiver.name}: {fault}", warn=True)
            if seconds > 0:
                outlook.wait(sight, seconds)
        if self._course is not None:
            self._save(self._course, ends=True)
        self._mailbox.close()

    def turn(self, sight: OutboxSight) -> float:
        """Take up what is new, send one message if one is due, and return the seconds until there may be more to do.

        Raises `JournalUnusable`, OSError, `SenderEnds`.
        """
        if sight.outbox is None:
            return _LONGEST_SLEEP
        course = self._course_in(sight.outbox)
        back = self._wall_clock.set_back_by()
        if back > _SET_BACK_SECONDS:
            course.set_back(back)
        has_more = self._take_up(course, sight.outbox)
        if self._tidy_at.is_over:
            self._tidy_at = Deadline.after(self._around.clock, _TIDY_SECONDS * random.uniform(0.5, 1.5))
            self._let_go(course, sight, *course.delivery.lanes)
        now = self._now()
        name = course.due_lane(now) if self._spacing.is_over else None
        if name is not None:
            self._let_go(course, sight, name)
        if name is not None and name in course.delivery.lanes:
            self._send(course, name)
        unsaved = self._save(course)
        if has_more or name is not None:
            return 0.0
        next_at = course.next_at(now)
        if course.delivery.is_off or next_at is None:
            return unsaved
        return min(max(next_at - now, self._spacing.left), unsaved)

    def _course_in(self, outbox: OutboxState) -> Course:
        """Return the course as it goes on in an outbox. A receiver that is new begins with what comes from now on."""
        course = self._course
        if course is None:
            found = self._around.journal.deliveries.of(self._receiver.name)
            # One that wanted no more may want again: a person has had a look, or the machine was booted.
            kept = Delivery(outbox.id, outbox.last) if found is None else replace(found, is_off=False)
            self._saved = found
            course = self._course = Course(kept, together=self._is_for_persons)
        if course.delivery.outbox != outbox.id:
            course.begin_anew(outbox.id)
        return course

    def _take_up(self, course: Course, outbox: OutboxState) -> bool:
        """Sort what is beyond the cursor into lanes; return whether there may be more."""
        if course.delivery.cursor >= outbox.last or course.delivery.is_off:
            return False
        page = self._around.journal.events.after(course.delivery.cursor, _PAGE)
        if page is None or page.outbox.id != outbox.id:
            return False
        if page.events:
            course.see(page.events, self._wants)
        else:
            course.see_end(page.outbox.last)
        return len(page.events) == _PAGE

    def _let_go(self, course: Course, sight: OutboxSight, *names: str) -> None:
        """Let go of what these lanes have that is too old, or that the outbox has no more."""
        outbox, dropped = sight.outbox, course.delivery.dropped
        if outbox is None:
            return
        first = max(outbox.oldest or outbox.last + 1, sight.too_old + 1)
        stale = {name: course.delivery.lanes[name] for name in names if name != DROPPED and course.delivery.lanes[name].number < first}
        if not stale:
            return
        left: dict[str, list[int]] = {name: [] for name in stale}
        only = None if self._is_for_persons or len(stale) > 1 else next(iter(stale))
        for event in self._around.journal.events.outlines(first, max(lane.last for lane in stale.values()), only):
            lane = stale.get(course.lane_of(event))
            if lane is not None and event.number <= lane.last and self._wants(event):
                left[course.lane_of(event)].append(event.number)
        for name, numbers in left.items():
            course.begin_at(name, numbers[0] if numbers else 0, len(numbers))
        count = course.delivery.dropped - dropped
        if count:
            self._tell(f"has lost {count} events: it did not take them within a day, or there were too many")

    def _events(self, lane: DeliveryLane, name: str, first: int) -> list[Event]:
        """Return the events of a lane from a number on that are for the receiver; many at most."""
        found = self._around.journal.events.of(first, lane.last, KEPT_EVENTS, None if self._is_for_persons else name)
        return [event for event in found if self._wants(event)]

    def _first_events(self, course: Course, name: str) -> list[Event]:
        """Return the events with which a lane begins."""
        if name == DROPPED:
            return [self._dropped_event(course.delivery)]
        lane, uuid = course.delivery.lanes[name], None if self._is_for_persons else name
        few = self._around.journal.events.of(lane.number, lane.last, _PAGE if uuid is None else 1, uuid)
        wanted = [event for event in few if self._wants(event)]
        # Seldom: what it wants was changed.
        return wanted or self._events(lane, name, lane.number)

    def _dropped_event(self, delivery: Delivery) -> Event:
        data = {"receiver": self._receiver.name, "count": delivery.untold}
        id = str(uuid5(NAMESPACE_URL, f"fleet.power:{delivery.outbox}:{self._receiver.name}:{delivery.dropped}"))
        return Event(EventType.EVENTS_DROPPED, timestamp(self._around.clock.now()), data, None, id)

    def _wants(self, event: Event) -> bool:
        return self._receiver.wants(event, self._around.definition_of)

    def _send(self, course: Course, name: str) -> None:
        """Send what a lane begins with, and take note of what became of it."""
        events = self._first_events(course, name)
        if not events:
            course.forget(name)
            return
        untold = course.delivery.untold
        letter = letter_of(self._receiver, events, node_source(self._around.node), self._around.node)
        posted = self._mailbox.post(letter, check_cancelled=self._around.outlook.check)
        now = self._around.clock.now()
        if posted.taking is Taking.TAKEN:
            course.taken(name, events[letter.events - 1].number, letter.events, timestamp(now))
            if name == DROPPED:
                course.told_of_dropped(untold)
            if self._told_failing:
                self._told_failing = False
                self._tell("takes events again", warn=False)
        elif posted.taking is Taking.GONE:
            course.gone(posted.reason, timestamp(now))
            self._tell("wants no events any more (status 410): none is sent until the settings change or this service is started anew")
        else:
            self._note_failure(course, name, posted)
        if self._is_for_persons:
            self._spacing = Deadline.after(self._around.clock, _DISCORD_SECONDS)

    def _note_failure(self, course: Course, name: str, posted: Posted) -> None:
        now = self._around.clock.now()
        course.failed(
            name,
            posted.reason,
            now=now.timestamp(),
            at=timestamp(now),
            retry_after=posted.retry_after,
            jitter=random.random(),
        )
        if course.delivery.tries >= _TOLD_TRIES and not self._told_failing:
            self._told_failing = True
            self._tell(f"does not take events, which are kept for a day: {posted.reason}")

    def _save(self, course: Course, *, ends: bool = False) -> float:
        """Write how far it has come, and return the seconds until it is to be written again.

        At once only what was taken, which is not to be sent again, or dropped: else many receivers would write all the time.
        """
        delivery, saved = course.delivery, self._saved
        if delivery == saved:
            return _LONGEST_SLEEP
        is_urgent = ends or saved is None or _done(delivery) != _done(saved)
        if not is_urgent and not self._save_at.is_over:
            return self._save_at.left
        if self._around.journal.deliveries.save(self._receiver.name, course.delivery):
            self._saved = course.delivery
        self._save_at = Deadline.after(self._around.clock, _SAVE_SECONDS)
        return _LONGEST_SLEEP

    def _tell(self, words: str, *, warn: bool = True) -> None:
        announce_line(f"events: receiver {self._receiver.name} {words}", warn=warn)

    def _now(self) -> float:
        return self._around.clock.now().timestamp()


def _done(delivery: Delivery) -> tuple[object, ...]:
    return delivery.sent, delivery.sent_at, delivery.untold, delivery.is_off
