# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One receiver's thread on a real journal, a step at a time, by a clock of the test's own: what it sends, keeps, lets go of and tells."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._events import delivery_worker as worker_module
from ansible_collections.fleet.power.plugins.module_utils._events.delivery_worker import (
    DeliveryWorker,
    OutboxSight,
    OutboxWatch,
    Surroundings,
)
from ansible_collections.fleet.power.plugins.module_utils._events.service import KEPT_SECONDS, OutboxAges
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.receiver_keys import DISCORD
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal import outbox, store
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import KEPT_EVENTS
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.receivers.receiver import Receiver, WebhookMessage
from ansible_collections.fleet.power.plugins.module_utils._power.receivers.webhook_client import Posted, Taking
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, BETA, Node

AT = "2026-03-01T12:00:00.000Z"
TAKEN = Posted(Taking.TAKEN)
FAILED = Posted(Taking.FAILED, "it answered with status 500")


class OwnClock:
    """The real time, and as much more as the test says; the wall clock may be set besides."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.set = timedelta()

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self.ahead + self.set

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()

    def sleep(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


class FakeClient:
    """A receiver that answers what the test says, and keeps what it got."""

    def __init__(self, answer: Callable[[Any], Posted] = lambda _body: TAKEN) -> None:
        self.answer = answer
        self.asked: list[Any] = []
        self.taken: list[Any] = []

    def post(self, message: WebhookMessage, **_options: object) -> Posted:
        body = json.loads(message.body)
        self.asked.append(body)
        posted = self.answer(body)
        if posted.taking is Taking.TAKEN:
            self.taken.append(body)
        return posted

    def close(self) -> None:
        pass

    @property
    def numbers(self) -> list[int]:
        return [int(body["sequence"]) for body in self.taken if "sequence" in body]


class Post:
    """A node with an outbox, and one receiver of its events."""

    def __init__(self, node: Node) -> None:
        self.journal: Journal = node.journal()
        self.journal.events.open()
        self.clock = OwnClock()
        self.ages = OutboxAges()
        self.client = FakeClient()
        self.receiver = Receiver("pager", "http://127.0.0.1:9/")
        self.delivery_worker = self.begun()
        self.step()

    def begun(self, **changed: Any) -> DeliveryWorker:
        around = Surroundings(self.journal, OutboxWatch(), lambda _server: None, "node-1", self.clock)
        self.receiver = Receiver(**{"name": "pager", "url": "http://127.0.0.1:9/", **changed})
        self.delivery_worker = DeliveryWorker(self.receiver, around, self.client)  # type: ignore[arg-type]
        return self.delivery_worker

    def write(self, *servers: Server | None, kind: EventType = EventType.SERVER_CRASHED) -> None:
        for server in servers:
            assert self.journal.events.write(Event(kind, AT, {}, server))

    def step(self) -> float:
        outbox = self.journal.events.state()
        self.ages.pass_to("boot", self.clock.monotonic(), outbox.last if outbox else 0)
        return self.delivery_worker.turn(OutboxSight(outbox, self.ages.older_than(KEPT_SECONDS)))

    def through(self, span: timedelta = timedelta()) -> None:
        """Go on for a while, and until nothing is due."""
        end = self.clock.now() + span
        while True:
            seconds = self.step()
            if seconds > 0 and self.clock.now() + timedelta(seconds=seconds) > end:
                return
            self.clock.sleep(max(seconds, 0.0))

    @property
    def told(self) -> dict[str, Any]:
        (found,) = self.journal.deliveries.told() or ()
        return found


@pytest.fixture(name="post")
def post_fixture(node: Node, monkeypatch: pytest.MonkeyPatch) -> Post:
    monkeypatch.setattr(worker_module, "announce_line", lambda *_arguments, **_options: None)
    return Post(node)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, post: Post) -> Iterator[list[str]]:
    found: list[str] = []
    monkeypatch.setattr(worker_module, "announce_line", lambda line, **_options: found.append(line))
    yield found


def test_what_is_taken_is_told_and_survives_the_process(post: Post) -> None:
    post.write(ALPHA, BETA, None)
    post.through()
    told = post.told
    assert (told["receiver"], told["waiting"], told["sent"], told["error"], told["off"]) == ("pager", 0, 3, None, False)
    assert told["sent_at"] and told["oldest_at"] is None
    post.begun()
    post.write(ALPHA)
    post.through()
    assert post.client.numbers == [1, 2, 3, 4]


def test_a_fault_of_ours_is_one_line_in_the_system_log_and_ends_nothing(post: Post, lines: list[str]) -> None:
    class Ending:
        sight, turns = OutboxSight(), 0

        def wait(self, _seen: object, _seconds: float) -> None:
            self.turns += 1

        @property
        def ends(self) -> bool:
            return self.turns == 3

    post.delivery_worker._around = replace(post.delivery_worker._around, outbox_watch=Ending())  # type: ignore[arg-type]
    post.delivery_worker.turn = lambda _sight: 1 / 0  # type: ignore[method-assign]
    post.delivery_worker.run()
    (line,) = lines
    assert line.startswith("events: receiver pager: Cannot go on: ") and "ZeroDivisionError" in line


def test_after_a_day_of_tries_events_are_dropped_and_the_receiver_is_told_how_many(post: Post, lines: list[str]) -> None:
    post.client.answer = lambda _body: FAILED
    post.write(ALPHA, ALPHA, BETA)
    post.through(timedelta(minutes=5))
    post.clock.ahead += timedelta(hours=23, minutes=40)
    post.through(timedelta(minutes=5))
    assert (post.told["waiting"], post.told["dropped"]) == (3, 0)
    post.through(timedelta(minutes=20))
    assert (post.told["waiting"], post.told["dropped"]) == (0, 3)
    # By server, not all at the same moment.
    assert sum(int(found[1]) for found in (re.search(r"pager has lost (\d+) events?: ", line) for line in lines) if found) == 3
    post.client.answer = lambda _body: TAKEN
    post.through(timedelta(minutes=7))
    (dropped,) = post.client.taken
    assert (dropped["type"], dropped["data"]) == ("events.dropped", {"receiver": "pager", "count": 3})
    assert post.told["dropped"] == 3


@pytest.mark.parametrize("kept", [100, pytest.param(KEPT_EVENTS, marks=pytest.mark.long)])
def test_beyond_ten_thousand_the_oldest_are_dropped_and_told(post: Post, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEPT_EVENTS", kept)
    monkeypatch.setattr(worker_module, "_TIDY_SECONDS", 0.0)
    post.begun()
    post.client.answer = lambda _body: FAILED
    post.write(ALPHA, BETA, ALPHA)
    post.through(timedelta(seconds=1))
    many = [Event(EventType.SERVER_CRASHED, AT, {}, BETA) for _unused in range(kept - 1)]
    assert post.journal.store.write(lambda connection: outbox.tell(connection, lambda: many))
    post.through(timedelta(seconds=1))
    state = post.journal.events.state()
    assert state is not None and (state.last, state.oldest) == (kept + 2, 1)
    assert (post.told["dropped"], post.told["waiting"]) == (2, kept)
    post.client.answer = lambda _body: TAKEN
    post.through(timedelta(minutes=1))
    assert post.client.taken[0]["data"] == {"receiver": "pager", "count": 2}
    assert sorted(post.client.numbers) == [1, 3, *range(5, kept + 3)]
    assert post.client.taken[0]["id"] != post.client.taken[1]["id"]


@pytest.mark.parametrize("form", ["cloudevents", DISCORD])
def test_ten_thousand_events_of_one_server_do_not_delay_anothers_crash(post: Post, form: str) -> None:
    post.begun(format=form)
    noise = [Event(EventType.ACTION_ENDED, AT, {"outcome": "failed", "msg": "x" * 300}, ALPHA) for _unused in range(KEPT_EVENTS // 2 + 25)]
    assert post.journal.store.write(lambda connection: outbox.tell(connection, lambda: noise))
    post.write(BETA)
    assert post.journal.store.write(lambda connection: outbox.tell(connection, lambda: noise))
    # What was let go of is told first, then each server in its turn.
    while len(post.client.taken) < 3:
        post.clock.sleep(max(post.step(), 0.0))
    assert any("beta" in json.dumps(body) for body in post.client.taken[:3])
    assert post.client.taken[0].get("data", {"count": 51})["count"] == 51


def test_a_journal_that_was_begun_anew_is_read_from_its_beginning(post: Post) -> None:
    post.client.answer = lambda _body: FAILED
    post.write(ALPHA, BETA)
    post.through(timedelta(seconds=1))
    post.journal.events.close()
    post.journal.events.open()
    post.client.answer = lambda _body: TAKEN
    post.write(BETA)
    post.through(timedelta(minutes=1))
    assert post.client.taken[0]["data"]["count"] == 2
    assert post.client.numbers == [1]


def test_who_wants_no_more_is_left_alone_until_the_service_begins_anew(post: Post, lines: list[str]) -> None:
    post.client.answer = lambda _body: Posted(Taking.GONE, "it answered with status 410")
    post.write(ALPHA, BETA)
    post.through(timedelta(hours=2))
    assert len(post.client.asked) == 1
    assert (post.told["off"], post.told["error"], post.told["waiting"]) == (True, "it answered with status 410", 2)
    assert len(lines) == 1 and "wants no events any more" in lines[0]
    post.client.answer = lambda _body: TAKEN
    post.begun()
    post.through()
    assert post.client.numbers == [1, 2] and not post.told["off"]


def test_a_wait_that_was_asked_for_outlives_the_process(post: Post) -> None:
    post.client.answer = lambda _body: Posted(Taking.FAILED, "it answered with status 429", 1800.0)
    post.write(ALPHA)
    post.through(timedelta(minutes=1))
    post.begun()
    post.write(BETA)
    post.through(timedelta(minutes=25))
    assert len(post.client.asked) == 1
    post.client.answer = lambda _body: TAKEN
    post.through(timedelta(minutes=5))
    assert sorted(post.client.numbers) == [1, 2]


@pytest.mark.parametrize("back", [timedelta(minutes=20), timedelta(minutes=50), timedelta(days=1)])
@pytest.mark.parametrize("form", ["cloudevents", DISCORD])
def test_a_clock_that_is_set_back_keeps_nothing_waiting(post: Post, form: str, back: timedelta) -> None:
    post.begun(format=form)
    post.client.answer = lambda _body: FAILED
    post.write(ALPHA, BETA)
    post.through(timedelta(seconds=5))
    post.client.answer = lambda _body: TAKEN
    post.clock.set = -back
    post.write(ALPHA)
    post.through(timedelta(minutes=1))
    assert not post.journal.deliveries.told()[0]["waiting"], "it takes events again"  # type: ignore[index]
    post.clock.set -= back
    post.write(BETA)
    post.through(timedelta(seconds=5))
    assert not post.journal.deliveries.told()[0]["waiting"]  # type: ignore[index]


def test_a_dead_receiver_neither_reads_all_that_waits_nor_writes_at_every_look(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "KEPT_EVENTS", 50)
    # A look comes every 0.2 s, and here at once.
    monkeypatch.setattr(store, "_APART_SECONDS", 0.0)
    post.client.answer = lambda _body: FAILED
    servers = [Server(f"{number:08d}-0000-4000-8000-000000000000", "") for number in range(10)]
    post.write(*servers * 5)
    post.through(timedelta(seconds=1))
    reads, saves = [], []
    read, save = post.journal.events.outlines, post.journal.deliveries.save
    monkeypatch.setattr(post.journal.events, "outlines", lambda *span: reads.append(span) or read(*span))
    monkeypatch.setattr(post.journal.deliveries, "save", lambda *given: saves.append(given) or save(*given))
    for _unused in range(100):
        # Each look has new events, and as many have gone.
        post.write(*servers)
        post.step()
        post.clock.sleep(0.2)
    assert len(saves) <= 25 and sum(last - first for first, last, *_uuid in reads) < 20 * 50
    post.through(timedelta(seconds=20))
    assert post.told["waiting"] == 50 and post.told["dropped"] == 1000
