# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power lock on hostile and failing disks: refused with a reason, nothing harmed, nothing lost."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.locking.lock import Locks
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import LockTimeout, LockUnavailable
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.tests.unit.lock_support import (
    NO_GROUP,
    OTHER_UUID,
    UUID,
    acquire,
    as_nobody_below,
    fill,
    mode_of,
    small_disk,
)

RUN = Run("c" * 64, "2026-01-01T00:00:00.123456789Z")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def locks(directory: Path) -> Locks:
    return Locks(str(directory), NO_GROUP)


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "directory"])
def test_whatever_stands_in_the_lock_files_place_is_refused_and_left_alone(locks: Locks, directory: Path, kind: str) -> None:
    directory.mkdir()
    path, target = directory / f"{UUID}.lock", directory / "target"
    target.write_text("untouched")
    if kind in ("link", "dangling link"):
        path.symlink_to("target" if kind == "link" else "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    names = sorted(os.listdir(directory))
    with pytest.raises(LockUnavailable, match=f"Cannot open the lock file .*{UUID}"):
        acquire(locks)
    assert locks.holder(UUID) is None
    assert not locks.has_record(UUID)
    assert target.read_text() == "untouched"
    assert sorted(os.listdir(directory)) == names


def test_a_lock_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LockUnavailable, match=r"Cannot .*file/locks.*: Not a directory"):
        acquire(Locks(str(tmp_path / "file" / "locks"), NO_GROUP))


def test_whoever_may_not_write_the_directory_is_told_whom_to_be(locks: Locks, directory: Path) -> None:
    with acquire(locks):
        pass
    with as_nobody_below(directory / "x"):
        os.stat(directory)
        for uuid in (UUID, OTHER_UUID):
            with pytest.raises(LockUnavailable, match=f"Permission denied; act as root or as a member of the group {NO_GROUP}"):
                acquire(locks, uuid)
        with pytest.raises(LockUnavailable, match=r"Cannot make the lock directory .*: Permission denied"):
            acquire(Locks(str(directory / "deeper"), NO_GROUP))
        assert locks.holder(UUID) is None


def test_on_a_full_disk_a_new_lock_is_unavailable_but_one_used_before_works(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        locks = Locks(str(disk), NO_GROUP)
        with acquire(locks) as held:
            fill(disk)
            held.enter(Phase.START, run=RUN)
            with pytest.raises(LockUnavailable, match=r"Cannot write the lock file .*: No space left on device"):
                acquire(locks, OTHER_UUID)
            holder = locks.holder(UUID)
            assert holder is not None
            assert holder.phase == "start"
        with acquire(locks):
            pass
        # The failed try has let go: with room again the lock is to be had.
        (disk / "filler").unlink()
        acquire(locks, OTHER_UUID).release()


def test_a_disk_turned_read_only_makes_no_lock_available_and_loses_no_leftover(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        locks = Locks(str(disk), NO_GROUP)
        with acquire(locks) as lock:
            lock.enter(Phase.START, run=RUN)
            lock.keep()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(LockUnavailable, match="Read-only file system"):
            acquire(locks)
        assert locks.leftover(UUID) is not None


@pytest.mark.usefixtures("strict_umask")
def test_file_and_directory_have_their_modes_whatever_the_umask(locks: Locks, directory: Path) -> None:
    with acquire(locks):
        assert mode_of(directory / f"{UUID}.lock") == 0o660
        assert mode_of(directory) == 0o700


@pytest.mark.parametrize("uuid", ["", "../../etc/passwd", UUID.upper(), UUID[:8], f"{UUID}\n"])
def test_nothing_but_a_canonical_uuid_names_a_file(locks: Locks, directory: Path, uuid: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        acquire(locks, uuid)
    with pytest.raises(ValueError, match="UUID"):
        locks.has_record(uuid)
    assert not directory.exists()


def test_a_lock_taken_on_a_file_just_removed_is_taken_again_on_the_new_one(
    locks: Locks, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    removed: list[bool] = []

    def remove_then_lock(descriptor: int, operation: int) -> None:
        if not removed:
            removed.append(True)
            shutil.rmtree(directory)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_then_lock)
    with acquire(locks):
        assert removed
        assert (directory / f"{UUID}.lock").exists()
        with pytest.raises(LockTimeout):
            acquire(locks)


def test_a_file_removed_again_and_again_is_an_error_and_no_endless_loop(
    locks: Locks, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def remove_then_lock(descriptor: int, operation: int) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_then_lock)
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(LockUnavailable, match="removed again and again"):
        acquire(locks)
    assert len(os.listdir("/proc/self/fd")) == open_before
