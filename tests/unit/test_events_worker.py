# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One receiver's thread on a real journal: its plan, the age of events, and the definitions it knows."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._events import delivery_worker as worker_module
from ansible_collections.fleet.power.plugins.module_utils._events import service
from ansible_collections.fleet.power.plugins.module_utils._events.delivery import DeliveryPlan, lane_of
from ansible_collections.fleet.power.plugins.module_utils._events.delivery_worker import (
    DeliveryWorker,
    OutboxSight,
    OutboxWatch,
    Surroundings,
)
from ansible_collections.fleet.power.plugins.module_utils._events.service import (
    FRESH_SECONDS,
    KEPT_SECONDS,
    MARK_SECONDS,
    LocalDefinitions,
    OutboxAges,
    Sender,
)
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition_files import KeptDefinitions
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.receiver_keys import DISCORD
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal import outbox, store
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import KEPT_EVENTS, Delivery
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.receivers.receiver import Posted, Receiver, Taking, WebhookMessage
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA, BETA, Node

AT = "2026-03-01T12:00:00.000Z"
TAKEN = Posted(Taking.TAKEN)
FAILED = Posted(Taking.FAILED, "it answered with status 500")


class OwnClock:
    """The real time plus ``ahead``; ``set`` moves the wall clock alone."""

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
    """A receiver that gives the answers of the test, and keeps the requests."""

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
        end = self.clock.now() + span
        while True:
            seconds = self.step()
            if seconds > 0 and self.clock.now() + timedelta(seconds=seconds) > end:
                return
            self.clock.sleep(max(seconds, 0.0))

    @property
    def status(self) -> dict[str, Any]:
        (found,) = self.journal.deliveries.facts() or ()
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


def test_counts_of_sent_events_are_reported_and_survive_the_process(post: Post) -> None:
    post.write(ALPHA, BETA, None)
    post.through()
    status = post.status
    assert (status["receiver"], status["waiting"], status["sent"], status["error"], status["off"]) == ("pager", 0, 3, None, False)
    assert status["sent_at"] and status["oldest_at"] is None
    post.begun()
    post.write(ALPHA)
    post.through()
    assert post.client.numbers == [1, 2, 3, 4]


def test_an_internal_error_is_one_line_in_the_system_log_and_the_worker_continues(post: Post, lines: list[str]) -> None:
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


def test_after_a_day_of_tries_events_are_dropped_and_the_receiver_gets_their_count(post: Post, lines: list[str]) -> None:
    post.client.answer = lambda _body: FAILED
    post.write(ALPHA, ALPHA, BETA)
    post.through(timedelta(minutes=5))
    post.clock.ahead += timedelta(hours=23, minutes=40)
    post.through(timedelta(minutes=5))
    assert (post.status["waiting"], post.status["dropped"]) == (3, 0)
    post.through(timedelta(minutes=20))
    assert (post.status["waiting"], post.status["dropped"]) == (0, 3)
    # Events are dropped by server, not all at the same moment.
    assert sum(int(found[1]) for found in (re.search(r"pager has lost (\d+) events?: ", line) for line in lines) if found) == 3
    post.client.answer = lambda _body: TAKEN
    post.through(timedelta(minutes=7))
    (dropped,) = post.client.taken
    assert (dropped["type"], dropped["data"]) == ("events.dropped", {"receiver": "pager", "count": 3})
    assert post.status["dropped"] == 3


@pytest.mark.parametrize("kept", [100, pytest.param(KEPT_EVENTS, marks=pytest.mark.long)])
def test_the_oldest_events_above_ten_thousand_are_dropped_and_counted(post: Post, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert (post.status["dropped"], post.status["waiting"]) == (2, kept)
    post.client.answer = lambda _body: TAKEN
    post.through(timedelta(minutes=1))
    assert post.client.taken[0]["data"] == {"receiver": "pager", "count": 2}
    assert sorted(post.client.numbers) == [1, 3, *range(5, kept + 3)]
    assert post.client.taken[0]["id"] != post.client.taken[1]["id"]


@pytest.mark.parametrize("form", ["cloudevents", DISCORD])
def test_ten_thousand_events_of_one_server_do_not_delay_the_crash_of_another(post: Post, form: str) -> None:
    post.begun(format=form)
    noise = [Event(EventType.ACTION_ENDED, AT, {"outcome": "failed", "msg": "x" * 300}, ALPHA) for _unused in range(KEPT_EVENTS // 2 + 25)]
    assert post.journal.store.write(lambda connection: outbox.tell(connection, lambda: noise))
    post.write(BETA)
    assert post.journal.store.write(lambda connection: outbox.tell(connection, lambda: noise))
    # The dropped events are reported first, then each server in its turn.
    while len(post.client.taken) < 3:
        post.clock.sleep(max(post.step(), 0.0))
    assert any("beta" in json.dumps(body) for body in post.client.taken[:3])
    assert post.client.taken[0].get("data", {"count": 51})["count"] == 51


def test_a_replaced_outbox_is_read_from_its_beginning(post: Post) -> None:
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


def test_a_receiver_that_is_gone_gets_no_request_until_the_service_restarts(post: Post, lines: list[str]) -> None:
    post.client.answer = lambda _body: Posted(Taking.GONE, "it answered with status 410")
    post.write(ALPHA, BETA)
    post.through(timedelta(hours=2))
    assert len(post.client.asked) == 1
    assert (post.status["off"], post.status["error"], post.status["waiting"]) == (True, "it answered with status 410", 2)
    assert len(lines) == 1 and "refuses further events" in lines[0]
    post.client.answer = lambda _body: TAKEN
    post.begun()
    post.through()
    assert post.client.numbers == [1, 2] and not post.status["off"]


def test_a_requested_wait_survives_the_process(post: Post) -> None:
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
def test_a_clock_that_is_set_back_delays_no_event(post: Post, form: str, back: timedelta) -> None:
    post.begun(format=form)
    post.client.answer = lambda _body: FAILED
    post.write(ALPHA, BETA)
    post.through(timedelta(seconds=5))
    post.client.answer = lambda _body: TAKEN
    post.clock.set = -back
    post.write(ALPHA)
    post.through(timedelta(minutes=1))
    assert not post.journal.deliveries.facts()[0]["waiting"], "it takes events again"  # type: ignore[index]
    post.clock.set -= back
    post.write(BETA)
    post.through(timedelta(seconds=5))
    assert not post.journal.deliveries.facts()[0]["waiting"]  # type: ignore[index]


def test_a_dead_receiver_causes_few_reads_and_writes_of_the_journal(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
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
        # Each look has new events, and as many were dropped.
        post.write(*servers)
        post.step()
        post.clock.sleep(0.2)
    assert len(saves) <= 25 and sum(last - first for first, last, *_uuid in reads) < 20 * 50
    post.through(timedelta(seconds=20))
    assert post.status["waiting"] == 50 and post.status["dropped"] == 1000


@pytest.mark.parametrize("seed", range(30))
def test_all_events_of_each_server_arrive_in_order_despite_failures(seed: int) -> None:
    chance, now, taken = random.Random(seed), 1000.0, list[int]()
    servers = [chance.choice("abcd") for _unused in range(60)]
    events = [Event(EventType.SERVER_CRASHED, AT, {}, Server(each), number=number) for number, each in enumerate(servers, 1)]
    plan = DeliveryPlan(Delivery("outbox", 0))
    plan.see(events, lambda _event: True, 0)
    for _unused in range(5000):
        name, works = next(iter(plan.due_lanes(now)), None), chance.random() < 0.5
        if name is None:
            now += 1.0
        elif works:
            number = plan.delivery.lanes[name].number
            taken.append(next(each.number for each in events if each.number >= number and lane_of(each) == name))
            plan.taken(name, taken[-1], 1, AT)
        else:
            plan.failed([name], "no", now=now, at=AT, retry_after=None, jitter=0.5)
        if chance.random() < 0.05:
            # As after a kill, the plan continues from the written state.
            plan = DeliveryPlan(plan.delivery)
    assert sorted(taken) == list(range(1, 61))
    for server in "abcd":
        own = [number for number in taken if servers[number - 1] == server]
        assert own == sorted(own)


LOBBY = Server("9d0e4d0c-aaaa-4000-8000-000000000001", "Lobby")


def settings(root: Path, **more: str) -> Settings:
    system = {"state_directory": str(root / "state"), "definitions": str(root / "servers")}
    return parse_settings({"system": system, **more}, where="config.yml")


def written(owner: str) -> dict[str, object]:
    return {"settings": {"uuid": LOBBY.uuid, "container": {"image": "x"}, "labels": {"owner": owner}}, "process_configuration": {}}


def write(directory: Path, owner: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{LOBBY.uuid}.json").write_text(json.dumps(written(owner)))


def owner(at_hand: LocalDefinitions) -> str | None:
    found = at_hand(LOBBY)
    return None if found is None else dict(found.labels)["owner"]


def test_a_definition_file_counts_unless_the_node_has_a_panel(tmp_path: Path) -> None:
    assert owner(LocalDefinitions(settings(tmp_path))) is None
    write(tmp_path / "servers", "alice")
    KeptDefinitions(str(tmp_path / "state"), "").keep(parse_definition(written("bob"), where="x"))
    assert owner(LocalDefinitions(settings(tmp_path))) == "alice"
    with_panel = {"remote": "https://panel.example.test", "token": "t", "token_id": "i"}
    assert owner(LocalDefinitions(settings(tmp_path, **with_panel))) == "bob"


def test_a_broken_definition_file_leaves_a_server_unknown(tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / f"{LOBBY.uuid}.json").write_text("{")
    assert owner(LocalDefinitions(settings(tmp_path))) is None


def test_a_changed_definition_counts_after_a_short_time(tmp_path: Path) -> None:
    clock = OwnClock()
    at_hand = LocalDefinitions(settings(tmp_path), clock)
    write(tmp_path / "servers", "alice")
    assert owner(at_hand) == "alice"
    write(tmp_path / "servers", "robert")
    clock.sleep(FRESH_SECONDS - 1)
    assert owner(at_hand) == "alice"
    clock.sleep(1)
    assert owner(at_hand) == "robert"


DAY, HOUR = 86400.0, 3600.0


def test_the_age_of_events_counts_running_time_with_an_error_of_minutes() -> None:
    ages = OutboxAges()
    for second in range(0, int(DAY), 10):
        # An event every ten seconds.
        ages.pass_to("boot", float(second), 1 + second // 10)
        if second % 3600 == 0:
            found = ages.older_than(HOUR)
            assert max(0.0, second - HOUR - MARK_SECONDS - 20) / 10 <= found <= max(0.0, second - HOUR) / 10 + 1


def test_a_boot_keeps_the_age_of_events_and_adds_only_the_time_since_then() -> None:
    ages = OutboxAges()
    ages.pass_to("one", 1000.0, 7)
    ages.pass_to("one", 1000.0 + DAY / 2, 7)
    ages = OutboxAges.read(ages.written())
    ages.pass_to("two", DAY / 2 - 10, 7)
    assert ages.older_than(DAY) == 0
    ages.pass_to("two", DAY / 2 + 10, 7)
    assert ages.older_than(DAY) == 7


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"boot": "b", "seconds": "x", "marks": []}', '{"boot": "b", "seconds": 1, "marks": [1]}']
)
def test_unreadable_ages_make_all_events_new(text: str) -> None:
    ages = OutboxAges.read(text)
    ages.pass_to("b", 1e9, 5)
    assert ages.older_than(0.0) == 0


@pytest.fixture(name="clock")
def wall_clock() -> OwnClock:
    return OwnClock()


@pytest.fixture(name="sender")
def sender_of_a_node(tmp_path: Path, clock: OwnClock) -> Iterator[Sender]:
    """A sender without receivers: its events wait for clients that read the outbox."""
    system = {"state_directory": str(tmp_path / "state"), "lock_directory": str(tmp_path / "locks")}
    settings = parse_settings({"system": system}, where="config.yml")
    sender = Sender(settings, lambda: False, clock)
    yield sender
    sender._journal.close()


def looked(sender: Sender) -> int:
    sender._tidy_at = service.Deadline(service.SYSTEM_CLOCK, 0.0)
    sender._look()
    assert not sender._in_trouble
    page = sender._journal.events.after(0, 100)
    assert page is not None
    return len(page.events)


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_that_is_wrong_for_a_moment_drops_no_event(sender: Sender, clock: OwnClock, days: int) -> None:
    assert looked(sender) == 0
    sender._journal.events.write(Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.000Z", {}, ALPHA))
    assert looked(sender) == 1
    clock.set = timedelta(days=days)
    assert (looked(sender), sender._watch.sight.too_old) == (1, 0)
    sender._journal.events.write(Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.000Z", {}, ALPHA))
    clock.set = timedelta()
    assert (looked(sender), sender._watch.sight.too_old) == (2, 0)


def pass_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    later = service.boot_seconds() + seconds
    monkeypatch.setattr(service, "boot_seconds", lambda: later)


def test_events_that_cannot_be_dropped_keep_their_age_and_are_dropped_later(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    for _each in range(2):
        looked(sender)
        sender._journal.events.write(Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.000Z", {}, ALPHA))
        pass_seconds(monkeypatch, MARK_SECONDS)
        looked(sender)
        pass_seconds(monkeypatch, DAY - HOUR)
    pass_seconds(monkeypatch, HOUR)
    with monkeypatch.context() as patched:
        patched.setattr(type(sender._journal.events), "drop_through", lambda _events, _number: False)
        assert looked(sender) == 2
    assert looked(sender) == 1
