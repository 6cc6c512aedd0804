# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claims of a token of the Panel: the permissions of its user, and revoked tokens; pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..._power.model.errors import MissingLibrary
from ..._power.model.records import dataclass
from ..._power.model.server import parse_uuid

CONNECT = "websocket.connect"
CONSOLE = "control.console"
#: The permission to see errors of the node: administrators of the Panel.
ERRORS = "admin.websocket.errors"
_ALL, _ADMIN = "*", "admin."
#: Clients compare these texts. After the first two they fetch a new token.
EXPIRED = "jwt: exp claim is invalid"
TOO_OLD = "jwt: created too far in past (denylist)"
NOT_YET = "jwt: nbf claim is invalid"
NO_CONNECT = "jwt: missing connect permission"
WRONG_SERVER = "jwt: server uuid mismatch"
WRONG_SIGNATURE = "jwt: HMAC verification failed"
MALFORMED = "jwt: malformed token"
NONE_GIVEN = "jwt: no jwt present"
#: The limit of revocations: a Panel makes fewer in ten minutes, the life of a token. Age removes none, because clocks may be set.
_MOST = 20_000


def allows_origin(origin: str | None, remote: str, allowed: Collection[str]) -> bool:
    """Tell if a web page of this origin may open a websocket: only the Panel's, and those in the settings."""
    if not origin:
        return False
    return origin == remote.rstrip("/") or origin in allowed or "*" in allowed


class TokenRefused(Exception):
    """The token is refused; the text is for the client."""


@dataclass(frozen=True)
class Claims:
    """The claims of a token. Times are seconds since 1970; ``user`` is a UUID, or empty. A user's tokens for one server share a ``jti``."""

    server: str
    permissions: frozenset[str]
    expires_at: float
    issued_at: float
    begins_at: float = 0.0
    user: str = ""
    jti: str = ""

    def grants(self, permission: str) -> bool:
        """Tell if the permissions include this one. ``*`` includes all but administrators' permissions."""
        return permission in self.permissions or (_ALL in self.permissions and not permission.startswith(_ADMIN))


def need_library() -> None:
    try:
        import jwt
    except ImportError as error:
        raise MissingLibrary.of("open websockets", "PyJWT", "python3-jwt", error) from error
    del jwt


def read_claims(text: str, key: str) -> Claims:
    """Return the claims of a token that ``key`` has signed. Raises `TokenRefused`, also without ``exp`` or ``iat``."""
    import jwt

    # `check` compares the claims with the clock and the server.
    unchecked = {f"verify_{name}": False for name in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}
    try:
        found: Mapping[str, Any] = jwt.decode(text, key, algorithms=["HS256"], options={"verify_signature": True, **unchecked})  # type: ignore[arg-type]
    except jwt.InvalidSignatureError:
        raise TokenRefused(WRONG_SIGNATURE) from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenRefused(MALFORMED) from None
    permissions = found.get("permissions")
    expires_at, issued_at = _moment(found.get("exp")), _moment(found.get("iat"))
    if expires_at is None:
        raise TokenRefused(EXPIRED)
    if issued_at is None:
        raise TokenRefused(TOO_OLD)
    user = found.get("user_uuid")
    return Claims(
        server=str(found.get("server_uuid")),
        permissions=frozenset(each for each in permissions if isinstance(each, str)) if isinstance(permissions, list) else frozenset(),
        expires_at=expires_at,
        issued_at=issued_at,
        begins_at=_moment(found.get("nbf")) or 0.0,
        user=(parse_uuid(user) or "") if isinstance(user, str) else "",
        jti=str(found.get("jti") or ""),
    )


def check(claims: Claims, server: str, now: float, oldest: float) -> None:
    """Raise `TokenRefused` if the token does not open this server's websocket now. ``oldest`` is the second in which this process began.
    Older tokens are refused, because earlier revocations are unknown."""
    if claims.expires_at <= now:
        raise TokenRefused(EXPIRED)
    if claims.begins_at > now:
        raise TokenRefused(NOT_YET)
    if claims.issued_at < oldest:
        raise TokenRefused(TOO_OLD)
    if not claims.grants(CONNECT):
        raise TokenRefused(NO_CONNECT)
    if claims.server != server:
        raise TokenRefused(WRONG_SERVER)


def _moment(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        moment = float(value)
    except OverflowError:
        return None
    return moment if math.isfinite(moment) else None


class Denials:
    """The revoked tokens, with the time of each revocation. A later token of the same user and server is valid."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._at)

    def deny(self, numbers: Iterable[str], now: float) -> None:
        """Revoke the tokens with these ids (``jti``) that were made before ``now``."""
        for number in numbers:
            self._at.pop(number, None)
            self._at[number] = now
        while len(self._at) > _MOST:
            del self._at[next(iter(self._at))]

    def has(self, claims: Claims) -> bool:
        at = self._at.get(claims.jti)
        return at is not None and claims.issued_at <= at
