# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill and the graceful stop on a real engine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn import kill as kill_file
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.tests.unit.lock_support import fill, small_disk

from .engine_proxy import EngineProxy
from .lab import Lab, wait_until
from .phases import by_nobody, kept_in, meanwhile

#: Room for a journal.
_MIB = 1024 * 1024


def test_a_kill_is_done_although_its_container_is_removed(lab: Lab) -> None:
    uuid = lab.up(MARK=1)
    held = lab.node().acquire(lab.request("stop", uuid), uuid, 0.0, lambda: None)
    with held as lock, meanwhile(lambda: lab.power("kill", uuid)) as killing:
        wait_until(lambda: not lab.is_up(uuid), "the process is dead")
        lab.client.remove_container(uuid)
        lock.release()
        result = killing.result()
    assert (result.outcome.value, result.changed, result.state.value) == ("done", True, "offline")


def test_a_start_fails_without_a_record_if_its_container_is_removed(lab: Lab, proxy: EngineProxy) -> None:
    with kept_in(lab, proxy, "start", "start") as kept:
        lab.client.remove_container(kept.uuid)
        kept.let_go()
        start = kept.actor.result()
    assert (start["outcome"], start["code"], start["state"]) == ("failed", "start_failed", "offline")
    kill = lab.power("kill", kept.uuid)
    assert (kill.outcome.value, kill.changed) == ("unchanged", False)
    assert not lab.node().locks.has_record(kept.uuid)


def test_a_kill_is_unsettled_if_the_lock_holder_does_not_answer(lab: Lab, proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_file, "_HOLDER_SECONDS", -59.0)  # beyond the engine's 60 s
    with kept_in(lab, proxy, "start", "start") as kept:
        os.kill(kept.actor.pid, signal.SIGSTOP)
        kill = lab.power("kill", kept.uuid)
        assert (kill.outcome.value, kill.code, kill.holder["pid"]) == ("failed", "kill_unsettled", kept.actor.pid)
        assert f"pid {kept.actor.pid}" in kill.msg
        # The start request arrives after the kill, but its sender then sees the kill.
        kept.let_go()
        wait_until(lambda: lab.is_up(kept.uuid), "the start has arrived")
        os.kill(kept.actor.pid, signal.SIGCONT)
        start = kept.actor.result()
    assert (start["outcome"], start["code"], start["state"]) == ("cancelled", "cancelled_by_kill", "offline")
    assert not lab.is_up(kept.uuid)


@pytest.mark.samples("by its container alone")
@pytest.mark.parametrize("known", ["by a definition", "by its container alone"])
def test_a_kill_is_unsettled_if_the_engine_does_not_show_the_container(lab: Lab, proxy: EngineProxy, known: str) -> None:
    uuid = lab.up(MARK=1, IGNORE_SIGNALS="all")
    if known != "by a definition":
        (lab.root / "servers" / f"{uuid}.json").unlink()
        (lab.root / "state" / "definitions" / f"{uuid}.json").unlink()
    proxy.hold("GET", r"/containers/[^/]+/json")
    result = lab.at(proxy.host).power("kill", uuid, options={"timeout": 1})
    assert not lab.is_up(uuid)
    assert (result.outcome.value, result.code, result.changed) == ("failed", "kill_unsettled", True)
    assert (result.state_before, result.state) == (None, None)
    assert "it was killed" in result.msg
    assert "no answer within 1 s" in result.msg
    again = lab.power("kill", uuid)
    assert (again.outcome.value, again.changed, again.state.value) == ("unchanged", False, "offline")


@pytest.fixture(params=["state full", "state read-only", "locks read-only", "both read-only"])
def failing(request: pytest.FixtureRequest, lab: Lab) -> Iterator[str]:
    """A node with its own directories on small disks; ``break_disks`` breaks them as the parameter says."""
    with small_disk(lab.root / "small-state", _MIB) as state, small_disk(lab.root / "small-run") as locks:
        lab.write_settings(system={"state_directory": str(state / "d"), "lock_directory": str(locks / "d")})
        try:
            yield request.param
        finally:
            for disk in (state, locks):
                subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def break_disks(lab: Lab, failing: str) -> None:
    """Fill the disk of the state, or make the disks read-only, and verify it."""
    state, locks = lab.root / "small-state", lab.root / "small-run"
    if failing == "state full":
        fill(state)
        return
    for disk, name in ((state, "state"), (locks, "locks")):
        if failing.startswith((name, "both")):
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            with pytest.raises(OSError, match="Read-only"):
                (disk / "probe").touch()


@pytest.mark.samples("state full", "both read-only")
def test_a_kill_without_a_writable_disk_kills_and_is_unguarded(lab: Lab, failing: str) -> None:
    uuid = lab.up(MARK=1)
    break_disks(lab, failing)
    result = lab.power("kill", uuid)
    assert (result.outcome.value, result.code, result.changed, result.state.value) == ("done", "unguarded", True, "offline")
    assert any("might start the server again" in warning for warning in result.warnings)
    assert not lab.is_up(uuid)
    # A kill of a server that is down is unguarded, too, and reports no change.
    again = lab.power("kill", uuid)
    assert (again.outcome.value, again.code, again.changed) == ("done", "unguarded", False)


def test_a_kill_removes_the_restart_policy(lab: Lab) -> None:
    uuid = lab.server()
    lab.outsider(uuid, host={"RestartPolicy": {"Name": "always"}})
    result = lab.power("kill", uuid)
    assert (result.outcome.value, result.state.value) == ("done", "offline")
    assert lab.container(uuid)["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_a_kill_without_a_generation_waits_and_kills_the_lock_holders_run(lab: Lab, proxy: EngineProxy) -> None:
    with small_disk(lab.root / "small") as disk:
        lab.write_settings(system={"state_directory": str(disk / "state")})
        with kept_in(lab, proxy, "start", "start") as kept:
            fill(disk)
            with meanwhile(lambda: lab.power("kill", kept.uuid)) as killing:
                time.sleep(0.5)
                assert not killing.done()
                kept.let_go()
                kill = killing.result()
            start = kept.actor.result()
    # The start did not see the kill, but the kill waited for it.
    assert (start["outcome"], kill.outcome.value, kill.code, kill.state.value) == ("done", "done", "unguarded", "offline")
    assert not lab.is_up(kept.uuid)


def test_a_kill_by_a_user_with_rights_on_the_engine_only_is_unguarded(lab: Lab, proxy: EngineProxy, tmp_path: Path) -> None:
    uuid = lab.up(MARK=1)
    os.chmod(tmp_path / "engine.sock", 0o666)
    result = by_nobody(lab.at(proxy.host), "kill", uuid)
    assert (result["outcome"], result["code"], result["state"]) == ("done", "unguarded", "offline")
    assert not lab.is_up(uuid)


NATIVE = {"type": "stop", "value": ""}
WINGS = {"Service": "Pterodactyl", "ContainerType": "server_process"}


def outsider(lab: Lab, uuid: str, *, environment: tuple[str, ...] = (), **config: Any) -> str:
    lab.outsider(uuid, Env=["MARK=1", *environment], **config)
    lab.await_ready(uuid)
    return uuid


def stop_report(result: Any) -> tuple[str, str, bool]:
    return result.outcome.value, result.stop.how, result.stop.forced


def test_a_stop_command_is_written_to_standard_input(lab: Lab) -> None:
    uuid = lab.up(MARK=1, stop={"type": "command", "value": "save and quit"}, STOP_COMMAND="save and quit")
    result = lab.power("stop", uuid)
    assert stop_report(result) == ("done", "command", False)
    assert (result.changed, result.state.value, lab.is_up(uuid)) == (True, "offline", False)
    assert "got command save and quit" in lab.log(uuid)


@pytest.mark.samples("wings")
@pytest.mark.parametrize("labels", [{}, WINGS], ids=["foreign", "wings"])
def test_a_stop_command_without_open_stdin_becomes_a_native_stop_with_a_warning(lab: Lab, labels: dict[str, str]) -> None:
    uuid = outsider(lab, lab.server(), Labels=labels)
    result = lab.power("stop", uuid)
    assert stop_report(result) == ("done", "native", False)
    assert any("no open standard input" in warning and "SIGTERM" in warning for warning in result.warnings)
    assert "got SIGTERM" in lab.log(uuid)


@pytest.mark.samples("10-SIGUSR1")
@pytest.mark.parametrize(
    "value, seen", [("C", "SIGINT"), ("^C", "SIGINT"), ("SIGINT", "SIGINT"), ("int", "SIGINT"), ("10", "SIGUSR1"), ("QUIT", "SIGQUIT")]
)
def test_each_spelling_of_a_stop_signal_sends_this_signal(lab: Lab, value: str, seen: str) -> None:
    uuid = lab.up(MARK=1, stop={"type": "signal", "value": value})
    assert stop_report(lab.power("stop", uuid)) == ("done", "signal", False)
    assert f"got {seen}\n" in lab.log(uuid)


@pytest.mark.samples("sigint-SIGINT")
@pytest.mark.parametrize("tag, seen", [("latest", "SIGTERM"), ("sigint", "SIGINT")])
def test_the_native_stop_sends_the_images_stop_signal(lab: Lab, tag: str, seen: str) -> None:
    uuid = lab.up(MARK=1, stop=NATIVE, image=f"~fleet-power/testserver:{tag}")
    assert stop_report(lab.power("stop", uuid)) == ("done", "native", False)
    assert f"got {seen}\n" in lab.log(uuid)


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["stop", "restart"])
def test_an_ignored_stop_is_forced_at_the_timeout_and_the_result_has_it(lab: Lab, action: str) -> None:
    uuid = lab.up(MARK=1, stop={**NATIVE, "timeout": 600}, IGNORE_SIGNALS="TERM")
    result = lab.power(action, uuid, stop_timeout=1)
    assert stop_report(result) == ("done", "native", True)
    assert 1.0 <= result.stop.seconds < 8
    assert lab.is_up(uuid) == (action == "restart")


class RefusedSignals:
    """The real engine; every signal except SIGKILL becomes one that it refuses."""

    def __init__(self, engine: Any) -> None:
        self._engine: DockerEngine = engine

    def signal(self, name: str, signal: str) -> bool:
        return self._engine.signal(name, signal if signal == "SIGKILL" else "SIGNONE")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["stop", "restart"])
def test_a_refused_signal_fails_the_action_and_kills_no_server(lab: Lab, action: str) -> None:
    uuid = lab.up(MARK=1, stop={"type": "signal", "value": "SIGTERM"})
    before = lab.container(uuid)["State"]
    node = lab.node()
    node = replace(node, engine=RefusedSignals(node.engine))
    result = perform(lab.request(action, uuid, node), node)
    assert (result.outcome.value, result.code, result.changed, result.stop) == ("failed", "stop_failed", False, None)
    assert "SIGNONE" in result.msg
    assert (result.state.value, lab.container(uuid)["State"]) == ("running", before)
    assert (node.observe(uuid).state.value, lab.power("stop", uuid).outcome.value) == ("running", "done")


@pytest.mark.samples("wings-unless-stopped")
@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
@pytest.mark.parametrize("labels", [{}, WINGS], ids=["foreign", "wings"])
def test_a_restart_policy_does_not_bring_a_stopped_server_back(lab: Lab, labels: dict[str, str], policy: str) -> None:
    uuid = outsider(lab, lab.server(), Labels=labels, OpenStdin=True, host={"RestartPolicy": {"Name": policy}})
    result = lab.power("stop", uuid)
    assert stop_report(result) == ("done", "command", False)
    time.sleep(0.5)  # the engine waits 0.1 s before it restarts
    found = lab.container(uuid)
    assert (lab.is_up(uuid), found["RestartCount"], found["HostConfig"]["RestartPolicy"]["Name"]) == (False, 0, "no")


@pytest.mark.samples("kill")
@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_server_that_its_restart_policy_keeps_restarting_is_taken_down(lab: Lab, action: str) -> None:
    uuid = lab.server(stop=NATIVE)
    lab.outsider(uuid, Entrypoint=["/bin/sh", "-c", "exit 3"], host={"RestartPolicy": {"Name": "always"}})
    wait_until(lambda: lab.container(uuid)["RestartCount"] > 1, "the policy has restarted the server")
    result = lab.power(action, uuid, stop_timeout=2)
    assert (result.outcome.value, result.state.value) == ("done", "offline")
    time.sleep(1)
    assert lab.container(uuid)["State"]["Status"] == "exited"


@pytest.mark.samples("stop")
@pytest.mark.parametrize("action, fields", [("stop", {}), ("stop", {"stop_timeout": 0}), ("kill", {})], ids=["stop", "at once", "kill"])
def test_a_paused_server_is_taken_down(lab: Lab, action: str, fields: dict[str, Any]) -> None:
    uuid = lab.up(MARK=1)
    lab.client.pause(uuid)
    result = lab.power(action, uuid, **fields)
    assert (result.outcome.value, result.state_before.value, result.state.value) == ("done", "running", "offline")
    assert not lab.is_up(uuid)
    assert action == "kill" or result.stop.forced == bool(fields)
