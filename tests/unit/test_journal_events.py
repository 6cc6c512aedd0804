# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outbox: an event and its cause are written together, numbers are unique, and a disabled outbox stays empty."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal import outbox
from ansible_collections.fleet.power.plugins.module_utils._power.journal.acceptance import ended
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import JournalUnusable
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import RESTORE_ORIGIN
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import ORIGIN, EndedRun, Limits, SeenRun, Verdict
from ansible_collections.fleet.power.tests.unit.journal_support import (
    ALPHA,
    BETA,
    NOON,
    Node,
    act,
    begin,
    in_processes,
    killed_after,
    perform,
    result,
)

SECRET = "hunter2-of-the-log"


@pytest.fixture(name="journal")
def open_outbox(node: Node) -> Journal:
    journal = node.journal()
    journal.events.open()
    return journal


def events(journal: Journal, after: int = 0, limit: int = 1000) -> list[Event]:
    page = journal.events.after(after, limit)
    assert page is not None
    return list(page.events)


def types(journal: Journal) -> list[str]:
    return [event.type.value for event in events(journal)]


def run(number: int, server: Server = ALPHA) -> Run:
    return Run(f"container of {server.name}", f"2026-03-01T12:00:0{number}.123456789Z")


def crash(number: int = 1, server: Server = ALPHA, **more: Any) -> EndedRun:
    given: dict[str, Any] = {"exit_code": 3, "at": "2026-03-01T12:00:09.000Z", "due": True, "log": (SECRET,), **more}
    return EndedRun(server, run(number, server), Verdict.CRASHED, **given)


def seen(number: int, **more: Any) -> SeenRun:
    return SeenRun(run(number), **more)


def note(number: int = 0) -> Event:
    return Event(EventType.COUNTDOWN_BEGUN, "2026-03-01T12:00:00.000Z", {"number": number}, ALPHA)


def test_without_an_outbox_a_write_succeeds_and_stores_no_event(node: Node) -> None:
    journal = node.journal()
    act(journal, "op-1", ALPHA)
    assert journal.events.write(note())
    assert journal.events.state() is None
    assert journal.events.after(0, 10) is None
    assert journal.warnings == []


def test_the_event_of_an_end_has_origin_and_reason_but_no_log(journal: Journal) -> None:
    begin(journal)
    journal.operations.end(result(outcome=Outcome.FAILED, code="start_failed", msg="It ended at once", log=(SECRET,)))
    (event,) = events(journal)
    assert (event.type, event.server, event.at) == (EventType.ACTION_ENDED, ALPHA, "2026-03-01T12:00:02.250Z")
    sent = {name: event.data[name] for name in ("operation", "action", "outcome", "code", "msg", "origin", "reason")}
    assert sent == {
        "operation": "op-1",
        "action": "restart",
        "outcome": "failed",
        "code": "start_failed",
        "msg": "It ended at once",
        "origin": "alice@web1",
        "reason": "update",
    }
    assert SECRET not in str(event)


@pytest.mark.parametrize("outcome", [Outcome.UNCHANGED, Outcome.SKIPPED])
def test_an_unchanged_or_skipped_action_writes_no_event(journal: Journal, outcome: Outcome) -> None:
    begin(journal)
    journal.operations.end(result(outcome=outcome))
    assert events(journal) == []


def test_failed_and_cancelled_actions_that_never_began_write_events(journal: Journal) -> None:
    journal.operations.end(result("op-1", outcome=Outcome.FAILED), origin="bob@web2", reason="because")
    journal.store.write(ended([(result("op-2", BETA, outcome=Outcome.CANCELLED), "panel")]))
    first, second = events(journal)
    assert (first.data["origin"], first.data["reason"], first.data["begun_at"]) == ("bob@web2", "because", None)
    assert (second.server, second.data["origin"], second.data["outcome"]) == (BETA, "panel", "cancelled")


def test_a_refusal_writes_an_event_only_if_the_action_had_begun(journal: Journal) -> None:
    journal.operations.end(result("op-1", outcome=Outcome.REFUSED), origin="bob@web2")
    journal.store.write(ended([(result("op-2", BETA, outcome=Outcome.REFUSED), "192.0.2.7 (user 5)")]))
    perform(journal, "op-3", outcome=Outcome.REFUSED)
    assert [event.data["operation"] for event in events(journal)] == ["op-3"]


@pytest.mark.parametrize("origin", [ORIGIN, RESTORE_ORIGIN])
def test_a_refused_start_of_the_supervisor_or_a_restore_writes_an_event(journal: Journal, origin: str) -> None:
    journal.operations.end(result("op-1", outcome=Outcome.REFUSED), origin=origin)
    assert [event.data["origin"] for event in events(journal)] == [origin]


def test_an_action_of_a_dead_process_writes_one_interrupted_event(node: Node, journal: Journal) -> None:
    killed_after(lambda: begin(node.journal(), "op-1"))
    begin(journal, "op-2", BETA)
    for _again in range(2):
        assert journal.operations.end_all_dead()
    (event,) = events(journal)
    assert (event.data["operation"], event.data["outcome"], event.data["code"]) == ("op-1", "failed", "interrupted")
    begin(journal, "op-3")
    journal.operations.end(result("op-3"))
    assert [each.data["operation"] for each in events(journal)] == ["op-1", "op-3"]


def test_a_running_action_without_a_mark_writes_no_interrupted_event(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal.marks, "own_name", lambda: "")
    begin(journal, "op-1")
    assert journal.operations.end_all_dead() and events(journal) == []
    journal.operations.end(result("op-1"))
    begin(journal, "op-2")
    begin(journal, "op-3")
    journal.operations.end(result("op-3"))
    assert [(each.data["operation"], each.data["outcome"]) for each in events(journal)] == [
        ("op-1", "done"),
        ("op-3", "done"),
        ("op-2", "failed"),
    ]


def test_a_crash_writes_one_event_and_a_crash_loop_another(journal: Journal) -> None:
    limits = Limits(max_restarts=1)
    for number in (1, 1, 2, 3):
        journal.ended_runs.write(crash(number), limits)
        journal.runs.see(ALPHA.uuid, seen(number + 1, answers=journal.ended_runs.due()[0].number if journal.ended_runs.due() else 0))
    assert types(journal) == [
        *("server.crashed", "server.recovered", "server.crashed", "server.crash_loop"),
        *("server.recovered", "server.crashed", "server.recovered"),
    ]
    loop = events(journal)[3]
    assert (loop.data["consecutive_crashes"], loop.data["max_restarts"], loop.data["exit_code"]) == (2, 1, 3)
    assert SECRET not in str(events(journal))


def test_an_end_without_a_crash_writes_no_event(journal: Journal) -> None:
    for number, verdict in enumerate((Verdict.STOPPED, Verdict.ENDED, Verdict.ENGINE_STOPPED, Verdict.PENDING), 1):
        journal.ended_runs.write(replace(crash(number), verdict=verdict, due=False))
        journal.runs.see(ALPHA.uuid, seen(number + 1))
    assert events(journal) == []


def test_a_pending_run_writes_its_events_with_its_verdict(journal: Journal) -> None:
    journal.ended_runs.write(replace(crash(), verdict=Verdict.PENDING, due=False))
    journal.runs.see(ALPHA.uuid, SeenRun(run(2), matchers=False))
    assert events(journal) == []
    journal.ended_runs.write(crash(due=False))
    assert types(journal) == ["server.crashed", "server.recovered"]


def test_repeated_looks_at_a_run_write_one_recovery_event(journal: Journal) -> None:
    journal.ended_runs.write(crash())
    for _again in range(3):
        journal.runs.see(ALPHA.uuid, seen(2))
    assert types(journal) == ["server.crashed", "server.recovered"]
    recovered = events(journal)[1]
    assert (recovered.server, recovered.data["consecutive_crashes"], recovered.at) == (ALPHA, 1, "2026-03-01T12:00:02.123Z")


def test_an_event_and_its_operation_are_written_in_one_transaction(node: Node, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: sqlite3.Connection, *_events: object) -> None:
        connection.execute("INSERT INTO no_such_table VALUES (1)")

    begin(journal)
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "tell", broken)
        journal.operations.end(result())
    assert node.count() == 0
    assert events(journal) == []
    journal.late_writes.write_all()
    assert (node.count(), types(journal)) == (1, ["action.ended"])


def test_the_outbox_keeps_ten_thousand_events_and_reports_the_oldest_number(journal: Journal) -> None:
    def many(connection: sqlite3.Connection) -> None:
        outbox.tell(connection, lambda: [note(number) for number in range(outbox.KEPT_EVENTS + 5)])

    journal.store.write(many)
    state = journal.events.state()
    assert state is not None
    assert (state.oldest, state.last) == (6, outbox.KEPT_EVENTS + 5)
    assert [event.number for event in events(journal, 0, 2)] == [6, 7]
    assert journal.events.drop_through(10**9)
    assert events(journal) == []
    assert journal.events.write(note())
    # Numbers are never used again.
    assert [event.number for event in events(journal)] == [outbox.KEPT_EVENTS + 6]


def test_many_events_of_one_server_drop_no_event_of_another_server(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEPT_EVENTS", 100)
    journal.ended_runs.write(crash(server=BETA))
    journal.store.write(lambda connection: outbox.tell(connection, lambda: [note(number) for number in range(outbox.KEPT_EVENTS + 50)]))
    kept = events(journal, limit=outbox.KEPT_EVENTS + 1)
    assert len(kept) == outbox.KEPT_EVENTS
    assert [(event.number, event.server) for event in kept[:2]] == [(1, BETA), (53, ALPHA)]


def test_a_full_outbox_drops_the_oldest_events_of_each_server(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEPT_EVENTS", 10)
    for number in range(12):
        journal.events.write(replace(note(number), server=(ALPHA, BETA)[number % 2]))
    journal.events.write(note(12))
    kept = [(event.number, event.server) for event in events(journal)]
    assert [number for number, server in kept if server == BETA] == [4, 6, 8, 10, 12]
    assert [number for number, server in kept if server == ALPHA] == [5, 7, 9, 11, 13]


def test_the_outbox_drops_events_up_to_a_number_and_notes_ages(node: Node, journal: Journal) -> None:
    for number in range(3):
        journal.events.write(note(number))
    assert journal.events.ages() == ""
    assert journal.events.drop_through(2) and journal.events.note_ages("a") and journal.events.note_ages("b")
    assert ([event.number for event in events(journal)], node.journal(read_only=True).events.ages()) == ([3], "b")
    journal.events.close()
    assert journal.events.note_ages("c") and journal.events.drop_through(3) and journal.events.ages() == ""


def test_a_new_outbox_has_another_id_and_no_events(node: Node, journal: Journal) -> None:
    first = journal.events.state()
    journal.events.open()
    assert journal.events.state() == first
    journal.events.close()
    assert journal.events.state() is None
    act(journal, "op-1", ALPHA)
    journal.events.open()
    again = journal.events.state()
    assert first is not None and again is not None
    assert (again.id != first.id, again.last) == (True, 0)
    with closing(sqlite3.connect(node.file)) as connection:
        assert connection.execute("SELECT count(*) FROM outbox").fetchone()[0] == 0


def test_many_processes_lose_no_event_and_give_each_its_own_number(node: Node, journal: Journal) -> None:
    journal.close()

    def work(number: int, barrier: Any) -> None:
        own = node.journal()
        barrier.wait()
        for count in range(20):
            act(own, f"op-{number}-{count}", ALPHA)
        own.close()

    in_processes(6, work)
    found = events(node.journal())
    assert [event.number for event in found] == list(range(1, 121))
    assert {event.data["operation"] for event in found} == {f"op-{number}-{count}" for number in range(6) for count in range(20)}


@pytest.mark.parametrize("data", ["{broken", b"\xff", "[1]", "[" * 100_000, 7])
def test_an_event_with_unreadable_data_counts_as_removed(node: Node, journal: Journal, data: object) -> None:
    for number in range(3):
        journal.events.write(note(number))
    with closing(sqlite3.connect(node.file)) as connection, connection:
        connection.execute("UPDATE outbox SET data = ? WHERE number = 2", (data,))
    assert [event.number for event in events(journal)] == [1, 3]
    assert [event.number for event in events(journal, after=1, limit=1)] == [3]
    assert [event.number for event in journal.events.of(1, 3, 2)] == [1, 3]


def test_an_unreadable_outbox_raises_an_error(node: Node, journal: Journal) -> None:
    journal.close()
    node.file.rename(node.file.with_suffix(".away"))
    node.file.mkdir()
    with pytest.raises((JournalUnusable, OSError)):
        node.journal(read_only=True).events.state()


def test_a_read_only_journal_reads_events_without_change(node: Node, journal: Journal) -> None:
    act(journal, "op-1", ALPHA)
    before = node.listing()
    assert [event.data["operation"] for event in events(node.journal(read_only=True))] == ["op-1"]
    assert node.listing() == before


def test_an_event_has_the_time_at_which_its_action_ended(journal: Journal) -> None:
    act(journal, "op-1", ALPHA)
    (event,) = events(journal)
    assert event.at == (NOON + timedelta(seconds=2)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
