# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bare machine becomes a node, and its engine is upgraded under load."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.tests.fleet.lab import adhoc_begun, playbook, playbook_begun, server, uuid_of, wait_until
from ansible_collections.fleet.power.tests.fleet.ran import changes, made
from ansible_collections.fleet.power.tests.fleet.supervised import SUPERVISOR, act, supervised, units, verdicts

from .machine import Machine

#: The longest installation or upgrade of packages on a loaded machine.
UPGRADE_SECONDS = 600.0
APT = "DEBIAN_FRONTEND=noninteractive apt-get --yes -o Dpkg::Use-Pty=0"

pytestmark = pytest.mark.long


def test_the_role_makes_a_bare_machine_a_node_and_a_second_run_changes_nothing(machine: Machine) -> None:
    machine.needs_network()
    # The configuration of the engine stays, because the kernel of machines needs it.
    machine.ssh(f"{APT} remove --autoremove docker.io containerd runc python3-docker python3-requests python3-yaml && ! command -v dockerd")
    asked = {"node_engine_install": True, "node_definitions": [server("game")]}
    first = playbook_begun("node", [machine], **asked).finish(UPGRADE_SECONDS)
    assert "Install packages of Debian or Ubuntu" in changes(made(first))
    assert changes(made(playbook("node", [machine], **asked))) == []
    assert units(machine) == {SUPERVISOR: "enabled active"}
    assert "1 server on 1 node: 1 offline" in machine.ssh("fleet-power status")


def test_no_server_is_lost_or_started_twice_by_an_upgrade_of_the_engine_under_load(machine: Machine) -> None:
    machine.needs_network()
    games, stopped = [server(f"game-{number}", STOP_SECONDS=0.5) for number in range(4)], server("stopped")
    supervised(machine, *games, stopped)
    act(machine, "start")
    act(machine, "stop", stopped)
    going = adhoc_begun([machine], "server_power", {"server": [uuid_of(each) for each in games], "action": "restart", "max_parallel": 1})
    machine.ssh(f"{APT} update && {APT} install --reinstall docker.io containerd")
    ended = going.finish(UPGRADE_SECONDS)
    assert "Traceback" not in ended.output

    wait_until(lambda: all(machine.is_up(uuid_of(each)) for each in games), "all servers are back", UPGRADE_SECONDS)
    since = [machine.started_at(uuid_of(each)) for each in games]
    machine.ssh("sleep 15")
    assert [machine.started_at(uuid_of(each)) for each in games] == since
    assert not machine.is_up(uuid_of(stopped))
    assert "crashed" not in str(verdicts(machine, *games, stopped))
