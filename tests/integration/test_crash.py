# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The acting process is killed with SIGKILL, in every phase: nothing is stuck after it, and nothing comes up behind anybody's back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.locking.holder import Leftover
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase

from .engine_proxy import EngineProxy
from .lab import IMAGE, Lab, wait_until
from .many import FOR_EVER, end
from .phases import EVERY_PHASE, Kept, kept_in, named, start_of, starts_since, waiting_containers


def leftover(lab: Lab, uuid: str) -> Leftover | None:
    return lab.node().locks.leftover(uuid)


def codes(lab: Lab, uuid: str) -> list[tuple[str, str, str]]:
    """Action, outcome and code of every operation of a server, the latest first."""
    journal = lab.node().journal
    try:
        return [(row.action, row.outcome, row.code) for row in journal.operations.of(uuid)]
    finally:
        journal.close()


@pytest.mark.samples("start-create", "restart-stop", "restart-preboot", "restart-start", "restart-wait", "stop-stop", "kill-kill")
@pytest.mark.parametrize("action, phase", EVERY_PHASE, ids=named(EVERY_PHASE))
def test_after_a_death_the_lock_is_free_and_the_next_action_works(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    with kept_in(lab, proxy, action, phase) as kept:
        kept.actor.kill()
        assert lab.node().locks.holder(kept.uuid) is None
        # A kill writes nothing down before it has killed, and here it has not.
        written = (action, phase) != ("kill", "prepare")
        assert not written or codes(lab, kept.uuid)[0] == (action, "failed", "interrupted")
        left = leftover(lab, kept.uuid)
        assert (None if left is None else left.phase.value) == (phase if phase in ("start", "stop") else None)
        lab.edit(kept.uuid, container={"image": IMAGE})
        following = lab.power("restart", kept.uuid, wait_seconds=0, stop_timeout=0)
        assert waiting_containers(lab, kept.uuid) == []
        # A kill that arrives late does kill; everything else comes too late to matter.
        kept.let_go(lost=action == "kill")
    assert (following.outcome.value, following.changed) == ("done", True)
    assert [row[0] for row in codes(lab, kept.uuid)][:2] == ["restart", action if written else "start"]
    assert not lab.node().locks.has_record(kept.uuid)
    time.sleep(0.2)
    assert lab.is_up(kept.uuid)


def test_a_stop_whose_sender_died_is_seen_until_the_run_has_ended(lab: Lab) -> None:
    uuid = lab.server(STOP_SECONDS=FOR_EVER, MARK=1)
    lab.power("start", uuid, wait_for="running")
    with lab.actor("stop", uuid) as stop:
        wait_until(lambda: "got command stop" in lab.log(uuid), "the stop arrived")
        stop.kill()
    assert lab.node().observe(uuid).state.value == "stopping"
    end(lab, uuid)
    wait_until(lambda: not lab.is_up(uuid), "the run has ended")
    assert lab.node().observe(uuid).state.value == "offline"
    result = lab.power("stop", uuid)
    assert (result.outcome.value, result.changed) == ("unchanged", False)
    assert not lab.node().locks.has_record(uuid)


def test_a_kill_cancels_a_start_that_waits_for_a_stop_whose_sender_died(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "stop", "stop") as kept:
        kept.actor.kill()
        with lab.actor("start", kept.uuid) as start:
            wait_until(lambda: (holder := lab.node().locks.holder(kept.uuid)) is not None and holder.pid == start.pid, "the start waits")
            kill = lab.power("kill", kept.uuid)
            result = start.result()
    assert (kill.outcome.value, kill.cancelled.value, kill.state.value) == ("done", "start", "offline")
    assert (result["outcome"], result["code"], result["changed"]) == ("cancelled", "cancelled_by_kill", False)
    assert not lab.is_up(kept.uuid)
    assert not lab.node().locks.has_record(kept.uuid)


@contextmanager
def orphaned_start(lab: Lab, proxy: EngineProxy, **server: Any) -> Iterator[Kept]:
    """A start request that is on its way to the engine, its sender dead."""
    uuid = lab.server(**server)
    hold = proxy.hold("POST", start_of(uuid))
    with lab.at(proxy.host).actor("start", uuid) as actor:
        hold.await_arrival()
        lab.await_phase(uuid, "start")
        actor.kill()
        yield Kept(uuid, actor, hold)


def arrive_late(kept: Kept) -> int:
    """Deliver the start now; the engine's answer."""
    assert kept.hold is not None
    kept.let_go()
    return kept.hold.await_status()


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_start_on_its_way_is_fenced_and_cannot_come_up_later(lab: Lab, proxy: EngineProxy, action: str) -> None:
    began = time.time()
    with orphaned_start(lab, proxy) as kept:
        assert leftover(lab, kept.uuid).phase is Phase.START
        result = lab.power(action, kept.uuid)
        assert (result.outcome.value, result.changed, result.state.value) == ("done", True, "offline")
        assert lab.container(kept.uuid) is None
        assert leftover(lab, kept.uuid) is None
        assert arrive_late(kept) == 404
    time.sleep(0.3)
    assert lab.container(kept.uuid) is None
    assert starts_since(lab, kept.uuid, began) == []
    assert lab.node().journal.intents.of(kept.uuid).up is False
    again = lab.power("start", kept.uuid)
    assert (again.outcome.value, lab.is_up(kept.uuid)) == ("done", True)


def test_a_fence_keeps_every_volume(lab: Lab, proxy: EngineProxy) -> None:
    with orphaned_start(lab, proxy, image="~fleet-power/testserver:sigint") as kept:
        (lab.volume(kept.uuid) / "world").write_text("precious")
        mounts = lab.container(kept.uuid)["Mounts"]
        anonymous = [mount["Name"] for mount in mounts if mount["Type"] == "volume"]
        assert len(anonymous) == 1
        try:
            assert lab.power("kill", kept.uuid).changed
            assert lab.container(kept.uuid) is None
            assert lab.client.inspect_volume(anonymous[0])["Name"] == anonymous[0]
        finally:
            lab.client.remove_volume(anonymous[0])
    assert (lab.volume(kept.uuid) / "world").read_text() == "precious"


def test_the_next_start_fences_the_one_on_its_way_and_boots_once(lab: Lab, proxy: EngineProxy) -> None:
    began = time.time()
    with orphaned_start(lab, proxy) as kept:
        fenced = lab.container(kept.uuid)["Id"]
        result = lab.power("start", kept.uuid)
        assert (result.outcome.value, result.changed) == ("done", True)
        assert lab.container(kept.uuid)["Id"] != fenced
        assert arrive_late(kept) == 404
    assert lab.is_up(kept.uuid)
    assert len(starts_since(lab, kept.uuid, began)) == 1


@pytest.mark.samples("kill-done", "start-unchanged")
@pytest.mark.parametrize("action, outcome", [("kill", "done"), ("stop", "done"), ("restart", "done"), ("start", "unchanged")])
def test_a_start_executed_late_is_recognised_and_goes_its_usual_way(lab: Lab, proxy: EngineProxy, action: str, outcome: str) -> None:
    with orphaned_start(lab, proxy) as kept:
        assert arrive_late(kept) == 204
        lab.await_ready(kept.uuid)
        container = lab.container(kept.uuid)["Id"]
        result = lab.power(action, kept.uuid)
    assert (result.outcome.value, result.changed) == (outcome, outcome == "done")
    assert lab.container(kept.uuid)["Id"] == container
    assert lab.is_up(kept.uuid) == (action in ("start", "restart"))


@pytest.mark.samples("stop", "kill")
@pytest.mark.parametrize("second", ["stop", "start", "kill"])
def test_a_start_on_its_way_is_remembered_when_the_next_actor_dies_too(lab: Lab, proxy: EngineProxy, second: str) -> None:
    with orphaned_start(lab, proxy) as kept:
        container = lab.container(kept.uuid)["Id"]
        settling = proxy.hold("DELETE", container)
        with lab.at(proxy.host).actor(second, kept.uuid) as actor:
            settling.await_arrival()
            actor.kill()
        assert leftover(lab, kept.uuid).run.container == container
        result = lab.power("kill", kept.uuid)
        assert (result.outcome.value, result.changed) == ("done", True)
        assert arrive_late(kept) == 404
        # And the removal the dead one asked for finds nothing to remove any more.
        settling.release()
        assert settling.await_status() == 404
    assert lab.container(kept.uuid) is None


def test_a_kill_that_died_after_raising_the_generation_has_cancelled_a_start(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "start", "start") as start:
        dying = proxy.hold("POST", rf"/containers/{start.uuid}/kill")
        with lab.at(proxy.host).actor("kill", start.uuid) as kill:
            dying.await_arrival()
            kill.kill()
        dying.drop()
        start.let_go()
        result = start.actor.result()
    assert (result["outcome"], result["code"], result["state"]) == ("cancelled", "cancelled_by_kill", "offline")
    assert not lab.is_up(start.uuid)


def test_a_waiter_gets_the_lock_as_soon_as_its_holder_has_died(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "stop", "stop") as kept, lab.actor("restart", kept.uuid, stop_timeout=0, gate=True) as waiter:
        waiter.await_gate()
        waiter.go()
        # It checks a definition and an engine before it comes to the lock.
        time.sleep(2.5)
        kept.actor.kill()
        died = time.time()
        result = waiter.result()
        assert time.time() - died < 15
    assert (result["outcome"], result["state_before"]) == ("done", "stopping")
    assert 0 < result["lock"]["waited_seconds"] < 15
