# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers to requests, their tokens and paths, and refusals before a handler runs; pure."""

from __future__ import annotations

import functools
import hmac
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote

from ..._power.definitions.settings import Settings
from ..._power.model.records import dataclass, field, replace
from ..._power.model.request import POWER_ACTIONS, PowerAction

JSON = "application/json; charset=utf-8"
PLAIN = "text/plain"
#: The header of an incomplete list: the error codes of the missing parts, divided by commas.
UNLISTED = "X-Unlisted"
#: Wings labels these JSON bodies as text.
MISLABELLED = "text/plain; charset=utf-8"

Headers = tuple[tuple[str, str], ...]
_HEADERS = "Accept, Accept-Encoding, Authorization, Cache-Control, Content-Type, Content-Length, Origin, X-Real-IP, X-CSRF-Token"
_UNEXPECTED = "An unexpected error was encountered while processing this request"


@dataclass(frozen=True)
class Reply:
    """One reply. ``close``: close the connection afterwards. ``note`` is only for the log."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Headers = ()
    close: bool = False
    note: str = ""


class Refused(Exception):
    """The request has this reply, and its handler ends."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


def json_reply(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"), JSON)


def error(status: int, text: str, *, code: str = "", content_type: str = JSON, headers: Headers = ()) -> Reply:
    return replace(json_reply({"error": text, **({"code": code} if code else {})}, status), content_type=content_type, headers=headers)


def explained(status: int, code: str, text: str) -> Reply:
    """Answer with a sentence that also goes to the log."""
    return replace(error(status, text, code=code), note=text)


def unexpected(request_id: str, status: int = 500, *, content_type: str = JSON, note: str = "") -> Reply:
    """Answer with a general error and the request's id; ``note`` goes to the log."""
    return replace(json_reply({"error": _UNEXPECTED, "request_id": request_id}, status), content_type=content_type, note=note)


NO_TOKEN = error(401, "The required authorization heads were not present in the request.", headers=(("WWW-Authenticate", "Bearer"),))
WRONG_TOKEN = error(403, "You are not authorized to access this endpoint.")
NO_ROUTE = Reply(404, b"404 page not found", PLAIN)
NO_SERVER = error(404, "The requested resource does not exist on this instance.")
EMPTY_BODY = error(400, "The data passed in the request was not in a parsable format. Please try again.", content_type=MISLABELLED)
#: In Wings' order, with the stop first.
_ACTIONS = ", ".join(f'"{each.value}"' for each in sorted(POWER_ACTIONS, key=lambda each: each is not PowerAction.STOP))
WRONG_ACTION = error(422, f"The power action provided was not valid, should be one of {_ACTIONS}")
SUSPENDED = error(400, "Cannot start or restart a server that is suspended.")
TOO_MANY = error(503, "Cannot accept the action: too many of this server are waiting already; ask again later")
NOT_RECORDED = error(503, "Cannot accept the action: the journal cannot be written, so it might be lost; look at the node's log")
ENDING = replace(error(503, "Cannot accept the action: this service is ending; ask again in a moment"), close=True)
UNCONFIRMED = replace(
    error(500, "Cannot tell whether the action was accepted: this service ended before the disk answered; look at the server's operations"),
    close=True,
)
NO_STDIN = error(502, "Cannot send commands to a stopped server instance.")
#: The code tells this reply from that to an unknown path.
NO_EVENTS = error(404, "This node records no events; run the role fleet.power.node with node_events: true", code="events_disabled")
OPTIONS = Reply(204)
PANIC = Reply(500, close=True)
TOO_LARGE = replace(error(413, "The body of the request is too large."), close=True)
TOO_SLOW = replace(error(408, "The body of the request did not come in time."), close=True)


def refusal(authorization: str | None, token: str) -> Reply | None:
    """Return the reply to an invalid Authorization header; None for a valid one. The scheme is case-sensitive; the token is compared in
    constant time."""
    scheme, space, given = (authorization or "").partition(" ")
    if not space or scheme != "Bearer":
        return NO_TOKEN
    right = hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode("utf-8"))
    return None if right and token else WRONG_TOKEN


def cors_headers(origin: str | None, settings: Settings) -> Headers:
    """Return the CORS headers of every reply, for the Panel's origin or the client's, if allowed."""
    return _cors_headers(origin, settings.remote, settings.allowed_origins, settings.allow_cors_private_network)


@functools.lru_cache(maxsize=64)
def _cors_headers(origin: str | None, remote: str, allowed_origins: tuple[str, ...], private_network: bool) -> Headers:
    # Browsers send an origin without a slash at its end.
    remote = remote.rstrip("/")
    allowed = remote
    if origin is not None and origin != remote:
        allowed = next((each for each in allowed_origins if each in ("*", origin)), remote)
    headers: Headers = (
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", "GET, POST, PATCH, PUT, DELETE, OPTIONS"),
        ("Access-Control-Allow-Headers", _HEADERS),
        ("Access-Control-Max-Age", "7200"),
    )
    if allowed:
        headers = (("Access-Control-Allow-Origin", allowed), *headers)
    if private_network:
        headers = (*headers, ("Access-Control-Request-Private-Network", "true"))
    return headers


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[str]) -> str:
    """Return the client's address: the peer, or behind trusted proxies the last untrusted address in their list. ``forwarded`` are all
    headers of that name: a proxy may add one to the client's."""
    address = peer
    hops = [hop.strip() for hop in ",".join(forwarded).split(",") if hop.strip()]
    while hops and _is_in(address, trusted):
        hop = hops.pop()
        if _parsed(hop) is None:
            break
        address = hop
    return address


def origin_of(address: str, settings: Settings) -> str:
    """Return the journal's name for a client: its address and the id of its token."""
    return f"{address} (token {settings.token_id})" if settings.token_id else address


def _is_in(address: str, networks: Sequence[str]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in ipaddress.ip_network(each, strict=False) for each in networks if each)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    # A dual-stack socket shows IPv4 addresses in this form.
    return parsed if isinstance(parsed, ipaddress.IPv4Address) else parsed.ipv4_mapped or parsed


@dataclass(frozen=True)
class PathMatch:
    """The name of a path's route, empty for none, and the values of its parameters."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


class PathTable:
    """The routes by method and path. A segment in braces, such as ``{server}``, is a parameter."""

    def __init__(self, routes: Iterable[tuple[str, str, str]]) -> None:
        parameter = re.compile(r"\\{(\w+)\\}")
        self._routes = [(name, method, re.compile(parameter.sub(r"(?P<\1>[^/]+)", re.escape(path)))) for name, method, path in routes]
        self.find = functools.lru_cache(maxsize=1024)(self._find)

    def _find(self, method: str, target: str) -> PathMatch | Reply | None:
        """Return the route of a request target (path and query, as sent), None for an unknown one, or a redirect from an extra slash."""
        raw, mark, query = target.partition("?")
        path = unquote(raw, errors="surrogateescape")
        found = self._match(method, path)
        if found is None and path.endswith("/") and self._match(method, path[:-1]) is not None:
            # The part before the slash is a known path here, so it cannot name another host.
            location = f"{raw[:-1] if raw.endswith('/') else raw[:-3]}{mark}{query}"
            return Reply(301 if method == "GET" else 307, headers=(("Location", location),))
        return found

    def _match(self, method: str, path: str) -> PathMatch | None:
        for name, wanted, pattern in self._routes:
            found = pattern.fullmatch(path) if method == wanted else None
            if found is not None:
                return PathMatch(name, found.groupdict())
        return None
