# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rolling run: its batches, budget, outcome, players and lines."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout import report, times
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.events import BEGUN, begun_event, closing_event, missed_events
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.record import Record, Row, from_json, to_json
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.report import note_timing, result
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.run import begin_batch, count_batch
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.start import is_in_flight
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.times import Waits, note_time, remaining
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError, parse_amount
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import LEFT_ALONE
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
    listing,
    opened,
    servers_of,
    unseen,
    uuid,
)


def outcomes(record: Record) -> dict[str, str]:
    return {row.name or str(row.server): f"{row.outcome} {row.code}".strip() for row in record.rows}


def test_a_rolling_run_without_failures_is_good_and_leaves_no_server() -> None:
    record = opened(fleet(3, 2), serial=1)
    assert record.batches == 3
    for number in (1, 2, 3):
        asked = all_done(record, number)
        assert list(asked) == [f"node-{number}"]
    assert record.is_good
    assert not record.unfinished


@pytest.mark.parametrize("outcome", ["refused", "cancelled", "failed"])
def test_a_failure_over_the_budget_stops_the_rolling_run(outcome: str) -> None:
    record = opened(fleet(4, 1), serial=1, max_failures=1)
    for number in (1, 2):
        asked = servers_of(begin_batch(record, number))
        count_batch(record, number, {node: ended(servers, outcome) for node, servers in asked.items()})
        assert bool(record.stopped) == (number == 2)
    assert record.stopped == "2 failed, 1 allowed"
    assert [row.called for row in record.unfinished] == ["node-3 Server 300", "node-4 Server 400"]
    assert len(record.failed) == 2


def test_each_batch_gets_the_rest_of_the_budget() -> None:
    record = opened(fleet(3, 20), serial=1, max_failures=2)
    work = begin_batch(record, 1)
    assert work["node-1"]["max_failures"] == 2
    answer = ended(work["node-1"]["servers"])
    answer["servers"][0]["outcome"] = "failed"
    count_batch(record, 1, {"node-1": answer})
    assert begin_batch(record, 2)["node-2"]["max_failures"] == 1


def test_an_answer_to_an_earlier_batch_does_not_count() -> None:
    record = opened(fleet(1, 2), batch_size=1, max_failures=1)
    all_done(record, 1)
    begin_batch(record, 2)
    count_batch(record, 2, {"node-1": ended([uuid(100)])})
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
def test_each_server_is_counted_for_any_answer_of_its_node(answer: dict[str, Any], said: str, left: bool) -> None:
    record = opened(fleet(1, 1))
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": answer})
    assert outcomes(record) == {"Server 100": said}
    assert bool(record.unfinished) == left
    assert record.is_good == said.startswith(("skipped", "unchanged"))


@pytest.mark.parametrize("bad", [ended([uuid(100)], "failed"), LOST, ended([uuid(100)], "skipped", code="interrupted_by_signal")])
def test_a_failed_canary_stops_the_rolling_run_despite_the_budget(bad: dict[str, Any]) -> None:
    record = opened(fleet(2, 1), canary=1, max_failures="100%", on_failure="continue")
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": bad})
    assert record.stopped == "the canary failed"
    assert [row.server for row in record.unfinished][-1] == uuid(200)


def up(number: int, started_at: str = "1", state: str = "running") -> dict[str, Any]:
    return listing(info(number, state=state, container={"started_at": started_at}))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (up(100), up(100), "done"),
        (up(100), up(100, "2"), "failed did_not_stay_up"),
        (up(100), up(100, state="offline"), "failed did_not_stay_up"),
        (up(100, state="offline"), up(100, "2"), "failed did_not_stay_up"),
        (up(100), listing(), "failed did_not_stay_up"),
        (up(100), LOST, "unknown node_unreachable"),
        (LOST, up(100), "unknown node_unreachable"),
    ],
)
def test_a_server_that_ended_its_run_during_the_soak_failed(before: Any, after: Any, said: str) -> None:
    record = opened(fleet(1, 1))
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": ended([uuid(100)])}, ({"node-1": before}, {"node-1": after}))
    assert outcomes(record) == {"Server 100": said}
    assert bool(record.stopped) == (said != "done")


NAMED = {"container": "c1", "started_at": "1"}


def back(*ends: dict[str, Any], started_at: str = "2", state: str = "running") -> dict[str, Any]:
    return listing(info(100, state=state, container={"id": "c1", "started_at": started_at}, crashes=list(ends)))


def soaked(before: dict[str, Any], after: dict[str, Any]) -> Record:
    """A rolling run over a server. The action named the run that it started."""
    record = opened(fleet(1, 1))
    begin_batch(record, 1)
    answer = ended([uuid(100)], run=NAMED, downtime={"seconds": 0.5})
    count_batch(record, 1, {"node-1": answer}, ({"node-1": before}, {"node-1": after}))
    return record


def test_a_crash_during_the_soak_counts_although_the_supervisor_restarted_the_server() -> None:
    crash = {**NAMED, "verdict": "crashed", "exit_code": 3, "oom_killed": True, "log": ["a", "out of luck", "b", "bye"]}
    record = soaked(back(), back(crash))
    assert outcomes(record) == {"Server 100": "failed crashed"}
    assert (
        record.rows[0].msg
        == f"Server {uuid(100)} crashed during the soak, exit code 3, out of memory; its last lines: out of luck / b / bye"
    )
    assert record.rows[0].state != "offline" and record.stopped and record.rows[0].downtime == {}


def test_an_external_stop_during_the_soak_is_no_crash() -> None:
    stopped = {**NAMED, "verdict": "stopped_externally", "exit_code": 0, "ended_at": "2026-03-01T12:00:09.000Z"}
    record = soaked(back(started_at="1"), back(stopped, started_at="1", state="offline"))
    assert outcomes(record) == {"Server 100": "failed did_not_stay_up"}
    assert (record.rows[0].state, record.rows[0].msg.endswith("until the end of the soak, exit code 0")) == ("offline", True)
    # The downtime of the restart, half a second, no longer holds.
    assert record.rows[0].downtime == {"from": "2026-03-01T12:00:09.000Z"}


def test_an_unreachable_node_counts_once_and_stops_a_rolling_run_without_budget() -> None:
    record = opened({**fleet(1, 2), "node-2": LOST, "node-3": None})
    assert record.failures == 2
    assert record.stopped == "2 failed, 0 allowed"
    assert [row.called for row in record.unfinished] == ["node-2", "node-3", "node-1 Server 100", "node-1 Server 101"]


def test_an_unreachable_node_counts_once_if_it_may_have_a_named_server() -> None:
    seen = {**fleet(1, 2), "node-2": LOST}
    assert outcomes(opened(seen, servers=["Server 100"])) == {"Server 100": "not_done"}
    missing = opened({**seen, "node-3": LOST}, servers=["Server 100", "Lobby", "Proxy"], max_failures=2)
    assert (missing.stopped, missing.failures, len(missing.unfinished)) == ("", 2, 5)
    resumed = opened({**seen, "node-2": listing(info(3, name="Lobby"), info(4, name="Proxy")), "node-3": LOST}, missing)
    assert outcomes(resumed) == {"Server 100": "not_done", "Lobby": "not_done", "Proxy": "not_done"}


def test_an_unknown_server_name_raises_an_error_before_the_rolling_run() -> None:
    with pytest.raises(RolloutError, match=r"Cannot find Nobody: .*nothing was done") as caught:
        opened(fleet(1, 1), servers=["Server 100", "Nobody"])
    assert caught.value.code == "server_not_found"


def test_a_misspelt_server_name_leads_to_the_right_one() -> None:
    with pytest.raises(RolloutError, match=r"Cannot find Sever 100 \(did you mean Server 100\?\): no node"):
        opened(fleet(1, 1), servers=["Sever 100"])


def test_a_suspended_server_fails_the_rolling_run_before_its_beginning() -> None:
    record = opened({"node-1": listing(info(1), info(2, suspended=True))})
    assert outcomes(record)["Server 2"] == "refused suspended"
    assert record.stopped
    assert over(record).data["servers"] == 2


def test_an_unreachable_canary_node_stops_the_rolling_run_despite_the_budget() -> None:
    record = opened({**fleet(1, 1), "node-2": LOST}, canary="node-2", max_failures="100%")
    assert record.stopped == "the canary, node node-2, cannot be asked"


def test_the_budget_may_be_a_percentage_of_the_servers() -> None:
    assert opened(fleet(2, 10), max_failures="15%").budget == 3
    assert parse_amount("max_failures", "0.57%").of(10000) == 57
    with pytest.raises(RolloutError, match="rollout_max_failures='many'"):
        opened(fleet(1, 1), max_failures="many")
    with pytest.raises(RolloutError, match="rollout_on_failure='go': expected one of stop, continue"):
        opened(fleet(1, 1), on_failure="go")


#: A minute after the rolling run of `rollout_support` began.
NOW = datetime(2026, 1, 31, 12, 1, tzinfo=timezone.utc)


NO_WAITS = Waits()


def passed(record: Record, number: int, seconds: float, waits: Waits = NO_WAITS, **answer: Any) -> None:
    if answer:
        servers = servers_of(begin_batch(record, number))
        count_batch(record, number, {node: ended(each, **answer) for node, each in servers.items()})
    else:
        all_done(record, number)
    note_time(record, number, seconds, waits)


def test_a_hostile_server_name_is_cut_and_stays_on_its_line() -> None:
    record = opened({"node-1": listing(info(1, name="a\nfatal: [node-1]\x1b[2J" + "x" * 99))})
    line = times.begin_line(record, 1, NOW, NO_WAITS)
    assert line.startswith("12:01:00 Batch 1 of 1: node-1 a fatal: [node-1] [2Jx")
    assert line.isprintable()
    assert len(line) < 80
    begin_batch(record, 1)
    count_batch(record, 1, {"node-1": ended([str(record.rows[0].server)], "failed", code="start_failed")})
    assert times.end_line(record, 1, NOW).isprintable()


def test_the_remaining_time_is_estimated_after_the_first_good_batch() -> None:
    record = opened(fleet(3, 1), serial=1, max_failures=3)
    assert remaining(record, 1, NO_WAITS) is None
    # A server that failed at once gives no estimate.
    passed(record, 1, 0.5, outcome="refused", code="image_unavailable")
    assert remaining(record, 2, NO_WAITS) is None
    assert times.begin_line(record, 2, NOW, NO_WAITS).endswith(": node-2 Server 200 [1 min so far]")
    passed(record, 2, 30)
    assert times.begin_line(record, 3, NOW, NO_WAITS).endswith(" [1 min so far, about 30 s left]")


NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)


def reported(outcome: Outcome = Outcome.DONE, action: PowerAction = PowerAction.RESTART, **fields: Any) -> dict[str, Any]:
    """The entry of an action that took 9 s until 12:00:10, in the form for a rolling run."""
    result = Result(Server(uuid(100)), action, outcome, "op", NOON, NOON + timedelta(seconds=10), seconds=9.0, **fields)
    return entry(result, check=False, all_steps=False, detail=Detail.BRIEF, timed=True)


def timed(entry_: dict[str, Any]) -> Row:
    row = Row("node-1", uuid(100), outcome=str(entry_.get("outcome")), state=str(entry_.get("state")))
    note_timing(row, entry_)
    return row


def test_a_row_keeps_the_beginning_and_the_phases_of_its_action() -> None:
    row = timed(reported(phases=(("stop", 0.5), ("start", 4.25))))
    assert (row.began_at, row.phases) == ("2026-03-01T12:00:01.000Z", [["stop", 0.5], ["start", 4.25]])


@pytest.mark.parametrize("name", ["phases", "downtime", "run", "operation", "seconds", "log"])
@pytest.mark.parametrize("wrong", [None, "x", [], [3], [{"at": "soon"}], {"seconds": -1}, 1e300])
def test_a_row_with_wrong_values_of_a_node_can_be_written_and_read(name: str, wrong: object) -> None:
    row = timed({**reported(Outcome.FAILED, phases=(("stop", 0.5),), log=("x",)), name: wrong})
    made = Record("1b2c3d4e", "restart", "2026-03-01T12:00:00.000Z", {}, rows=[row])
    assert from_json(to_json(made), "file") == made
    assert report.result(made, ended_at="", seconds=0, resume_file=None)["servers"]


POLITE = {"players_at_most": 0, "max_delay": 600}
SUPERSEDED = {"code": "superseded", "changed": False, "msg": "It was restarted by bob meanwhile"}


def skipped(servers: list[str], code: str = "players_online") -> dict[str, Any]:
    return ended(servers, "refused", code=code, changed=False, player_wait={"seconds": 600.0, "marks": [], "announced": None})


def through(record: Record, number: int, **answers: dict[str, Any]) -> None:
    asked = servers_of(begin_batch(record, number))
    given = {name.replace("_", "-"): answer for name, answer in answers.items()}
    count_batch(record, number, {node: given.get(node) or ended(servers) for node, servers in asked.items()})


@pytest.mark.parametrize("code", LEFT_ALONE)
def test_a_server_left_alone_is_no_failure_and_is_left_for_the_next_rolling_run(code: str) -> None:
    record = opened(fleet(3, 1), serial=1, max_failures=0, **POLITE)
    through(record, 1, node_1=skipped([uuid(100)], code))
    assert not record.stopped
    assert record.failures == 0
    all_done(record, 2)
    all_done(record, 3)
    assert not record.is_good
    assert [row.server for row in record.unfinished] == [uuid(100)]
    assert record.failed == []
    kept = from_json(to_json(record), "resume.json")
    assert to_json(kept)["not_done"] == [f"node-1 Server 100: {code}"]
    resumed = opened(fleet(3, 1), kept, run="5e6f7a8b", **POLITE)
    assert servers_of(begin_batch(resumed, 1)) == {"node-1": [uuid(100)]}


@pytest.mark.parametrize(
    ("given", "code", "ok"),
    [
        ({}, "players_online", False),
        ({"left_ok": "true"}, "players_online", True),
        ({"left_ok": True}, "countdown_running", True),
        # The number of players may stay unknown.
        ({"left_ok": True}, "players_unknown", False),
        ({}, "frozen", False),
        ({"left_ok": True}, "frozen", True),
    ],
)
def test_a_rolling_run_that_skipped_servers_for_players_is_ok_only_with_left_ok(given: dict[str, Any], code: str, ok: bool) -> None:
    record = opened(fleet(2, 1), **given, **POLITE)
    through(record, 1, node_2=skipped([uuid(200)], code))
    assert report.result(record, ended_at="then", seconds=1.0, resume_file="FILE")["ok"] is ok
    # The server is still left for the next rolling run.
    assert [row.server for row in from_json(to_json(record), "resume.json").unfinished] == [uuid(200)]


def test_frozen_servers_are_counted_apart() -> None:
    record = opened(fleet(3, 1), max_failures=0, **POLITE)
    through(record, 1, node_1=skipped([uuid(100)], "frozen"), node_2=skipped([uuid(200)]))
    found = report.result(record, ended_at="then", seconds=1.0, resume_file="FILE")
    assert (found["counts"]["frozen"], found["counts"]["for_players"], found["counts"]["not_done"]) == (1, 1, 2)
    assert "1 done, 1 skipped for players, 1 frozen" in found["msg"]
    assert "1 skipped for players, 1 frozen" in report.verdict(found, [])["msg"]
    assert report.blamed(record)["node-1"].startswith("Restart frozen on node-1: ")


@pytest.mark.parametrize(
    ("codes", "stopped"),
    [
        (["frozen", "frozen"], "the canary was frozen"),
        (["frozen", "players_online"], "the canary was frozen or skipped for players"),
        # One server has shown that the change works.
        (["frozen", ""], ""),
    ],
)
def test_a_frozen_canary_stops_the_rolling_run(codes: list[str], stopped: str) -> None:
    record = opened(fleet(4, 1), canary=2, max_failures=0, **POLITE)
    asked = servers_of(begin_batch(record, 1))
    answers = {node: skipped(servers, code) if code else ended(servers) for (node, servers), code in zip(asked.items(), codes)}
    count_batch(record, 1, answers)
    assert record.stopped == stopped


@pytest.mark.parametrize(
    ("action", "servers", "state", "outcome"),
    [
        ("restart", ["all"], "running", "skipped"),
        # A restart of all skips stopped servers. A restart by name wants its server up.
        ("restart", ["all"], "offline", "skipped"),
        ("restart", ["Server 100"], "offline", "cancelled"),
        ("stop", ["Server 100"], "offline", "skipped"),
        ("stop", ["Server 100"], "running", "cancelled"),
    ],
)
def test_a_superseding_action_counts_if_the_server_has_the_wanted_state(action: str, servers: list[str], state: str, outcome: str) -> None:
    record = opened(fleet(1, 1), action=action, servers=servers, **POLITE)
    if not state:
        record.rows[0].state = ""
    through(record, 1, node_1=ended([uuid(100)], "cancelled", **SUPERSEDED, state=state))
    (row,) = record.rows
    assert (row.outcome, row.code) == (outcome, "superseded")
    assert bool(record.stopped) == (outcome == "cancelled")
    assert row.msg == ("Done by another: " if outcome == "skipped" else "") + "It was restarted by bob meanwhile"


def test_a_countdown_of_an_earlier_rolling_run_is_in_flight() -> None:
    counting = info(100, countdown={"action": "restart", "phase": "counting", "reason": "rollout 1b2c3d4e: nightly update"})
    assert is_in_flight(counting, "1b2c3d4e")
    assert not is_in_flight(counting, "5e6f7a8b")
    record = opened(fleet(1, 1), **POLITE)
    begin_batch(record, 1)
    resumed = opened({"node-1": listing(counting)}, record, run="5e6f7a8b")
    assert [(row.outcome, row.code) for row in resumed.rows] == [("unknown", "still_in_flight")]


def test_a_changed_server_is_cancelled_when_another_action_supersedes() -> None:
    record = opened(fleet(1, 1), **POLITE)
    through(record, 1, node_1=ended([uuid(100)], "cancelled", **{**SUPERSEDED, "changed": True}, state="running"))
    assert [(row.outcome, row.code) for row in record.rows] == [("cancelled", "superseded")]


EVENTS_AT = "2026-01-31T13:00:00.000Z"


def over(record: Record, resume_file: str | None = None) -> Event:
    return closing_event(record, result(record, ended_at=EVENTS_AT, seconds=61, resume_file=resume_file))


def failing(record: Record, number: int) -> None:
    asked = begin_batch(record, number)
    count_batch(
        record, number, {node: ended(work["servers"], "failed", code="start_failed", msg="hunter2") for node, work in asked.items()}
    )


def killed(record: Record, *sent: str) -> Record:
    """A rolling run with receivers, as read from its file after its command was killed."""
    record.notifies, record.notified, record.owner = True, list(sent), {"pid": 1, "start": 1, "boot": "b"}
    return from_json(to_json(record), "test")


def kinds(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.type.value, event.data["run"]) for event in events]


def test_an_empty_or_blocked_rolling_run_has_no_begun_event() -> None:
    assert begun_event(opened({"node-1": {"servers": []}})) is None
    dark = opened({"node-1": {"servers": [unseen(1)]}})
    assert dark.stopped and begun_event(dark) is None
    assert over(dark).type.value == "rollout.stopped"


def test_the_stopped_event_has_the_reason_and_the_failed_servers() -> None:
    record = opened(fleet(2, 1), serial=1)
    failing(record, 1)
    event = over(record, "/home/alice/resume.json")
    data: dict[str, Any] = dict(event.data)
    assert (event.type.value, data["ok"], data["stopped"]) == ("rollout.stopped", False, "1 failed, 0 allowed")
    assert data["go_on"].startswith("continue with the same command and -e rollout_resume=/home/alice/resume.json")
    assert data["batches"] == {"planned": 2, "begun": 1} and data["budget"] == {"allowed": 0, "used": 1}
    (failed,) = data["failed"]
    assert (failed["node"], failed["name"], failed["code"]) == ("node-1", "Server 100", "start_failed")
    assert "hunter2" not in str(data)


def test_event_ids_repeat_for_the_same_rolling_run_and_differ_for_others() -> None:
    first, same, other = (opened(fleet(1, 1), run=run) for run in ("00000001", "00000001", "00000002"))
    ids = [event.id for record in (first, same, other) for event in (begun_event(record), over(record)) if event]
    assert ids[:2] == ids[2:4] and len(set(ids)) == 4
    again = opened(fleet(1, 1), run="00000001")
    again.began_at = "2026-02-01T12:00:00.000Z"
    assert over(again).id not in ids


def test_the_file_of_a_killed_rolling_run_gives_its_missed_events() -> None:
    record = opened(fleet(2, 1), serial=1)
    begun = begun_event(record)
    begin_batch(record, 1)
    both = missed_events(killed(record), EVENTS_AT)
    assert kinds(both) == [("rollout.begun", "1b2c3d4e"), ("rollout.stopped", "1b2c3d4e")]
    assert both[0] == begun
    assert (both[1].data["stopped"], both[1].data["ok"], both[1].data["seconds"]) == ("its command ended before it did", False, None)
    assert kinds(missed_events(killed(record, BEGUN), EVENTS_AT)) == [("rollout.stopped", "1b2c3d4e")]
    # The missed event and the written event have the same id.
    assert missed_events(killed(record, BEGUN), EVENTS_AT)[0].id == over(record).id
