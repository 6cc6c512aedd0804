# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollout counts servers that were skipped for their players apart from failures, and leaves them for the next run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.start import is_in_flight
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import LEFT_TO_PLAYERS
from ansible_collections.fleet.power.tests.unit.rollout_support import all_done, ended, fleet, info, opened, servers_of, told, uuid

POLITE = {"players_at_most": 0, "max_delay": 600}
SUPERSEDED = {"code": "superseded", "changed": False, "msg": "It was restarted by bob meanwhile"}


def skipped(servers: list[str], code: str = "players_online") -> dict[str, Any]:
    """A node's answer: players are on all of these."""
    return ended(servers, "refused", code=code, changed=False, player_wait={"seconds": 600.0, "marks": [], "announced": None})


def through(record: Record, number: int, **answers: dict[str, Any]) -> None:
    """Go through a batch in which the named nodes answer so."""
    asked = servers_of(begin(record, number))
    given = {name.replace("_", "-"): answer for name, answer in answers.items()}
    count(record, number, {node: given.get(node) or ended(servers) for node, servers in asked.items()})


@pytest.mark.parametrize("code", LEFT_TO_PLAYERS)
def test_who_was_skipped_for_players_is_no_failure_and_left_for_the_next_run(code: str) -> None:
    record = opened(fleet(3, 1), serial=1, max_failures=0, **POLITE)
    through(record, 1, node_1=skipped([uuid(100)], code))
    assert not record.stopped
    assert record.failures == 0
    all_done(record, 2)
    all_done(record, 3)
    assert not record.is_good
    assert [row.server for row in record.left] == [uuid(100)]
    assert record.failed == []
    kept = from_json(to_json(record), "resume.json")
    assert to_json(kept)["not_done"] == [f"node-1 Server 100: {code}"]
    resumed = opened(fleet(3, 1), kept, run="5e6f7a8b", **POLITE)
    assert servers_of(begin(resumed, 1)) == {"node-1": [uuid(100)]}


@pytest.mark.parametrize(
    ("given", "code", "ok"),
    [
        ({}, "players_online", False),
        ({"left_ok": "true"}, "players_online", True),
        ({"left_ok": True}, "countdown_running", True),
        # Nobody knows whether that ever changes.
        ({"left_ok": True}, "players_unknown", False),
    ],
)
def test_a_run_that_left_servers_to_their_players_ends_well_only_on_request(given: dict[str, Any], code: str, ok: bool) -> None:
    record = opened(fleet(2, 1), **given, **POLITE)
    through(record, 1, node_2=skipped([uuid(200)], code))
    assert report.result(record, ended_at="then", seconds=1.0, resume_file="FILE")["ok"] is ok
    # It is left for the next run all the same.
    assert [row.server for row in from_json(to_json(record), "resume.json").left] == [uuid(200)]


@pytest.mark.parametrize(
    ("action", "servers", "state", "outcome"),
    [
        ("restart", ["all"], "running", "skipped"),
        # Who stopped it wants it down: of all, those that are up are meant; one that was named is to be up.
        ("restart", ["all"], "offline", "skipped"),
        ("restart", ["Server 100"], "offline", "cancelled"),
        ("stop", ["Server 100"], "offline", "skipped"),
        ("stop", ["Server 100"], "running", "cancelled"),
    ],
)
def test_what_another_did_meanwhile_is_done_if_it_is_what_the_run_wants(action: str, servers: list[str], state: str, outcome: str) -> None:
    record = opened(fleet(1, 1), action=action, servers=servers, **POLITE)
    if not state:
        record.rows[0].state = ""
    through(record, 1, node_1=ended([uuid(100)], "cancelled", **SUPERSEDED, state=state))
    (row,) = record.rows
    assert (row.outcome, row.code) == (outcome, "superseded")
    assert bool(record.stopped) == (outcome == "cancelled")
    assert row.msg == ("Done by another: " if outcome == "skipped" else "") + "It was restarted by bob meanwhile"


def test_a_countdown_of_an_earlier_run_is_in_flight_as_a_lock_is() -> None:
    counting = info(100, countdown={"action": "restart", "phase": "counting", "reason": "rollout 1b2c3d4e: nightly update"})
    assert is_in_flight(counting, "1b2c3d4e")
    assert not is_in_flight(counting, "5e6f7a8b")
    record = opened(fleet(1, 1), **POLITE)
    begin(record, 1)
    resumed = opened({"node-1": told(counting)}, record, run="5e6f7a8b")
    assert [(row.outcome, row.code) for row in resumed.rows] == [("unknown", "still_in_flight")]


def test_a_server_that_this_run_has_changed_is_cancelled_when_another_takes_it_over() -> None:
    record = opened(fleet(1, 1), **POLITE)
    through(record, 1, node_1=ended([uuid(100)], "cancelled", **{**SUPERSEDED, "changed": True}, state="running"))
    assert [(row.outcome, row.code) for row in record.rows] == [("cancelled", "superseded")]
