# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the kernel if an address and port of this machine could be published, before a server is stopped for it."""

from __future__ import annotations

import errno
import ipaddress
import socket
from enum import Enum


class PortFault(Enum):
    """Why a port cannot be published, in words."""

    TAKEN = "is taken"
    NO_ADDRESS = "is on an address that this machine does not have"


_FAULTS = {errno.EADDRINUSE: PortFault.TAKEN, errno.EADDRNOTAVAIL: PortFault.NO_ADDRESS}
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def port_fault(address: str, port: int, protocol: str) -> PortFault | None:
    """Why a port cannot be published, or None. What cannot be told (no right to the port, no IPv6) is left to the engine."""
    version = ipaddress.ip_address(address).version
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    try:
        with socket.socket(family, _KINDS[protocol]) as probe:
            if protocol == "tcp":
                # Connections that are closing do not hold a port for the engine either.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if version == 6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return _FAULTS.get(error.errno or 0)
    return None
