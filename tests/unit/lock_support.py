# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Support for the tests of the lock: a clock, another user, a small disk and servers."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.locking.lock import Locks, PowerLock
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import Clock
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request

FORK = multiprocessing.get_context("fork")
UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
OTHER_UUID = "7be1f0c3-2d4e-4f60-9b7a-5c8d9e0f1a2b"
NO_GROUP = "no-such-group-here"
_NOBODY = 65534
_SMALL = 64 * 1024


def acquire(
    locks: Locks, uuid: str = UUID, *, seconds: float = 0, operation: str = "op", action: PowerAction = PowerAction.START
) -> PowerLock:
    return locks.acquire(uuid, asked(action, operation), wait_seconds=seconds, clock=Clock())


def asked(action: PowerAction, operation: str, origin: str = "alice@web1") -> Request:
    return Request(UUID, action, operation, OwnClock().now(), origin=origin, reason="test")


class OwnClock:
    """A clock that advances only by `sleep`; ``slept`` lists the seconds."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(1_700_000_000 + self.monotonic(), timezone.utc)

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def syncs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    """Each file that is synced from now on: path and size; None for a directory."""
    synced: list[tuple[str, int | None]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        found = os.fstat(descriptor)
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), found.st_size if stat.S_ISREG(found.st_mode) else None))

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


def mode_of(path: Path) -> int:
    """The permission bits of ``path``; a link is not followed."""
    return stat.S_IMODE(os.lstat(path).st_mode)


@contextmanager
def as_nobody_below(path: Path) -> Iterator[None]:
    """Run as the user ``nobody``, with access to the parents of ``path``. Without root, skip the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can change the user")
    opened = [(each, mode_of(each)) for each in path.parents if not mode_of(each) & stat.S_IXOTH]
    groups = os.getgroups()
    for each, mode in opened:
        each.chmod(mode | stat.S_IXOTH)
    os.setgroups([])
    os.setegid(_NOBODY)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        for each, mode in opened:
            each.chmod(mode)


@contextmanager
def small_disk(path: Path, size: int = _SMALL) -> Iterator[Path]:
    """A disk of ``size`` bytes at ``path``. If a mount is impossible, skip the test."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a mount is impossible here")
    try:
        assert os.path.ismount(path)
        room = os.statvfs(path)
        assert room.f_blocks * room.f_frsize == size
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def fill(disk: Path) -> None:
    assert os.path.ismount(disk)
    with pytest.raises(OSError), open(disk / "filler", "wb", buffering=0) as filler:
        for _unused in range(_SMALL):
            filler.write(b"x" * 4096)


def leave_room(disk: Path, kibibytes: int) -> None:
    """Fill a small disk except for so many KiB."""
    fill(disk)
    filler = disk / "filler"
    os.truncate(filler, filler.stat().st_size - kibibytes * 1024)
    room = os.statvfs(disk)
    assert room.f_bavail * room.f_frsize == kibibytes * 1024
