# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power actions through a Wings-compatible endpoint, over real HTTP, with the faults of Wings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint import follow, watch
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.client import Endpoint
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.perform import perform_at
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import Clock
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

from .lab import ended
from .panel_server import self_signed
from .wings_server import TOKEN, WingsMachine, WingsServer, wings

CLOCK = Clock()


@pytest.fixture(name="server")
def wings_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WingsServer]:
    """Wings without a server; the client polls it more often than a real one."""
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(watch, "_LONGEST_PAUSE", 0.25)
    with wings() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client ends each wait after a second."""
    monkeypatch.setattr(follow, "GRACE_SECONDS", 0.8)
    monkeypatch.setattr(follow, "SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(watch, "_SILENT_SECONDS", 0.8)


def endpoint_of(server: WingsServer, token: str = TOKEN, **options: Any) -> Endpoint:
    return Endpoint(server.url, token, **{"timeout": 5.0, **options})


def perform(
    where: WingsServer | Endpoint, what: WingsMachine | str, action: str, interrupted: Callable[[], bool] = lambda: False, **fields: Any
) -> Result:
    endpoint = where if isinstance(where, Endpoint) else endpoint_of(where)
    text = what if isinstance(what, str) else what.uuid
    fields = {"wait_timeout": 5, **fields}
    request = Request(server=text, action=PowerAction(action), operation="ours", requested_at=CLOCK.now(), **fields)
    try:
        return perform_at(request, endpoint, CLOCK, Caller(interrupted))
    finally:
        endpoint.close()


def await_state(machine: WingsMachine, state: str) -> None:
    deadline = time.monotonic() + 20
    while machine.state != state:
        assert time.monotonic() < deadline, f"still {machine.state}"
        time.sleep(0.005)


@pytest.mark.parametrize(
    "action, up_for, states",
    [
        ("start", None, (PowerState.OFFLINE, {PowerState.STARTING, PowerState.RUNNING})),
        ("stop", 93.5, (PowerState.RUNNING, {PowerState.OFFLINE})),
        ("restart", 93.5, (PowerState.RUNNING, {PowerState.STARTING, PowerState.RUNNING})),
        ("restart", None, (PowerState.OFFLINE, {PowerState.STARTING, PowerState.RUNNING})),
        ("kill", 93.5, (PowerState.RUNNING, {PowerState.OFFLINE})),
    ],
)
def test_an_action_is_done_after_the_client_saw_its_end(
    server: WingsServer, action: str, up_for: float | None, states: tuple[PowerState, set[PowerState]]
) -> None:
    machine = server.machine(up_for=up_for)
    result = perform(server, machine, action)
    assert (ended(result), result.changed, machine.taken) == (("done", ""), True, [action])
    assert (result.state_before, result.state in states[1]) == (states[0], True)
    assert (result.server.name, server.posts()) == ("Cobalt", [{"action": action, "wait_seconds": 30}])
    assert result.operation == ""


def test_an_action_that_wings_drops_for_a_held_lock_has_an_unknown_outcome(server: WingsServer, impatient: None) -> None:
    machine = server.machine(up_for=93.5)
    with machine.lock:
        result = perform(server, machine, "stop", wait_seconds=0)
    assert (ended(result), result.changed, machine.taken) == (("failed", "outcome_unknown"), False, [])
    assert "drops an action whose lock is held" in result.msg
    assert (result.state, machine.log) == (PowerState.RUNNING, ["locker: cannot acquire lock, already locked"])


@pytest.mark.parametrize("kind", ["truncated", "cut", "redirect", "empty"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_broken_answer_is_reported_and_a_post_may_have_been_taken(server: WingsServer, kind: str, method: str) -> None:
    machine = server.machine(up_for=93.5)
    server.fault(kind, method=method, status=200, location="http://127.0.0.1:1/elsewhere")
    result = perform(server, machine, "stop")
    assert ended(result) == ("failed", "endpoint_unreachable")
    assert ("may have been accepted" in result.msg) is (method == "POST")
    assert TOKEN not in result.msg


def test_an_action_at_a_hanging_endpoint_fails_in_time(server: WingsServer) -> None:
    server.fault("hang", times=9)
    began = time.monotonic()
    result = perform(endpoint_of(server, timeout=0.5), server.machine(up_for=93.5), "stop")
    assert (ended(result), time.monotonic() - began < 4) == (("failed", "endpoint_unreachable"), True)


@pytest.mark.parametrize("kind", ["error", "truncated", "cut", "html"])
def test_errors_during_an_action_do_not_end_the_wait(server: WingsServer, kind: str) -> None:
    machine = server.machine(up_for=93.5)
    machine.stop_seconds = 0.3
    endpoint = endpoint_of(server)
    endpoint.look(machine.uuid)

    def break_it() -> None:
        await_state(machine, "stopping")
        server.fault(kind, times=2, status=502)

    threading.Thread(target=break_it).start()
    assert ended(perform(endpoint, machine, "stop")) == ("done", "")


def test_an_endpoint_that_vanishes_after_it_accepted_leaves_the_outcome_unknown(server: WingsServer, impatient: None) -> None:
    machine = server.machine(up_for=93.5)
    machine.stop_seconds = 30

    def break_it() -> None:
        await_state(machine, "stopping")
        server.fault("cut", times=99)

    threading.Thread(target=break_it).start()
    result = perform(server, machine, "stop")
    assert (ended(result), result.state) == (("failed", "outcome_unknown"), None)


def test_an_unknown_certificate_is_refused_unless_options_allow_it(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with wings(certificate=certificate) as server:
        machine = server.machine(up_for=9)
        result = perform(server, machine, "start")
        assert (ended(result), server.asked) == (("failed", "endpoint_unreachable"), [])
        assert ended(perform(endpoint_of(server, verify=False), machine, "start")) == ("unchanged", "")
        assert ended(perform(endpoint_of(server, ca_path=str(certificate)), machine, "start")) == ("unchanged", "")


@pytest.mark.samples("True")
@pytest.mark.parametrize("operations", [False, True])
def test_a_signal_ends_the_wait_and_the_action_continues(operations: bool) -> None:
    with wings(operations=operations) as server:
        machine = server.machine(up_for=93.5)
        machine.stop_seconds = 1.5
        result = perform(server, machine, "stop", lambda: machine.state == "stopping")
        assert ended(result) == ("failed", "outcome_unknown")
        assert "a signal ended the wait" in result.msg
        await_state(machine, "offline")
