# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's answers: to which server a container in a list belongs, and where its ports are published."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import listed_of, snapshot_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import ListedContainer

UUID = "11111111-2222-3333-4444-555555555555"
OURS = {"fleet.power.server": UUID, "fleet.power.spec": "x"}
WINGS = {"Service": "Pterodactyl"}


@pytest.mark.parametrize(
    "name, labels, state, found",
    [
        (UUID, OURS, "running", ListedContainer(UUID, "i", live=True)),
        (UUID, OURS, "exited", ListedContainer(UUID, "i", live=False)),
        (f"{UUID}-next", OURS, "created", ListedContainer(UUID, "i", live=False, waiting=True)),
        (f"{UUID}-kept", OURS, "exited", None),
        ("renamed", OURS, "running", "asked"),
        ("renamed", WINGS, "running", None),
    ],
)
def test_whose_a_container_in_a_list_is(name: str, labels: Any, state: str, found: Any) -> None:
    row = {"Id": "i", "Names": [f"/{name}"], "Labels": labels, "State": state}
    asked: list[object] = []

    def renamed(row: object) -> str:
        asked.append(row)
        return UUID

    expected = ListedContainer(UUID, "i", live=True) if found == "asked" else found
    assert listed_of(row, renamed) == expected
    assert asked == ([row] if found == "asked" else [])


@pytest.mark.parametrize(
    ("bindings", "addresses"),
    [
        (None, {}),
        ({"1/tcp": None, "2/tcp": [], "3/tcp": [{"HostIp": "", "HostPort": ""}]}, {"1/tcp": (), "2/tcp": (), "3/tcp": ()}),
        ({"1/udp": [{"HostIp": "", "HostPort": "7"}, {"HostIp": "::", "HostPort": "8"}]}, {"1/udp": (("0.0.0.0", 7), ("::", 8))}),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_a_snapshot_tells_where_each_port_of_a_live_container_is_published(bindings: Any, addresses: Any, live: bool) -> None:
    state = {"Running": live, "Paused": False, "Restarting": False, "ExitCode": 0, "OOMKilled": False, "StartedAt": "", "FinishedAt": ""}
    found = snapshot_of({"Id": "i", "Name": "/n", "State": state, "Config": {}, "HostConfig": {"PortBindings": bindings}})
    assert found.addresses == (addresses if live else {})
    assert found.ports == (frozenset(bindings or ()) if live else frozenset())
