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


def test_slots_are_given_back_even_if_the_wait_aside_ends_the_action() -> None:
    limiter = Limiter(max_parallel=1)
    first, second = limiter.slot(), limiter.slot()
    first.begin()
    with pytest.raises(CancelledByKill), first.aside(no_check):
        raise CancelledByKill("killed")
    assert not first.holds
    second.begin()
    first.leave()
    assert second.holds


# ----- between the beginnings of two servers


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


def must_not_wait() -> None:
    raise AssertionError("it waits")


class TestCountdowns:
    def test_those_that_begin_at_nearly_the_same_time_end_at_the_same_moment(self) -> None:
        clock, limiter = FakeClock(), Limiter()
        first = limiter.slot().begin_countdown(60, clock)
        clock.sleep(4)
        second = limiter.slot().begin_countdown(60, clock)
        clock.sleep(4)
        third = limiter.slot().begin_countdown(60, clock)
        assert first is not None and second is not None and third is not None
        assert first.at == second.at == 60 and third.at == 68

    def test_no_more_count_down_at_a_time_than_are_acted_on(self) -> None:
        clock, limiter = FakeClock(), Limiter(max_parallel=2)
        slots = [limiter.slot() for _each in range(3)]
        assert [slot.begin_countdown(60, clock) is not None for slot in slots] == [True, True, False]
        slots[0].end_countdown()
        assert slots[2].begin_countdown(60, clock) is not None
        slots[1].leave()
        assert slots[0].begin_countdown(60, clock) is not None

    def test_one_that_goes_on_keeps_its_place_while_its_other_slots_are_given_to_others(self) -> None:
        clock, limiter = FakeClock(), Limiter(max_parallel=1)
        counts, other = limiter.slot(), limiter.slot()
        counts.begin()
        assert counts.begin_countdown(60, clock) is not None
        held = counts.leave(counts_on=True)
        assert held == [limiter.whole] and other.begin_countdown(60, clock) is None
        other.begin(must_not_wait)
