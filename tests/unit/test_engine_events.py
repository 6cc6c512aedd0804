# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for ends that the engine reports, and lists that many callers share."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import LiveByLabel
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_events import EndEvents
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill, EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Snapshot
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode
from ansible_collections.fleet.power.tests.unit.thread_support import block_until

LONG = 20.0


class Engine:
    """An engine whose stream tells what the test says; each piece lasts as long as it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []
        self.opened = threading.Event()
        self._said: queue.Queue[str | Exception | None] = queue.Queue()

    def say(self, said: str | Exception | None) -> None:
        """The id of a container that ended, a fault, or (None) the end of the stream."""
        self._said.put(said)

    def listen(self, since: float, until: float) -> Iterator[str]:
        self.asked.append((since, until))
        self.opened.set()
        while (left := until - time.time()) > 0:
            try:
                said = self._said.get(timeout=left)
            except queue.Empty:
                return
            if said is None:
                return
            if isinstance(said, Exception):
                raise said
            yield said


@pytest.fixture(name="engine")
def make_engine() -> Engine:
    return Engine()


@pytest.fixture(name="events")
def make_events(engine: Engine) -> Iterator[EndEvents]:
    before = threading.active_count()
    yield EndEvents(engine.listen)
    deadline = time.monotonic() + 20
    while threading.active_count() > before:
        assert time.monotonic() < deadline, "its thread outlives its use"
        time.sleep(0.02)


def test_an_end_wakes_who_waits_for_it_and_nobody_else(engine: Engine, events: EndEvents) -> None:
    with ThreadPoolExecutor(3) as pool:
        first, second = (pool.submit(events.wait, "a", LONG, begin=True) for _unused in range(2))
        other = pool.submit(events.wait, "b", 0.5, begin=True)
        assert engine.opened.wait(20)
        block_until(lambda: len(events._waiting.get("a", ())) == 2)
        engine.say("a")
        assert (first.result(20), second.result(20), other.result(20)) == (True, True, False)
    assert len(engine.asked) == 1


def test_an_end_between_the_look_and_the_wait_is_not_missed_and_counts_once(engine: Engine, events: EndEvents) -> None:
    assert events.wait("other", 0.01, begin=True) is False
    engine.say("a")
    time.sleep(0.1)
    assert events.wait("a", LONG, begin=False) is True
    assert events.wait("a", 0.01, begin=False) is False


def test_the_pieces_of_the_stream_leave_no_gap_and_the_first_reaches_back(engine: Engine, events: EndEvents) -> None:
    began = time.time()
    assert events.wait("a", 1.3, begin=True) is False
    (first, until), (then, _later) = engine.asked[:2]
    assert first < began - 0.5
    assert then == until


@pytest.mark.parametrize("fault", [EngineError("no such call", status=404), KeyError("id"), ValueError("no JSON"), None])
def test_who_waits_for_a_stream_that_fails_is_told_to_look_for_itself(engine: Engine, events: EndEvents, fault: Exception | None) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(events.wait, "a", LONG, begin=True)
        assert engine.opened.wait(20)
        engine.say(fault)
        assert waiting.result(20) is None
    assert events.wait("a", LONG, begin=True) is None
    assert len(engine.asked) == 1


class Hints:
    """An engine that tells of ends: when it is listened to, after how many seconds it tells, and whether it ever does."""

    def __init__(self, fake: FakeNode, *, tells: bool = True) -> None:
        self.fake, self.tells = fake, tells
        self.listening = False
        self.inspects = 0
        fake.engine.hints = self.wait
        inspect = fake.engine.inspect

        def counted(name: str) -> Snapshot | None:
            self.inspects += 1
            return inspect(name)

        fake.engine.inspect = counted  # type: ignore[method-assign]

    def wait(self, container: str, seconds: float, begin: bool) -> bool | None:
        self.listening = self.listening or begin
        if not self.listening:
            return None
        until = self.fake.clock.monotonic() + seconds
        while self.fake.clock.monotonic() < until:
            self.fake.clock.sleep(0.01)
            found = self.fake.engine.find(container)
            if self.tells and (found is None or not found.live):
                return True
        return False


def ending_after(fake: FakeNode, seconds: float) -> Snapshot:
    """The server, up; its process ends by itself."""
    snapshot = fake.up()
    fake.clock.after(seconds, lambda: fake.engine.end(snapshot.id))
    return snapshot


def test_a_long_stop_is_told_of_at_once_and_looked_at_every_two_seconds(fake: FakeNode) -> None:
    snapshot = ending_after(fake, 10.6)
    hints = Hints(fake)
    began = fake.clock.monotonic()
    assert fake.node.await_end(snapshot.run, 60, no_check)
    assert fake.clock.monotonic() - began == pytest.approx(10.6, abs=0.1)
    assert hints.inspects <= 6 + 10.6 / 2 + 2


def test_an_end_that_is_told_of_but_did_not_happen_is_not_believed(fake: FakeNode) -> None:
    snapshot = ending_after(fake, 5)
    told = iter([True, True, None])
    fake.engine.hints = lambda container, seconds, begin: next(told, None)
    assert fake.node.await_end(snapshot.run, 60, no_check)
    assert fake.clock.monotonic() >= 5


def test_the_time_limit_holds_and_the_kill_generation_is_looked_at_every_half_second(fake: FakeNode) -> None:
    Hints(fake)
    snapshot, looks = fake.up(), [fake.clock.monotonic()]
    began = fake.clock.monotonic()
    assert not fake.node.await_end(snapshot.run, 7.3, lambda: looks.append(fake.clock.monotonic()))
    assert fake.clock.monotonic() - began == pytest.approx(7.3, abs=0.05)
    assert max(later - earlier for earlier, later in zip(looks, looks[1:])) <= 0.55


def test_a_look_that_raises_ends_the_wait(fake: FakeNode) -> None:
    hints, snapshot = Hints(fake), fake.up()

    def look() -> None:
        if fake.clock.monotonic() > 3:
            raise CancelledByKill("Cannot go on")

    with pytest.raises(CancelledByKill):
        fake.node.await_end(snapshot.run, 60, look)
    assert hints.listening
    assert fake.clock.monotonic() < 4


class Lists:
    """Lists that take as long as a test wants; each is another."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Semaphore(0)
        self.has_begun = threading.Semaphore(0)
        self.fault: Exception | None = None

    def read(self) -> dict[str, list[str]]:
        self.begun += 1
        number = self.begun
        self.has_begun.release()
        assert self.may_end.acquire(timeout=10)
        if self.fault is not None:
            raise self.fault
        return {"u": [f"container of list {number}"]}


def waiting(live: LiveByLabel) -> int:
    return len(live._changed._waiters)  # type: ignore[attr-defined]


def test_all_who_ask_while_a_list_is_under_way_share_the_next_one() -> None:
    lists = Lists()
    live = LiveByLabel(lists.read)
    with ThreadPoolExecutor(41) as pool:
        first = pool.submit(live.of, "u")
        assert lists.has_begun.acquire(timeout=10)
        others = [pool.submit(live.of, "u") for _number in range(40)]
        while waiting(live) < 40:
            pass
        lists.may_end.release(2)
        assert first.result(10) == ["container of list 1"]
        assert [other.result(10) for other in others] == [["container of list 2"]] * 40
    assert lists.begun == 2


def test_all_who_waited_are_told_of_an_engine_that_is_silent_by_one_wait_for_it() -> None:
    lists = Lists()
    live = LiveByLabel(lists.read)
    lists.fault = EngineUnreachable("Cannot list the containers: silent")
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(live.of, "u")
        assert lists.has_begun.acquire(timeout=10)
        others = [pool.submit(live.of, "u") for _number in range(9)]
        while waiting(live) < 9:
            pass
        lists.may_end.release(2)
        for asked in (first, *others):
            with pytest.raises(EngineUnreachable, match="silent"):
                asked.result(10)
    assert lists.begun == 2
