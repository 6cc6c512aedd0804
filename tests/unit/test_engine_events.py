# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ends that the engine tells of reach who waits for them, and nobody waits for an engine that cannot tell."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_events import EndEvents
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError
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
