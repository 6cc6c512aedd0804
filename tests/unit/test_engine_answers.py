# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's answers say: who has published a port, whose a container in a list is, and if it was ever started."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.container.container_labels import name_in_labels
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import listed_of, publisher_of, snapshot_of
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import ListedContainer


@pytest.mark.parametrize(
    "published, address, found",
    [
        ("192.0.2.7", "192.0.2.7", "keeper"),
        ("0.0.0.0", "192.0.2.7", "keeper"),
        ("192.0.2.7", "0.0.0.0", "keeper"),
        ("192.0.2.8", "192.0.2.7", None),
    ],
)
def test_who_has_published_a_port_on_another_address_is_not_blamed(published: str, address: str, found: str | None) -> None:
    ports = [{"IP": published, "PrivatePort": 25565, "PublicPort": 25565, "Type": "tcp"}, {"PrivatePort": 25566, "Type": "tcp"}]
    row = {"Names": ["/keeper"], "Ports": ports}
    assert publisher_of(row, "25565/tcp", address) == found
    assert publisher_of(row, "25565/udp", address) is None
    assert publisher_of(row, "25566/tcp", address) is None


UUID = "11111111-2222-3333-4444-555555555555"
OURS = {"fleet.power.server": UUID, "fleet.power.spec": "x"}
WINGS = {"Service": "Pterodactyl"}


def test_the_name_in_labels_counts_only_on_a_container_that_says_it_is_ours() -> None:
    named = {"fleet.power.name": "Atlas"}
    assert name_in_labels({**OURS, **named}, UUID) == "Atlas"
    for labels in (OURS, {**WINGS, **named}, {**OURS, "fleet.power.server": UUID.replace("1", "2"), **named}):
        assert name_in_labels(labels, UUID) == ""


@pytest.mark.parametrize(
    "name, labels, state, found",
    [
        (UUID, OURS, "running", ListedContainer(UUID, "i", live=True)),
        (UUID, OURS, "paused", ListedContainer(UUID, "i", live=True)),
        (UUID, WINGS, "running", ListedContainer(UUID, "i", live=True)),
        (f"{UUID}-next", OURS, "created", ListedContainer(UUID, "i", live=False, waiting=True)),
        (f"{UUID}-after", OURS, "created", ListedContainer(UUID, "i", live=False, waiting=True)),
        ("renamed", OURS, "running", "asked"),
        (f"{UUID}-next", OURS, "running", "asked"),
        ("renamed", WINGS, "running", None),
        (UUID, {}, "running", None),
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
