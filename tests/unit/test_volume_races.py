# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data directory that another process rearranges all the time while it is worked in: hundreds of rounds, thousands in test-long."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import PrebootFailed
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.tests.unit.volume_support import (
    UNBOUNDED,
    Disk,
    attacked,
    exchange,
    hostile_disk,
    in_memory,
    open_descriptors,
)

BOTH = pytest.mark.parametrize("disk", ["root", "nobody"], indirect=True)
AS_ROOT = pytest.mark.parametrize("disk", ["root"], indirect=True)
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
    """Walks that give everything to one user and the next time to another, so that there is always something to give."""

    def __init__(self, disk: Disk) -> None:
        self._volume = Volume(str(disk.volume))
        owners = (disk.owner, (disk.owner[0] + 1, disk.owner[1] + 1)) if disk.who == "root" else (disk.owner,)
        self._owners = itertools.cycle(owners)

    def __call__(self, _disk: Disk) -> object:
        self._volume.survey(no_check, UNBOUNDED, owner=next(self._owners))
        return "given"


def run(disk: Disk, access: Callable[[Disk], object], attack: Callable[[], object], rounds: int, expected: set[object]) -> None:
    """Both at once, as whoever acts, until there were enough rounds of either and every end that is expected was seen; no other is."""

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
        assert open_descriptors() == before

    disk.act(act)
    disk.assert_untouched()


def make_conf(disk: Disk) -> Path:
    """conf/canary in the data directory, and what to put in a place in turn."""
    conf = disk.volume / "conf"
    conf.mkdir()
    (conf / "canary").write_bytes(b"inside")
    return conf


@BOTH
@ROUNDS
@pytest.mark.parametrize("access", ["read", "write", "give"])
def test_a_directory_that_turns_into_a_link_and_back_never_lets_an_access_out(disk: Disk, access: str, rounds: int) -> None:
    conf = make_conf(disk)
    (disk.volume / "trap").symlink_to(disk.outside)
    own_everything(disk)
    accesses = {
        "read": (read, {b"inside", "refused"}),
        "write": (write, {"written", "refused"}),
        "give": (Giving(disk), {"given"}),
    }
    run(disk, accesses[access][0], exchange(conf, disk.volume / "trap"), rounds, accesses[access][1])


@BOTH
@ROUNDS
@pytest.mark.parametrize("access", ["read", "give"])
def test_a_file_that_turns_into_a_link_and_back_never_lets_an_access_out(disk: Disk, access: str, rounds: int) -> None:
    conf = make_conf(disk)
    (conf / "trap").symlink_to(disk.canary)
    own_everything(disk)
    swap = exchange(conf / "canary", conf / "trap")
    if access == "read":
        run(disk, read, swap, rounds, {b"inside", "refused"})
    else:
        run(disk, Giving(disk), swap, rounds, {"given"})


@AS_ROOT
@ROUNDS
def test_a_tree_moved_out_and_back_never_takes_the_walk_to_what_lies_beside_it(disk: Disk, rounds: int) -> None:
    """``x``, which is walked, and ``beside`` exchange what is in them: the walk comes up from ``y`` elsewhere than it went down."""
    # Not in memory: there, what was renamed last is listed last or first, and the walk would have nothing left to go to.
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
