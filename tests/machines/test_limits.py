# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits as the kernel has them, and the end of processes without memory, with control groups of version 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.fleet.lab import adhoc, bring_up, server, uuid_of, wait_until
from ansible_collections.fleet.power.tests.fleet.supervised import BACK_SECONDS, act, crash, facts, is_back, verdicts

from .machine import Machine

LIMITS = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
MEMORY = 32
#: Takes much more memory than a server of the tests has.
GREEDY = "dd if=/dev/zero of=/dev/null bs=200M count=1"

pytestmark = pytest.mark.long


def group_of(machine: Machine, definition: Mapping[str, Any]) -> str:
    """Return the path of a running server's control group."""
    found = machine.container(uuid_of(definition))
    assert found is not None
    return "/sys/fs/cgroup" + machine.ssh(f"cat /proc/{found['State']['Pid']}/cgroup").strip().removeprefix("0::")


def limits(machine: Machine, definition: Mapping[str, Any]) -> dict[str, str]:
    """Return the limits of a running server from the kernel."""
    group = group_of(machine, definition)
    return dict(zip(LIMITS, machine.ssh(f"cd {group} && cat {' '.join(LIMITS)}").splitlines()))


def limited(name: str) -> dict[str, Any]:
    definition = server(name)
    definition["settings"]["build"] = {"memory_limit": MEMORY}
    return definition


def ask_for_memory(machine: Machine, definition: Mapping[str, Any]) -> None:
    """Let a child of the server's process take too much memory."""
    machine.ssh(f"docker exec {uuid_of(definition)} {GREEDY}", check=False)


def test_the_kernel_has_the_limits_and_their_changes_in_place(machine: Machine) -> None:
    game = server("game")
    machine.write("/etc/fleet-power/config.yml", "docker: {container_pid_limit: 100}\n")
    game["settings"]["build"] = {"memory_limit": 100, "swap": 0, "cpu_limit": 50}
    bring_up({machine: [game]})
    before = machine.container(uuid_of(game))
    assert limits(machine, game) == {"memory.max": "114999296", "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "100"}

    machine.write("/etc/fleet-power/config.yml", "docker: {container_pid_limit: 200}\n")
    game["settings"]["build"] = {"memory_limit": 200, "swap": 64, "cpu_limit": 0}
    machine.define(game)
    result = adhoc([machine], "server_limits", {"server": [uuid_of(game)]})[machine.name]["servers"][0]

    assert (result["outcome"], result.get("restart", [])) == ("done", []), str(result)
    assert limits(machine, game) == {"memory.max": "229998592", "memory.swap.max": "64000000", "cpu.max": "max 100000", "pids.max": "200"}
    after = machine.container(uuid_of(game))
    assert before is not None and after is not None
    assert [after[key] for key in ("Id", "RestartCount")] == [before[key] for key in ("Id", "RestartCount")]
    assert after["State"]["StartedAt"] == before["State"]["StartedAt"]


def test_the_end_of_a_child_without_memory_is_no_end_of_the_server(ready: Machine) -> None:
    game = limited("game")
    ready.define(game)
    act(ready, "start")
    before = ready.started_at(uuid_of(game))

    ask_for_memory(ready, game)
    assert "oom_kill 1" in ready.read(f"{group_of(ready, game)}/memory.events")
    assert (ready.is_up(uuid_of(game)), ready.started_at(uuid_of(game))) == (True, before)
    ready.ssh(f"docker stop {uuid_of(game)}")

    wait_until(lambda: verdicts(ready, game) == [["stopped_externally"]], "the verdict on the stop", BACK_SECONDS)
    assert [row["oom_killed"] for row in facts(ready, game)[0]["crashes"]] == [False]
    act(ready, "start")
    since = ready.started_at(uuid_of(game))
    ask_for_memory(ready, game)
    crash(ready, game)
    wait_until(lambda: is_back(ready, game, since), "the server was started again", BACK_SECONDS)
    assert verdicts(ready, game) == [["stopped_externally", "crashed"]]


@pytest.mark.parametrize("group", [False, True], ids=["the process", "the whole group"])
def test_a_server_without_memory_has_crashed_and_is_started_again(ready: Machine, group: bool) -> None:
    game = limited("game")
    ready.define(game)
    act(ready, "start")
    found, before = ready.container(uuid_of(game)), ready.started_at(uuid_of(game))
    assert found is not None
    if group:
        ready.ssh(f"echo 1 >{group_of(ready, game)}/memory.oom.group")
        ask_for_memory(ready, game)
    else:
        # The kernel may end only the server's process.
        ready.ssh(f"docker exec --detach {uuid_of(game)} sh -c 'sleep 3; exec {GREEDY}'")
        others = f"grep -vx {found['State']['Pid']} {group_of(ready, game)}/cgroup.procs"
        ready.ssh(f"for pid in $({others}); do echo -1000 >/proc/$pid/oom_score_adj; done")

    wait_until(lambda: is_back(ready, game, before), "the server was started again", BACK_SECONDS)
    (row,) = facts(ready, game)[0]["crashes"]
    assert (row["verdict"], row["exit_code"]) == ("crashed", 137)
    # Docker 20.10 does not always see that the kernel ended a container's first process.
    assert row["oom_killed"] or (not group and ready.ssh("docker version --format '{{.Server.Version}}'").startswith("20."))
