# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which events a rolling run has, when, and what they say."""

from __future__ import annotations

from typing import Any

from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.events import BEGUN, begun_event, closing_event, missed_events
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.report import result
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event
from ansible_collections.fleet.power.tests.unit.rollout_support import ended, fleet, opened, unseen

NOW = "2026-01-31T13:00:00.000Z"


def over(record: Record, resume_file: str | None = None) -> Event:
    return closing_event(record, result(record, ended_at=NOW, seconds=61, resume_file=resume_file))


def failing(record: Record, number: int) -> None:
    asked = begin(record, number)
    count(record, number, {node: ended(work["servers"], "failed", code="start_failed", msg="hunter2") for node, work in asked.items()})


def killed(record: Record, *told: str) -> Record:
    """A run that was to be told of, as its file has it after its command was killed."""
    record.tells, record.told, record.owner = True, list(told), {"pid": 1, "start": 1, "boot": "b"}
    return from_json(to_json(record), "test")


def kinds(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.type.value, event.data["run"]) for event in events]


def test_a_run_with_nothing_to_do_or_that_must_not_begin_has_not_begun() -> None:
    assert begun_event(opened({"node-1": {"servers": []}})) is None
    dark = opened({"node-1": {"servers": [unseen(1)]}})
    assert dark.stopped and begun_event(dark) is None
    assert over(dark).type.value == "rollout.stopped"


def test_a_run_that_stopped_says_why_and_names_what_failed() -> None:
    record = opened(fleet(2, 1), serial=1)
    failing(record, 1)
    event = over(record, "/home/alice/resume.json")
    told: dict[str, Any] = dict(event.data)
    assert (event.type.value, told["ok"], told["stopped"]) == ("rollout.stopped", False, "1 failed, 0 allowed")
    assert told["go_on"].startswith("go on with the same command and -e rollout_resume=/home/alice/resume.json")
    assert told["batches"] == {"planned": 2, "begun": 1} and told["budget"] == {"allowed": 0, "used": 1}
    (failed,) = told["failed"]
    assert (failed["node"], failed["name"], failed["code"]) == ("node-1", "Server 100", "start_failed")
    assert "hunter2" not in str(told)


def test_whoever_tells_of_a_run_again_uses_the_same_ids_and_no_two_runs_share_one() -> None:
    first, same, other = (opened(fleet(1, 1), run=run) for run in ("00000001", "00000001", "00000002"))
    ids = [event.id for record in (first, same, other) for event in (begun_event(record), over(record)) if event]
    assert ids[:2] == ids[2:4] and len(set(ids)) == 4
    again = opened(fleet(1, 1), run="00000001")
    again.began_at = "2026-02-01T12:00:00.000Z"
    assert over(again).id not in ids


def test_what_a_killed_run_had_not_told_is_told_by_the_one_that_goes_on() -> None:
    record = opened(fleet(2, 1), serial=1)
    begun = begun_event(record)
    begin(record, 1)
    both = missed_events(killed(record), NOW)
    assert kinds(both) == [("rollout.begun", "1b2c3d4e"), ("rollout.stopped", "1b2c3d4e")]
    assert both[0] == begun
    assert (both[1].data["stopped"], both[1].data["ok"], both[1].data["seconds"]) == ("its command ended before it did", False, None)
    assert kinds(missed_events(killed(record, BEGUN), NOW)) == [("rollout.stopped", "1b2c3d4e")]
    # Whatever it had written of its end, one that has it knows the other for the same.
    assert missed_events(killed(record, BEGUN), NOW)[0].id == over(record).id
