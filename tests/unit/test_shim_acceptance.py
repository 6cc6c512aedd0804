# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepted actions: each is in the journal until it ends, and waits in the queue of its server."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.queue import MOST_WAITING, ActionQueue, Ticket
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.shared_node import OwnGenerations, RetryingJournal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.acceptance import Acceptance, accept, moved, pending, seconds_left
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import JournalUnusable
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import LockTimeout
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import read_policy
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import (
    OnFailedStart,
    PowerAction,
    Readiness,
    Request,
    WaitFor,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun
from hypothesis import given
from hypothesis import strategies as st

from .journal_support import ALPHA, BETA, NOON, FixedClock, Node, waited_for_the_disk


def acceptance(operation: str, action: PowerAction = PowerAction.START, **fields: object) -> Acceptance:
    generation = None if action is PowerAction.KILL else 3
    made = Acceptance(operation, ALPHA, action, "somebody", NOON, NOON, 30, NOON + timedelta(seconds=30), generation)
    return replace(made, **fields)  # type: ignore[arg-type]


def refused(operation: str) -> Result:
    return Result(ALPHA, PowerAction.START, Outcome.REFUSED, operation, NOON, NOON, code=LockTimeout.code, msg="no")


def test_the_journal_returns_accepted_actions_unchanged_and_in_order(node: Node) -> None:
    taken = [acceptance("b"), acceptance("a", PowerAction.KILL, server=BETA), acceptance("c", PowerAction.STOP, generation=None)]
    ready = Readiness(WaitFor.HEALTHY, 60, OnFailedStart.REVERT, 5)
    players = read_policy("restart", True, {"warn": [5]})
    taken += [acceptance("d", PowerAction.RESTART, ready=ready, players=players), acceptance("e", ready=replace(ready, settle=None))]
    accept(node.journal(), taken[:2])
    accept(node.journal(), taken[2:])
    assert pending(node.journal()) == taken


def test_an_action_that_began_or_ended_is_no_longer_pending(node: Node) -> None:
    journal = node.journal()
    accept(journal, [acceptance("begun"), acceptance("ended"), acceptance("waits")])
    journal.operations.begin(Request(ALPHA.uuid, PowerAction.START, "begun", NOON, origin="x"), ALPHA)
    journal.operations.end(refused("ended"))
    assert [each.operation for each in pending(journal)] == ["waits"]
    rows = {row.id: row for row in journal.operations.of(ALPHA.uuid)}
    assert (rows["begun"].under_way, rows["begun"].origin) == (True, "somebody")
    assert (rows["ended"].outcome, rows["waits"].outcome, rows["waits"].begun_at) == ("refused", "", "")
    with sqlite3.connect(node.file) as connection:
        assert connection.execute("SELECT id FROM acceptances").fetchall() == [("waits",)]


def test_a_moved_generation_changes_a_single_acceptance(node: Node) -> None:
    journal = node.journal()
    accept(journal, [acceptance("a"), acceptance("b")])
    accept(journal, [], [moved([("a", 4), ("unknown", 9)])])
    assert [(each.operation, each.generation) for each in pending(journal)] == [("a", 4), ("b", 3)]


def test_invalid_rows_are_skipped(node: Node) -> None:
    journal = node.journal()
    accept(journal, [acceptance("whole"), acceptance("a"), acceptance("b"), acceptance("c"), acceptance("d")])
    with sqlite3.connect(node.file) as connection:
        connection.execute("UPDATE operations SET action = 'dance' WHERE id = 'a'")
        connection.execute("UPDATE operations SET uuid = '../x' WHERE id = 'b'")
        connection.execute("UPDATE acceptances SET deadline = 'soon' WHERE id = 'c'")
        connection.execute("""UPDATE acceptances SET players = '{"on_failed_start": "undo"}' WHERE id = 'd'""")
    assert [each.operation for each in pending(journal)] == ["whole"]


def test_a_failed_write_raises_an_error_and_leaves_no_row(node: Node) -> None:
    journal = node.journal()
    accept(journal, [acceptance("first")])
    with sqlite3.connect(node.file) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON acceptances BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    with pytest.raises(JournalUnusable, match="disk full"):
        accept(journal, [acceptance("second")])
    assert [row.id for row in journal.operations.of(ALPHA.uuid)] == ["first"]
    assert journal.warnings == []


def test_a_durable_write_is_synced_and_other_writes_are_not(node: Node) -> None:
    journal = node.journal()
    seen: list[int] = []

    def look(connection: sqlite3.Connection) -> None:
        seen.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    journal.store.write_durably(look)
    journal.store.write(look)
    journal.store.write_durably(look)
    full, normal = 2, 1
    assert seen == [full, normal, full]


def test_the_beginning_of_an_accepted_action_is_synced_to_the_disk(node: Node) -> None:
    journal = RetryingJournal(str(node.state), str(node.locks), "no-such-group", FixedClock())
    node.opened.append(journal)
    accept(journal, [acceptance("begun")])
    journal.runs.see(ALPHA.uuid, SeenRun(Run("c", "s"), matchers=False))
    assert waited_for_the_disk(journal) is False
    journal.operations.begin(Request(ALPHA.uuid, PowerAction.START, "begun", NOON, origin="x"), ALPHA)
    assert waited_for_the_disk(journal) is True


HERE, ELSEWHERE = "this-boot", "the-boot-before"


@pytest.mark.parametrize(
    ("boot", "clock_says", "since_boot", "left"),
    [
        # In the same boot, only the seconds since the boot count.
        (HERE, 10, 1010, 80),
        (HERE, 36000, 1010, 80),
        (HERE, 10, 1100, -10),
        # In another boot, the wall clock counts, but at least the seconds since the boot.
        (ELSEWHERE, 40, 20, 50),
        (ELSEWHERE, 5, 100, -10),
        # The clock went back a little, as after a boot, or too far to be useful.
        (ELSEWHERE, -30, 20, 70),
        (ELSEWHERE, -61, 20, -1),
        # The boot could not be read.
        ("", -36000, 100000, -1),
    ],
)
def test_the_remaining_wait_survives_clock_changes_and_boots(boot: str, clock_says: float, since_boot: float, left: float) -> None:
    made = acceptance("a", boot=boot, boot_seconds=1000.0)
    assert seconds_left(made, 60, NOON + timedelta(seconds=clock_says), HERE, since_boot) == left


def test_an_acceptance_keeps_its_player_policy(node: Node) -> None:
    message = "with 'quotes', a line\nbreak, {time} and \ud800"
    policies = [
        read_policy("restart", True, {"players_at_most": 2, "max_delay": 600, "warn": [60, 10], "warn_message": message}),
        read_policy("stop", True, {"warn": [60]}),
        read_policy("stop", True, {"players_at_most": 0}),
    ]
    taken = [acceptance(f"op-{number}", PowerAction.RESTART, players=policy) for number, policy in enumerate(policies)]
    accept(node.journal(), taken)
    assert pending(node.journal()) == taken
    assert taken[0].requested(NOON, 4) == replace(taken[0], generation=4)


def test_own_generation_raises_are_counted_apart_from_those_of_other_processes(tmp_path: Path) -> None:
    mine, others = (OwnGenerations(str(tmp_path), "no-such-group") for _unused in range(2))
    others.raise_for(ALPHA.uuid)
    assert mine.read_both(ALPHA.uuid) == (1, 0)
    mine.raise_for(ALPHA.uuid)
    mine.raise_for(BETA.uuid)
    others.raise_for(ALPHA.uuid)
    assert mine.read_both(ALPHA.uuid) == (3, 1)
    assert (mine.own_raises(ALPHA.uuid), others.own_raises(ALPHA.uuid)) == (1, 2)


LINE_NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SERVER = Server("aaaaaaaa-0000-4000-8000-000000000001")


def ticket(action: str, *, admitted: bool = True, tries_once: bool = False, deadline: float = 30.0) -> Ticket:
    acceptance = Acceptance(action, SERVER, PowerAction(action), "", LINE_NOON, LINE_NOON, 30, LINE_NOON)
    return Ticket(acceptance, deadline, tries_once=tries_once, admitted=admitted)


def line_of(*tickets: Ticket) -> ActionQueue:
    line = ActionQueue()
    for each in tickets:
        line.add(each)
    return line


def test_an_action_that_is_not_on_the_disk_holds_up_later_actions() -> None:
    first, second = ticket("start", admitted=False), ticket("stop")
    line = line_of(first, second)
    assert line.next() == []
    first.admitted = True
    assert line.next() == [first]


def test_a_kill_begins_at_once_cancels_earlier_actions_and_delays_later_actions() -> None:
    running, waiting, kill, after = ticket("stop"), ticket("start"), ticket("kill"), ticket("start")
    line = line_of(running, waiting)
    assert line.next() == [running]
    line.add(kill)
    line.add(after)
    assert line.cancelled_by(kill) == [waiting]
    assert line.next() == [kill]
    line.remove(running)
    assert line.next() == []
    line.remove(kill)
    assert line.next() == [after]


@pytest.mark.parametrize("running", [0, 1])
def test_the_queue_has_room_for_sixteen_waiting_actions(running: int) -> None:
    line = line_of(*(ticket("stop") for _unused in range(running)))
    line.next()
    for _unused in range(MOST_WAITING):
        assert line.has_room(kill=False)
        line.add(ticket("start", admitted=False))
    assert not line.has_room(kill=False)
    assert line.has_room(kill=True)


EVENTS = st.lists(st.tuples(st.sampled_from(["take", "kill", "end", "pass"]), st.integers(0, 3)), max_size=40)


@given(EVENTS)
def test_the_queue_begins_actions_singly_and_in_order_and_loses_no_action(events: list[tuple[str, int]]) -> None:
    line, now = ActionQueue(), 0.0
    taken: list[Ticket] = []
    running: list[Ticket] = []
    over: list[Ticket] = []
    begun: list[Ticket] = []
    for event, number in events:
        if event in ("take", "kill"):
            new = ticket("kill" if event == "kill" else "start", tries_once=number == 0, deadline=now + number)
            line.add(new)
            taken.append(new)
            over += line.cancelled_by(new) if event == "kill" else []
        elif event == "end" and running:
            ended = running.pop(number % len(running))
            line.remove(ended)
            over.append(ended)
        elif event == "pass":
            now += 1.0
        ready = line.next()
        begun += ready
        running += ready
        over += line.late(now)
        ready = line.next()
        begun += ready
        running += ready
        assert sum(not each.is_kill for each in running) <= 1
        assert sorted(taken, key=id) == sorted([*over, *line.tickets], key=id)
    order = [taken.index(each) for each in begun if not each.is_kill]
    assert order == sorted(order)


def test_an_overdue_action_leaves_the_queue_unless_it_has_begun() -> None:
    running, late, patient = ticket("stop", deadline=1.0), ticket("start", deadline=2.0), ticket("start", deadline=9.0)
    line = line_of(running, late, patient)
    line.next()
    assert line.late(2.0) == [late]
    assert line.tickets == [running, patient]
