# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What went down when, and why: a server's past over a span, in which nothing unknown counts as up or as down."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.outage_facts import (
    MOST_OF_EACH,
    MOST_OUTAGES,
    OutageFacts,
    outage_facts,
)
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal_rows import OperationRow
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outages import History, Past, Piece
from ansible_collections.fleet.power.plugins.module_utils._power.journal.span import Span, read_span
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import NEVER_STARTED, Run, Server, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, SeenRun, Verdict
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from hypothesis import given, settings
from hypothesis import strategies as st

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
SERVER = Server(UUID, "Cobalt")
#: The last 1000 s.
SPAN = Span(NOON, NOON + timedelta(seconds=1000), NOON + timedelta(seconds=1000))


def at(seconds: float) -> str:
    """A moment as the engine writes it."""
    return f"{NOON + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%f}000Z"


def run(began: float, container: str = "c1") -> Run:
    return Run(container, at(began))


def row(began: float, ended: float, verdict: Verdict = Verdict.CRASHED, **fields: Any) -> EndedRun:
    told = {"ended_at": at(ended), "at": timestamp(NOON + timedelta(seconds=ended)), "seconds": ended - began, **fields}
    return EndedRun(SERVER, run(began), verdict, **told)


def operation(action: str, begun: float, ended: float, outcome: str = "done", **fields: Any) -> OperationRow:
    times = {"begun_at": timestamp(NOON + timedelta(seconds=begun)), "ended_at": timestamp(NOON + timedelta(seconds=ended))}
    return OperationRow(fields.pop("id", f"{action}-{begun}"), SERVER, action, outcome=outcome, **times, **fields)


def container(began: float, ended: float | None = None, **fields: Any) -> Snapshot:
    """The container as it is now: up, or down since."""
    return Snapshot("c1", UUID, ended is None, at(began), "" if ended is None else at(ended), **fields)


def shown(*, span: Span = SPAN, **known: Any) -> list[tuple[float, float, bool | None, str]]:
    """The span in pieces, in seconds."""
    found = Past.of(History(**known), span).pieces
    return [((each.since - NOON).total_seconds(), (each.until - NOON).total_seconds(), each.up, each.cause.why) for each in found]


class TestPieces:
    def test_a_crash_after_which_the_supervisor_started_it_is_one_outage(self) -> None:
        rows = [row(-50, 300, next_run=run(310))]
        assert shown(rows=rows, snapshot=container(310)) == [(0, 300, True, ""), (300, 310, False, "crashed"), (310, 1000, True, "")]

    def test_what_is_down_now_is_down_until_now(self) -> None:
        rows = [row(-50, 300, Verdict.STOPPED)]
        assert shown(rows=rows, snapshot=container(-50, 300)) == [(0, 300, True, ""), (300, 1000, False, "stopped")]
        assert shown(rows=rows) == [(0, 300, True, ""), (300, 1000, False, "stopped")]

    def test_an_end_that_no_row_tells_of_is_told_by_the_container(self) -> None:
        assert shown(snapshot=container(-50, 300, exit_code=3)) == [(0, 300, True, ""), (300, 1000, False, "")]
        found = outage_facts(History(snapshot=container(-50, 300, exit_code=3)), SPAN)
        assert found["outages"][0] | {"from": ""} == {
            **dict.fromkeys(("why", "planned", "action", "origin", "reason", "code", "operation", "oom_killed", "until")),
            "from": "",
            "seconds": 700.0,
            "exit_code": 3,
        }

    def test_before_the_first_run_that_is_known_nothing_is(self) -> None:
        assert shown(snapshot=container(400)) == [(0, 400, None, ""), (400, 1000, True, "")]
        assert shown() == [(0, 1000, None, "")]
        assert shown(snapshot=Snapshot("c1", UUID, False, NEVER_STARTED)) == [(0, 1000, None, "")]

    def test_between_two_runs_by_hand_that_nobody_saw_nothing_is_known(self) -> None:
        rows = [row(-50, 300, Verdict.PENDING), row(400, 500, Verdict.PENDING)]
        expected = [(0, 300, True, ""), (300, 400, None, ""), (400, 500, True, ""), (500, 1000, False, "")]
        assert shown(rows=rows, snapshot=container(400, 500)) == expected

    @pytest.mark.parametrize(
        "known",
        [
            {"operations": [operation("start", 399, 405)]},
            {"operations": [operation("restart", 250, 401, "failed")]},
            {"started": run(400)},
            {"rows": [row(-50, 300, Verdict.ENDED)], "seen": SeenRun(run(400), engine="boot/1")},
            {"rows": [row(-50, 300, Verdict.STOPPED_EXTERNALLY), row(400, 500, Verdict.CRASHED)], "snapshot": container(400, 500)},
        ],
        ids=["a start of ours", "one that failed later", "the newest of ours", "seen up", "both ends seen"],
    )
    def test_it_is_known_where_the_later_one_was_started_here_or_both_were_seen(self, known: dict[str, Any]) -> None:
        given = {"rows": [row(-50, 300, Verdict.PENDING)], "snapshot": container(400), **known}
        assert (300, 400, False) in [each[:3] for each in shown(**given)]

    def test_a_start_that_is_long_over_tells_nothing_of_a_later_run(self) -> None:
        given = {"rows": [row(-50, 300, Verdict.PENDING)], "snapshot": container(400), "operations": [operation("start", 100, 200)]}
        assert (300, 400, None, "") in [(*each[:3], "") for each in shown(**given)]

    def test_another_container_in_its_place_hides_what_came_before_it(self) -> None:
        rows = [row(-50, 300, Verdict.CRASHED)]
        unknown = Snapshot("c9", UUID, False, at(-100), at(-80))
        assert shown(rows=rows, snapshot=unknown)[-1] == (300, 1000, None, "crashed")

    def test_a_run_that_was_seen_up_and_whose_end_nobody_wrote_is_unknown_until_the_next(self) -> None:
        found = shown(seen=SeenRun(run(100, "c0")), snapshot=container(500))
        assert found == [(0, 100, None, ""), (100, 500, None, ""), (500, 1000, True, "")]

    def test_rows_of_earlier_versions_without_an_end_are_read_by_their_writing_where_we_stopped_it(self) -> None:
        assert shown(rows=[row(-50, 300, Verdict.STOPPED, ended_at="")])[0] == (0, 300, True, "")
        assert shown(rows=[row(-50, 300, Verdict.CRASHED, ended_at="")])[0] == (0, 1000, None, "")

    def test_rows_that_name_no_run_tell_nothing(self) -> None:
        assert shown(rows=[EndedRun(SERVER, Run("", ""), Verdict.STOPPED, at=at(3))]) == [(0, 1000, None, "")]


class TestWhy:
    def test_who_stopped_it_and_why_comes_from_the_operation(self) -> None:
        stop = operation("stop", 290, 300, id="op-1", origin="alice@web1", reason="backup")
        known = History(rows=[row(-50, 300, Verdict.STOPPED, operation="op-1", origin="alice")], operations=[stop])
        outage = outage_facts(known, SPAN)["outages"][0]
        told = [outage[name] for name in ("why", "planned", "action", "origin", "reason")]
        assert told == ["stopped", True, "stop", "alice@web1", "backup"]
        assert outage["until"] is None and outage["seconds"] == 700

    def test_where_the_operation_is_pruned_the_row_says_who(self) -> None:
        known = History(rows=[row(-50, 300, Verdict.STOPPED, operation="op-1", origin="alice")])
        outage = outage_facts(known, SPAN)["outages"][0]
        assert (outage["origin"], outage["operation"], outage["action"]) == ("alice", "op-1", None)

    @pytest.mark.parametrize(
        "verdict, planned",
        [
            *((each, True) for each in (Verdict.STOPPED, Verdict.RESTARTING, Verdict.STOPPED_EXTERNALLY)),
            *((each, False) for each in (Verdict.CRASHED, Verdict.ENGINE_STOPPED)),
            *((each, None) for each in (Verdict.ENDED, Verdict.ENDED_UNOBSERVED, Verdict.INITIALLY_DOWN, Verdict.PENDING)),
        ],
    )
    def test_a_planned_stop_and_a_crash_are_told_apart_and_no_guess_is_made(self, verdict: Verdict, planned: bool | None) -> None:
        found = outage_facts(History(rows=[row(-50, 300, verdict)]), SPAN)
        assert found["outages"][0]["planned"] is planned
        assert found["planned_seconds"] == (700 if planned else 0)

    def test_a_restart_that_does_not_bring_it_up_is_planned_until_it_has_failed(self) -> None:
        restart = operation("restart", 290, 320, "failed", code="start_failed", origin="alice")
        rows = [row(-50, 300, Verdict.RESTARTING, operation=restart.id)]
        found = outage_facts(History(rows=rows, operations=[restart]), SPAN)["outages"]
        assert [(each["why"], each["planned"], each["seconds"], each["code"]) for each in found] == [
            ("restarting", True, 20, "start_failed"),
            ("not_started", False, 680, "start_failed"),
        ]

    def test_a_crash_after_which_somebody_wants_it_down_is_planned_from_then_on(self) -> None:
        stop = operation("stop", 400, 400, "unchanged", origin="bob")
        again = operation("stop", 500, 500, "unchanged", origin="eve")
        found = outage_facts(History(rows=[row(-50, 300)], operations=[stop, again]), SPAN)["outages"]
        assert [(each["why"], each["planned"], each["seconds"], each["origin"]) for each in found] == [
            ("crashed", False, 100, None),
            ("stopped", True, 600, "bob"),
        ]

    def test_tries_of_the_supervisor_that_fail_leave_a_crash_one_outage(self) -> None:
        tries = [operation("start", moment, moment + 1, "failed", origin="supervisor") for moment in range(310, 900, 10)]
        assert [each[3] for each in shown(rows=[row(-50, 300)], operations=tries)] == ["", "crashed"]


class TestTotals:
    def test_they_are_of_the_span_and_unknown_time_is_no_part_of_the_availability(self) -> None:
        rows = [row(100, 300, next_run=run(350)), row(350, 800, Verdict.STOPPED)]
        found = outage_facts(History(rows=rows), SPAN)
        assert found["known_since"] == timestamp(NOON + timedelta(seconds=100))
        assert (found["up_seconds"], found["down_seconds"], found["planned_seconds"], found["unknown_seconds"]) == (650, 250, 200, 100)
        assert found["availability"] == round(100 * 650 / 900, 4)

    def test_a_span_in_the_past_has_its_own_end(self) -> None:
        span = Span(NOON + timedelta(seconds=200), NOON + timedelta(seconds=400), SPAN.now)
        found = outage_facts(History(rows=[row(-50, 300, Verdict.STOPPED)]), span)
        assert (found["up_seconds"], found["down_seconds"]) == (100, 100)
        assert found["outages"][0]["until"] == timestamp(NOON + timedelta(seconds=400))

    def test_what_nobody_knows_has_no_availability(self) -> None:
        found = outage_facts(History(), SPAN)
        assert (found["availability"], found["known_since"], found["unknown_seconds"], found["outages"]) == (None, None, 1000, [])

    def test_of_many_the_last_are_told_and_all_are_counted(self) -> None:
        rows = [row(moment, moment + 1, next_run=run(moment + 2)) for moment in range(0, 2 * MOST_OUTAGES + 40, 2)]
        found = outage_facts(History(rows=rows), SPAN)
        assert (len(found["outages"]), found["omitted"]) == (MOST_OUTAGES, 20)
        assert found["down_seconds"] > sum(each["seconds"] for each in found["outages"])
        several = OutageFacts(SPAN, {UUID: History(rows=rows), "another": History()}).of(UUID, None)
        assert several is not None and (len(several["outages"]), several["omitted"]) == (MOST_OF_EACH, 100)
        assert several["down_seconds"] == found["down_seconds"]


MOMENTS = st.integers(-2000, 2000)
ROWS = st.builds(
    lambda began, ended, verdict, link, told: row(
        began, ended, verdict, next_run=run(link) if link is not None else None, **({} if told else {"ended_at": ""})
    ),
    *(MOMENTS, MOMENTS, st.sampled_from(Verdict), st.none() | MOMENTS, st.booleans()),
)
OPERATIONS = st.builds(
    operation,
    *(st.sampled_from(["start", "stop", "restart", "kill", "dance"]), MOMENTS, MOMENTS),
    st.sampled_from(["done", "unchanged", "failed", "refused", ""]),
)
CONTAINERS = st.none() | st.builds(container, MOMENTS, st.none() | MOMENTS)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(ROWS, max_size=12),
    operations=st.lists(OPERATIONS, max_size=8),
    snapshot=CONTAINERS,
    seen=st.none() | st.builds(lambda began: SeenRun(run(began), engine="boot/1"), MOMENTS),
    started=st.none() | st.builds(run, MOMENTS),
    since=MOMENTS,
    length=st.integers(1, 4000),
    late=st.integers(0, 500),
)
def test_whatever_clocks_did_the_pieces_follow_each_other_and_make_up_the_span(
    rows: Sequence[EndedRun],
    operations: Sequence[OperationRow],
    snapshot: Snapshot | None,
    seen: SeenRun | None,
    started: Run | None,
    since: int,
    length: int,
    late: int,
) -> None:
    begin, end = (NOON + timedelta(seconds=each) for each in (since, since + length))
    span = Span(begin, end, end + timedelta(seconds=late))
    history = History(rows, operations, snapshot, seen, started)
    found: Sequence[Piece] = Past.of(history, span).pieces
    assert [found[0].since, *(each.until for each in found)] == [*(each.since for each in found), found[-1].until]
    assert (found[0].since, found[-1].until) == (span.since, span.until)
    assert all(each.since < each.until for each in found)
    facts = outage_facts(history, span)
    assert sum(facts[name] for name in ("up_seconds", "down_seconds", "unknown_seconds")) == pytest.approx(length)
    assert facts["planned_seconds"] <= facts["down_seconds"]
    assert sum(each["seconds"] for each in facts["outages"]) == pytest.approx(facts["down_seconds"])
    if facts["known_since"] is None or facts["known_since"] >= timestamp(span.until):
        assert facts["unknown_seconds"] == length


class TestSpan:
    @pytest.mark.parametrize(
        "text, seconds",
        [("30d", 2592000), ("12h", 43200), ("90m", 5400), ("45s", 45), ("2w", 1209600), ("604800", 604800), (" 7d ", 604800)],
    )
    def test_it_begins_so_long_ago(self, text: str, seconds: int) -> None:
        assert read_span(text, "", NOON) == Span(NOON - timedelta(seconds=seconds), NOON, NOON)

    @pytest.mark.parametrize(
        "text, moment",
        [
            ("2026-02-28", datetime(2026, 2, 28, tzinfo=timezone.utc)),
            ("2026-02-28T10:00", datetime(2026, 2, 28, 10, tzinfo=timezone.utc)),
            ("2026-02-28 10:00:00", datetime(2026, 2, 28, 10, tzinfo=timezone.utc)),
            ("2026-02-28T10:00:00Z", datetime(2026, 2, 28, 10, tzinfo=timezone.utc)),
            ("2026-02-28T10:00:00.123456789Z", datetime(2026, 2, 28, 10, 0, 0, 123456, tzinfo=timezone.utc)),
            ("2026-02-28T10:00:00.5+02:00", datetime(2026, 2, 28, 8, 0, 0, 500000, tzinfo=timezone.utc)),
        ],
    )
    def test_or_at_a_moment(self, text: str, moment: datetime) -> None:
        assert read_span(text, "1h", NOON) == Span(moment, NOON - timedelta(hours=1), NOON)

    def test_it_ends_now_at_the_latest_and_begins_no_earlier_than_clocks_do(self) -> None:
        assert read_span("1d", "2030-01-01", NOON).until == NOON
        assert read_span("9999999999w", "", NOON).since.year == 1970

    @pytest.mark.parametrize("text", ["yesterday", "", "7 days", "-1", "2026-02-30", "2026-02-28T25:00", "1e3", "\u0663d", "7d" * 50])
    def test_anything_else_is_refused_with_its_name(self, text: str) -> None:
        with pytest.raises(SettingsInvalid, match="downtime_until=") as refused:
            read_span("7d", text or "x", NOON, prefix="downtime_")
        assert len(str(refused.value)) < 250

    @pytest.mark.parametrize("since, until", [("1h", "2h"), ("2026-03-02", ""), ("0", ""), ("1h", "1h")])
    def test_one_that_ends_before_it_begins_is_refused(self, since: str, until: str) -> None:
        with pytest.raises(SettingsInvalid, match="it is not before"):
            read_span(since, until, NOON)


class TestOfAServer:
    """What the journal really has of one."""

    def told(self, fake: FakeNode, seconds: float) -> dict[str, Any]:
        now = fake.clock.now()
        span = Span(now - timedelta(seconds=seconds), now, now)
        found = describe((UUID,), fake.node, FactOptions(downtime=span), remember=lambda uuid, run: None)
        entry: dict[str, Any] = found.entries[0]["downtime"]
        return entry

    def test_restart_crash_start_and_stop_are_told_in_their_order(self, fake: FakeNode) -> None:
        fake.clock.sleep(100)
        fake.up()
        fake.clock.sleep(100)
        fake.engine.before["start"].append(lambda: fake.clock.sleep(5))
        fake.perform("restart", reason="update")
        fake.clock.sleep(100)
        fake.engine.end(UUID, 3)
        fake.clock.sleep(50)
        fake.perform("start")
        fake.clock.sleep(100)
        fake.perform("stop", origin="bob@web2")
        fake.clock.sleep(20)
        found = self.told(fake, 500)
        assert [(each["why"], each["seconds"], each["action"], each["reason"], each["exit_code"]) for each in found["outages"]] == [
            ("restarting", pytest.approx(5, abs=0.1), "restart", "update", None),
            # Nobody has judged it: no supervisor runs.
            (None, pytest.approx(50, abs=0.1), None, None, 3),
            ("stopped", pytest.approx(20, abs=0.1), "stop", None, None),
        ]
        assert found["outages"][-1]["origin"] == "bob@web2" and found["outages"][-1]["until"] is None
        assert found["up_seconds"] == pytest.approx(300, abs=0.2) and found["unknown_seconds"] == pytest.approx(125, abs=0.2)

    def test_a_start_by_hand_that_nobody_saw_leaves_the_time_before_it_unknown(self, fake: FakeNode) -> None:
        fake.down()
        fake.clock.sleep(50)
        fake.engine.execute_start(UUID)
        fake.clock.sleep(100)
        found = self.told(fake, 120)
        assert (found["up_seconds"], found["down_seconds"], found["unknown_seconds"]) == (pytest.approx(100), 0, pytest.approx(20))

    def test_a_journal_that_was_begun_anew_tells_of_the_run_that_is_up_alone(self, fake: FakeNode) -> None:
        fake.up()
        fake.clock.sleep(100)
        fake.perform("restart")
        fake.clock.sleep(100)
        for file in (fake.root / "state").glob("journal.*"):
            file.unlink()
        fake.node = fake.build()
        found = self.told(fake, 300)
        assert (found["up_seconds"], found["unknown_seconds"], found["outages"]) == (pytest.approx(100), pytest.approx(200), [])

    def test_one_that_cannot_be_read_is_null_with_a_warning(self, fake: FakeNode) -> None:
        fake.up()
        fake.close()
        with closing(sqlite3.connect(fake.root / "state" / "journal.sqlite", isolation_level=None)) as connection:
            connection.execute("PRAGMA user_version = 99")
        fake.node = fake.build()
        assert self.told(fake, 300) is None
        assert any("Cannot read the journal" in warning for warning in fake.node.journal.warnings)

    def test_who_does_not_ask_is_told_nothing(self, fake: FakeNode) -> None:
        fake.up()
        assert "downtime" not in describe((UUID,), fake.node, FactOptions(), remember=lambda uuid, run: None).entries[0]

    def test_one_that_cannot_be_seen_is_not_guessed_about(self, fake: FakeNode) -> None:
        fake.up()
        fake.engine.refuse("inspect")
        assert self.told(fake, 300) is None


def test_a_row_that_is_dated_after_now_is_taken_for_now() -> None:
    """As after a clock that was set back: nothing is said of what is to come."""
    rows = [replace(row(-50, 5000, Verdict.STOPPED))]
    assert shown(rows=rows, snapshot=container(-50, 5000)) == [(0, 1000, True, "")]
