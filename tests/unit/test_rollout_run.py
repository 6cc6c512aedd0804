# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling run: its batches, budget, verdict, players and lines."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report, times
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.events import BEGUN, begun_event, closing_event, missed_events
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, Row, from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.report import note_timing, result
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin, count
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.start import is_in_flight
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.times import Waits, note_time, remaining
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError, parse_amount
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import LEFT_TO_PLAYERS
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Detail, entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.rollout_support import (
    LOST,
    all_done,
    ended,
    fleet,
    info,
    opened,
    servers_of,
    told,
    unseen,
    uuid,
)


def outcomes(record: Record) -> dict[str, str]:
    return {row.name or str(row.server): f"{row.outcome} {row.code}".strip() for row in record.rows}


def test_a_run_in_which_all_goes_well_is_good_and_leaves_nothing() -> None:
    record = opened(fleet(3, 2), serial=1)
    assert record.batches == 3
    for number in (1, 2, 3):
        asked = all_done(record, number)
        assert list(asked) == [f"node-{number}"]
    assert record.is_good
    assert not record.left


@pytest.mark.parametrize("outcome", ["refused", "cancelled", "failed"])
def test_one_more_failure_than_allowed_stops_the_run(outcome: str) -> None:
    record = opened(fleet(4, 1), serial=1, max_failures=1)
    for number in (1, 2):
        asked = servers_of(begin(record, number))
        count(record, number, {node: ended(servers, outcome) for node, servers in asked.items()})
        assert bool(record.stopped) == (number == 2)
    assert record.stopped == "2 failed, 1 allowed"
    assert [row.called for row in record.left] == ["node-3 Server 300", "node-4 Server 400"]
    assert len(record.failed) == 2


def test_each_node_gets_what_is_left_of_the_budget() -> None:
    record = opened(fleet(3, 20), serial=1, max_failures=2)
    work = begin(record, 1)
    assert work["node-1"]["max_failures"] == 2
    answer = ended(work["node-1"]["servers"])
    answer["servers"][0]["outcome"] = "failed"
    count(record, 1, {"node-1": answer})
    assert begin(record, 2)["node-2"]["max_failures"] == 1


def test_an_answer_to_an_earlier_batch_says_nothing_of_this_one() -> None:
    record = opened(fleet(1, 2), batch_size=1, max_failures=1)
    all_done(record, 1)
    begin(record, 2)
    count(record, 2, {"node-1": ended([uuid(100)])})
    assert outcomes(record) == {"Server 100": "done", "Server 101": "unknown no_answer"}


@pytest.mark.parametrize(
    ("answer", "said", "left"),
    [
        ({"code": "settings_invalid", "msg": "Cannot use"}, "failed settings_invalid", True),
        ({"code": "interrupted", "msg": "Cannot tell how"}, "unknown interrupted", True),
        ({"code": "internal_error", "msg": "KeyError"}, "unknown internal_error", True),
        (ended([uuid(100)], "unchanged", state="running"), "unchanged", False),
        (ended([uuid(100)], "unchanged", state="offline"), "failed did_not_stay_up", False),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback"}, "unknown no_answer", True),
        ({"before_batch_failed": True, "msg": "warn: no"}, "failed before_batch_failed", True),
        (ended([uuid(100)], "exploded"), "unknown no_answer", True),
        (ended([uuid(100)], "skipped", code="interrupted_by_signal"), "not_done interrupted_by_signal", True),
        (ended([uuid(100)], "skipped", code="not_selected"), "skipped not_selected", False),
        (ended([uuid(100)], "failed", code="start_failed"), "failed start_failed", False),
    ],
)
def test_whatever_a_node_answers_each_server_is_counted(answer: dict[str, Any], said: str, left: bool) -> None:
    record = opened(fleet(1, 1))
    begin(record, 1)
    count(record, 1, {"node-1": answer})
    assert outcomes(record) == {"Server 100": said}
    assert bool(record.left) == left
    assert record.is_good == said.startswith(("skipped", "unchanged"))


@pytest.mark.parametrize("bad", [ended([uuid(100)], "failed"), LOST, ended([uuid(100)], "skipped", code="interrupted_by_signal")])
def test_a_canary_that_does_not_come_through_stops_the_run_whatever_the_budget(bad: dict[str, Any]) -> None:
    record = opened(fleet(2, 1), canary=1, max_failures="100%", on_failure="continue")
    begin(record, 1)
    count(record, 1, {"node-1": bad})
    assert record.stopped == "the canary failed"
    assert [row.server for row in record.left][-1] == uuid(200)


def up(number: int, started_at: str = "1", state: str = "running") -> dict[str, Any]:
    return told(info(number, state=state, container={"started_at": started_at}))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (up(100), up(100), "done"),
        (up(100), up(100, "2"), "failed did_not_stay_up"),
        (up(100), up(100, state="offline"), "failed did_not_stay_up"),
        (up(100, state="offline"), up(100, "2"), "failed did_not_stay_up"),
        (up(100), told(), "failed did_not_stay_up"),
        (up(100), LOST, "unknown node_unreachable"),
        (LOST, up(100), "unknown node_unreachable"),
    ],
)
def test_a_server_that_is_not_in_the_same_run_at_the_end_of_the_soak_failed(before: Any, after: Any, said: str) -> None:
    record = opened(fleet(1, 1))
    begin(record, 1)
    count(record, 1, {"node-1": ended([uuid(100)])}, ({"node-1": before}, {"node-1": after}))
    assert outcomes(record) == {"Server 100": said}
    assert bool(record.stopped) == (said != "done")


NAMED = {"container": "c1", "started_at": "1"}


def back(*ends: dict[str, Any], started_at: str = "2", state: str = "running") -> dict[str, Any]:
    """What the last look of the soak shows of a server that was in run 1, and of its ended runs."""
    return told(info(100, state=state, container={"id": "c1", "started_at": started_at}, crashes=list(ends)))


def soaked(before: dict[str, Any], after: dict[str, Any]) -> Record:
    """A run over one server whose action named the run it started."""
    record = opened(fleet(1, 1))
    begin(record, 1)
    answer = ended([uuid(100)], run=NAMED, downtime={"seconds": 0.5})
    count(record, 1, {"node-1": answer}, ({"node-1": before}, {"node-1": after}))
    return record


def test_a_server_that_the_supervisor_has_brought_back_has_crashed_all_the_same() -> None:
    crash = {**NAMED, "verdict": "crashed", "exit_code": 3, "oom_killed": True, "log": ["a", "out of luck", "b", "bye"]}
    record = soaked(back(), back(crash))
    assert outcomes(record) == {"Server 100": "failed crashed"}
    assert (
        record.rows[0].msg
        == f"Server {uuid(100)} crashed during the soak, exit code 3, out of memory; its last lines: out of luck / b / bye"
    )
    assert record.rows[0].state != "offline" and record.stopped and record.rows[0].downtime == {}


def test_a_run_that_somebody_stopped_did_not_crash() -> None:
    stopped = {**NAMED, "verdict": "stopped_externally", "exit_code": 0, "ended_at": "2026-03-01T12:00:09.000Z"}
    record = soaked(back(started_at="1"), back(stopped, started_at="1", state="offline"))
    assert outcomes(record) == {"Server 100": "failed did_not_stay_up"}
    assert (record.rows[0].state, record.rows[0].msg.endswith("until the end of the soak, exit code 0")) == ("offline", True)
    # The half second that its restart took is not for how long it was down.
    assert record.rows[0].downtime == {"from": "2026-03-01T12:00:09.000Z"}


def test_an_unreachable_node_counts_once_and_stops_a_run_without_budget() -> None:
    record = opened({**fleet(1, 2), "node-2": LOST, "node-3": None})
    assert record.failures == 2
    assert record.stopped == "2 failed, 0 allowed"
    assert [row.called for row in record.left] == ["node-2", "node-3", "node-1 Server 100", "node-1 Server 101"]


def test_a_name_on_no_node_is_an_error_before_anything_is_done() -> None:
    with pytest.raises(RolloutError, match=r"Cannot find Nobody: .*nothing was done") as caught:
        opened(fleet(1, 1), servers=["Server 100", "Nobody"])
    assert caught.value.code == "server_not_found"


def test_a_suspended_server_fails_the_run_before_it_begins() -> None:
    record = opened({"node-1": told(info(1), info(2, suspended=True))})
    assert outcomes(record)["Server 2"] == "refused suspended"
    assert record.stopped


def test_a_canary_node_that_cannot_be_asked_stops_the_run_whatever_the_budget() -> None:
    record = opened({**fleet(1, 1), "node-2": LOST}, canary="node-2", max_failures="100%")
    assert record.stopped == "the canary, node node-2, cannot be asked"


def test_the_budget_may_be_a_part_of_all_that_are_meant() -> None:
    assert opened(fleet(2, 10), max_failures="15%").budget == 3
    assert parse_amount("max_failures", "0.57%").of(10000) == 57
    with pytest.raises(RolloutError, match="rollout_max_failures='many'"):
        opened(fleet(1, 1), max_failures="many")
    with pytest.raises(RolloutError, match="rollout_on_failure='go': expected one of stop, continue"):
        opened(fleet(1, 1), on_failure="go")


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
    line = times.begin_line(record, 1, NOW, NO_WAITS)
    assert line.startswith("12:01:00 Batch 1 of 1: node-1 a fatal: [node-1] [2Jx")
    assert line.isprintable()
    assert len(line) < 80
    begin(record, 1)
    count(record, 1, {"node-1": ended([str(record.rows[0].server)], "failed", code="start_failed")})
    assert times.end_line(record, 1, NOW).isprintable()


def test_no_estimate_is_given_before_there_is_something_to_go_by() -> None:
    record = opened(fleet(3, 1), serial=1, max_failures=3)
    assert remaining(record, 1, NO_WAITS) is None
    # What failed at once tells nothing of the rest.
    passed(record, 1, 0.5, outcome="refused", code="image_unavailable")
    assert remaining(record, 2, NO_WAITS) is None
    assert times.begin_line(record, 2, NOW, NO_WAITS).endswith(": node-2 Server 200 [1 min so far]")
    passed(record, 2, 30)
    assert times.begin_line(record, 3, NOW, NO_WAITS).endswith(" [1 min so far, about 30 s left]")


NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)


def reported(outcome: Outcome = Outcome.DONE, action: PowerAction = PowerAction.RESTART, **fields: Any) -> dict[str, Any]:
    """The entry of a server that was acted on for 9 s until 12:00:10, as a rolling run asks for it."""
    result = Result(Server(uuid(100)), action, outcome, "op", NOON, NOON + timedelta(seconds=10), seconds=9.0, **fields)
    return entry(result, check=False, all_steps=False, detail=Detail.BRIEF, timed=True)


def timed(entry_: dict[str, Any]) -> Row:
    row = Row("node-1", uuid(100), outcome=str(entry_.get("outcome")), state=str(entry_.get("state")))
    note_timing(row, entry_)
    return row


def test_phases_have_absolute_times_by_the_moment_at_which_the_action_was_taken_up() -> None:
    row = timed(reported(phases=(("stop", 0.5), ("start", 4.25))))
    assert (row.began_at, row.phases) == ("2026-03-01T12:00:01.000Z", [["stop", 0.5], ["start", 4.25]])


@pytest.mark.parametrize("name", ["phases", "downtime", "run", "operation", "seconds", "log"])
@pytest.mark.parametrize("wrong", [None, "x", [], [3], [{"at": "soon"}], {"seconds": -1}, 1e300])
def test_whatever_a_node_says_a_row_can_be_written_and_read(name: str, wrong: object) -> None:
    row = timed({**reported(Outcome.FAILED, phases=(("stop", 0.5),), log=("x",)), name: wrong})
    made = Record("1b2c3d4e", "restart", "2026-03-01T12:00:00.000Z", {}, rows=[row])
    assert from_json(to_json(made), "file") == made
    assert report.result(made, ended_at="", seconds=0, resume_file=None)["servers"]


POLITE = {"players_at_most": 0, "max_delay": 600}
SUPERSEDED = {"code": "superseded", "changed": False, "msg": "It was restarted by bob meanwhile"}


def skipped(servers: list[str], code: str = "players_online") -> dict[str, Any]:
    """A node's answer: players are on all of these."""
    return ended(servers, "refused", code=code, changed=False, player_wait={"seconds": 600.0, "marks": [], "announced": None})


def through(record: Record, number: int, **answers: dict[str, Any]) -> None:
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


EVENTS_AT = "2026-01-31T13:00:00.000Z"


def over(record: Record, resume_file: str | None = None) -> Event:
    return closing_event(record, result(record, ended_at=EVENTS_AT, seconds=61, resume_file=resume_file))


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
    assert told["go_on"].startswith("continue with the same command and -e rollout_resume=/home/alice/resume.json")
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
    both = missed_events(killed(record), EVENTS_AT)
    assert kinds(both) == [("rollout.begun", "1b2c3d4e"), ("rollout.stopped", "1b2c3d4e")]
    assert both[0] == begun
    assert (both[1].data["stopped"], both[1].data["ok"], both[1].data["seconds"]) == ("its command ended before it did", False, None)
    assert kinds(missed_events(killed(record, BEGUN), EVENTS_AT)) == [("rollout.stopped", "1b2c3d4e")]
    # Whatever it had written of its end, one that has it knows the other for the same.
    assert missed_events(killed(record, BEGUN), EVENTS_AT)[0].id == over(record).id
