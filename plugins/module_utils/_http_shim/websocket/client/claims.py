# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The token of a websocket: its signature, its permissions, and its times; pure. The rules, and the words of a refusal, are Wings'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...._power.model.errors import MissingLibrary
from ...._power.model.server import parse_uuid
from .permissions import CONNECT, grants

_ALGORITHM = "HS256"
#: What clients compare: after the first two they fetch a new token.
EXPIRED = "jwt: exp claim is invalid"
TOO_OLD = "jwt: created too far in past (denylist)"
NOT_YET = "jwt: nbf claim is invalid"
NO_CONNECT = "jwt: missing connect permission"
WRONG_SERVER = "jwt: server uuid mismatch"
WRONG_SIGNATURE = "jwt: HMAC verification failed"
MALFORMED = "jwt: malformed token"
NONE_GIVEN = "jwt: no jwt present"


class TokenRefused(Exception):
    """The token does not let its bearer in; the text is for the client."""


@dataclass(frozen=True)
class Claims:
    """The claims of a token. Times are seconds since 1970; ``user`` is a UUID, or empty.

    ``jti`` is the same in all tokens of one user for one server.
    """

    server: str
    permissions: frozenset[str]
    expires_at: float
    issued_at: float
    begins_at: float = 0.0
    user: str = ""
    jti: str = ""

    def grants(self, permission: str) -> bool:
        """Tell whether the bearer may do that."""
        return grants(self.permissions, permission)


def need_library() -> None:
    """Raise `MissingLibrary` if tokens cannot be read here."""
    try:
        import jwt
    except ImportError as error:
        raise MissingLibrary.of("open websockets", "PyJWT", "python3-jwt", error) from error
    del jwt


def read_claims(text: str, key: str) -> Claims:
    """Return the claims of a token that ``key`` has signed, whatever they say. Raises `TokenRefused`."""
    import jwt

    # What times and names mean is decided by `check`, with the clock and the server that count.
    unchecked = {f"verify_{name}": False for name in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}
    try:
        found = jwt.decode(text, key, algorithms=[_ALGORITHM], options={"verify_signature": True, **unchecked})  # type: ignore[arg-type]
    except jwt.InvalidSignatureError:
        raise TokenRefused(WRONG_SIGNATURE) from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenRefused(MALFORMED) from None
    return _claims(found)


def check(claims: Claims, server: str, now: float, oldest: float) -> None:
    """Raise `TokenRefused` if the token does not open this server's websocket now.

    ``oldest`` is the second in which this process began: what was refused before it is not known any more, so older tokens are refused.
    """
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


def _claims(found: Mapping[str, Any]) -> Claims:
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


def _moment(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        moment = float(value)
    except OverflowError:
        return None
    return moment if math.isfinite(moment) else None
