# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own files: they have the right mode and group from the start, and links are refused."""

from __future__ import annotations

import errno
import fcntl
import grp
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.host.own_files import (
    open_locked,
    open_or_make,
    open_own,
    prepare_directory,
    sync_directory,
)
from ansible_collections.fleet.power.tests.unit.lock_support import FORK, mode_of

pytestmark = pytest.mark.usefixtures("strict_umask")

#: An existing group that new files do not get by default.
OTHER_GROUP = next((entry for entry in grp.getgrall() if entry.gr_gid not in (0, os.getegid())), grp.getgrgid(os.getegid()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can set any group")
def test_a_new_directory_passes_its_group_to_new_files(tmp_path: Path) -> None:
    wanted = tmp_path / "state"
    prepare_directory(str(wanted), OTHER_GROUP.gr_name)
    assert mode_of(wanted) == 0o2770
    assert wanted.stat().st_gid == OTHER_GROUP.gr_gid
    os.close(open_own(str(wanted / "file"), os.O_RDWR | os.O_CREAT))
    assert mode_of(wanted / "file") == 0o660
    assert (wanted / "file").stat().st_gid == OTHER_GROUP.gr_gid


def test_missing_parents_are_created_so_that_others_can_traverse_them(tmp_path: Path) -> None:
    prepare_directory(str(tmp_path / "a" / "b" / "state") + "/", "no-such-group-here")
    assert mode_of(tmp_path / "a") == mode_of(tmp_path / "a" / "b") == 0o755
    assert mode_of(tmp_path / "a" / "b" / "state") == 0o700


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to a file"])
def test_a_file_or_link_in_place_of_the_directory_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state"
    (tmp_path / "file").write_text("x")
    if kind == "file":
        path.write_text("x")
    else:
        path.symlink_to("nowhere" if kind == "dangling link" else "file")
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError) as caught:
        prepare_directory(str(path), OTHER_GROUP.gr_name)
    assert caught.value.errno == errno.ENOTDIR
    assert sorted(os.listdir(tmp_path)) == names


def make_and_use(directory: str, number: int) -> None:
    os.close(open_or_make(f"{directory}/file-{number}", os.O_RDWR, OTHER_GROUP.gr_name))
    os.close(open_or_make(f"{directory}/shared", os.O_RDWR, OTHER_GROUP.gr_name))


def test_several_processes_can_create_one_directory_and_file_at_once(tmp_path: Path) -> None:
    for turn in range(20):
        directory = tmp_path / f"state-{turn}"
        makers = [FORK.Process(target=make_and_use, args=(str(directory), number)) for number in range(4)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join(30)
        assert [maker.exitcode for maker in makers] == [0] * 4
        assert sorted(os.listdir(directory)) == ["file-0", "file-1", "file-2", "file-3", "shared"]
        assert mode_of(directory / "shared") == 0o660
    assert sorted(os.listdir(tmp_path)) == sorted(f"state-{turn}" for turn in range(20))


def watch_modes(path: str, seen: multiprocessing.queues.Queue[set[int]], stop: multiprocessing.synchronize.Event) -> None:
    modes = set()
    while not stop.is_set():
        try:
            modes.add(stat.S_IMODE(os.lstat(path).st_mode))
        except FileNotFoundError:
            continue
    seen.put(modes)


def test_a_new_file_has_the_group_mode_from_the_start(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    seen, stop = FORK.Queue(), FORK.Event()
    watcher = FORK.Process(target=watch_modes, args=(path, seen, stop))
    watcher.start()
    for _unused in range(3000):
        os.close(open_own(path, os.O_RDWR | os.O_CREAT))
        os.unlink(path)
    stop.set()
    modes = seen.get(timeout=30)
    watcher.join(10)
    assert modes == {0o660}


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT])
@pytest.mark.parametrize("kind", ["link to a file", "dangling link", "pipe", "directory", "device"])
def test_a_special_file_is_refused_at_once_and_kept(tmp_path: Path, kind: str, flags: int) -> None:
    path = tmp_path / "file"
    target = tmp_path / "target"
    target.write_text("untouched")
    if kind in ("link to a file", "dangling link"):
        path.symlink_to("target" if kind == "link to a file" else "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("a device cannot be made here")
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError) as caught:
        open_own(str(path), flags)
    assert caught.value.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO)
    assert sorted(os.listdir(tmp_path)) == names
    assert target.read_text() == "untouched"


def test_a_file_system_without_locks_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    opened: list[int] = []

    def open_it() -> int:
        opened.append(open_or_make(str(tmp_path / "x"), os.O_RDWR, "no-such-group-here"))
        return opened[0]

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="locks"):
        open_locked(str(tmp_path / "x"), open_it)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_disk_error_at_a_sync_is_a_fault_but_missing_support_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(number: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", lambda _descriptor: fails(errno.EINVAL))
    sync_directory(str(tmp_path))
    monkeypatch.setattr(os, "fsync", lambda _descriptor: fails(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sync_directory(str(tmp_path))
