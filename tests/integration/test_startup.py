# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and restarts: readiness, failures, and checks before the stop."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid as uuid_module
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .command import fleet_power
from .lab import Lab, ended, free_port, wait_until

HEALTH = "~fleet-power/testserver:health"


@pytest.mark.samples("3-0.1-0", "0-60-0.6")
@pytest.mark.parametrize("exit_code, boot_seconds, crash_after", [(3, 0.1, 0), (0, 60, 0.6), (7, 60, 0.6)])
def test_an_exit_before_readiness_fails_the_start(lab: Lab, exit_code: int, boot_seconds: float, crash_after: float) -> None:
    uuid = lab.server(BOOT_SECONDS=boot_seconds, CRASH_AFTER=crash_after, EXIT_CODE=exit_code)
    result = lab.power("start", uuid, wait_for="running")
    assert (*ended(result), result.changed, result.state.value) == ("failed", "start_failed", True, "offline")
    assert (result.exit_code, result.log[-1:]) == (exit_code, ("crashed",))
    assert f"exit code {exit_code}" in result.msg


def test_a_failed_start_shows_the_end_of_the_log_without_secrets(lab: Lab) -> None:
    pad = "x" * 470
    script = f"for n in 1 2 3 4 5 6 7 8 9; do echo line $n; echo line $n; echo line $n; done; printf '\\033[31m{pad} %s \\007%s %s\\n' "
    script += '"$SHORT" "$COLOURED" "$LONG"; exit 4'
    image = lab.image(f"ENTRYPOINT {json.dumps(['/bin/sh', '-c', script])}")
    uuid = lab.server(image=image, SHORT="hunter22", LONG="s3cret-" * 100, COLOURED="pass\x1b[1mword")
    result = lab.power("start", uuid, wait_for="running")
    assert (*ended(result), result.exit_code) == ("failed", "start_failed", 4)
    assert result.log == (
        *(f"line {n}" for n in (*[3] * 1, *[n for n in range(4, 10) for _unused in range(3)])),
        f"{pad} ******** ******** ********",
    )
    assert all(len(entry.encode()) <= 500 for entry in result.log)


@pytest.mark.samples("ansi")
@pytest.mark.parametrize(
    "done, line, environment",
    [
        ("up and", "now up and running", {}),
        ("regex:^up (today|now)$", "up now", {}),
        ("regex:^it is up$", "it is up", {"ANSI": 1}),
        ("regex:(up", "regex:(up", {}),
    ],
    ids=["text", "regex", "ansi", "no regex"],
)
def test_a_start_waits_for_the_readiness_line(lab: Lab, done: str, line: str, environment: dict[str, object]) -> None:
    uuid = lab.server(BOOT_SECONDS=0.7, READY_LINE=line, done=("never", done), **environment)
    lab.edit(uuid, process={"startup": {"done": ["never", done], "strip_ansi": bool(environment)}})
    result = lab.power("start", uuid, wait_for="running")
    assert (*ended(result), result.state.value) == ("done", "", "running")
    assert line in lab.log(uuid) and result.seconds >= 0.7
    assert any("is not a regular expression" in warning for warning in result.warnings) == (done == "regex:(up")


def test_a_start_waits_for_the_health_check(lab: Lab) -> None:
    uuid = lab.server(image=HEALTH, HEALTHY_AFTER=1)
    result = lab.power("start", uuid, wait_for="healthy")
    assert ended(result) == ("done", "")
    assert lab.container(uuid)["State"]["Health"]["Status"] == "healthy"


@pytest.mark.samples("restart-superseded-True", "kill-cancelled_by_kill-False")
@pytest.mark.parametrize(
    "action, code, is_up", [("stop", "superseded", False), ("restart", "superseded", True), ("kill", "cancelled_by_kill", False)]
)
def test_another_action_ends_the_wait_for_readiness(lab: Lab, action: str, code: str, is_up: bool) -> None:
    uuid = lab.server(BOOT_SECONDS=60)
    with lab.actor("start", uuid, wait_for="running") as start:
        wait_until(lambda: lab.is_up(uuid) and lab.node().locks.holder(uuid) is None, "the start has released the lock")
        # A booting server already reads its stop command.
        assert ended(lab.power(action, uuid)) == ("done", "")
        result = start.result()
    assert (result["outcome"], result["code"], result["changed"]) == ("cancelled", code, True)
    assert lab.is_up(uuid) == is_up


def test_a_second_start_does_not_hide_a_crash_from_the_first(lab: Lab) -> None:
    uuid = lab.server(BOOT_SECONDS=60, CRASH_AFTER=5, EXIT_CODE=9)
    with lab.actor("start", uuid, wait_for="running") as first:
        wait_until(lambda: lab.is_up(uuid) and lab.node().locks.holder(uuid) is None, "the start has released the lock")
        assert ended(lab.power("start", uuid)) == ("unchanged", "")
        result = first.result()
    assert (result["outcome"], result["code"], result["exit_code"]) == ("failed", "start_failed", 9)


def test_a_start_remembers_the_readiness_line_after_the_log_has_rotated(lab: Lab) -> None:
    lab.write_settings(docker={"log_config": {"type": "local", "config": {"max-size": "8k", "max-file": "1", "compress": "false"}}})
    uuid = lab.server(BOOT_SECONDS=0.5, NOISE=2000)
    assert ended(lab.power("start", uuid, wait_for="running", wait_timeout=20)) == ("done", "")
    wait_until(lambda: "ready" not in lab.log(uuid), "the log has rotated")
    again = lab.power("start", uuid, wait_for="running", wait_timeout=1)
    assert (*ended(again), again.state.value) == ("unchanged", "", "running")


Change = Callable[[Lab, str], object]


def docker(**settings: Any) -> Change:
    return lambda lab, uuid: lab.write_settings(docker=settings)


def edit(**settings: Any) -> Change:
    return lambda lab, uuid: lab.edit(uuid, **settings)


def network(**fields: Any) -> Change:
    name = f"fleet-power-test-{uuid_module.uuid4().hex[:12]}"
    return docker(network={"name": name, "network_mode": name, **fields})


IMPOSSIBLE = {"v4": {"subnet": "10.213.78.0/24", "gateway": "10.1.1.1"}, "v6": {"subnet": "", "gateway": ""}}


@pytest.mark.samples(
    "a gateway outside its network",
    "less memory than the engine can give",
)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(docker(log_config={"type": "nosuch"}), id="a log driver the engine does not have"),
        pytest.param(docker(network={"network_mode": "container:nobody"}), id="the network of a missing container"),
        pytest.param(network(driver="nosuch"), id="a network driver the engine does not have", marks=pytest.mark.long),
        pytest.param(network(interfaces=IMPOSSIBLE), id="a gateway outside its network"),
        pytest.param(edit(build={"memory_limit": 6}), id="less memory than the engine can give"),
    ],
)
def test_a_restart_that_the_engine_would_refuse_fails_before_the_stop(lab: Lab, change: Change) -> None:
    uuid = lab.up()
    before = lab.container(uuid)
    change(lab, uuid)
    result = lab.power("restart", uuid)
    assert result.outcome.value in ("refused", "failed"), result
    assert before is not None and lab.container(uuid)["Id"] == before["Id"]
    assert lab.is_up(uuid)
    assert lab.client.containers(all=True, filters={"name": f"{uuid}-"}) == [], "no waiting container is left"


@pytest.fixture
def published(lab: Lab) -> Iterator[tuple[Lab, int]]:
    lab.write_settings(docker={"network": {"network_mode": "bridge", "interface": "127.0.0.1"}})
    yield lab, free_port()


def publish(lab: Lab, uuid: str, port: int, address: str = "127.0.0.1") -> None:
    lab.edit(uuid, allocations={"default": {"ip": address, "port": port}, "mappings": {address: [port]}})


def test_a_restart_finds_a_taken_port_before_the_stop(published: tuple[Lab, int]) -> None:
    lab, port = published
    uuid = lab.up()
    publish(lab, uuid, port)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        result = lab.power("restart", uuid)
        assert ended(result) == ("refused", "preboot_failed")
        assert f"port 127.0.0.1:{port}/tcp is taken by process {os.getpid()} (" in result.msg
        assert lab.is_up(uuid)
    assert ended(lab.power("restart", uuid)) == ("done", "")


@pytest.mark.parametrize("protocol, address", [("tcp", "0.0.0.0"), ("udp", "127.0.0.1"), ("udp", "0.0.0.0")])
def test_a_process_outside_docker_that_holds_a_port_is_named(published: tuple[Lab, int], protocol: str, address: str) -> None:
    lab, port = published
    uuid = lab.server()
    publish(lab, uuid, port)
    # A game publishes each port with both protocols.
    script = f"""
import socket, time
held = socket.socket(socket.AF_INET, socket.SOCK_{"STREAM" if protocol == "tcp" else "DGRAM"})
held.bind(("{address}", {port}))
{"held.listen()" if protocol == "tcp" else ""}
print("bound", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "bound\n"
            result = lab.power("start", uuid)
        finally:
            other.kill()
    assert ended(result) == ("refused", "preboot_failed")
    assert f"port 127.0.0.1:{port}/{protocol} is taken by process {other.pid} (python" in result.msg
    assert result.msg.endswith(")") and f"or stop process {other.pid} (" in result.msg


def test_a_server_that_is_late_shows_its_last_lines_and_the_line_that_it_lacks(lab: Lab) -> None:
    uuid = lab.server(READY_LINE="one\ntwo\nthree\nfour", done=("never",))
    seen = fleet_power(lab, "start", uuid, "--wait-for", "running", "--wait-timeout", "2")
    first, *lines = seen.out.splitlines()
    assert 'not ready 2 s after its start, without a line like "' in first and "start_timeout" in first
    assert lines == ["  two", "  three", "  four"]


def test_a_restart_finds_a_missing_address_before_the_stop(published: tuple[Lab, int]) -> None:
    lab, port = published
    uuid = lab.up()
    publish(lab, uuid, port, "203.0.113.9")
    result = lab.power("restart", uuid)
    assert ended(result) == ("refused", "preboot_failed")
    assert "does not have" in result.msg
    assert lab.is_up(uuid)


def test_a_kill_during_a_restart_removes_the_waiting_container(lab: Lab) -> None:
    uuid = lab.up(IGNORE_SIGNALS="all", STOP_COMMAND="never")
    lab.edit(uuid, environment={"MARK": "1"})
    with lab.actor("restart", uuid) as restart:
        lab.await_phase(uuid, "stop")
        assert len(lab.client.containers(all=True, filters={"name": uuid})) == 2
        assert ended(lab.power("kill", uuid)) == ("done", "")
        assert restart.result()["code"] == "cancelled_by_kill"
    assert [each["Names"] for each in lab.client.containers(all=True, filters={"name": uuid})] == [[f"/{uuid}"]]


def test_the_next_restart_works_after_a_restart_dies_in_its_stop(lab: Lab) -> None:
    uuid = lab.up(STOP_SECONDS=60, MARK=1)
    lab.edit(uuid, environment={"STOP_SECONDS": "0"})
    with lab.actor("restart", uuid) as restart:
        wait_until(lambda: "got command stop" in lab.log(uuid), "the stop arrived")
        restart.kill()
    assert ended(lab.power("restart", uuid, stop_timeout=1, wait_for="running")) == ("done", "")
    assert len(lab.client.containers(all=True, filters={"name": uuid})) == 1
