# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What whoever asked is told of an action, and when they are waited for: before something begins, and never with a lock in hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter, Slot
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.perform import perform_at
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.news import News
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase, Result
from ansible_collections.fleet.power.tests.unit import endpoint_support
from ansible_collections.fleet.power.tests.unit.endpoint_support import OFFLINE, OLD, RUNNING, FakeEndpoint
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode


class Asker:
    """Whoever asked for an action on a fake node: what they hear, and when they are waited for."""

    def __init__(self, fake: FakeNode) -> None:
        self.fake = fake
        self.news: list[News] = []
        #: For each time that they were waited for: the holder of the lock, and how much they had heard.
        self.held: list[tuple[str | None, int]] = []
        self.on_hold: Callable[[], object] = lambda: None

    def perform(self, action: str, slot: Slot | None = None, **fields: Any) -> Result:
        node = replace(self.fake.node, caller=Caller(lambda: self.fake.interrupted, self._hold, self.news.append))
        request = self.fake.request(action, **fields)
        result = perform(request, node, slot=slot)
        # Whoever holds the lock keeps kills and others waiting: never for somebody who may not come back.
        assert request.operation not in [holder for holder, _heard in self.held]
        return result

    @property
    def told(self) -> list[str]:
        return [news.phase for news in self.news]

    def _hold(self) -> None:
        holder = self.fake.node.locks.holder(UUID)
        self.held.append((None if holder is None else holder.operation, len(self.news)))
        self.on_hold()


@pytest.fixture(name="asker")
def somebody_who_asks(fake: FakeNode) -> Asker:
    return Asker(fake)


# ----- what is told


@pytest.mark.parametrize(
    "action, phases",
    [
        ("start", ["pull", "preboot", "start"]),
        ("stop", ["stop"]),
        ("restart", ["pull", "stop", "preboot", "start"]),
        ("kill", ["kill"]),
    ],
)
def test_each_phase_is_told_in_order_with_server_and_action(fake: FakeNode, asker: Asker, action: str, phases: list[str]) -> None:
    if action != "start":
        fake.up()
    result = asker.perform(action)
    assert (result.outcome.value, asker.told) == ("done", phases)
    assert {(news.server.uuid, news.server.name, news.action, news.outcome) for news in asker.news} == {(UUID, "Cobalt", action, "")}
    seconds = [news.seconds for news in asker.news]
    assert seconds == sorted(seconds)


def test_a_wait_for_a_slot_to_boot_is_told(fake: FakeNode, asker: Asker) -> None:
    fake.up()
    limiter = Limiter()
    others = [limiter.slot() for _unused in range(1000)]
    taken = [slot for slot in others if slot.may_boot()]
    slot = limiter.slot()
    release = iter(taken)
    asker.news = _Releasing(lambda: next(release).leave())
    assert asker.perform("restart", slot).outcome.value == "done"
    assert asker.told == ["pull", "stop", "queue", "preboot", "start"]


class _Releasing(list[News]):
    """Gives a slot back once a wait for one is told."""

    def __init__(self, release: Callable[[], object]) -> None:
        super().__init__()
        self._release = release

    def append(self, news: News) -> None:
        super().append(news)
        if news.phase == "queue":
            self._release()


@pytest.mark.parametrize("in_a_slot", [False, True])
@pytest.mark.parametrize("seconds, told", [(0.5, []), (5.0, ["locked"])])
def test_a_wait_for_the_lock_is_told_once_and_only_if_it_is_long(
    fake: FakeNode, asker: Asker, seconds: float, told: list[str], in_a_slot: bool
) -> None:
    fake.up()
    fake.clock.after(seconds, fake.lock("restart").release)
    slot = Limiter(max_parallel=1).slot()
    if in_a_slot:
        slot.begin()
    assert asker.perform("stop", slot).outcome.value == "done"
    assert asker.told == [*told, "stop"]


# ----- who is waited for


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_nothing_is_done_before_whoever_asked_is_there(fake: FakeNode, asker: Asker, action: str) -> None:
    if action != "start":
        fake.up()
    before: list[tuple[list[object], list[str]]] = []
    asker.on_hold = lambda: before.append((list(fake.engine.calls), asker.told))
    generation = fake.node.generations.read(UUID)
    asker.perform(action)
    assert before
    assert all(each == ([], []) for each in before)
    assert (fake.node.generations.read(UUID) != generation) is (action == "kill")


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_whoever_does_not_come_back_has_asked_for_nothing(fake: FakeNode, asker: Asker, action: str) -> None:
    if action != "start":
        fake.up()

    def give_up() -> None:
        fake.interrupted = True

    asker.on_hold = give_up
    result = asker.perform(action)
    assert (result.outcome.value, result.code) == ("skipped", "interrupted_by_signal")
    assert (fake.engine.calls, asker.told) == ([], [])


@pytest.mark.parametrize("in_a_slot", [False, True])
def test_who_waits_for_the_lock_is_given_up_with_whoever_asked(fake: FakeNode, asker: Asker, in_a_slot: bool) -> None:
    fake.up()
    lock = fake.lock("restart")
    slot = Limiter(max_parallel=1).slot()
    if in_a_slot:
        slot.begin()

    def give_up_later() -> None:
        fake.interrupted = fake.clock.monotonic() > 30

    asker.on_hold = give_up_later
    result = asker.perform("stop", slot, wait_seconds=600)
    lock.release()
    assert (result.code, fake.live) == ("interrupted_by_signal", True)
    assert fake.clock.monotonic() < 40


def test_a_stop_under_way_is_awaited_no_longer_than_until_a_signal_or_a_kill(fake: FakeNode, asker: Asker) -> None:
    run = fake.up().run
    fake.leave(Phase.STOP, run, "stop")

    def interrupt() -> None:
        fake.interrupted = True

    fake.clock.after(3, interrupt)
    assert asker.perform("start", wait_seconds=60).code == "interrupted_by_signal"
    fake.interrupted = False
    fake.clock.after(3, fake.kill_elsewhere)
    assert asker.perform("start", wait_seconds=60).code == "cancelled_by_kill"
    assert fake.clock.monotonic() < 10


# ----- through an endpoint


UP, DOWN = endpoint_support.seen(RUNNING, OLD), endpoint_support.seen(OFFLINE)


def test_nothing_is_asked_of_an_endpoint_before_whoever_asked_is_there() -> None:
    gone: list[bool] = []
    endpoint = FakeEndpoint(UP, (1, DOWN))
    caller = Caller(lambda: bool(gone), lambda: gone.append(True))
    result = perform_at(endpoint_support.request("stop"), endpoint, endpoint.clock, caller)
    assert (result.code, endpoint.asked) == ("interrupted_by_signal", [])
