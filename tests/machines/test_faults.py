# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that only a machine with its own clock, disks and memory can have."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from ansible_collections.fleet.power.tests.fleet.lab import server, uuid_of, wait_until
from ansible_collections.fleet.power.tests.fleet.shim import pid_of
from ansible_collections.fleet.power.tests.fleet.supervised import (
    BACK_SECONDS,
    SECRET,
    SUPERVISOR,
    act,
    crash,
    facts,
    is_back,
    supervised,
    verdicts,
)
from ansible_collections.fleet.power.tests.integration.event_sending import EventReceiver

from .machine import Machine

STATE = "/var/lib/fleet-power"
DAY, YEAR = 86_400, 31_536_000
#: The longest time until the events service tries a receiver again.
RETRY_SECONDS = 400.0
#: Takes all memory, and all that becomes free. The kernel ends other processes first.
GREEDY = """
open("/proc/self/oom_score_adj", "w").write("-1000")
taken = []
while True:
    try:
        taken.append(bytearray(b"x" * 2**20))
    except MemoryError:
        pass
"""

pytestmark = pytest.mark.long


def disk_of_its_own(machine: Machine) -> None:
    """Put the state directory on a disk of its own, which `set_disk` changes."""
    machine.ssh("truncate -s 64M /root/disk && mkfs.ext4 -q /root/disk && modprobe dm-flakey && losetup /dev/loop0 /root/disk")
    machine.ssh("dmsetup create own --table '0 131072 linear /dev/loop0 0'")
    machine.ssh(f"mkdir -p {STATE} && mount /dev/mapper/own {STATE}")


def set_disk(machine: Machine, *, fails: bool) -> None:
    """Let each write to the disk fail from now on, or no more."""
    table = "0 131072 flakey /dev/loop0 0 0 3600 1 error_writes" if fails else "0 131072 linear /dev/loop0 0"
    machine.ssh(f"dmsetup suspend --noflush --nolockfs own && dmsetup load own --table '{table}' && dmsetup resume own")


@pytest.mark.parametrize("jump", [DAY, -DAY, YEAR, -YEAR], ids=["a day on", "a day back", "a year on", "a year back"])
def test_supervisor_and_events_work_on_after_a_jump_of_the_clock(machine: Machine, jump: int) -> None:
    game = server("game")
    with closing(EventReceiver()) as received, machine.reaching(received.port):
        supervised(machine, game, node_event_receivers=[{"name": "pager", "url": f"{received.url}/", "secret": SECRET}])
        act(machine, "start")
        before = machine.started_at(uuid_of(game))
        machine.ssh(f"date --set @$(($(date +%s) + {jump}))")
        crash(machine, game)
        wait_until(lambda: is_back(machine, game, before), "the server was started again", BACK_SECONDS)
        wait_until(lambda: "server.crashed" in [each["type"] for each in received.got], "the crash is reported", BACK_SECONDS)
        assert verdicts(machine, game) == [["crashed"]]
        assert act(machine, "restart", game)["summary"] == {"done": 1}
        rows = facts(machine, game)[0]["operations"]
        assert [row["action"] for row in rows] == ["restart", "start", "start"]
        assert rows[1]["origin"] == "supervisor"


def test_no_action_is_lost_or_invented_on_a_disk_that_fails(machine: Machine) -> None:
    game, other = server("game"), server("other")
    disk_of_its_own(machine)
    supervised(machine, game, other)
    act(machine, "start")
    before = machine.started_at(uuid_of(other))
    machine.ssh("sync")

    set_disk(machine, fails=True)
    stopped = act(machine, "stop", game)["servers"][0]
    crash(machine, other)
    print(stopped)
    time.sleep(10)
    print(machine.ssh("fleet-power why game; fleet-power why other; journalctl -n 30 -u fleet-power-supervisor", check=False))
    set_disk(machine, fails=False)
    machine.ssh(f"systemctl stop 'fleet-power-*'; umount {STATE}; e2fsck -fy /dev/mapper/own; mount /dev/mapper/own {STATE}")
    machine.ssh(f"systemctl start {SUPERVISOR}")

    wait_until(lambda: is_back(machine, other, before), "the crashed server is back", BACK_SECONDS)
    assert machine.is_up(uuid_of(game)) is False
    assert act(machine, "start", game)["summary"] == {"done": 1}


def test_a_state_directory_that_became_read_only_is_reported(machine: Machine) -> None:
    game = server("game")
    disk_of_its_own(machine)
    supervised(machine, game)
    act(machine, "start")
    before = machine.started_at(uuid_of(game))
    machine.ssh(f"systemctl stop 'fleet-power-*'; mount -o remount,ro {STATE} && systemctl start {SUPERVISOR}")
    restarted = act(machine, "restart", game)["servers"][0]
    print(restarted)
    print(machine.ssh("fleet-power why game; journalctl -n 30 -u fleet-power-supervisor", check=False))
    machine.ssh(f"mount -o remount,rw {STATE}")
    crash(machine, game)
    wait_until(lambda: is_back(machine, game, before), "the server is back", BACK_SECONDS)


def test_without_memory_on_the_machine_nothing_is_lost_or_done_twice(machine: Machine) -> None:
    game = server("game")
    supervised(machine, game)
    act(machine, "start")
    before = machine.started_at(uuid_of(game))
    machine.write("/root/greedy.py", GREEDY)
    machine.ssh("systemd-run --quiet --unit greedy python3 /root/greedy.py")
    time.sleep(30)
    print(machine.ssh("free -m; dmesg | grep -i 'killed process' | tail -5", check=False))
    machine.ssh("systemctl kill --signal KILL greedy", check=False)
    wait_until(lambda: machine.is_up(uuid_of(game)), "the server is up", BACK_SECONDS)
    active = f"systemctl is-active {SUPERVISOR} docker"
    wait_until(lambda: machine.ssh(active, check=False).split() == ["active"] * 2, "engine and supervisor are up", BACK_SECONDS)
    print(before, machine.started_at(uuid_of(game)), verdicts(machine, game))
    assert act(machine, "restart", game)["summary"] == {"done": 1}


def test_a_minute_of_a_stopped_engine_is_no_end_of_a_server(machine: Machine) -> None:
    game = server("game")
    supervised(machine, game)
    act(machine, "start")
    before, pid = machine.started_at(uuid_of(game)), pid_of(machine, SUPERVISOR)
    machine.faults.freeze()
    result = act(machine, "restart", game)
    time.sleep(60)
    machine.faults.thaw()
    print(result)
    wait_until(lambda: machine.is_up(uuid_of(game)), "the engine answers", BACK_SECONDS)
    time.sleep(10)
    assert (machine.started_at(uuid_of(game)), pid_of(machine, SUPERVISOR)) == (before, pid)
    assert verdicts(machine, game) == [[]]
    assert act(machine, "restart", game)["summary"] == {"done": 1}


def test_events_arrive_after_an_hour_without_network(machine: Machine) -> None:
    game = server("game")
    with closing(EventReceiver()) as received:
        with machine.reaching(received.port):
            supervised(machine, game, node_event_receivers=[{"name": "pager", "url": f"{received.url}/", "secret": SECRET}])
            act(machine, "start")
        before = machine.started_at(uuid_of(game))
        crash(machine, game)
        wait_until(lambda: is_back(machine, game, before), "the server was started again", BACK_SECONDS)
        machine.ssh("date --set '+1 hour'")
        machine.faults.cut()
        time.sleep(20)
        machine.faults.join()
        with machine.reaching(received.port):
            wait_until(lambda: "server.recovered" in [each["type"] for each in received.got], "the events arrive", RETRY_SECONDS)
        numbers = [each["sequence"] for each in received.got]
        assert numbers == sorted(set(numbers), key=int)
