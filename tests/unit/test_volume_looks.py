# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A walk looks up at least every second, however slow the disk is, and not so often that a slow look makes it slow."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.tests.unit.volume_support import (
    UNBOUNDED,
    make_deep,
    make_files,
    open_descriptors,
    settled_descriptors,
)

ME = (os.geteuid(), os.getegid())
MEASURING_AND_OWNING = pytest.mark.parametrize("owner", [None, ME], ids=["measuring", "owning"])


class Kill:
    """A look that a kill comes right after the first of; tells how long the next took to come."""

    def __init__(self) -> None:
        self.looks = 0
        self._first = 0.0

    def __call__(self) -> None:
        self.looks += 1
        if self.looks == 1:
            self._first = time.monotonic()
            return
        self.seconds = time.monotonic() - self._first
        raise CancelledByKill("killed")


class SlowEntry:
    """An entry of a directory on a disk that needs ten milliseconds for whatever is asked."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self._entry = entry
        self.name = entry.name

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        time.sleep(0.01)
        return self._entry.stat(follow_symlinks=follow_symlinks)


@MEASURING_AND_OWNING
@pytest.mark.parametrize("shape", ["one directory", "many directories"])
def test_on_a_slow_disk_a_kill_is_seen_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: tuple[int, int] | None, shape: str
) -> None:
    if shape == "one directory":
        make_files(tmp_path, range(300), ME)
    else:
        for number in range(300):
            (tmp_path / str(number)).mkdir()
    original = os.scandir

    @contextmanager
    def slow(descriptor: int) -> Iterator[Any]:
        with original(descriptor) as entries:
            yield (SlowEntry(entry) for entry in entries)

    monkeypatch.setattr(os, "scandir", slow)
    before, kill = settled_descriptors(), Kill()
    with pytest.raises(CancelledByKill):
        Volume(str(tmp_path)).survey(kill, UNBOUNDED, owner=owner)
    assert kill.seconds < 1
    assert open_descriptors() == before


@pytest.mark.parametrize("slow", ["going up", "finding the way again", "names of directories that vanished"])
def test_where_getting_about_is_slow_a_kill_is_seen_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    if slow == "names of directories that vanished":
        for number in range(300):
            (tmp_path / str(number)).mkdir()
    else:
        make_deep(tmp_path, 300, ME)
    original, began = os.open, list[float]()

    def slowly(path: Any, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        is_slow = dir_fd is not None and (path == ".." or (slow.startswith("names") or (bool(began) and slow.startswith("finding"))))
        if is_slow:
            began.append(time.monotonic())
            time.sleep(0.01)
            if slow.startswith("names") or (path == ".." and slow.startswith("finding")):
                raise FileNotFoundError(errno.ENOENT, "gone")
        return original(path, flags, *rest, dir_fd=dir_fd)

    def look() -> None:
        # The first moves may be from before the last look.
        if len(began) > 2:
            raise CancelledByKill("killed")

    before = settled_descriptors()
    monkeypatch.setattr(os, "open", slowly)
    with pytest.raises(CancelledByKill):
        Volume(str(tmp_path)).survey(look, UNBOUNDED, owner=ME)
    assert time.monotonic() - began[2] < 1
    assert open_descriptors() == before
