# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolling runs and maintenance with regard to players. Of these servers nobody can tell who plays, which counts as somebody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .lab import Lease, bring_up, playbook, playbook_begun, server, uuid_of, wait_until
from .maintenance import MARK, MEMORY, boot_of, work
from .ran import recap, words_of
from .rollout import operations, outcomes, result_of, resume_files, runs_of


@pytest.mark.long
def test_who_is_skipped_for_players_stops_nothing_and_is_left_for_the_next_run(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    played, empty = server("played"), server("empty")
    bring_up({first: [played], second: [empty]})
    second.ssh(f"docker stop -t 1 {uuid_of(empty)}")
    before = runs_of(first, [played])

    # One that is down has no players.
    ran = playbook("rolling_restart", [first, second], power_servers="played,empty", rollout_players_at_most=0, rollout_warn_message="x")
    assert ran.rc == 2
    result = result_of(tmp_path)
    assert outcomes(result) == {"played": "not_done players_unknown", "empty": "done"}
    assert (result["stopped"], result["budget"]) == (None, {"allowed": 0, "used": 0})
    assert (result["counts"]["not_done"], result["counts"]["for_players"]) == (1, 1)
    assert "restart of 2 in 2 of 2 batches: 1 done, 1 skipped for players" in ran.stdout
    assert recap(ran) == {first.name: 1, second.name: 0, "localhost": 0}
    assert runs_of(first, [played]) == before
    (resume,) = resume_files(tmp_path)
    assert json.loads(resume.read_text())["not_done"] == [f"{first.name} played: players_unknown"]

    resumed = playbook("rolling_restart", [first, second], rollout_resume=str(resume))
    assert resumed.rc == 0, resumed.output
    assert outcomes(result_of(tmp_path)) == {"played": "done"}
    assert resume_files(tmp_path) == []


@pytest.mark.long
def test_a_run_that_was_killed_while_it_waited_for_players_is_taken_up(lease: Lease, tmp_path: Path) -> None:
    (node,) = lease(1)
    played = server("played")
    bring_up({node: [played]})
    polite = {"rollout_players_at_most": 0, "rollout_max_delay": 600}
    going = playbook_begun("rolling_restart", [node], **polite)
    wait_until(lambda: "waiting for players" in going.stdout, "it waits for players", 60)
    going.kill()
    (resume,) = resume_files(tmp_path)
    assert json.loads(resume.read_text())["not_done"] == [f"{node.name} played: in flight"]
    resumed = playbook("rolling_restart", [node], rollout_resume=str(resume), rollout_resume_wait=300)
    assert resumed.rc == 0, resumed.output
    assert outcomes(result_of(tmp_path)) == {"played": "done"}
    assert len([row for row in operations(node, played) if row["outcome"] == "done"]) == 1


@pytest.mark.long
def test_a_node_left_to_its_players_is_not_rebooted_and_the_next_one_is(lease: Lease, tmp_path: Path) -> None:
    first, second = lease(2)
    played, other = server("played", priority=1), server("other")
    bring_up({first: [played], second: [other]})
    second.ssh(f"docker stop -t 1 {uuid_of(other)}")
    before = boot_of(first), boot_of(second), runs_of(first, [played])
    todo = {"maintenance_reboot": True, "maintenance_tasks": work(tmp_path, f"touch /{MARK}"), "maintenance_players_at_most": 0}

    ran = playbook("maintenance", [first, second], **todo)
    assert ran.rc != 0
    assert f"Cannot maintain {first.name}: players may be on played; it was neither worked on nor rebooted" in words_of(ran)
    assert recap(ran) == {first.name: 1, second.name: 0}
    assert (boot_of(first), runs_of(first, [played])) == (before[0], before[2])
    assert boot_of(second) != before[1]
    assert [(node.root / MARK).exists() for node in (first, second)] == [False, True]
    assert not (first.root / MEMORY).exists()

    del todo["maintenance_players_at_most"]
    again = playbook("maintenance", [first], **todo)
    assert again.rc == 0, again.output
    assert boot_of(first) != before[0]
    assert first.is_up(uuid_of(played))
