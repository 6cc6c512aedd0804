# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``fleet-power why`` explains its incidents on a machine with its own kernel, and with the machine's own Python."""

from __future__ import annotations

from importlib.metadata import distribution

import pytest
from ansible_collections.fleet.power.tests.fleet.lab import server, uuid_of
from ansible_collections.fleet.power.tests.fleet.nodes import CHECKOUT
from ansible_collections.fleet.power.tests.fleet.scratch import collection_root
from ansible_collections.fleet.power.tests.fleet.supervised import supervised

from .cuts import CONTROLLER
from .machine import Machine

#: pytest and what it needs. They have no compiled code.
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
POWER = "ansible_collections/fleet/power"


@pytest.mark.long
def test_why_names_the_cause_of_each_incident(machine: Machine) -> None:
    words = ["--exclude=__pycache__", f"--transform=s,^tests|^pyproject,{POWER}/&,x", "-c"]
    words += ["-C", str(collection_root().parents[2]), "ansible_collections", "-C", str(CHECKOUT), "pyproject.toml", "tests"]
    for name in PYTEST:
        found = distribution(name)
        inside = [str(file) for file in found.files or () if file.parts[0] != ".."]
        words += ["-C", str(found.locate_file("")), *inside]
    machine.unpack(CONTROLLER, *words)
    ran = machine.ssh(
        f"cd {CONTROLLER}/{POWER} && PYTHONPATH={CONTROLLER} DOCKER_HOST=unix:///var/run/docker.sock "
        "python3 -m pytest -v -m 'long or not long' tests/integration/test_command_why.py 2>&1; echo code $?"
    )
    assert ran.endswith("code 0\n"), ran[-10_000:]


@pytest.mark.long
def test_why_and_kill_on_a_node_of_the_role(machine: Machine) -> None:
    game = server("game")
    supervised(machine, game)
    machine.ssh("fleet-power start game --wait-for running")
    # Only a machine of its own may have a process of root with this name.
    machine.ssh("install -m 755 /usr/bin/sleep /run/wings && systemd-run --quiet --unit wings-of-test /run/wings 600")
    seen = machine.ssh("fleet-power why game")
    assert "code wings_active" in " ".join(seen.split()) and "stop Wings for good" in seen.partition("Do: ")[2], seen
    machine.write("/run/systemd/system/docker.service.d/dead.conf", "[Service]\nRestart=no\n")
    machine.ssh("systemctl stop wings-of-test; systemctl daemon-reload")
    machine.ssh("systemctl kill --signal KILL --kill-whom main docker; systemctl stop docker.socket")
    assert "its state is unknown" in machine.ssh("fleet-power why game")
    assert "kill done, unguarded" in machine.ssh("fleet-power kill game")
    assert machine.ssh(f"grep -l {uuid_of(game)} /proc/[0-9]*/cgroup", check=False) == ""
    machine.ssh("systemctl reset-failed docker; systemctl start docker.socket docker")
    assert "should be down" in machine.ssh("fleet-power why game") and not machine.is_up(uuid_of(game))
