# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of a server's container, and the call that creates it. The rules are Wings'; pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Union

from ..definitions.definition import Definition
from ..definitions.settings import Settings
from ..model.records import dataclass
from ..model.schema import Mismatch

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
#: Ports for the node itself are published where containers see the node.
_LOCALHOST = ipaddress.IPv4Address("127.0.0.1")

#: The bridge device of Wings' own network; for other networks the engine chooses one.
_WINGS_NETWORK, _WINGS_BRIDGE = "pterodactyl_nw", "pterodactyl0"


@dataclass(frozen=True)
class NetworkSpec:
    """A network that must exist before the start; ``body`` is that of the create call, without the name."""

    name: str
    body: Mapping[str, Any]


def network_of(definition: Definition, settings: Settings) -> tuple[str, NetworkSpec | None, list[str]]:
    """Return the container's network, its spec if it may need creation, and warnings."""
    allocations, warnings = definition.allocations, []
    if allocations.force_outgoing_ip:
        address = ipaddress.ip_address(allocations.default_ip)
        if address.version == 4 and not address.is_unspecified and not address.is_loopback:
            options = {
                "encryption": "false",
                "com.docker.network.bridge.default_bridge": "false",
                "com.docker.network.host_ipv4": allocations.default_ip,
            }
            name = f"ip-{allocations.default_ip.replace('.', '-')}"
            return name, NetworkSpec(name, {"Driver": "bridge", "Options": options}), []
        warnings.append(f"settings.allocations.force_outgoing_ip is ignored: nothing goes out by {allocations.default_ip}")
    if settings.network_mode != settings.network_name:
        return settings.network_mode, None, warnings
    return settings.network_name, NetworkSpec(settings.network_name, _network_body(settings)), warnings


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


def seen_by_containers(address: str, settings: Settings) -> str:
    """Return an allocation's address as containers see it: for the node's loopback, the settings' interface."""
    return settings.network_interface if _parsed(address) == _LOCALHOST else address


def port_bindings(definition: Definition, settings: Settings) -> dict[str, list[dict[str, str]]]:
    """Return each port on each address, TCP and UDP. Raises `Mismatch` for a port on overlapping addresses."""
    published: dict[int, dict[_Address, str]] = {}
    for written, ports in definition.allocations.mappings:
        if settings.network_ispn and _parsed(written) == _LOCALHOST:
            continue
        address = _parsed(seen_by_containers(written, settings))
        shown = written if address == _parsed(written) else f"{written} (published on {address})"
        for port in ports:
            there = published.setdefault(port, {})
            _refuse_overlap(port, there, address, shown)
            there[address] = shown
    return {
        f"{port}/{protocol}": [{"HostIp": address, "HostPort": str(port)} for address in sorted(map(str, published[port]))]
        for port in sorted(published)
        for protocol in ("tcp", "udp")
    }


def _refuse_overlap(port: int, there: Mapping[_Address, str], address: _Address, shown: str) -> None:
    for other, name in there.items():
        if other.version == address.version and (other == address or other.is_unspecified or address.is_unspecified):
            raise Mismatch(
                "settings.allocations.mappings", f"publishes port {port} on {name} and on {shown}, which overlap; leave it on one of them"
            )


def _parsed(text: str) -> _Address:
    """Return a parsed address; like the engine, it reads an IPv4 address in IPv6 form as IPv4."""
    address = ipaddress.ip_address(text)
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address
