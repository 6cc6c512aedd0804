# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that crashes again and again is started later and later, then given up; and what sets it free."""

from __future__ import annotations

import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time
from ansible_collections.fleet.power.plugins.module_utils._supervisor import connection_watch

from .lab import Lab, ended, wait_until
from .supervisors import Supervising, SupervisingHere, await_run_after, await_verdicts, crash, rows_of, run_of


@pytest.mark.long
def test_the_first_crash_is_answered_at_once_and_the_second_after_ten_seconds_whoever_supervises(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab) as supervising:
        await_run_after(lab, uuid, crash(lab, uuid))
        await_verdicts(lab, uuid, "crashed")
        before = crash(lab, uuid)
        newest, oldest = await_verdicts(lab, uuid, "crashed", "crashed")
        assert (newest.consecutive_crashes, oldest.consecutive_crashes) == (2, 1)
        supervising.kill()
        supervising.begin_again()
        after = await_run_after(lab, uuid, before)
        ended_at, began = engine_time(newest.ended_at), engine_time(after.started_at)
        assert ended_at is not None and began is not None
        assert 9.5 < (began - ended_at).total_seconds() < 14


def test_who_has_given_up_is_set_free_by_a_start_and_by_a_changed_definition(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_watch, "_ALL_SECONDS", 0.5)
    lab.write_settings(supervisor={"max_restarts": 0})
    uuid = lab.up()
    with SupervisingHere(lab):
        before = crash(lab, uuid)
        (row,) = await_verdicts(lab, uuid, "crashed")
        time.sleep(1.5)
        assert (lab.is_up(uuid), row.due, row.consecutive_crashes) == (False, True, 1)
        lab.edit(uuid, environment={"FIXED": "yes"})
        await_run_after(lab, uuid, before)
        wait_until(lambda: rows_of(lab, uuid)[0].next_run == run_of(lab, uuid), "the row says what answered it")
        crash(lab, uuid)
        assert (await_verdicts(lab, uuid, "crashed", "crashed"))[0].consecutive_crashes == 1
        assert ended(lab.power("start", uuid)) == ("done", "")
        wait_until(lambda: not any(row.due for row in rows_of(lab, uuid)), "no start is due")


@pytest.mark.long
def test_a_refused_start_is_told_and_made_at_a_later_step(lab: Lab) -> None:
    uuid = lab.up()
    with Supervising(lab):
        lab.edit(uuid, suspended=True)
        before = crash(lab, uuid)
        wait_until(lambda: [row.code for row in rows_of(lab, uuid)] == ["suspended"], "it is told")
        (row,) = rows_of(lab, uuid)
        assert (row.due, row.consecutive_crashes, row.tries, lab.is_up(uuid)) == (True, 1, 1, False)
        lab.edit(uuid, suspended=False)
        await_run_after(lab, uuid, before)
        wait_until(lambda: [row.code for row in rows_of(lab, uuid)] == [""], "it is told no more")
