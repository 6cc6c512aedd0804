# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan table, an action under a key, and the origin of a request."""

from __future__ import annotations

import itertools
import os
import pwd
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.context import keyed
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn import proving
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import default_origin
from ansible_collections.fleet.power.plugins.module_utils._power.model.plan import TABLE, plan, planned_state
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import TRAITS, OnFailedStart, PowerAction, Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome, PlanStep
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Server
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

CELLS = tuple(itertools.product(PowerAction, PowerState))
STATES = ("offline", "starting", "running", "stopping")
WANTED = {
    "start": ("preboot start", "", "", "await_exit preboot start"),
    "stop": ("", "stop", "stop", "stop"),
    "restart": ("preboot start", "stop preboot start", "stop preboot start", "stop preboot start"),
    "kill": ("", "kill", "kill", "kill"),
    "limit": ("", "limit", "limit", ""),
}


def words(steps: tuple[PlanStep, ...]) -> str:
    return " ".join(step.value for step in steps)


@pytest.mark.parametrize("action, state", CELLS, ids=lambda each: each.value)
def test_each_cell_has_the_steps_of_the_guides_table(action: PowerAction, state: PowerState) -> None:
    assert words(plan(action, state).steps) == WANTED[action.value][STATES.index(state.value)]


def test_the_table_has_every_cell_and_no_other() -> None:
    assert set(TABLE) == set(CELLS)
    assert [state.value for state in PowerState] == list(STATES)


@pytest.mark.parametrize("action, state", CELLS, ids=lambda each: each.value)
def test_only_an_empty_plan_has_a_reason(action: PowerAction, state: PowerState) -> None:
    chosen = plan(action, state)
    assert bool(chosen.reason) == (not chosen.steps)


@pytest.mark.parametrize("action, state", CELLS, ids=lambda each: each.value)
def test_the_planned_state_follows_from_the_action(action: PowerAction, state: PowerState) -> None:
    steps = plan(action, state).steps
    after = planned_state(steps, state, has_matchers=False)
    if not steps:
        assert after is state
    elif action.traits.should_be_up:
        assert after is PowerState.RUNNING
        assert planned_state(steps, state, has_matchers=True) is PowerState.STARTING
    elif action.traits.should_be_up is False:
        assert after is PowerState.OFFLINE
    else:
        assert after is state


def test_every_action_has_traits() -> None:
    assert set(TRAITS) == set(PowerAction)


KEY = "rollout 1b2c3d4e"


def asked(reason: str = "") -> dict[str, str]:
    return {"idempotency_key": KEY, "reason": keyed(KEY, reason)}


def begin_elsewhere(fake: FakeNode, operation: str, reason: str = KEY) -> FakeNode:
    request = Request(UUID, PowerAction.RESTART, operation, fake.clock.now(), origin="elsewhere", reason=reason)
    fake.node.journal.operations.begin(request, Server(UUID, "Name"))
    return fake


def end_elsewhere(fake: FakeNode, operation: str, outcome: Outcome) -> None:
    progress = fake.progress("restart", operation=operation)
    fake.node.journal.operations.end(progress.result(outcome, "" if outcome is Outcome.DONE else "start_timeout"))


@pytest.mark.parametrize("action", ["restart", "stop", "kill", "start"])
def test_a_repeated_action_is_unchanged_and_touches_no_server(fake: FakeNode, action: str) -> None:
    (fake.down if action == "start" else fake.up)()
    assert fake.perform(action, **asked("first")).outcome is Outcome.DONE
    if action in ("stop", "kill"):
        # In between, another request starts the server.
        assert fake.perform("start").outcome is Outcome.DONE
    run, live = fake.seen().run, fake.live
    again = fake.perform(action, **asked("second"))
    assert (again.outcome, again.code, again.changed) == (Outcome.UNCHANGED, "", False)
    assert (fake.seen().run, fake.live) == (run, live)
    assert again.state is not None
    intent = fake.node.journal.intents.of(UUID)
    assert intent is not None
    assert intent.up == live


def test_another_key_or_action_or_a_longer_key_is_done(fake: FakeNode) -> None:
    fake.up()
    assert fake.perform("restart", **asked()).outcome is Outcome.DONE
    assert fake.perform("restart", idempotency_key="rollout 1b2c", reason="rollout 1b2c").outcome is Outcome.DONE
    assert fake.perform("restart").outcome is Outcome.DONE
    assert fake.perform("stop", **asked()).outcome is Outcome.DONE


def test_a_failed_action_is_retried(fake: FakeNode) -> None:
    fake.up()
    fake.define(suspended=True)
    assert fake.perform("restart", **asked()).outcome is Outcome.REFUSED
    fake.define()
    assert fake.perform("restart", **asked()).outcome is Outcome.DONE


@pytest.mark.parametrize("ended", [Outcome.DONE, Outcome.FAILED])
def test_an_action_that_waits_for_readiness_in_another_process_is_awaited(fake: FakeNode, ended: Outcome) -> None:
    run = fake.up().run
    begin_elsewhere(fake, "elsewhere")
    fake.clock.after(20, lambda: end_elsewhere(fake, "elsewhere", ended))
    result = fake.perform("restart", **asked())
    assert result.outcome is (Outcome.UNCHANGED if ended is Outcome.DONE else Outcome.DONE)
    assert (fake.seen().run == run) == (ended is Outcome.DONE)


def test_the_wait_for_another_process_holds_no_lock(fake: FakeNode) -> None:
    fake.up()
    begin_elsewhere(fake, "elsewhere")
    taken = []
    fake.clock.after(5, lambda: taken.append(fake.lock().release()))
    fake.clock.after(20, lambda: end_elsewhere(fake, "elsewhere", Outcome.DONE))
    assert fake.perform("restart", **asked()).outcome is Outcome.UNCHANGED
    assert taken == [None]


@pytest.mark.parametrize(
    "revert, limit", [({}, 40), ({"on_failed_start": OnFailedStart.REVERT, "settle": 7}, 40 + 7 + 120 + 30)], ids=["leave", "revert"]
)
def test_an_endless_action_is_refused_after_the_longer_of_both_limits(
    fake: FakeNode, monkeypatch: pytest.MonkeyPatch, revert: dict[str, Any], limit: int
) -> None:
    monkeypatch.setattr(proving, "_unavailable", lambda _context: "")
    run = fake.up().run
    begin_elsewhere(fake, "elsewhere")
    began = fake.clock.now()
    result = fake.perform("restart", **asked(), **revert, wait_seconds=5, wait_timeout=40)
    assert (result.outcome, result.code) == (Outcome.REFUSED, "lock_timeout")
    assert timedelta(seconds=limit) <= fake.clock.now() - began < timedelta(seconds=limit + 2)
    assert fake.seen().run == run


def test_an_action_of_a_dead_process_is_done_again(fake: FakeNode) -> None:
    run = fake.up().run
    dead = fake.build()
    dead.journal.operations.begin(Request(UUID, PowerAction.RESTART, "dead", fake.clock.now(), reason=KEY), Server(UUID, "Name"))
    dead.journal.close()
    assert fake.perform("restart", **asked()).outcome is Outcome.DONE
    assert fake.seen().run != run


def test_a_queued_action_finds_under_the_lock_that_another_process_has_done_it(fake: FakeNode) -> None:
    fake.up()
    request = fake.request("restart", **asked("queued"), wait_seconds=60)
    lock = fake.lock()

    def overtaken() -> None:
        lock.release()
        assert fake.perform("restart", **asked("quicker")).outcome is Outcome.DONE

    fake.clock.after(10, overtaken)
    result = perform(request, fake.node, Server(UUID))
    assert result.outcome is Outcome.UNCHANGED
    assert [row.outcome for row in fake.node.journal.operations.of(UUID)] == ["unchanged", "done", "done"]


def test_a_dry_run_foresees_a_repeated_action(fake: FakeNode) -> None:
    fake.up()
    assert fake.perform("restart", **asked()).outcome is Outcome.DONE
    assert fake.perform("restart", check=True, **asked()).outcome is Outcome.UNCHANGED
    assert fake.perform("restart", check=True, idempotency_key="other", reason="other").outcome is Outcome.DONE


def test_a_repeated_action_awaits_readiness_without_a_second_restart(fake: FakeNode) -> None:
    fake.define(process={"startup": {"done": ["ready"]}})
    fake.up()
    assert fake.perform("restart", **asked()).outcome is Outcome.DONE
    run = fake.seen().run
    late = fake.perform("restart", **asked(), wait_for="running", wait_timeout=5)
    assert (late.outcome, late.code) == (Outcome.FAILED, "start_timeout")
    fake.clock.after(3, lambda: fake.engine.logs.update({fake.seen().id: b"ready\n"}))
    result = fake.perform("restart", **asked(), wait_for="running")
    assert (result.outcome, result.state) == (Outcome.UNCHANGED, "running")
    assert fake.seen().run == run


UP = frozenset({PowerState.STARTING, PowerState.RUNNING})


def test_only_a_repeated_restart_starts_a_server_that_went_down(fake: FakeNode) -> None:
    fake.down()
    assert fake.perform("restart", only=UP).code == "not_selected"
    assert fake.perform("restart", only=UP, **asked()).outcome is Outcome.DONE
    assert fake.perform("stop").outcome is Outcome.DONE
    assert fake.perform("restart", only=UP, idempotency_key="other", reason="other").code == "not_selected"


ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(
    "environ, origin",
    [
        ({}, ME),
        ({"SUDO_USER": "alice"}, "alice"),
        ({"SUDO_USER": ""}, ME),
        ({"SSH_CONNECTION": "192.0.2.7 50022 192.0.2.1 22"}, f"{ME} from 192.0.2.7"),
        ({"SSH_CLIENT": "192.0.2.7 50022 22"}, f"{ME} from 192.0.2.7"),
        ({"SUDO_USER": "alice", "SSH_CONNECTION": "2001:db8::7 50022 2001:db8::1 22"}, "alice from 2001:db8::7"),
    ],
)
def test_the_origin_is_the_sudo_user_or_the_login_user_with_the_clients_address(
    environ: dict[str, str], origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environ)
    assert default_origin() == origin


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_001)
    assert default_origin() == "2000000001"
