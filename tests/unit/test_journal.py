# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of the journal: writes, reads and pruning."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Intent
from ansible_collections.fleet.power.plugins.module_utils._power.journal.operations import LAST_ACTS
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import KEPT_OPERATIONS, JournalUnusable
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, PlanStep, StopReport
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun
from ansible_collections.fleet.power.tests.unit.journal_support import (
    ALPHA,
    BETA,
    NOON,
    Node,
    begin,
    perform,
    result,
    waited_for_the_disk,
)


def test_an_operation_reads_back_as_it_was_written(node: Node) -> None:
    journal = node.journal()
    begin(journal)
    stop = StopReport("signal SIGTERM", forced=True, seconds=1.2345)
    ended = result(
        code="x", msg="Said so", changed=True, state_before=PowerState.RUNNING, state=PowerState.OFFLINE, stop=stop, waited_seconds=0.5
    )
    journal.operations.end(replace(ended, phases=(("stop", 1.2345), ("start", 0.1))))
    row = node.journal().operations.last(ALPHA.uuid)
    assert row is not None
    assert (row.id, row.server, row.action, row.origin, row.reason) == ("op-1", ALPHA, "restart", "alice@web1", "update")
    assert (row.requested_at, row.begun_at) == (timestamp(NOON), timestamp(NOON))
    assert row.ended_at == "2026-03-01T12:00:02.250Z"
    assert (row.outcome, row.code, row.msg, row.changed) == ("done", "x", "Said so", True)
    assert (row.state_before, row.state) == ("running", "offline")
    assert (row.stop_how, row.forced, row.stop_seconds, row.waited_seconds) == ("signal SIGTERM", True, 1.234, 0.5)
    assert row.phases == (("stop", 1.234), ("start", 0.1))
    assert journal.warnings == []


def test_an_operation_under_way_has_no_outcome_yet(node: Node) -> None:
    begin(node.journal())
    row = node.journal().operations.last(ALPHA.uuid)
    assert row is not None and row.under_way and (row.outcome, row.ended_at, row.code) == ("", "", "")


def test_an_operation_that_never_began_gets_a_complete_row_at_its_end(node: Node) -> None:
    journal = node.journal()
    journal.operations.end(result(outcome=Outcome.REFUSED, code="suspended"), origin="bob", reason="why not")
    row = journal.operations.last(ALPHA.uuid)
    assert row is not None
    assert (row.outcome, row.code, row.origin, row.reason, row.begun_at) == ("refused", "suspended", "bob", "why not", "")
    assert row.requested_at == timestamp(NOON)


def test_a_list_has_the_operations_of_one_server_with_the_newest_first(node: Node) -> None:
    journal = node.journal()
    for number in range(5):
        perform(journal, f"a{number}")
        perform(journal, f"b{number}", BETA)
    assert [row.id for row in journal.operations.of(ALPHA.uuid, limit=3)] == ["a4", "a3", "a2"]


def test_a_bulk_read_returns_the_same_rows_as_single_reads(node: Node) -> None:
    journal = node.journal()
    uuids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(1200)]
    for uuid in uuids[::100]:
        perform(journal, f"{uuid}-old", Server(uuid))
        perform(journal, f"{uuid}-new", Server(uuid))
        journal.intents.set(Server(uuid), Intent(True, f"{uuid}-new", "", timestamp(NOON)))
        journal.runs.see(uuid, SeenRun(Run("c", "t"), matchers=False))
    last = journal.operations.last_acts(uuids)
    assert set(last) == set(journal.intents.of_each(uuids)) == set(journal.runs.of_each(uuids)) == set(uuids[::100])
    assert last == {uuid: journal.operations.last(uuid) for uuid in uuids[::100]}
    assert journal.operations.last_acts([]) == {}


def test_undecodable_text_is_stored_with_question_marks(node: Node) -> None:
    journal = node.journal()
    journal.operations.end(result(), origin="al\udcffice\0", reason="ü")
    row = journal.operations.last(ALPHA.uuid)
    assert row is not None and (row.origin, row.reason) == ("al?ice\0", "ü")
    assert journal.warnings == []


def test_rows_with_values_of_wrong_types_stay_readable(node: Node) -> None:
    journal = node.journal()
    perform(journal)
    with closing(sqlite3.connect(node.file)) as connection:
        connection.execute("UPDATE operations SET phases = '{\"x\": 1}', msg = x'ff00', stop_seconds = 'soon', code = 7")
        connection.commit()
    row = journal.operations.last(ALPHA.uuid)
    assert row is not None and (row.phases, row.stop_seconds, row.code) == ((), None, "7")


def test_the_journal_stores_no_log_warning_or_holder_of_a_result(node: Node) -> None:
    secret = "hunter2-hunter2"
    journal = node.journal()
    begin(journal)
    journal.operations.end(
        result(log=(secret,), warnings=(secret,), holder={"origin": secret}, plan=(PlanStep.STOP,), exit_code=3),
    )
    assert journal.operations.last(ALPHA.uuid) is not None
    for closed in (False, True):
        written = b"".join(path.read_bytes() for path in node.state.iterdir())
        assert b"alice@web1" in written and secret.encode() not in written, f"closed: {closed}"
        journal.close()


def test_the_last_intent_replaces_the_earlier_intent(node: Node) -> None:
    journal = node.journal()
    assert journal.intents.of(ALPHA.uuid) is None
    journal.intents.set(ALPHA, Intent(True, "o1", "alice", timestamp(NOON)))
    journal.intents.set(ALPHA, Intent(False, "o2", "bob", timestamp(NOON - timedelta(seconds=5))))
    assert journal.intents.of(ALPHA.uuid) == Intent(False, "o2", "bob", "2026-03-01T11:59:55.250Z")


def test_an_intent_to_stay_down_is_synced_to_the_disk(node: Node) -> None:
    journal = node.journal()
    journal.intents.set(ALPHA, Intent(True, "o1", "alice", timestamp(NOON)))
    assert waited_for_the_disk(journal) is False
    journal.intents.set(ALPHA, Intent(False, "o2", "alice", timestamp(NOON)))
    assert waited_for_the_disk(journal) is True


@pytest.mark.parametrize(("seconds", "stands"), [(-1, "old"), (0, "old"), (1, "new")])
def test_an_unchanged_start_overwrites_only_an_older_intent(node: Node, seconds: int, stands: str) -> None:
    journal = node.journal()
    journal.intents.set(ALPHA, Intent(False, "old", "", timestamp(NOON)))
    journal.intents.set(
        ALPHA, Intent(True, "new", "", timestamp(NOON + timedelta(seconds=seconds))), only_if_newer=NOON + timedelta(days=1)
    )
    intent = journal.intents.of(ALPHA.uuid)
    assert intent is not None and intent.operation == stands


def test_an_unchanged_start_overwrites_an_intent_from_the_future(node: Node) -> None:
    journal = node.journal()
    journal.intents.set(ALPHA, Intent(False, "old", "", timestamp(NOON + timedelta(days=2))))
    journal.intents.set(ALPHA, Intent(True, "new", "", timestamp(NOON)), only_if_newer=NOON + timedelta(seconds=1))
    intent = journal.intents.of(ALPHA.uuid)
    assert intent is not None and intent.up


def test_an_unchanged_start_writes_the_first_intent_of_a_server(node: Node) -> None:
    journal = node.journal()
    journal.intents.set(ALPHA, Intent(True, "new", "", timestamp(NOON)), only_if_newer=NOON + timedelta(days=1))
    assert journal.intents.of(ALPHA.uuid) is not None


@pytest.mark.parametrize(
    ("before", "now", "asked", "stands"),
    [
        (True, True, -1, "old"),
        (False, False, -1, "old"),
        (False, False, 0, "old"),
        (False, False, 1, "new"),
        (True, False, -1, "new"),
        (None, False, -1, "new"),
    ],
)
def test_an_unchanged_action_keeps_an_equal_intent_newer_than_its_request(
    node: Node, before: bool | None, now: bool, asked: int, stands: str
) -> None:
    journal = node.journal()
    if before is not None:
        journal.intents.set(ALPHA, Intent(before, "old", "alice", timestamp(NOON)))
    since = NOON + timedelta(seconds=asked)
    journal.intents.set_by_action(ALPHA, Intent(now, "new", "bob", timestamp(NOON + timedelta(seconds=2))), keep_since=since)
    intent = journal.intents.of(ALPHA.uuid)
    assert intent is not None and (intent.up, intent.operation) == (now, stands)


def test_a_readiness_match_counts_for_its_run_only(node: Node) -> None:
    journal = node.journal()
    first, second = Run("c1", "t1"), Run("c1", "t2")
    assert journal.runs.of(ALPHA.uuid) is None
    journal.runs.see(ALPHA.uuid, SeenRun(first, matchers=True))
    journal.runs.record_match(ALPHA.uuid, first)
    journal.runs.see(ALPHA.uuid, SeenRun(first, matchers=True))
    assert journal.runs.of(ALPHA.uuid) == SeenRun(first, matchers=True, matched=True)
    journal.runs.see(ALPHA.uuid, SeenRun(second, matchers=True))
    journal.runs.record_match(ALPHA.uuid, first)
    assert journal.runs.of(ALPHA.uuid) == SeenRun(second, matchers=True, matched=False)
    assert journal.runs.of(ALPHA.uuid) is not None and journal.runs.of(BETA.uuid) is None


@pytest.mark.parametrize("nothing", [Outcome.UNCHANGED, Outcome.REFUSED])
def test_pruning_keeps_a_hundred_operations_and_drops_unchanged_or_refused_first(node: Node, nothing: Outcome) -> None:
    journal = node.journal()
    journal.intents.set(ALPHA, Intent(True, "d0", "", timestamp(NOON)))
    journal.runs.see(ALPHA.uuid, SeenRun(Run("c", "t"), matchers=False))
    perform(journal, "other", BETA)
    for number in range(KEPT_OPERATIONS + 20):
        perform(journal, f"d{number}")
        journal.operations.end(result(f"u{number}", outcome=nothing))
    kept = [row.id for row in journal.operations.of(ALPHA.uuid, limit=1000)]
    assert len(kept) == KEPT_OPERATIONS
    assert kept[0] == f"u{KEPT_OPERATIONS + 19}", "the last operation can always be read"
    assert kept[1:] == [f"d{number}" for number in range(KEPT_OPERATIONS + 19, 20, -1)]
    assert journal.intents.of(ALPHA.uuid) is not None and journal.runs.of(ALPHA.uuid) is not None
    assert journal.operations.last(BETA.uuid) is not None


def test_a_trial_write_changes_no_row_and_refuses_a_newer_schema(node: Node) -> None:
    journal = node.journal()
    perform(journal, "one")
    journal.store.rewrite()
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["one"]
    with closing(sqlite3.connect(node.file, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 99")
        with pytest.raises(JournalUnusable):
            journal.store.rewrite()
        assert other.execute("PRAGMA user_version").fetchone() == (99,)


def test_an_operation_under_way_is_never_pruned(node: Node) -> None:
    journal = node.journal()
    begin(journal, "slow")
    for number in range(KEPT_OPERATIONS + 5):
        perform(journal, f"d{number}")
    oldest = journal.operations.of(ALPHA.uuid, limit=1000)[-1]
    assert (oldest.id, oldest.under_way) == ("slow", True)


def test_a_list_of_many_servers_has_the_same_operations_as_single_lists(node: Node) -> None:
    journal = node.journal()
    for number in range(6):
        perform(journal, f"a{number}")
        perform(journal, f"b{number}", BETA)
    begin(journal, "a6")
    for reader in (journal, node.journal(read_only=True)):
        found = reader.operations.latest_of_each([BETA.uuid, "nobody", ALPHA.uuid], 3)
        assert {uuid: [row.id for row in rows] for uuid, rows in found.items()} == {
            ALPHA.uuid: ["a6", "a5", "a4"],
            BETA.uuid: ["b5", "b4", "b3"],
        }
        assert found[ALPHA.uuid] == reader.operations.of(ALPHA.uuid, 3)
    assert journal.operations.latest_of_each([], 3) == {}


def acts(node: Node, *outcomes: Outcome) -> str:
    """Return the id of the last act after operations with these outcomes."""
    journal = node.journal()
    for number, outcome in enumerate(outcomes):
        journal.operations.end(result(f"o{number}", outcome=outcome))
    return journal.operations.last_acts([ALPHA.uuid])[ALPHA.uuid].id


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.REFUSED, Outcome.CANCELLED, Outcome.FAILED])
def test_unchanged_operations_do_not_hide_the_last_act(node: Node, outcome: Outcome) -> None:
    assert acts(node, Outcome.DONE, outcome, *[Outcome.UNCHANGED] * 60, Outcome.SKIPPED) == "o1"


def test_without_any_change_the_newest_operation_is_the_last_act(node: Node) -> None:
    assert acts(node, Outcome.UNCHANGED, Outcome.SKIPPED, Outcome.UNCHANGED) == "o2"


def test_an_operation_under_way_or_interrupted_counts_as_the_last_act(node: Node) -> None:
    assert acts(node, Outcome.DONE) == "o0"
    journal = node.journal()
    begin(journal, "under way")
    perform(journal, "other", BETA)
    found = journal.operations.last_acts([BETA.uuid, "nobody", ALPHA.uuid])
    assert {uuid: (row.id, row.outcome) for uuid, row in found.items()} == {
        ALPHA.uuid: ("under way", ""),
        BETA.uuid: ("other", "done"),
    }
    with closing(sqlite3.connect(node.file)) as connection:
        connection.execute("UPDATE operations SET mark = 'process-of-the-dead.mark' WHERE id = 'under way'")
        connection.commit()
    row = journal.operations.last_acts([ALPHA.uuid])[ALPHA.uuid]
    assert (row.id, row.outcome, row.code) == ("under way", "failed", "interrupted")


def test_the_query_for_last_acts_uses_an_index(node: Node) -> None:
    assert acts(node, Outcome.DONE, Outcome.UNCHANGED) == "o0"
    with closing(sqlite3.connect(node.file)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {LAST_ACTS.format(holes='?')}", [ALPHA.uuid]).fetchall()
        assert "operations_that_tell" in str(plan) and "SCAN operations" not in str(plan)


def test_the_journal_lists_only_servers_that_should_be_up(node: Node) -> None:
    journal = node.journal()
    assert journal.intents.should_be_up() == []
    for server, up in ((BETA, True), (ALPHA, True), (Server("cccccccc-0000-4000-8000-000000000003", "gamma"), False)):
        journal.intents.set(server, Intent(up, "op", "alice", timestamp(NOON)))
    assert journal.intents.should_be_up() == node.journal(read_only=True).intents.should_be_up() == [ALPHA, BETA]
    journal.intents.set(ALPHA, Intent(False, "op", "alice", timestamp(NOON)))
    assert journal.intents.should_be_up() == [BETA]


def test_a_damaged_journal_does_not_read_as_an_empty_list_of_servers(node: Node) -> None:
    node.journal().intents.set(ALPHA, Intent(True, "op", "alice", timestamp(NOON)))
    for journal in node.opened:
        journal.close()
    for file in node.state.glob("journal.sqlite*"):
        file.write_bytes(b"no journal" * 1000)
    damaged = node.journal()
    assert damaged.intents.should_be_up() is None
    assert len(damaged.warnings) == 1
