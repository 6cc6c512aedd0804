# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance brings back exactly what ran, in order, once, wherever an earlier run was cut off."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from .lab import Lease, Node, Ran, adhoc, inventory, phase_of, playbook, playbook_begun, server, uuid_of, wait_until

MEMORY = "var/lib/fleet-power/maintenance.json"
#: Where tasks leave a mark: what a node keeps there is gone with the next lease.
MARK = "var/lib/fleet-power/work"
#: Longest that a run of Ansible may take to get to some point on a loaded machine.
FAR_SECONDS = 120.0


def run_with(node: Node, running: list[dict[str, Any]], offline: list[dict[str, Any]]) -> None:
    """Define servers, and have some of them run."""
    node.define(*running, *offline)
    names = ",".join(uuid_of(each) for each in running)
    result = adhoc([node], "fleet.power.server_power", f"server={names} action=start wait_for=running")[node.name]
    assert result["summary"] == {"done": len(running)}


def starts(node: Node, *definitions: dict[str, Any]) -> list[int]:
    """How often the journal says that each server was started."""
    names = ",".join(uuid_of(each) for each in definitions)
    shown = adhoc([node], "fleet.power.server_power_info", f"server={names} operations=100")[node.name]
    found = {each["server"]: [(row["action"], row["outcome"]) for row in each["operations"]] for each in shown["servers"]}
    return [found[uuid_of(each)].count(("start", "done")) for each in definitions]


def times(node: Node, definition: dict[str, Any]) -> tuple[str, str]:
    """When a server ended last, and when it started last."""
    found = node.container(uuid_of(definition))
    assert found is not None
    return found["State"]["FinishedAt"], found["State"]["StartedAt"]


def text_of(node: Node, path: str) -> str:
    """A file of a node, empty if there is none, or no node."""
    with contextlib.suppress(OSError, AssertionError):
        return (node.root / path).read_text(errors="replace")
    return ""


def words_of(ran: Ran) -> str:
    """What a run said, without the breaks of its lines."""
    return " ".join(ran.output.split())


def boot_of(node: Node) -> str:
    return node.ssh("cat /proc/sys/kernel/random/boot_id", check=False).strip()


def work(directory: Path, command: str) -> str:
    """A task file that runs a command on the node while its servers are down."""
    path = directory / f"work-{time.monotonic_ns()}.yml"
    path.write_text(json.dumps([{"name": "Work", "ansible.builtin.shell": command}]))
    return str(path)


def test_what_ran_is_down_for_the_work_and_back_in_order_and_nothing_else_is(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    proxy, lobby, game, idle = server("proxy", priority=1), server("lobby", priority=50), server("game"), server("idle")
    run_with(node, [proxy, lobby, game], [idle])
    before = [times(node, each) for each in (proxy, lobby, game)]

    todo = work(tmp_path, f"touch /{MARK}")
    checked = playbook("maintenance", [node], "--check", maintenance_reboot=True, maintenance_tasks=todo)
    assert checked.rc == 0
    assert [times(node, each) for each in (proxy, lobby, game)] == before
    assert text_of(node, MEMORY) == ""
    assert not (node.root / MARK).exists()

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
    # From one beginning to the next it is four seconds; until a container runs the engine takes some of one, on a busy machine two.
    assert all(gap > 2 for gap in gaps), gaps
    assert all(node.is_up(uuid_of(each)) for each in (proxy, lobby, game))
    assert not node.is_up(uuid_of(idle))
    assert text_of(node, MEMORY) == ""


@pytest.mark.long
def test_a_run_killed_during_the_stop_is_finished_by_the_next(lease: Lease) -> None:
    (node,) = lease(1)
    first, slow, idle = server("first"), server("slow", priority=1, STOP_SECONDS=4), server("idle")
    run_with(node, [first, slow], [idle])
    going = playbook_begun("maintenance", [node])
    wait_until(lambda: not node.is_up(uuid_of(first)), "the first is down", FAR_SECONDS)
    going.kill()
    going.finish()

    assert playbook("maintenance", [node]).rc == 0
    assert [node.is_up(uuid_of(each)) for each in (first, slow, idle)] == [True, True, False]
    assert starts(node, first, slow, idle) == [2, 2, 0]
    assert text_of(node, MEMORY) == ""


@pytest.mark.long
def test_a_run_killed_during_the_start_is_finished_by_the_next_which_stops_nothing(lease: Lease) -> None:
    (node,) = lease(1)
    one, two, three = server("one", priority=1), server("two", priority=2, BOOT_SECONDS=2), server("three", priority=3)
    run_with(node, [one, two, three], [])
    before = node.started_at(uuid_of(one))
    going = playbook_begun("maintenance", [node])
    wait_until(lambda: node.is_up(uuid_of(one)) and node.started_at(uuid_of(one)) != before, "the first is back", FAR_SECONDS)
    going.kill()
    going.finish()
    back = node.started_at(uuid_of(one))

    ran = playbook("maintenance", [node], maintenance_reboot=True)
    assert ran.rc == 0
    assert "the work is done" in ran.stdout
    assert node.started_at(uuid_of(one)) == back
    assert starts(node, one, two, three) == [2, 2, 2]
    assert text_of(node, MEMORY) == ""


def test_a_node_reboots_once_though_the_run_is_killed_between_reboot_and_start(lease: Lease) -> None:
    (node,) = lease(1)
    runs, idle = server("runs"), server("idle")
    run_with(node, [runs], [idle])
    before = boot_of(node)
    going = playbook_begun("maintenance", [node], maintenance_reboot=True)
    wait_until(lambda: '"phase": "reboot"' in text_of(node, MEMORY), "the reboot is near", FAR_SECONDS)
    wait_until(lambda: boot_of(node) not in (before, ""), "the node is up again", FAR_SECONDS)
    going.kill()
    going.finish()
    rebooted = boot_of(node)
    assert not node.is_up(uuid_of(runs))

    assert playbook("maintenance", [node], maintenance_reboot=True).rc == 0
    assert boot_of(node) == rebooted
    assert [node.is_up(uuid_of(each)) for each in (runs, idle)] == [True, False]
    assert starts(node, runs) == [2]


@pytest.mark.long
def test_a_node_whose_server_somebody_else_is_stopping_is_neither_worked_on_nor_rebooted(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    held, free = server("held", STOP_SECONDS=60), server("free")
    run_with(node, [held, free], [])
    before = boot_of(node)
    begun = ThreadPoolExecutor(1).submit(adhoc, [node], "fleet.power.server_power", f"server={uuid_of(held)} action=stop")
    wait_until(lambda: phase_of(node, held) == "stop", "it is being stopped", FAR_SECONDS)

    todo = {"maintenance_reboot": True, "maintenance_wait_seconds": 1, "maintenance_tasks": work(tmp_path, f"touch /{MARK}")}
    refused = playbook("maintenance", [node], **todo)
    assert refused.rc != 0
    assert "lock_timeout" in refused.stdout
    assert "run this again" in refused.stdout
    assert boot_of(node) == before
    assert not (node.root / MARK).exists()

    adhoc([node], "fleet.power.server_power", f"server={uuid_of(held)} action=kill")
    begun.result()
    assert playbook("maintenance", [node], **{**todo, "maintenance_reboot": False}).rc == 0
    assert [node.is_up(uuid_of(each)) for each in (held, free)] == [False, True]


@pytest.mark.long
def test_what_others_started_stopped_suspended_or_removed_meanwhile_is_respected(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    kept, stopped, before, suspended, removed, started = (
        server(name) for name in ("kept", "stopped", "before", "suspended", "removed", "started")
    )
    run_with(node, [kept, stopped, before, suspended, removed], [started])
    failed = playbook("maintenance", [node], maintenance_tasks=work(tmp_path, "exit 1"))
    assert failed.rc != 0
    assert "what was stopped stays down until then" in failed.stdout
    assert not node.is_up(uuid_of(kept))

    adhoc([node], "fleet.power.server_power", f"server={uuid_of(stopped)} action=stop")
    adhoc([node], "fleet.power.server_power", f"server={uuid_of(started)} action=start")
    # Just before a stop of the maintenance, which finds nothing left to do.
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
    assert "stopped was left down: somebody has stopped it since" in ran.stdout
    assert "before was left down: somebody has stopped it since" in ran.stdout
    assert "suspended was left down: it is suspended" in ran.stdout
    assert f"{uuid_of(removed)} is not there any more" in ran.stdout
    assert text_of(node, MEMORY) == ""


@pytest.mark.long
def test_a_server_that_does_not_come_back_is_told_and_the_next_run_brings_back_that_one_alone(lease: Lease) -> None:
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
    assert "bad: start_failed" in failed.stdout
    assert f"no other node is begun: {second.name}" in words_of(failed)
    assert "those that are not back yet will be started" in failed.stdout
    assert text_of(first, MEMORY) != ""
    assert second.started_at(uuid_of(other)) == untouched
    back = first.started_at(uuid_of(good))

    bad["settings"]["environment"] = {}
    first.define(bad)
    assert playbook("maintenance", [first]).rc == 0
    assert first.started_at(uuid_of(good)) == back
    assert first.is_up(uuid_of(bad))
    assert text_of(first, MEMORY) == ""


@pytest.mark.long
def test_the_nodes_of_a_batch_finish_though_one_fails_and_no_other_batch_begins(lease: Lease, tmp_path: Path) -> None:
    nodes = lease(3)
    servers = [server(node.name) for node in nodes]
    for node, each in zip(nodes, servers):
        run_with(node, [each], [])
    before = [node.started_at(uuid_of(each)) for node, each in zip(nodes, servers)]
    todo = work(tmp_path, f"test $(uname -n) != {nodes[0].name}")
    ran = playbook("maintenance", nodes, maintenance_serial=2, maintenance_tasks=todo)
    assert ran.rc != 0
    assert [node.is_up(uuid_of(each)) for node, each in zip(nodes, servers)] == [False, True, True]
    after = [node.started_at(uuid_of(each)) for node, each in zip(nodes, servers)]
    assert [was == now for was, now in zip(before, after)] == [True, False, True]
    assert f"No other node is begun, since {nodes[0].name} failed: {nodes[2].name}; see to it" in words_of(ran)


@pytest.mark.long
def test_a_node_that_cannot_be_reached_is_told_and_no_other_is_begun(lease: Lease) -> None:
    cut, other = lease(2)
    each = server("each")
    run_with(other, [each], [])
    before = other.started_at(uuid_of(each))
    cut.cut()
    try:
        ran = playbook("maintenance", [cut, other])
    finally:
        cut.join()
    assert ran.rc != 0
    told = words_of(ran)
    assert f"Cannot maintain {cut.name}: it cannot be reached: " in told
    assert f"nothing was done there, see to it and run this again; no other node is begun: {other.name}" in told
    assert other.started_at(uuid_of(each)) == before


@pytest.mark.long
def test_a_silent_engine_ends_the_run_before_anything_is_stopped_and_soon(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    each = server("each")
    run_with(node, [each], [])
    before = node.started_at(uuid_of(each))
    node.freeze()
    try:
        todo = work(tmp_path, f"touch /{MARK}")
        ran = playbook("maintenance", [node], maintenance_tasks=todo, power_options={"timeout": 3})
    finally:
        node.thaw()
    assert ran.rc != 0
    assert f"Cannot finish the maintenance of {node.name}: Cannot " in words_of(ran)
    assert "this run has stopped nothing; see to it and run this again" in words_of(ran)
    assert node.started_at(uuid_of(each)) == before
    assert not (node.root / MARK).exists()
    assert text_of(node, MEMORY) == ""
    # It is not waited for as it is after a reboot, 120 s; the rest is a busy machine's.
    assert ran.seconds < 90


@pytest.mark.long
def test_an_engine_that_stays_silent_after_the_work_is_waited_for_as_long_as_is_said_and_no_longer(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    each = server("each")
    run_with(node, [each], [])
    todo = work(tmp_path, f"touch /{MARK}; kill -STOP $(cat /run/docker.pid)")
    ran = playbook("maintenance", [node], maintenance_tasks=todo, maintenance_engine_timeout=9, power_options={"timeout": 3})
    ended = time.time()
    node.thaw()
    assert ran.rc != 0
    assert "1 servers are remembered" in words_of(ran) and "those that are not back yet will be started" in words_of(ran)
    # The look that has begun when the time is over ends three seconds later; the rest is Ansible's own.
    assert 9 <= ended - (node.root / MARK).stat().st_mtime < 9 + 3 + 12
    assert playbook("maintenance", [node]).rc == 0
    assert node.is_up(uuid_of(each))


@pytest.mark.long
def test_a_second_run_is_refused_while_the_first_is_at_the_node(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    each = server("each")
    run_with(node, [each], [])
    todo = work(tmp_path, f"echo once >> /{MARK}; while test ! -e /run/fleet-power/go; do sleep 0.1; done")
    first = playbook_begun("maintenance", [node], maintenance_tasks=todo)
    wait_until(lambda: text_of(node, MARK), "the first is at work", FAR_SECONDS)
    second = playbook("maintenance", [node], maintenance_tasks=todo, maintenance_reboot=True)
    node.write("/run/fleet-power/go", "")
    assert second.rc != 0
    assert "is at the maintenance of this node, process " in words_of(second)
    assert "this run has stopped nothing" in words_of(second)
    ran = first.finish()
    assert ran.rc == 0, ran.output
    assert text_of(node, MARK) == "once\n"
    assert node.is_up(uuid_of(each))


def memory(node: Node, **fields: Any) -> str:
    """Write a memory, as a run of this role would or not; its text."""
    known = {"schema": 1, "phase": "start", "boot_id": "b", "begun_at": "2026-01-31T03:00:00Z", "begun_by": "alice@web1", "servers": []}
    text = json.dumps({**known, **fields})
    node.write(f"/{MEMORY}", text)
    return text


@pytest.mark.long
def test_what_a_run_on_another_controller_began_is_gone_on_with_only_if_that_is_said(lease: Lease) -> None:
    (node,) = lease(1)
    holder = {"by": "alice@web1", "controller": "web1", "pid": 4711}
    kept = memory(node, holder=holder)
    refused = playbook("maintenance", [node])
    assert refused.rc != 0
    assert "alice@web1 began a run on web1 that may still be at the maintenance of this node, process 4711" in words_of(refused)
    assert "add -e maintenance_take_over=true" in words_of(refused)
    assert text_of(node, MEMORY) == kept
    assert playbook("maintenance", [node], maintenance_take_over="true").rc == 0
    assert text_of(node, MEMORY) == ""


@pytest.mark.long
def test_a_memory_that_is_not_understood_is_refused_by_its_name_and_kept(lease: Lease) -> None:
    (node,) = lease(1)
    where = f"Cannot read /{MEMORY} on {node.name}: it is"
    node.write(f"/{MEMORY}", '{"schema": 1, "phase": "st')
    ran = playbook("maintenance", [node])
    assert ran.rc != 0
    assert f"{where} no JSON; correct it, or start by hand what should be up and remove it" in words_of(ran)
    assert text_of(node, MEMORY) == '{"schema": 1, "phase": "st'

    kept = memory(node, schema=2)
    ran = playbook("maintenance", [node])
    assert ran.rc != 0
    assert f"{where} of version 2, written by a newer fleet.power; update this one" in words_of(ran)
    assert text_of(node, MEMORY) == kept

    wrong: list[dict[str, Any]] = [{"servers": ["../../x"]}, {"servers": {}}, {"phase": "bogus"}, {"holder": "me"}, {"holder": {"pid": 1}}]
    texts = [*(memory(node, **changed) for changed in wrong), "{}", "[]", ""]
    # All of them at once, as if each were a node of its own.
    there = inventory([replace(node, name=f"case-{number}") for number in range(len(texts))])
    read = json.loads(there.read_text())
    for number, text in enumerate(texts):
        read["all"]["children"]["nodes"]["hosts"][f"case-{number}"]["maintenance_memory"] = f"/{MEMORY}.{number}"
        node.write(f"/{MEMORY}.{number}", text)
    there.write_text(json.dumps(read))
    said = words_of(playbook("maintenance", there, maintenance_serial=len(texts)))
    for number, text in enumerate(texts):
        fault = "not what this role wrote" if number < len(wrong) else ""
        assert f"Cannot read /{MEMORY}.{number} on case-{number}: it {'is ' if fault else ''}{fault}" in said
        assert text_of(node, f"{MEMORY}.{number}") == text


def test_what_looking_and_acting_do_not_share_and_what_is_out_of_bounds_is_refused_before_anything_is_done(lease: Lease) -> None:
    (node,) = lease(1)
    ran = playbook("maintenance", [node], power_options={"adopt": True})
    assert ran.rc != 0
    assert "Cannot use adopt in maintenance_options: only what looking and acting share may stand there" in words_of(ran)
    ran = playbook("maintenance", [node], maintenance_stagger=5000)
    assert ran.rc != 0
    assert "Cannot use maintenance_stagger=5000: expected a whole number from 0 to 3600" in words_of(ran)
