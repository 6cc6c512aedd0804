# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run with regard to players: who was skipped for them is counted apart, and left for the next run; nobody takes it for a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import lines, report
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.resume import is_in_flight
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.words import RolloutError
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import LEFT_TO_PLAYERS
from ansible_collections.fleet.power.tests.unit.rollout_support import all_done, ended, fleet, info, opened, servers_of, told, uuid

from .test_rollout_lines import NOW

CHECKOUT = Path(__file__).resolve().parents[2]
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
def test_a_run_may_leave_servers_to_their_players_and_end_well(given: dict[str, Any], code: str, ok: bool) -> None:
    record = opened(fleet(2, 1), **given, **POLITE)
    through(record, 1, node_2=skipped([uuid(200)], code))
    assert report.result(record, ended_at="then", seconds=1.0, resume_file="FILE")["ok"] is ok
    # It is left for the next run all the same.
    assert [row.server for row in from_json(to_json(record), "resume.json").left] == [uuid(200)]


def test_what_else_is_left_or_failed_is_never_well() -> None:
    failed = opened(fleet(2, 1), left_ok=True, max_failures=1, **POLITE)
    through(failed, 1, node_1=skipped([uuid(100)]), node_2=ended([uuid(200)], "failed", code="start_failed"))
    # The canary was skipped, so that the others had no turn.
    stopped = opened(fleet(1, 2), left_ok=True, canary=1, **POLITE)
    through(stopped, 1, node_1=skipped([uuid(100)]))
    assert (failed.is_good, stopped.is_good) == (False, False)
    with pytest.raises(RolloutError, match="Cannot use rollout_left_ok='maybe': expected true or false"):
        opened(fleet(1, 1), left_ok="maybe")


def test_maintenance_leaves_a_node_to_its_players_for_the_same_codes() -> None:
    known = pytest.importorskip("yaml").safe_load((CHECKOUT / "roles" / "maintenance" / "vars" / "main.yml").read_text())
    assert known["__maintenance_for_players"] == list(LEFT_TO_PLAYERS)


def test_it_is_told_apart_in_every_place() -> None:
    record = opened(fleet(2, 2), serial=1, **POLITE)
    through(record, 1, node_1={"servers": [*skipped([uuid(100)])["servers"], *ended([uuid(101)])["servers"]]})
    assert lines.end_line(record, 1, NOW).endswith(" Batch 1 of 2 ended: 1 done, 1 skipped for players")
    through(record, 2, node_2=ended([uuid(200), uuid(201)], "failed", code="start_failed"))
    assert report.summary(record).startswith("restart of 4 in 2 of 2 batches: 1 done, 2 failed, 1 skipped for players; stopped: ")
    result = report.result(record, ended_at="then", seconds=1.0, resume_file="FILE")
    assert not result["ok"]
    assert (result["counts"]["not_done"], result["counts"]["for_players"], result["counts"]["refused"]) == (1, 1, 0)
    assert report.verdict(result, [])["msg"] == "Run 1b2c3d4e did not end well: 2 failed, 1 skipped for players"
    assert [row[2:5] for row in report.table_rows(record)][1] == ("Server 100", "not done", "players_online")


def test_the_node_on_which_players_are_is_the_one_that_fails() -> None:
    record = opened(fleet(2, 1), **POLITE)
    through(record, 1, node_2=skipped([uuid(200)]))
    assert report.blamed(record) == {"node-2": "Cannot end the restart well on node-2: node-2 Server 200: players_online"}
    assert report.verdict(report.result(record, ended_at="then", seconds=1.0, resume_file="FILE"), [])["msg"] == (
        "Run 1b2c3d4e did not end well: 1 skipped for players"
    )


@pytest.mark.parametrize(
    "uncounted, words",
    [
        (1, "1 skipped for players, 1 skipped: its players could not be counted, which rollout_left_ok does not allow"),
        (2, "2 skipped: their players could not be counted, which rollout_left_ok does not allow"),
    ],
)
def test_a_run_that_may_leave_servers_says_which_of_them_it_may_not_leave(uncounted: int, words: str) -> None:
    record = opened(fleet(1, 2), left_ok=True, **POLITE)
    servers = [skipped([uuid(100 + number)], "players_unknown" if number < uncounted else "players_online") for number in range(2)]
    through(record, 1, node_1={"servers": [entry for each in servers for entry in each["servers"]]})
    told = report.result(record, ended_at="then", seconds=1.0, resume_file="FILE")
    assert report.verdict(told, [], left_ok=record.left_ok)["msg"] == f"Run 1b2c3d4e did not end well: {words}"


def test_a_canary_skipped_as_a_whole_lets_nobody_follow() -> None:
    record = opened(fleet(1, 3), canary=2, **POLITE)
    through(record, 1, node_1={"servers": [*skipped([uuid(100)])["servers"], *ended([uuid(101)])["servers"]]})
    assert not record.stopped
    all_done(record, 2)
    record = opened(fleet(1, 3), canary=2, **POLITE)
    through(record, 1, node_1=skipped([uuid(100), uuid(101)]))
    assert record.stopped == "the canary was skipped for players"
    assert [row.server for row in record.left] == [uuid(100), uuid(101), uuid(102)]
    assert not record.has_good_canary


@pytest.mark.parametrize(
    ("action", "servers", "state", "outcome"),
    [
        ("restart", ["all"], "running", "skipped"),
        ("restart", ["Server 100"], "starting", "skipped"),
        # Who stopped it wants it down: of all, those that are up are meant; one that was named is to be up.
        ("restart", ["all"], "offline", "skipped"),
        ("restart", ["Server 100"], "offline", "cancelled"),
        ("stop", ["Server 100"], "offline", "skipped"),
        ("stop", ["Server 100"], "running", "cancelled"),
        ("stop", ["Server 100"], "", "cancelled"),
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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"players_at_most": 0, "warn": [60], "max_delay": 10}, "the first mark of warn is 60 s before the end"),
        ({"players_at_most": 0, "warn": [60], "max_delay": 600}, "Cannot use warn with players_at_most=0 and on_max_delay=skip: "),
        ({"players_at_most": "none"}, "Cannot use players_at_most=str"),
        ({"warn": [10], "action": "start"}, "Cannot start with warn: stop and restart alone"),
        ({"warn": [10], "action": "kill"}, "Cannot kill with warn: stop and restart alone"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(given: dict[str, Any], said: str) -> None:
    with pytest.raises(RolloutError, match=said) as raised:
        opened(fleet(1, 1), **given)
    assert raised.value.code == "settings_invalid"
