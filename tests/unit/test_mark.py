# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Process marks: alive exactly as long as their process."""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import threading
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal.mark import ProcessMark, mark_is_alive
from ansible_collections.fleet.power.tests.unit.lock_support import FORK, NO_GROUP, as_nobody_below, mode_of


def test_a_mark_is_alive_from_open_to_close_and_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "locks"
    mark = ProcessMark(str(directory), NO_GROUP)
    assert not mark_is_alive(str(directory), mark.name)
    mark.open()
    mark.open()
    assert mark_is_alive(str(directory), mark.name)
    assert mode_of(directory / mark.name) == 0o660
    mark.close()
    mark.close()
    assert not mark_is_alive(str(directory), mark.name)
    assert os.listdir(directory) == []


def live_until_killed(directory: str, parent: multiprocessing.connection.Connection) -> None:
    mark = ProcessMark(directory, NO_GROUP)
    mark.open()
    parent.send(mark.name)
    signal.pause()


def test_a_mark_dies_with_its_process_even_by_sigkill(tmp_path: Path) -> None:
    here, there = FORK.Pipe()
    child = FORK.Process(target=live_until_killed, args=(str(tmp_path), there))
    child.start()
    name = here.recv()
    assert mark_is_alive(str(tmp_path), name)
    child.kill()
    child.join(10)
    assert not mark_is_alive(str(tmp_path), name)
    assert (tmp_path / name).exists()


def test_looking_at_a_mark_from_many_sides_at_once_never_shows_it_dead(tmp_path: Path) -> None:
    mark = ProcessMark(str(tmp_path), NO_GROUP)
    mark.open()
    seen: list[bool] = []

    def look() -> None:
        seen.extend(mark_is_alive(str(tmp_path), mark.name) for _unused in range(300))

    readers = [threading.Thread(target=look) for _unused in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(10)
    assert len(seen) == 1200
    assert all(seen)
    mark.close()


@pytest.mark.parametrize("name", ["", "../secret", "process-1-ab.mark\n", "process-1-ab.mark\0", "x.lock"])
def test_a_name_that_no_mark_can_have_is_dead(tmp_path: Path, name: str) -> None:
    assert not mark_is_alive(str(tmp_path), name)


def test_a_mark_that_may_not_be_read_is_taken_for_alive(tmp_path: Path) -> None:
    mark = ProcessMark(str(tmp_path), NO_GROUP)
    mark.open()
    with as_nobody_below(tmp_path / "x"):
        assert mark_is_alive(str(tmp_path), mark.name)
    mark.close()
