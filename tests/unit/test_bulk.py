# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A call over many servers: results in order, priorities, bounded threads, and the stagger."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.bulk import Target, perform_each
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter, Slot, Slots
from ansible_collections.fleet.power.plugins.module_utils._power.call import _OnNode, open_call
from ansible_collections.fleet.power.plugins.module_utils._power.host.concurrency import map_concurrently
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    LEFT_ALONE,
    CancelledByKill,
    FailureBudget,
    InterruptedBySignal,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Server
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.forked_support import AT_THE_LIMIT
from ansible_collections.fleet.power.tests.unit.thread_support import block_until, few_threads, in_threads

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
PATIENCE = 10.0


def targets(count: int, action: PowerAction = PowerAction.RESTART) -> list[Target]:
    return [Target(Request(f"u{number}", action, f"op{number}", NOON), Server(f"u{number}")) for number in range(count)]


def ended(target: Target, outcome: Outcome = Outcome.DONE, state: PowerState | None = None) -> Result:
    request = target.request
    return Result(Server(request.server), request.action, outcome, request.operation, NOON, NOON, state=state)


def names(results: list[Result]) -> list[str]:
    return [result.server.uuid for result in results]


def test_results_keep_the_requested_order() -> None:
    asked, over = targets(5), [threading.Event() for _unused in range(6)]
    over[5].set()

    def act(target: Target, _place: Slot) -> Result:
        number = int(target.request.server[1:])
        # Each server waits for the next one.
        assert over[number + 1].wait(PATIENCE)
        over[number].set()
        return ended(target)

    assert names(perform_each(asked, act, Limiter())) == ["u0", "u1", "u2", "u3", "u4"]


@pytest.mark.parametrize("most", [1, 3])
def test_max_parallel_limits_the_concurrent_actions_and_keeps_their_order(most: int) -> None:
    busy, peak, order, mutex = 0, 0, [], threading.Lock()
    together = threading.Barrier(most)

    def act(target: Target, _place: Slot) -> Result:
        nonlocal busy, peak
        with mutex:
            busy += 1
            peak = max(peak, busy)
            order.append(int(target.request.server[1:]))
        # The maximum number of actions is here at the same time.
        together.wait(PATIENCE)
        with mutex:
            busy -= 1
        return ended(target)

    assert len(perform_each(targets(9), act, Limiter(max_parallel=most))) == 9
    assert peak == most
    assert all(position - most < number < position + most for position, number in enumerate(order))


def test_an_exceeded_failure_budget_skips_the_remaining_servers() -> None:
    asked = targets(5)

    def act(target: Target, slot: Slot) -> Result:
        try:
            slot.refuse_over_budget(target.request.server)
        except FailureBudget:
            return ended(target, Outcome.SKIPPED)
        return ended(target, Outcome.FAILED if target.request.server in ("u1", "u2") else Outcome.DONE)

    results = perform_each(asked, act, Limiter(max_parallel=1, max_failures=1))
    assert [result.outcome.value for result in results] == ["done", "failed", "failed", "skipped", "skipped"]


def test_servers_left_alone_use_no_failure_budget() -> None:
    limiter = Limiter(max_parallel=1, max_failures=0)
    for code in LEFT_ALONE:
        limiter.count(replace(ended(targets(1)[0], Outcome.REFUSED), code=code))
    limiter.refuse_over_budget("u1")
    limiter.count(ended(targets(1)[0], Outcome.REFUSED))
    with pytest.raises(FailureBudget):
        limiter.refuse_over_budget("u1")


@pytest.mark.parametrize("count", [1, 4])
def test_a_fault_of_ours_in_one_server_is_reported_and_does_not_affect_other_servers(count: int) -> None:
    def act(target: Target, _place: Slot) -> Result:
        if target.request.server == "u0":
            raise ZeroDivisionError("with a secret in it")
        return ended(target)

    limiter = Limiter(max_parallel=1, max_failures=5)
    results = perform_each(targets(count), act, limiter)
    assert [(result.server.uuid, result.outcome.value, result.code) for result in results] == [
        ("u0", "failed", "internal_error"),
        *[(f"u{number}", "done", "") for number in range(1, count)],
    ]
    assert (results[0].operation, results[0].changed) == ("op0", False)
    assert "ZeroDivisionError" in results[0].msg and "secret" not in results[0].msg
    # The slot is free again.
    assert limiter.whole is not None and limiter.whole.try_take()


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("max_parallel", [0, 1, 3])
def test_a_shortage_of_threads_does_not_stop_the_actions(monkeypatch: pytest.MonkeyPatch, threads: int, max_parallel: int) -> None:
    few_threads(monkeypatch, threads)
    by: dict[str, threading.Thread] = {}

    def act(target: Target, _place: Slot) -> Result:
        by[target.request.server] = threading.current_thread()
        return ended(target)

    stack = threading.stack_size()
    limiter = Limiter(max_parallel)
    assert names(perform_each(targets(6), act, limiter)) == [f"u{number}" for number in range(6)]
    assert [name for name, thread in sorted(by.items()) if thread is threading.current_thread()] == [
        f"u{number}" for number in range(threads, 6)
    ]
    assert threading.stack_size() == stack
    assert limiter.whole is None or [limiter.whole.try_take() for _unused in range(max_parallel + 1)] == [True] * max_parallel + [False]


@pytest.mark.parametrize(
    "action, tiers",
    [
        (PowerAction.START, [{"u1"}, {"u0", "u3"}, {"u2"}]),
        (PowerAction.RESTART, [{"u1"}, {"u0", "u3"}, {"u2"}]),
        (PowerAction.STOP, [{"u2"}, {"u0", "u3"}, {"u1"}]),
        (PowerAction.KILL, [{"u2"}, {"u0", "u3"}, {"u1"}]),
    ],
)
@pytest.mark.parametrize("max_parallel", [0, 2])
def test_a_tier_begins_after_the_end_of_the_previous_tier(action: PowerAction, tiers: list[set[str]], max_parallel: int) -> None:
    begun: list[str] = []
    over: list[str] = []
    together = {frozenset(tier): threading.Barrier(len(tier)) for tier in tiers}

    def act(target: Target, _place: Slot) -> Result:
        name = target.request.server
        mine = next(number for number, tier in enumerate(tiers) if name in tier)
        assert set(over) >= set().union(*tiers[:mine]), "all previous tiers have ended"
        begun.append(name)
        # The servers of one tier are acted on at the same time.
        together[frozenset(tiers[mine])].wait(PATIENCE)
        over.append(name)
        return ended(target)

    results = perform_each(targets(4, action), act, Limiter(max_parallel), [50, -1, 70, 50])
    assert [(result.server.uuid, result.outcome) for result in results] == [(f"u{number}", Outcome.DONE) for number in range(4)]
    assert len(begun) == 4


COBALT = Server(UUID, "Cobalt")


def priority(fake: FakeNode, action: str = "start", names: tuple[str, ...] = (UUID,), **given: int) -> list[int]:
    call = _OnNode(fake.build())
    return call.priorities(call.targets(names, fake.request(action, server="")), given)


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_the_priority_comes_from_the_task_then_the_settings_then_the_definition(fake: FakeNode, action: str) -> None:
    assert priority(fake, action) == [100]
    fake.define(meta={"name": "Cobalt", "priority": 7})
    assert priority(fake, action) == [7]
    fake.configure(system={"priorities": {"Cobalt": 5}})
    assert priority(fake, action) == [5]
    assert priority(fake, action, Cobalt=0) == [0]


def test_a_signal_ends_the_search_for_priorities(fake: FakeNode) -> None:
    fake.file.unlink()
    call = _OnNode(fake.build())
    targets = call.targets((UUID,), fake.request("start", server=""))
    fake.interrupted = True
    with pytest.raises(InterruptedBySignal):
        call.priorities(targets, {})


def test_the_journal_lists_the_servers_that_should_be_up(fake: FakeNode) -> None:
    assert _OnNode(fake.node).should_be_up() == []
    fake.up()
    assert _OnNode(fake.node).should_be_up() == [COBALT]
    fake.perform("stop")
    assert _OnNode(fake.node).should_be_up() == []


def test_a_directory_of_the_task_replaces_the_directory_of_the_settings(tmp_path: Path) -> None:
    settings = tmp_path / "config.yml"
    places = {"definitions": "here", "state_directory": "state", "lock_directory": "locks"}
    settings.write_text(json.dumps({"system": {name: str(tmp_path / place) for name, place in places.items()}}))
    for name, priority in (("here", 1), ("there", 2)):
        (tmp_path / name).mkdir()
        definition = {"settings": {"uuid": UUID, "meta": {"priority": priority}, "container": {"image": "game:1"}}}
        (tmp_path / name / f"{UUID}.json").write_text(json.dumps(definition))
    found = []
    for more in ({}, {"definitions_dir": str(tmp_path / "there")}):
        with contextlib.closing(open_call({"config": str(settings), **more}, read_only=True)) as call:
            found += call.priorities([Target(Request("x", PowerAction.START, "", datetime.now(timezone.utc)), COBALT)], {})
    assert found == [1, 2]


BARE = f"""
import json, os, threading, time
from ansible_collections.fleet.power.plugins.module_utils._power.host.concurrency import map_concurrently
{AT_THE_LIMIT}
"""


def output_of(script: str) -> object:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", BARE + script], env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_few_threads_do_all_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    few_threads(monkeypatch, 2)
    names = map_concurrently(lambda _number: threading.current_thread().name, range(50))
    assert None not in names
    assert threading.current_thread().name not in names


def test_the_calling_thread_does_the_work_without_other_threads() -> None:
    script = "print(json.dumps(map_concurrently(lambda each: (each, threading.current_thread() is threading.main_thread()), range(20))))"
    assert output_of(script) == [[number, True] for number in range(20)]


def test_the_calling_thread_begins_no_more_work_after_the_timeout() -> None:
    script = """
begun = []
def look(number):
    begun.append(number)
    time.sleep(0.05)
    return number
found = map_concurrently(look, range(1000), 0.2)
print(json.dumps([begun == list(range(len(begun))), len(begun) < 1000, found[: len(begun)] == begun, set(found[len(begun) :]) == {None}]))
"""
    assert output_of(script) == [True] * 4


def in_thread(body: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def waiters(slots: Slots) -> int:
    return len(slots._waiting)


def come_in_turn(slots: Slots, tickets: Sequence[int], act: Callable[[int], object]) -> None:
    """Begin to wait for a slot in this order, then give one back; return when all threads have ended."""
    threads = []
    for ticket in tickets:
        threads.append(in_thread(lambda ticket=ticket: act(ticket)))
        block_until(lambda: waiters(slots) == len(threads))
    slots.give_back()
    for thread in threads:
        thread.join(10)


def test_a_slot_goes_to_the_lowest_ticket() -> None:
    slots, served = Slots(1), []
    slots.take(0, no_check)
    come_in_turn(slots, (5, 3, 4), lambda ticket: (slots.take(ticket, no_check), served.append(ticket), slots.give_back()))
    assert served == [3, 4, 5]


def test_the_slots_limit_the_concurrent_users_and_are_never_lost() -> None:
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

    in_threads(40, come_and_go)
    assert most == 3
    assert [slots.try_take() for _unused in range(4)] == [True, True, True, False]


def test_a_failed_check_leaves_the_queue_for_a_slot() -> None:
    slots = Slots(1)
    slots.take(0, no_check)

    def killed() -> None:
        raise CancelledByKill("killed")

    with pytest.raises(CancelledByKill):
        slots.take(1, killed)
    assert waiters(slots) == 0
    slots.give_back()
    assert slots.try_take()


def test_a_server_that_steps_aside_goes_behind_the_first_turns() -> None:
    limiter = Limiter(max_parallel=1)
    first, second, third = (limiter.slot() for _unused in range(3))
    order: list[str] = []
    first.begin()

    def step_aside() -> None:
        with first.aside("u", no_check):
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


def test_stagger_separates_all_starts() -> None:
    limiter, begun = Limiter(stagger=0.3), []

    def begin(slot: Slot) -> None:
        slot.await_stagger("u", no_check)
        begun.append(time.monotonic())

    taken = [limiter.slot() for _unused in range(5)]
    in_threads(5, lambda number: begin(taken[number]))
    gaps = [after - before for before, after in zip(begun, begun[1:])]
    # A thread reads the clock a moment after its turn.
    assert len(begun) == 5 and all(0.1 < gap < 5 for gap in gaps), gaps


def test_stagger_keeps_the_order_of_the_tickets() -> None:
    limiter, order = Limiter(stagger=0.05), []
    taken = [limiter.slot() for _unused in range(4)]
    assert limiter.stagger is not None
    taken[0].await_stagger("u", no_check)
    gate = limiter.stagger._gate
    gate.take(-1, no_check)
    come_in_turn(gate, (3, 1, 2), lambda number: (taken[number].await_stagger("u", no_check), order.append(number)))
    assert order == [1, 2, 3]


def test_a_limiter_without_stagger_shares_slots_and_tickets() -> None:
    limiter = Limiter(max_parallel=1, stagger=3600)
    other = limiter.without_stagger()
    first, second = limiter.slot(), other.slot()
    assert (first._ticket, second._ticket) == (0, 1)
    assert first.await_stagger("u", no_check) is False
    assert (limiter.stagger is None, second.await_stagger("u", no_check)) == (False, False)
    first.begin()
    assert other.whole is not None and not other.whole.try_take()


class TestCountdowns:
    def test_max_parallel_limits_the_concurrent_countdowns(self) -> None:
        clock, limiter = FakeClock(), Limiter(max_parallel=2)
        slots = [limiter.slot() for _each in range(3)]
        assert [slot.begin_countdown(60, clock) is not None for slot in slots] == [True, True, False]
        slots[0].end_countdown()
        assert slots[2].begin_countdown(60, clock) is not None
        slots[1].leave()
        assert slots[0].begin_countdown(60, clock) is not None
