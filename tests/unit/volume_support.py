# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Support for tests of the data directory: a hostile disk with a canary, and another user."""

from __future__ import annotations

import ctypes
import errno
import gc
import math
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume_walk import Bounds, Survey

#: The owner of the servers' files in tests as root.
SERVER = (988, 988)
NOBODY = (65534, 65534)
#: For walks over directories that do not grow.
UNBOUNDED = Bounds(math.inf, sys.maxsize)
SECRET = b"nobody may read or change this\n"


@dataclass(frozen=True)
class Disk:
    """A data directory ``volume``, and ``outside``, which no access may reach. ``who`` is ``root`` or ``nobody``."""

    who: str
    volume: Path
    outside: Path
    owner: tuple[int, int]

    @property
    def canary(self) -> Path:
        return self.outside / "canary"

    def act(self, function: Callable[[], None]) -> None:
        """Run ``function`` as ``who``. For ``nobody``, root uses a child process."""
        if self.who == "root" or os.geteuid() != 0:
            function()
        else:
            _in_a_child(function, NOBODY)

    def assert_untouched(self) -> None:
        """Assert the content, owner and mode of the canary, and no other file beside it."""
        assert self.canary.read_bytes() == SECRET
        status = self.canary.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (*self._outsider, 0o666)
        outside = self.outside.stat()
        assert (outside.st_uid, outside.st_gid) == self._outsider
        assert os.listdir(self.outside) == ["canary"]

    @property
    def _outsider(self) -> tuple[int, int]:
        return (0, 0) if self.who == "root" else self.owner


@contextmanager
def hostile_disk(who: str) -> Iterator[Disk]:
    """A disk for ``who``. Skips root if the tests do not run as root."""
    if who == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    mine = (os.geteuid(), os.getegid()) if os.geteuid() != 0 else NOBODY
    base = Path(tempfile.mkdtemp(prefix="volume-"))
    disk = Disk(who, base / "volume", base / "outside", SERVER if who == "root" else mine)
    try:
        base.chmod(0o755)
        disk.volume.mkdir()
        disk.outside.mkdir()
        disk.canary.write_bytes(SECRET)
        disk.canary.chmod(0o666)
        os.chown(disk.volume, *disk.owner)
        if who != "root":
            for path in (base, disk.outside, disk.canary):
                os.chown(path, *mine)
        yield disk
    finally:
        if os.geteuid() != 0:
            subprocess.run(["chmod", "-R", "u+rwX", str(base)], check=False)
        # shutil recurses, and these trees are too deep for that.
        subprocess.run(["rm", "-rf", str(base)], check=True)


def make_deep(top: Path, levels: int, owner: tuple[int, int]) -> None:
    """Make nested directories that exceed the longest path, with a file of 7 bytes in the last."""
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _unused in range(levels):
        os.mkdir("a level", dir_fd=here)
        below = os.open("a level", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.fchown(below, *owner)
        os.close(here)
        here = below
    file = os.open("bottom", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here)
    os.write(file, b"7 bytes")
    os.fchown(file, *owner)
    os.close(file)
    os.close(here)


def make_files(directory: Path, numbers: range, owner: tuple[int, int]) -> None:
    """Make an empty sparse file for each of ``numbers``. The number is its size in bytes."""
    inside = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    for number in numbers:
        file = os.open(f"file {number}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=inside)
        os.ftruncate(file, number)
        if owner != (os.geteuid(), os.getegid()):
            os.fchown(file, *owner)
        os.close(file)
    os.close(inside)


@contextmanager
def mounted(path: Path, options: str) -> Iterator[None]:
    """Mount a small, empty file system in memory at ``path``. Skips if that fails."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "fleet-power-test", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    try:
        if not os.path.ismount(path) or os.statvfs(path).f_blocks * os.statvfs(path).f_frsize > 1024 * 1024 * 1024:
            pytest.fail(f"no small file system is at {path}")
        yield
    finally:
        # Lazily: a failed test may still use the file system, and the mount must not stay.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def in_memory(disk: Disk) -> Iterator[None]:
    """Put the data directory into memory, if possible: large trees are faster there."""
    if os.geteuid() != 0:
        yield
        return
    with mounted(disk.volume, f"size=256m,mode=755,uid={disk.owner[0]},gid={disk.owner[1]}"):
        yield


@contextmanager
def attacked(attack: Callable[[], object]) -> Iterator[Callable[[], int]]:
    """Repeat ``attack`` in another process, as a server could. Yields a function that counts the attacks."""
    rounds = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        try:
            while True:
                attack()
                rounds[:] = (int.from_bytes(rounds[:], "little") + 1).to_bytes(8, "little")
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    try:
        yield lambda: int.from_bytes(rounds[:], "little")
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the attack failed"
    finally:
        _end(child)


@contextmanager
def made_ahead_of_the_walk(volume: Path, head_start: int = 20_000, most: int = 400_000) -> Iterator[None]:
    """Another process makes nested directories in ``volume``, which is in memory, faster than a walk follows."""
    fresh = [volume]

    def attack() -> None:
        if fresh:
            os.chdir(fresh.pop())
        try:
            os.mkdir("a")
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # The process is far enough ahead of any walk.
            time.sleep(0.01)
        else:
            os.chdir("a")

    with mounted(volume, f"size=64m,nr_inodes={most}"), attacked(attack) as rounds:
        while rounds() < head_start:
            time.sleep(0.01)
        yield


def exchange(one: Path, other: Path) -> Callable[[], None]:
    """An attack that exchanges two names, so that both always exist. Skips without support for it."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        pytest.skip("the C library cannot exchange names")
    here, exchanging, names = -100, 2, (bytes(one), bytes(other))

    def swap() -> None:
        if rename(here, names[0], here, names[1], exchanging) != 0:
            raise OSError(ctypes.get_errno(), f"Cannot exchange {one} and {other}")

    return swap


def of_files(survey: Survey) -> Survey:
    """Return a survey without the size of the directories, which the file system decides."""
    return replace(survey, directories=0)


def open_descriptors() -> int:
    """The number of open descriptors. Compare with ``<=``: a thread of an earlier test may still close one."""
    return len(os.listdir("/proc/self/fd"))


def settled_descriptors() -> int:
    """The number after a garbage collection, which closes the descriptors of earlier tests."""
    gc.collect()
    return open_descriptors()


def _in_a_child(function: Callable[[], None], user: tuple[int, int]) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        report = ""
        try:
            os.setgroups([])
            os.setresgid(user[1], user[1], user[1])
            os.setresuid(user[0], user[0], user[0])
            function()
        except BaseException:  # the parent reports every error
            report = traceback.format_exc()
        os.write(writing, report.encode()[-60_000:])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        report = file.read().decode()
    os.waitpid(child, 0)
    if report:
        pytest.fail(f"as user {user[0]}:\n{report}", pytrace=False)


def _end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):  # the child is gone already
        pass
