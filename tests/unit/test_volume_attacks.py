# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile data directories: links, leases, large trees and failing disks. test_volume_walk.py has the races."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import PrebootFailed
from ansible_collections.fleet.power.plugins.module_utils._power.volume import volume_walk
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume_walk import Survey
from ansible_collections.fleet.power.tests.unit.volume_support import (
    UNBOUNDED,
    Disk,
    hostile_disk,
    in_memory,
    make_deep,
    make_files,
    mounted,
    of_files,
    open_descriptors,
    settled_descriptors,
)

TEBIBYTE = 1024**4
BOTH = pytest.mark.parametrize("disk", ["root", "nobody"], indirect=True)
AS_ROOT = pytest.mark.parametrize("disk", ["root"], indirect=True)
DEPTH = 10_000


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    with hostile_disk(request.param) as made:
        yield made


def survey(disk: Disk, owner: tuple[int, int] | None = None, check_cancelled: Callable[[], None] = no_check) -> Survey:
    return Volume(str(disk.volume)).survey(check_cancelled, UNBOUNDED, owner=owner)


def read(disk: Disk, name: str = "a.txt") -> bytes | None:
    return Volume(str(disk.volume)).read_text(name, uid=disk.owner[0])


def write(disk: Disk, content: bytes = b"new\n", name: str = "a.txt") -> None:
    Volume(str(disk.volume)).write(name, content, uid=disk.owner[0], gid=disk.owner[1])


@contextmanager
def leased(path: Path, *, gives_back: bool = False) -> Iterator[None]:
    path.write_bytes(b"old\n")
    descriptor = os.open(path, os.O_RDWR)
    give_back = (lambda _number, _frame: fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)) if gives_back else signal.SIG_IGN
    before = signal.signal(signal.SIGIO, give_back)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)


def owner_of(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def stranger(disk: Disk) -> tuple[int, int]:
    """The owner of files that the walk gives to the server: root, if possible."""
    return (0, 0) if disk.who == "root" else disk.owner


@BOTH
def test_reads_writes_and_walks_follow_no_link(disk: Disk) -> None:
    targets = {
        "to a file": disk.canary,
        "to a directory": disk.outside,
        "relative": Path("../outside/canary"),
        "dangling": disk.outside / "no_check",
        "to itself": Path("to itself"),
        "one": Path("other"),
        "other": Path("one"),
        "to the data directory": Path("."),
        "to the root": Path("/"),
    }
    for name, target in targets.items():
        (disk.volume / name).symlink_to(target)
        os.chown(disk.volume / name, *stranger(disk), follow_symlinks=False)

    def act() -> None:
        assert of_files(survey(disk, disk.owner)) == Survey(0, 0, chowned=len(targets) if disk.who == "root" else 0, left_alone=0)
        for name in targets:
            for attempt in (name, f"{name}/canary", f"{name}/volume/a.txt"):
                with pytest.raises(PrebootFailed, match="symbolic link"):
                    read(disk, attempt)
                with pytest.raises(PrebootFailed, match="symbolic link"):
                    write(disk, name=attempt)

    disk.act(act)
    disk.assert_untouched()
    assert {owner_of(disk.volume / name) for name in targets} == {disk.owner}


@BOTH
def test_an_unreleased_lease_delays_a_read_by_about_a_second(disk: Disk) -> None:
    path = disk.volume / "a.txt"

    def act() -> None:
        began = time.monotonic()
        with pytest.raises(PrebootFailed, match="holds a lease"):
            read(disk)
        assert time.monotonic() - began < 5

    with leased(path):
        disk.act(act)
    assert read(disk) == b"old\n"


@BOTH
def test_a_walk_of_ten_thousand_levels_needs_few_descriptors(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_walk, "LOOK_SECONDS", 0.0)

    def act() -> None:
        before, most, looks = settled_descriptors(), 0, 0

        def look() -> None:
            nonlocal most, looks
            looks += 1
            if looks % 50 == 0:
                most = max(most, open_descriptors())

        found = survey(disk, disk.owner, look)
        assert (found.bytes, found.files, found.chowned) == (7, 1, DEPTH + 1 if disk.who == "root" else 0)
        assert before < most <= before + 6
        assert open_descriptors() <= before

    with in_memory(disk):
        make_deep(disk.volume, DEPTH, stranger(disk))
        disk.act(act)
    disk.assert_untouched()


@BOTH
def test_a_file_below_ten_thousand_levels_is_read_and_written(disk: Disk) -> None:
    name = "a level/" * DEPTH + "bottom"

    def act() -> None:
        before = settled_descriptors()
        assert read(disk, name) == b"7 bytes"
        write(disk, name=name)
        assert read(disk, name) == b"new\n"
        with pytest.raises(PrebootFailed) as caught:
            read(disk, f"{name}/below")
        assert len(str(caught.value)) < 1000
        assert open_descriptors() <= before

    with in_memory(disk):
        make_deep(disk.volume, DEPTH, disk.owner)
        disk.act(act)


@BOTH
def test_a_sparse_file_counts_with_its_apparent_size_and_is_never_read_whole(disk: Disk) -> None:
    sparse = disk.volume / "a.txt"
    sparse.touch()
    try:
        os.truncate(sparse, TEBIBYTE)
    except OSError:
        pytest.skip("the file system has no file of 1 TiB")
    os.chown(sparse, *disk.owner)

    def act() -> None:
        began = time.monotonic()
        assert survey(disk, disk.owner).bytes == TEBIBYTE
        with pytest.raises(PrebootFailed, match="larger than 16777216 bytes"):
            read(disk)
        assert time.monotonic() - began < 5

    disk.act(act)


def assert_refused(disk: Disk, reason: str, content: bytes = b"new\n") -> None:
    """Assert a failed write with this reason. The old file is intact, and no other file or descriptor remains."""
    before = settled_descriptors()
    with pytest.raises(PrebootFailed, match=f"Cannot write file a.txt .*: {reason}"):
        write(disk, content)
    assert (disk.volume / "a.txt").read_bytes() == b"old\n"
    assert os.listdir(disk.volume) == ["a.txt"]
    assert open_descriptors() <= before


@AS_ROOT
@pytest.mark.parametrize("options", ["size=64k", "nr_inodes=2"], ids=["no space", "no inodes"])
def test_a_full_disk_leaves_the_old_file_intact_and_no_other_file(disk: Disk, options: str) -> None:
    with mounted(disk.volume, f"size=1m,{options}"):
        (disk.volume / "a.txt").write_bytes(b"old\n")
        assert_refused(disk, "No space left on device; free some space", b"x" * 1024 * 1024)
        assert of_files(survey(disk, disk.owner)) == Survey(4, 1, chowned=2, left_alone=0)


@AS_ROOT
def test_a_read_only_disk_is_measured_and_a_change_reports_the_reason(disk: Disk) -> None:
    with mounted(disk.volume, "size=64k,mode=755"):
        (disk.volume / "a.txt").write_bytes(b"old\n")
        subprocess.run(["mount", "-o", "remount,ro", str(disk.volume)], check=True)
        assert_refused(disk, "Read-only file system; mount it writable")
        assert read(disk) == b"old\n"
        assert of_files(survey(disk, (0, 0))) == Survey(4, 1, chowned=0, left_alone=0)
        with pytest.raises(PrebootFailed, match=r"Cannot change the owner of .*/volume: Read-only file system; mount it writable"):
            survey(disk, disk.owner)
        with pytest.raises(PrebootFailed, match=r"Cannot create data directory .*: Read-only file system; mount it writable"):
            Volume(str(disk.volume / "server")).create(*disk.owner)


@AS_ROOT
@pytest.mark.parametrize("call", ["open", "fsync", "fchown", "rename"])
def test_an_exceeded_quota_leaves_the_old_file_intact_and_no_other_file(disk: Disk, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test raises the error itself: many kernels have no quotas."""
    (disk.volume / "a.txt").write_bytes(b"old\n")
    original = getattr(os, call)

    def refuse(*arguments: object, **names: object) -> object:
        if call == "open" and not int(str(arguments[1])) & os.O_CREAT:
            return original(*arguments, **names)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    os.chown(disk.volume / "a.txt", 1, 1)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        assert_refused(disk, "Disk quota exceeded; free some space or raise the quota")


@contextmanager
def attribute(path: Path, letter: str) -> Iterator[None]:
    """Set an attribute of the file system on ``path``. Skips without support for it."""
    if subprocess.run(["chattr", f"+{letter}", str(path)], capture_output=True, check=False).returncode != 0:
        pytest.skip("the file system has no such attribute")
    try:
        yield
    finally:
        subprocess.run(["chattr", f"-{letter}", str(path)], check=True)


@AS_ROOT
@pytest.mark.parametrize("place, letter", [("the file", "i"), ("the file", "a"), ("its directory", "i")])
def test_an_immutable_file_is_measured_and_a_change_reports_the_reason(disk: Disk, place: str, letter: str) -> None:
    (disk.volume / "a.txt").write_bytes(b"old\n")
    with attribute(disk.volume / "a.txt" if place == "the file" else disk.volume, letter):
        assert_refused(disk, "Operation not permitted; only root may do that; if lsattr shows it as immutable, not even root")
        assert of_files(survey(disk)) == Survey(4, 1, 0, 0)
        if place == "the file":
            with pytest.raises(PrebootFailed, match=r"Cannot change the owner of .*/a\.txt: Operation not permitted; .* lsattr"):
                survey(disk, disk.owner)
    assert survey(disk, disk.owner).chowned == 1


def make_directories(volume: Path, count: int) -> None:
    for number in range(count):
        (volume / f"{number:0100}").mkdir()


@AS_ROOT
def test_pending_directories_beyond_the_limit_of_memory_cut_the_walk(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_walk, "_MOST_MEMORY", 1024 * 1024)
    with in_memory(disk):
        make_directories(disk.volume, 10_000)
        assert survey(disk).cut == "needs more than 1 MiB of memory to look through: it holds too many directories or hard links"


@AS_ROOT
def test_directories_that_the_walk_has_left_take_no_memory(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_walk, "_MOST_MEMORY", 1024 * 1024)
    with in_memory(disk):
        for number in range(10):
            (disk.volume / str(number)).mkdir()
            make_directories(disk.volume / str(number), 1_000)
        assert survey(disk).cut == ""


@AS_ROOT
def test_hard_links_beyond_the_limit_of_memory_cut_the_walk(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_walk, "_MOST_MEMORY", 1024 * 1024)
    with in_memory(disk):
        make_files(disk.volume, range(10_000), disk.owner)
        (disk.volume / "links").mkdir()
        for number in range(10_000):
            os.link(disk.volume / f"file {number}", disk.volume / "links" / str(number))
        assert "needs more than 1 MiB of memory" in survey(disk).cut


@BOTH
def test_the_size_of_directories_counts(disk: Disk) -> None:
    (disk.volume / "below").mkdir()
    (disk.volume / "a.txt").write_bytes(b"old\n")

    def act() -> None:
        measured = survey(disk)
        assert measured.directories == disk.volume.stat().st_size + (disk.volume / "below").stat().st_size
        assert measured.used == 4 + measured.directories

    disk.act(act)
