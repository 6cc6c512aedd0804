# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a server's container, and what is created for it if it is missing. Pure; the rules are Wings'."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .definition import Definition
from .settings import Settings

#: The name of the bridge device of Wings' own network; a network of another name gets the engine's choice.
_WINGS_NETWORK, _WINGS_BRIDGE = "pterodactyl_nw", "pterodactyl0"


@dataclass(frozen=True)
class NetworkSpec:
    """A network that must exist before the container starts; ``body`` is that of the create call, without the name."""

    name: str
    body: Mapping[str, Any]


def network_of(definition: Definition, settings: Settings) -> tuple[str, NetworkSpec | None, list[str]]:
    """The network the container is in, what must be created for it if it is missing, and warnings."""
    allocations, warnings = definition.allocations, []
    if allocations.force_outgoing_ip:
        address = ipaddress.ip_address(allocations.default_ip)
        if address.version == 4 and not address.is_unspecified and not address.is_loopback:
            network = _outgoing_network(allocations.default_ip)
            return network.name, network, []
        warnings.append(f"settings.allocations.force_outgoing_ip is ignored: nothing goes out by {allocations.default_ip}")
    if settings.network_mode != settings.network_name:
        return settings.network_mode, None, warnings
    return settings.network_name, NetworkSpec(settings.network_name, _network_body(settings)), warnings


def _outgoing_network(address: str) -> NetworkSpec:
    options = {
        "encryption": "false",
        "com.docker.network.bridge.default_bridge": "false",
        "com.docker.network.host_ipv4": address,
    }
    return NetworkSpec(f"ip-{address.replace('.', '-')}", {"Driver": "bridge", "Options": options})


def _network_body(settings: Settings) -> dict[str, Any]:
    pools = (
        {"Subnet": settings.network_v4_subnet, "Gateway": settings.network_v4_gateway},
        {"Subnet": settings.network_v6_subnet, "Gateway": settings.network_v6_gateway},
    )
    body: dict[str, Any] = {
        "Driver": settings.network_driver,
        "EnableIPv6": bool(settings.network_v6_subnet),
        "Internal": settings.network_is_internal,
        "IPAM": {"Config": [{key: value for key, value in pool.items() if value} for pool in pools if pool["Subnet"]]},
    }
    if settings.network_driver == "bridge":
        body["Options"] = {
            "encryption": "false",
            "com.docker.network.bridge.default_bridge": "false",
            "com.docker.network.bridge.enable_icc": str(settings.network_enable_icc).lower(),
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
            "com.docker.network.driver.mtu": str(settings.network_mtu),
        }
        if settings.network_name == _WINGS_NETWORK:
            body["Options"]["com.docker.network.bridge.name"] = _WINGS_BRIDGE
    return body
