# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reported results survive a power cut and the boot after it."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.fleet.lab import adhoc_begun, playbook, playbook_begun, server, uuid_of, wait_until
from ansible_collections.fleet.power.tests.fleet.ran import changes, made
from ansible_collections.fleet.power.tests.fleet.supervised import BACK_SECONDS, SHORT, SUPERVISOR, act, facts, supervised, units

from .machine import Machine

#: The longest run of a module on a loaded machine.
REPORT_SECONDS = 120.0


def test_a_reported_first_start_survives_a_power_cut(machine: Machine) -> None:
    game = server("game")
    machine.define(game)

    going = adhoc_begun([machine], "server_power", {"server": [uuid_of(game)], "action": "start", "origin": "test"})
    report = wait_until(going.results, "the start is reported", REPORT_SECONDS)[0]["result"]
    machine.cut_power()
    assert report["servers"][0]["outcome"] == "done", report
    machine.boot()

    found = facts(machine, game)[0]
    assert found["intent"]["up"] is True
    reported_id = report["servers"][0]["operation"]["id"]
    assert [each["outcome"] for each in found["operations"] if each["id"] == reported_id] == ["done"]
    assert machine.container(uuid_of(game)) is not None


@pytest.mark.long
def test_a_reported_freeze_survives_a_power_cut_and_a_changed_clock(machine: Machine) -> None:
    game = server("game")
    supervised(machine, game)
    until = machine.ssh("date --date '+1 hour' +%Y-%m-%dT%H:%M:%S%:z").strip()
    assert "Frozen" in machine.ssh(f"fleet-power freeze --until {until} --reason 'final of the cup'")
    machine.cut_power()
    machine.boot()
    wait_until(lambda: machine.ssh("docker info 2>/dev/null", check=False), "the engine answers", machine.slowness * BACK_SECONDS)
    assert "frozen" in machine.ssh("fleet-power start game 2>&1", check=False)
    machine.ssh("fleet-power thaw; fleet-power freeze --until $(date --date '+1 hour' +%H:%M:%S) --reason night; date -s '+3 hours'")
    assert "night" in machine.ssh("fleet-power why game")
    machine.ssh("date -s '-3 hours'; fleet-power thaw")
    assert "done" in machine.ssh("fleet-power start game")


@pytest.mark.long
def test_after_power_cuts_in_the_role_its_next_run_completes_the_node(machine: Machine) -> None:
    """Each cut comes at another moment, and the next run goes on from there."""
    seed = int(os.environ.get("FLEET_POWER_SEED") or random.randrange(10**6))
    chance, game = random.Random(seed), server("game")
    asked: dict[str, Any] = {**SHORT, "node_definitions": [game]}
    for number in range(int(os.environ.get("FLEET_POWER_CUTS") or 4)):
        going = playbook_begun("node", [machine], **asked)
        seconds = chance.uniform(10.0, 20.0 + 20.0 * number)
        print(f"seed {seed}: a cut after {seconds:.0f} s")
        time.sleep(seconds)
        machine.cut_power()
        going.kill()
        machine.boot()
    made(playbook("node", [machine], **asked))
    machine.cut_power()
    machine.boot()
    wait_until(lambda: units(machine).get(SUPERVISOR) == "enabled active", "the supervisor runs", machine.slowness * BACK_SECONDS)
    assert changes(made(playbook("node", [machine], **asked))) == []
    assert act(machine, "start")["summary"]["done"] == 1
