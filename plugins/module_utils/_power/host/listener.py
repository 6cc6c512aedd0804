# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of this machine: which users listen on them, checked before a secret is sent, and which ports are free.

The kernel does not report which listener took a connection. But a listener that exists before and after the connection took it.
"""

from __future__ import annotations

import errno
import grp
import ipaddress
import os
import pwd
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..model.records import dataclass
from ..model.schema import printable
from .machine import processes, text_of

#: The state of a socket that can be reached. UDP has no other.
_LISTENS = {"tcp": "0A", "udp": "07"}
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@dataclass(frozen=True)
class ListeningSocket:
    """A listening socket: its address, user and inode, which is unique while it is open."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    uid: int
    inode: int


def listeners(port: int, net: str = "/proc/self/net", protocol: str = "tcp") -> list[ListeningSocket]:
    """Return the sockets of our network namespace that listen on a port. Raises OSError if the kernel does not report them."""
    found: list[ListeningSocket] = []
    for name in (protocol, f"{protocol}6"):
        path = os.path.join(net, name)
        if name != protocol and not os.path.exists(path):
            continue
        with open(path, encoding="ascii") as source:
            next(source, None)
            rows = (line.split() for line in source)
            found += [_listener(row) for row in rows if row[3] == _LISTENS[protocol] and int(row[1].rpartition(":")[2], 16) == port]
    return found


def _listener(row: Sequence[str]) -> ListeningSocket:
    words = bytes.fromhex(row[1].partition(":")[0])
    if sys.byteorder == "little":
        # The kernel prints words in the machine's byte order.
        words = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    address = ipaddress.ip_address(words)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return ListeningSocket(mapped or address, int(row[7]), int(row[9]))


def taking(found: Sequence[ListeningSocket], host: str) -> list[ListeningSocket]:
    """Return the most specific listeners of a port, which a connection to ``host`` may reach."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    any_of_both = ipaddress.IPv6Address(0)
    wildcards = [ipaddress.IPv4Address(0), any_of_both] if address.version == 4 else [any_of_both]
    for wanted in (address, *wildcards):
        chosen = [each for each in found if each.address == wanted]
        if chosen:
            return chosen
    return []


def holder_of(address: str, port: int, protocol: str) -> str:
    """Name a process of this machine that holds a port; "" if it is unknown."""
    with suppress(OSError):
        found = listeners(port, protocol=protocol)
        names = {f"socket:[{each.inode}]" for each in taking(found, address) or found}
        for pid in processes():
            # It may end, or belong to another user.
            with suppress(OSError):
                if any(os.readlink(entry.path) in names for entry in os.scandir(f"/proc/{pid}/fd")):
                    return f"process {pid} ({printable(text_of(f'/proc/{pid}/comm'))})"
    return ""


class Vouching:
    """Decides if the other end of a local connection may have a secret: ``trusts`` decides by a user's number."""

    def __init__(self, trusts: Callable[[int], bool]) -> None:
        self._trusts = trusts

    def before(self, port: int) -> frozenset[int]:
        """Return the inodes of a port's listeners before a connection."""
        with suppress(OSError):
            return frozenset(each.inode for each in listeners(port))
        return frozenset()

    def fault(self, before: frozenset[int], connection: socket.socket) -> str:
        """Return why the other end may not have a secret; "" if it may, or is remote. Raises ConnectionError if it has closed."""
        try:
            host, port = connection.getpeername()[:2]
        except OSError as error:
            raise ConnectionResetError(error.errno, "the other end has cut the connection") from error
        if host != connection.getsockname()[0] and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            return ""
        try:
            taken = taking(listeners(port), host)
        except OSError as error:
            return f"the listener there is unknown ({error.strerror})"
        if not taken:
            return "the listener there is unknown: this network namespace has none"
        stranger = next((each.uid for each in taken if not self._trusts(each.uid)), None)
        if stranger is not None:
            return f"{_named(stranger)} listens there"
        if not before.issuperset(each.inode for each in taken):
            return "who listens there has just changed"
        return ""


def is_trusted(uid: int, group: str) -> bool:
    """Tell if a user is root, ours, or a member of ``group``."""
    if uid in (0, os.geteuid()):
        return True
    with suppress(KeyError):
        user = pwd.getpwuid(uid)
        return grp.getgrnam(group).gr_gid in os.getgrouplist(user.pw_name, user.pw_gid)
    return False


def _named(uid: int) -> str:
    with suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    return f"user {uid}"


TAKEN = "is taken"
_FAULTS = {errno.EADDRINUSE: TAKEN, errno.EADDRNOTAVAIL: "is on an address that this machine does not have"}


def port_fault(address: str, port: int, protocol: str) -> str:
    """Return why a port cannot be published, or "". The engine decides unknown cases (no right to the port, no IPv6)."""
    version = ipaddress.ip_address(address).version
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    try:
        with socket.socket(family, _KINDS[protocol]) as probe:
            if protocol == "tcp":
                # Closing connections do not block a port for the engine either.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if version == 6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return _FAULTS.get(error.errno or 0, "")
    return ""
