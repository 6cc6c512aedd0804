# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power actions through a Wings-compatible endpoint, over real HTTP, against all that Wings does to its clients."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint import follow, watch
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.client import Endpoint
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.facts import describe_at
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.perform import perform_at
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import SILENT, Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SystemClock
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EndpointUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction, Request, WaitFor
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

from .lab import ended
from .panel_server import self_signed
from .wings_machine import WingsMachine
from .wings_server import TOKEN, WingsServer, wings

CLOCK = SystemClock()
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(name="server")
def wings_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WingsServer]:
    """Wings with no server yet, looked at more often than is good for a real one."""
    monkeypatch.setattr(watch, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(watch, "_LONGEST_PAUSE", 0.25)
    with wings() as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in vain is given up within a second."""
    monkeypatch.setattr(follow, "GRACE_SECONDS", 0.8)
    monkeypatch.setattr(follow, "SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(watch, "_SILENT_SECONDS", 0.8)


def endpoint_of(server: WingsServer, token: str = TOKEN, **options: Any) -> Endpoint:
    return Endpoint(server.url, token, **{"timeout": 5.0, **options})


def perform(
    where: WingsServer | Endpoint, what: WingsMachine | str, action: str, interrupted: Callable[[], bool] = lambda: False, **fields: Any
) -> Result:
    """One action, as a front door asks for it."""
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


# ----- the server of the tests is what Wings' clients see


def ask(server: WingsServer, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
    """One bare exchange."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    sent = {"Authorization": f"Bearer {TOKEN}", **headers}
    connection.request(method, path, body, {name: value for name, value in sent.items() if value})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text


@pytest.mark.parametrize("authorization, status", [("", 401), ("bearer x", 401), ("Basic x", 401), ("x", 401), ("Bearer wrong", 403)])
def test_who_has_no_token_learns_nothing(server: WingsServer, authorization: str, status: int) -> None:
    answered, headers, text = ask(server, "GET", f"/api/servers/{NOBODY}", Authorization=authorization)
    assert (answered, "error" in json.loads(text), "request_id" in text) == (status, True, False)
    assert headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert ask(server, "GET", "/no/such/path", Authorization=authorization)[0] == status


@pytest.mark.parametrize(
    "body, status, text",
    [
        ("", 400, '{"error": "The data passed in the request was not in a parsable format. Please try again."}'),
        ("{", 400, "request_id"),
        ("[]", 400, "request_id"),
        ('{"action": 1}', 400, "request_id"),
        ('{"action": "stop", "wait_seconds": "30"}', 400, "request_id"),
        ('{"action": "stop", "wait_seconds": 1.5}', 400, "request_id"),
        ('{"action": "stop", "wait_seconds": true}', 400, "request_id"),
        ("{}", 422, "should be one of"),
        ("null", 422, "should be one of"),
        ('{"action": "Start"}', 422, "should be one of"),
        ('{"Action": "stop", "unknown": 1} and more', 202, ""),
        ('{"action": "stop", "wait_seconds": 301}', 202, ""),
    ],
)
def test_a_body_is_read_as_wings_reads_it(server: WingsServer, body: str, status: int, text: str) -> None:
    machine = server.machine()
    answered, headers, said = ask(server, "POST", f"/api/servers/{machine.uuid}/power", body)
    assert (answered, text in said, said == "" if status == 202 else True) == (status, True, True)
    assert "x-request-id" in headers
    if status == 400:
        assert headers["content-type"] == "text/plain; charset=utf-8"
    if status == 202:
        assert (headers["content-length"], "content-type" in headers) == ("0", False)


def test_paths_are_answered_as_wings_answers_them(server: WingsServer) -> None:
    machine = server.machine()
    assert ask(server, "GET", "/no/such/path")[::2] == (404, "404 page not found")
    assert ask(server, "GET", f"/api/servers/{machine.uuid}/power")[::2] == (404, "404 page not found")
    assert ask(server, "DELETE", "/api/servers")[0] == 404
    assert ask(server, "OPTIONS", "/api/servers", Authorization="")[0] == 204
    assert ask(server, "GET", "/api/servers/")[0] == 301
    assert ask(server, "POST", f"/api/servers/{machine.uuid}/power/", "{}")[0] == 307
    for uuid in (NOBODY, machine.uuid.upper(), machine.uuid[:8]):
        status, headers, text = ask(server, "GET", f"/api/servers/{uuid}")
        assert (status, json.loads(text)) == (404, {"error": "The requested resource does not exist on this instance."})
        assert headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(ask(server, "GET", "/api/servers")[2])[0]["configuration"]["uuid"] == machine.uuid


# ----- what goes well


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
def test_an_action_is_done_when_its_end_was_seen(
    server: WingsServer, action: str, up_for: float | None, states: tuple[PowerState, set[PowerState]]
) -> None:
    machine = server.machine(up_for=up_for)
    result = perform(server, machine, action)
    assert (ended(result), result.changed, machine.taken) == (("done", ""), True, [action])
    assert (result.state_before, result.state in states[1]) == (states[0], True)
    assert (result.server.name, server.posts()) == ("Cobalt", [{"action": action, "wait_seconds": 30}])
    assert result.operation == ""


@pytest.mark.parametrize("action, up_for, posts", [("start", 10.0, 0), ("stop", None, 0), ("kill", None, 1)])
def test_what_is_so_already_is_unchanged(server: WingsServer, impatient: None, action: str, up_for: float | None, posts: int) -> None:
    result = perform(server, server.machine(up_for=up_for), action)
    assert (ended(result), result.changed, len(server.posts())) == (("unchanged", ""), False, posts)


def test_a_start_waits_until_the_server_is_running(server: WingsServer) -> None:
    machine = server.machine()
    machine.times.ready = 0.6
    result = perform(server, machine, "start", wait_for=WaitFor.RUNNING)
    assert (ended(result), result.state) == (("done", ""), PowerState.RUNNING)


def test_a_server_is_found_by_its_name_and_by_its_short_id(server: WingsServer) -> None:
    machine = server.machine("Cobalt Survival", up_for=10)
    server.machine("Other")
    assert perform(server, "Cobalt Survival", "start").server.uuid == machine.uuid
    assert perform(server, machine.uuid[:8].upper(), "start").server.uuid == machine.uuid


def test_many_servers_are_acted_on_at_once_through_one_endpoint(server: WingsServer) -> None:
    machines = [server.machine(f"Server {number}", up_for=100) for number in range(12)]
    endpoint = endpoint_of(server)
    with ThreadPoolExecutor(12) as pool:
        requests = [Request(server=each.uuid, action=PowerAction.STOP, operation="ours", requested_at=CLOCK.now()) for each in machines]
        results = list(pool.map(lambda request: perform_at(request, endpoint, CLOCK, SILENT), requests))
    endpoint.close()
    assert {ended(result) for result in results} == {("done", "")}
    assert [each.taken for each in machines] == [["stop"]] * 12


def test_check_mode_asks_for_nothing(server: WingsServer) -> None:
    result = perform(server, server.machine(up_for=9), "restart", check=True)
    assert (ended(result), result.changed, server.posts()) == (("done", ""), True, [])
    assert entry(result, check=True, all_steps=False)["plan"] == ["stop", "preboot", "start"]


def test_what_can_be_read_of_servers_is_described_without_their_secrets(server: WingsServer) -> None:
    machine = server.machine("Cobalt", up_for=93.5)
    server.machine("Other")
    entries = describe_at([], endpoint_of(server)).entries
    assert len(entries) == 2
    found = describe_at(["Cobalt"], endpoint_of(server)).entries[0]
    assert (found["server"], found["state"], found["suspended"]) == (machine.uuid, "running", False)
    assert (found["container"], found["utilization"]["memory_bytes"]) == ({"image": "registry.example.test/echo:1"}, 734003200)
    assert found["utilization"]["uptime"] > 93_000
    assert "rcon-secret" not in json.dumps(entries)


def test_the_end_of_each_log_is_read_and_secrets_of_the_environment_masked(server: WingsServer) -> None:
    server.machine("Cobalt", up_for=93.5).output = [f"line {number}" for number in range(200)] + ["by rcon-secret-of-the-server"]
    server.machine("Never started").output = None
    server.machine("Quiet")
    told = describe_at(["Cobalt", "Never started", "Quiet"], endpoint_of(server), tail=2)
    assert ([entry["log"] for entry in told.entries], told.warnings) == ([["line 199", "by ********"], [], []], ())
    assert len(describe_at(["Cobalt"], endpoint_of(server), tail=1000).entries[0]["log"]) == 100


# ----- what Wings does to its clients


def test_an_action_whose_lock_is_held_is_dropped_and_never_called_done(server: WingsServer, impatient: None) -> None:
    machine = server.machine(up_for=93.5)
    with machine.lock:
        result = perform(server, machine, "stop", wait_seconds=0)
    assert (ended(result), result.changed, machine.taken) == (("failed", "outcome_unknown"), False, [])
    assert "drops an action whose lock is held" in result.msg
    assert (result.state, machine.log) == (PowerState.RUNNING, ["locker: cannot acquire lock, already locked"])


@pytest.mark.parametrize("action", ["restart", "kill"])
def test_a_restart_that_is_dropped_is_not_taken_for_one_and_a_kill_needs_no_lock(server: WingsServer, impatient: None, action: str) -> None:
    machine = server.machine(up_for=93.5)
    with machine.lock:
        result = perform(server, machine, action, wait_seconds=0)
    assert ended(result) == (("done", "") if action == "kill" else ("failed", "outcome_unknown"))


def test_a_stop_during_a_start_is_dropped_unless_it_waits_for_the_lock(server: WingsServer, impatient: None) -> None:
    machine = server.machine()
    machine.times.pull = 1.5
    server.begin(machine, "start", 0)
    await_state(machine, "starting")
    assert ended(perform(server, machine, "stop", wait_seconds=0)) == ("failed", "outcome_unknown")
    assert ended(perform(server, machine, "stop", wait_seconds=5)) == ("done", "")
    assert machine.taken == ["start", "stop"]


def test_a_stop_by_signal_is_said_to_be_over_while_the_process_lives(server: WingsServer) -> None:
    machine = server.machine(up_for=93.5)
    machine.stop_by_signal, machine.times.stop = True, 1.5
    result = perform(server, machine, "stop")
    # No more can be known here than the endpoint tells.
    assert (ended(result), result.state, machine.alive) == (("done", ""), PowerState.OFFLINE, True)


def test_a_restart_by_signal_is_not_done_when_the_server_is_said_to_be_offline(server: WingsServer) -> None:
    machine = server.machine(up_for=93.5)
    machine.stop_by_signal, machine.times.stop = True, 0.8
    result = perform(server, machine, "restart")
    assert (ended(result), machine.alive, result.seconds > 0.8) == (("done", ""), True, True)


def test_a_kill_during_the_stop_of_a_restart_that_brings_the_server_back_is_told(server: WingsServer) -> None:
    machine = server.machine(up_for=93.5)
    machine.times.stop, machine.times.preboot = 30, 0.3
    server.begin(machine, "restart", 0)
    await_state(machine, "stopping")
    result = perform(server, machine, "kill")
    assert ended(result) == ("failed", "kill_unsettled")
    assert result.state is not PowerState.OFFLINE
    await_state(machine, "running")


def test_a_kill_during_a_boot_does_nothing_and_is_told_when_the_server_comes_up(server: WingsServer) -> None:
    machine = server.machine()
    machine.times.preboot = 1.0
    server.begin(machine, "start", 0)
    assert ended(perform(server, machine, "kill")) == ("failed", "kill_unsettled")


@pytest.mark.parametrize("action, changed, outcome", [("start", False, "refused"), ("restart", True, "failed")])
def test_a_suspension_that_wings_finds_after_the_request_is_told(server: WingsServer, action: str, changed: bool, outcome: str) -> None:
    machine = server.machine(up_for=93.5 if action == "restart" else None)
    machine.suspended_on_the_panel = True
    result = perform(server, machine, action)
    assert (ended(result), result.changed, result.state) == ((outcome, "suspended"), changed, PowerState.OFFLINE)


def test_a_suspended_server_is_refused_by_the_endpoint_where_the_look_did_not_tell(server: WingsServer) -> None:
    machine = server.machine(up_for=93.5)
    machine.suspended = True
    assert ended(perform(server, machine, "restart")) == ("refused", "suspended")
    assert (server.posts(), ended(perform(server, machine, "stop"))) == ([], ("done", ""))


def test_an_action_on_a_server_that_is_installed_is_never_called_done(server: WingsServer, impatient: None) -> None:
    machine = server.machine(up_for=93.5)
    machine.guarded = True
    assert ended(perform(server, machine, "kill")) == ("failed", "outcome_unknown")


def test_a_server_that_ends_before_it_is_ready_is_told(server: WingsServer) -> None:
    machine = server.machine()
    machine.times.ready, machine.times.crash = None, 0.7
    assert ended(perform(server, machine, "start", wait_for=WaitFor.RUNNING)) == ("failed", "start_failed")


def test_a_server_that_never_gets_ready_is_left_up(server: WingsServer) -> None:
    machine = server.machine()
    machine.times.ready = None
    assert ended(perform(server, machine, "start", wait_for=WaitFor.RUNNING, wait_timeout=1)) == ("failed", "start_timeout")
    assert machine.alive


def test_figures_that_come_late_do_not_keep_a_restart_from_being_seen(server: WingsServer) -> None:
    machine = server.machine(up_for=93.5)
    machine.times.figures = 0.9
    assert ended(perform(server, machine, "restart")) == ("done", "")


def test_a_young_server_whose_restart_is_dropped_is_not_taken_for_a_restarted_one(server: WingsServer, impatient: None) -> None:
    machine = server.machine(up_for=0.4)
    machine.times.figures = 0.3
    with machine.lock:
        assert ended(perform(server, machine, "restart", wait_seconds=0)) == ("failed", "outcome_unknown")


# ----- an endpoint in trouble


@pytest.mark.parametrize("token", ["wrong", f"token-id.{TOKEN}"])
def test_a_token_that_is_refused_is_named_and_not_shown(server: WingsServer, token: str) -> None:
    result = perform(endpoint_of(server, token), server.machine(up_for=9), "stop")
    assert (ended(result), "without token_id" in result.msg, token in result.msg) == (("failed", "endpoint_error"), True, False)


def test_a_server_of_another_node_is_not_found(server: WingsServer) -> None:
    for action in ("start", "stop", "kill"):
        assert ended(perform(server, NOBODY, action)) == ("refused", "server_not_found")


def test_an_address_where_something_else_answers_is_told(server: WingsServer) -> None:
    result = perform(Endpoint(f"{server.url}/elsewhere", TOKEN, timeout=5), server.machine(up_for=9), "stop")
    assert (ended(result), "is its address right" in result.msg) == (("failed", "endpoint_error"), True)


@pytest.mark.parametrize("kind", ["truncated", "cut", "redirect", "empty"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_that_is_none_is_told_and_a_request_may_have_been_taken(server: WingsServer, kind: str, method: str) -> None:
    machine = server.machine(up_for=93.5)
    server.fault(kind, method=method, status=200, location="http://127.0.0.1:1/elsewhere")
    result = perform(server, machine, "stop")
    assert ended(result) == ("failed", "endpoint_unreachable")
    assert ("may have been taken" in result.msg) is (method == "POST")
    assert TOKEN not in result.msg


def test_an_error_of_wings_is_shown_without_the_token(server: WingsServer) -> None:
    server.repeats_token = True
    server.fault("error", method="POST")
    result = perform(server, server.machine(up_for=93.5), "stop")
    assert (ended(result), "500" in result.msg, TOKEN in result.msg) == (("failed", "endpoint_error"), True, False)


def test_an_endpoint_that_hangs_is_given_up_in_time(server: WingsServer) -> None:
    server.fault("hang", times=9)
    began = time.monotonic()
    result = perform(endpoint_of(server, timeout=0.5), server.machine(up_for=93.5), "stop")
    assert (ended(result), time.monotonic() - began < 4) == (("failed", "endpoint_unreachable"), True)


def test_nobody_listening_is_told_at_once() -> None:
    with wings() as server:
        machine = server.machine(up_for=9)
    assert ended(perform(server, machine, "stop")) == ("failed", "endpoint_unreachable")
    assert ended(perform(server, machine, "kill")) == ("failed", "endpoint_unreachable")


def test_a_kill_does_not_wait_for_an_endpoint_that_does_not_tell_the_state(server: WingsServer, impatient: None) -> None:
    machine = server.machine(up_for=93.5)
    server.fault("hang")
    began = time.monotonic()
    result = perform(server, machine, "kill")
    assert (ended(result), result.state_before, machine.alive) == (("done", ""), None, False)
    assert time.monotonic() - began < 4.5


@pytest.mark.parametrize("kind", ["error", "truncated", "cut", "html"])
def test_trouble_while_an_action_goes_on_does_not_end_the_wait(server: WingsServer, kind: str) -> None:
    machine = server.machine(up_for=93.5)
    machine.times.stop = 0.3
    endpoint = endpoint_of(server)
    endpoint.look(machine.uuid)

    def break_it() -> None:
        await_state(machine, "stopping")
        server.fault(kind, times=2, status=502)

    threading.Thread(target=break_it).start()
    assert ended(perform(endpoint, machine, "stop")) == ("done", "")


def test_an_endpoint_that_goes_away_after_it_accepted_leaves_the_outcome_unknown(server: WingsServer, impatient: None) -> None:
    machine = server.machine(up_for=93.5)
    machine.times.stop = 30

    def break_it() -> None:
        await_state(machine, "stopping")
        server.fault("cut", times=99)

    threading.Thread(target=break_it).start()
    result = perform(server, machine, "stop")
    assert (ended(result), result.state) == (("failed", "outcome_unknown"), None)


def test_an_action_that_is_not_followed_for_want_of_threads_leaves_the_outcome_unknown(
    server: WingsServer, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def start_or_not(thread: threading.Thread) -> None:
        if thread.name == "web" and server.posts():
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_not)
    result = perform(server, server.machine(up_for=93.5), "stop")
    assert (ended(result), "no thread can be started" in result.msg) == (("failed", "outcome_unknown"), True)


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_it_is_given_or_not_looked_at(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    with wings(certificate=certificate) as server:
        machine = server.machine(up_for=9)
        result = perform(server, machine, "start")
        assert (ended(result), server.asked) == (("failed", "endpoint_unreachable"), [])
        assert ended(perform(endpoint_of(server, verify=False), machine, "start")) == ("unchanged", "")
        assert ended(perform(endpoint_of(server, ca_path=str(certificate)), machine, "start")) == ("unchanged", "")


# ----- signals


def test_a_signal_before_its_turn_leaves_the_server_alone(server: WingsServer) -> None:
    result = perform(server, server.machine(up_for=9), "stop", lambda: True)
    assert (ended(result), server.asked) == (("skipped", "interrupted_by_signal"), [])


@pytest.mark.samples("True")
@pytest.mark.parametrize("operations", [False, True])
def test_a_signal_ends_the_wait_and_the_action_goes_on(operations: bool) -> None:
    with wings(operations=operations) as server:
        machine = server.machine(up_for=93.5)
        machine.times.stop = 1.5
        result = perform(server, machine, "stop", lambda: machine.state == "stopping")
        assert ended(result) == ("failed", "outcome_unknown")
        assert "a signal ended the wait" in result.msg
        await_state(machine, "offline")


# ----- an answer that comes late, or not at all


@pytest.mark.parametrize("action, ends_early", [("stop", True), ("restart", True), ("kill", False)])
def test_a_signal_ends_the_wait_for_an_answer_but_not_that_of_a_kill(server: WingsServer, action: str, ends_early: bool) -> None:
    machine, began = server.machine(up_for=93.5), time.monotonic()
    server.fault("hang", method="POST")
    result = perform(endpoint_of(server, timeout=20.0 if ends_early else 2.0), machine, action, lambda: time.monotonic() - began > 0.3)
    assert (ended(result)[0], len(server.posts()), "may have been taken" in result.msg) == ("failed", 1, True)
    assert (ended(result)[1] == "outcome_unknown", result.seconds < (10.0 if ends_early else 1.5)) == (ends_early, ends_early)


def test_what_was_seen_at_once_and_told_late_makes_no_run_younger(server: WingsServer, impatient: None) -> None:
    machine = server.machine(up_for=2.5)
    server.late_after_post = 3.5
    with machine.lock:
        assert ended(perform(server, machine, "restart", wait_seconds=0)) == ("failed", "outcome_unknown")


# ----- an endpoint that tells how an action ended


def test_an_action_with_an_operation_ends_as_the_endpoint_says() -> None:
    with wings(operations=True) as server:
        machine = server.machine(up_for=93.5)
        server.ending = {"stop": {"how": "command", "forced": True, "seconds": 0.1}, "msg": f"by {TOKEN}"}
        result = perform(server, machine, "stop")
        assert (ended(result), result.changed, result.state) == (("done", ""), True, PowerState.OFFLINE)
        assert (result.operation, result.msg.rstrip("*")) == (next(iter(server.operations)), "by ")
        assert entry(result, check=False, all_steps=False)["stop"] == {"how": "command", "forced": True, "seconds": 0.1}
        assert [asked.path for asked in server.asked][2:] == [f"/api/servers/{machine.uuid}/operations/{result.operation}?wait=20"]


def test_an_operation_that_was_refused_is_refused() -> None:
    with wings(operations=True) as server:
        machine = server.machine(up_for=93.5)
        with machine.lock:
            result = perform(server, machine, "stop", wait_seconds=0)
        assert (ended(result), result.changed, result.state) == (("refused", "lock_timeout"), False, PowerState.RUNNING)


def test_an_endpoint_that_does_not_wait_is_asked_again() -> None:
    with wings(operations=True) as server:
        server.long_polls = False
        machine = server.machine(up_for=93.5)
        machine.times.stop = 0.6
        assert ended(perform(server, machine, "stop")) == ("done", "")
        assert len(server.asked) < 8


def test_an_operation_elsewhere_is_not_looked_for_there() -> None:
    with wings() as elsewhere, wings(operations=True) as server:
        server.location = f"{elsewhere.url}/api/servers"
        assert ended(perform(server, server.machine(up_for=93.5), "stop")) == ("done", "")
        assert elsewhere.asked == []


def test_an_operation_that_was_forgotten_is_followed_by_the_state() -> None:
    with wings(operations=True) as server:
        server.location = f"/api/servers/{NOBODY}/operations/x"
        assert ended(perform(server, server.machine(up_for=93.5), "stop")) == ("done", "")


def test_readiness_is_waited_for_after_an_operation() -> None:
    with wings(operations=True) as server:
        machine = server.machine()
        machine.times.ready = 0.5
        result = perform(server, machine, "start", wait_for=WaitFor.RUNNING)
        assert (ended(result), result.state) == (("done", ""), PowerState.RUNNING)


def test_a_list_that_cannot_be_read_is_no_empty_list(server: WingsServer) -> None:
    server.fault("truncated")
    with pytest.raises(EndpointUnreachable):
        endpoint_of(server).servers()
    assert endpoint_of(server).servers() == []
