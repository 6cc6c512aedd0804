# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts after a boot of the node, and actions after a kill of their process in each phase."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ansible_collections.fleet.power as collection
import pytest
from ansible_collections.fleet.power.plugins.module_utils._core import PACKAGE
from ansible_collections.fleet.power.plugins.module_utils._power.locking.holder import Leftover
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import RESTORE_ORIGIN
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase

from .engine_proxy import EngineProxy
from .lab import IMAGE, Lab, wait_until
from .many import FOR_EVER, assert_all_free, end, last_operations, power_each, seconds, started
from .phases import EVERY_PHASE, Kept, kept_in, named, start_of, starts_since, waiting_containers
from .test_freeze import frozen


def leftover(lab: Lab, uuid: str) -> Leftover | None:
    return lab.node().locks.look(uuid)[1]


def codes(lab: Lab, uuid: str) -> list[tuple[str, str, str]]:
    return [(row.action, row.outcome, row.code) for row in lab.operations(uuid)]


@pytest.mark.samples("start-create", "restart-stop", "restart-start", "kill-kill")
@pytest.mark.parametrize("action, phase", EVERY_PHASE, ids=named(EVERY_PHASE))
def test_a_killed_actor_leaves_a_free_lock_and_the_next_action_works(lab: Lab, proxy: EngineProxy, action: str, phase: str) -> None:
    with kept_in(lab, proxy, action, phase) as kept:
        kept.actor.kill()
        assert lab.node().locks.holder(kept.uuid) is None
        # A kill records its operation only after it killed the process.
        written = (action, phase) != ("kill", "prepare")
        assert not written or codes(lab, kept.uuid)[0] == (action, "failed", "interrupted")
        left = leftover(lab, kept.uuid)
        assert (None if left is None else left.phase.value) == (phase if phase in ("start", "stop") else None)
        lab.edit(kept.uuid, container={"image": IMAGE})
        following = lab.power("restart", kept.uuid, wait_seconds=0, stop_timeout=0)
        assert waiting_containers(lab, kept.uuid) == []
        # A late kill does kill; other late requests have no effect.
        kept.let_go(lost=action == "kill")
    assert (following.outcome.value, following.changed) == ("done", True)
    assert [row[0] for row in codes(lab, kept.uuid)][:2] == ["restart", action if written else "start"]
    assert not lab.node().locks.has_record(kept.uuid)
    time.sleep(0.2)
    assert lab.is_up(kept.uuid)


def test_a_dead_senders_stop_shows_as_stopping_until_the_run_ends(lab: Lab) -> None:
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


def test_a_kill_cancels_a_start_that_waits_for_a_dead_senders_stop(lab: Lab, proxy: EngineProxy) -> None:
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
    """A start request of a dead sender, still on its way to the engine."""
    uuid = lab.server(**server)
    hold = proxy.hold("POST", start_of(uuid))
    with lab.at(proxy.host).actor("start", uuid) as actor:
        hold.await_arrival()
        lab.await_phase(uuid, "start")
        actor.kill()
        yield Kept(uuid, actor, hold)


def arrive_late(kept: Kept) -> int:
    """Deliver the start now; return the status of the engine's answer."""
    assert kept.hold is not None
    kept.let_go()
    return kept.hold.await_status()


@pytest.mark.parametrize("action", ["kill", "stop"])
def test_a_fenced_start_cannot_bring_the_server_up_later(lab: Lab, proxy: EngineProxy, action: str) -> None:
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


def test_a_start_fences_an_earlier_start_on_its_way_and_boots_once(lab: Lab, proxy: EngineProxy) -> None:
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
def test_a_late_start_is_recognised_and_the_next_action_works(lab: Lab, proxy: EngineProxy, action: str, outcome: str) -> None:
    with orphaned_start(lab, proxy) as kept:
        assert arrive_late(kept) == 204
        lab.await_ready(kept.uuid)
        container = lab.container(kept.uuid)["Id"]
        result = lab.power(action, kept.uuid)
    assert (result.outcome.value, result.changed) == (outcome, outcome == "done")
    assert lab.container(kept.uuid)["Id"] == container
    assert lab.is_up(kept.uuid) == (action in ("start", "restart"))


@pytest.mark.long
@pytest.mark.samples("kill")
@pytest.mark.parametrize("second", ["stop", "start", "kill"])
def test_a_start_on_its_way_stays_recorded_when_the_next_actor_dies_too(lab: Lab, proxy: EngineProxy, second: str) -> None:
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
        # The removal by the dead actor finds no container any more.
        settling.release()
        assert settling.await_status() == 404
    assert lab.container(kept.uuid) is None


def test_a_kill_that_dies_after_it_raised_the_generation_cancels_a_start(lab: Lab, proxy: EngineProxy) -> None:
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


def test_a_waiting_action_gets_the_lock_soon_after_its_holder_died(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "stop", "stop") as kept, lab.actor("restart", kept.uuid, stop_timeout=0, gate=True) as waiter:
        waiter.await_gate()
        waiter.go()
        # It reads the definition and asks the engine before it locks.
        time.sleep(2.5)
        kept.actor.kill()
        died = time.time()
        result = waiter.result()
        assert time.time() - died < 15
    assert (result["outcome"], result["state_before"]) == ("done", "stopping")
    assert 0 < result["lock"]["waited_seconds"] < 15


MODULE_UTILS = Path(next(iter(collection.__path__)), "plugins", "module_utils")
PATIENCE = 60.0


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core under the name that it has on a node."""
    path = tmp_path_factory.mktemp("core")
    (path / PACKAGE).symlink_to(MODULE_UTILS)
    return path


class Restore:
    def __init__(self, lab: Lab, core: Path, arguments: tuple[str, ...]) -> None:
        command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-m", f"{PACKAGE}.restore", "--config", str(lab.config)]
        environment = {**os.environ, "PYTHONPATH": str(core), "DOCKER_HOST": lab.docker_host}
        self.child = subprocess.Popen(
            [*command, *arguments], env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ended(self) -> tuple[int, list[str], str]:
        """Its exit code, its lines, and its standard error."""
        out, errors = self.child.communicate(timeout=PATIENCE)
        return self.child.returncode, out.splitlines(), errors


Begin = Callable[..., Restore]


@pytest.fixture
def begin(lab: Lab, core: Path) -> Iterator[Begin]:
    begun: list[Restore] = []

    def restore(*arguments: str, node: Lab = lab) -> Restore:
        begun.append(Restore(node, core, arguments))
        return begun[-1]

    yield restore
    for each in begun:
        if each.child.poll() is None:
            each.child.kill()
        each.child.communicate()


def halted(lab: Lab, *uuids: str) -> None:
    """End servers as a halt of the node does: they should still be up."""
    end(lab, *uuids)
    for uuid in uuids:
        wait_until(lambda uuid=uuid: not lab.is_up(uuid), f"{uuid} is down")


def line_of(lines: list[str], uuid: str) -> str:
    (found,) = [line for line in lines if line.startswith(uuid)]
    return found


def test_only_servers_that_should_be_up_start_in_order_and_with_stagger(lab: Lab, begin: Begin) -> None:
    game, proxy, suspended, down = started(lab, 4)
    lab.edit(proxy, meta={"name": "Proxy", "priority": 10})
    lab.edit(suspended, suspended=True)
    power_each(lab, "stop", [down])
    never = lab.server()
    halted(lab, game, proxy, suspended)
    code, lines, errors = begin("--stagger", "2", "--wait-for", "running").ended()
    assert (code, errors) == (0, "")
    assert [line.rpartition(": ")[2] for line in lines if line.startswith((game, proxy))] == ["started"] * 2
    assert line_of(lines, proxy) == f"{proxy} Proxy: started"
    assert ": passed over, suspended: " in line_of(lines, suspended)
    assert len(lines) == 3
    assert [lab.is_up(uuid) for uuid in (game, proxy, suspended, down, never)] == [True, True, False, False, False]
    found = last_operations(lab, [game, proxy])
    assert {row.origin for row in found.values()} == {RESTORE_ORIGIN}
    assert seconds(found[game].begun_at) - seconds(found[proxy].begun_at) > 1.2
    assert seconds(found[game].begun_at) >= seconds(found[proxy].ended_at) - 0.002


def test_a_server_that_is_stopped_before_its_turn_stays_down(lab: Lab, begin: Begin) -> None:
    first, second = started(lab, 2)
    lab.edit(first, meta={"name": "First", "priority": 1}, environment={"BOOT_SECONDS": 4})
    halted(lab, first, second)
    restore = begin("--stagger", "0", "--wait-for", "running")
    wait_until(lambda: lab.is_up(first), "the first is up")
    power_each(lab, "stop", [second])
    code, lines, _errors = restore.ended()
    assert code == 0
    assert ": passed over, not_selected: " in line_of(lines, second) and "by test" in line_of(lines, second)
    assert not lab.is_up(second)


@pytest.mark.samples("15")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_running_starts_finish_and_no_other_begin(lab: Lab, begin: Begin, number: int) -> None:
    first, second = started(lab, 2)
    lab.edit(first, meta={"name": "First", "priority": 1})
    halted(lab, first, second)
    restore = begin("--stagger", "3600")
    wait_until(lambda: lab.is_up(first), "the first is up")
    restore.child.send_signal(number)
    code, lines, errors = restore.ended()
    assert (code, errors) == (1, "")
    assert line_of(lines, first).endswith(": started")
    assert ": skipped, interrupted_by_signal: " in line_of(lines, second)
    assert lab.is_up(first) and not lab.is_up(second)
    assert_all_free(lab, [first, second])


def test_two_restores_start_each_server_once(lab: Lab, begin: Begin) -> None:
    uuids = started(lab, 3, DATA_WRITE=1)
    halted(lab, *uuids)
    for restore in [begin("--stagger", "0"), begin("--stagger", "0")]:
        assert restore.ended()[0] == 0
    assert [(lab.volume(uuid) / "boots").read_text().strip() for uuid in uuids] == ["2"] * 3


def test_an_unreadable_journal_fails_the_restore_and_starts_no_server(lab: Lab, begin: Begin) -> None:
    uuids = started(lab, 1)
    halted(lab, *uuids)
    for file in (lab.root / "state").glob("journal.sqlite*"):
        file.write_bytes(b"no journal" * 1000)
    code, lines, errors = begin().ended()
    assert (code, lines) == (1, [])
    assert str(lab.root / "state") in errors and "Traceback" not in errors
    assert not lab.is_up(uuids[0])


def test_the_restore_starts_frozen_servers(lab: Lab, begin: Begin) -> None:
    (uuid,) = started(lab, 1)
    halted(lab, uuid)
    frozen(lab, supervisor=True)
    assert begin().ended()[0] == 0 and lab.is_up(uuid)


@pytest.mark.samples("reboot-False")
@pytest.mark.parametrize("phase, up", [("reboot", False), ("start", True)])
def test_the_restore_starts_no_server_during_the_reboot_of_a_maintenance(lab: Lab, begin: Begin, phase: str, up: bool) -> None:
    (uuid,) = started(lab, 1)
    halted(lab, uuid)
    (lab.root / "state" / "maintenance.json").write_text(json.dumps({"schema": 1, "phase": phase, "boot_id": "b", "servers": []}))
    code, lines, errors = begin().ended()
    assert (code, len(lines), lab.is_up(uuid)) == (0, int(up), up)
    assert ("Nothing is started" in errors) == (not up)
