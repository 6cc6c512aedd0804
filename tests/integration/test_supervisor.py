# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is meant to be up is up: a server that crashes is started again, one that somebody stopped is not."""

from __future__ import annotations

import time

import pytest

from .lab import Lab, ended, wait_until
from .supervisors import Supervising, await_run_after, await_verdicts, crash, die_in_restart, run_of, verdicts


def test_a_crashed_server_is_started_again_and_has_one_row_that_tells_all(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab):
        before = crash(lab, uuid)
        after = await_run_after(lab, uuid, before)
        (row,) = await_verdicts(lab, uuid, "crashed")
        wait_until(lambda: not rows_due(lab, uuid), "the row is closed")
    (row,) = await_verdicts(lab, uuid, "crashed")
    assert (row.run, row.exit_code, row.oom_killed, row.consecutive_crashes, row.next_run) == (before, 137, False, 1, after)
    assert any("ready" in line for line in row.log)
    node = lab.node()
    operation = node.journal.operations.last(uuid)
    assert operation is not None and (operation.origin, operation.action, operation.outcome) == ("supervisor", "start", "done")
    intent = node.journal.intents.of(uuid)
    assert intent is not None and intent.up and intent.origin != "supervisor"


def rows_due(lab: Lab, uuid: str) -> list[int]:
    return [row.number for row in lab.node().journal.ended_runs.due() if row.server.uuid == uuid]


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_stop_of_ours_is_not_undone_and_is_no_crash(lab: Lab, action: str) -> None:
    uuid = lab.up()
    with Supervising(lab):
        assert ended(lab.power(action, uuid)) == ("done", "")
        time.sleep(1.0)
        assert not lab.is_up(uuid)
        assert verdicts(lab, uuid) == ["stopped"]


def test_a_restart_of_ours_is_no_crash_and_is_done_once(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab):
        assert ended(lab.power("restart", uuid)) == ("done", "")
        after = run_of(lab, uuid)
        time.sleep(1.0)
        assert run_of(lab, uuid) == after
        assert verdicts(lab, uuid) == ["restarting"]


def test_a_restart_whose_process_dies_between_stop_and_start_is_finished(lab: Lab) -> None:
    uuid = lab.up(STOP_SECONDS=4, MARK=1)
    with Supervising(lab):
        before = run_of(lab, uuid)
        with lab.actor("restart", uuid) as actor:
            die_in_restart(lab, uuid, actor)
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "restarting")


def test_what_a_person_stops_at_the_engine_stays_down_for_that_run_alone(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab):
        lab.client.stop(uuid, timeout=1)
        await_verdicts(lab, uuid, "stopped_externally")
        assert not lab.is_up(uuid)
        lab.client.start(uuid)
        wait_until(lambda: lab.node().journal.runs.known_of(uuid).run == run_of(lab, uuid), "the new run was seen")
        before = crash(lab, uuid)
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "crashed", "stopped_externally")


def test_a_crash_while_it_is_dead_is_found_by_the_next(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab) as supervising:
        supervising.kill()
        before = crash(lab, uuid)
        wait_until(lambda: not lab.is_up(uuid), "it is down")
        supervising.begin_again()
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "crashed")


def test_the_first_server_of_a_node_that_crashes_while_it_is_dead_was_up_before(lab: Lab) -> None:
    """A node that had nobody has been looked at nevertheless."""
    with Supervising(lab) as supervising:
        uuid = lab.up()
        supervising.kill()
        before = crash(lab, uuid)
        supervising.begin_again()
        await_run_after(lab, uuid, before)
        await_verdicts(lab, uuid, "crashed")
