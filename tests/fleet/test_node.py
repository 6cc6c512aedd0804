# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role node on real nodes: from a machine to a node, and a second time nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from .lab import Lease, Node, Ran, adhoc, home, playbook, server

SETTINGS = {
    "system": {"stop_timeout": 30},
    "docker": {"registries": {"registry.example.test": {"username": "puller", "password": "hunter2-password"}}},
}
#: Path, owner, group, mode.
MADE = """\
/etc/fleet-power root fleet-power 750
/etc/fleet-power/config.yml root fleet-power 640
/etc/fleet-power/servers root fleet-power 750
/etc/tmpfiles.d/fleet-power.conf root root 644
/run/fleet-power root fleet-power 2770
/usr/local/lib/fleet-power/library.zip root root 644
/var/lib/fleet-power root fleet-power 2770
/var/lib/fleet-power/volumes root root 711
"""
#: Everything that the role writes to, besides packages.
PLACES = "/etc/fleet-power /etc/tmpfiles.d/fleet-power.conf /run/fleet-power /usr/local/lib/fleet-power /var/lib/fleet-power"
UNIT = "/etc/systemd/system/fleet-power-restore.service"


def changes(ran: Ran) -> list[str]:
    """The tasks that changed something."""
    return sorted({each["task"].partition(" : ")[2] or each["task"] for each in ran.results if each["result"].get("changed")})


def made(ran: Ran) -> Ran:
    """A run that must have ended well."""
    assert ran.rc == 0, ran.output
    return ran


def refusal(ran: Ran) -> str:
    """The last sentence of a run that must have ended in an error, which is one of ours and not Ansible's."""
    assert ran.rc != 0, ran.output
    message = str([each["result"]["msg"] for each in ran.results if each["result"].get("msg")][-1])
    assert message.startswith("Cannot "), ran.output
    return message


def definitions_on(node: Node) -> list[str]:
    return node.ssh("ls /etc/fleet-power/servers").split()


def names(*servers: Mapping[str, Any]) -> list[str]:
    return sorted(f"{each['settings']['uuid']}.json" for each in servers)


def test_a_machine_becomes_a_node_and_the_second_run_changes_nothing(lease: Lease, tmp_path: Path) -> None:
    node = lease(1, renewed=True)[0]
    lobby, game = server("lobby", NOTE="hunter2-note"), server("game", NOTE="{{NOT_A_TEMPLATE}} ä")
    (tmp_path / "servers").mkdir()
    file = tmp_path / "servers" / f"{game['settings']['uuid']}.yml"
    file.write_text(json.dumps(game, ensure_ascii=False) + "\n\n")
    asked: dict[str, Any] = {
        "node_settings": SETTINGS,
        "node_priorities": {"lobby": 7},
        "node_definitions": [lobby],
        "node_definitions_dir": str(file.parent),
    }

    first = made(playbook("node", [node], "-vvv", "--diff", **asked))
    assert "hunter2" not in first.output
    assert node.ssh(f"stat -c '%n %U %G %a' $(echo '{MADE}' | cut -d' ' -f1)") == MADE
    assert node.ssh("id -u pterodactyl; id -g pterodactyl").split() == ["988", "988"]
    assert node.ssh("systemctl show --value --property=UnitFileState,ActiveState fleet-power-restore").split() == ["inactive", "enabled"]
    assert node.ssh(f"cat /etc/fleet-power/servers/{file.name}") == file.read_text()

    assert changes(made(playbook("node", [node], **asked))) == []
    assert changes(made(playbook("node", [node], "--check", **asked))) == []

    # Definitions alone, which is quick; a later run must not forget the rest.
    other = server("other")
    node.define(other)
    quick = ("--tags", "node_definitions")
    assert changes(made(playbook("node", [node], *quick, **asked))) == []
    assert definitions_on(node) == sorted([*names(lobby, other), file.name])
    assert changes(made(playbook("node", [node], *quick, **asked, node_definitions_purge=True))) == ["Write what differs"]
    assert definitions_on(node) == sorted([*names(lobby), file.name])

    power = adhoc([node], "server_power", "server=all action=start wait_for=running")[node.name]
    assert power["summary"]["done"] == 2
    facts = adhoc([node], "server_power_info")[node.name]["servers"]
    assert {each["name"]: each["priority"] for each in facts} == {"lobby": 7, "game": 100}

    made(playbook("node", [node], **asked, node_restore_on_boot=False))
    assert node.ssh(f"ls {UNIT} /etc/systemd/system/multi-user.target.wants/fleet-power-restore.service 2>/dev/null", check=False) == ""


def test_check_mode_on_a_bare_machine_says_what_would_be_done_and_does_nothing(lease: Lease) -> None:
    node = lease(1, bare=True)[0]
    ran = made(playbook("node", [node], "--check", node_engine_install=True, node_settings=SETTINGS, node_definitions=[server("lobby")]))
    assert {"Name the packages that would be installed", "Make the user", "Have the directories", "Write the settings file"} <= set(
        changes(ran)
    )
    assert node.ssh(f"ls -d {PLACES} {UNIT} 2>/dev/null; getent passwd pterodactyl; getent group fleet-power", check=False) == ""


def test_a_machine_without_an_engine_is_told_what_to_do(lease: Lease) -> None:
    node = lease(1, bare=True)[0]
    message = refusal(playbook("node", [node]))
    assert "no Docker Engine answers" in message and "node_engine_install" in message


@pytest.mark.long
@pytest.mark.parametrize("python", ["packages"])
def test_a_bare_machine_gets_engine_and_libraries(lease: Lease, python: str) -> None:
    if not (home() / "online").exists():
        pytest.skip("the lab has no way out; make it with --online")
    node = lease(1, bare=True)[0]
    asked = {"node_engine_install": True, "node_python": python}
    made(playbook("node", [node], **asked))
    assert changes(made(playbook("node", [node], **asked))) == []
    assert node.ssh("systemctl is-enabled docker; systemctl is-active docker").split() == ["enabled", "active"]


def test_settings_that_cannot_be_read_never_replace_those_that_can(lease: Lease) -> None:
    nodes = lease(2)
    made(playbook("node", nodes, node_settings={"system": {"stop_timeout": 30}}))
    assert len({node.ssh("sha256sum /usr/local/lib/fleet-power/library.zip /etc/fleet-power/config.yml") for node in nodes}) == 1
    before = nodes[0].ssh("cat /etc/fleet-power/config.yml")
    ran = playbook("node", nodes[:1], "-vvv", "--diff", node_settings={"token": "hunter2", "system": {"stop_timeout": "soon"}})
    assert "system.stop_timeout" in refusal(ran) and "hunter2" not in ran.output
    assert nodes[0].ssh("cat /etc/fleet-power/config.yml") == before


@pytest.mark.parametrize(
    "definitions, wanted",
    [([{"settings": {}}], "no settings.uuid"), ([server("one")] * 2, "there are two")],
    ids=["no uuid", "twice"],
)
def test_definitions_that_make_no_sense_are_refused(node: Node, definitions: Sequence[Mapping[str, Any]], wanted: str) -> None:
    ran = playbook("node", [node], node_definitions=definitions)
    assert wanted in refusal(ran) and changes(ran) == []
