# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk over the data directory at a boot: kills, results, and races with another process."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill, PrebootFailed
from ansible_collections.fleet.power.plugins.module_utils._power.volume import volume_walk
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume_walk import Bounds, Survey
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.volume_support import (
    UNBOUNDED,
    Disk,
    attacked,
    exchange,
    hostile_disk,
    in_memory,
    make_deep,
    make_files,
    open_descriptors,
    settled_descriptors,
)

ME = (os.geteuid(), os.getegid())
MEASURING_AND_OWNING = pytest.mark.parametrize("owner", [None, ME], ids=["measuring", "owning"])


class Kill:
    """A check that raises at its second call. ``seconds`` is the time between both calls."""

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
    """An entry of a directory on a disk that needs 10 ms for each request."""

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self._entry = entry
        self.name = entry.name

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        time.sleep(0.01)
        return self._entry.stat(follow_symlinks=follow_symlinks)


@MEASURING_AND_OWNING
@pytest.mark.parametrize("shape", ["one directory", "many directories"])
def test_a_kill_ends_a_walk_on_a_slow_disk_within_a_second(
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
    assert open_descriptors() <= before


@pytest.mark.parametrize("slow", ["going up", "finding the way again", "names of directories that vanished"])
def test_a_kill_ends_a_walk_with_slow_moves_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
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
        # The first moves may precede the last check.
        if len(began) > 2:
            raise CancelledByKill("killed")

    before = settled_descriptors()
    monkeypatch.setattr(os, "open", slowly)
    with pytest.raises(CancelledByKill):
        Volume(str(tmp_path)).survey(look, UNBOUNDED, owner=ME)
    assert time.monotonic() - began[2] < 1
    assert open_descriptors() <= before


AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of files")
USAGE, BOTH = "usage", "usage and ownership"


@pytest.fixture(name="walks")
def walks_fixture(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    walks: list[str] = []
    original = Volume.survey

    def survey(
        volume: Volume,
        check_cancelled: Callable[[], None],
        bounds: Bounds,
        *,
        owner: tuple[int, int] | None,
        altered: Callable[[], None] = lambda: None,
    ) -> Survey:
        walks.append(USAGE if owner is None else BOTH)
        return original(volume, check_cancelled, bounds, owner=owner, altered=altered)

    monkeypatch.setattr(Volume, "survey", survey)
    return walks


@pytest.mark.parametrize(
    "limit, ownership, expected",
    [(0, False, []), (-1, False, []), (0, True, [USAGE, BOTH]), (100, False, [USAGE, USAGE]), (100, True, [USAGE, BOTH])],
)
def test_usage_and_ownership_share_one_walk(fake: FakeNode, walks: list[str], limit: int, ownership: bool, expected: list[str]) -> None:
    fake.down()
    fake.define(build={"disk_space": limit})
    fake.configure(system={"check_permissions_on_boot": ownership})
    walks.clear()
    assert fake.perform("start").outcome.value == "done"
    assert walks == expected


def test_a_kill_during_the_walk_ends_the_boot(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.down()
    monkeypatch.setattr(volume_walk, "LOOK_SECONDS", 0.0)
    for number in range(100):
        (fake.volume / str(number)).mkdir()
    listed, original = [], os.scandir

    def scandir(path: int) -> object:
        listed.append(path)
        if len(listed) == 50:
            fake.kill_elsewhere()
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    result = fake.perform("start")
    monkeypatch.undo()
    assert (result.outcome.value, result.code) == ("cancelled", "cancelled_by_kill")
    assert len(listed) == 50
    assert not fake.live


@AS_ROOT
def test_a_changed_owner_is_reported_once_and_a_foreign_hard_link_gives_a_warning(fake: FakeNode) -> None:
    fake.down()
    settings = fake.build().settings
    (fake.volume / "world").write_bytes(b"")
    os.chown(fake.volume / "world", settings.uid + 1, settings.gid + 1)
    stranger = fake.root / "foreign"
    stranger.write_bytes(b"")
    os.chown(stranger, settings.uid + 1, settings.gid + 1)
    os.link(stranger, fake.volume / "link")
    result = fake.perform("start")
    assert {step.step: step.changed for step in result.preboot}["disk"]
    assert any("1 devices and hard-linked files of other owners were left as they are" in warning for warning in result.warnings)
    assert (fake.volume / "world").stat().st_uid == settings.uid
    assert stranger.stat().st_uid == settings.uid + 1
    fake.engine.end(UUID)
    assert not {step.step: step.changed for step in fake.perform("start").preboot}["disk"]


RACES_BOTH = pytest.mark.parametrize("disk", ["root", "nobody"], indirect=True)
RACES_AS_ROOT = pytest.mark.parametrize("disk", ["root"], indirect=True)
ROUNDS = pytest.mark.parametrize("rounds", [500, pytest.param(20_000, marks=pytest.mark.long)])


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    with hostile_disk(request.param) as made, in_memory(made):
        yield made


def own_everything(disk: Disk) -> None:
    for path in (disk.volume, *disk.volume.rglob("*")):
        os.chown(path, *disk.owner, follow_symlinks=False)


def read(disk: Disk) -> object:
    return Volume(str(disk.volume)).read_text("conf/canary", uid=disk.owner[0])


def write(disk: Disk) -> object:
    Volume(str(disk.volume)).write("conf/canary", b"inside", uid=disk.owner[0], gid=disk.owner[1])
    return "written"


class Giving:
    """Walks that give all files to two users in turn, so that each walk changes owners."""

    def __init__(self, disk: Disk) -> None:
        self._volume = Volume(str(disk.volume))
        owners = (disk.owner, (disk.owner[0] + 1, disk.owner[1] + 1)) if disk.who == "root" else (disk.owner,)
        self._owners = itertools.cycle(owners)

    def __call__(self, _disk: Disk) -> object:
        self._volume.survey(no_check, UNBOUNDED, owner=next(self._owners))
        return "given"


def run(disk: Disk, access: Callable[[Disk], object], attack: Callable[[], object], rounds: int, expected: set[object]) -> None:
    """Run access and attack at once until each expected result was seen. Other results fail."""

    def act() -> None:
        before, seen, number = open_descriptors(), set[object](), 0
        with attacked(attack) as attacks:
            began = time.monotonic()
            while number < rounds or attacks() < rounds or seen != expected:
                number += 1
                try:
                    seen.add(access(disk))
                except PrebootFailed as error:
                    seen.add("refused")
                    assert "Cannot" in str(error)
                assert seen <= expected
                assert time.monotonic() - began < 120, f"after {number} rounds and {attacks()} attacks only {seen} was seen"
        assert open_descriptors() <= before

    disk.act(act)
    disk.assert_untouched()


def make_conf(disk: Disk) -> Path:
    """Make conf/canary in the data directory. Returns conf."""
    conf = disk.volume / "conf"
    conf.mkdir()
    (conf / "canary").write_bytes(b"inside")
    return conf


@RACES_BOTH
@ROUNDS
@pytest.mark.parametrize("access", ["read", "write", "give"])
def test_a_directory_that_alternates_with_a_link_never_leads_out(disk: Disk, access: str, rounds: int) -> None:
    conf = make_conf(disk)
    (disk.volume / "trap").symlink_to(disk.outside)
    own_everything(disk)
    accesses = {
        "read": (read, {b"inside", "refused"}),
        "write": (write, {"written", "refused"}),
        "give": (Giving(disk), {"given"}),
    }
    run(disk, accesses[access][0], exchange(conf, disk.volume / "trap"), rounds, accesses[access][1])


@RACES_BOTH
@ROUNDS
@pytest.mark.parametrize("access", ["read", "give"])
def test_a_file_that_alternates_with_a_link_never_leads_out(disk: Disk, access: str, rounds: int) -> None:
    conf = make_conf(disk)
    (conf / "trap").symlink_to(disk.canary)
    own_everything(disk)
    swap = exchange(conf / "canary", conf / "trap")
    if access == "read":
        run(disk, read, swap, rounds, {b"inside", "refused"})
    else:
        run(disk, Giving(disk), swap, rounds, {"given"})


@RACES_AS_ROOT
@ROUNDS
def test_a_tree_that_is_moved_out_and_back_never_leads_the_walk_out(disk: Disk, rounds: int) -> None:
    # Not in memory: a renamed directory is listed last or first there, and the walk would have no directory left.
    tree = disk.outside.parent / "tree"
    beside = tree / "beside"
    for name in ("x", "beside"):
        (tree / name / "y" / "z" / "end").mkdir(parents=True)
        for number in range(20):
            (tree / name / f"also {number}").mkdir()
    inside = Volume(str(tree / "x"))
    owners = itertools.cycle((disk.owner, (disk.owner[0] + 1, disk.owner[1] + 1)))

    def walk(_disk: Disk) -> object:
        inside.survey(no_check, UNBOUNDED, owner=next(owners))
        return "walked"

    run(disk, walk, exchange(tree / "x" / "y", beside / "y"), rounds, {"walked"})
    assert {path.stat().st_uid for path in beside.iterdir() if path.name != "y"} == {beside.stat().st_uid} == {0}
