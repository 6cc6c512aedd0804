# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile data directories: no access leads out, and no access hangs."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill, PrebootFailed
from ansible_collections.fleet.power.plugins.module_utils._power.volume import volume_walk
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume_walk import Survey
from ansible_collections.fleet.power.tests.unit.volume_support import (
    SECRET,
    UNBOUNDED,
    Disk,
    hostile_disk,
    of_files,
    open_descriptors,
    settled_descriptors,
)

pytestmark = pytest.mark.usefixtures("strict_umask")

BOTH = pytest.mark.parametrize("disk", ["root", "nobody"], indirect=True)
AS_ROOT = pytest.mark.parametrize("disk", ["root"], indirect=True)
AS_NOBODY = pytest.mark.parametrize("disk", ["nobody"], indirect=True)


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    with hostile_disk(request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def take_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests attack from the walk's checks, so each step must have one."""
    monkeypatch.setattr(volume_walk, "LOOK_SECONDS", 0.0)


def nothing() -> None:
    """A check without an effect."""


def read(disk: Disk, name: str, limit: int = 1000) -> bytes | None:
    return Volume(str(disk.volume)).read_text(name, limit, uid=disk.owner[0])


def write(disk: Disk, name: str, content: bytes = b"new\n") -> None:
    Volume(str(disk.volume)).write(name, content, uid=disk.owner[0], gid=disk.owner[1])


def owner_of(path: object) -> tuple[int, int]:
    status = os.lstat(str(path))
    return status.st_uid, status.st_gid


def mode_of(path: object) -> int:
    return stat.S_IMODE(os.lstat(str(path)).st_mode)


@BOTH
def test_a_new_data_directory_is_private_and_its_parents_can_be_traversed(disk: Disk) -> None:
    path = disk.volume.parent / "a" / "b" / "server"

    def act() -> None:
        volume = Volume(str(path) + "/")
        assert not volume.exists()
        assert volume.create(*disk.owner)
        assert volume.exists()
        assert not volume.create(*disk.owner)

    disk.act(act)
    assert (mode_of(path), owner_of(path)) == (0o700, disk.owner)
    assert mode_of(path.parent) == mode_of(path.parent.parent) == 0o711


@BOTH
@pytest.mark.parametrize("there", ["a link to a directory", "a link to nothing", "a file"])
def test_a_link_or_file_in_place_of_the_data_directory_is_not_used(disk: Disk, there: str) -> None:
    path = disk.volume.parent / "server"
    if there == "a file":
        path.write_bytes(b"")
    else:
        path.symlink_to(disk.outside if there == "a link to a directory" else disk.outside / "nothing")

    def act() -> None:
        for volume in (Volume(str(path)), Volume(f"{path}/")):
            assert not volume.exists()
            with pytest.raises(PrebootFailed, match="not a directory"):
                volume.create(*disk.owner)
            assert of_files(volume.survey(nothing, UNBOUNDED, owner=disk.owner)) == Survey(0, 0, 0, 0)
            assert volume.read_text("canary", uid=disk.owner[0]) is None
            with pytest.raises(PrebootFailed, match="data directory is missing"):
                volume.write("canary", b"x", uid=disk.owner[0], gid=disk.owner[1])

    disk.act(act)
    disk.assert_untouched()


@AS_NOBODY
def test_a_data_directory_without_permission_is_an_error_and_not_missing(disk: Disk) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs a directory of another user")
    closed = disk.volume.parent / "closed"
    (closed / "server").mkdir(parents=True, mode=0o700)

    def act() -> None:
        with pytest.raises(PrebootFailed, match="Permission denied"):
            Volume(str(closed / "server")).exists()

    disk.act(act)


@BOTH
def test_the_next_write_replaces_the_unfinished_file_of_a_crash(disk: Disk) -> None:
    (disk.volume / ".fleet-power.new").symlink_to(disk.canary)
    disk.act(lambda: write(disk, "a.txt"))
    assert os.listdir(disk.volume) == ["a.txt"]
    disk.assert_untouched()


@BOTH
@pytest.mark.parametrize("kind", ["empty directory", "full directory", "pipe", "link to a directory"])
def test_an_obstacle_at_the_unfinished_file_does_not_prevent_a_write(disk: Disk, kind: str) -> None:
    taken = disk.volume / ".fleet-power.new"
    if kind == "link to a directory":
        taken.symlink_to(disk.outside)
    elif kind == "pipe":
        os.mkfifo(taken)
    else:
        taken.mkdir()
        if kind == "full directory":
            (taken / "x").touch()
    for content in (b"one\n", b"two\n"):
        disk.act(lambda content=content: write(disk, "a.txt", content))  # type: ignore[misc]
        assert (disk.volume / "a.txt").read_bytes() == content
    assert set(os.listdir(disk.volume)) - {".fleet-power.new"} == {"a.txt"}
    assert os.path.lexists(taken) == (kind in ("full directory", "empty directory"))
    disk.assert_untouched()


@BOTH
@pytest.mark.parametrize(
    "name", ["../outside/canary", "a/../../outside/canary", "/../outside/canary", "..", "", "/", ".", "a/..", "canary\0", "\ud800"]
)
def test_a_name_that_leads_out_is_refused(disk: Disk, name: str) -> None:
    def act() -> None:
        for access in (read, write):
            with pytest.raises(PrebootFailed, match=r"Cannot (read|write) file .*: (the path|it leads out of the data directory)"):
                access(disk, name)

    disk.act(act)
    disk.assert_untouched()
    assert os.listdir(disk.volume) == []


@BOTH
@pytest.mark.parametrize("target", ["{outside}/canary", "../outside/canary", "../outside/new", "inside.txt"])
def test_a_link_to_a_file_is_refused_even_inside_the_data_directory(disk: Disk, target: str) -> None:
    (disk.volume / "inside.txt").write_bytes(b"mine\n")
    (disk.volume / "a.txt").symlink_to(target.format(outside=disk.outside))

    def act() -> None:
        for access in (read, write):
            with pytest.raises(PrebootFailed, match=r"Cannot (read|write) file a\.txt .*: it is a symbolic link"):
                access(disk, "a.txt")

    disk.act(act)
    disk.assert_untouched()
    assert (disk.volume / "a.txt").is_symlink()


@AS_ROOT
def test_a_hard_link_to_a_foreign_file_is_not_read_replaced_or_chowned(disk: Disk) -> None:
    os.link(disk.canary, disk.volume / "server.properties")
    for access in (read, write):
        with pytest.raises(PrebootFailed, match="several hard links"):
            access(disk, "server.properties")
    assert of_files(Volume(str(disk.volume)).survey(nothing, UNBOUNDED, owner=disk.owner)) == Survey(len(SECRET), 1, 0, left_alone=1)
    disk.assert_untouched()


@BOTH
@pytest.mark.parametrize("kind", ["fifo", "socket", "directory"])
def test_a_special_file_is_refused_without_waiting(disk: Disk, kind: str) -> None:
    path = disk.volume / "a.txt"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    else:
        path.mkdir()
    os.chown(path, *disk.owner)

    def act() -> None:
        began = time.monotonic()
        for access in (read, write):
            with pytest.raises(PrebootFailed, match="it is not a regular file"):
                access(disk, "a.txt")
        if kind != "directory":
            with pytest.raises(PrebootFailed, match="not a directory"):
                read(disk, "a.txt/below")
        assert Volume(str(disk.volume)).survey(nothing, UNBOUNDED, owner=disk.owner).files == 0
        assert time.monotonic() - began < 5

    disk.act(act)
    assert os.listdir(disk.volume) == ["a.txt"]


def make_tree(disk: Disk) -> None:
    """Two directories with a file each, one empty directory, and 12 bytes in all."""
    for name in ("a", "a/below", "b"):
        (disk.volume / name).mkdir()
    (disk.volume / "a" / "below" / "five").write_bytes(b"12345")
    (disk.volume / "seven").write_bytes(b"1234567")


@AS_ROOT
def test_the_walk_chowns_files_and_links_but_no_link_targets(disk: Disk) -> None:
    make_tree(disk)
    os.mkfifo(disk.volume / "fifo")
    (disk.volume / "to a file").symlink_to(disk.canary)
    (disk.volume / "to a directory").symlink_to(disk.outside)
    os.chown(disk.volume, 0, 0)
    os.chown(disk.volume / "seven", disk.owner[0], 0)
    everything = [disk.volume, *disk.volume.rglob("*")]
    survey = Volume(str(disk.volume)).survey(nothing, UNBOUNDED, owner=disk.owner)
    assert of_files(survey) == Survey(12, 2, chowned=len(everything), left_alone=0)
    assert {owner_of(path) for path in everything} == {disk.owner}
    assert Volume(str(disk.volume)).survey(nothing, UNBOUNDED, owner=disk.owner).chowned == 0
    disk.assert_untouched()


@AS_ROOT
def test_a_device_is_never_given_to_the_server(disk: Disk) -> None:
    try:
        os.mknod(disk.volume / "disk", stat.S_IFBLK | 0o600, os.makedev(1, 0))
    except PermissionError:
        pytest.skip("a device cannot be made here")
    assert of_files(Volume(str(disk.volume)).survey(nothing, UNBOUNDED, owner=disk.owner)) == Survey(0, 0, 0, left_alone=1)
    assert owner_of(disk.volume / "disk") == (0, 0)
    with pytest.raises(PrebootFailed, match="not a regular file"):
        read(disk, "disk")


class KillAfter:
    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self.number = 0

    def __call__(self) -> None:
        self.number += 1
        if self.number > self._allowed:
            raise CancelledByKill("killed")


@BOTH
def test_a_check_that_raises_ends_the_walk_and_closes_all_descriptors(disk: Disk) -> None:
    make_tree(disk)
    for path in (disk.volume, *disk.volume.rglob("*")):
        os.chown(path, *disk.owner)

    def act() -> None:
        for allowed in range(4):
            before = settled_descriptors()

            looks = KillAfter(allowed)
            with pytest.raises(CancelledByKill):
                Volume(str(disk.volume)).survey(looks, UNBOUNDED, owner=disk.owner)
            assert looks.number == allowed + 1
            assert open_descriptors() <= before

    disk.act(act)


@BOTH
def test_a_walk_of_a_large_directory_checks_often(disk: Disk) -> None:
    for number in range(200):
        os.close(os.open(disk.volume / str(number), os.O_CREAT | os.O_WRONLY))
    looks: list[None] = []
    assert Volume(str(disk.volume)).survey(lambda: looks.append(None), UNBOUNDED, owner=None).files == 200
    assert len(looks) >= 6


def descriptors() -> list[str]:
    paths = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            paths.append(os.readlink(f"/proc/self/fd/{name}"))
    return paths


class AtDirectory:
    """A check that attacks once, when the walk has opened a directory with this end of its path."""

    def __init__(self, end: str, attack: Callable[[], None]) -> None:
        self._end = end
        self._attack = attack
        self.attacked = False

    def __call__(self) -> None:
        if not self.attacked and any(path.endswith(self._end) for path in descriptors()):
            self.attacked = True
            self._attack()


def make_tree_to_move(disk: Disk) -> None:
    """Make x/y/z/end with a file in each: 1, 10, 100 and 0 bytes."""
    owner = (0, 0) if disk.who == "root" else disk.owner
    for name, size in (("x", 1), ("x/y", 10), ("x/y/z", 100), ("x/y/z/end", 0)):
        (disk.volume / name).mkdir()
        (disk.volume / name / "file").write_bytes(b"x" * size)
    for path in disk.volume.rglob("*"):
        os.chown(path, *owner)


@BOTH
def test_a_directory_swapped_for_a_link_before_it_is_entered_is_not_entered(disk: Disk) -> None:
    make_tree_to_move(disk)

    def swap() -> None:
        os.rename(disk.volume / "x" / "y", disk.volume.parent / "moved")
        os.symlink(disk.outside, disk.volume / "x" / "y")

    def act() -> None:
        look = AtDirectory("/volume", swap)
        survey = Volume(str(disk.volume)).survey(look, UNBOUNDED, owner=disk.owner)
        assert look.attacked
        assert (survey.bytes, survey.files) == (1, 1)

    disk.act(act)
    disk.assert_untouched()


@BOTH
def test_a_parent_swapped_for_a_link_does_not_lead_the_walk_out(disk: Disk) -> None:
    make_tree_to_move(disk)
    (disk.volume / "x" / "y" / "also").mkdir()
    os.chown(disk.volume / "x" / "y" / "also", *disk.owner)

    def swap() -> None:
        os.rename(disk.volume / "x", disk.volume.parent / "moved")
        os.symlink(disk.outside, disk.volume / "x")

    def act() -> None:
        look = AtDirectory("/x/y/z", swap)
        survey = Volume(str(disk.volume)).survey(look, UNBOUNDED, owner=disk.owner)
        assert look.attacked
        assert survey.bytes == 111

    disk.act(act)
    disk.assert_untouched()


def make_fork(top: Path, size: int, owner: tuple[int, int]) -> None:
    """Make y/p and y/q, each with a file of ``size`` bytes and a directory. The walk must go up from both."""
    for name in ("p", "q"):
        (top / "y" / name / "end").mkdir(parents=True)
        (top / "y" / name / "file").write_bytes(b"x" * size)
    for path in (top, *top.rglob("*")):
        os.chown(path, *owner)


@BOTH
@pytest.mark.parametrize("replaced", [False, True])
def test_a_directory_moved_during_the_walk_does_not_lead_the_walk_out(disk: Disk, replaced: bool) -> None:
    stranger = (0, 0) if disk.who == "root" else disk.owner
    make_fork(disk.volume / "x", 10, stranger)
    make_fork(disk.volume.parent / "fake", 1000, stranger)
    elsewhere = disk.volume.parent / "fake" / "y"

    def move() -> None:
        (inside,) = {link for link in descriptors() if link.endswith("/end")}
        os.rename(os.path.dirname(inside), elsewhere / "moved")
        if replaced:
            os.rename(disk.volume / "x", disk.volume.parent / "x")
            os.rename(disk.volume.parent / "fake", disk.volume / "x")

    def act() -> None:
        before = settled_descriptors()
        look = AtDirectory("/end", move)
        survey = Volume(str(disk.volume)).survey(look, UNBOUNDED, owner=disk.owner)
        assert look.attacked
        assert survey.bytes == (10 if replaced else 20)
        assert open_descriptors() <= before

    disk.act(act)
    fake = disk.volume / "x" if replaced else disk.volume.parent / "fake"
    assert {owner_of(path) for path in (fake, fake / "y", *fake.glob("y/[pq]"), *fake.glob("y/[pq]/*"))} == {stranger}


@BOTH
def test_a_directory_that_vanishes_during_the_walk_is_no_error(disk: Disk) -> None:
    make_tree_to_move(disk)

    def vanish() -> None:
        subprocess.run(["rm", "-rf", str(disk.volume)], check=True)

    def act() -> None:
        look = AtDirectory("/x/y", vanish)
        survey = Volume(str(disk.volume)).survey(look, UNBOUNDED, owner=None)
        assert look.attacked
        assert survey.bytes in (1, 11)

    disk.act(act)
