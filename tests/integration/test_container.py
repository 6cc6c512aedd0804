# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container on the real engine: what it is created with, when it is made anew, and what the host cannot do for it."""

from __future__ import annotations

import contextlib
import json
import socket
import uuid as uuid_module
from collections.abc import Iterator

import pytest

from .lab import Lab, ended

OWNER = (12345, 12346)
DROPPED = {"SETPCAP", "MKNOD", "AUDIT_WRITE", "NET_RAW", "DAC_OVERRIDE", "FOWNER", "FSETID", "NET_BIND_SERVICE", "SYS_CHROOT", "SETFCAP"}


def inside(lab: Lab, uuid: str, script: str) -> str:
    """What a shell in the container prints."""
    command = lab.client.exec_create(uuid, ["/bin/sh", "-c", script])
    return str(lab.client.exec_start(command["Id"]).decode().strip())


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    """The name of a network of the test's own, which the settings ask for; removed after the servers that are in it."""
    import docker.errors

    name = f"fleet-power-test-{uuid_module.uuid4().hex[:12]}"
    interfaces = {"v4": {"subnet": "", "gateway": ""}, "v6": {"subnet": "", "gateway": ""}}
    lab.write_settings(docker={"network": {"name": name, "network_mode": name, "interface": "127.0.0.1", "interfaces": interfaces}})
    yield name
    lab.clean()
    with contextlib.suppress(docker.errors.NotFound):
        lab.client.remove_network(name)


def free_port() -> int:
    """A port that nothing listens on, neither by TCP nor by UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            tcp.bind(("127.0.0.1", 0))
            udp.bind(tcp.getsockname())
            return int(tcp.getsockname()[1])


def test_limits_are_given_to_the_engine(lab: Lab) -> None:
    uuid = lab.up(build={"memory_limit": 512, "swap": 256, "cpu_limit": 150, "threads": "0"})
    host = lab.container(uuid)["HostConfig"]
    assert (host["Memory"], host["MemoryReservation"], host["MemorySwap"]) == (588_800_000, 512_000_000, 844_800_000)
    assert (host["CpuQuota"], host["CpuPeriod"], host["CpuShares"], host["CpusetCpus"]) == (150_000, 100_000, 1024, "0")
    assert (host["PidsLimit"], host["OomKillDisable"] or False) == (512, False)


def test_the_container_is_confined(lab: Lab) -> None:
    lab.write_settings(system={"user": {"uid": OWNER[0], "gid": OWNER[1]}}, docker={"tmpfs_size": 5})
    uuid = lab.up()
    found = lab.container(uuid)
    host = found["HostConfig"]
    assert {name.replace("CAP_", "") for name in host["CapDrop"]} == DROPPED
    assert (host["SecurityOpt"], host["Tmpfs"]) == (["no-new-privileges"], {"/tmp": "rw,exec,nosuid,size=5M"})
    assert (host["Privileged"], host["ReadonlyRootfs"], host["AutoRemove"], host["RestartPolicy"]["Name"]) == (False, True, False, "no")
    assert (found["Config"]["User"], found["Config"]["Hostname"]) == (f"{OWNER[0]}:{OWNER[1]}", uuid)
    assert (found["Config"]["OpenStdin"], found["Config"]["StdinOnce"], found["Config"]["Tty"]) == (True, False, True)
    seen = inside(lab, uuid, "exec 2>&1; id -u; id -g; touch /x; touch /tmp/x && touch /home/container/x && echo writable")
    assert seen.split()[:2] == [str(OWNER[0]), str(OWNER[1])]
    assert "Read-only file system" in seen and seen.endswith("writable")
    assert (lab.volume(uuid) / "x").stat().st_uid == OWNER[0]


def test_environment_labels_and_log_are_as_defined(lab: Lab) -> None:
    lab.write_settings(system={"timezone": "Europe/Paris"})
    uuid = lab.server(number=5, yes=True, nothing=None, tz="UTC", server_memory="1")
    lab.edit(uuid, invocation="./run {{SERVER_MEMORY}}", labels={"team": "blue", "Service": "Pterodactyl"}, build={"memory_limit": 64})
    assert ended(lab.power("start", uuid)) == ("done", "")
    found = lab.container(uuid)
    environment = dict(entry.split("=", 1) for entry in found["Config"]["Env"])
    assert environment == {
        "TZ": "Europe/Paris",
        "STARTUP": "./run {{SERVER_MEMORY}}",
        "SERVER_MEMORY": "64",
        "SERVER_IP": "0.0.0.0",
        "SERVER_PORT": "0",
        "NUMBER": "5",
        "YES": "true",
        "NOTHING": "",
        "PATH": "/bin",
    }
    labels = found["Config"]["Labels"]
    assert (labels["team"], labels["fleet.power.server"], "Service" in labels) == ("blue", uuid, False)
    assert json.loads(labels["fleet.power.stop"]) == {"type": "command", "value": "stop", "timeout": None}
    assert found["HostConfig"]["LogConfig"] == {
        "Type": "local",
        "Config": {"max-size": "5m", "max-file": "1", "compress": "false", "mode": "non-blocking"},
    }


def test_ports_are_published_in_a_network_that_is_made_on_demand(lab: Lab, network: str) -> None:
    port = free_port()
    uuid = lab.server()
    lab.edit(uuid, allocations={"default": {"ip": "127.0.0.1", "port": port}, "mappings": {"127.0.0.1": [port]}})
    assert network not in {found["Name"] for found in lab.client.networks()}
    assert ended(lab.power("start", uuid, wait_for="running")) == ("done", "")
    ports = lab.container(uuid)["NetworkSettings"]["Ports"]
    assert ports == {f"{port}/{kind}": [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for kind in ("tcp", "udp")}
    made = lab.client.inspect_network(network)
    assert (made["Driver"], made["Internal"], list(lab.container(uuid)["NetworkSettings"]["Networks"])) == ("bridge", False, [network])
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    again = lab.power("restart", uuid)
    assert (*ended(again), [step.step for step in again.preboot if step.changed]) == ("done", "", [])
    assert lab.client.inspect_network(network)["Id"] == made["Id"]


def test_a_taken_port_refuses_the_start(lab: Lab, network: str) -> None:
    uuid = lab.server()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        lab.edit(uuid, allocations={"mappings": {"127.0.0.1": [taken.getsockname()[1]]}})
        result = lab.power("start", uuid)
    assert (*ended(result), result.changed, result.state.value) == ("refused", "preboot_failed", False, "offline")
    assert "is taken; change settings.allocations, or end what holds it" in result.msg
    assert [(step.step, step.failed) for step in result.preboot] == [("ports", True)]
    assert ended(lab.power("start", uuid)) == ("done", "")


@pytest.mark.samples("restart", "kill-start")
@pytest.mark.parametrize("actions", [("restart",), ("stop", "start"), ("kill", "start")], ids="-".join)
def test_the_container_is_kept_where_nothing_changed(lab: Lab, actions: tuple[str, ...]) -> None:
    uuid = lab.up()
    before = lab.container(uuid)
    results = [lab.power(action, uuid) for action in actions]
    assert [ended(result) for result in results] == [("done", "")] * len(actions)
    after = lab.container(uuid)
    assert after["Id"] == before["Id"] and after["State"]["StartedAt"] != before["State"]["StartedAt"]
    assert [step.step for step in results[-1].preboot if step.changed] == []


def test_the_container_is_made_anew_when_the_definition_changed(lab: Lab) -> None:
    uuid = lab.up(DATA_WRITE=1, build={"memory_limit": 64})
    before = lab.container(uuid)["Id"]
    lab.edit(uuid, build={"memory_limit": 128})
    result = lab.power("restart", uuid, wait_for="running")
    assert (*ended(result), [step.step for step in result.preboot if step.changed]) == ("done", "", ["placement"])
    after = lab.container(uuid)
    assert after["Id"] != before and after["HostConfig"]["MemoryReservation"] == 128_000_000
    assert (lab.volume(uuid) / "boots").read_text() == "2\n"
