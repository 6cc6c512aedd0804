# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's answers say: who has published a port."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_answers import publisher_of


@pytest.mark.parametrize(
    "published, address, found",
    [
        ("192.0.2.7", "192.0.2.7", "keeper"),
        ("0.0.0.0", "192.0.2.7", "keeper"),
        ("::", "2001:db8::7", "keeper"),
        ("192.0.2.7", "0.0.0.0", "keeper"),
        ("192.0.2.8", "192.0.2.7", None),
        ("::1", "2001:db8::7", None),
    ],
)
def test_who_has_published_a_port_on_another_address_is_not_blamed(published: str, address: str, found: str | None) -> None:
    ports = [{"IP": published, "PrivatePort": 25565, "PublicPort": 25565, "Type": "tcp"}, {"PrivatePort": 25566, "Type": "tcp"}]
    row = {"Names": ["/keeper"], "Ports": ports}
    assert publisher_of(row, "25565/tcp", address) == found
    assert publisher_of(row, "25565/udp", address) is None
    assert publisher_of(row, "25566/tcp", address) is None
