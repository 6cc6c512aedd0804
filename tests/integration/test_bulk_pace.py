# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slots and locks of a call over many servers: who waits for which, what is held meanwhile, and what is asked again after it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node import limiter
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState

from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .many import (
    FOR_EVER,
    assert_all_free,
    await_ended,
    beside,
    end,
    endings,
    most_at_once,
    phases,
    power_each,
    servers,
    started,
    starts,
)
from .phases import start_of

ANY_START = start_of("")
#: How long what was known of a server before it waited counts.
STALE_SECONDS = 1.0


@pytest.fixture
def boot_slots(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set how many servers are booted at a time."""
    return lambda count: monkeypatch.setattr(limiter, "default_slots", lambda: count)


def one_in_phase(lab: Lab, uuids: list[str], phase: str) -> tuple[str, str]:
    """Of two servers the one whose lock's holder is in a phase, once there is one, and the other."""
    wait_until(lambda: phase in phases(lab, uuids), f"one is in phase {phase}")
    first, second = sorted(uuids, key=lambda uuid: phases(lab, [uuid]) != [phase])
    return first, second


def environment_of(lab: Lab, uuid: str) -> list[str]:
    """The environment of the server's container."""
    container = lab.container(uuid)
    assert container is not None
    environment: list[str] = container["Config"]["Env"]
    return environment


def test_boots_are_bounded_from_pre_boot_to_the_answer_of_the_start(
    lab: Lab, proxy: EngineProxy, boot_slots: Callable[[int], None]
) -> None:
    boot_slots(2)
    proxy.latency = lambda request: 0.2 if request.path.endswith(("/start", "/rename")) else 0.0
    results = power_each(lab.at(proxy.host), "start", servers(lab, 6))
    assert set(endings(results)) == {("done", "")}
    boots: dict[str, list[float]] = {}
    for request in proxy.seen:
        # The container takes its place, then it is started.
        if found := re.search(r"/containers/([^/]+)/(rename|start)", request.path):
            assert request.answered_at is not None
            boots.setdefault(found[1], []).extend([request.at, request.answered_at])
    assert len(boots) == 6
    assert most_at_once([(min(moments), max(moments)) for moments in boots.values()]) == 2


def test_a_boot_slot_is_free_again_while_the_server_gets_ready(lab: Lab, boot_slots: Callable[[int], None]) -> None:
    boot_slots(1)
    uuids = servers(lab, 2, BOOT_SECONDS=FOR_EVER)
    with beside(lambda: power_each(lab, "start", uuids, wait_for="running", wait_timeout=60), lambda: end(lab, *uuids)) as starting:
        wait_until(lambda: all(lab.is_up(uuid) for uuid in uuids) and phases(lab, uuids) == ["", ""], "both get ready")
        assert not starting.done()
        end(lab, *uuids)
        assert endings(starting.result()) == [("failed", "start_failed")] * 2


def test_a_restart_that_waits_for_its_boot_keeps_its_lock_and_a_kill_ends_it(
    lab: Lab, proxy: EngineProxy, boot_slots: Callable[[int], None]
) -> None:
    boot_slots(1)
    uuids = started(lab, 2)
    hold = proxy.hold("POST", ANY_START)
    with beside(lambda: power_each(lab.at(proxy.host), "restart", uuids), hold.release) as restarting:
        waiting, booting = one_in_phase(lab, uuids, "queue")
        hold.await_arrival()
        assert phases(lab, [booting]) == ["start"]
        assert not lab.is_up(waiting)
        refused = lab.power("start", waiting, wait_seconds=0)
        kill = lab.power("kill", waiting)
        assert not restarting.done()
        # The first has not let go of its slot: nothing but the kill ended the wait.
        assert phases(lab, [booting, waiting]) == ["start", ""]
        hold.release()
        results = {result.server.uuid: result for result in restarting.result()}
    assert (refused.code, refused.holder is not None and refused.holder["phase"]) == ("lock_timeout", "queue")
    assert (kill.outcome.value, kill.cancelled, kill.state) == ("done", "restart", PowerState.OFFLINE)
    killed = results[waiting]
    assert (killed.outcome.value, killed.code, killed.state) == ("cancelled", "cancelled_by_kill", PowerState.OFFLINE)
    assert endings([results[booting]]) == [("done", "")]
    assert (lab.is_up(waiting), lab.is_up(booting)) == (False, True)
    assert_all_free(lab, uuids)


@pytest.mark.samples("1")
@pytest.mark.parametrize("max_parallel", [0, 1])
def test_a_server_that_waits_for_a_slot_is_free_for_everybody_else(
    lab: Lab, proxy: EngineProxy, boot_slots: Callable[[int], None], max_parallel: int
) -> None:
    boot_slots(1)
    uuids = servers(lab, 2)
    hold = proxy.hold("POST", ANY_START)
    with beside(lambda: power_each(lab.at(proxy.host), "start", uuids, max_parallel=max_parallel), hold.release) as starting:
        booting, waiting = one_in_phase(lab, uuids, "start")
        assert endings([lab.power("start", waiting, wait_seconds=0)]) == [("done", "")]
        assert phases(lab, [booting, waiting]) == ["start", ""]
        hold.release()
        results = {result.server.uuid: result for result in starting.result()}
    # By its turn it is up.
    assert endings([results[booting], results[waiting]]) == [("done", ""), ("unchanged", "")]


@pytest.mark.samples("change0-ending0")
@pytest.mark.parametrize(
    "change, ending", [({"environment": {"CHANGED": 1}}, ("done", "")), ({"suspended": True}, ("refused", "suspended"))]
)
def test_a_locked_server_lets_the_others_pass_and_by_its_turn_its_definition_is_read_again(
    lab: Lab, change: dict[str, object], ending: tuple[str, str]
) -> None:
    (locked,), others = started(lab, 1, STOP_SECONDS=FOR_EVER), started(lab, 2)
    with lab.actor("stop", locked) as stop:
        lab.await_phase(locked, "stop")
        before = starts(lab, [locked])
        asked = [locked, *others]
        with beside(lambda: power_each(lab, "restart", asked, max_parallel=1, wait_seconds=120), lambda: end(lab, locked)) as restarting:
            await_ended(lab, "restart", others)
            assert phases(lab, [locked]) == ["stop"]
            lab.edit(locked, **change)
            time.sleep(STALE_SECONDS + 0.1)
            end(lab, locked)
            results = restarting.result()
        assert stop.result()["outcome"] == "done"
    assert endings(results) == [ending, ("done", ""), ("done", "")]
    assert results[0].waited_seconds > STALE_SECONDS
    if ending[0] == "done":
        assert "CHANGED=1" in environment_of(lab, locked)
    else:
        assert (results[0].changed, starts(lab, [locked])) == (False, before)


def test_a_server_that_stays_locked_is_refused_naming_who_holds_it_and_how_long_was_waited(lab: Lab) -> None:
    (locked,), other = started(lab, 1, STOP_SECONDS=FOR_EVER), lab.server()
    with lab.actor("stop", locked, reason="spring cleaning") as stop:
        lab.await_phase(locked, "stop")
        first, second = power_each(lab, "restart", [locked, other], max_parallel=1, wait_seconds=1)
        assert endings([first, second]) == [("refused", "lock_timeout"), ("done", "")]
        assert first.holder is not None
        assert (first.holder["pid"], first.holder["reason"]) == (stop.pid, "spring cleaning")
        end(lab, locked)
        stop.result()
    assert 1 <= first.waited_seconds < 60
    found = re.search(r"held by stop by actor .* after ([\d.]+) s; ", first.msg)
    assert found is not None and float(found[1]) >= 1


def test_a_budget_that_runs_out_while_a_server_waits_for_its_lock_counts(lab: Lab) -> None:
    (locked,), bad = started(lab, 1, STOP_SECONDS=FOR_EVER), lab.server(suspended=True)
    with lab.actor("stop", locked) as stop:
        lab.await_phase(locked, "stop")
        with beside(
            lambda: power_each(lab, "restart", [locked, bad], max_parallel=1, max_failures=0, wait_seconds=120), lambda: end(lab, locked)
        ) as restarting:
            await_ended(lab, "restart", [bad])
            end(lab, locked)
            results = restarting.result()
        stop.result()
    assert endings(results) == [("skipped", "failure_budget"), ("refused", "suspended")]
    assert not lab.is_up(locked)


def test_who_asked_and_is_gone_gets_what_has_begun_and_nothing_more(
    lab: Lab, proxy: EngineProxy, boot_slots: Callable[[int], None]
) -> None:
    """Of restarts that are all under way each is finished; of starts those that still wait for a slot never begin."""
    boot_slots(1)
    up, down, gone = started(lab, 2), servers(lab, 2), threading.Event()
    for action, uuids in (("restart", up), ("start", down)):
        hold = proxy.hold("POST", ANY_START)
        gone.clear()
        with beside(lambda: power_each(lab.at(proxy.host), action, uuids, interrupted=gone.is_set), hold.release) as acting:  # noqa: B023
            booting, waiting = one_in_phase(lab, uuids, "start")
            hold.await_arrival()
            if action == "restart":
                lab.await_phase(waiting, "queue")
            gone.set()
            if action == "start":
                await_ended(lab, "start", [waiting])
            hold.release()
            results = {result.server.uuid: result for result in acting.result()}
        expected = ("done", "") if action == "restart" else ("skipped", "interrupted_by_signal")
        assert endings([results[booting], results[waiting]]) == [("done", ""), expected]
        assert lab.is_up(booting) and lab.is_up(waiting) == (action == "restart")
        assert_all_free(lab, uuids)


@pytest.mark.samples("1")
@pytest.mark.parametrize("max_parallel", [0, 1])
def test_definitions_that_change_during_a_call_count_as_they_are_when_they_are_needed(lab: Lab, max_parallel: int) -> None:
    """Rewritten, removed, broken, suspended: nothing is stopped for what cannot start again, and what can start starts as it is now."""
    (slow,), rest = started(lab, 1, STOP_SECONDS=FOR_EVER), started(lab, 4)
    rewritten, removed, broken, suspended = rest
    before = starts(lab, rest)
    asked = [slow, *rest]
    if max_parallel == 0:
        # All begin at once: here each waits for its lock.
        nodes = lab.node()
        locks = [nodes.acquire(lab.request("stop", uuid, nodes), uuid, 0.0, lambda: None) for uuid in rest]
    with beside(
        lambda: power_each(lab, "restart", asked, max_parallel=max_parallel, wait_seconds=120), lambda: end(lab, slow)
    ) as restarting:
        lab.await_phase(slow, "stop")
        time.sleep(STALE_SECONDS + 0.1)
        lab.edit(slow, environment={"CHANGED": 1})
        lab.edit(rewritten, environment={"CHANGED": 2})
        (lab.root / "servers" / f"{removed}.json").unlink()
        (lab.root / "servers" / f"{broken}.json").write_text("{")
        lab.edit(suspended, suspended=True)
        if max_parallel == 0:
            for lock in locks:
                lock.release()
        end(lab, slow)
        results = restarting.result()
    assert endings(results) == [
        ("done", ""),
        ("done", ""),
        ("refused", "server_not_found"),
        ("refused", "definition_invalid"),
        ("refused", "suspended"),
    ]
    assert "CHANGED=1" in environment_of(lab, slow) and "CHANGED=2" in environment_of(lab, rewritten)
    untouched = [removed, broken, suspended]
    assert starts(lab, untouched) == {uuid: before[uuid] for uuid in untouched}
    assert all(lab.is_up(uuid) for uuid in rest)
