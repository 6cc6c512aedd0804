# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power lock's record and rules, on good and on failing disks. Races are in test_lock_races.py."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.locking.holder import Holder
from ansible_collections.fleet.power.plugins.module_utils._power.locking.lock import Locks
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    CancelledByKill,
    EngineUnreachable,
    LockTimeout,
    LockUnavailable,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.tests.unit.lock_support import (
    NO_GROUP,
    OTHER_UUID,
    UUID,
    OwnClock,
    acquire,
    as_nobody_below,
    asked,
    fill,
    mode_of,
    small_disk,
)

RUN = Run("c" * 64, "2026-01-01T00:00:00.123456789Z")
NEXT_RUN = Run("d" * 64, "2026-01-02T00:00:00.123456789Z")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "locks"


@pytest.fixture
def locks(directory: Path) -> Locks:
    return Locks(str(directory), NO_GROUP)


def test_the_holder_is_readable_from_acquire_to_release(locks: Locks, directory: Path) -> None:
    assert locks.holder(UUID) is None
    assert not directory.exists()
    with acquire(locks, action=PowerAction.RESTART) as lock:
        holder = locks.holder(UUID)
        assert holder is not None
        assert (holder.pid, holder.phase, holder.action, holder.origin) == (os.getpid(), "prepare", "restart", "alice@web1")
        lock.enter(Phase.STOP, run=RUN, deadline=datetime(2026, 1, 1, 0, 10, tzinfo=timezone.utc))
        holder = locks.holder(UUID)
        assert holder is not None
        assert (holder.phase, holder.run, holder.phase_deadline) == ("stop", RUN, "2026-01-01T00:10:00.000Z")
        assert locks.has_record(UUID)
        assert locks.look(UUID)[1] is None
    assert locks.holder(UUID) is None
    assert not locks.has_record(UUID)
    assert (directory / f"{UUID}.lock").read_bytes() == b" " * 1024


def test_every_holder_can_be_read_at_once(locks: Locks, directory: Path) -> None:
    assert locks.held() == {}
    with acquire(locks) as lock:
        acquire(locks, OTHER_UUID).release()
        for name in ("x.lock", f"{UUID}.tmp", "other"):
            (directory / name).write_bytes((directory / f"{UUID}.lock").read_bytes())
        assert locks.held() == {UUID: locks.holder(UUID)}
        lock.release()
    assert locks.held() == {}


def test_a_held_lock_is_refused_at_once_with_its_holder(locks: Locks) -> None:
    with acquire(locks), pytest.raises(LockTimeout, match=rf"start by alice@web1 \(phase prepare, since .*, pid {os.getpid()}\)") as caught:
        acquire(locks)
    holder = caught.value.facts["holder"]
    assert isinstance(holder, Holder)
    assert holder.operation == "op"


def test_locks_of_two_servers_are_independent(locks: Locks) -> None:
    with acquire(locks), acquire(locks, OTHER_UUID):
        assert locks.holder(OTHER_UUID) is not None


def test_a_second_release_does_not_affect_the_next_holder(locks: Locks) -> None:
    first = acquire(locks)
    first.release()
    with acquire(locks, operation="second"):
        first.release()
        with pytest.raises(LockUnavailable):
            first.enter(Phase.START, run=RUN)
        holder = locks.holder(UUID)
        assert holder is not None
        assert (holder.operation, holder.phase) == ("second", "prepare")


def test_the_lock_is_tried_every_20_ms_until_the_deadline_with_cancellation_checks(locks: Locks) -> None:
    clock, checks = OwnClock(), []
    with acquire(locks), pytest.raises(LockTimeout, match=r"after 0\.09 s"):
        locks.acquire(
            UUID,
            asked(PowerAction.STOP, "b"),
            wait_seconds=0.09,
            clock=clock,
            check_cancelled=lambda: checks.append(1),
        )
    assert clock.slept == pytest.approx([0.02, 0.02, 0.02, 0.02, 0.01])
    assert len(checks) == 5


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_without_time_to_wait_the_lock_is_tried_once_without_a_check(locks: Locks, seconds: float) -> None:
    clock, checks = OwnClock(), []
    with acquire(locks), pytest.raises(LockTimeout):
        locks.acquire(
            UUID,
            asked(PowerAction.STOP, "b"),
            wait_seconds=seconds,
            clock=clock,
            check_cancelled=lambda: checks.append(1),
        )
    assert (clock.slept, checks) == ([], [])


def test_a_cancellation_ends_the_wait_and_closes_the_file(locks: Locks) -> None:
    def cancelled() -> None:
        raise CancelledByKill("killed")

    with acquire(locks):
        open_before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(CancelledByKill):
            locks.acquire(
                UUID,
                asked(PowerAction.STOP, "b"),
                wait_seconds=9,
                clock=OwnClock(),
                check_cancelled=cancelled,
            )
        assert len(os.listdir("/proc/self/fd")) <= open_before


def test_a_held_lock_without_a_record_is_refused_without_a_holder(locks: Locks, directory: Path) -> None:
    directory.mkdir()
    with open(directory / f"{UUID}.lock", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockTimeout, match="held by another action") as caught:
            acquire(locks)
    assert caught.value.facts["holder"] is None


def test_a_torn_record_is_read_again(locks: Locks, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread
    torn = [b'{"schema":1,"pid":12', b"x" * 1024]
    with acquire(locks):
        monkeypatch.setattr(os, "pread", lambda *place: torn.pop() if torn else real(*place))
        assert locks.holder(UUID) is not None
        assert torn == []


def test_a_kept_start_is_visible_to_readers_and_holders_until_it_is_cleared(locks: Locks) -> None:
    with acquire(locks, operation="first") as lock:
        lock.enter(Phase.START, run=RUN)
        lock.keep()
    assert locks.holder(UUID) is None
    assert locks.has_record(UUID)
    for _unused in range(2):
        seen = locks.look(UUID)[1]
        assert seen is not None
        assert (seen.phase, seen.run, seen.operation) == (Phase.START, RUN, "first")
        with acquire(locks, operation="next") as lock:
            assert lock.leftover == seen
            lock.enter(Phase.PREBOOT)
            assert locks.look(UUID)[1] == seen
    with acquire(locks) as lock:
        lock.clear()
        assert lock.leftover is None
        assert locks.look(UUID)[1] is None
    assert not locks.has_record(UUID)


def test_an_answered_phase_leaves_no_record(locks: Locks) -> None:
    with acquire(locks) as lock:
        lock.enter(Phase.START, run=RUN)
    assert locks.look(UUID)[1] is None
    with acquire(locks) as lock:
        lock.enter(Phase.PREBOOT)
        lock.keep()
    assert not locks.has_record(UUID)


def test_a_kept_phase_can_be_cleared_before_the_release(locks: Locks) -> None:
    with acquire(locks) as lock:
        lock.enter(Phase.START, run=RUN)
        lock.keep()
        lock.enter(Phase.PREBOOT)
        assert lock.leftover is not None
        lock.clear()
    assert not locks.has_record(UUID)


def test_a_kept_start_replaces_the_stop_of_an_earlier_holder(locks: Locks) -> None:
    with acquire(locks) as lock:
        lock.enter(Phase.STOP, run=RUN)
        lock.keep()
    with acquire(locks) as lock:
        lock.enter(Phase.START, run=NEXT_RUN)
        lock.keep()
    left = locks.look(UUID)[1]
    assert left is not None
    assert (left.phase, left.run) == (Phase.START, NEXT_RUN)


def test_an_unexpected_exception_leaves_a_leftover_like_a_death(locks: Locks) -> None:
    with pytest.raises(ZeroDivisionError), acquire(locks) as lock:
        lock.enter(Phase.START, run=RUN)
        raise ZeroDivisionError
    left = locks.look(UUID)[1]
    assert left is not None
    assert left.run == RUN


def test_an_expected_error_leaves_only_a_kept_phase(locks: Locks) -> None:
    with pytest.raises(EngineUnreachable), acquire(locks) as lock:
        lock.enter(Phase.START, run=RUN)
        raise EngineUnreachable("silent")
    assert not locks.has_record(UUID)


@pytest.mark.parametrize("content", [b"nonsense", b"\xff\0{", b'{"schema":1}', b"x" * 5000], ids=["text", "binary", "json", "long"])
def test_a_damaged_record_gives_no_holder_and_no_leftover(locks: Locks, directory: Path, content: bytes) -> None:
    directory.mkdir()
    (directory / f"{UUID}.lock").write_bytes(content)
    assert locks.holder(UUID) is None
    assert locks.look(UUID)[1] is None
    assert locks.has_record(UUID)
    with acquire(locks) as lock:
        assert lock.leftover is None
        assert locks.holder(UUID) is not None


def test_a_child_between_fork_and_exec_does_not_keep_a_released_lock(locks: Locks) -> None:
    lock = acquire(locks)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    lock.release()
    try:
        acquire(locks).release()
    finally:
        os.close(write_end)
        os.close(read_end)
        os.waitpid(child, 0)


def test_a_child_process_does_not_inherit_the_lock(locks: Locks, directory: Path) -> None:
    with acquire(locks):
        listed = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True, check=True)
    assert "/dev/null" in listed.stdout or "pipe:" in listed.stdout
    assert str(directory) not in listed.stdout


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "directory"])
def test_a_lock_path_without_a_regular_file_is_refused_and_unchanged(locks: Locks, directory: Path, kind: str) -> None:
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


def test_the_error_names_a_lock_directory_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LockUnavailable, match=r"Cannot .*file/locks.*: Not a directory"):
        acquire(Locks(str(tmp_path / "file" / "locks"), NO_GROUP))


def test_a_permission_error_names_root_and_the_group(locks: Locks, directory: Path) -> None:
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


def test_on_a_full_disk_only_locks_used_before_are_available(tmp_path: Path) -> None:
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
        # The failed try released the file, so the lock is available once there is room.
        (disk / "filler").unlink()
        acquire(locks, OTHER_UUID).release()


def test_a_read_only_disk_makes_locks_unavailable_and_keeps_leftovers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        locks = Locks(str(disk), NO_GROUP)
        with acquire(locks) as lock:
            lock.enter(Phase.START, run=RUN)
            lock.keep()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(LockUnavailable, match="Read-only file system"):
            acquire(locks)
        assert locks.look(UUID)[1] is not None


@pytest.mark.usefixtures("strict_umask")
def test_file_and_directory_have_fixed_modes_under_any_umask(locks: Locks, directory: Path) -> None:
    with acquire(locks):
        assert mode_of(directory / f"{UUID}.lock") == 0o660
        assert mode_of(directory) == 0o700


@pytest.mark.parametrize("uuid", ["", "../../etc/passwd", UUID.upper(), UUID[:8], f"{UUID}\n"])
def test_only_a_canonical_uuid_names_a_lock_file(locks: Locks, directory: Path, uuid: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        acquire(locks, uuid)
    with pytest.raises(ValueError, match="UUID"):
        locks.has_record(uuid)
    assert not directory.exists()


def test_a_lock_on_a_removed_file_is_taken_again_on_the_new_file(locks: Locks, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_repeated_removal_of_the_file_is_an_error_without_an_endless_loop(
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
