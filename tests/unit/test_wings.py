# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether Wings is alive: told from a process table that servers' own processes write to as well."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.pauses import Remembered, wings_pid
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock


def process(proc: Path, pid: int, comm: str | None, uid: int | None = None) -> None:
    directory = proc / str(pid)
    directory.mkdir()
    if comm is not None:
        (directory / "comm").write_text(f"{comm}\n")
    if uid is not None:
        os.chown(directory, uid, uid)


def test_wings_is_found_among_others(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    (tmp_path / "uptime").write_text("1 1\n")
    process(tmp_path, 1, "systemd")
    process(tmp_path, 4711, "wings")
    assert wings_pid(str(tmp_path)) == 4711


@pytest.mark.parametrize("comm", ["java", "wingsx", "not wings", "Wings", ""])
def test_only_its_very_name_counts(tmp_path: Path, comm: str) -> None:
    process(tmp_path, 4711, comm)
    assert wings_pid(str(tmp_path)) is None


def test_a_process_that_ends_meanwhile_is_passed_over(tmp_path: Path) -> None:
    process(tmp_path, 17, None)
    process(tmp_path, 18, "wings")
    assert wings_pid(str(tmp_path)) == 18


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_servers_process_that_calls_itself_wings_is_not_believed(tmp_path: Path) -> None:
    process(tmp_path, 4711, "wings", uid=988)
    assert wings_pid(str(tmp_path)) is None


class TestRemembered:
    def test_many_threads_that_ask_at_once_look_once(self) -> None:
        looks: list[None] = []

        def find() -> int:
            time.sleep(0.05)
            looks.append(None)
            return 4711

        remembered = Remembered(find, 1.0, lambda: 0.0)
        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(lambda _number: remembered(), range(20))) == {4711}
        assert len(looks) == 1

    def test_after_a_second_it_is_looked_again(self) -> None:
        clock, found = FakeClock(), iter([None, 4711])
        remembered = Remembered(lambda: next(found), 1.0, clock.monotonic)
        assert remembered() is None
        clock.sleep(0.9)
        assert remembered() is None
        clock.sleep(0.1)
        assert remembered() == 4711
