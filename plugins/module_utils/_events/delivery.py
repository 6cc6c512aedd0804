# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of one receiver: which event is sent to it next, when, and what a failure means for the others; pure.

What waits stands in lanes, one for each server, so that their order holds and one event that is refused keeps no other server's from being
taken. Lanes are served in turn, so that many events of one server do not delay another's.

A failure puts off its lane, twice as long each time, and the whole receiver: lanes that never failed for some seconds at most, and not for
the first failure in a row, so that refused events hardly delay them, and the others for as long as failures in a row say, so that a dead
receiver is asked rarely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from .._power.events.event import Event
from .._power.journal.outbox import Delivery, DeliveryLane

#: The lane of what tells that events were let go of. It is in no outbox.
DROPPED = "dropped"
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
#: For no longer than this a failure puts off what has not failed itself.
_LONGEST_FRESH_WAIT = 10.0
#: A moment further off than any that is set: the clock was set back.
_FAR_OFF = 3700.0


def wait_after(tries: int, jitter: float) -> float:
    """Return the seconds until the next try after so many failed; ``jitter``, from 0 to 1, keeps many senders from asking at once."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 16)) * (0.8 + 0.4 * jitter)


def lane_of(event: Event) -> str:
    """Return the lane that an event belongs to."""
    return "" if event.server is None else event.server.uuid


class DeliveryPlan:
    """The plan of one receiver, as it goes on; ``delivery`` is what the journal keeps of it."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        #: How many sends there were, and the last one of each lane, also of those that are empty by now.
        self._sends = 0
        self._served: dict[str, int] = {}
        self._fresh_at = delivery.next_at
        #: The lanes that failed since the last success.
        self._failing: set[str] = set()
        #: Lanes that were given another chance after a success; whoever fails in spite of it is itself at fault.
        self._freed: set[str] = set()

    def see(self, events: Iterable[Event], wants: Callable[[Event], bool]) -> None:
        """Take up events beyond the cursor, in their order. What is missing between them was let go of before it was seen."""
        cursor, lanes, missed = self.delivery.cursor, dict(self.delivery.lanes), 0
        for event in events:
            missed += event.number - cursor - 1
            cursor = event.number
            if wants(event):
                name = lane_of(event)
                lane = lanes.get(name)
                new = DeliveryLane(event.number, event.number)
                lanes[name] = new if lane is None else replace(lane, last=event.number, count=lane.count + 1)
        self.delivery = replace(self.delivery, cursor=cursor, lanes=lanes)
        self.drop(missed)

    def see_end(self, last: int) -> None:
        """There are no events beyond the cursor any more, though one had that number: they were let go of before they were seen."""
        missed = last - self.delivery.cursor
        self.delivery = replace(self.delivery, cursor=last)
        self.drop(missed)

    def due_lanes(self, now: float) -> list[str]:
        """Return the lanes whose first events are to be sent now, in this order.

        The lane that was served longest ago goes first. But after a failure it is one that has not failed, or many refused events would be
        tried in turn. The lane of what was let go of is told before the others.
        """
        found = self.delivery
        due = [
            (found.tries > 0 and lane.tries > 0, self._served.get(name, 0), lane.number, name)
            for name, lane in found.lanes.items()
            if self._due_at(lane, now) <= now
        ]
        return [] if found.is_off else [name for *_order, name in sorted(due)]

    def next_at(self, now: float) -> float | None:
        """Return the moment at which a lane is due; None if nothing waits."""
        return min((self._due_at(lane, now) for lane in self.delivery.lanes.values()), default=None)

    def taken(self, name: str, last: int, count: int, at: str) -> None:
        """So many events of a lane were taken, the last of which has that number. Whatever else failed with it may be tried again."""
        found = self.delivery
        self._serve(name)
        lanes = dict(found.lanes)
        lane = lanes.pop(name)
        if last < lane.last:
            lanes[name] = DeliveryLane(last + 1, lane.last, max(lane.count - count, 1))
        if len(self._failing) > 1:
            # All of them at once: the receiver was at fault, not each event. But each only once, or refused ones would be tried for ever.
            freed = self._failing - self._freed
            lanes = {each: replace(lane, next_at=0.0) if each in freed else lane for each, lane in lanes.items()}
            self._freed |= freed
        self._freed.discard(name)
        self._failing, self._fresh_at = set(), 0.0
        sent = found.sent + (0 if name == DROPPED else count)
        self.delivery = replace(found, lanes=lanes, tries=0, next_at=0.0, failing_since="", error="", sent=sent, sent_at=at)

    def failed(self, names: Iterable[str], reason: str, *, now: float, at: str, retry_after: float | None, jitter: float) -> None:
        """A message with the first events of these lanes was not taken; ``retry_after`` is for how long to leave the receiver alone."""
        found = self.delivery
        tries = found.tries + 1
        wait, asked = wait_after(tries, jitter), retry_after or 0.0
        # One alone says nothing of the others.
        self._fresh_at = now + max(min(wait, _LONGEST_FRESH_WAIT) if found.tries else 0.0, asked)
        lanes = dict(found.lanes)
        for name in names:
            self._serve(name)
            self._failing.add(name)
            lane_tries = lanes[name].tries + 1
            lanes[name] = replace(lanes[name], tries=lane_tries, next_at=now + max(wait_after(lane_tries, jitter), asked))
        since = found.failing_since or at
        self.delivery = replace(found, lanes=lanes, tries=tries, next_at=now + max(wait, asked), failing_since=since, error=reason)

    def gone(self, reason: str, at: str) -> None:
        """The receiver wants no events any more."""
        self.delivery = replace(self.delivery, is_off=True, error=reason, failing_since=self.delivery.failing_since or at)

    def begin_at(self, name: str, number: int, count: int) -> None:
        """What a lane had before a number is no more; so many are left from there on. Those that are missing were dropped."""
        lane = self.delivery.lanes[name]
        lanes = {each: found for each, found in self.delivery.lanes.items() if each != name}
        if count:
            # The next event is another one: it has not failed.
            lanes[name] = DeliveryLane(number, lane.last, count)
        self._failing.discard(name)
        self._freed.discard(name)
        self.delivery = replace(self.delivery, lanes=lanes)
        self.drop(max(lane.count - count, 0))

    def forget(self, name: str) -> None:
        """Nothing that a lane has is for the receiver any more."""
        self.delivery = replace(self.delivery, lanes={each: lane for each, lane in self.delivery.lanes.items() if each != name})

    def begin_anew(self, outbox: str) -> None:
        """The outbox is another one, of which nothing was seen yet. What waited is lost."""
        lost = sum(lane.count for name, lane in self.delivery.lanes.items() if name != DROPPED)
        lanes = {name: lane for name, lane in self.delivery.lanes.items() if name == DROPPED}
        self.delivery = replace(self.delivery, outbox=outbox, cursor=0, lanes=lanes)
        self.drop(lost)

    def drop(self, count: int) -> None:
        """So many events were let go of before the receiver had taken them, of which it is to hear."""
        if count:
            found = self.delivery
            lanes = {**found.lanes, DROPPED: found.lanes.get(DROPPED) or DeliveryLane(0, 0)}
            self.delivery = replace(found, dropped=found.dropped + count, untold=found.untold + count, lanes=lanes)

    def told_of_dropped(self, count: int) -> None:
        """The receiver has heard of so many that were let go of; there may be more by now."""
        left = self.delivery.untold - count
        lanes = {**self.delivery.lanes, DROPPED: DeliveryLane(0, 0)} if left else self.delivery.lanes
        self.delivery = replace(self.delivery, untold=left, lanes=lanes)

    def set_back(self, seconds: float) -> None:
        """The clock was set back by so many seconds: what waits for a moment is not to wait for it that much longer."""
        lanes = {name: replace(lane, next_at=lane.next_at - seconds) for name, lane in self.delivery.lanes.items()}
        self._fresh_at -= seconds
        self.delivery = replace(self.delivery, lanes=lanes, next_at=self.delivery.next_at - seconds)

    def _serve(self, name: str) -> None:
        if name != DROPPED:
            self._sends += 1
            self._served[name] = self._sends

    def _due_at(self, lane: DeliveryLane, now: float) -> float:
        at = max(lane.next_at, self.delivery.next_at) if lane.tries else self._fresh_at
        return at if at - now < _FAR_OFF else now
