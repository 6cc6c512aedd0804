# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The downtime of an update that goes well, with and without a way back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ansible_collections.fleet.power.plugins.module_utils._power.model.request import OnFailedStart
from ansible_collections.fleet.power.tests.bench.measure import Row, difference, in_turn
from ansible_collections.fleet.power.tests.integration.lab import Lab
from ansible_collections.fleet.power.tests.integration.supervisors import Supervising

_ROUNDS = 15


def downtime(lab: Lab) -> Iterator[Row]:
    uuid = lab.up(VERSION=0)
    versions = itertools.count(1)

    def update(on_failed_start: OnFailedStart) -> float:
        lab.edit(uuid, environment={"VERSION": next(versions)})
        result = lab.power("restart", uuid, on_failed_start=on_failed_start, settle=0, wait_for="running")
        assert result.outcome.value == "done" and result.downtime is not None and result.downtime.seconds is not None, result
        return result.downtime.seconds

    with Supervising(lab):
        ours, other = in_turn(lambda: update(OnFailedStart.REVERT), lambda: update(OnFailedStart.LEAVE), _ROUNDS)
    yield difference("downtime of an update, with a way back", ours, other, "without", 100)
