# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access: the token, the headers for browsers, the address of the client; pure."""

from __future__ import annotations

import functools
import hmac
import ipaddress
from collections.abc import Sequence

from ..._power.definitions.settings import Settings
from . import replies
from .replies import Reply

Headers = tuple[tuple[str, str], ...]

_METHODS = "GET, POST, PATCH, PUT, DELETE, OPTIONS"
_HEADERS = "Accept, Accept-Encoding, Authorization, Cache-Control, Content-Type, Content-Length, Origin, X-Real-IP, X-CSRF-Token"
_SCHEME = "Bearer"


def refusal(authorization: str | None, token: str) -> Reply | None:
    """Return the answer to a header that does not let its sender in; None if it does.

    The scheme is compared in its case, the token in constant time.
    """
    scheme, space, given = (authorization or "").partition(" ")
    if not space or scheme != _SCHEME:
        return replies.NO_TOKEN
    right = hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode("utf-8"))
    return None if right and token else replies.WRONG_TOKEN


def cors_headers(origin: str | None, settings: Settings) -> Headers:
    """Return what every answer tells browsers: the Panel's origin, or the first of the allowed ones that is the client's."""
    return _cors_headers(origin, settings.remote, settings.allowed_origins, settings.allow_cors_private_network)


@functools.lru_cache(maxsize=64)
def _cors_headers(origin: str | None, remote: str, allowed_origins: tuple[str, ...], private_network: bool) -> Headers:
    # Browsers write an origin without a slash at its end.
    remote = remote.rstrip("/")
    allowed = remote
    if origin is not None and origin != remote:
        allowed = next((each for each in allowed_origins if each in ("*", origin)), remote)
    headers: Headers = (
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", _HEADERS),
        ("Access-Control-Max-Age", "7200"),
    )
    if allowed:
        headers = (("Access-Control-Allow-Origin", allowed), *headers)
    if private_network:
        headers = (*headers, ("Access-Control-Request-Private-Network", "true"))
    return headers


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[str]) -> str:
    """Return the address of the client: the peer, or, where that is a proxy that is trusted, the last in its list that is none.

    ``forwarded`` are all headers of that name: a proxy may add one to those of its client.
    """
    address = peer
    hops = [hop.strip() for hop in ",".join(forwarded).split(",") if hop.strip()]
    while hops and _is_in(address, trusted):
        hop = hops.pop()
        if _parsed(hop) is None:
            break
        address = hop
    return address


def origin_of(address: str, settings: Settings) -> str:
    """Return the journal's name for a client: the address, and which token it had."""
    return f"{address} (token {settings.token_id})" if settings.token_id else address


def _is_in(address: str, networks: Sequence[str]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in ipaddress.ip_network(each, strict=False) for each in networks if each)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    # A socket for both kinds has this form of the older kind.
    return parsed if isinstance(parsed, ipaddress.IPv4Address) else parsed.ipv4_mapped or parsed
