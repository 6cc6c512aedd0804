# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock passes from one process to a waiting one, beside the kernel's own lock."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._power.locking.lock import Locks
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import Clock
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.tests.bench.measure import Row, Spread, difference, in_turn

_ROUNDS = 60
_UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
_FORK = multiprocessing.get_context("fork")

Hold = Callable[[], AbstractContextManager[Any]]


def measure(root: Path) -> Row:
    """Measure from right before the release until the waiting process has the lock. The target is for this time."""
    locks = Locks(str(root / "locks"), "no-such-group")
    file = root / "plain.lock"

    def ours() -> AbstractContextManager[Any]:
        clock = Clock()
        request = Request(_UUID, PowerAction.RESTART, "bench", clock.now(), origin="bench")
        return locks.acquire(_UUID, request, wait_seconds=30, clock=clock)

    @contextmanager
    def plain() -> Any:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    mine, other = in_turn(lambda: _hand_over(ours), lambda: _hand_over(plain), _ROUNDS)
    return _whole(mine, other)


def _whole(mine: Spread, other: Spread) -> Row:
    beside = difference("", mine, other, "", 0)
    notes = [f"{beside.value:.1f} ms more than the kernel's lock, longest {1000 * max(mine.samples):.1f} ms"]
    return Row("lock hand-over", mine, other, "blocking flock", 1000 * mine.median, 50, "ms", tuple(notes))


def _hand_over(hold: Hold) -> float:
    """Return the seconds from a release until the other process has the lock. Before, that process waits for a random time."""
    here, there = _FORK.Pipe()
    # Forked before the lock is acquired: a child would inherit the lock.
    waiter = _FORK.Process(target=_wait, args=(hold, there), daemon=True)
    waiter.start()
    with hold():
        here.send("held")
        assert here.recv() == "waiting"
        time.sleep(random.uniform(0.03, 0.06))
        released_at = time.monotonic()
    acquired_at: float = here.recv()
    waiter.join()
    return acquired_at - released_at


def _wait(hold: Hold, parent: Connection) -> None:
    parent.recv()
    parent.send("waiting")
    with hold():
        acquired_at = time.monotonic()
    parent.send(acquired_at)
