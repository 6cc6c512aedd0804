# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine is gone or frozen in the middle of an action: the result reports it, and a record keeps unfinished requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from .engine_proxy import EngineProxy
from .lab import IMAGE, Lab, wait_until
from .phases import Kept, kept_in, kill_of, meanwhile, named

#: A short timeout for an engine that does not answer.
SHORT = {"options": {"timeout": 2}}
#: Calls that make the engine gone or frozen.
FAULTS: dict[str, Callable[[EngineProxy], None]] = {
    "refuses": EngineProxy.refuse,
    "has no socket": EngineProxy.vanish,
    "is frozen": EngineProxy.freeze,
}
REASONS = {"refuses": "connection refused", "has no socket": "its socket does not exist", "is frozen": "no answer within 2 s"}
GONE_IN = [("restart", phase) for phase in ("prepare", "pull", "create", "stop", "preboot", "start", "observe", "wait")]
GONE_IN += [("stop", "stop"), ("kill", "prepare"), ("kill", "kill")]
FROZEN_IN = [("stop", "stop"), ("restart", "create"), ("restart", "preboot"), ("restart", "start"), ("kill", "kill")]
#: Phases whose requests may still take effect.
UNFINISHED = ("start", "stop")


def ending(result: dict[str, Any]) -> tuple[str, str]:
    return result["outcome"], result["code"]


def left(lab: Lab, uuid: str) -> str | None:
    found = lab.node().locks.look(uuid)[1]
    return None if found is None else found.phase.value


@pytest.mark.samples("start-has no socket", "restart-refuses", "stop-refuses", "kill-is frozen")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
def test_an_action_without_an_engine_changes_nothing_and_names_the_reason(lab: Lab, proxy: EngineProxy, action: str, fault: str) -> None:
    uuid = lab.server()
    FAULTS[fault](proxy)
    result = lab.at(proxy.host).power(action, uuid, options={"timeout": 2})
    assert (result.outcome.value, result.code, result.changed, result.state) == ("failed", "engine_unreachable", False, None)
    assert REASONS[fault] in result.msg
    assert proxy.host in result.msg
    assert not lab.node().locks.has_record(uuid)


def assert_reported_and_recorded(lab: Lab, kept: Kept, phase: str) -> None:
    """The action reports an unreachable engine, releases the lock, and records its unfinished request. A kill is unsettled then."""
    result = kept.actor.result()
    assert ending(result) == ("failed", "kill_unsettled" if phase == "kill" else "engine_unreachable")
    assert "state" not in result
    assert lab.node().locks.holder(kept.uuid) is None
    assert left(lab, kept.uuid) == (phase if phase in UNFINISHED else None)


def assert_next_works_and_settles(lab: Lab, kept: Kept) -> None:
    """When the engine is back, a restart works at once and removes the record."""
    lab.edit(kept.uuid, container={"image": IMAGE}, environment={})
    result = lab.power("restart", kept.uuid, wait_seconds=0, stop_timeout=0)
    assert (result.outcome.value, result.changed) == ("done", True)
    assert not lab.node().locks.has_record(kept.uuid)
    assert lab.is_up(kept.uuid)


@pytest.mark.samples("restart-start", "kill-kill")
@pytest.mark.parametrize("action, phase", GONE_IN, ids=named(GONE_IN))
def test_an_engine_gone_in_mid_action_is_reported_and_the_next_action_settles(
    lab: Lab, proxy: EngineProxy, action: str, phase: str
) -> None:
    with kept_in(lab, proxy, action, phase) as kept:
        proxy.refuse()
        assert_reported_and_recorded(lab, kept, phase)
        proxy.listen()
        assert_next_works_and_settles(lab, kept)
        # A late request has no effect any more. (A late kill does kill.)
        kept.let_go(lost=action == "kill")
    time.sleep(0.2)
    assert lab.is_up(kept.uuid)


@pytest.mark.samples("kill-kill")
@pytest.mark.parametrize("action, phase", FROZEN_IN, ids=named(FROZEN_IN))
def test_an_engine_that_freezes_in_mid_action_is_reported_and_the_next_action_settles(
    lab: Lab, proxy: EngineProxy, action: str, phase: str
) -> None:
    with kept_in(lab, proxy, action, phase, **SHORT) as kept:
        proxy.freeze()
        kept.let_go()
        assert_reported_and_recorded(lab, kept, phase)
        # The engine continues with all requests that arrived while it was frozen.
        proxy.thaw()
        wait_until(lambda: all(seen.status for seen in proxy.seen), "the engine has answered everything")
        assert_next_works_and_settles(lab, kept)


@pytest.mark.samples("kill")
@pytest.mark.parametrize("action", ["kill", "stop", "start"])
def test_a_late_start_of_a_frozen_engine_is_recognised(lab: Lab, proxy: EngineProxy, action: str) -> None:
    with kept_in(lab, proxy, "start", "start", **SHORT) as kept:
        proxy.freeze()
        kept.let_go()
        assert_reported_and_recorded(lab, kept, "start")
        proxy.thaw()
        assert kept.hold is not None
        assert kept.hold.await_status() == 204
        container = lab.container(kept.uuid)["Id"]
        lab.await_ready(kept.uuid)
        result = lab.power(action, kept.uuid)
    assert result.outcome.value == ("unchanged" if action == "start" else "done")
    assert lab.container(kept.uuid)["Id"] == container
    assert lab.is_up(kept.uuid) == (action == "start")


def test_a_start_without_an_answer_is_undone_before_the_lock_is_released(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "start", "start", **SHORT) as kept:
        result = kept.actor.result()
        assert ending(result) == ("failed", "engine_unreachable")
        assert (result["changed"], "no answer within 2 s" in result["msg"]) == (True, True)
        assert lab.container(kept.uuid) is None
        assert not lab.node().locks.has_record(kept.uuid)
        kept.let_go()
        assert kept.hold is not None
        assert kept.hold.await_status() == 404
    again = lab.power("start", kept.uuid)
    assert (again.outcome.value, lab.is_up(kept.uuid)) == ("done", True)


@pytest.mark.samples("start")
@pytest.mark.parametrize("first", ["removal", "start"])
def test_the_next_action_settles_a_start_that_could_not_be_undone(lab: Lab, proxy: EngineProxy, first: str) -> None:
    with kept_in(lab, proxy, "start", "start", **SHORT) as kept:
        assert kept.hold is not None
        undoing = proxy.hold("DELETE", r"/containers/")
        assert_reported_and_recorded(lab, kept, "start")
        assert undoing.arrived
        # Both requests are on their way, and each may arrive first.
        for hold in (undoing, kept.hold) if first == "removal" else (kept.hold, undoing):
            hold.release()
            hold.await_status()
        assert (undoing.await_status(), kept.hold.await_status()) == ((204, 404) if first == "removal" else (409, 204))
        kill = lab.power("kill", kept.uuid)
    assert (kill.outcome.value, kill.state.value) == ("unchanged" if first == "removal" else "done", "offline")
    assert not lab.is_up(kept.uuid)
    assert not lab.node().locks.has_record(kept.uuid)


def test_a_kill_waits_until_a_start_without_an_answer_is_undone(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "start", "start", **SHORT) as kept:
        kill = lab.power("kill", kept.uuid, options={"timeout": 2})
        start = kept.actor.result()
        kept.let_go()
        assert kept.hold is not None
        assert kept.hold.await_status() == 404
    # The start fails by itself. The kill sees that if the journal has it already.
    assert (kill.outcome.value, kill.cancelled) in (("unchanged", None), ("done", "start"))
    assert (start["outcome"], kill.state.value) == ("failed", "offline")
    assert lab.container(kept.uuid) is None


def test_a_start_waits_for_a_stop_signal_that_got_no_answer(lab: Lab, proxy: EngineProxy) -> None:
    uuid = lab.server(stop={"type": "signal", "value": "SIGTERM"}, MARK=1)
    lab.power("start", uuid, wait_for="running")
    signalling = proxy.hold("POST", r"/kill\?signal=SIGTERM")
    result = lab.at(proxy.host).power("stop", uuid, options={"timeout": 2})
    assert (result.outcome.value, result.code, left(lab, uuid)) == ("failed", "engine_unreachable", "stop")
    assert lab.node().observe(uuid).state.value == "stopping"
    locks = lab.node().locks
    with meanwhile(lambda: lab.power("start", uuid)) as starting:
        wait_until(lambda: (holder := locks.holder(uuid)) is not None and holder.action == "start", "the start has the lock")
        # No phase shows that it waits for the stop.
        time.sleep(0.5)
        assert not starting.done()
        signalling.release()
        started = starting.result()
    assert (started.outcome.value, started.state_before.value, lab.is_up(uuid)) == ("done", "stopping", True)
    assert not lab.node().locks.has_record(uuid)


def test_a_start_with_a_cut_connection_is_undone_at_once(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "start", "start") as kept:
        proxy.hang_up()
        result = kept.actor.result(20)
        assert (ending(result), result["changed"]) == (("failed", "engine_unreachable"), True)
        assert lab.container(kept.uuid) is None
        kept.let_go()
        assert kept.hold is not None
        assert kept.hold.await_status() == 404
    assert not lab.node().locks.has_record(kept.uuid)


def test_an_idle_connection_that_was_cut_is_replaced(lab: Lab, proxy: EngineProxy) -> None:
    uuid = lab.server()
    node = lab.at(proxy.host).node()
    assert node.engine.inspect(uuid) is None
    proxy.hang_up()
    time.sleep(0.1)
    assert node.engine.inspect(uuid) is None
    proxy.refuse()
    proxy.listen()
    assert node.engine.inspect(uuid) is None


def test_a_kill_without_an_answer_ends_the_processes_itself_and_the_next_kill_succeeds(lab: Lab, proxy: EngineProxy) -> None:
    uuid = lab.server()
    lab.power("start", uuid)
    killing = proxy.hold("POST", kill_of(uuid))
    result = lab.at(proxy.host).power("kill", uuid, options={"timeout": 2})
    assert (result.outcome.value, result.code, result.changed) == ("done", "unguarded", True)
    wait_until(lambda: not lab.is_up(uuid), "its process has ended")
    killing.drop()
    again = lab.power("kill", uuid)
    assert (again.outcome.value, again.code, again.state.value) == ("unchanged", "", "offline")
