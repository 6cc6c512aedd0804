# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""server_limits on a real engine: what is in force is read from the control groups, and the process goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.limits import set_limits
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine

from .controller import Controller
from .lab import Lab
from .test_container import inside
from .test_info import look_at

MB = 1_000_000
#: Whether this machine's control groups are those of version 2.
UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()
#: Where a container sees its own limits, in version 1 and 2.
FILES = {
    "memory": ("memory/memory.limit_in_bytes", "memory.max"),
    "sum": ("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
    "quota": ("cpu/cpu.cfs_quota_us", "cpu.max"),
    "cpus": ("cpuset/cpuset.cpus", "cpuset.cpus.effective"),
    "pids": ("pids/pids.max", "pids.max"),
}
#: What the kernel rounds to.
PAGE = 4096


def in_force(lab: Lab, uuid: str, what: str) -> str:
    """What the container's own control group says."""
    return inside(lab, uuid, f"cat /sys/fs/cgroup/{FILES[what][UNIFIED]}").split()[0]


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


def test_limits_are_in_force_at_once_and_the_process_goes_on(lab: Lab, controller: Controller) -> None:
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
    told = look_at(controller, uuid, operations=1)
    assert told["outdated"]["is_outdated"] is False and told["outdated"]["next_start"] == ["environment.SERVER_MEMORY"]
    assert told["operations"][0]["action"] == "limit"


def test_memory_below_what_is_in_use_is_refused_and_nothing_is_killed(lab: Lab, controller: Controller) -> None:
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


@pytest.mark.skipif(UNIFIED, reason="a kernel with control groups of version 2 ends processes instead of refusing")
@pytest.mark.parametrize("new_swap", [400, -1])
def test_what_the_kernel_refuses_in_the_middle_leaves_the_old_limits(lab: Lab, monkeypatch: pytest.MonkeyPatch, new_swap: int) -> None:
    """It has set the sum of memory and swap by then, and the engine tells the old one. Unlimited swap is left to a restart."""
    uuid = lab.up(build={"memory_limit": 200, "swap": 0})
    inside(lab, uuid, "dd if=/dev/zero of=/tmp/use bs=1M count=60")
    lab.edit(uuid, build={"memory_limit": 40, "swap": new_swap, "cpu_limit": 50})
    # As if the use had grown since it was looked at.
    monkeypatch.setattr(DockerEngine, "use", lambda _engine, _name: None)
    result = set_limits(lab.request("limit", uuid), lab.node())
    assert (result.outcome.value, result.code, result.changed) == ("refused", "limit_below_use", False), result
    assert "the old limits are in force again" in result.msg
    assert memory(lab, uuid) == near(230 * MB) and swap(lab, uuid) == near(0) and in_force(lab, uuid, "quota") == "-1"
    found = lab.container(uuid)
    assert found is not None and found["HostConfig"]["MemorySwap"] == 230 * MB
