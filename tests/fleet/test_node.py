# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role node on real nodes, and the start of servers after a boot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.integration.event_sending import EventReceiver

from .lab import Lease, Node, adhoc, inventory, playbook, restored, server, uuid_of, wait_until
from .ran import changes, made, refusal
from .shim import core_of, cores, pid_of
from .supervised import BACK_SECONDS, EVENTS, RESTORE, SECRET, SHORT, SUPERVISOR, act, crash, is_back, units

SETTINGS = {
    "system": {"stop_timeout": 30},
    "docker": {"registries": {"registry.example.test": {"username": "puller", "password": "hunter2-password"}}},
}
#: With an engine elsewhere, the role checks and installs no engine.
ENGINE_ELSEWHERE = {"docker": {"host": "tcp://127.0.0.1:9"}}
#: Path, owner, group, mode.
MADE = """\
/etc/fleet-power root fleet-power 750
/etc/fleet-power/config.yml root fleet-power 640
/etc/fleet-power/servers root fleet-power 750
/etc/tmpfiles.d/fleet-power.conf root root 644
/run/fleet-power root fleet-power 2770
/var/lib/fleet-power root fleet-power 2770
/var/lib/fleet-power/volumes root root 711
"""
#: All places that the role writes to, besides packages.
PLACES = "/etc/fleet-power /etc/tmpfiles.d/fleet-power.conf /run/fleet-power /usr/local/lib/fleet-power /var/lib/fleet-power"
UNITS = "/etc/systemd/system/fleet-power-restore.service /etc/systemd/system/fleet-power-supervisor.service"


def definitions_on(node: Node) -> list[str]:
    return node.ssh("ls /etc/fleet-power/servers").split()


def names(*servers: Mapping[str, Any]) -> list[str]:
    return sorted(f"{uuid_of(each)}.json" for each in servers)


@contextmanager
def hostile_modules(node: Node, *names: str) -> Iterator[None]:
    """Modules in the user's home, in which the role's programs run too. Python must not import them."""
    files = " ".join(f"{name}.py" for name in names)
    node.ssh(f"for file in {files}; do echo \"open('/tmp/hostile-$file', 'w')\" > $file; done")
    try:
        yield
        assert node.ssh("ls /tmp/hostile-* 2>/dev/null", check=False) == ""
    finally:
        node.ssh(f"rm -f {files} /tmp/hostile-*")


@pytest.mark.long
def test_a_machine_becomes_a_node_and_a_second_run_changes_nothing(node: Node, tmp_path: Path) -> None:
    lobby, game = server("lobby", NOTE="hunter2-note"), server("game", NOTE="{{NOT_A_TEMPLATE}} ä")
    # The directory's name is a pattern that does not match itself.
    (tmp_path / "servers[1]").mkdir()
    file = tmp_path / "servers[1]" / f"{uuid_of(game)}.yml"
    file.write_text(json.dumps(game, ensure_ascii=False) + "\n\n")
    with closing(EventReceiver()) as received, node.reaching(received.port):
        asked: dict[str, Any] = {
            "node_settings": SETTINGS,
            "node_priorities": {"lobby": 7},
            "node_definitions": [lobby],
            "node_definitions_dir": str(file.parent),
            "node_event_receivers": [{"name": "pager", "url": f"{received.url}/hunter2-hook", "secret": SECRET}],
        }
        with hostile_modules(node, "docker", "requests", "yaml", "grp"):
            first = made(playbook("node", [node], "-vvv", "--diff", **asked))
        assert "hunter2" not in first.output and SECRET not in first.output
        assert node.ssh(f"stat -c '%n %U %G %a' $(echo '{MADE}' | cut -d' ' -f1)") == MADE
        assert node.ssh("id -u pterodactyl; id -g pterodactyl").split() == ["988", "988"]
        assert units(node) == {SUPERVISOR: "enabled active", EVENTS: "enabled active"}
        assert cores(node) == [core_of(node, SUPERVISOR)]
        assert node.ssh(f"cat /etc/fleet-power/servers/{file.name}") == file.read_text()

        pids = [pid_of(node, service) for service in (SUPERVISOR, EVENTS)]
        assert changes(made(playbook("node", [node], **asked))) == []
        assert [pid_of(node, service) for service in (SUPERVISOR, EVENTS)] == pids

        # The quick tag for definitions only. A later run still knows the rest.
        other = server("other")
        node.define(other)
        quick = ("--tags", "node_definitions")
        assert changes(made(playbook("node", [node], *quick, **asked, node_definitions_purge=True))) == ["Write what differs"]
        assert definitions_on(node) == sorted([*names(lobby), file.name])

        power = adhoc([node], "server_power", "server=all action=start wait_for=running")[node.name]
        assert power["summary"]["done"] == 2
        facts = adhoc([node], "server_power_info")[node.name]["servers"]
        assert {each["name"]: each["priority"] for each in facts} == {"lobby": 7, "game": 100}

        _is_restarted_and_reported(node, lobby, received)


def _is_restarted_and_reported(node: Node, lobby: Mapping[str, Any], received: EventReceiver) -> None:
    before = node.started_at(uuid_of(lobby))
    crash(node, lobby)
    wait_until(lambda: is_back(node, lobby, before), "the server was started again", BACK_SECONDS)
    wait_until(lambda: "server.crashed" in [each["type"] for each in received.got], "the receiver got the crash", BACK_SECONDS)
    assert all("webhook-signature" in asked.headers for asked in received.asked)
    assert {each["subject"] for each in received.got if each["type"] == "server.crashed"} == {uuid_of(lobby)}


@pytest.mark.long
def test_without_supervisor_and_receivers_a_crash_has_no_start_and_no_event(node: Node) -> None:
    """Without the start after a boot, no unit remains."""
    lobby = server("lobby")
    with closing(EventReceiver()) as received, node.reaching(received.port):
        receivers = [{"name": "pager", "url": f"{received.url}/hunter2-hook", "secret": SECRET}]
        asked: dict[str, Any] = {**SHORT, "node_definitions": [lobby]}
        made(playbook("node", [node], **asked, node_event_receivers=receivers))
        act(node, "start")
        _is_restarted_and_reported(node, lobby, received)

        made(playbook("node", [node], **asked, node_supervise=False, node_event_receivers=[]))
        assert units(node) == {RESTORE: "enabled inactive"}
        assert len(cores(node)) == 1
        assert node.ssh("ls /etc/fleet-power/receivers") == ""
        counts = "SELECT (SELECT count(*) FROM operations) > 0, (SELECT count(*) FROM outbox_about), (SELECT count(*) FROM receivers)"
        kept = f"sqlite3.connect('/var/lib/fleet-power/journal.sqlite').execute('{counts}').fetchall()"
        assert node.ssh(f'python3 -c "import sqlite3; print({kept})"').strip() == "[(1, 0, 0)]"
        count = len(received.asked)
        crash(node, lobby)

        made(playbook("node", [node], node_python="none", node_check=False, node_restore_on_boot=False))
        assert units(node) == {}
        assert node.ssh(f"ls {UNITS} /etc/systemd/system/multi-user.target.wants/fleet-power-* 2>/dev/null", check=False) == ""
        assert not node.is_up(uuid_of(lobby))
        assert len(received.asked) == count


@pytest.mark.long
def test_check_mode_changes_nothing_on_a_bare_machine_and_names_missing_parts(lease: Lease) -> None:
    node = lease(1, bare=True)[0]
    ran = made(playbook("node", [node], "--check", node_engine_install=True, node_settings=SETTINGS, node_definitions=[server("lobby")]))
    assert {"Name the packages that would be installed", "Make the user", "Have the directories", "Write the settings file"} <= set(
        changes(ran)
    )
    assert node.ssh(f"ls -d {PLACES} {UNITS} 2>/dev/null; getent passwd pterodactyl; getent group fleet-power", check=False) == ""

    message = refusal(playbook("node", [node]))
    assert "no Docker Engine answers" in message and "node_engine_install" in message

    message = refusal(playbook("node", [node], node_settings=ENGINE_ELSEWHERE, node_python_packages=["python3-none"]))
    assert "python3-none" in message and "set node_python to virtualenv" in message


@pytest.fixture
def online(lease: Lease) -> Node:
    """A bare machine that reaches the distribution's packages and a package index."""
    node = lease(1, bare=True)[0]
    node.needs_network()
    return node


@pytest.mark.long
def test_the_role_installs_engine_and_cores_on_a_bare_machine(online: Node) -> None:
    made(playbook("node", [online], node_engine_install=True))
    assert changes(made(playbook("node", [online], node_engine_install=True))) == []
    assert changes(made(playbook("node", [online], "--check", node_engine_install=True))) == []
    assert online.ssh("systemctl is-enabled docker; systemctl is-active docker").split() == ["enabled", "active"]


@pytest.mark.long
def test_modules_and_unit_run_in_a_virtual_environment(online: Node) -> None:
    asked = {"node_engine_install": True, "node_engine_service": "docker.service", "node_python": "virtualenv"}
    first = made(playbook("node", [online], **asked))
    python = "/usr/local/lib/fleet-power/venv/bin/python"
    assert f"ansible_python_interpreter: {python}" in first.stdout
    assert online.ssh("python3 -c 'import docker' 2>&1", check=False) != "", "the cores are only in the virtual environment"

    by_it = inventory([online], ansible_python_interpreter=python)
    assert changes(made(playbook("node", by_it, **asked))) == []
    assert adhoc(by_it, "server_power_info")[online.name]["servers"] == []
    assert units(online) == {SUPERVISOR: "enabled active"}
    assert f'"{python}"' in online.ssh(f"systemctl cat {SUPERVISOR} | grep ^ExecStart")
    assert "docker.service" in online.ssh(f"systemctl show --property=After {SUPERVISOR}").replace(".service.service", "")


STAGGER = 2


def make(node: Node, *servers: dict[str, Any]) -> None:
    short = {"node_python": "none", "node_user": "", "node_check": False, "node_supervise": False}
    ran = playbook("node", [node], node_definitions=list(servers), node_restore_stagger=STAGGER, **short)
    assert ran.rc == 0, ran.output


def began(node: Node, each: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(node.started_at(uuid_of(each))[:26].rstrip("Z"))


@pytest.mark.long
def test_after_a_power_cut_only_servers_that_should_be_up_start(node: Node) -> None:
    proxy, lobby, game = server("proxy", priority=10), server("lobby", priority=50), server("game")
    crashed = server("crashed", priority=200, CRASH_AFTER=2)
    stopped, killed, overdue, never = server("stopped"), server("killed"), server("overdue", priority=1), server("never")
    should_be_up = (proxy, lobby, game, crashed)
    make(node, *should_be_up, stopped, killed, overdue, never)
    act(node, "start", *should_be_up, stopped, killed, overdue)
    act(node, "stop", stopped)
    act(node, "kill", killed)
    overdue["settings"]["suspended"] = True
    node.define(overdue)
    wait_until(lambda: not node.is_up(uuid_of(crashed)), "the server has crashed")

    node.faults.halt()
    node.faults.boot()

    assert restored(node) == "exited success"
    times = [began(node, each) for each in should_be_up]
    assert times == sorted(times)
    # The stagger separates the turns. From its turn to the engine's start, the first server may need more time than the last.
    assert (times[-1] - times[0]).total_seconds() >= STAGGER * (len(times) - 1) - STAGGER
    assert [node.is_up(uuid_of(each)) for each in (proxy, lobby, game)] == [True] * 3
    assert [node.is_up(uuid_of(each)) for each in (stopped, killed, overdue, never)] == [False] * 4
    facts = {each["server"]: each for each in adhoc([node], "server_power_info")[node.name]["servers"]}
    assert {facts[uuid_of(each)]["last_operation"]["origin"] for each in should_be_up} == {"restore after boot"}
    # A suspended server keeps its intent.
    assert facts[uuid_of(overdue)]["intent"]["up"] is True
