# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance refuses a node that it cannot have for itself, and one that does not answer, before anything is stopped there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .lab import Lease, adhoc, phase_of, playbook, playbook_begun, server, uuid_of, wait_until
from .maintenance import FAR_SECONDS, MARK, MEMORY, boot_of, run_with, text_of, work
from .ran import words_of


@pytest.mark.long
def test_a_node_with_a_server_under_another_stop_is_not_rebooted(lease: Lease, tmp_path: Path) -> None:
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
