# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One list answers all who asked before it was begun, and nobody who asked after that."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import LiveByLabel
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable


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
