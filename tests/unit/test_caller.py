# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of an action that the caller sees, and the syslog line of an action's end."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter, Slot
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.perform import perform_at
from ansible_collections.fleet.power.plugins.module_utils._power.host import system_log as module
from ansible_collections.fleet.power.plugins.module_utils._power.host.system_log import SystemLog, announce, line_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.news import News
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, Result, StopReport
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.tests.unit import endpoint_support
from ansible_collections.fleet.power.tests.unit.endpoint_support import OFFLINE, OLD, RUNNING, FakeEndpoint
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from hypothesis import given, settings
from hypothesis import strategies as st


class Asker:
    """The caller of an action on a fake node: the news it gets, and its waits."""

    def __init__(self, fake: FakeNode) -> None:
        self.fake = fake
        self.news: list[News] = []
        #: For each wait: the holder of the lock, and the number of news so far.
        self.held: list[tuple[str | None, int]] = []
        self.on_hold: Callable[[], object] = lambda: None

    def perform(self, action: str, slot: Slot | None = None, **fields: Any) -> Result:
        node = replace(self.fake.node, caller=Caller(lambda: self.fake.interrupted, self._hold, self.news.append))
        request = self.fake.request(action, **fields)
        result = perform(request, node, slot=slot)
        # A lock holder keeps kills and other actions waiting, so it never waits for a caller that may not return.
        assert request.operation not in [holder for holder, _heard in self.held]
        return result

    @property
    def phases(self) -> list[str]:
        return [news.phase for news in self.news]

    def _hold(self) -> None:
        holder = self.fake.node.locks.holder(UUID)
        self.held.append((None if holder is None else holder.operation, len(self.news)))
        self.on_hold()


@pytest.fixture(name="asker")
def caller_of_the_test(fake: FakeNode) -> Asker:
    return Asker(fake)


@pytest.mark.parametrize(
    "action, phases",
    [
        ("start", ["pull", "preboot", "start"]),
        ("stop", ["stop"]),
        ("restart", ["pull", "stop", "preboot", "start"]),
        ("kill", ["kill"]),
    ],
)
def test_each_phase_is_reported_in_order_with_server_and_action(fake: FakeNode, asker: Asker, action: str, phases: list[str]) -> None:
    if action != "start":
        fake.up()
    result = asker.perform(action)
    assert (result.outcome.value, asker.phases) == ("done", phases)
    assert {(news.server.uuid, news.server.name, news.action, news.outcome) for news in asker.news} == {(UUID, "Cobalt", action, "")}
    seconds = [news.seconds for news in asker.news]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_an_action_changes_no_server_before_its_caller_is_there(fake: FakeNode, asker: Asker, action: str) -> None:
    if action != "start":
        fake.up()
    before: list[tuple[list[object], list[str]]] = []
    asker.on_hold = lambda: before.append((list(fake.engine.calls), asker.phases))
    generation = fake.node.generations.read(UUID)
    asker.perform(action)
    assert before
    assert all(each == ([], []) for each in before)
    assert (fake.node.generations.read(UUID) != generation) is (action == "kill")


@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_an_action_without_its_caller_is_skipped(fake: FakeNode, asker: Asker, action: str) -> None:
    if action != "start":
        fake.up()

    def give_up() -> None:
        fake.interrupted = True

    asker.on_hold = give_up
    result = asker.perform(action)
    assert (result.outcome.value, result.code) == ("skipped", "interrupted_by_signal")
    assert (fake.engine.calls, asker.phases) == ([], [])


@pytest.mark.parametrize("in_a_slot", [False, True])
def test_a_wait_for_the_lock_ends_with_its_caller(fake: FakeNode, asker: Asker, in_a_slot: bool) -> None:
    fake.up()
    lock = fake.lock("restart")
    slot = Limiter(max_parallel=1).slot()
    if in_a_slot:
        slot.begin()

    def give_up_later() -> None:
        fake.interrupted = fake.clock.monotonic() > 30

    asker.on_hold = give_up_later
    result = asker.perform("stop", slot, wait_seconds=600)
    lock.release()
    assert (result.code, fake.live) == ("interrupted_by_signal", True)
    assert fake.clock.monotonic() < 40


UP, DOWN = endpoint_support.seen(RUNNING, OLD), endpoint_support.seen(OFFLINE)


def test_an_endpoint_gets_no_request_before_the_caller_is_there() -> None:
    gone: list[bool] = []
    endpoint = FakeEndpoint(UP, (1, DOWN))
    caller = Caller(lambda: bool(gone), lambda: gone.append(True))
    result = perform_at(endpoint_support.request("stop"), endpoint, endpoint.clock, caller)
    assert (result.code, endpoint.asked) == ("interrupted_by_signal", [])


NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
ANNOUNCED = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"


def ended(outcome: Outcome = Outcome.DONE, name: str = "Cobalt", **fields: Any) -> Result:
    return Result(Server(ANNOUNCED, name), PowerAction.RESTART, outcome, "op-1", NOON, NOON, **{"seconds": 2.25, **fields})


def asked(origin: str = "alice@web1", reason: str = "update") -> Request:
    return Request(ANNOUNCED, PowerAction.RESTART, "op-1", NOON, origin=origin, reason=reason)


def test_a_line_names_server_outcome_and_origin() -> None:
    assert line_of(ended(stop=StopReport("signal", forced=True, seconds=2.0)), asked()) == (
        f"restart {ANNOUNCED} (Cobalt) done in 2.2 s forced by alice@web1 for 'update' operation op-1"
    )
    assert line_of(ended(Outcome.REFUSED, name="", code="suspended", msg="it is suspended"), asked("", "")) == (
        f"restart {ANNOUNCED} refused suspended in 2.2 s operation op-1: it is suspended"
    )


@settings(max_examples=100)
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_a_line_contains_only_printable_characters(name: str, origin: str, reason: str, msg: str) -> None:
    assert line_of(ended(name=name, msg=msg), asked(origin, reason)).isprintable()


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(10)
        monkeypatch.setattr(module, "_SYSTEM_LOG", SystemLog(str(tmp_path / "log")))
        yield daemon


def test_a_log_without_a_reader_does_not_block_actions(reader: socket.socket) -> None:
    began = time.monotonic()
    for _number in range(2000):
        announce(ended(), asked())
    assert time.monotonic() - began < 8
    assert ANNOUNCED in reader.recv(10_000).decode()
