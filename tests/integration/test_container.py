# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container on the real engine: creation, limits and the pull of its image."""

from __future__ import annotations

import contextlib
import json
import socket
import uuid as uuid_module
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_network import NetworkSpec
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.tests.unit.thread_support import few_threads

from .controller import Controller
from .lab import Lab, ended, free_port
from .registry import Registry, registry
from .test_info import look_at

OWNER = (12345, 12346)
DROPPED = {"SETPCAP", "MKNOD", "AUDIT_WRITE", "NET_RAW", "DAC_OVERRIDE", "FOWNER", "FSETID", "NET_BIND_SERVICE", "SYS_CHROOT", "SETFCAP"}


def inside(lab: Lab, uuid: str, script: str) -> str:
    command = lab.client.exec_create(uuid, ["/bin/sh", "-c", script])
    return str(lab.client.exec_start(command["Id"]).decode().strip())


@pytest.fixture
def network(lab: Lab) -> Iterator[str]:
    """The name of a separate network in the settings; removed after its servers."""
    import docker.errors

    name = f"fleet-power-test-{uuid_module.uuid4().hex[:12]}"
    interfaces = {"v4": {"subnet": "", "gateway": ""}, "v6": {"subnet": "", "gateway": ""}}
    lab.write_settings(docker={"network": {"name": name, "network_mode": name, "interface": "127.0.0.1", "interfaces": interfaces}})
    yield name
    lab.clean()
    with contextlib.suppress(docker.errors.NotFound):
        lab.client.remove_network(name)


def test_a_start_gives_the_limits_to_the_engine(lab: Lab) -> None:
    uuid = lab.up(build={"memory_limit": 512, "swap": 256, "cpu_limit": 150, "threads": "0"})
    host = lab.container(uuid)["HostConfig"]
    assert (host["Memory"], host["MemoryReservation"], host["MemorySwap"]) == (588_800_000, 512_000_000, 844_800_000)
    assert (host["CpuQuota"], host["CpuPeriod"], host["CpuShares"], host["CpusetCpus"]) == (150_000, 100_000, 1024, "0")
    assert (host["PidsLimit"], host["OomKillDisable"] or False) == (512, False)


def test_the_limit_of_open_files_is_the_settings(lab: Lab) -> None:
    uuid = lab.up()
    lab.write_settings(docker={"nofile": 2048})
    assert ended(lab.power("restart", uuid)) == ("done", "")
    assert inside(lab, uuid, "ulimit -Sn; ulimit -Hn").split() == ["2048", "2048"]
    again = lab.container(uuid)["Id"]
    assert ended(lab.power("restart", uuid)) == ("done", "")
    assert lab.container(uuid)["Id"] == again


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


def test_environment_labels_and_log_follow_the_definition(lab: Lab) -> None:
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


def test_servers_that_start_at_the_same_time_make_their_network_once(lab: Lab, network: str, docker_host: str) -> None:
    # Docker 20.10 refuses the addresses of a network that does not have its name yet.
    spec = NetworkSpec(network, {"Driver": "bridge", "IPAM": {"Config": [{"Subnet": "192.0.2.0/28"}]}})
    engines = [DockerEngine(Connection(docker_host)) for _number in range(6)]
    with ThreadPoolExecutor(len(engines)) as pool:
        for _time in range(4):
            made = list(pool.map(lambda engine: engine.containers.ensure_network(spec), engines))
            assert sorted(made) == [False] * 5 + [True]
            lab.client.remove_network(network)


def test_a_start_makes_a_missing_network_and_publishes_the_ports(lab: Lab, network: str) -> None:
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


def test_a_changed_definition_replaces_the_container(lab: Lab) -> None:
    uuid = lab.up(DATA_WRITE=1, build={"memory_limit": 64})
    before = lab.container(uuid)["Id"]
    lab.edit(uuid, build={"memory_limit": 128})
    result = lab.power("restart", uuid, wait_for="running")
    assert (*ended(result), [step.step for step in result.preboot if step.changed]) == ("done", "", ["placement"])
    after = lab.container(uuid)
    assert after["Id"] != before and after["HostConfig"]["MemoryReservation"] == 128_000_000
    assert (lab.volume(uuid) / "boots").read_text() == "2\n"


MB = 1_000_000
#: Whether this machine has control groups of version 2.
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()
#: The files of a container with its limits, in version 1 and 2.
FILES = {
    "memory": ("memory/memory.limit_in_bytes", "memory.max"),
    "sum": ("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
    "quota": ("cpu/cpu.cfs_quota_us", "cpu.max"),
    "cpus": ("cpuset/cpuset.cpus", "cpuset.cpus.effective"),
    "pids": ("pids/pids.max", "pids.max"),
}
#: The kernel rounds memory to pages.
PAGE = 4096


def in_force(lab: Lab, uuid: str, what: str) -> str:
    # An engine under load can lose the output of a command that ends at once.
    found = next(filter(None, (inside(lab, uuid, f"cat /sys/fs/cgroup/{FILES[what][UNIFIED]}") for _attempt in range(5))))
    return found.split()[0]


def memory(lab: Lab, uuid: str) -> int:
    return int(in_force(lab, uuid, "memory"))


def swap(lab: Lab, uuid: str) -> int:
    found = int(in_force(lab, uuid, "sum"))
    return found if UNIFIED else found - memory(lab, uuid)


def limit(controller: Controller, server: object, **options: object) -> dict[str, Any]:
    return controller.run_module("server_limits", **controller.options(server=server, **options))


def run_of(lab: Lab, uuid: str) -> tuple[str, str]:
    found = lab.container(uuid)
    assert found is not None and found["State"]["Running"]
    return found["Id"], found["State"]["StartedAt"]


def near(size: int) -> Any:
    return pytest.approx(size, abs=PAGE)


def test_limits_apply_at_once_and_the_process_continues(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(build={"memory_limit": 100, "swap": 10, "cpu_limit": 150})
    run = run_of(lab, uuid)
    lab.edit(uuid, build={"memory_limit": 300, "swap": 40, "cpu_limit": 50, "threads": "0"})
    lab.write_settings(docker={"container_pid_limit": 77})
    foreseen = limit(controller, uuid, _ansible_check_mode=True, _ansible_diff=True)
    assert memory(lab, uuid) == near(115 * MB)
    result = limit(controller, uuid, _ansible_diff=True)
    (entry,) = result["servers"]
    assert (entry["outcome"], entry["changed"], result["changed"]) == ("done", True, True)
    assert entry["limits"] == foreseen["servers"][0]["limits"]
    assert {change["key"]: (change["before"], change["after"]) for change in entry["limits"]} == {
        "build.memory_limit": (100, 300),
        "build.swap": (10, 40),
        "build.cpu_limit": (150, 50),
        "build.threads": ("", "0"),
        "docker.container_pid_limit": (512, 77),
    }
    assert "build.memory_limit: 100\n" in result["diff"][1]["before"] and "build.memory_limit: 300\n" in result["diff"][1]["after"]
    assert memory(lab, uuid) == near(345 * MB) and swap(lab, uuid) == near(40 * MB)
    assert [in_force(lab, uuid, what) for what in ("quota", "cpus", "pids")] == ["50000", "0", "77"]
    assert run_of(lab, uuid) == run
    again = limit(controller, uuid)
    assert (again["servers"][0]["outcome"], again["changed"]) == ("unchanged", False)
    seen = look_at(controller, uuid, operations=1)
    assert seen["outdated"]["is_outdated"] is False and seen["outdated"]["next_start"] == ["environment.SERVER_MEMORY"]
    assert seen["operations"][0]["action"] == "limit"


def test_a_memory_limit_below_the_use_is_refused_and_kills_no_process(lab: Lab, controller: Controller) -> None:
    uuid = lab.up(build={"memory_limit": 300})
    inside(lab, uuid, "dd if=/dev/zero of=/tmp/use bs=1M count=60")
    run = run_of(lab, uuid)
    lab.edit(uuid, build={"memory_limit": 40, "cpu_limit": 50})
    for options in ({"_ansible_check_mode": True}, {}):
        (entry,) = limit(controller, uuid, **options)["servers"]
        assert (entry["outcome"], entry["code"], entry["changed"]) == ("refused", "limit_below_use", False)
    assert memory(lab, uuid) == near(345 * MB) and run_of(lab, uuid) == run
    inside(lab, uuid, "rm /tmp/use")
    assert limit(controller, uuid)["servers"][0]["outcome"] == "done"
    assert memory(lab, uuid) == near(46 * MB)


@pytest.mark.skipif(UNIFIED, reason="with control groups of version 2 the kernel ends processes instead of refusing")
@pytest.mark.parametrize("new_swap", [400, -1])
def test_a_change_that_the_kernel_refuses_halfway_keeps_the_old_limits(lab: Lab, monkeypatch: pytest.MonkeyPatch, new_swap: int) -> None:
    """The kernel has then set the sum of memory and swap, and the engine reports the old one."""
    uuid = lab.up(build={"memory_limit": 200, "swap": 0})
    inside(lab, uuid, "dd if=/dev/zero of=/tmp/use bs=1M count=60")
    lab.edit(uuid, build={"memory_limit": 40, "swap": new_swap, "cpu_limit": 50})
    # The check sees no use, as if the use had grown after it.
    monkeypatch.setattr(DockerEngine, "use", lambda _engine, _name: None)
    result = perform(lab.request("limit", uuid), lab.node())
    assert (result.outcome.value, result.code, result.changed) == ("refused", "limit_below_use", False), result
    assert "the old limits are in force again" in result.msg
    assert memory(lab, uuid) == near(230 * MB) and swap(lab, uuid) == near(0) and in_force(lab, uuid, "quota") == "-1"
    found = lab.container(uuid)
    assert found is not None and found["HostConfig"]["MemorySwap"] == 230 * MB


@pytest.fixture(name="stranger")
def strange_registry() -> Iterator[Registry]:
    with registry() as found:
        yield found


#: Clears the screen, forges our log lines, and is very long.
HOSTILE = "\x1b[2J\x1b]0;title\x07\r\n0f4c5ad2: started\u2028Nov 27 host fleet-power: ok\x9b31m" + "x" * 5000


def trust(lab: Lab, *names: str) -> None:
    """Configure credentials for these registries; the user is the registry's name."""
    lab.write_settings(docker={"registries": {name: {"username": name, "password": "hunter22"} for name in names}})


def test_credentials_do_not_reach_a_registry_with_only_the_same_first_characters(lab: Lab, stranger: Registry) -> None:
    trust(lab, stranger.address[:-1])
    result = lab.power("start", lab.server(image=f"{stranger.address}/team/game:1"))
    assert ended(result) == ("refused", "image_unavailable")
    assert stranger.asked
    assert stranger.given == []


def test_an_error_of_a_registry_is_one_line_without_control_characters(lab: Lab, stranger: Registry) -> None:
    stranger.says = HOSTILE
    trust(lab, stranger.address)
    image = f"{stranger.address}/team/game:1"
    result = lab.power("start", lab.server(image=image))
    assert ended(result) == ("refused", "image_unavailable")
    assert set(stranger.given) == {f"{stranger.address}:hunter22"}
    assert result.msg.isprintable()
    assert len(result.msg) < 1200
    assert result.msg.count("Cannot pull image") == 1
    assert result.msg.startswith(f"Cannot pull image {image}: the registry has no such image, or refuses it without other credentials; ")
    # Containerd's image store reports only the status.
    assert ("403 Forbidden" if lab.client.info()["Driver"] == "overlayfs" else "0f4c5ad2: started") in result.msg, (
        "the printable text stays"
    )


def test_a_pull_without_a_free_thread_is_refused_while_the_server_is_up(
    lab: Lab, stranger: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = lab.server()
    assert ended(lab.power("start", uuid)) == ("done", "")
    lab.edit(uuid, container={"image": f"{stranger.address}/team/game:1"})

    with monkeypatch.context() as patch:
        few_threads(patch)
        result = lab.power("restart", uuid)
    assert (*ended(result), result.changed) == ("refused", "image_unavailable", False)
    assert "no thread can be started for it; this machine is at a limit" in result.msg
    assert (stranger.asked, lab.is_up(uuid)) == ([], True)
