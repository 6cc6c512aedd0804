# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accepted actions while the journal fails, is slow, or the process ends: no action is lost or repeated, and a kill does not wait."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance import acceptor, action_queues
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance import actions as actions_module
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.actions import Actions, NotRecorded, Unconfirmed
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.operations import Operations
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.queue import Requeued, Ticket
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.shared_node import OwnGenerations, RetryingJournal
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.log import Log
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.worker_pool import WorkerPool
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter
from ansible_collections.fleet.power.plugins.module_utils._power.host import machine, system_log
from ansible_collections.fleet.power.plugins.module_utils._power.journal import journal_file
from ansible_collections.fleet.power.plugins.module_utils._power.journal.acceptance import Acceptance, accept, ended, pending
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.operations import OperationRow
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import JournalUnusable
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import Clock
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EXPIRED, InterruptedBySignal
from ansible_collections.fleet.power.plugins.module_utils._power.model.news import Listener, News
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import OnMaxDelay, PlayerPolicy
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import (
    OnFailedStart,
    PowerAction,
    Readiness,
    Request,
    WaitFor,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit.thread_support import block_until, until

from .journal_support import ALPHA, BETA

START, STOP, KILL, RESTART = PowerAction.START, PowerAction.STOP, PowerAction.KILL, PowerAction.RESTART
#: Waits up to an hour for no players, then warns the players for a minute.
PATIENT = PlayerPolicy(1, 3600, OnMaxDelay.SKIP, (60,))
_ENDS = "BEFORE INSERT ON operations WHEN NEW.outcome IS NOT NULL"
_BEGINS_AND_ENDS = "BEFORE UPDATE ON operations"


class World:
    """A node without an engine, on which the functions in ``acts`` perform the actions. Other actions are done at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.acts: dict[PowerAction, Callable[[Request], Result | None]] = {}
        self.begun: list[PowerAction] = []
        self.log = Log(io.StringIO())
        self.clock = Clock()
        self.journal = RetryingJournal(str(root), str(root / "locks"), "no-such-group", self.clock)
        self.generations = OwnGenerations(str(root), "no-such-group")
        self.limiter = Limiter()
        self.let_go = threading.Event()
        self.ended: list[Result] = []
        self.tickets: list[Ticket] = []
        #: Called with each reported end.
        self.on_end: Callable[[Result], None] = lambda _result: None
        #: The listeners of actions, in the order of their beginnings.
        self.listeners: list[Listener] = []

    def now(self) -> World:
        return self

    def perform(self, request: Request, _node: object, _server: object, _place: object) -> Result:
        self.begun.append(request.action)
        act = self.acts.get(request.action)
        found = None if act is None else act(request)
        return found or self.result(request)

    def result(self, request: Request, outcome: Outcome = Outcome.DONE, code: str = "") -> Result:
        server = ALPHA if request.server == ALPHA.uuid else BETA
        return Result(server, request.action, outcome, request.operation, request.requested_at, self.clock.now(), code=code)

    def report_phase(self, phase: str, deadline: str | None = None) -> None:
        self.listeners[0](News(ALPHA, "restart", phase, deadline))

    def hold(self, _held: object) -> None:
        self.let_go.wait(20.0)

    def run(self, story: Callable[[Actions], Awaitable[None]]) -> None:
        async def main() -> None:
            def ended(ticket: Ticket, result: Result) -> None:
                self.tickets.append(ticket)
                self.ended.append(result)
                self.on_end(result)

            node: Any = self
            actions = Actions(node, Operations(node, WorkerPool(2, "read")), self.log, ended)
            await actions.resume()
            try:
                await story(actions)
            finally:
                self.let_go.set()
                await actions.close(5.0)

        asyncio.run(main())

    def run_to_an_end(self) -> None:
        async def story(_actions: Actions) -> None:
            await until(lambda: self.ended)

        self.run(story)

    def row(self, operation: str) -> OperationRow:
        found = {row.id: row for uuid in (ALPHA.uuid, BETA.uuid) for row in self.other().operations.of(uuid)}
        return found[operation]

    def other(self) -> Journal:
        return Journal(str(self.root), str(self.root / "locks"), "no-such-group", self.clock)

    def outcomes(self) -> list[str]:
        return [result.outcome.value for result in self.ended]

    @contextlib.contextmanager
    def full(self, when: str) -> Iterator[None]:
        """A disk on which some writes fail at once."""
        # Not RAISE: SQLite would report a fault of the row. An integer overflow is an OperationalError, as a full disk.
        self.sql(f"CREATE TRIGGER full {when} BEGIN SELECT abs(length(NEW.id) * 0 - 9223372036854775807 - 1); END")
        try:
            yield
        finally:
            self.sql("DROP TRIGGER full")

    def sql(self, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(self.root / "journal.sqlite", isolation_level=None)) as connection:
            connection.execute(statement)

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(self.root / "journal.sqlite", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


@pytest.fixture(name="world")
def world_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    monkeypatch.setattr(action_queues, "perform", world.perform)
    monkeypatch.setattr(system_log, "announce", lambda *_unused: None)
    monkeypatch.setattr(acceptor, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(action_queues, "heard_by", lambda node, listener: (node, world.listeners.append(listener))[0])
    yield world
    world.journal.close()
    world.log.close()


def test_the_end_of_an_action_that_never_began_is_written_when_the_disk_recovers(world: World) -> None:
    world.acts[STOP] = world.hold

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, STOP, 30, "")
        with world.full(_ENDS):
            refused = await actions.accept(ALPHA, START, 0, "")
            await until(lambda: world.outcomes() == ["refused"])
            assert world.journal.late_writes and world.row(refused).outcome == ""
        await until(lambda: world.row(refused).outcome == "refused")
        await until(lambda: not world.journal.late_writes)

    world.run(story)


def test_a_bug_during_the_write_of_an_end_does_not_lose_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.acts[STOP] = world.hold
    real, faults = acceptor.accept, [RuntimeError("odd")]

    def accept(journal: Any, acceptances: Any, writes: Any) -> None:
        if writes and faults:
            raise faults.pop()
        real(journal, acceptances, writes)

    monkeypatch.setattr(acceptor, "accept", accept)

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, STOP, 30, "")
        refused = await actions.accept(ALPHA, START, 0, "")
        await until(lambda: not faults and world.row(refused).outcome == "refused")

    world.run(story)


def test_the_end_of_an_action_that_never_began_is_written_before_its_report(world: World) -> None:
    world.acts[STOP] = world.hold
    rows: dict[str, str] = {}

    def check_row(result: Result) -> None:
        # An action that ran here does not write its end.
        if result.outcome is not Outcome.DONE:
            rows[result.outcome.value] = world.row(result.operation).outcome

    world.on_end = check_row

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, STOP, 30, "")
        await actions.accept(ALPHA, START, 0, "")
        await actions.accept(ALPHA, START, 30, "")
        await actions.accept(ALPHA, KILL, 0, "")
        await until(lambda: len(rows) == 2)

    world.run(story)
    assert rows == {"refused": "refused", "cancelled": "cancelled"}


def test_late_writes_are_done_before_the_process_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "AGAIN_SECONDS", 60.0)
    world.acts[STOP] = world.hold
    taken: list[str] = []

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, STOP, 30, "")
        with world.full(_ENDS):
            taken.append(await actions.accept(ALPHA, START, 0, ""))
            await until(lambda: world.journal.late_writes)

    world.run(story)
    assert world.row(taken[0]).outcome == "refused"


def test_an_action_that_failed_by_a_bug_does_not_run_again(world: World) -> None:
    def fault(_request: Request) -> None:
        raise ZeroDivisionError

    world.acts[START] = fault
    world.run(lambda actions: actions.accept(ALPHA, START, 30, ""))  # type: ignore[arg-type, return-value]
    assert world.outcomes() == ["failed"]
    assert pending(world.other()) == []
    assert world.row(world.ended[0].operation).outcome == "failed"


def test_many_kills_of_a_server_do_not_drop_late_writes_of_another_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_module, "MOST_LATE_WRITES", 6)

    def act(request: Request) -> None:
        server = ALPHA if request.server == ALPHA.uuid else BETA
        world.journal.operations.begin(request, server)
        world.journal.operations.end(world.result(request))

    world.acts.update({START: act, KILL: act})

    async def story(actions: Actions) -> None:
        with world.full(_BEGINS_AND_ENDS):
            started = await actions.accept(BETA, START, 30, "")
            await until(lambda: world.ended)
            assert [each.operation for each in pending(world.other())] == [started]
        # Now the journal accepts no write, and a kill works without it.
        world.sql("PRAGMA user_version = 99")
        world.journal.store.close()
        kills = 0
        with pytest.raises(NotRecorded, match="of this server still wait for the journal"):
            while kills < 20:
                await actions.accept(ALPHA, KILL, 30, "")
                kills += 1
                await until(lambda: len(world.ended) > kills)  # noqa: B023
        assert 3 <= kills < 20
        assert await actions.accept(BETA, KILL, 30, "") == ""
        await until(lambda: len(world.ended) == kills + 2)
        world.sql("PRAGMA user_version = 1")
        await until(lambda: not world.journal.late_writes)
        assert world.row(started).begun_at and world.row(started).outcome == "done"
        assert [len(world.other().operations.of(server.uuid)) for server in (ALPHA, BETA)] == [kills, 2]
        assert await actions.accept(ALPHA, KILL, 30, "")

    world.run(story)
    assert pending(world.other()) == []


def end_of(world: World, operation: str) -> Any:
    return ended([(world.result(Request(ALPHA.uuid, START, operation, world.clock.now())), "")])


def end_later(world: World, operation: str) -> None:
    world.journal.late_writes.add(ALPHA.uuid, end_of(world, operation))


def test_a_refused_write_of_an_action_is_tried_again_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "AGAIN_SECONDS", 60.0)

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, STOP, 30, "")
        with world.full(_ENDS):
            world.journal.late_writes.write(ALPHA.uuid, end_of(world, "late"))
            await until(lambda: actions.acceptor.stuck)

    world.run(story)


@pytest.mark.parametrize("statement", ["", "INSERT INTO operations (id) VALUES ('a row without its server')"])
def test_a_faulty_late_write_does_not_block_or_lose_the_other_writes(world: World, statement: str) -> None:
    faults: list[Exception] = []
    world.journal.late_writes.on_fault = faults.append
    end_later(world, "before")
    world.journal.late_writes.add(BETA.uuid, lambda connection: connection.execute(statement) if statement else 1 / 0)
    end_later(world, "after")
    world.journal.late_writes.write_all()
    assert len(world.journal.late_writes) == 0
    assert {row.id for row in world.other().operations.of(ALPHA.uuid)} == {"before", "after"}
    assert len(faults) == 1


def test_the_fault_of_a_late_write_is_reported_although_the_disk_is_full_then(world: World) -> None:
    faults: list[Exception] = []
    world.journal.late_writes.on_fault = faults.append
    world.journal.late_writes.add(BETA.uuid, lambda _connection: 1 / 0)
    end_later(world, "after")
    world.other().operations.end(world.result(Request(BETA.uuid, START, "other", world.clock.now())))
    with world.full(_ENDS), pytest.raises(JournalUnusable):
        world.journal.late_writes.write_all()
    assert len(world.journal.late_writes) == 1
    assert [type(fault) for fault in faults] == [ZeroDivisionError]


def test_an_entry_of_an_action_does_not_overtake_late_writes(world: World) -> None:
    order: list[str] = []
    world.journal.late_writes.add(BETA.uuid, lambda _connection: order.append("first"))
    world.journal.late_writes.write(ALPHA.uuid, lambda _connection: order.append("second"))
    assert (order, len(world.journal.late_writes)) == (["first", "second"], 0)


def test_a_newer_generation_does_not_overtake_a_late_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "AGAIN_SECONDS", 60.0)
    now = world.clock.now()
    accept(world.journal, [Acceptance("waits", ALPHA, START, "", now, now, 30, now, generation=3)])
    node: Any = world
    writer = acceptor.Acceptor(node, world.log, lambda *_found: None, lambda _done: None)
    writer.start()
    with world.full("BEFORE UPDATE ON acceptances"):
        writer.write([Requeued(ALPHA.uuid, "waits", 4)])
        block_until(lambda: world.journal.late_writes)
    writer.write([Requeued(ALPHA.uuid, "waits", 5)])
    writer.close(5.0)
    assert [each.generation for each in pending(world.other())] == [5]


def test_the_next_process_knows_that_a_start_came_after_a_kill(world: World) -> None:
    def kill(_request: Request) -> None:
        world.generations.raise_for(ALPHA.uuid)

    def put_off(request: Request) -> Result:
        return world.result(request, Outcome.FAILED, InterruptedBySignal.code)

    world.acts.update({KILL: kill, START: put_off})

    async def story(actions: Actions) -> None:
        await asyncio.gather(actions.accept(ALPHA, KILL, 30, ""), actions.accept(ALPHA, START, 30, ""))
        await until(lambda: START in world.begun)

    world.run(story)
    left = pending(world.other())
    assert [(each.action, each.generation) for each in left if each.action is START] == [(START, world.generations.read(ALPHA.uuid))]


def test_a_kill_does_not_wait_for_a_slow_journal_and_cancels_unwritten_actions(world: World) -> None:
    async def story(actions: Actions) -> None:
        with world.slow():
            start = asyncio.ensure_future(actions.accept(ALPHA, START, 30, ""))
            await asyncio.sleep(0)
            began = time.monotonic()
            assert await actions.accept(ALPHA, KILL, 30, "") == ""
            await until(lambda: world.ended)
            assert time.monotonic() - began < 5.0
        operation = await start
        await until(lambda: len(world.ended) == 2)
        assert [(each.action, each.outcome) for each in world.ended] == [(KILL, Outcome.DONE), (START, Outcome.CANCELLED)]
        assert world.ended[1].operation == operation

    world.run(story)
    assert world.begun == [KILL]


def test_a_kill_without_a_journal_applies_to_actions_found_later_in_the_journal(world: World) -> None:
    now = world.clock.now()
    accept(world.journal, [Acceptance("before", ALPHA, START, "", now, now, 30, now + timedelta(seconds=30), 0)])
    world.journal.close()
    world.sql("PRAGMA user_version = 99")
    given: list[Request] = []
    world.acts[KILL] = lambda _request: world.generations.raise_for(ALPHA.uuid)
    world.acts[START] = given.append

    async def story(actions: Actions) -> None:
        assert await actions.accept(ALPHA, KILL, 30, "") == ""
        await until(lambda: world.ended)
        world.sql("PRAGMA user_version = 1")
        await until(lambda: given)

    world.run(story)
    # For its perform, the kill came after the request.
    assert [request.generations for request in given] == [{ALPHA.uuid: 0}]
    assert world.generations.read(ALPHA.uuid) == 1


class SetClock(Clock):
    """A wall clock that is ``ahead`` of the real time."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_fresh_acceptance_is_done_although_the_clock_was_set(world: World, hours: int) -> None:
    now = world.clock.now()
    accept(world.journal, [Acceptance("fresh", ALPHA, START, "", now, now, 30, now + timedelta(seconds=30), 0)])
    world.clock = clock = SetClock()
    clock.ahead = timedelta(hours=hours)
    given: list[Request] = []
    world.acts[START] = given.append
    world.run_to_an_end()
    assert world.outcomes() == ["done"]
    # Its wait, and a minute.
    assert 30 <= given[0].wait_seconds <= 90


@pytest.mark.parametrize("hours", [-5, 0])
def test_an_hours_old_acceptance_expires_although_the_clock_was_set_back(world: World, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    now = world.clock.now()
    accept(world.journal, [Acceptance("stale", ALPHA, START, "", now, now, 30, now + timedelta(seconds=30), 0)])
    world.clock = clock = SetClock()
    clock.ahead = timedelta(hours=hours)
    real = machine.boot_seconds()
    monkeypatch.setattr(machine, "boot_seconds", lambda: real + 7200)
    world.run_to_an_end()
    assert [(each.outcome, each.code) for each in world.ended] == [(Outcome.FAILED, EXPIRED)]
    assert world.begun == []


def test_the_shutdown_of_the_actions_keeps_its_time_limit(world: World) -> None:
    world.acts[STOP] = world.hold

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, STOP, 30, "")
        with world.slow():
            waits = asyncio.ensure_future(actions.accept(BETA, START, 30, ""))
            await asyncio.sleep(0.05)
            began = time.monotonic()
            assert await actions.close(1.0) == 1
            assert time.monotonic() - began < 5.0
            # The next process may find it.
            with pytest.raises(Unconfirmed):
                await asyncio.wait_for(waits, 20.0)

    world.run(story)


def ticket_for(server: Server, number: int) -> Ticket:
    now = datetime.now(timezone.utc)
    return Ticket(Acceptance(f"operation-{number}", server, START, "", now, now, 30, now + timedelta(seconds=30)), 0.0)


def test_actions_that_gather_during_a_slow_write_are_written_in_order_in_groups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    began, groups = threading.Event(), list[list[Ticket]]()

    def slow(*what: Any) -> None:
        began.set()
        world.let_go.wait(20.0)
        accept(*what)

    monkeypatch.setattr(acceptor, "accept", slow)
    node: Any = world
    writer = acceptor.Acceptor(node, world.log, lambda *_unused: None, lambda kept: groups.append([each.ticket for each in kept]))
    writer.start()
    handed = [ticket_for(BETA if number == 1 else ALPHA, number) for number in range(302)]
    writer.write(handed[:1])
    assert began.wait(20.0)
    for ticket in handed[1:]:
        writer.write([ticket])
    world.let_go.set()
    writer.close(10.0)
    # The action of the other server came second: it is in the first group after the write under way.
    assert (groups[0], groups[1][0]) == (handed[:1], handed[1])
    assert [len(group) for group in groups[1:]] == [256, 45]
    assert [ticket for group in groups for ticket in group] == handed
    assert [each.operation for each in pending(world.journal)] == [ticket.acceptance.operation for ticket in handed]


def test_later_actions_pass_an_action_that_waits_for_players(world: World) -> None:
    world.acts[RESTART] = world.hold

    async def story(actions: Actions) -> None:
        waits = await actions.accept(ALPHA, RESTART, 30, "", PATIENT)
        await until(lambda: world.begun == [RESTART])
        start = asyncio.ensure_future(actions.accept(ALPHA, START, 30, ""))
        await asyncio.sleep(0.1)
        assert (world.begun, actions.queues.under_way, actions.queues.waiting) == ([RESTART], 1, 1)
        world.report_phase("players", "2026-03-01T13:00:00.000Z")
        await until(lambda: world.begun == [RESTART, START])
        assert await start
        await until(lambda: world.ended)
        assert (world.outcomes(), actions.queues.under_way, actions.queues.waiting) == (["done"], 0, 1)
        # An action with a single try finds an empty queue.
        await actions.accept(ALPHA, STOP, 0, "")
        await until(lambda: len(world.ended) == 2)
        world.report_phase("countdown", "2026-03-01T13:01:00.000Z")
        world.report_phase("stop")
        await until(lambda: actions.queues.under_way == 1)
        await actions.accept(ALPHA, START, 0, "")
        await until(lambda: len(world.ended) == 3)
        world.let_go.set()
        await until(lambda: world.ended[-1].operation == waits)

    world.run(story)
    assert [(each.action, each.outcome.value) for each in world.ended] == [
        (START, "done"),
        (STOP, "done"),
        (START, "refused"),
        (RESTART, "done"),
    ]


def test_an_action_that_waited_for_players_resumes_with_its_request(world: World) -> None:
    now = world.clock.now().replace(microsecond=0) - timedelta(seconds=900)
    accept(world.journal, [Acceptance("patient", ALPHA, RESTART, "alice", now, now, 30, now + timedelta(seconds=30), 0, players=PATIENT)])
    world.sql("UPDATE acceptances SET boot_seconds = boot_seconds - 900")
    given: list[Request] = []
    world.acts[RESTART] = given.append
    world.run_to_an_end()
    assert [(each.operation, each.requested_at, each.players, each.origin) for each in given] == [("patient", now, PATIENT, "alice")]
    # It may still wait for its lock, as long as the request says.
    assert 30 <= given[0].wait_seconds <= 90


def test_an_interrupted_wait_for_players_is_left_to_the_next_process(world: World) -> None:
    def leave(request: Request) -> Result:
        world.let_go.wait(20.0)
        return world.result(request, Outcome.SKIPPED, InterruptedBySignal.code)

    world.acts[RESTART] = leave

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, RESTART, 30, "", PATIENT)
        await until(lambda: world.listeners)
        world.report_phase("countdown")

    world.run(story)
    assert world.ended == []
    assert [(each.action, each.players) for each in pending(world.other())] == [(RESTART, PATIENT)]


# The last one waits because of the node's settings.
@pytest.mark.parametrize("ready", [Readiness(WaitFor.RUNNING, 600), Readiness(on_failed_start=OnFailedStart.REVERT), Readiness()])
def test_later_actions_pass_a_restart_that_waits_until_its_server_is_ready(world: World, ready: Readiness) -> None:
    world.acts[RESTART] = world.hold

    async def story(actions: Actions) -> None:
        waits = await actions.accept(ALPHA, RESTART, 30, "", ready=ready)
        await until(lambda: world.listeners)
        world.report_phase("start")
        assert await actions.accept(ALPHA, STOP, 30, "")
        assert (actions.queues.under_way, actions.queues.waiting) == (1, 1)
        world.report_phase("ready")
        await until(lambda: world.begun == [RESTART, STOP])
        await until(lambda: world.ended)
        # The restart continues, and counts as under way.
        assert (world.outcomes(), actions.queues.under_way, actions.queues.waiting) == (["done"], 1, 0)
        world.let_go.set()
        await until(lambda: world.ended[-1].operation == waits)

    world.run(story)


def test_the_acceptor_is_stuck_until_a_write_to_the_journal_succeeds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(journal_file, "PATIENCE", 0.1)

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, STOP, 30, "")
        await until(lambda: world.ended)
        assert not actions.acceptor.stuck
        with world.slow():
            with pytest.raises(NotRecorded):
                await actions.accept(ALPHA, STOP, 30, "")
            await asyncio.sleep(0.5)
            assert actions.acceptor.stuck
        await until(lambda: not actions.acceptor.stuck)

    world.run(story)


def test_the_acceptor_is_stuck_until_the_late_writes_are_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "PATIENCE", 0.1)

    async def story(actions: Actions) -> None:
        with world.slow():
            world.journal.late_writes.write(ALPHA.uuid, lambda connection: connection.execute("SELECT 1"))
            await until(lambda: actions.acceptor.stuck)
            await asyncio.sleep(0.3)
            assert actions.acceptor.stuck
        await until(lambda: not actions.acceptor.stuck)

    world.run(story)


@pytest.mark.parametrize("is_late", [False, True])
def test_the_acceptor_is_stuck_while_a_write_hangs(world: World, monkeypatch: pytest.MonkeyPatch, is_late: bool) -> None:
    monkeypatch.setattr(acceptor, "_STUCK_SECONDS", 0.2)

    async def story(actions: Actions) -> None:
        if is_late:
            world.journal.late_writes.add(ALPHA.uuid, world.hold)
            world.journal.late_writes.on_change()
        else:
            threading.Thread(target=world.journal.store.write, args=(world.hold,)).start()
        await until(lambda: actions.acceptor.stuck)
        world.let_go.set()
        await until(lambda: not actions.acceptor.stuck)

    world.run(story)


def test_an_action_with_a_player_policy_waits_in_the_queue_until_its_turn(world: World) -> None:
    world.acts[STOP] = world.hold

    async def story(actions: Actions) -> None:
        await actions.accept(ALPHA, STOP, 30, "")
        await actions.accept(ALPHA, RESTART, 1, "", PATIENT)
        await until(lambda: world.ended)

    world.run(story)
    assert [(each.action, each.code) for each in world.ended][:1] == [(RESTART, "lock_timeout")]


def test_a_late_action_names_the_action_before_it(world: World) -> None:
    world.acts[STOP] = world.hold

    async def story(actions: Actions) -> None:
        first = await actions.accept(ALPHA, STOP, 30, "192.0.2.7")
        await actions.accept(ALPHA, RESTART, 0, "")
        await until(lambda: world.ended)
        before = f"stop by 192.0.2.7 (operation {first}) is queued or under way, and wait_seconds is 0; wait longer, or kill it"
        assert world.ended[0].msg == f"Cannot restart server {ALPHA.uuid}: {before}"

    world.run(story)
