# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""At random moments: afterwards no server is up that somebody stopped, none is down that is meant to be up, and each end has one row."""

from __future__ import annotations

import pytest

from .lab import Lab
from .supervised_rounds import Rounds
from .supervisors import Supervising


def race(lab: Lab, seed: int, *, servers: int, rounds: int) -> None:
    """Play rounds; what is wrong names the seed."""
    # Rounds crash each server more often in a row than it would be started again for.
    lab.write_settings(supervisor={"max_restarts": 1000, "reset_after": 1})
    uuids = [lab.up(STOP_SECONDS=number % 3 / 4, EXIT_CODE=number % 2) for number in range(servers)]
    with Supervising(lab) as supervising:
        played = Rounds(lab, supervising, uuids, seed)
        try:
            for number in range(rounds):
                played.play()
                played.await_quiet()
                found = list(played.violations())
                assert not found, "\n".join([f"seed {seed}, round {number}", *found])
        finally:
            played.close()


def test_a_few_rounds_break_no_promise(lab: Lab) -> None:
    race(lab, 1, servers=4, rounds=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 103))
def test_hundreds_of_rounds_break_no_promise(lab: Lab, seed: int) -> None:
    race(lab, seed, servers=8, rounds=13)
