# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the node's settings for the HTTP shim as JSON: ``read_settings.py FILE [NETWORK...]``, on the node, with the core.

Standard output has no secret. Standard error has one sentence if the service could not work.
"""

from __future__ import annotations

import grp
import ipaddress
import json
import os
import pwd
import stat
import sys
from collections.abc import Mapping, Sequence

from fleet_power._power.definitions.settings import Settings, load_settings
from fleet_power._power.model.errors import PowerError

_ROLE = "run the role fleet.power.node first"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_SOCKET = "unix://"


def meaning(path: str, networks: Sequence[str]) -> Mapping[str, object]:
    """Return the facts for the role. Raises ValueError and `PowerError` with the reason."""
    settings = load_settings(path)
    if not settings.token.strip():
        raise ValueError(f"{path} has no token; set token in node_settings, and {_ROLE}")
    _mind_directories(settings)
    host = _ANY.get(settings.api_host, settings.api_host)
    scheme = "https" if settings.api_ssl_enabled else "http"
    return {
        "group": settings.group,
        "directories": [settings.lock_directory, settings.state_directory, settings.data],
        "engine": settings.docker_host or "",
        "socket": (settings.docker_host or f"{_SOCKET}/var/run/docker.sock").startswith(_SOCKET),
        "host": settings.api_host,
        "port": settings.api_port,
        "tls": settings.api_ssl_enabled,
        "certificate": settings.api_ssl_cert,
        "key": settings.api_ssl_key,
        "most": settings.api_max_connections,
        "patience": settings.api_request_timeout,
        "shutdown": settings.api_shutdown_timeout,
        "url": f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.api_port}",
        "networks": [_network(each) for each in networks],
    }


def _mind_directories(settings: Settings) -> None:
    """Refuse missing directories: root must make them for the group, or their maker would exclude others."""
    try:
        gid = grp.getgrnam(settings.group).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {settings.group}; {_ROLE}") from None
    for directory in (settings.lock_directory, settings.state_directory):
        try:
            found = os.stat(directory)
        except OSError as error:
            raise ValueError(f"{directory}: {error.strerror}; {_ROLE}") from None
        if found.st_gid != gid or stat.S_IMODE(found.st_mode) & 0o2070 != 0o2070:
            raise ValueError(f"{directory} is not open to the group {settings.group}; {_ROLE}")
    if not os.path.isdir(settings.data):
        raise ValueError(f"{settings.data} is not a directory; {_ROLE}")
    # Without a named owner, root and other users have different defaults.
    try:
        pwd.getpwuid(settings.uid)
    except KeyError:
        raise ValueError(f"no user has the number {settings.uid}, which owns the servers' data; {_ROLE}") from None


def _network(text: str) -> Mapping[str, str]:
    """Return a network in the firewalls' notation."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text} in shim_firewall_sources is not a network such as 192.0.2.0/24") from None
    # ufw's rule for it looks like the rule of the other family, so it could not be found again.
    if network.prefixlen == 0:
        raise ValueError(f"{text} in shim_firewall_sources is every address; set shim_firewall to none, and open the port yourself")
    single = network.prefixlen == network.max_prefixlen
    return {"address": str(network.network_address) if single else str(network), "family": f"ipv{network.version}"}


def main() -> None:
    """Print the facts, or end with one sentence."""
    try:
        json.dump(meaning(sys.argv[1], sys.argv[2:]), sys.stdout)
    except (PowerError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
