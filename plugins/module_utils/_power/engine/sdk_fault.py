# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker SDKs that cannot work. Role node runs this text on a node without a node core, so it imports no file of the collection."""

from __future__ import annotations

import re

#: The oldest SDK that was tried, Debian 11's.
_OLDEST = "4.1"
#: A method of adapters that requests calls since 2.32.
_TLS_CONTEXT = "get_connection_with_tls_context"


def sdk_fault(*, on_socket: bool) -> str:
    """Return why the Docker SDK cannot be used, and which one can; empty for a good one. Raises ImportError.

    ``on_socket``: the engine is not at a TCP port. Distributions repair old SDKs, so this looks at the SDK's classes, not at its version.
    """
    import http.client

    import docker

    found = f"docker {docker.__version__}"
    if _numbers(docker.__version__) < _numbers(_OLDEST):
        return f"{found} is too old; install docker {_OLDEST} or newer"
    import requests
    import urllib3
    from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection

    below: str = urllib3.__version__  # type: ignore[attr-defined]
    inherited = getattr(requests.adapters.HTTPAdapter, _TLS_CONTEXT, None)
    if on_socket and inherited and getattr(UnixHTTPAdapter, _TLS_CONTEXT) is inherited:
        return f"{found} does not work with requests {requests.__version__}; install docker 7.1 or newer"
    if on_socket and _numbers(below) >= [2] and UnixHTTPConnection.request is http.client.HTTPConnection.request:
        return f"{found} does not work with urllib3 {below}; install docker 6.1 or newer"
    return ""


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]
