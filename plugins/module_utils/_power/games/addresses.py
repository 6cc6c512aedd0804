# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses at which a run's game can be reached from its node, and what its environment says; pure.

What the container was made with counts: it is this run that is asked. Its definition may have been changed since, and its port may be
another server's by now. Nothing that goes on within the container changes any of it.
"""

from __future__ import annotations

from ..definitions.definition import Definition
from ..model.server import Snapshot
from .counts import Unanswered

_LAST_PORT = 65535
#: Where what is published on all addresses is reached.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def default_port(snapshot: Snapshot, definition: Definition | None) -> int:
    """Return the port of the default allocation. Raises `Unanswered` if there is none."""
    told = variable(snapshot, "SERVER_PORT") or ""
    port = int(told) if told.isascii() and told.isdigit() and len(told) <= 5 and int(told) <= _LAST_PORT else 0
    if port == 0 and definition is not None:
        port = definition.allocations.default_port
    if port == 0:
        raise Unanswered("it has no default allocation, and its profile names no port")
    return port


def address_of(snapshot: Snapshot, port: int, protocol: str) -> tuple[str, int]:
    """Return the address and port at which the port is published, by ``tcp`` or ``udp``. Raises `Unanswered` if it is not.

    On the machine's own network it is the address that the server was given.
    """
    if snapshot.on_host_network:
        address = variable(snapshot, "SERVER_IP") or "0.0.0.0"
        return _LOOPBACK.get(address, address), port
    published = snapshot.addresses.get(f"{port}/{protocol}")
    if not published:
        raise Unanswered(f"its container has not published port {port}/{protocol}")
    address, there = published[0]
    return _LOOPBACK.get(address, address), there


def variable(snapshot: Snapshot, name: str) -> str | None:
    """Return what a variable of the container's environment was made with; None if it has no such one."""
    begin = f"{name}="
    return next((entry[len(begin) :] for entry in snapshot.environment if entry.startswith(begin)), None)
