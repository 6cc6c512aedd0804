# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of one receiver: the next event, its moment, and the effect of a failure on other events; pure.

Each server has a lane. A lane keeps the order of its events, and a refused event holds up only its own lane. Lanes take turns, so that a
busy server does not delay the others.

A failure puts off its lane, twice as long each time. It also puts off the receiver: lanes that never failed wait some seconds at most, and
only from the second failure in a row on. Failed lanes wait according to the failures in a row, so that a dead receiver gets few requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from .._power.events.event import Event
from .._power.journal.outbox import Delivery, DeliveryLane

#: The lane of the report on dropped events. It is in no outbox.
DROPPED = "dropped"
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
#: The longest delay that a failure causes for lanes that never failed.
_LONGEST_FRESH_WAIT = 10.0
#: A moment further off than any wait: the clock was set back.
_FAR_OFF = 3700.0


def wait_after(tries: int, jitter: float) -> float:
    """Return the seconds until the next try after so many failures. ``jitter``, from 0 to 1, spreads many senders."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - 1, 16)) * (0.8 + 0.4 * jitter)


def lane_of(event: Event) -> str:
    return "" if event.server is None else event.server.uuid


class DeliveryPlan:
    """The plan of one receiver. ``delivery`` is the part that the journal keeps."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        #: The number of sends, and the last send of each lane, empty lanes included.
        self._sends = 0
        self._served: dict[str, int] = {}
        self._fresh_at = delivery.next_at
        self._failing: set[str] = set()
        #: Lanes with another chance after a success. If such a lane fails again, its event is at fault.
        self._freed: set[str] = set()

    def see(self, events: Sequence[Event], wants: Callable[[Event], bool], last: int) -> None:
        """Sort events beyond the cursor into lanes. Gaps in their numbers count as dropped events; without events all up to ``last``."""
        cursor, lanes, missed = self.delivery.cursor, dict(self.delivery.lanes), 0
        for event in events:
            missed += event.number - cursor - 1
            cursor = event.number
            if wants(event):
                name = lane_of(event)
                lane = lanes.get(name)
                new = DeliveryLane(event.number, event.number)
                lanes[name] = new if lane is None else replace(lane, last=event.number, count=lane.count + 1)
        if not events:
            missed, cursor = last - cursor, last
        self.delivery = replace(self.delivery, cursor=cursor, lanes=lanes)
        self.drop(missed)

    def due_lanes(self, now: float) -> list[str]:
        """Return the lanes whose first events are due, in the order to send. The lane with the oldest send comes first. After a failure,
        lanes without a failure come first, so that refused events do not follow each other. The report on dropped events precedes all."""
        found = self.delivery
        due = [
            (found.tries > 0 and lane.tries > 0, self._served.get(name, 0), lane.number, name)
            for name, lane in found.lanes.items()
            if self._due_at(lane, now) <= now
        ]
        return [] if found.is_off else [name for *_order, name in sorted(due)]

    def next_at(self, now: float) -> float | None:
        """Return the moment at which a lane is due; None if all are empty."""
        return min((self._due_at(lane, now) for lane in self.delivery.lanes.values()), default=None)

    def taken(self, name: str, last: int, count: int, at: str) -> None:
        """Record that the receiver took ``count`` events of a lane, up to number ``last``. Other failed lanes get another chance."""
        found = self.delivery
        self._serve(name)
        lanes = dict(found.lanes)
        lane = lanes.pop(name)
        if last < lane.last:
            lanes[name] = DeliveryLane(last + 1, lane.last, max(lane.count - count, 1))
        if len(self._failing) > 1:
            # A success frees all failed lanes: the receiver was at fault. Each gets this once, or refused events would repeat forever.
            freed = self._failing - self._freed
            lanes = {each: replace(lane, next_at=0.0) if each in freed else lane for each, lane in lanes.items()}
            self._freed |= freed
        self._freed.discard(name)
        self._failing, self._fresh_at = set(), 0.0
        sent = found.sent + (0 if name == DROPPED else count)
        self.delivery = replace(found, lanes=lanes, tries=0, next_at=0.0, failing_since="", error="", sent=sent, sent_at=at)

    def failed(self, names: Iterable[str], reason: str, *, now: float, at: str, retry_after: float | None, jitter: float) -> None:
        """Record that the receiver refused a message with the first events of these lanes. ``retry_after`` is in seconds."""
        found = self.delivery
        tries = found.tries + 1
        wait, asked = wait_after(tries, jitter), retry_after or 0.0
        # One failure alone says nothing about other lanes.
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
        """Record that the receiver wants no more events."""
        self.delivery = replace(self.delivery, is_off=True, error=reason, failing_since=self.delivery.failing_since or at)

    def begin_at(self, name: str, number: int, count: int) -> None:
        """Drop the events of a lane before ``number``; ``count`` events are left."""
        lane = self.delivery.lanes[name]
        lanes = {each: found for each, found in self.delivery.lanes.items() if each != name}
        if count:
            lanes[name] = DeliveryLane(number, lane.last, count)
        self._failing.discard(name)
        self._freed.discard(name)
        self.delivery = replace(self.delivery, lanes=lanes)
        self.drop(max(lane.count - count, 0))

    def forget(self, name: str) -> None:
        """Remove a lane whose events are not for the receiver."""
        self.delivery = replace(self.delivery, lanes={each: lane for each, lane in self.delivery.lanes.items() if each != name})

    def begin_anew(self, outbox: str) -> None:
        """Begin with a new outbox. All waiting events count as dropped."""
        lost = sum(lane.count for name, lane in self.delivery.lanes.items() if name != DROPPED)
        lanes = {name: lane for name, lane in self.delivery.lanes.items() if name == DROPPED}
        self.delivery = replace(self.delivery, outbox=outbox, cursor=0, lanes=lanes)
        self.drop(lost)

    def drop(self, count: int) -> None:
        """Count so many events as dropped, to report to the receiver."""
        if count:
            found = self.delivery
            lanes = {**found.lanes, DROPPED: found.lanes.get(DROPPED) or DeliveryLane(0, 0)}
            self.delivery = replace(found, dropped=found.dropped + count, unreported=found.unreported + count, lanes=lanes)

    def reported_dropped(self, count: int) -> None:
        """Record that the receiver got the report on so many dropped events. Newer ones may follow."""
        left = self.delivery.unreported - count
        lanes = {**self.delivery.lanes, DROPPED: DeliveryLane(0, 0)} if left else self.delivery.lanes
        self.delivery = replace(self.delivery, unreported=left, lanes=lanes)

    def set_back(self, seconds: float) -> None:
        """Shorten all waits by the seconds that the clock was set back."""
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
