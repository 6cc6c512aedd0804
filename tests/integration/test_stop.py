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
    """Outcome, way and whether it was forced."""
    return result.outcome.value, result.stop.how, result.stop.forced


def test_a_stop_command_is_written_to_standard_input(lab: Lab) -> None:
    uuid = lab.up(MARK=1, stop={"type": "command", "value": "save and quit"}, STOP_COMMAND="save and quit")
    result = lab.power("stop", uuid)
    assert stop_report(result) == ("done", "command", False)
    assert (result.changed, result.state.value, lab.is_up(uuid)) == (True, "offline", False)
    assert "got command save and quit" in lab.log(uuid)


def test_a_wings_container_with_open_stdin_gets_the_command(lab: Lab) -> None:
    uuid = outsider(lab, lab.server(), Labels=WINGS, OpenStdin=True, Tty=True)
    assert stop_report(lab.power("stop", uuid)) == ("done", "command", False)
    assert "got command stop" in lab.log(uuid)


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


@pytest.mark.samples("SIGRTMIN+3-37")
@pytest.mark.parametrize("value, number", [("RTMIN", 34), ("SIGRTMIN+3", 37), ("64", 64), ("RTMAX-1", 63)])
def test_a_real_time_signal_arrives(lab: Lab, value: str, number: int) -> None:
    uuid = lab.server(stop={"type": "signal", "value": value})
    script = f"trap 'echo got {number}; exit 5' {number}; echo ready; while :; do sleep 0.1; done"
    outsider(lab, uuid, Entrypoint=["/bin/sh", "-c", script])
    assert stop_report(lab.power("stop", uuid)) == ("done", "signal", False)
    assert f"got {number}" in lab.log(uuid)
    assert lab.container(uuid)["State"]["ExitCode"] == 5


@pytest.mark.samples("sigint-SIGINT")
@pytest.mark.parametrize("tag, seen", [("latest", "SIGTERM"), ("sigint", "SIGINT")])
def test_the_native_stop_sends_the_images_own_stop_signal(lab: Lab, tag: str, seen: str) -> None:
    uuid = lab.up(MARK=1, stop=NATIVE, image=f"~fleet-power/testserver:{tag}")
    assert stop_report(lab.power("stop", uuid)) == ("done", "native", False)
    assert f"got {seen}\n" in lab.log(uuid)


def test_an_empty_stop_type_is_native_with_a_warning(lab: Lab) -> None:
    uuid = outsider(lab, lab.server(stop={"type": "", "value": None}), OpenStdin=True)
    result = lab.power("stop", uuid)
    assert stop_report(result) == ("done", "native", False)
    assert any("process_configuration.stop" in warning for warning in result.warnings)
    assert "got SIGTERM" in lab.log(uuid)


def test_a_container_that_no_definition_knows_is_stopped_natively_with_a_warning(lab: Lab) -> None:
    uuid = outsider(lab, lab.server(), OpenStdin=True)
    (lab.root / "servers" / f"{uuid}.json").unlink()
    result = lab.power("stop", uuid)
    assert stop_report(result) == ("done", "native", False)
    assert any("no definition says how it is stopped" in warning for warning in result.warnings)


@pytest.mark.samples("restart")
@pytest.mark.parametrize("action", ["stop", "restart"])
def test_a_stop_that_is_ignored_is_forced_at_the_timeout_and_says_so(lab: Lab, action: str) -> None:
    uuid = lab.up(MARK=1, stop={**NATIVE, "timeout": 600}, IGNORE_SIGNALS="TERM")
    result = lab.power(action, uuid, stop_timeout=1)
    assert stop_report(result) == ("done", "native", True)
    assert 1.0 <= result.stop.seconds < 8
    assert lab.is_up(uuid) == (action == "restart")


@pytest.mark.samples("definition")
@pytest.mark.parametrize("where", ["definition", "settings"])
def test_the_timeout_is_the_definitions_else_the_nodes(lab: Lab, where: str) -> None:
    own = {"timeout": 1} if where == "definition" else {}
    lab.write_settings(system={"stop_timeout": 600 if own else 1})
    uuid = lab.up(MARK=1, stop={**NATIVE, **own}, IGNORE_SIGNALS="TERM")
    result = lab.power("stop", uuid)
    assert stop_report(result) == ("done", "native", True)
    assert 1.0 <= result.stop.seconds < 8


def test_a_timeout_of_zero_sends_nothing_before_sigkill(lab: Lab) -> None:
    uuid = lab.up(MARK=1, STOP_SECONDS=30)
    result = lab.power("stop", uuid, stop_timeout=0)
    assert stop_report(result) == ("done", "kill", True)
    assert result.state.value == "offline"
    assert "got " not in lab.log(uuid)
    assert lab.container(uuid)["State"]["ExitCode"] == 137


def test_a_long_timeout_ends_as_soon_as_the_server_has_stopped(lab: Lab) -> None:
    uuid = lab.up(MARK=1, STOP_SECONDS=0.7)
    result = lab.power("stop", uuid, stop_timeout=600)
    assert stop_report(result) == ("done", "command", False)
    assert 0.7 <= result.stop.seconds < 8


def test_a_run_is_stopped_the_way_it_was_created_with(lab: Lab) -> None:
    uuid = lab.up(MARK=1)
    lab.edit(uuid, process={"stop": {"type": "signal", "value": "SIGUSR1"}})
    assert stop_report(lab.power("stop", uuid)) == ("done", "command", False)
    assert "got command stop" in lab.log(uuid) and "SIGUSR1" not in lab.log(uuid)


def test_the_tasks_definition_overrides_how_a_run_is_stopped(lab: Lab) -> None:
    uuid = lab.up(MARK=1)
    task = lab.definition(uuid)
    task["process_configuration"]["stop"] = {"type": "signal", "value": "SIGUSR1"}
    assert stop_report(lab.power("stop", uuid, options={"definitions": [task]})) == ("done", "signal", False)
    assert "got SIGUSR1" in lab.log(uuid) and "got command" not in lab.log(uuid)


class RefusedSignals:
    """The real engine, asked for a signal that it refuses in the place of any but SIGKILL."""

    def __init__(self, engine: Any) -> None:
        self._engine: DockerEngine = engine

    def signal(self, name: str, signal: str) -> bool:
        """Ask for a signal that does not exist."""
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
