# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pace of a call over many servers: never more at a time than allowed, in order, and no slot is ever lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter, Slot, Slots
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock
from ansible_collections.fleet.power.tests.unit.thread_support import block_until


def in_thread(body: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def waiters(slots: Slots) -> int:
    return len(slots._waiting)


def test_a_slot_goes_to_the_lowest_ticket_whoever_came_first() -> None:
    slots, served = Slots(1), []
    slots.take(0, no_check)
    threads = []
    for ticket in (5, 3, 4):
        threads.append(in_thread(lambda ticket=ticket: (slots.take(ticket, no_check), served.append(ticket), slots.give_back())))
        block_until(lambda: waiters(slots) == len(threads))
    slots.give_back()
    for thread in threads:
        thread.join(10)
    assert served == [3, 4, 5]


def test_never_more_than_the_slots_are_in_use_and_none_is_lost() -> None:
    """Forty threads that wait, give up and come again, many times over."""
    slots, busy, most, mutex = Slots(3), 0, 0, threading.Lock()

    def give_up() -> None:
        raise CancelledByKill("killed")

    def come_and_go(seed: int) -> None:
        nonlocal busy, most
        choose = random.Random(seed)
        for number in range(30):
            try:
                slots.take(1000 * number + seed, give_up if choose.random() < 0.3 else no_check)
            except CancelledByKill:
                continue
            with mutex:
                busy += 1
                most = max(most, busy)
            time.sleep(choose.random() * 0.002)
            with mutex:
                busy -= 1
            slots.give_back()

    threads = [in_thread(lambda seed=seed: come_and_go(seed)) for seed in range(40)]
    for thread in threads:
        thread.join(60)
    assert most == 3
    assert [slots.try_take() for _unused in range(4)] == [True, True, True, False]


def test_who_waits_for_a_slot_looks_up_and_leaves_the_queue_when_that_raises() -> None:
    slots = Slots(1)
    slots.take(0, no_check)

    def killed() -> None:
        raise CancelledByKill("killed")

    with pytest.raises(CancelledByKill):
        slots.take(1, killed)
    assert waiters(slots) == 0
    slots.give_back()
    assert slots.try_take()


def test_who_steps_aside_comes_after_those_whose_first_turn_has_not_come() -> None:
    limiter = Limiter(max_parallel=1)
    first, second, third = (limiter.slot() for _unused in range(3))
    order: list[str] = []
    first.begin()

    def step_aside() -> None:
        with first.aside(no_check):
            block_until(lambda: waiters(slots) == 1)
        order.append("first")
        first.leave()

    def take_turn(slot: Slot, name: str) -> None:
        slot.begin()
        block_until(lambda: waiters(slots) >= 1 or name == "third")
        order.append(name)
        slot.leave()

    slots = limiter.whole
    assert slots is not None
    threads = [in_thread(lambda: take_turn(second, "second"))]
    block_until(lambda: waiters(slots) == 1)
    threads.append(in_thread(lambda: take_turn(third, "third")))
    block_until(lambda: waiters(slots) == 2)
    threads.append(in_thread(step_aside))
    for thread in threads:
        thread.join(10)
    assert order == ["second", "third", "first"]


# ----- between the beginnings of two servers


def test_beginnings_are_so_far_apart_whoever_comes_when() -> None:
    limiter, begun = Limiter(stagger=0.3), []

    def begin(slot: Slot) -> None:
        slot.begin_apart("u", no_check)
        begun.append(time.monotonic())

    taken = [limiter.slot() for _unused in range(5)]
    threads = [in_thread(lambda slot=slot: begin(slot)) for slot in taken]
    for thread in threads:
        thread.join(10)
    gaps = [after - before for before, after in zip(begun, begun[1:])]
    # A thread comes to look at the clock a moment after its turn.
    assert len(begun) == 5 and all(0.1 < gap < 5 for gap in gaps), gaps


def test_who_waits_to_begin_goes_on_in_the_order_of_the_tickets() -> None:
    limiter, order = Limiter(stagger=0.05), []
    taken = [limiter.slot() for _unused in range(4)]
    assert limiter.stagger is not None
    taken[0].begin_apart("u", no_check)
    gate = limiter.stagger._gate
    gate.take(-1, no_check)
    threads = []
    for number in (3, 1, 2):
        threads.append(in_thread(lambda number=number: (taken[number].begin_apart("u", no_check), order.append(number))))
        block_until(lambda: waiters(gate) == len(threads))
    gate.give_back()
    for thread in threads:
        thread.join(10)
    assert order == [1, 2, 3]


class TestCountdowns:
    def test_no_more_count_down_at_a_time_than_are_acted_on(self) -> None:
        clock, limiter = FakeClock(), Limiter(max_parallel=2)
        slots = [limiter.slot() for _each in range(3)]
        assert [slot.begin_countdown(60, clock) is not None for slot in slots] == [True, True, False]
        slots[0].end_countdown()
        assert slots[2].begin_countdown(60, clock) is not None
        slots[1].leave()
        assert slots[0].begin_countdown(60, clock) is not None
