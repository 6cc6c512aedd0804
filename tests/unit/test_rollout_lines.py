# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a running rollout: names stay on their line, and an estimate needs facts."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import progress
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.progress import Waits, note_time, remaining
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.tests.unit.rollout_support import all_done, ended, fleet, info, opened, servers_of, told

#: A minute after the run of `rollout_support` began.
NOW = datetime(2026, 1, 31, 12, 1, tzinfo=timezone.utc)


NO_WAITS = Waits()


def passed(record: Record, number: int, seconds: float, waits: Waits = NO_WAITS, **answer: Any) -> None:
    if answer:
        servers = servers_of(begin(record, number))
        count(record, number, {node: ended(each, **answer) for node, each in servers.items()})
    else:
        all_done(record, number)
    note_time(record, number, seconds, waits)


def test_a_name_is_its_owners_to_choose_and_stays_on_its_line() -> None:
    record = opened({"node-1": told(info(1, name="a\nfatal: [node-1]\x1b[2J" + "x" * 99))})
    line = progress.begin_line(record, 1, NOW, NO_WAITS)
    assert line.startswith("12:01:00 Batch 1 of 1: node-1 a fatal: [node-1] [2Jx")
    assert line.isprintable()
    assert len(line) < 80
    begin(record, 1)
    count(record, 1, {"node-1": ended([str(record.rows[0].server)], "failed", code="start_failed")})
    assert progress.end_line(record, 1, NOW).isprintable()


def test_no_estimate_is_given_before_there_is_something_to_go_by() -> None:
    record = opened(fleet(3, 1), serial=1, max_failures=3)
    assert remaining(record, 1, NO_WAITS) is None
    # What failed at once tells nothing of the rest.
    passed(record, 1, 0.5, outcome="refused", code="image_unavailable")
    assert remaining(record, 2, NO_WAITS) is None
    assert progress.begin_line(record, 2, NOW, NO_WAITS).endswith(": node-2 Server 200 [1 min so far]")
    passed(record, 2, 30)
    assert progress.begin_line(record, 3, NOW, NO_WAITS).endswith(" [1 min so far, about 30 s left]")
