# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ended and seen runs in the journal: one row for each end whoever writes it, whatever is in the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import KEPT_RUNS
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Limits, SeenRun, Verdict, seconds_left
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, BETA, Node, act, in_processes, killed_after, perform


@pytest.fixture(name="node")
def make_node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    for journal in node.opened:
        journal.close()


def latest(journal: Journal, *servers: Server) -> Mapping[str, Sequence[EndedRun]]:
    """The ended runs of servers, the last first."""
    found = journal.ended_runs.history([server.uuid for server in servers], 1000, datetime.now(timezone.utc))
    assert found is not None
    return found.latest


def run(number: int, server: Server = ALPHA) -> Run:
    return Run(f"container of {server.name}", f"2026-03-01T12:00:00.{number:09d}Z")


def crashed(number: int = 1, server: Server = ALPHA, **more: Any) -> EndedRun:
    given: dict[str, Any] = {"exit_code": 3, "at": "2026-03-01T12:00:00.000Z", "due": True, "boot": "b", **more}
    return EndedRun(server, run(number, server), Verdict.CRASHED, **given)


def test_a_row_is_read_as_it_was_written(node: Node) -> None:
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


def test_the_first_verdict_on_a_run_stays_and_one_that_was_noted_is_none(node: Node) -> None:
    ended = node.journal().ended_runs
    assert ended.write(replace(crashed(), verdict=Verdict.PENDING, due=False))
    assert ended.write(crashed())
    for verdict in (Verdict.PENDING, Verdict.STOPPED, Verdict.ENDED_UNOBSERVED):
        assert ended.write(replace(crashed(), verdict=verdict, due=False, exit_code=0))
    found = ended.of_run(run(1))
    assert found is not None and (found.verdict, found.exit_code, found.due) == (Verdict.CRASHED, 3, True)
    assert len(latest(node.journal(), ALPHA)[ALPHA.uuid]) == 1


def test_of_each_server_a_hundred_are_kept_and_all_that_are_due(node: Node) -> None:
    ended = node.journal().ended_runs
    assert ended.write(crashed(0))
    for number in range(1, KEPT_RUNS + 50):
        assert ended.write(crashed(number, due=False))
    assert ended.write(crashed(0, BETA))
    found = latest(node.journal(), ALPHA, BETA)
    assert len(found[ALPHA.uuid]) == KEPT_RUNS + 1 and len(found[BETA.uuid]) == 1
    assert (found[ALPHA.uuid][0].run, found[ALPHA.uuid][-1].run, found[ALPHA.uuid][-1].due) == (run(KEPT_RUNS + 49), run(0), True)


def test_a_newer_run_closes_what_asked_for_one_and_says_which_row_it_answered(node: Node) -> None:
    journal = node.journal()
    assert journal.ended_runs.write(crashed(1)) and journal.ended_runs.write(crashed(1, BETA))
    (first, other) = journal.ended_runs.due()
    assert journal.runs.see(ALPHA.uuid, SeenRun(run(2), answers=first.number))
    assert journal.ended_runs.due() == [other]
    assert journal.ended_runs.write(crashed(2))
    rows = latest(journal, ALPHA)[ALPHA.uuid]
    assert [(row.consecutive_crashes, row.next_run) for row in rows] == [(2, None), (1, run(2))]
    # Whoever says late that the first one was up says nothing new.
    assert journal.runs.see(ALPHA.uuid, SeenRun(run(1)))
    seen = journal.runs.known_of(ALPHA.uuid)
    assert seen is not None and seen.run == run(2)
    # A run that somebody else started begins at one.
    assert journal.runs.see(ALPHA.uuid, SeenRun(run(3)))
    assert journal.ended_runs.write(crashed(3), Limits())
    found = journal.ended_runs.of_run(run(3))
    assert found is not None and found.consecutive_crashes == 1


_HOSTILE = (None, "", "x", "9" * 400, b"\xff\x00", 2**62, -1, 1e308, float("inf"), "[" * 5000, '{"a":1}', "[1,2", "\ud7ff\x00")


def test_whatever_stands_in_a_row_it_is_read(node: Node) -> None:
    """By whoever asks what is due: a file that one may write to with his group must not keep the supervisor from all others."""
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


def test_many_processes_that_see_the_same_ends_write_one_row_each(node: Node) -> None:
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


def test_a_row_of_a_writer_that_is_killed_is_whole_or_not_there(node: Node) -> None:
    perform(node.journal())
    for number in range(5):
        killed_after(lambda number=number: node.journal().ended_runs.write(crashed(number)))
        found = node.journal().ended_runs.of_run(run(number))
        assert found is not None and found.consecutive_crashes == 1
