# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates that go wrong, on nodes with a supervisor: the guide's own playbook, and a proof across reboots and power cuts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, examples

from .lab import Node, adhoc_begun, playbook, server, uuid_of, wait_until
from .supervised import BACK_SECONDS, act, facts, supervised

pytestmark = pytest.mark.long

#: The longest time from the boot of a loaded machine to the end of a proof.
END_SECONDS = 240.0


def bad(definition: dict[str, Any], version: int, **environment: object) -> dict[str, Any]:
    """Return another version of a server, which never becomes ready."""
    own = {"VERSION": version, "READY_LINE": "never", **environment}
    return {**definition, "settings": {**definition["settings"], "environment": own}}


def version(node: Node, definition: dict[str, Any]) -> str:
    found = node.container(uuid_of(definition))
    environment = [] if found is None else found["Config"]["Env"]
    return next((each.partition("=")[2] for each in environment if each.startswith("VERSION=")), "")


def proof_of(node: Node, definition: dict[str, Any]) -> dict[str, Any]:
    return dict(facts(node, definition)[0]["proof"] or {})


def begin_update(node: Node, definition: dict[str, Any], **options: object) -> None:
    """Begin a restart that may be reverted, and wait until the new version is up."""
    asked = {"server": uuid_of(definition), "action": "restart", "on_failed_start": "revert", **options}
    adhoc_begun([node], "server_power", asked)
    wait_until(lambda: version(node, definition) == "2" and node.is_up(uuid_of(definition)), "the new version is up", BACK_SECONDS)
    node.ssh("sync")


def test_the_guides_playbook_takes_a_bad_version_back_once(node: Node, tmp_path: Path) -> None:
    lobby, kept = server("lobby", VERSION=1), server("kept", VERSION=1)
    (settings, plays) = (each.text for each in examples(GUIDES / "updates_guide.rst") if each.language == "yaml")
    assert "revertible: false" in settings
    supervised(node, lobby, kept, node_settings={"revert": {"rules": [{"server": "kept", "revertible": False}]}})
    act(node, "start")
    node.define(bad(lobby, 2), bad(kept, 2))

    book = tmp_path / "update.yml"
    plays = plays.replace("on_failed_start: revert}", "on_failed_start: revert, wait_timeout: 5}")
    book.write_text(plays.replace("hosts: nodes", "hosts: all"))
    ran = playbook(book, [node])
    assert ran.rc != 0 and "reverted" in ran.stdout and "left_down" in ran.stdout, ran.output
    assert (node.is_up(uuid_of(lobby)), version(node, lobby), node.is_up(uuid_of(kept))) == (True, "1", False)
    assert proof_of(node, lobby)["ended"] == "reverted" and "environment.VERSION" in proof_of(node, lobby)["differs"]
    assert "failed before" in node.ssh("fleet-power status")
    assert "an update of outdated servers skips it" in " ".join(node.ssh("fleet-power why lobby").split())
    assert node.ssh("ls /var/lib/fleet-power/previous 2>/dev/null; docker ps -aqf name=previous", check=False) == ""

    since = node.started_at(uuid_of(lobby))
    assert playbook(book, [node]).rc == 0
    assert node.started_at(uuid_of(lobby)) == since
    node.define(server("lobby") | {"settings": {**lobby["settings"], "environment": {"VERSION": 3}}})
    assert playbook(book, [node]).rc == 0
    assert version(node, lobby) == "3"


def _power_cut(node: Node) -> None:
    node.faults.halt()
    node.faults.boot()


def _engine(node: Node) -> None:
    node.ssh("systemctl restart docker")


def _supervisor(node: Node) -> None:
    node.ssh("systemctl kill --signal KILL fleet-power-supervisor")


@pytest.mark.parametrize("fault", [_power_cut, _engine, _supervisor], ids=["power cut", "engine", "supervisor"])
def test_a_proof_outlives(node: Node, fault: Callable[[Node], None]) -> None:
    lobby = server("lobby", VERSION=1)
    supervised(node, lobby)
    act(node, "start")
    node.define(bad(lobby, 2))
    begin_update(node, lobby, wait_timeout=20)
    fault(node)
    wait_until(lambda: node.ssh("cat /proc/uptime", check=False), "the node answers", END_SECONDS)
    wait_until(lambda: proof_of(node, lobby).get("ended") == "reverted", "the update is reverted", END_SECONDS)
    assert node.is_up(uuid_of(lobby)) and version(node, lobby) == "1"
    # A supervised start, also after a boot, keeps the previous version.
    since = node.started_at(uuid_of(lobby))
    _power_cut(node)
    wait_until(lambda: node.is_up(uuid_of(lobby)) and node.started_at(uuid_of(lobby)) != since, "the server is back", END_SECONDS)
    assert version(node, lobby) == "1"


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_stop_or_kill_of_the_new_version_wins(node: Node, action: str) -> None:
    lobby = server("lobby", VERSION=1)
    supervised(node, lobby)
    act(node, "start")
    node.define(bad(lobby, 2))
    begin_update(node, lobby, wait_timeout=20)
    act(node, action, lobby)
    wait_until(lambda: proof_of(node, lobby).get("ended") == "void", "the proof is over", BACK_SECONDS)
    node.ssh("sleep 5")
    assert not node.is_up(uuid_of(lobby))
    assert json.loads(node.ssh("docker ps -a --format '{{json .Names}}'")) == uuid_of(lobby)
