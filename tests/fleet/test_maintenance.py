# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance starts the same servers again, in order and once, and refuses a node before it stops any server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from .lab import Lease, adhoc, phase_of, playbook, playbook_begun, server, uuid_of, wait_until
from .maintenance import FAR_SECONDS, MARK, RECORD, boot_of, run_with, starts, text_of, times, work, write_record
from .ran import words_of


def test_running_servers_are_down_for_the_work_and_start_in_order_after_it(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    proxy, lobby, game, idle = server("proxy", priority=1), server("lobby", priority=50), server("game"), server("idle")
    run_with(node, [proxy, lobby, game], [idle])
    before = [times(node, each) for each in (proxy, lobby, game)]

    todo = work(tmp_path, f"touch /{MARK}")
    checked = playbook("maintenance", [node], "--check", maintenance_reboot=True, maintenance_tasks=todo)
    assert checked.rc == 0
    assert [times(node, each) for each in (proxy, lobby, game)] == before
    assert text_of(node, RECORD) == ""
    assert not node.has(MARK)

    ran = playbook(
        "maintenance", [node], maintenance_stagger=4, maintenance_tasks=work(tmp_path, f"(echo running:; docker ps -q) > /{MARK}")
    )
    assert ran.rc == 0
    assert "3 of 3 servers are back" in ran.stdout
    assert text_of(node, MARK) == "running:\n"
    ended, started = zip(*(times(node, each) for each in (proxy, lobby, game)))
    assert list(ended) == sorted(ended, reverse=True)
    moments = [datetime.fromisoformat(f"{each[:26]}+00:00") for each in started]
    gaps = [(later - earlier).total_seconds() for earlier, later in zip(moments, moments[1:])]
    # The stagger is four seconds. A busy engine may need two of them until the container runs.
    assert all(gap > 2 for gap in gaps), gaps
    assert all(node.is_up(uuid_of(each)) for each in (proxy, lobby, game))
    assert not node.is_up(uuid_of(idle))
    assert text_of(node, RECORD) == ""


@pytest.mark.long
def test_the_next_run_finishes_a_killed_start_and_stops_no_server(lease: Lease) -> None:
    (node,) = lease(1)
    one, two, three = server("one", priority=1), server("two", priority=2, BOOT_SECONDS=2), server("three", priority=3)
    run_with(node, [one, two, three], [])
    before = node.started_at(uuid_of(one))
    going = playbook_begun("maintenance", [node])
    wait_until(lambda: node.is_up(uuid_of(one)) and node.started_at(uuid_of(one)) != before, "the first server is back", FAR_SECONDS)
    going.kill()
    going.finish()
    back = node.started_at(uuid_of(one))

    ran = playbook("maintenance", [node], maintenance_reboot=True)
    assert ran.rc == 0
    assert "the work is done" in ran.stdout
    assert node.started_at(uuid_of(one)) == back
    assert starts(node, one, two, three) == [2, 2, 2]
    assert text_of(node, RECORD) == ""


@pytest.mark.long
def test_a_node_reboots_once_if_a_kill_separates_reboot_and_start(lease: Lease) -> None:
    (node,) = lease(1)
    proxy, game, idle = server("proxy", priority=1), server("game"), server("idle")
    run_with(node, [proxy, game], [idle])
    before = boot_of(node)
    going = playbook_begun("maintenance", [node], maintenance_reboot=True)
    wait_until(lambda: '"phase": "reboot"' in text_of(node, RECORD), "the reboot is near", FAR_SECONDS)
    wait_until(lambda: boot_of(node) not in (before, ""), "the node is up again", FAR_SECONDS)
    going.kill()
    going.finish()
    rebooted = boot_of(node)
    assert not node.is_up(uuid_of(proxy)) and not node.is_up(uuid_of(game))

    assert playbook("maintenance", [node], maintenance_reboot=True).rc == 0
    assert boot_of(node) == rebooted
    assert [node.is_up(uuid_of(each)) for each in (proxy, game, idle)] == [True, True, False]
    assert starts(node, proxy, game) == [2, 2]
    assert node.started_at(uuid_of(proxy)) < node.started_at(uuid_of(game)), "in order"


@pytest.mark.long
def test_maintenance_respects_actions_and_changes_of_others_since_its_stop(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    kept, stopped, before, suspended, removed, started = (
        server(name) for name in ("kept", "stopped", "before", "suspended", "removed", "started")
    )
    run_with(node, [kept, stopped, before, suspended, removed], [started])
    failed = playbook("maintenance", [node], maintenance_tasks=work(tmp_path, "exit 1"))
    assert failed.rc != 0
    assert "and the stopped ones stay down until then" in failed.stdout
    assert not node.is_up(uuid_of(kept))

    adhoc([node], "fleet.power.server_power", f"server={uuid_of(stopped)} action=stop")
    adhoc([node], "fleet.power.server_power", f"server={uuid_of(started)} action=start")
    # Before a stop by a maintenance, which finds the server down already.
    adhoc([node], "fleet.power.server_power", f"server={uuid_of(before)} action=start")
    adhoc([node], "fleet.power.server_power", f"server={uuid_of(before)} action=stop")
    adhoc([node], "fleet.power.server_power", f"server={uuid_of(before)} action=stop origin='colleague (maintenance)'")
    suspended["settings"]["suspended"] = True
    node.define(suspended)
    node.ssh(f"docker rm -v {uuid_of(removed)}; rm /etc/fleet-power/servers/{uuid_of(removed)}.json")
    node.ssh(f"rm /var/lib/fleet-power/definitions/{uuid_of(removed)}.json")

    ran = playbook("maintenance", [node])
    assert ran.rc == 0
    assert [node.is_up(uuid_of(each)) for each in (kept, stopped, before, suspended, started)] == [True, False, False, False, True]
    assert "stopped stays down: somebody has stopped it since" in ran.stdout
    assert "before stays down: somebody has stopped it since" in ran.stdout
    assert "suspended stays down: it is suspended" in ran.stdout
    assert f"{uuid_of(removed)} no longer exists" in ran.stdout
    assert text_of(node, RECORD) == ""


@pytest.mark.long
def test_maintenance_reports_a_server_that_stays_down_and_the_next_run_starts_it(lease: Lease) -> None:
    first, second = lease(2)
    good, bad, other = server("good"), server("bad"), server("other")
    run_with(first, [good, bad], [])
    run_with(second, [other], [])
    untouched = second.started_at(uuid_of(other))
    bad["settings"]["environment"]["CRASH_AFTER"] = 0
    bad["settings"]["environment"]["BOOT_SECONDS"] = 5
    first.define(bad)

    failed = playbook("maintenance", [first, second])
    assert failed.rc != 0
    assert "Cannot start all servers again: bad: " in words_of(failed) and "(start_failed)" in words_of(failed)
    assert f"the other nodes were not begun: {second.name}" in words_of(failed)
    assert "which the next run starts if they are down" in failed.stdout
    assert text_of(first, RECORD) != ""
    assert second.started_at(uuid_of(other)) == untouched
    back = first.started_at(uuid_of(good))

    bad["settings"]["environment"] = {}
    first.define(bad)
    assert playbook("maintenance", [first]).rc == 0
    assert first.started_at(uuid_of(good)) == back
    assert first.is_up(uuid_of(bad))
    assert text_of(first, RECORD) == ""


@pytest.mark.long
def test_maintenance_does_not_reboot_a_node_during_another_stop(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    held, free = server("held", STOP_SECONDS=60), server("free")
    run_with(node, [held, free], [])
    before = boot_of(node)
    begun = ThreadPoolExecutor(1).submit(adhoc, [node], "fleet.power.server_power", f"server={uuid_of(held)} action=stop")
    wait_until(lambda: phase_of(node, held) == "stop", "the server is being stopped", FAR_SECONDS)

    todo = {"maintenance_reboot": True, "maintenance_wait_seconds": 1, "maintenance_tasks": work(tmp_path, f"touch /{MARK}")}
    refused = playbook("maintenance", [node], **todo)
    assert refused.rc != 0
    assert "lock_timeout" in refused.stdout
    assert "run this again" in refused.stdout
    assert boot_of(node) == before
    assert not node.has(MARK)

    adhoc([node], "fleet.power.server_power", f"server={uuid_of(held)} action=kill")
    begun.result()
    assert playbook("maintenance", [node], **{**todo, "maintenance_reboot": False}).rc == 0
    assert [node.is_up(uuid_of(each)) for each in (held, free)] == [False, True]


@pytest.mark.long
def test_a_silent_engine_ends_maintenance_soon_and_before_any_stop(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    each = server("each")
    run_with(node, [each], [])
    before = node.started_at(uuid_of(each))
    node.faults.freeze()
    try:
        todo = work(tmp_path, f"touch /{MARK}")
        ran = playbook("maintenance", [node], maintenance_tasks=todo, power_options={"timeout": 3})
    finally:
        node.faults.thaw()
    assert ran.rc != 0
    assert f"Cannot finish the maintenance of {node.name}: Cannot " in words_of(ran)
    assert "this run has stopped no server; correct the cause and run this again" in words_of(ran)
    assert node.started_at(uuid_of(each)) == before
    assert not node.has(MARK)
    assert text_of(node, RECORD) == ""
    # The wait of 120 s for the engine is only for a reboot. Most of this time is for a busy machine.
    assert ran.seconds < 90


@pytest.mark.long
def test_maintenance_refuses_a_second_run_on_the_same_node(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    each = server("each")
    run_with(node, [each], [])
    todo = work(tmp_path, f"echo once >> /{MARK}; while test ! -e /run/fleet-power/go; do sleep 0.1; done")
    first = playbook_begun("maintenance", [node], maintenance_tasks=todo)
    wait_until(lambda: text_of(node, MARK), "the first run has begun its work", FAR_SECONDS)
    second = playbook("maintenance", [node], maintenance_tasks=todo, maintenance_reboot=True)
    node.write("/run/fleet-power/go", "")
    assert second.rc != 0
    assert "is maintaining this node, with process " in words_of(second)
    assert "this run has stopped no server" in words_of(second)
    ran = first.finish()
    assert ran.rc == 0, ran.output
    assert text_of(node, MARK) == "once\n"
    assert node.is_up(uuid_of(each))


@pytest.mark.long
def test_maintenance_takes_over_another_controllers_run_only_on_request(lease: Lease) -> None:
    (node,) = lease(1)
    holder = {"by": "alice@web1", "controller": "web1", "pid": 4711}
    kept = write_record(node, holder=holder)
    refused = playbook("maintenance", [node])
    assert refused.rc != 0
    assert "alice@web1 may still be maintaining this node, with process 4711 on web1" in words_of(refused)
    assert "add -e maintenance_take_over=true" in words_of(refused)
    assert text_of(node, RECORD) == kept
    assert playbook("maintenance", [node], maintenance_take_over="true").rc == 0
    assert text_of(node, RECORD) == ""


@pytest.mark.long
def test_maintenance_refuses_and_keeps_an_unreadable_record(lease: Lease) -> None:
    (node,) = lease(1)
    where = f"Cannot read /{RECORD} on {node.name}:"
    node.write(f"/{RECORD}", '{"schema": 1, "phase": "st')
    ran = playbook("maintenance", [node])
    assert ran.rc != 0
    assert f"{where} it is not JSON; correct it, or start the servers that should be up by hand and remove the file" in words_of(ran)
    assert text_of(node, RECORD) == '{"schema": 1, "phase": "st'

    kept = write_record(node, schema=2)
    ran = playbook("maintenance", [node])
    assert ran.rc != 0
    assert f"{where} a newer fleet.power wrote it, with version 2; update fleet.power" in words_of(ran)
    assert text_of(node, RECORD) == kept
