# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of events for power actions: restarts beside a thousand events a second in the same journal, and the cost for one restart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, alternately, ratio
from ansible_collections.fleet.power.tests.integration.lab import Lab
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, FORK, Node, act

_ROUNDS, _A_SECOND, _ENDS = 30, 1000, 400


def measure(lab: Lab) -> Iterator[Row]:
    yield _beside(lab)
    yield _of_an_end(lab.root)


def _beside(lab: Lab) -> Row:
    """Restarts of one server, with and without a process that writes events at the same time."""
    uuid = lab.server()
    assert lab.power("start", uuid).outcome.value == "done"
    lab.node().journal.events.open()
    written: list[float] = []

    def restart() -> float:
        began = time.monotonic()
        assert lab.power("restart", uuid).outcome.value == "done"
        return time.monotonic() - began

    def busy() -> float:
        with _writer(lab, written):
            return restart()

    beside, alone = alternately([busy, restart], _ROUNDS, 3)
    note = f"events written: {Spread(tuple(written), '1/s').text()}"
    return ratio("restart beside 1,000 events a second", beside, alone, "restart alone", 1.05, [note])


@contextmanager
def _writer(lab: Lab, written: list[float]) -> Iterator[None]:
    """Write events in another process, one transaction for each event, until the block ends."""
    stop, ready, answers = FORK.Event(), FORK.Event(), FORK.SimpleQueue()
    process = FORK.Process(target=_write, args=(lab, stop, ready, answers), daemon=True)
    process.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        stop.set()
        written.append(answers.get())
        process.join()


def _write(lab: Lab, stop: Any, ready: Any, answers: Any) -> None:
    journal = lab.node().journal
    began, count = time.monotonic(), 0
    while not stop.is_set():
        if count < (time.monotonic() - began) * _A_SECOND:
            assert journal.events.write(Event(EventType.COUNTDOWN_BEGUN, "2026-01-01T00:00:00.000Z", {"number": count}, ALPHA))
            count += 1
            if count == _A_SECOND // 10:
                ready.set()
        else:
            # Several events each time: the row measures writes, not wake-ups of a process.
            time.sleep(10 / _A_SECOND)
    answers.put(count / (time.monotonic() - began))
    journal.close()


def _of_an_end(root: Path) -> Row:
    """All journal writes of a restart, with an outbox and without one."""
    nodes = {is_open: Node(root / f"events-{is_open}") for is_open in (True, False)}
    journals: dict[bool, Journal] = {is_open: node.journal() for is_open, node in nodes.items()}
    journals[True].events.open()
    numbers = iter(range(10**9))

    def of(is_open: bool) -> float:
        began = time.monotonic()
        for _end in range(_ENDS):
            number = next(numbers)
            act(journals[is_open], f"{number}", Server(f"{number % 50:08x}-0000-4000-8000-000000000000"))
        return time.monotonic() - began

    with_events, without = alternately([lambda: of(True), lambda: of(False)], 12, 2)
    extra = 1_000_000 * (with_events.median - without.median) / _ENDS
    for journal in journals.values():
        journal.close()
    note = f"{extra:.0f} µs more for each restart"
    return ratio(f"the journal's part of {_ENDS} restarts, with an outbox", with_events, without, "without one", 2.0, [note])
