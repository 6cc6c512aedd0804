# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that crashes again and again is started later and later, then given up; and what sets it free."""

from __future__ import annotations

import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._supervisor import connection_watch

from .lab import Lab, ended, wait_until
from .supervisors import SupervisingHere, await_run_after, await_verdicts, crash, rows_of, run_of


def test_who_has_given_up_is_set_free_by_a_start_and_by_a_changed_definition(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_watch, "_ALL_SECONDS", 0.5)
    lab.write_settings(supervisor={"max_restarts": 0})
    uuid = lab.up()
    with SupervisingHere(lab):
        before = crash(lab, uuid)
        (row,) = await_verdicts(lab, uuid, "crashed")
        time.sleep(1.5)
        assert (lab.is_up(uuid), row.due, row.in_row) == (False, True, 1)
        lab.edit(uuid, environment={"FIXED": "yes"})
        await_run_after(lab, uuid, before)
        wait_until(lambda: rows_of(lab, uuid)[0].next_run == run_of(lab, uuid), "the row says what answered it")
        crash(lab, uuid)
        assert (await_verdicts(lab, uuid, "crashed", "crashed"))[0].in_row == 1
        assert ended(lab.power("start", uuid)) == ("done", "")
        wait_until(lambda: not any(row.due for row in rows_of(lab, uuid)), "no start is due")
