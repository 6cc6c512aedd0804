# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance refuses a node that it cannot have for itself, and one that does not answer, before anything is stopped there."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .lab import Lease, adhoc, inventory, phase_of, playbook, playbook_begun, server, uuid_of, wait_until
from .maintenance import FAR_SECONDS, MARK, MEMORY, boot_of, memory, run_with, text_of, work
from .ran import words_of


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
def test_a_node_that_cannot_be_reached_is_told_and_no_other_is_begun(lease: Lease) -> None:
    cut, other = lease(2)
    each = server("each")
    run_with(other, [each], [])
    before = other.started_at(uuid_of(each))
    cut.faults.cut()
    try:
        ran = playbook("maintenance", [cut, other])
    finally:
        cut.faults.join()
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
    node.faults.freeze()
    try:
        todo = work(tmp_path, f"touch /{MARK}")
        ran = playbook("maintenance", [node], maintenance_tasks=todo, power_options={"timeout": 3})
    finally:
        node.faults.thaw()
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
    node.faults.thaw()
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
        read["all"]["children"]["nodes"]["hosts"][f"case-{number}"]["maintenance_record"] = f"/{MEMORY}.{number}"
        node.write(f"/{MEMORY}.{number}", text)
    there.write_text(json.dumps(read))
    said = words_of(playbook("maintenance", there, maintenance_serial=len(texts)))
    for number, text in enumerate(texts):
        fault = "not what this role wrote" if number < len(wrong) else ""
        assert f"Cannot read /{MEMORY}.{number} on case-{number}: it {'is ' if fault else ''}{fault}" in said
        assert text_of(node, f"{MEMORY}.{number}") == text


@pytest.mark.long
def test_what_looking_and_acting_do_not_share_and_what_is_out_of_bounds_is_refused_before_anything_is_done(lease: Lease) -> None:
    (node,) = lease(1)
    ran = playbook("maintenance", [node], power_options={"adopt": True})
    assert ran.rc != 0
    assert "Cannot use adopt in maintenance_options: only what looking and acting share may stand there" in words_of(ran)
    ran = playbook("maintenance", [node], maintenance_stagger=5000)
    assert ran.rc != 0
    assert "Cannot use maintenance_stagger=5000: expected a whole number from 0 to 3600" in words_of(ran)
