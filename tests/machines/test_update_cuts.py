# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fifty power cuts of two machines at random moments of bad updates: each time the previous version is up in the end."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.fleet.lab import adhoc_begun, server, uuid_of, wait_until
from ansible_collections.fleet.power.tests.fleet.supervised import act, supervised
from ansible_collections.fleet.power.tests.fleet.test_updates import proof_of, version

from .machine import Machine

#: Bad versions: one ends at once, one is never ready, one ends after it was ready.
BAD: tuple[dict[str, Any], ...] = (
    {"CRASH_AFTER": 0.1, "EXIT_CODE": 3, "READY_LINE": "never"},
    {"READY_LINE": "never"},
    {"CRASH_AFTER": 5, "EXIT_CODE": 4},
)
#: The longest times to the cut, and from the boot to the end of the proof, on a loaded machine.
WITHIN_SECONDS, PATIENCE = 40.0, 300.0


def _await_other_proof(machine: Machine, definition: dict[str, Any], before: object) -> None:
    wait_until(lambda: proof_of(machine, definition).get("operation") != before, "the update has begun", PATIENCE)


@pytest.mark.long
@pytest.mark.parametrize("half", ["one half", "other half"])
def test_power_cuts_in_bad_updates_end_with_the_previous_version(machine: Machine, half: str) -> None:
    seed = f"{os.environ.get('FLEET_POWER_SEED') or random.randrange(10**6)} ({half})"
    count = int(os.environ.get("FLEET_POWER_CUTS", "50")) // 2
    chance, lobby, ends = random.Random(seed), server("lobby", VERSION=0), dict[str, int]()
    uuid = uuid_of(lobby)
    supervised(machine, lobby)
    act(machine, "start")
    for number in range(1, count + 1):
        lobby["settings"]["environment"] = {"VERSION": number, **chance.choice(BAD)}
        machine.define(lobby)
        machine.ssh("sync")
        before = proof_of(machine, lobby).get("operation")
        going = adhoc_begun(
            [machine], "server_power", {"server": uuid, "action": "restart", "on_failed_start": "revert", "wait_timeout": 10, "settle": 8}
        )
        # Without a proof the update has not begun, and a boot would start the new version as any definition.
        _await_other_proof(machine, lobby, before)
        time.sleep(chance.uniform(0.0, WITHIN_SECONDS))
        machine.cut_power()
        going.kill()
        machine.boot()
        what = f"seed {seed}, cut {number}: the previous version is up"
        wait_until(lambda: proof_of(machine, lobby).get("ended") not in (None, "open"), f"{what} (proof)", PATIENCE)
        wait_until(lambda: machine.is_up(uuid) and version(machine, lobby) == "0", what, PATIENCE)
        assert machine.ssh("docker ps -aqf name=previous") == ""
        end = proof_of(machine, lobby)["ended"]
        ends[end] = ends.get(end, 0) + 1
        print(f"cut {number} of {count}: {end}")
    print(f"{count} power cuts, seed {seed}: {ends}")
