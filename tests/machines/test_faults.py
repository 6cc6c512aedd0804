# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that only a machine with its own clock, disks and memory can have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

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
    starts,
    supervised,
    verdicts,
)
from ansible_collections.fleet.power.tests.integration.event_sending import EventReceiver

from .machine import Machine

STATE = "/var/lib/fleet-power"
#: A day and a year, on and back.
JUMPS = (86_400, -86_400, 31_536_000, -31_536_000)
#: The longest time until the events service tries a receiver again.
RETRY_SECONDS = 400.0
#: Takes memory until the kernel has ended another process for it, and holds it for 20 seconds.
GREEDY = """
import mmap, time
open("/proc/self/oom_score_adj", "w").write("-1000")
def ended():
    return [line for line in open("/proc/vmstat") if line.startswith("oom_kill ")]
taken, before = [], ended()
while ended() == before:
    taken.append(mmap.mmap(-1, 2**22, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
time.sleep(20)
"""
#: The longest time until the memory is free again, on a loaded machine.
GREEDY_SECONDS = 300.0

pytestmark = pytest.mark.long


def give_own_disk(machine: Machine) -> None:
    """Put the state directory on a disk of its own, which `set_disk` changes."""
    machine.ssh("truncate -s 64M /root/disk && mkfs.ext4 -q /root/disk && modprobe dm-flakey && losetup /dev/loop0 /root/disk")
    machine.ssh("dmsetup create own --table '0 131072 linear /dev/loop0 0' && systemctl stop 'fleet-power-*'")
    machine.ssh(
        f"cp -a {STATE} /root/state && mount /dev/mapper/own {STATE} && cp -a /root/state/. {STATE} && systemctl start {SUPERVISOR}"
    )


def set_disk(machine: Machine, *, fails: bool) -> None:
    """Let each write to the disk fail from now on, or no more."""
    table = "0 131072 flakey /dev/loop0 0 0 3600 1 error_writes" if fails else "0 131072 linear /dev/loop0 0"
    machine.ssh(f"dmsetup suspend --noflush --nolockfs own && dmsetup load own --table '{table}' && dmsetup resume own")


def test_supervisor_and_events_work_on_after_jumps_of_the_clock(machine: Machine) -> None:
    game = server("game")
    with closing(EventReceiver()) as received, machine.reaching(received.port):
        supervised(machine, game, node_event_receivers=[{"name": "pager", "url": f"{received.url}/", "secret": SECRET}])
        act(machine, "start")
        for jump in JUMPS:
            _is_mended_and_reported(machine, game, received, jump)
        found = facts(machine, game)[0]
    assert [row["action"] for row in reversed(found["operations"])] == ["start", *["start", "restart"] * len(JUMPS)]


def _is_mended_and_reported(machine: Machine, game: Mapping[str, Any], received: EventReceiver, jump: int) -> None:
    """After a jump of the clock, a crash is mended and reported once, and a restart works."""
    before, earlier = machine.started_at(uuid_of(game)), len(crashes(received))
    machine.ssh(f"date --set @$(($(date +%s) + {jump}))")
    crash(machine, game)
    wait_until(lambda: is_back(machine, game, before), f"the server is back after {jump} s", BACK_SECONDS)
    wait_until(lambda: len(crashes(received)) > earlier, f"the crash is reported after {jump} s", BACK_SECONDS)
    assert act(machine, "restart", game)["summary"] == {"done": 1}, jump
    assert len(crashes(received)) == earlier + 1


def crashes(received: EventReceiver) -> list[dict[str, Any]]:
    return [each for each in received.got if each["type"] == "server.crashed"]


def test_after_a_clock_is_set_back_each_end_of_the_engine_brings_its_servers_back(ready: Machine) -> None:
    games, late, stopped = [server("one"), server("two")], server("late"), server("stopped")
    ready.define(*games, late, stopped)
    act(ready, "start")
    ready.ssh(f"docker stop -t 1 {uuid_of(stopped)}")
    wait_until(lambda: verdicts(ready, stopped) == [["stopped_externally"]], "its stop is judged")
    kill = "systemctl kill --signal KILL --kill-whom main docker"
    ends = ("systemctl restart docker", kill, f"systemctl stop {SUPERVISOR}; {kill}; sleep 5; systemctl start {SUPERVISOR}")
    for number, end in enumerate(ends):
        before = [ready.started_at(uuid_of(game)) for game in games]
        ready.ssh("date --set @$(($(date +%s) - 3600))")
        if number == 0:
            ready.ssh(f"docker stop -t 1 {uuid_of(late)}")
        ready.ssh(end)
        for game, since in zip(games, before):
            wait_until(lambda game=game, since=since: is_back(ready, game, since), f"it is back after {end}", BACK_SECONDS)
    assert verdicts(ready, *games) == [["engine_stopped"] * len(ends)] * len(games)
    assert verdicts(ready, late, stopped) == [["stopped_externally"]] * 2
    assert not ready.is_up(uuid_of(late)) and not ready.is_up(uuid_of(stopped))


def test_no_action_is_lost_or_invented_on_a_disk_that_fails(ready: Machine) -> None:
    game, other = server("game"), server("other")
    give_own_disk(ready)
    ready.define(game, other)
    act(ready, "start")
    before = ready.started_at(uuid_of(other))
    ready.ssh("sync")

    set_disk(ready, fails=True)
    stopped = act(ready, "stop", game)["servers"][0]
    assert (stopped["outcome"], stopped["code"]) == ("done", "not_durable")
    crash(ready, other)
    time.sleep(10)
    assert "Whether it should be up is unknown: the journal cannot be read." in ready.ssh("fleet-power why other")
    set_disk(ready, fails=False)
    ready.ssh(f"systemctl stop 'fleet-power-*'; umount {STATE}; e2fsck -fy /dev/mapper/own; mount /dev/mapper/own {STATE}")
    ready.ssh(f"systemctl start {SUPERVISOR}")

    wait_until(lambda: is_back(ready, other, before), "the crashed server is back", BACK_SECONDS)
    assert ready.is_up(uuid_of(game)) is False
    assert act(ready, "start", game)["summary"] == {"done": 1}


def test_on_a_read_only_disk_the_supervisor_does_not_start_and_an_action_says_why(ready: Machine) -> None:
    game = server("game")
    give_own_disk(ready)
    ready.define(game)
    act(ready, "start")
    before = ready.started_at(uuid_of(game))
    ready.ssh(f"systemctl stop 'fleet-power-*'; mount -o remount,ro {STATE}")
    said = ready.ssh(f"systemctl start {SUPERVISOR}; journalctl -n 20 -o cat -u {SUPERVISOR}", check=False)
    restarted = act(ready, "restart", game)["servers"][0]
    assert "Traceback" not in said + str(restarted)
    assert "No supervisor, crashed servers stay down" in ready.ssh("fleet-power status 2>/dev/null", check=False)

    ready.ssh(f"mount -o remount,rw {STATE}")
    crash(ready, game)
    wait_until(lambda: is_back(ready, game, before), "the server is back", BACK_SECONDS)


def test_a_machine_without_memory_loses_no_server_and_starts_none_twice(ready: Machine) -> None:
    game = server("game")
    ready.define(game)
    act(ready, "start")
    ready.write("/root/greedy.py", GREEDY)
    ready.ssh("systemd-run --quiet --unit greedy python3 /root/greedy.py")
    wait_until(lambda: ready.ssh("systemctl is-active greedy", check=False).strip() == "inactive", "memory is free again", GREEDY_SECONDS)
    assert "Out of memory: Killed process" in ready.ssh("dmesg")

    active = f"systemctl is-active {SUPERVISOR} docker"
    wait_until(lambda: ready.ssh(active, check=False).split() == ["active"] * 2, "engine and supervisor are up", BACK_SECONDS)
    wait_until(lambda: ready.is_up(uuid_of(game)), "the server is up", BACK_SECONDS)
    ready.ssh("sleep 10")
    (ends,), (begins,) = verdicts(ready, game), starts(ready, game)
    assert begins[1:] == ["supervisor"] * len(ends), ends
    assert act(ready, "restart", game)["summary"] == {"done": 1}


def test_a_minute_of_a_stopped_engine_is_no_end_of_a_server(ready: Machine) -> None:
    game = server("game")
    ready.define(game)
    act(ready, "start")
    before, pid = ready.started_at(uuid_of(game)), pid_of(ready, SUPERVISOR)
    ready.faults.freeze()
    assert act(ready, "restart", game)["servers"][0]["code"] == "engine_unreachable"
    ready.faults.thaw()
    wait_until(lambda: ready.is_up(uuid_of(game)), "the engine answers", BACK_SECONDS)
    time.sleep(10)
    assert (ready.started_at(uuid_of(game)), pid_of(ready, SUPERVISOR)) == (before, pid)
    assert verdicts(ready, game) == [[]]
    assert act(ready, "restart", game)["summary"] == {"done": 1}


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
