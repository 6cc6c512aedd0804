# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walk over a data directory of 200,000 files beside ``du``, and what it costs to find that everything has its owner."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume import Volume
from ansible_collections.fleet.power.plugins.module_utils._power.volume.volume_walk import Survey
from ansible_collections.fleet.power.tests.bench.measure import Row, alternately, ratio
from ansible_collections.fleet.power.tests.unit.volume_support import UNBOUNDED, make_files

_ROUNDS = 9
#: Directories, and files in each: half of the files as a world has them, half as an installed program has them.
_SHAPE = ((20, 5000), (10_000, 10))
_ME = (os.geteuid(), os.getegid())


def measure(root: Path) -> Iterator[Row]:
    """The rows of the table. The tree is made once, beneath ``root``, and removed at the end."""
    top = root / "walk"
    try:
        expected = _make(top)
        volume = Volume(str(top))
        walk, owning, du = alternately(
            [
                _timed(lambda: _survey(volume, None, expected)),
                _timed(lambda: _survey(volume, _ME, expected)),
                _timed(lambda: subprocess.run(["du", "-sb", str(top)], stdout=subprocess.DEVNULL, check=True)),
            ],
            _ROUNDS,
            warm_up=1,
        )
    finally:
        subprocess.run(["rm", "-rf", str(top)], check=True)
    note = f"{expected.files} files in {sum(directories for directories, _files in _SHAPE)} directories, all known to the kernel already"
    yield ratio("walk: disk usage", walk, du, "du -sb", 1.5, [note])
    yield ratio("walk: usage and ownership", owning, du, "du -sb", 1.5)
    yield ratio("ownership already right", owning, walk, "disk usage alone", 1.1)


def _make(top: Path) -> Survey:
    size = files = 0
    for number, (directories, each) in enumerate(_SHAPE):
        for directory in range(directories):
            path = top / f"{number}" / f"{directory % 40}" / f"{directory}"
            path.mkdir(parents=True)
            make_files(path, range(each), _ME)
            size += sum(range(each))
            files += each
    return Survey(size, files, chowned=0, left_alone=0)


def _survey(volume: Volume, owner: tuple[int, int] | None, expected: Survey) -> None:
    found = volume.survey(no_check, UNBOUNDED, owner=owner)
    if found != expected:
        raise RuntimeError(f"the walk found {found}, not {expected}")


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def timed() -> float:
        began = time.monotonic()
        work()
        return time.monotonic() - began

    return timed
