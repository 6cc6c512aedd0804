# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP face measures data directories, and one slow directory delays no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.disks import Disks
from ansible_collections.fleet.power.tests.unit.thread_support import block_until, few_threads

HELD = 10_000


@pytest.fixture(name="data")
def data_directories(tmp_path: Path) -> Iterator[Any]:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "file").write_bytes(b"a" * HELD)
    yield SimpleNamespace(data=str(tmp_path), disk_check_timeout=600, disk_check_entries=10_000_000)


def test_many_directories_are_waited_for_no_longer_than_one(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    go, threads = threading.Event(), set()

    def walk(_disks: Disks, _uuid: str, _settings: object, _bounds: object) -> tuple[int, bool]:
        threads.add(threading.get_ident())
        go.wait(20.0)
        return 5, False

    monkeypatch.setattr(Disks, "_walk", walk)
    disks, uuids = Disks(), [str(number) for number in range(40)]
    began = time.monotonic()
    assert set(disks.of_each(uuids, data).values()) == {0}
    assert time.monotonic() - began < 10.0
    go.set()
    block_until(lambda: set(disks.of_each(uuids, data).values()) == {5})
    assert len(threads) == 1


def test_walks_that_no_thread_could_begin_are_begun_by_who_asks_next(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = Disks()
    with monkeypatch.context() as patch:
        few_threads(patch)
        assert disks.of("0", data) == 0
    block_until(lambda: disks.of("0", data) == HELD)
