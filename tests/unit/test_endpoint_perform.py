# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions through an endpoint that reports only states: an action is done only with proof, and every wait ends."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.answers import Operation, Seen
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.client import Accepted
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import CheckCancelled, no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    EndpointError,
    EndpointUnreachable,
    Frozen,
    ServerNotFound,
    Suspended,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.news import News
from ansible_collections.fleet.power.plugins.module_utils._power.model.players import OnMaxDelay, PlayerCount, PlayerPolicy, PlayerWait
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import WaitFor
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, PlanStep, Result, StopReport
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState
from ansible_collections.fleet.power.tests.unit.endpoint_support import (
    OFFLINE,
    OLD,
    RUNNING,
    STARTING,
    STOPPING,
    UUID,
    FakeEndpoint,
    perform,
    seen,
)

UP = seen(RUNNING, OLD)
DOWN = seen(OFFLINE)
SILENT = EndpointUnreachable("Cannot reach the endpoint: no answer", lasting=False)
FOLLOWED = Accepted("op-of-the-endpoint", "/api/servers/x/operations/op")


def ended(result: Result) -> tuple[str, str, bool]:
    return result.outcome.value, result.code, result.changed


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_suspended_server_is_refused_before_any_request(action: str) -> None:
    endpoint = FakeEndpoint(seen(OFFLINE, suspended=True))
    result = perform(endpoint, action)
    assert (ended(result), endpoint.asked) == (("refused", "suspended", False), [])


@pytest.mark.parametrize(
    "freeze, words",
    [
        (
            {"is_frozen": True, "until": "noon", "origin": "alice", "reason": "final"},
            "the endpoint says that it is frozen until noon by alice: final",
        ),
        (dict.fromkeys(("is_frozen", "until", "origin", "reason")), "the endpoint says that it may be frozen"),
    ],
)
def test_check_mode_refuses_a_frozen_server(freeze: dict[str, Any], words: str) -> None:
    for action, state, refused in (
        ("start", OFFLINE, True),
        ("restart", RUNNING, True),
        ("start", RUNNING, False),
        ("stop", RUNNING, False),
    ):
        endpoint = FakeEndpoint(replace(seen(state), facts={"freeze": freeze}))
        result = perform(endpoint, action, check=True)
        assert (ended(result) == ("refused", "frozen", False)) is refused and endpoint.asked == []
        assert words in result.msg or not refused


@pytest.mark.parametrize(
    "action, before, steps, planned",
    [
        ("start", DOWN, (PlanStep.PREBOOT, PlanStep.START), STARTING),
        ("start", UP, (), None),
        ("restart", UP, (PlanStep.STOP, PlanStep.PREBOOT, PlanStep.START), STARTING),
        ("kill", DOWN, (), OFFLINE),
    ],
)
def test_check_mode_plans_from_the_state_and_requests_no_action(
    action: str, before: Seen, steps: tuple[PlanStep, ...], planned: PowerState | None
) -> None:
    endpoint = FakeEndpoint(before)
    result = perform(endpoint, action, check=True)
    assert (result.plan, result.changed, endpoint.asked) == (steps, bool(steps), [])
    assert result.outcome is (Outcome.DONE if steps else Outcome.UNCHANGED)
    assert result.state_planned is (planned or before.state)


def test_a_dropped_stop_is_not_reported_as_done() -> None:
    result = perform(FakeEndpoint(UP), "stop", wait_seconds=10)
    assert ended(result) == ("failed", "outcome_unknown", False)
    assert "Wings drops an action whose lock is held" in result.msg
    assert 40 <= result.seconds < 42


@pytest.mark.parametrize("trouble", [SILENT, EndpointError("answers 500", status=500), ServerNotFound("no")])
def test_a_kill_waits_briefly_for_the_state_and_then_continues(trouble: Exception) -> None:
    endpoint = FakeEndpoint(trouble, (0, DOWN))
    result = perform(endpoint, "kill")
    # The state before the kill is unknown.
    assert (ended(result), result.state_before) == (("done", "", False), None)
    assert "whether it was up before is not known" in result.msg
    assert (len(endpoint.asked), endpoint.look_seconds[0]) == (1, 1.0)


@pytest.mark.parametrize("before", [seen(STOPPING, OLD), DOWN])
def test_a_kill_that_a_running_restart_undoes_fails(before: Seen) -> None:
    result = perform(FakeEndpoint(before, (0, DOWN), (1, seen(STARTING))), "kill")
    assert ended(result)[:2] == ("failed", "kill_unsettled")
    assert result.state is STARTING


def test_a_younger_run_proves_a_restart() -> None:
    after = ((0, seen(STOPPING, OLD)), (2, DOWN), (3, seen(STARTING)), (4, seen(STARTING, 500)))
    result = perform(FakeEndpoint(UP, *after), "restart")
    assert (ended(result), result.state, result.seconds >= 4) == (("done", "", True), STARTING, True)


def dropped(before: Seen, *after: tuple[float, Seen], late: float = 0.0) -> tuple[str, str, bool]:
    """The outcome of a restart that the endpoint dropped, so that the old run continues."""
    endpoint = FakeEndpoint(before, *after)
    endpoint.late = lambda: endpoint.clock.sleep(late)
    return ended(perform(endpoint, "restart", wait_seconds=5))


NOT_SEEN = ("failed", "outcome_unknown", False)


def test_a_delayed_answer_about_the_old_run_does_not_look_like_a_restart() -> None:
    # The uptime is 3 s. The first answer arrives 8 s late.
    after = [(second / 4, seen(RUNNING, 3000 + second * 250)) for second in range(400)]
    assert dropped(seen(RUNNING, 3000), *after, late=8) == NOT_SEEN
    # The same holds for a run with unknown earlier uptime.
    assert dropped(seen(RUNNING), *after, late=8) == NOT_SEEN


@pytest.mark.parametrize("wrong", [(1,), (1, 2), (100, 0, 100)], ids=str)
def test_briefly_wrong_uptimes_do_not_look_like_a_restart(wrong: tuple[int, ...]) -> None:
    glitch = [(10 + 0.5 * number, seen(RUNNING, uptime)) for number, uptime in enumerate(wrong)]
    true = [(second, seen(RUNNING, 60_000 + second * 1000)) for second in range(12, 60)]
    assert dropped(seen(RUNNING, 60_000), *glitch, (11.6, seen(RUNNING, 71_600)), *true) == NOT_SEEN


def test_a_silent_endpoint_leaves_the_outcome_unknown() -> None:
    endpoint = FakeEndpoint(UP, (0, seen(STOPPING, OLD)), (1, SILENT))
    result = perform(endpoint, "stop")
    assert (ended(result), result.state) == (("failed", "outcome_unknown", True), None)
    assert "no answer" in result.msg
    assert 60 <= result.seconds < 64


@pytest.mark.parametrize(
    "said, outcome, code",
    [
        (SILENT, "failed", "endpoint_unreachable"),
        (EndpointError("answers 401", status=401), "failed", "endpoint_error"),
        (ServerNotFound("no"), "refused", "server_not_found"),
        (Suspended("suspended"), "refused", "suspended"),
        (Frozen("frozen"), "refused", "frozen"),
    ],
)
def test_a_refused_request_has_the_code_of_its_error(said: Exception, outcome: str, code: str) -> None:
    endpoint = FakeEndpoint(UP)
    endpoint.accepted = said
    result = perform(endpoint, "restart")
    assert (ended(result), result.operation, result.state) == ((outcome, code, False), "", None)


def test_a_signal_during_the_request_leaves_the_outcome_unknown() -> None:
    interrupted = threading.Event()
    endpoint = Hanging(UP, (0, DOWN), interrupted=interrupted)
    result = perform(endpoint, "stop", interrupted=interrupted)
    assert (ended(result), result.state) == (("failed", "outcome_unknown", False), None)
    assert "may have been accepted" in result.msg


def test_a_signal_does_not_prevent_a_kill() -> None:
    interrupted = threading.Event()
    endpoint = Hanging(UP, (0, DOWN), interrupted=interrupted)
    result = perform(endpoint, "kill", interrupted=interrupted)
    assert (len(endpoint.asked), "accepted it" in result.msg) == (1, True)


class Hanging(FakeEndpoint):
    """An endpoint that is slow with an action. A signal comes before its answer."""

    def __init__(self, *said: Any, interrupted: threading.Event) -> None:
        super().__init__(*said)
        self._interrupted = interrupted

    def act(self, *given: Any, **options: Any) -> Accepted:
        self._interrupted.set()
        return super().act(*given, **options)


POLICY = PlayerPolicy(0, 3600, OnMaxDelay.SKIP, (60,))


@pytest.mark.parametrize("state", [RUNNING, OFFLINE])
@pytest.mark.parametrize("check", [False, True])
def test_an_endpoint_without_player_support_gets_no_request(state: PowerState, check: bool) -> None:
    endpoint = FakeEndpoint(seen(state, OLD))
    result = perform(endpoint, "stop", players=POLICY, check=check)
    assert (ended(result), endpoint.asked) == (("refused", "unsupported_by_endpoint", False), [])
    assert "does not report that it can wait for them" in result.msg


def test_the_http_shim_gets_the_player_policy_and_the_client_waits_for_its_end() -> None:
    endpoint = FakeEndpoint(replace(UP, affects_players=True), (0, UP), (4000, DOWN), accepted=FOLLOWED)
    facts = {"players": PlayerCount(2, 20), "player_wait": PlayerWait(3660.0, (60,), announced=True)}
    done = Operation(Outcome.DONE, changed=True, state=OFFLINE, facts=facts)
    counting = Operation(None, waits="counting", due="2026-03-01T13:01:00.000Z")
    waiting = Operation(None, waits="waiting", due="2026-03-01T13:00:00.000Z")
    # The endpoint uses the whole time of each request.
    looks = [Operation(None), *[waiting] * 180, *[counting] * 3, Operation(None), done]
    endpoint.operations = list(looks)
    ask = endpoint.operation

    def operation(path: str, *, wait_seconds: int, check_cancelled: CheckCancelled = no_check) -> Operation:
        endpoint.clock.sleep(wait_seconds)
        return ask(path, wait_seconds=wait_seconds, check_cancelled=check_cancelled)

    endpoint.operation = operation  # type: ignore[method-assign]
    heard: list[News] = []
    result = perform(endpoint, "stop", listener=heard.append, players=POLICY)
    assert (ended(result), endpoint.policies) == (("done", "", True), [POLICY])
    assert (result.players, result.player_wait) == (facts["players"], facts["player_wait"])
    assert [(news.phase, news.deadline) for news in heard] == [
        ("players", "2026-03-01T13:00:00.000Z"),
        ("countdown", "2026-03-01T13:01:00.000Z"),
    ]


def test_the_result_is_the_operation_of_the_endpoint() -> None:
    endpoint = FakeEndpoint(UP, (0, seen(STOPPING, OLD)), accepted=FOLLOWED)
    facts = {
        "state_before": RUNNING,
        "stop": StopReport("command", forced=True, seconds=2.5),
        "waited_seconds": 1.5,
        "holder": {"action": "kill"},
        "plan": (PlanStep.STOP,),
        "exit_code": 137,
        "log": ("last words",),
    }
    last = Operation(Outcome.CANCELLED, code="cancelled_by_kill", msg="killed meanwhile", changed=True, state=OFFLINE, facts=facts)
    endpoint.operations = [Operation(None), last]
    result = perform(endpoint, "stop")
    assert (ended(result), result.operation, result.msg) == (("cancelled", "cancelled_by_kill", True), "op-of-the-endpoint", last.msg)
    assert (result.stop, result.waited_seconds, result.holder, result.exit_code, result.log) == (
        facts["stop"],
        1.5,
        {"action": "kill"},
        137,
        ("last words",),
    )
    assert (result.state_before, result.state, result.plan) == (RUNNING, OFFLINE, (PlanStep.STOP,))


@pytest.mark.parametrize(
    "fields",
    [{"id": "another"}, {"server": UUID[:-1] + "9"}, {"server": "Other"}, {"action": "kill"}, {"action": "dance"}],
    ids=lambda fields: next(iter(fields.items())),
)
@pytest.mark.parametrize("outcome", [Outcome.DONE, None])
def test_an_operation_of_another_server_or_action_does_not_count(fields: dict[str, Any], outcome: Outcome | None) -> None:
    endpoint = FakeEndpoint(UP, accepted=FOLLOWED)
    endpoint.operations = [Operation(outcome, changed=True, state=RUNNING, **fields)]
    result = perform(endpoint, "restart")
    assert (ended(result), result.seconds < 1) == (("failed", "outcome_unknown", False), True)


@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no state"])
@pytest.mark.parametrize("wait_for", [WaitFor.CONTAINER, WaitFor.RUNNING])
@pytest.mark.parametrize(
    "action, before, state",
    [("start", DOWN, OFFLINE), ("restart", UP, OFFLINE), ("restart", UP, STOPPING), ("stop", UP, RUNNING), ("kill", UP, STARTING)],
)
@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.UNCHANGED])
def test_a_done_operation_with_the_wrong_server_state_failed(
    action: str, before: Seen, state: PowerState, outcome: Outcome, wait_for: WaitFor, with_state: bool
) -> None:
    endpoint = FakeEndpoint(before, (0, seen(state)), accepted=FOLLOWED)
    endpoint.operations = [Operation(outcome, state=state if with_state else None)]
    result = perform(endpoint, action, wait_for=wait_for)
    assert (result.outcome, result.state) == (Outcome.FAILED, state)
    assert with_state is False or result.code == "outcome_unknown"
