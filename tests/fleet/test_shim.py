# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role shim on real nodes, also behind real firewalls."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from .firewalls import StandIns
from .lab import Lease, Node, nodes_command, playbook, playbook_begun, server, uuid_of, wait_until
from .ran import changes, made, refusal
from .shim import CORES, SERVICE, TOKEN, UNIT, accepted, ask, begun, core_of, cores, done, end_of, installed, pid_of, shown


@pytest.fixture
def stand_ins(node: Node) -> Iterator[StandIns]:
    made = StandIns(node)
    yield made
    made.remove()


#: Properties of a hardened service.
HARDENED = {
    "MemoryMax": str(2**30),
    "User": SERVICE,
    "Type": "notify",
    "NotifyAccess": "main",
    "WatchdogUSec": "30s",
    "UnitFileState": "enabled",
    "ExecMainStatus": "0",
    "NoNewPrivileges": "yes",
    "PrivateTmp": "yes",
    "ProtectSystem": "strict",
    # Locks, journal and data: they outlive the service, and it sees the processes of other lock holders.
    "ReadWritePaths": "/run/fleet-power /var/lib/fleet-power /var/lib/fleet-power/volumes",
    "RuntimeDirectory": "",
    "ProtectProc": "default",
}
FIREWALL = {"shim_firewall": "ufw", "shim_firewall_sources": ["192.0.2.77/24", "2001:DB8::1"]}


def lobby_with_all() -> dict[str, Any]:
    """Return a server with a small disk, and with a file that its pre-boot edits."""
    lobby = server("lobby")
    lobby["settings"]["build"] = {"disk_space": 100}
    replace = [{"match": "motd", "replace_with": "hello"}]
    lobby["process_configuration"]["configs"] = [{"file": "conf/server.properties", "parser": "properties", "replace": replace}]
    return lobby


def boots_with_all_its_steps(node: Node, lobby: dict[str, Any]) -> None:
    """Boot that server with the HTTP shim, and check its data."""
    data = f"/var/lib/fleet-power/volumes/{uuid_of(lobby)}"
    owners = f"stat -c '%u:%g' {data} {data}/conf {data}/conf/server.properties {data}/foreign 2>/dev/null"

    done(node, lobby, "start")
    assert node.ssh(owners, check=False).split() == ["988:988"] * 3
    assert node.ssh(f"cat {data}/conf/server.properties") == "motd=hello\n"
    # The pre-boot gives foreign files to the owner, and edits the owner's private files with their mode unchanged.
    node.ssh(f"touch {data}/foreign; printf '#mine\\nmotd=bye\\n' >{data}/conf/server.properties; chmod 600 {data}/conf/server.properties")
    done(node, lobby, "restart")
    assert node.ssh(owners).split() == ["988:988"] * 4
    assert node.ssh(f"cat {data}/conf/server.properties; stat -c %a {data}/conf/server.properties") == "#mine\nmotd=hello\n600\n"
    # The pre-boot measures a directory that only its owner may read.
    node.ssh(f"mkdir -m 700 {data}/world; head -c 101M /dev/zero >{data}/world/big; chown -R 988:988 {data}")
    ended = end_of(node, accepted(node, lobby, "restart"))
    assert (ended["outcome"], ended["code"]) == ("refused", "disk_full") and node.is_up(uuid_of(lobby)), ended
    done(node, lobby, "stop")
    assert not node.is_up(uuid_of(lobby))


def test_the_shim_runs_without_root_behind_a_firewall(node: Node, stand_ins: StandIns) -> None:
    stand_ins.keep("ufw", f"22/tcp comment '{SERVICE}'s'", f"from 203.0.113.9 to any port 8080 proto tcp comment '{SERVICE}'")
    lobby = lobby_with_all()
    first = installed(node, lobby, arguments=["-vvv", "--diff"], **FIREWALL)
    assert "hunter2" not in first.output
    assert ask(node, "/healthz", token="")[::2] == (200, {"status": "ok"})
    assert [ask(node, "/api/servers", token=each)[0] for each in (TOKEN, "another")] == [200, 403]

    assert shown(node, *HARDENED) == HARDENED
    assert set(node.ssh(f"id -nG {SERVICE}").split()) == {SERVICE, "fleet-power", "docker"}
    assert node.ssh("stat -c '%U %G %a' /etc/fleet-power/config.yml") == "root fleet-power 640\n"
    status = node.ssh(f"cat /proc/{pid_of(node)}/status")
    assert "\nUid:\t0" not in status and "CapEff:\t000000000000000b\n" in status, status
    # The role writes networks in their normal form, and keeps rules of others.
    assert stand_ins.rules("ufw") == [
        f"22/tcp comment '{SERVICE}'s'",
        *(f"from {source} to any port 8080 proto tcp comment '{SERVICE}'" for source in ("192.0.2.0/24", "2001:db8::1")),
    ]

    boots_with_all_its_steps(node, lobby)
    pid = pid_of(node)
    node.ssh(f"systemctl reload {SERVICE}")
    wait_until(lambda: "settings_reloaded" in node.ssh(f"journalctl --unit {SERVICE}"), "the settings were reloaded")
    assert pid_of(node) == pid


@pytest.mark.long
def test_a_second_run_changes_nothing(node: Node, stand_ins: StandIns) -> None:
    stand_ins.keep("ufw")
    lobby = lobby_with_all()
    installed(node, lobby, **FIREWALL)
    pid = pid_of(node)
    # Of role node, too.
    assert changes(installed(node, lobby, **FIREWALL)) == []
    assert pid_of(node) == pid


def test_the_role_refuses_a_machine_that_is_no_node_and_names_the_role_to_use(node: Node) -> None:
    if not node.ssh("dpkg-query --show python3-aiohttp 2>/dev/null", check=False):
        pytest.skip("the nodes' base lacks python3-aiohttp")
    assert "role fleet.power.node first" in refusal(playbook("shim", [node]))


@pytest.mark.long
def test_an_upgrade_loses_no_accepted_action(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=8)
    installed(node, slow)
    done(node, slow, "start")
    # As after an install of another core.
    new = core_of(node)
    old = f"{CORES}/core-of-before"
    node.ssh(f"cp -r {new} {old}; touch -d '1 hour ago' {old}")
    node.ssh(f"sed -i 's#{new}#{old}#' {UNIT}; systemctl daemon-reload; systemctl restart {SERVICE}")
    pid = pid_of(node)

    run = playbook_begun("shim", [node])
    wait_until(lambda: "Write the unit" in run.stdout, "the upgrade has reached the unit", 120)
    going = accepted(node, slow, "restart")
    begun(node, going)
    waiting = [accepted(node, slow, action) for action in ("stop", "start")]
    ran = made(run.finish())
    assert {"Write the unit", "Have it restarted", "Remove node cores that nothing uses any more"} <= set(changes(ran))
    assert pid_of(node) != pid
    assert cores(node) == [new]
    assert [end_of(node, each)["outcome"] for each in (going, *waiting)] == ["done"] * 3
    assert node.is_up(uuid_of(slow))
    assert '"actions": 2' in node.ssh(f"journalctl --unit {SERVICE} --output cat --grep resumed | tail -n 1")


@pytest.mark.long
def test_the_shim_restarts_after_a_kill_or_hang_and_does_its_waiting_actions(node: Node) -> None:
    slow, other = server("slow", STOP_SECONDS=4), server("other", STOP_SECONDS=4)
    installed(node, slow, other, shim_watchdog=4)
    for each in (slow, other):
        done(node, each, "start")
    going = [accepted(node, each, "stop") for each in (slow, other)]
    for each in going:
        begun(node, each)
    waiting = [accepted(node, slow, "start"), accepted(node, other, "restart")]
    pid = pid_of(node)
    node.ssh(f"systemctl kill --signal=KILL {SERVICE}")
    wait_until(lambda: pid_of(node) not in (0, pid), "the shim was started again")

    assert {(end_of(node, each)["outcome"], end_of(node, each)["code"]) for each in going} == {("failed", "interrupted")}
    assert [end_of(node, each)["outcome"] for each in waiting] == ["done"] * 2
    assert node.is_up(uuid_of(slow)) and node.is_up(uuid_of(other))

    pid = pid_of(node)
    node.ssh(f"kill -STOP {pid}")
    wait_until(lambda: pid_of(node) not in (0, pid), "the shim was started again")
    assert "Watchdog timeout" in node.ssh(f"journalctl --unit {SERVICE}")


@pytest.mark.long
def test_the_shim_does_its_accepted_actions_after_a_power_cut(node: Node) -> None:
    slow = server("slow", STOP_SECONDS=20)
    installed(node, slow, node_restore_on_boot=False)
    done(node, slow, "start")
    going = accepted(node, slow, "stop")
    begun(node, going)
    waiting = accepted(node, slow, "start")
    node.faults.halt()
    node.faults.boot()
    assert end_of(node, going)["code"] == "interrupted"
    assert end_of(node, waiting)["outcome"] == "done" and node.is_up(uuid_of(slow))
    assert node.ssh("stat -c '%U %G %a' /run/fleet-power") == "root fleet-power 2770\n"


@pytest.fixture
def online(lease: Lease) -> Iterator[Node]:
    """A node with network, on which a test may install packages. It is renewed afterwards."""
    (node,) = lease(1)
    node.needs_network()
    yield node
    nodes_command("renew", node.name)


@pytest.mark.long
def test_the_shim_runs_in_a_virtual_environment_and_a_second_run_changes_nothing(online: Node) -> None:
    asked = {"shim_python": "virtualenv"}
    assert "Install the libraries into the virtual environment" in changes(installed(online, **asked))
    assert ask(online, "/healthz", token="")[0] == 200
    assert online.ssh(f"tr '\\0' ' ' </proc/{pid_of(online)}/cmdline").startswith(f"{CORES}/venv/bin/python -B -m ")
    pid = pid_of(online)
    assert changes(made(playbook("shim", [online], **asked))) == []
    assert pid_of(online) == pid


@pytest.mark.long
@pytest.mark.parametrize("firewall", ["ufw", "firewalld"])
def test_a_real_firewall_admits_exactly_the_configured_sources(online: Node, firewall: str) -> None:
    online.ssh(f"apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes {firewall}")
    if firewall == "ufw":
        online.ssh("ufw allow 22/tcp && ufw --force enable")
    here = f"{online.address.rpartition('.')[0]}.1"
    asked: dict[str, Any] = {"shim_firewall": firewall, "shim_firewall_sources": ["198.51.100.0/24", "2001:DB8::7", here]}
    installed(online, **asked)
    assert is_let_in(online)
    assert changes(made(playbook("shim", [online], **asked))) == []

    asked["shim_firewall_sources"] = ["198.51.100.0/24", "2001:db8::/32"]
    ran = made(playbook("shim", [online], **asked))
    assert {each.partition(" ")[0] for each in changes(ran)} == {"Add", "Remove"}
    assert not is_let_in(online)
    assert changes(made(playbook("shim", [online], **asked))) == []
    if firewall == "firewalld":
        online.ssh("firewall-cmd --reload")
        assert changes(made(playbook("shim", [online], **asked))) == []


def is_let_in(node: Node) -> bool:
    try:
        socket.create_connection((node.address, 8080), 3).close()
    except OSError:
        return False
    return True
