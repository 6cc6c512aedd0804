# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The graceful stop: the way it is asked for, the grace, and what is said when it had to be forced."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine

from .lab import Lab, wait_until

NATIVE = {"type": "stop", "value": ""}
WINGS = {"Service": "Pterodactyl", "ContainerType": "server_process"}


def outsider(lab: Lab, uuid: str, *, environment: tuple[str, ...] = (), **config: Any) -> str:
    """The uuid, with a container that somebody else made and that is ready."""
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
def test_a_stop_command_without_open_stdin_becomes_native_and_says_so(lab: Lab, labels: dict[str, str]) -> None:
    uuid = outsider(lab, lab.server(), Labels=labels)
    result = lab.power("stop", uuid)
    assert stop_report(result) == ("done", "native", False)
    assert any("no open standard input" in warning and "SIGTERM" in warning for warning in result.warnings)
    assert "got SIGTERM" in lab.log(uuid)


@pytest.mark.samples("10-SIGUSR1")
@pytest.mark.parametrize(
    "value, seen", [("C", "SIGINT"), ("^C", "SIGINT"), ("SIGINT", "SIGINT"), ("int", "SIGINT"), ("10", "SIGUSR1"), ("QUIT", "SIGQUIT")]
)
def test_a_signal_is_sent_as_the_one_it_names(lab: Lab, value: str, seen: str) -> None:
    uuid = lab.up(MARK=1, stop={"type": "signal", "value": value})
    assert stop_report(lab.power("stop", uuid)) == ("done", "signal", False)
    assert f"got {seen}\n" in lab.log(uuid)


@pytest.mark.samples("sigint-SIGINT")
@pytest.mark.parametrize("tag, seen", [("latest", "SIGTERM"), ("sigint", "SIGINT")])
def test_the_native_stop_sends_the_images_own_stop_signal(lab: Lab, tag: str, seen: str) -> None:
    uuid = lab.up(MARK=1, stop=NATIVE, image=f"~fleet-power/testserver:{tag}")
    assert stop_report(lab.power("stop", uuid)) == ("done", "native", False)
    assert f"got {seen}\n" in lab.log(uuid)


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["stop", "restart"])
def test_a_stop_that_is_ignored_is_forced_at_the_timeout_and_says_so(lab: Lab, action: str) -> None:
    uuid = lab.up(MARK=1, stop={**NATIVE, "timeout": 600}, IGNORE_SIGNALS="TERM")
    result = lab.power(action, uuid, stop_timeout=1)
    assert stop_report(result) == ("done", "native", True)
    assert 1.0 <= result.stop.seconds < 8
    assert lab.is_up(uuid) == (action == "restart")


class RefusedSignals:
    """The real engine, asked for a signal that it refuses in the place of any but SIGKILL."""

    def __init__(self, engine: Any) -> None:
        self._engine: DockerEngine = engine

    def signal(self, name: str, signal: str) -> bool:
        return self._engine.signal(name, signal if signal == "SIGKILL" else "SIGNONE")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["stop", "restart"])
def test_a_refused_signal_ends_the_action_with_nothing_killed(lab: Lab, action: str) -> None:
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
    wait_until(lambda: lab.container(uuid)["RestartCount"] > 1, "it crashes again and again")
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
