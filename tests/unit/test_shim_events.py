# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading on in events: nothing is told twice, whatever is gone is counted, and all who wait cost one look."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.routes.event_followers import (
    Cursor,
    EventFollowers,
    Place,
    Told,
    page_after,
)
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.events.webhook import cloudevent
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import OutboxState, RecordedEvents
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
def test_what_is_no_cursor_is_none(text: str) -> None:
    assert Cursor.read(text) is None


@given(
    present=st.sets(st.integers(1, 30)),
    beyond=st.integers(0, 3),
    begin=st.integers(0, 33),
    limit=st.integers(1, 7),
)
def test_each_event_is_told_once_in_order_and_all_lost_ones_are_counted(present: set[int], beyond: int, begin: int, limit: int) -> None:
    state = OutboxState("box", max(present, default=0) + beyond, min(present, default=0))
    begin = min(begin, state.last)
    cursor, told, dropped = Cursor("box", begin), [], 0
    for _page in range(40):
        numbers = sorted(number for number in present if number > cursor.start_in(state))[:limit]
        page = page_after(cursor, state, numbers, limit)
        assert not page.reset
        cursor, told, dropped = page.cursor, told + numbers, dropped + page.dropped
        if not page.has_news:
            break
    assert told == sorted(number for number in present if number > begin)
    assert dropped == state.last - begin - len(told)
    assert cursor == Cursor("box", state.last)


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


def shown(told: Told | None) -> dict[str, Any]:
    assert told is not None
    found: dict[str, Any] = json.loads(told.reply.body)
    return found


def operations(told: Told | None) -> list[str]:
    return [event["data"]["operation"] for event in shown(told)["events"]]


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


def test_who_hangs_up_leaves_nothing_that_waits_and_nobody_looks_any_more(journal: Journal) -> None:
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
        # Who comes later is watched for again.
        again = asyncio.ensure_future(followers.read(Place(end_of(journal), 100), 60.0))
        while not followers.waiting:
            await asyncio.sleep(0.01)
        write(journal, "one")
        assert operations(await asyncio.wait_for(again, 20.0)) == ["one"]

    asyncio.run(run())
