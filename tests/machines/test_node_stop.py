# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clean stop of servers by a shutdown of the machine and by its engine's stop, as systemd orders it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.fleet.lab import server, uuid_of, wait_until
from ansible_collections.fleet.power.tests.fleet.supervised import (
    BACK_SECONDS,
    STOP,
    act,
    facts,
    is_back,
    stop_unit,
    supervised,
    verdicts,
)

from .machine import Machine

SAVE_SECONDS = 20
#: The longest time from the command to the end of a quick machine, without the seconds that servers take to save.
OFF_SECONDS = 15.0
#: The longest shutdown or boot of a loaded machine.
PATIENCE = 300.0
APT = "DEBIAN_FRONTEND=noninteractive apt-get --yes -o Dpkg::Use-Pty=0"
#: Nothing starts the servers after a boot, so their exit codes stay visible.
ALONE = {"node_supervise": False, "node_restore_on_boot": False}

pytestmark = pytest.mark.long


def signalled(name: str, **environment: object) -> dict[str, Any]:
    definition = server(name, **environment)
    definition["process_configuration"]["stop"] = {"type": "signal", "value": "SIGTERM"}
    return definition


def kinds(**environment: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a server that stops by a command on its console, and one that stops by a signal."""
    return server("console", **environment), signalled("signal", **environment)


def off(machine: Machine, command: str = "systemctl poweroff") -> float:
    """Power the machine off; return the seconds."""
    began = time.monotonic()
    machine.ssh(f"nohup {command} >/dev/null 2>&1 &", check=False)
    wait_until(machine.is_halted, "the machine is off", PATIENCE)
    return time.monotonic() - began


def are_back(machine: Machine, servers: Sequence[Mapping[str, Any]], since: Sequence[str]) -> bool:
    """Tell whether all servers are up in other runs; False while the machine or its engine cannot be asked."""
    with contextlib.suppress(AssertionError, ValueError):
        return all(is_back(machine, each, before) for each, before in zip(servers, since))
    return False


def exit_codes(machine: Machine, *servers: Mapping[str, Any]) -> list[int]:
    found = [machine.container(uuid_of(each)) for each in servers]
    return [each["State"]["ExitCode"] for each in found if each is not None]


def log(machine: Machine, *, boot: int = 0) -> str:
    return machine.ssh(f"journalctl -b {boot} -u {STOP} -o cat --no-pager", check=False)


def stops(machine: Machine, definition: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return outcome, code and origin of a server's stops, the oldest first."""
    (found,) = facts(machine, definition)
    return [(row["outcome"], row["code"], row["origin"]) for row in reversed(found["operations"]) if row["action"] == "stop"]


def test_a_power_off_stops_both_kinds_of_servers_cleanly_within_seconds(machine: Machine) -> None:
    both = kinds(STOP_SECONDS=SAVE_SECONDS)
    supervised(machine, *both, **ALONE)
    act(machine, "start", wait_for="running")
    assert off(machine) < SAVE_SECONDS + OFF_SECONDS * machine.slowness
    machine.boot()
    wait_until(lambda: len(exit_codes(machine, *both)) == 2, "the engine answers", PATIENCE)
    assert exit_codes(machine, *both) == [0, 0]
    assert [stops(machine, each) for each in both] == [[("done", "", "node stop")]] * 2
    assert not any(machine.is_up(uuid_of(each)) for each in both)


def test_servers_that_were_up_return_after_a_reboot_and_others_stay_down(machine: Machine) -> None:
    both, down = kinds(STOP_SECONDS=3), [server(f"down-{number}") for number in range(10)]
    supervised(machine, *both, *down)
    act(machine, "start", *both, wait_for="running")
    since = [machine.started_at(uuid_of(each)) for each in both]
    machine.ssh("nohup systemctl reboot >/dev/null 2>&1 &", check=False)
    wait_until(lambda: are_back(machine, both, since), "all that were up are up", PATIENCE)
    assert verdicts(machine, *both) == [["engine_stopped"]] * 2
    assert [stops(machine, each) for each in both] == [[("done", "", "node stop")]] * 2
    assert not any(machine.is_up(uuid_of(each)) for each in down)


def test_a_start_during_the_stop_is_refused_and_a_kill_works(machine: Machine) -> None:
    slow, killed, other = server("slow", STOP_SECONDS=30), server("killed", STOP_SECONDS=3600), server("other")
    supervised(machine, slow, killed, other)
    act(machine, "start", slow, killed, wait_for="running")
    since = machine.started_at(uuid_of(slow))
    machine.ssh("systemctl restart --no-block docker")
    wait_until(lambda: machine.has("/run/fleet-power/node-stopping"), "the node stops", BACK_SECONDS)
    for action, asked in (("start", other), ("restart", slow)):
        refused = act(machine, action, asked)["servers"][0]
        assert refused["code"] in ("node_stopping", "lock_timeout"), action
    assert act(machine, "start", other)["servers"][0]["code"] == "node_stopping"
    assert "code node_stopping" in machine.ssh("fleet-power why other")
    assert act(machine, "kill", killed)["summary"] == {"done": 1}
    wait_until(lambda: is_back(machine, slow, since), "the engine is back", PATIENCE)
    assert not machine.is_up(uuid_of(killed)) and not machine.is_up(uuid_of(other))
    assert act(machine, "start", other)["summary"] == {"done": 1}


def test_an_upgrade_of_the_engine_stops_servers_cleanly_and_they_return(machine: Machine) -> None:
    machine.needs_network()
    both, down = kinds(STOP_SECONDS=3), server("down")
    supervised(machine, *both, down)
    act(machine, "start", *both, wait_for="running")
    since = [machine.started_at(uuid_of(each)) for each in both]
    # Debian's package leaves the engine running. Docker's own packages restart it like this.
    machine.ssh(
        f"{APT} update && {APT} install --reinstall docker.io && systemctl daemon-reload && deb-systemd-invoke restart docker.service"
    )
    wait_until(lambda: are_back(machine, both, since), "all that were up are up", PATIENCE)
    assert verdicts(machine, *both) == [["engine_stopped"]] * 2
    assert "forced" not in log(machine)
    assert not machine.is_up(uuid_of(down))
    assert stop_unit(machine) == "enabled active"


def test_a_soft_reboot_stops_servers_cleanly_and_they_return(machine: Machine) -> None:
    if int(machine.ssh("systemctl --version").split()[1].split(".")[0]) < 254:
        pytest.skip("systemd cannot reboot softly before version 254")
    both, down = kinds(STOP_SECONDS=3), server("down")
    supervised(machine, *both, down)
    act(machine, "start", *both, wait_for="running")
    since, boot = [machine.started_at(uuid_of(each)) for each in both], machine.ssh("cat /proc/sys/kernel/random/boot_id")
    machine.ssh("nohup systemctl soft-reboot >/dev/null 2>&1 &", check=False)
    wait_until(lambda: are_back(machine, both, since), "all that were up are up", PATIENCE)
    assert machine.ssh("cat /proc/sys/kernel/random/boot_id") == boot
    assert verdicts(machine, *both) == [["engine_stopped"]] * 2
    assert not machine.is_up(uuid_of(down))


def test_servers_that_ignore_their_stop_get_sigkill_and_the_log_names_them(machine: Machine) -> None:
    own, endless, other = (server(name, STOP_SECONDS=3600) for name in ("own", "endless", "other"))
    own["process_configuration"]["stop"]["timeout"] = 10
    supervised(machine, own, endless, other, **ALONE, node_stop_seconds=75)
    act(machine, "start", wait_for="running")
    # Another action holds its lock.
    machine.ssh(f"nohup fleet-power stop --stop-timeout 3600 {uuid_of(other)} >/dev/null 2>&1 &", check=False)
    wait_until(lambda: "stop" in str(facts(machine, other)[0]["lock"]), "the other action stops it", BACK_SECONDS)
    assert off(machine) < 100
    machine.boot()
    wait_until(lambda: len(exit_codes(machine, own, endless, other)) == 3, "the engine answers", PATIENCE)
    assert exit_codes(machine, own, endless, other) == [137, 137, 137]
    said = {
        uuid_of(each): line for line in log(machine, boot=-1).splitlines() for each in (own, endless) if f"stop {uuid_of(each)} " in line
    }
    assert all(" forced " in said[uuid_of(each)] for each in (own, endless)), said
    seconds = [float(said[uuid_of(each)].partition(" in ")[2].split()[0]) for each in (own, endless)]
    assert 10 <= seconds[0] < 20 and 40 <= seconds[1] < 60, seconds


def test_a_hundred_servers_that_obey_stop_within_a_minute(machine: Machine) -> None:
    servers = [server(f"game-{number}") for number in range(100)]
    supervised(machine, *servers)
    assert act(machine, "start")["summary"] == {"done": 100}
    machine.ssh("sleep 5")
    machine.ssh("systemctl restart --no-block docker")
    began = time.monotonic()
    wait_until(lambda: "Finished" in log(machine) or "Stopped" in log(machine), "the servers are down", PATIENCE)
    assert time.monotonic() - began < 60
