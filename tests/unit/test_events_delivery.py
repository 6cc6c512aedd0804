# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of one receiver: each server's events in order, and nothing held up by a refused event or a dead receiver."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from ansible_collections.fleet.power.plugins.module_utils._events.delivery import DeliveryPlan, lane_of
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import Delivery
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

AT = "2026-03-01T12:00:00.000Z"


def event(number: int, server: str = "a") -> Event:
    return Event(EventType.SERVER_CRASHED, AT, {}, Server(server) if server else None, number=number)


def seen(*servers: str, start: int = 1) -> DeliveryPlan:
    plan = DeliveryPlan(Delivery("outbox", start - 1))
    plan.see([event(number, server) for number, server in enumerate(servers, start)], lambda _event: True)
    return plan


@dataclass
class Outbox:
    """A receiver that takes some events, at some times, and the outbox that has them; time passes as the plan says."""

    events: list[Event]
    now: float = 1000.0
    taken: list[int] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)

    def step(self, plan: DeliveryPlan, *, works: bool = True, poison: tuple[int, ...] = (), retry_after: float | None = None) -> bool:
        name = next(iter(plan.due_lanes(self.now)), None)
        if name is None:
            return False
        lane = plan.delivery.lanes[name]
        first = next(each for each in self.events if each.number >= lane.number and lane_of(each) == name)
        self.asked.append(self.now)
        if works and first.number not in poison:
            self.taken.append(first.number)
            plan.taken(name, first.number, 1, AT)
        else:
            plan.failed([name], "no", now=self.now, at=AT, retry_after=retry_after, jitter=0.5)
        return True

    def until(self, plan: DeliveryPlan, moment: float, *, works: bool = True, poison: tuple[int, ...] = ()) -> None:
        while self.now < moment:
            if not self.step(plan, works=works, poison=poison):
                due = plan.next_at(self.now)
                self.now = moment if due is None else min(max(due, self.now + 0.001), moment)


def outbox(plan: DeliveryPlan, *servers: str) -> Outbox:
    return Outbox([event(number, server) for number, server in enumerate(servers, 1)])


@pytest.mark.parametrize("seed", range(30))
def test_whatever_fails_each_server_gets_all_in_order(seed: int) -> None:
    chance = random.Random(seed)
    servers = [chance.choice("abcd") for _unused in range(60)]
    plan = seen(*servers)
    receiver = outbox(plan, *servers)
    for _unused in range(5000):
        if not receiver.step(plan, works=chance.random() < 0.5):
            receiver.now += 1.0
        if chance.random() < 0.05:
            # As after a kill: it goes on by what was written.
            plan = DeliveryPlan(plan.delivery)
    assert sorted(receiver.taken) == list(range(1, 61))
    for server in "abcd":
        own = [number for number in receiver.taken if servers[number - 1] == server]
        assert own == sorted(own)
