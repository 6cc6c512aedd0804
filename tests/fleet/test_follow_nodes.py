# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task speaks whoever logs in and however: terminals, sudo with its conditions, logind; where it cannot, it is as it was without."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from .followed import UNFOLLOWED, Definition, Watch, lasting, only_result, progress_in, told
from .lab import Node, adhoc_begun, bring_up, inventory, lab_inventory, server, uuid_of
from .people import PASSWORD, PERSON, person
from .ran import Ran
from .rollout import operations
from .terminal import Terminal

#: How a task is taken to a node.
PIPELINED, COPIED = {"ansible_pipelining": True}, {"ansible_pipelining": False}
_APT = "DEBIAN_FRONTEND=noninteractive apt-get -qy"
BY_SUDO = {"ansible_become": True, "ansible_become_method": "sudo"}


def two() -> list[Definition]:
    return [server("quick"), server("slow", STOP_SECONDS=5)]


def speaks(where: Path, servers: Sequence[Definition], action: str = "restart") -> Ran:
    """Act on servers, which must end well; lines must have come while they did, and the result be the one without."""
    options = {"action": action, "server": [uuid_of(each) for each in servers], "wait_for": "running"}
    watch = Watch(adhoc_begun(where, "server_power", options))
    ran = watch.finish()
    assert ran.rc == 0, ran.output
    assert ran.seconds - watch.ends(f"{action} done")["quick"] > 1.5
    if action == "restart":
        silent = adhoc_begun(where, "server_power", options, surroundings=UNFOLLOWED).finish()
        assert silent.rc == 0, silent.output
        assert lasting(only_result(ran)) == lasting(only_result(silent))
    return ran


def is_as_without(where: Path, servers: Sequence[Definition]) -> None:
    """Restart servers, which must end as without progress, and say nothing."""
    options = {"action": "restart", "server": [uuid_of(each) for each in servers], "wait_for": "running"}
    ran, silent = (adhoc_begun(where, "server_power", options, surroundings=how).finish() for how in ({}, UNFOLLOWED))
    assert (ran.rc, progress_in(ran.output)) == (0, []), ran.output
    assert lasting(only_result(ran)) == lasting(only_result(silent))


@pytest.mark.long
def test_a_person_at_a_terminal_sees_lines_as_they_come_and_nothing_that_breaks_them(node: Node) -> None:
    servers = two()
    bring_up({node: servers})
    with Terminal([node], "server_power", {"action": "restart", "server": "all"}) as terminal:
        assert terminal.finish() == 0, terminal.text
    (quick,) = (moment for moment, text in terminal.shown if "quick restart done" in text)
    assert terminal.shown[-1][0] - quick > 1.5
    texts = [text for _host, text in progress_in(terminal.text.replace("\r\n", "\n"))]
    assert told(texts, "restart done") == ["quick", "slow"]


@pytest.mark.long
@pytest.mark.parametrize("become", [{}, BY_SUDO], ids=["root", "sudo"])
def test_a_task_at_a_terminal_of_the_node_speaks(node: Node, become: dict[str, object]) -> None:
    servers = two()
    bring_up({node: servers})
    # ssh gives the far side a terminal, which mixes what is printed there; so it is without pipelining that this works at all.
    speaks(inventory([node], ansible_ssh_extra_args="-tt", **COPIED, **become), servers)


@pytest.mark.long
@pytest.mark.parametrize("way", [PIPELINED, COPIED], ids=["pipelined", "copied"])
@pytest.mark.parametrize(
    "sudoers",
    ["", "Defaults:ops !use_pty", "Defaults:ops requiretty", "Defaults:ops timestamp_timeout=0"],
    ids=["pty", "no_pty", "requiretty", "each_time"],
)
def test_a_task_by_sudo_with_a_password_speaks(node: Node, way: dict[str, object], sudoers: str) -> None:
    if "requiretty" in sudoers and way is PIPELINED:
        pytest.skip("sudo refuses whoever has no terminal, and pipelining has none")
    servers = two()
    bring_up({node: servers})
    with person(node, sudo=f"{PERSON} ALL=(ALL:ALL) ALL\n{sudoers}") as how:
        ran = speaks(inventory([node], **how, **way, **BY_SUDO, ansible_become_password=PASSWORD), servers)
    assert PASSWORD not in ran.output


@pytest.mark.long
def test_a_wrong_password_of_sudo_is_told_as_ever(node: Node) -> None:
    servers = two()
    bring_up({node: servers})
    with person(node, sudo=f"{PERSON} ALL=(ALL:ALL) ALL") as how:
        where = inventory([node], **how, **PIPELINED, **BY_SUDO, ansible_become_password="wrong")
        ran = adhoc_begun(where, "server_power", {"action": "stop", "server": "all"}).finish()
    assert ran.rc != 0
    assert "password" in only_result(ran)["msg"].lower(), ran.output
    assert [operations(node, each, "stop") for each in servers] == [[], []]


@pytest.mark.long
@pytest.mark.parametrize("way", [PIPELINED, COPIED], ids=["pipelined", "copied"])
def test_a_user_of_docker_without_sudo_hears_too(node: Node, way: dict[str, object]) -> None:
    servers = two()
    # What role node makes of a node.
    with person(node, groups=("docker", "fleet-power")) as how:
        for directory in ("/run/fleet-power", "/var/lib/fleet-power", "/etc/fleet-power"):
            node.ssh(f"install -d -o root -g fleet-power -m 2770 {directory}")
        node.ssh("install -d -o root -g fleet-power -m 2750 /etc/fleet-power/servers")
        bring_up({node: servers})
        node.ssh("chgrp -R fleet-power /etc/fleet-power /run/fleet-power /var/lib/fleet-power/journal*; chmod -R g+rX /etc/fleet-power")
        # A boot works on data that belong to others.
        speaks(inventory([node], **how, **way), servers, "stop")
        bring_up({node: servers})
        # Each has jobs of his own.
        speaks(inventory([node], **way), servers, "stop")


@pytest.mark.long
@pytest.mark.parametrize(
    "spoil",
    [
        "rm -rf {jobs}; touch {jobs}",
        "rm -rf {jobs}; mkdir -m 777 {jobs}; chmod 777 {jobs}",
        "rm -rf {jobs}; install -d -o nobody -m 700 {jobs}",
        "rm -rf {jobs}; install -d -m 700 /root/elsewhere; ln -s /root/elsewhere {jobs}",
    ],
    ids=["a_file", "open_to_all", "of_somebody_else", "a_link"],
)
def test_where_a_job_has_no_place_for_its_files_the_task_is_as_it_was(node: Node, spoil: str) -> None:
    servers = two()
    bring_up({node: servers})
    jobs = "/run/fleet-power-jobs"
    node.ssh(spoil.format(jobs=jobs))
    try:
        is_as_without(inventory([node]), servers)
    finally:
        node.ssh(f"rm -rf {jobs} /root/elsewhere")


@pytest.mark.long
@pytest.mark.parametrize("left", [0, 12], ids=["full", "nearly_full"])
def test_where_the_disk_of_the_job_files_is_full_the_result_still_comes(node: Node, left: int) -> None:
    slow = server("slow", STOP_SECONDS=3)
    bring_up({node: [slow]})
    jobs = "/run/fleet-power-jobs"
    node.faults.disk(2, jobs)
    # Room for the files, but not for what they are to hold.
    node.ssh(f"chmod 700 {jobs}; dd if=/dev/zero of={jobs}/full bs=1k 2>/dev/null; truncate -s -{left}k {jobs}/full; sync")
    names = [uuid_of(slow), *(f"nobody-{number}" for number in range(200))]
    options = {"action": "stop", "server": names, "max_parallel": 20}
    ran = adhoc_begun([node], "server_power", options).finish()
    result = only_result(ran)
    assert len(result.get("servers", ())) == len(names), ran.output[:2000]
    assert not node.is_up(uuid_of(slow))
    assert node.ssh(f"ls {jobs} | grep -v -e full -e lost+found || true") == ""


def is_left(node: Node) -> bool:
    """Tell whether what a person leaves running at a node, away from the session's own process group, outlives the session."""
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
def test_where_logind_ends_what_a_session_leaves_a_task_ends_as_without(node: Node, kept: str) -> None:
    node.needs_a_way_out()
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
            # It does what it says.
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
