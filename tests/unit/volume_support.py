# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the data directory need: a hostile disk with a canary beside it, and another user to be."""

from __future__ import annotations

import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Who the servers' files shall belong to where root does the work.
SERVER = (988, 988)
NOBODY = (65534, 65534)
SECRET = b"nobody may read or change this\n"


@dataclass(frozen=True)
class Disk:
    """A data directory ``volume``, and beside it what no access may reach. ``who`` acts: root or nobody; ``owner`` is the servers' user."""

    who: str
    volume: Path
    outside: Path
    owner: tuple[int, int]

    @property
    def canary(self) -> Path:
        """A file outside that whoever acts could read and write."""
        return self.outside / "canary"

    def act(self, function: Callable[[], None]) -> None:
        """Run ``function`` as ``who``: root here, nobody in a child that can never be root again."""
        if self.who == "root" or os.geteuid() != 0:
            function()
        else:
            _in_a_child(function, NOBODY)

    def assert_untouched(self) -> None:
        """The canary is as it was: content, owner, mode, number of links by name, and nothing beside it."""
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
    """A disk for ``who``; skips root where the tests are not run by root."""
    if who == "root" and os.geteuid() != 0:
        pytest.skip("only root can be root")
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
        # Not shutil: it recurses, and these trees are deeper than that allows.
        subprocess.run(["rm", "-rf", str(base)], check=True)


def make_deep(top: Path, levels: int, owner: tuple[int, int]) -> None:
    """Directories one in the other, longer than any path may be, with a file of 7 bytes in the last."""
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


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


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
        except BaseException:  # whatever it was, the parent says it
            report = traceback.format_exc()
        os.write(writing, report.encode()[-60_000:])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        report = file.read().decode()
    os.waitpid(child, 0)
    if report:
        pytest.fail(f"as user {user[0]}:\n{report}", pytrace=False)
