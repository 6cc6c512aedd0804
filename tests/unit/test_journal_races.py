# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many processes write to one journal, and each end of a run has one row."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal import journal_file
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.mark import ProcessMarks
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import KEPT_OPERATIONS, KEPT_RUNS
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Limits, SeenRun, Verdict, seconds_left
from ansible_collections.fleet.power.tests.unit.journal_support import (
    ALPHA,
    BETA,
    PHASES,
    Node,
    act,
    begin,
    in_processes,
    killed_after,
    perform,
    result,
)


@pytest.mark.parametrize("shared", [True, False], ids=["a journal per process", "a journal per writer"])
def test_many_writers_lose_no_row_and_meet_no_locked_journal(node: Node, shared: bool) -> None:
    # SQLite does not queue its waiters: with 500 connections, one can wait for as long as all others write.
    threads_of_each = 125 if shared else 40

    def writers(number: int, barrier: Any) -> None:
        ours = node.journal()
        warnings: list[str] = []
        together = threading.Barrier(threads_of_each)

        def write(thread: int) -> None:
            journal = ours if shared else node.journal()
            together.wait(30)
            act(journal, f"{number}-{thread}", _server(number, thread))
            warnings.extend(journal.warnings)

        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(threads_of_each)]
        barrier.wait(30)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for journal in node.opened:
            journal.close()
        assert warnings == []

    in_processes(4, writers)
    assert node.count() == 4 * threads_of_each
    _all_rows_are_whole(node, threads_of_each)
    assert list(node.locks.iterdir()) == [], "every process removed its mark"


def _server(number: int, thread: int) -> Server:
    return Server(f"{number:04x}{thread:04x}-0000-4000-8000-000000000000", f"server {number}-{thread}")


def _all_rows_are_whole(node: Node, threads: int) -> None:
    journal = node.journal(read_only=True)
    servers = {f"{number}-{thread}": _server(number, thread) for number in range(4) for thread in range(threads)}
    uuids = [server.uuid for server in servers.values()]
    operations, intents, runs = journal.operations.last_acts(uuids), journal.intents.of_each(uuids), journal.runs.of_each(uuids)
    for operation, server in servers.items():
        row = operations[server.uuid]
        assert (row.id, row.server, row.outcome, row.origin, row.phases) == (operation, server, "done", "alice@web1", PHASES)
        assert row.begun_at and row.ended_at
        assert (intents[server.uuid].up, intents[server.uuid].operation) == (True, operation)
        assert runs[server.uuid] == SeenRun(Run(f"container of {operation}", operation), matchers=True, matched=True)
    assert journal.warnings == []


def test_readers_beside_writers_meet_no_error_and_leave_no_file(node: Node) -> None:
    def work(number: int, barrier: Any) -> None:
        barrier.wait(30)
        for turn in range(60):
            journal = node.journal(read_only=number >= 2)
            if number < 2:
                perform(journal, f"{number}-{turn}")
            else:
                assert len(journal.operations.of(ALPHA.uuid)) <= 120
            journal.close()
            assert journal.warnings == []

    in_processes(4, work)
    assert node.count() == KEPT_OPERATIONS
    assert sorted(os.listdir(node.state)) == ["journal.lock", "journal.sqlite"]


def test_a_stuck_writer_causes_one_wait_and_one_warning(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "PATIENCE", 1.0)
    journal = node.journal()
    perform(journal)
    with closing(sqlite3.connect(node.file, isolation_level=None)) as stuck:
        stuck.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for number in range(5):
            perform(journal, f"x{number}")
        assert 1.0 <= time.monotonic() - began < 4.5
        assert len(journal.warnings) == 1 and "locked" in journal.warnings[0]
        assert journal.operations.last(ALPHA.uuid) is not None, "reading goes on"
        stuck.execute("ROLLBACK")
    perform(journal, "y")
    late = [f"x{number}" for number in range(5)]
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["y", *reversed(late), "op-1"]


def test_an_operation_of_a_killed_writer_is_interrupted_and_cannot_begin_again(node: Node) -> None:
    killed_after(lambda: begin(node.journal()))
    for journal in (node.journal(read_only=True), node.journal()):
        row = journal.operations.last(ALPHA.uuid)
        assert row is not None
        assert (row.outcome, row.code, row.ended_at) == ("failed", "interrupted", "")
    begin(journal)
    again = journal.operations.last(ALPHA.uuid)
    assert again == row, "an operation that has begun once cannot begin again"


def test_an_operation_of_a_living_process_reads_as_under_way(node: Node) -> None:
    def work(number: int, barrier: Any) -> None:
        journal = node.journal(read_only=number == 1)
        if number == 0:
            begin(journal)
        barrier.wait(30)
        row = journal.operations.last(ALPHA.uuid)
        assert row is not None and row.under_way
        barrier.wait(30)

    in_processes(2, work)


def test_an_operation_that_ends_during_a_read_reads_as_ended(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = node.journal(), node.journal()
    begin(writer)

    def ended_meanwhile(marks: ProcessMarks, name: str) -> bool:
        writer.operations.end(result())
        return False

    monkeypatch.setattr(ProcessMarks, "is_alive", ended_meanwhile)
    row = reader.operations.last(ALPHA.uuid)
    assert row is not None and (row.outcome, row.code) == ("done", "")


def test_the_next_end_settles_operations_of_dead_processes_for_pruning(node: Node) -> None:
    killed_after(lambda: begin(node.journal(), "dead"))
    journal = node.journal()
    begin(journal, "living")
    perform(journal, "next")
    assert {row.id: row.code for row in journal.operations.of(ALPHA.uuid)} == {"dead": "interrupted", "living": "", "next": ""}
    assert node.count() == 2
    for number in range(KEPT_OPERATIONS):
        perform(journal, f"d{number}")
    assert "dead" not in {row.id for row in journal.operations.of(ALPHA.uuid, limit=1000)}


def test_an_operation_of_a_closed_journal_reads_as_interrupted(node: Node) -> None:
    journal = node.journal()
    begin(journal)
    journal.close()
    row = node.journal().operations.last(ALPHA.uuid)
    assert row is not None and row.code == "interrupted"


def test_a_late_end_replaces_the_interrupted_outcome(node: Node) -> None:
    journal = node.journal()
    begin(journal)
    for mark in node.locks.iterdir():
        mark.unlink()
    perform(node.journal(), "other")
    journal.operations.end(result())
    assert {row.id: row.outcome for row in journal.operations.of(ALPHA.uuid)} == {"op-1": "done", "other": "done"}


def test_killed_writers_leave_an_undamaged_journal(node: Node) -> None:
    dice = random.Random(7)
    for turn in range(15):
        pid = os.fork()
        if pid == 0:
            journal = node.journal()
            for number in range(100000):
                perform(journal, f"{turn}-{number}")
            os._exit(0)
        time.sleep(dice.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    journal = node.journal()
    perform(journal, "last")
    assert journal.operations.of(ALPHA.uuid)[0].id == "last"
    assert journal.warnings == [] and node.set_aside() == []


def latest(journal: Journal, *servers: Server) -> Mapping[str, Sequence[EndedRun]]:
    """The ended runs of servers, newest first."""
    found = journal.ended_runs.history([server.uuid for server in servers], 1000, datetime.now(timezone.utc))
    assert found is not None
    return found.latest


def run(number: int, server: Server = ALPHA) -> Run:
    return Run(f"container of {server.name}", f"2026-03-01T12:00:00.{number:09d}Z")


def crashed(number: int = 1, server: Server = ALPHA, **more: Any) -> EndedRun:
    given: dict[str, Any] = {"exit_code": 3, "at": "2026-03-01T12:00:00.000Z", "due": True, "boot": "b", **more}
    return EndedRun(server, run(number, server), Verdict.CRASHED, **given)


def test_an_ended_run_reads_back_as_it_was_written(node: Node) -> None:
    row = crashed(
        log=("it is ready", 'odd "line" \x1b[0m'),
        seconds=12.5,
        oom_killed=True,
        operation="op",
        origin="alice@web1",
        ended_at="2026-03-01T12:00:01Z",
        next_at=100.0,
        definition="f" * 64,
    )
    journal = node.journal()
    assert journal.ended_runs.write(row)
    found = journal.ended_runs.of_run(row.run)
    assert found is not None and found == replace(row, consecutive_crashes=1, number=found.number)


def test_only_a_pending_verdict_of_a_run_can_be_replaced(node: Node) -> None:
    ended = node.journal().ended_runs
    assert ended.write(replace(crashed(), verdict=Verdict.PENDING, due=False))
    assert ended.write(crashed())
    for verdict in (Verdict.PENDING, Verdict.STOPPED, Verdict.ENDED_UNOBSERVED):
        assert ended.write(replace(crashed(), verdict=verdict, due=False, exit_code=0))
    found = ended.of_run(run(1))
    assert found is not None and (found.verdict, found.exit_code, found.due) == (Verdict.CRASHED, 3, True)
    assert len(latest(node.journal(), ALPHA)[ALPHA.uuid]) == 1


def test_pruning_keeps_a_hundred_runs_of_each_server_and_every_due_run(node: Node) -> None:
    ended = node.journal().ended_runs
    assert ended.write(crashed(0))
    for number in range(1, KEPT_RUNS + 50):
        assert ended.write(crashed(number, due=False))
    assert ended.write(crashed(0, BETA))
    found = latest(node.journal(), ALPHA, BETA)
    assert len(found[ALPHA.uuid]) == KEPT_RUNS + 1 and len(found[BETA.uuid]) == 1
    assert (found[ALPHA.uuid][0].run, found[ALPHA.uuid][-1].run, found[ALPHA.uuid][-1].due) == (run(KEPT_RUNS + 49), run(0), True)


def test_a_newer_run_closes_the_due_row_that_it_answers(node: Node) -> None:
    journal = node.journal()
    assert journal.ended_runs.write(crashed(1)) and journal.ended_runs.write(crashed(1, BETA))
    (first, other) = journal.ended_runs.due()
    assert journal.runs.see(ALPHA.uuid, SeenRun(run(2), answers=first.number))
    assert journal.ended_runs.due() == [other]
    assert journal.ended_runs.write(crashed(2))
    rows = latest(journal, ALPHA)[ALPHA.uuid]
    assert [(row.consecutive_crashes, row.next_run) for row in rows] == [(2, None), (1, run(2))]
    # A late report of the first run changes nothing.
    assert journal.runs.see(ALPHA.uuid, SeenRun(run(1)))
    seen = journal.runs.known_of(ALPHA.uuid)
    assert seen is not None and seen.run == run(2)
    # A run that another caller started counts from one.
    assert journal.runs.see(ALPHA.uuid, SeenRun(run(3)))
    assert journal.ended_runs.write(crashed(3), Limits())
    found = journal.ended_runs.of_run(run(3))
    assert found is not None and found.consecutive_crashes == 1


_HOSTILE = (None, "", "x", "9" * 400, b"\xff\x00", 2**62, -1, 1e308, float("inf"), "[" * 5000, '{"a":1}', "[1,2", "\ud7ff\x00")


def test_a_row_with_any_value_can_be_read(node: Node) -> None:
    journal = node.journal()
    assert journal.ended_runs.write(crashed(1)) and journal.ended_runs.write(crashed(2))
    assert journal.runs.see(ALPHA.uuid, SeenRun(run(99)))
    with closing(sqlite3.connect(node.file)) as connection:
        for table, named in (("ended_runs", ("number", "uuid", "due")), ("runs", ("uuid",))):
            for _cid, name, _kind, needed, _default, _key in connection.execute(f"PRAGMA table_info({table})").fetchall():
                if name in named:
                    continue
                (before,) = connection.execute(f"SELECT {name} FROM {table} LIMIT 1").fetchone()
                for value in _HOSTILE[1 if needed else 0 :]:
                    connection.execute(f"UPDATE {table} SET {name} = ? WHERE rowid = 1", (value,))
                    connection.commit()
                    read_and_written_again(journal)
                connection.execute(f"UPDATE {table} SET {name} = ? WHERE rowid = 1", (before,))
                connection.commit()


def read_and_written_again(journal: Journal) -> None:
    seen = journal.runs.known_of(ALPHA.uuid)
    assert seen is not None and journal.runs.see(ALPHA.uuid, seen)
    journal.ended_runs.due()
    row = journal.ended_runs.numbered(1)
    assert row is not None and 0 <= seconds_left(row, row.boot, 5.0) <= 3600
    assert journal.ended_runs.put_off(row)


def test_many_processes_write_one_row_per_ended_run(node: Node) -> None:
    servers = [Server(f"aaaaaaaa-0000-4000-8000-00000000000{number}", f"s{number}") for number in range(4)]
    perform(node.journal())

    def work(number: int, barrier: Any) -> None:
        journal = node.journal()
        barrier.wait()
        for count in range(15):
            for server in servers:
                assert journal.ended_runs.write(crashed(count, server, operation=str(number)))
                assert journal.runs.see(server.uuid, SeenRun(run(count + 1, server)))
            act(journal, f"{number}-{count}", BETA)
        assert journal.warnings == []
        journal.close()

    in_processes(4, work)
    found = latest(node.journal(), *servers)
    assert {uuid: len(rows) for uuid, rows in found.items()} == {server.uuid: 15 for server in servers}
    assert not node.journal().ended_runs.due()


def test_a_killed_writer_leaves_a_complete_row(node: Node) -> None:
    perform(node.journal())
    for number in range(5):
        killed_after(lambda number=number: node.journal().ended_runs.write(crashed(number)))
        found = node.journal().ended_runs.of_run(run(number))
        assert found is not None and found.consecutive_crashes == 1
