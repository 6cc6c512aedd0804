# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reported results survive fifty power cuts and the boots after them."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.fleet.power.tests.fleet.nodes import leases

from .cuts import Cuts
from .machine import Machine


@pytest.fixture(scope="module")
def cuts() -> Iterator[Callable[[], Cuts]]:
    """Return a function that returns the machine of all cuts, with servers. The first call makes it. The seed is printed."""
    made: list[Cuts] = []
    with contextlib.contextmanager(leases)("machines", Machine) as take:

        def cuts() -> Cuts:
            if not made:
                seed = int(os.environ.get("FLEET_POWER_SEED") or random.randrange(1_000_000))
                made.append(Cuts(take(1)[0], seed))
            return made[0]

        yield cuts


# Fifty cuts in all. Ten starts are cut off right after their reported end.
@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "during", "after"),
    [
        ("start", 5, 10),
        ("stop", 3, 2),
        ("restart", 2, 3),
        ("kill", 3, 2),
        ("limit", 2, 3),
        ("crash", 3, 2),
        ("accepted", 3, 2),
        ("record", 5, 0),
    ],
)
def test_reported_results_survive_power_cuts(
    cuts: Callable[[], Cuts], kind: str, during: int, after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    world = cuts()
    for number in range(during + after):
        world.cut(kind, reported=number >= during)
    with capsys.disabled():
        print(f"\n{world.summary(kind)}")
    assert not world.faults(kind), "\n".join(world.faults(kind))
