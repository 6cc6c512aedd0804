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
