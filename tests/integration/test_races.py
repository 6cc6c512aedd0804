# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes at one server: each pair of actions, with the first held in each of its phases."""

from __future__ import annotations

import time

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase

from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .phases import BOOTS, EVERY_PHASE, kept_in, meanwhile, named, start_of, starts_since, waiting_containers

#: Phases in which a rival that is no kill can wait for the end (a pull that is lost ends in a refusal of its own).
WAITED_FOR = [(action, phase) for action, phase in BOOTS if phase in ("prepare", "create", "preboot", "start", "observe")]
#: Phases of a restart in which the process from before still runs.
BEFORE_THE_END_OF_THE_STOP = ("prepare", "pull", "create", "stop")
STOPPED = [*WAITED_FOR, ("restart", "stop")]


def assert_stays_down(lab: Lab, uuid: str, since: float, seconds: float = 0.5) -> None:
    """Nothing brings the server up, neither now nor by what was still on its way."""
    time.sleep(seconds)
    assert not lab.is_up(uuid)
    assert starts_since(lab, uuid, since) == []


@pytest.mark.samples(
    "start-create",
    "start-start",
    "restart-prepare",
    "restart-pull",
    "restart-create",
    "restart-stop",
    "restart-preboot",
    "restart-start",
    "restart-observe",
    "restart-wait",
)
@pytest.mark.parametrize("action, phase", BOOTS, ids=named(BOOTS))
def test_a_kill_cancels_a_boot_in_every_phase_and_the_server_stays_down(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    with kept_in(lab, proxy, action, phase) as kept:
        before = lab.generation(kept.uuid)
        with meanwhile(lambda: lab.power("kill", kept.uuid)) as killing:
            wait_until(lambda: lab.generation(kept.uuid) > before, "the kill has begun")
            # A pull is given up at once, everything else waits for the engine's answer.
            if phase != "pull":
                kept.let_go()
            kill = killing.result()
        ended = time.time()
        loser = kept.actor.result()
        kept.let_go(lost=True)
    assert (kill.outcome.value, kill.code, kill.state.value) == ("done", "", "offline")
    assert (None if kill.cancelled is None else kill.cancelled.value) == (None if phase == "wait" else action)
    assert (loser["outcome"], loser["code"]) == ("cancelled", "cancelled_by_kill")
    # It gives up as soon as it sees that a kill was asked for, which may be before the process is dead.
    assert loser["state"] == "offline" or (action == "restart" and phase in BEFORE_THE_END_OF_THE_STOP)
    assert waiting_containers(lab, kept.uuid) == []
    assert_stays_down(lab, kept.uuid, ended)
    assert lab.node().journal.intents.of(kept.uuid).up is False
    assert not lab.node().locks.has_record(kept.uuid)


@pytest.mark.samples("stop")
@pytest.mark.parametrize("phase", ["prepare", "stop"])
def test_a_kill_during_a_stop_ends_it(lab: Lab, proxy: EngineProxy, phase: str) -> None:
    with kept_in(lab, proxy, "stop", phase) as kept:
        with meanwhile(lambda: lab.power("kill", kept.uuid)) as killing:
            wait_until(lambda: not lab.is_up(kept.uuid), "the process is dead")
            kept.let_go()
            kill = killing.result()
        stop = kept.actor.result()
    assert (kill.outcome.value, kill.changed, kill.cancelled, kill.state.value) == ("done", True, None, "offline")
    if phase == "stop":
        assert (stop["outcome"], stop["stop"]["forced"], stop["state"]) == ("done", True, "offline")
    else:
        assert (stop["outcome"], stop["changed"], stop["state"]) == ("unchanged", False, "offline")


@pytest.mark.parametrize("phase", ["prepare", "kill"])
def test_a_kill_during_a_kill_waits_for_it_and_both_are_true(lab: Lab, proxy: EngineProxy, phase: str) -> None:
    with kept_in(lab, proxy, "kill", phase) as kept:
        with meanwhile(lambda: lab.power("kill", kept.uuid)) as killing:
            wait_until(lambda: lab.generation(kept.uuid) > 1 and not lab.is_up(kept.uuid), "the second kill has killed")
            kept.let_go()
            second = killing.result()
        first = kept.actor.result()
    assert {first["state"], second.state.value} == {"offline"}
    assert (first["outcome"], first["changed"]) == (("done", True) if phase == "kill" else ("unchanged", False))
    assert (second.outcome.value, second.changed) == (("unchanged", False) if phase == "kill" else ("done", True))
    assert not lab.is_up(kept.uuid)


@pytest.mark.samples("start-create", "restart-preboot", "restart-start")
@pytest.mark.parametrize("action, phase", WAITED_FOR, ids=named(WAITED_FOR))
def test_a_start_beside_a_boot_waits_for_it_and_changes_nothing(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    began = time.time()
    with kept_in(lab, proxy, action, phase) as kept:
        with meanwhile(lambda: lab.power("start", kept.uuid)) as starting:
            time.sleep(0.5)
            assert not starting.done()
            kept.let_go()
            rival = starting.result()
        first = kept.actor.result()
    assert (first["outcome"], first["changed"]) == ("done", True)
    assert (rival.outcome.value, rival.changed) == ("unchanged", False)
    assert rival.waited_seconds > 0
    assert len(starts_since(lab, kept.uuid, began)) == (1 if action == "start" else 2)


def test_a_start_that_has_waited_for_another_still_waits_for_readiness(lab: Lab, proxy: EngineProxy) -> None:
    uuid = lab.server(BOOT_SECONDS=1.5)
    hold = proxy.hold("POST", start_of(uuid))
    with lab.at(proxy.host).actor("start", uuid) as first:
        hold.await_arrival()
        with meanwhile(lambda: lab.power("start", uuid, wait_for="running")) as starting:
            time.sleep(0.5)
            hold.release()
            rival = starting.result()
        assert "ready" in lab.log(uuid)
        assert first.result()["outcome"] == "done"
    assert (rival.outcome.value, rival.changed, rival.state.value) == ("unchanged", False, "running")


@pytest.mark.samples("start-preboot", "start-start", "restart-create", "restart-stop")
@pytest.mark.parametrize("action, phase", STOPPED, ids=named(STOPPED))
def test_a_stop_beside_a_boot_waits_its_turn_and_then_stops(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    with kept_in(lab, proxy, action, phase, **({"stop_timeout": 1} if phase == "stop" else {})) as kept:
        # The test server reads no stop command while it boots; the grace is short, so that this does not matter.
        with meanwhile(lambda: lab.power("stop", kept.uuid, stop_timeout=1)) as stopping:
            time.sleep(0.5)
            assert not stopping.done()
            kept.let_go()
            rival = stopping.result()
        first = kept.actor.result()
    assert (first["outcome"], first["changed"]) == ("done", True)
    assert (rival.outcome.value, rival.changed, rival.state.value) == ("done", True, "offline")
    assert rival.waited_seconds > 0
    assert not lab.is_up(kept.uuid)
    assert lab.node().journal.intents.of(kept.uuid).up is False


@pytest.mark.parametrize("phase", ["prepare", "stop"])
def test_a_start_beside_a_stop_waits_for_its_end_and_boots(lab: Lab, proxy: EngineProxy, phase: str) -> None:
    with kept_in(lab, proxy, "stop", phase, stop_timeout=1) as kept:
        with meanwhile(lambda: lab.power("restart" if phase == "prepare" else "start", kept.uuid)) as starting:
            time.sleep(0.5)
            assert not starting.done()
            kept.let_go()
            rival = starting.result()
        stop = kept.actor.result()
    assert (stop["outcome"], stop["changed"]) == ("done", True)
    assert (rival.outcome.value, rival.changed, rival.state_before.value) == ("done", True, "offline")
    assert rival.waited_seconds > 0
    assert lab.is_up(kept.uuid)
    assert lab.node().journal.intents.of(kept.uuid).up is True


def test_a_start_of_a_server_that_is_up_does_not_wait_for_a_stop_that_has_not_begun(lab: Lab) -> None:
    uuid = lab.server()
    assert lab.power("start", uuid, wait_for="running").outcome.value == "done"
    result = lab.power("start", uuid, wait_seconds=0)
    assert (result.outcome.value, result.waited_seconds) == ("unchanged", 0)


@pytest.mark.samples("stop", "start")
@pytest.mark.parametrize("phase", ["stop", "start", "observe"])
def test_two_restarts_come_one_after_the_other(lab: Lab, proxy: EngineProxy, phase: str) -> None:
    with kept_in(lab, proxy, "restart", phase, stop_timeout=1) as kept:
        began = time.time()
        with meanwhile(lambda: lab.power("restart", kept.uuid, stop_timeout=1)) as restarting:
            time.sleep(0.5)
            assert not restarting.done()
            kept.let_go()
            second = restarting.result()
        first = kept.actor.result()
    assert (first["outcome"], second.outcome.value) == ("done", "done")
    assert second.waited_seconds > 0
    assert len(starts_since(lab, kept.uuid, began)) == (1 if phase == "observe" else 2)
    assert lab.is_up(kept.uuid)


def test_no_phase_is_left_out() -> None:
    # Only among many does a server wait for its turn to boot: test_bulk. Limits are no boot: test_limits.
    elsewhere = (Phase.QUEUE, Phase.LIMIT)
    assert {phase for _action, phase in EVERY_PHASE} == {*(phase.value for phase in Phase if phase not in elsewhere), "create", "wait"}
