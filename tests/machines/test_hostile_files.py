# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers with hostile configuration files crash in a loop. The services of the node stay up, and another server comes back."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.tests.fleet.lab import server, uuid_of, wait_until
from ansible_collections.fleet.power.tests.fleet.supervised import SUPERVISOR, act, crash, is_back, supervised

from .machine import Machine

pytestmark = pytest.mark.long

SERVERS, SECONDS, FAULTS = 20, 900, 5
#: Files as a server's process could write them before it crashes: their edits need much memory, or much time.
WRITE = {
    "config.yml": r"printf 'a: ['; yes '{},' | head -n 190000; printf '1]\n'",
    "slow.json": r"printf '{\"a\": \"%0100db\"}' 0",
}


def hostile(number: int) -> dict[str, Any]:
    """A server whose starts need almost all memory that a child may have, and more time than it may have."""
    made = server(f"hostile-{number:02}")
    made["process_configuration"]["configs"] = [
        {"file": name, "parser": name.rpartition(".")[2], "replace": [{"match": "a", "replace_with": "1", "if_value": "regex:^(0+)+$"}]}
        for name in WRITE
    ]
    return made


def peak(machine: Machine, service: str) -> int:
    """Return the most MiB that a service had, its children included."""
    return int(machine.read(f"/sys/fs/cgroup/system.slice/{service}.service/memory.peak")) // 2**20


def faults(machine: Machine) -> int:
    """Return how many starts ended because an edit took too much time."""
    return machine.ssh("journalctl -t fleet-power --no-pager").count("of processor time that are allowed")


def test_hostile_files_of_twenty_servers_stop_no_service(machine: Machine) -> None:
    servers, honest = [hostile(number) for number in range(SERVERS)], server("honest")
    supervised(machine, *servers, honest)
    act(machine, "start")
    write = "; ".join(f"{{ {text}; }} >{name}" for name, text in WRITE.items())
    for each in servers:
        machine.ssh(f"set -e; cd /var/lib/fleet-power/volumes/{uuid_of(each)}; {write}; chown --reference=. *")
    began = machine.ssh(f"systemctl show -P ExecMainStartTimestampMonotonic {SUPERVISOR}")
    for each in servers:
        crash(machine, each)
    wait_until(lambda: faults(machine) >= FAULTS, "starts with hostile files are refused", SECONDS)
    before = machine.started_at(uuid_of(honest))
    crash(machine, honest)
    wait_until(lambda: is_back(machine, honest, before), "the honest server is back", SECONDS)
    assert machine.ssh(f"systemctl show -P ExecMainStartTimestampMonotonic {SUPERVISOR}") == began
    print(f"the supervisor's peak: {peak(machine, SUPERVISOR)} MiB")
