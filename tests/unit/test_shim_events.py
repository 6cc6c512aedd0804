# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events over HTTP, commands for many servers, and cached counts of players."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.event_followers import (
    Cursor,
    EventFollowers,
    PageReply,
    Place,
    page_after,
)
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers import commands as commands_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.servers.commands import NOT_READ, TOO_MANY, Commands
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_labels import LABEL_SERVER, LABEL_SPEC, LABEL_STOP
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.stop_way import stop_way_text
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.events.webhook import cloudevent
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import OutboxState, RecordedEvents
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Snapshot, StopType, StopWay
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.thread_support import until
from hypothesis import given
from hypothesis import strategies as st

from .journal_support import ALPHA, Node

AT = "2026-03-01T12:00:00.250Z"


@pytest.mark.parametrize(
    "text",
    [
        *("x", "abc", ":", "abc:", ":5", "abc:-1", "abc:+1", "abc: 1", "abc:1 ", "abc:1\n", "abc:1:2", "abc:1.5", "abc:0x5", "abc:\u0661"),
        *("NOW", "now ", "now:1:2", "\u00e4:1", "abc:1234567890123456789", f"{'a' * 65}:1", "a/b:1", "a'b:1", "abc:1\x00", "a" * 100_000),
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_an_invalid_cursor_is_none(text: str) -> None:
    assert Cursor.read(text) is None


@given(
    present=st.sets(st.integers(1, 30)),
    beyond=st.integers(0, 3),
    begin=st.integers(0, 33),
    limit=st.integers(1, 7),
)
def test_each_event_is_sent_once_in_order_and_lost_events_are_counted(present: set[int], beyond: int, begin: int, limit: int) -> None:
    state = OutboxState("box", max(present, default=0) + beyond, min(present, default=0))
    begin = min(begin, state.last)
    cursor, answer, dropped = Cursor("box", begin), [], 0
    for _page in range(40):
        numbers = sorted(number for number in present if number > cursor.start_in(state))[:limit]
        page = page_after(cursor, state, numbers, limit)
        assert not page.reset
        cursor, answer, dropped = page.cursor, answer + numbers, dropped + page.dropped
        if not page.has_news:
            break
    assert answer == sorted(number for number in present if number > begin)
    assert dropped == state.last - begin - len(answer)
    assert cursor == Cursor("box", state.last)


@pytest.mark.parametrize("lost", [Cursor("other", 3), Cursor("other", 99), Cursor("box", 6)], ids=str)
def test_a_reader_with_a_lost_cursor_restarts_at_the_oldest_event_with_a_reset(lost: Cursor) -> None:
    state = OutboxState("box", 5, 3)
    assert lost.start_in(state) == 0
    page = page_after(lost, state, [3, 4, 5], 100)
    assert (page.reset, page.dropped, page.cursor) == (True, 2, Cursor("box", 5))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    node = Node(tmp_path)
    journal = node.journal()
    journal.events.open()
    yield journal
    journal.close()


def followers_of(events: RecordedEvents) -> EventFollowers:
    return EventFollowers(lambda: events, lambda event: cloudevent(event, "/nodes/one"))


def write(journal: Journal, *operations: str) -> None:
    for operation in operations:
        assert journal.events.write(Event(EventType.ACTION_ENDED, AT, {"operation": operation}, ALPHA))


def shown(answer: PageReply | None) -> dict[str, Any]:
    assert answer is not None
    found: dict[str, Any] = json.loads(answer.reply.body)
    return found


def operations(answer: PageReply | None) -> list[str]:
    return [event["data"]["operation"] for event in shown(answer)["events"]]


def end_of(journal: Journal) -> Cursor:
    state = journal.events.state()
    assert state is not None
    return Cursor(state.id, state.last)


class CountingEvents(RecordedEvents):
    def __init__(self, events: RecordedEvents) -> None:
        super().__init__(events._store)
        self.looks = 0

    def state(self) -> OutboxState | None:
        self.looks += 1
        return super().state()


def test_a_reader_that_disconnects_ends_the_wait_and_the_polls(journal: Journal) -> None:
    async def run() -> None:
        events = CountingEvents(journal.events)
        followers = followers_of(events)
        task = asyncio.ensure_future(followers.read(Place(end_of(journal), 100), 60.0))
        while not followers.waiting:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert followers.waiting == 0
        await asyncio.sleep(0.3)
        before = events.looks
        await asyncio.sleep(0.5)
        assert events.looks == before
        # A later reader starts the polls again.
        again = asyncio.ensure_future(followers.read(Place(end_of(journal), 100), 60.0))
        while not followers.waiting:
            await asyncio.sleep(0.01)
        write(journal, "one")
        assert operations(await asyncio.wait_for(again, 20.0)) == ["one"]

    asyncio.run(run())


def test_a_removed_or_new_outbox_ends_the_wait(journal: Journal) -> None:
    async def run() -> None:
        followers = followers_of(journal.events)
        write(journal, "one")
        before = end_of(journal)
        waiting = asyncio.ensure_future(followers.read(Place(before, 100), 60.0))
        while not followers.waiting:
            await asyncio.sleep(0.01)
        journal.events.close()
        assert await asyncio.wait_for(waiting, 20.0) is None
        assert await followers.read(Place(before, 100), 60.0) is None
        journal.events.open()
        answer = shown(await followers.read(Place(before, 100), 60.0))
        assert (answer["reset"], answer["events"], answer["dropped"]) == (True, [], 0)
        assert answer["cursor"] == str(end_of(journal)) != str(before)

    asyncio.run(run())


class Engine:
    """Servers whose processes read their input. A stuck server reads when the test lets it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.servers: dict[str, Snapshot] = {}
        self.stuck: set[str] = set()
        self.fault: Exception | None = None
        self.asked: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.stops: list[tuple[str, Run]] = []

    def up(self, name: str, run: str = "1", *, stuck: bool = False, **fields: Any) -> str:
        self.servers[name] = Snapshot(**{"id": name, "name": name, "live": True, "started_at": run, "open_stdin": True, **fields})
        self.stuck.discard(name)
        if stuck:
            self.stuck.add(name)
        return name

    def inspect(self, name: str) -> Snapshot | None:
        return self.servers.get(name)

    def write_stdin(self, name: str, text: str, *, taken_within: float) -> None:
        assert 0 < taken_within <= 5
        self.asked.append(name)
        text.encode()
        if name in self.stuck:
            self.go.wait(60.0)
            raise self.fault or EngineError("not read by container 7", not_read=True)
        self.written.append((name, text))


def in_loop(story: Callable[[Commands, Engine], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        engine = Engine()
        sources = SimpleNamespace(task_definition=lambda _uuid: None, definition_for_stop=lambda _uuid: None)
        unknown = SimpleNamespace(sources=sources, settings=SimpleNamespace(stop_timeout=600))
        noted = SimpleNamespace(runs=SimpleNamespace(stop_by_console=lambda *run: engine.stops.append(run[:2])))
        node = SimpleNamespace(now=lambda: SimpleNamespace(engine=engine), for_reading=lambda: unknown, journal=noted, clock=SYSTEM_CLOCK)
        try:
            await story(Commands(cast("Any", node)), engine)
        finally:
            engine.go.set()

    asyncio.run(run())


def test_many_requests_to_a_server_take_a_single_thread() -> None:
    async def story(commands: Commands, engine: Engine) -> None:
        stuck, other = engine.up("stuck", stuck=True), engine.up("other")
        for _unused in range(20):
            asked = asyncio.ensure_future(commands.write(stuck, "a\n"))
            await asyncio.sleep(0.01)
            asked.cancel()
        await until(lambda: engine.asked)
        assert engine.asked == [stuck]
        assert await asyncio.wait_for(commands.write(other, "b\n"), 20.0) is None
        waiting = [asyncio.ensure_future(commands.write(stuck, "c\n")) for _unused in range(50)]
        done, _pending = await asyncio.wait(waiting, timeout=1.0)
        # The queue is full: only the first requests wait.
        assert [each.result() for each in done] == [TOO_MANY] * (20 + 50 - commands_file._MOST_WAITING)
        engine.go.set()
        assert {each.result() for each in (await asyncio.wait(waiting, timeout=20.0))[0]} == {TOO_MANY, NOT_READ}
        # No waiting request was tried.
        assert engine.asked.count(stuck) == 1

    in_loop(story)


def test_only_the_stop_command_is_recorded_as_a_stop() -> None:
    async def story(commands: Commands, engine: Engine) -> None:
        way = StopWay(StopType.COMMAND, "save and stop")
        server = engine.up(UUID, hostname=UUID, labels={LABEL_SERVER: UUID, LABEL_SPEC: "hash", LABEL_STOP: stop_way_text(way)})
        for text in ("say stop\n", "save\n", "list\nsave and stop \n", "stop\n"):
            assert await commands.write(server, text) is None
        assert engine.stops == [(server, Run(server, "1"))]

    in_loop(story)
