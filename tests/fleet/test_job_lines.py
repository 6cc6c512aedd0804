# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job reports its progress, also with sudo and under logind, and its result equals that of a silent task."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence

import pytest

from .jobs import UNFOLLOWED, Definition, Watch, lasting, only_result, play, power, progress_in
from .lab import Going, Node, adhoc_begun, bring_up, inventory, lab_inventory, playbook_begun, server, uuid_of
from .people import PASSWORD, PERSON, person

Begin = Callable[..., Going]


def restart_adhoc(
    where: Sequence[Node], servers: Sequence[Definition], *, surroundings: dict[str, str] | None = None, **variables: object
) -> Going:
    options = {"action": "restart", "server": [uuid_of(each) for each in servers], "wait_for": "running"}
    return adhoc_begun(inventory(where, **variables), "server_power", options, surroundings=surroundings)


def restart_in_a_play(
    where: Sequence[Node], servers: Sequence[Definition], *, surroundings: dict[str, str] | None = None, **variables: object
) -> Going:
    return playbook_begun(play(power("restart", servers, wait_for="running")), inventory(where, **variables), surroundings=surroundings)


@pytest.mark.long
@pytest.mark.parametrize("begin", [restart_adhoc, restart_in_a_play], ids=["adhoc", "play"])
@pytest.mark.parametrize(
    "variables",
    [
        {"ansible_pipelining": True},
        {"ansible_pipelining": False, "ansible_become": True, "ansible_become_method": "sudo"},
    ],
    ids=["pipelined", "copied_sudo"],
)
def test_a_job_reports_progress_and_returns_the_result_of_a_silent_task(node: Node, begin: Begin, variables: dict[str, object]) -> None:
    servers = [server("quick"), server("slow", STOP_SECONDS=4), server("slower", STOP_SECONDS=6)]
    bring_up({node: servers})
    watch = Watch(begin([node], servers, **variables))
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    ended = watch.ends("restart done")
    assert sorted(ended) == ["quick", "slow", "slower"]
    # Each line comes at the server's end, before the end of the slowest server.
    assert ended["slow"] - ended["quick"] > 2
    assert ended["slower"] - ended["slow"] > 1
    assert ran.seconds - ended["quick"] > 3
    plain = begin([node], servers, surroundings=UNFOLLOWED, **variables).finish()
    assert (plain.rc, progress_in(plain.output)) == (0, [])
    assert lasting(only_result(ran)) == lasting(only_result(plain))


#: How Ansible transfers a module to a node.
PIPELINED, COPIED = {"ansible_pipelining": True}, {"ansible_pipelining": False}
_APT = "DEBIAN_FRONTEND=noninteractive apt-get -qy"
BY_SUDO = {"ansible_become": True, "ansible_become_method": "sudo"}


def two() -> list[Definition]:
    return [server("quick"), server("slow", STOP_SECONDS=5)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("way", "sudoers"),
    [(PIPELINED, "Defaults:ops timestamp_timeout=0"), (COPIED, "Defaults:ops requiretty")],
    ids=["each_time", "requiretty"],
)
def test_a_job_reports_progress_with_sudo_and_a_password(node: Node, way: dict[str, object], sudoers: str) -> None:
    servers = two()
    bring_up({node: servers})
    with person(node, sudo=f"{PERSON} ALL=(ALL:ALL) ALL\n{sudoers}") as how:
        where = inventory([node], **how, **way, **BY_SUDO, ansible_become_password=PASSWORD)
        options = {"action": "restart", "server": [uuid_of(each) for each in servers], "wait_for": "running"}
        watch = Watch(adhoc_begun(where, "server_power", options))
        ran = watch.finish()
        assert ran.rc == 0, ran.output
        assert ran.seconds - watch.ends("restart done")["quick"] > 1.5
        silent = adhoc_begun(where, "server_power", options, surroundings=UNFOLLOWED).finish()
    assert silent.rc == 0, silent.output
    assert lasting(only_result(ran)) == lasting(only_result(silent))
    assert PASSWORD not in ran.output


def is_left(node: Node) -> bool:
    """Tell whether a process outlives the SSH session that started it, in a session of its own."""
    connection, _unused = lab_inventory("nodes")
    words = [
        "ssh",
        "-i",
        connection["ansible_ssh_private_key_file"],
        *shlex.split(connection["ansible_ssh_args"]),
        "-o",
        "ControlPath=none",
    ]
    subprocess.run([*words, f"{PERSON}@{node.address}", "setsid sleep 4242 </dev/null >/dev/null 2>&1 & sleep 0.5"], check=True)
    time.sleep(1)
    return bool(node.ssh("pgrep -f '^sleep 4242' || true"))


@pytest.mark.long
@pytest.mark.parametrize("kept", ["60s", "no"], ids=["a_connection_kept", "one_each_time"])
def test_a_job_returns_the_result_of_a_silent_task_where_logind_kills_left_processes(node: Node, kept: str) -> None:
    node.needs_network()
    node.ssh(f"apt-get -q update >/dev/null && {_APT} install --no-install-recommends libpam-systemd >/dev/null")
    servers = two()
    bring_up({node: servers})
    node.write("/etc/systemd/logind.conf.d/test.conf", "[Login]\nKillUserProcesses=yes\n")
    try:
        node.ssh("systemctl restart systemd-logind")
        with person(node, sudo=f"{PERSON} ALL=(ALL:ALL) NOPASSWD: ALL") as how:
            where = inventory([node], **how, **PIPELINED, **BY_SUDO)
            if kept == "no":
                written = json.loads(where.read_text())
                words = written["all"]["vars"]["ansible_ssh_args"].replace("ControlMaster=auto", "ControlMaster=no")
                written["all"]["vars"]["ansible_ssh_args"] = words
                where.write_text(json.dumps(written))
            # logind kills the processes of an ended session.
            assert not is_left(node)
            options = {"action": "restart", "server": "all", "wait_for": "running"}
            ran = Watch(adhoc_begun(where, "server_power", options)).finish()
            assert progress_in(ran.output) != []
            silent = adhoc_begun(where, "server_power", options, surroundings=UNFOLLOWED).finish()
            assert silent.rc == 0, silent.output
            assert ran.rc == 0, ran.output
            assert lasting(only_result(ran)) == lasting(only_result(silent))
    finally:
        node.ssh(f"rm -f /etc/systemd/logind.conf.d/test.conf; systemctl restart systemd-logind; {_APT} purge libpam-systemd >/dev/null")
