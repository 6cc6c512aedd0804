# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a token lets in, and what it allows."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.claims import (
    Claims,
    Denials,
    TokenRefused,
    allows_origin,
    check,
    grants,
    read_claims,
)

KEY = "k" * 64
SERVER = "7f9f2b60-6c32-4f4b-9d65-0d6a1dd9a3d1"
NOW = 1_800_000_000.0


def made(**claims: Any) -> str:
    whole = {"iat": NOW, "nbf": NOW - 300, "exp": NOW + 600, "server_uuid": SERVER, "permissions": ["*"], "jti": "j"}
    return jwt.encode({name: value for name, value in {**whole, **claims}.items() if value is not None}, KEY, algorithm="HS256")


def why_not(text: str, now: float = NOW, oldest: float = NOW - 60) -> str:
    try:
        check(read_claims(text, KEY), SERVER, now, oldest)
    except TokenRefused as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, ""),
        ({"nbf": None, "aud": {}, "sub": 1, "jti": 5}, ""),
        ({"exp": NOW}, "jwt: exp claim is invalid"),
        ({"exp": True}, "jwt: exp claim is invalid"),
        ({"iat": None}, "jwt: created too far in past (denylist)"),
        ({"iat": NOW - 61}, "jwt: created too far in past (denylist)"),
        ({"nbf": NOW + 1}, "jwt: nbf claim is invalid"),
        ({"permissions": [["*"], 1, None]}, "jwt: missing connect permission"),
        ({"server_uuid": None}, "jwt: server uuid mismatch"),
    ],
)
def test_a_token_is_looked_at_as_wings_does(claims: dict[str, Any], reason: str) -> None:
    assert why_not(made(**claims)) == reason


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        f"{_part({'alg': 'none'})}.{_part({'server_uuid': SERVER})}.",
        f"{_part({'alg': 'HS256'})}.{_part([1])}.x",
        jwt.encode({"exp": NOW + 600}, KEY, algorithm="HS512"),
        made()[:-3],
    ],
)
def test_what_is_no_token_of_ours_lets_nobody_in(text: str) -> None:
    assert why_not(text) in ("jwt: malformed token", "jwt: HMAC verification failed")


def test_the_star_is_every_permission_but_an_administrators() -> None:
    assert grants({"*"}, "control.stop")
    assert not grants({"*"}, "admin.websocket.errors")
    assert grants({"admin.websocket.errors"}, "admin.websocket.errors")
    assert not grants({"control"}, "control.stop")
    assert not grants(set(), "control.stop")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://panel.example.com", True),
        ("https://panel.example.com:8443", False),
        ("https://panel.example.com.evil.example.com", False),
        ("https://other.example.com", True),
        ("null", False),
    ],
)
def test_only_pages_of_the_panel_and_of_allowed_origins_may_connect(origin: str | None, allowed: bool) -> None:
    assert allows_origin(origin, "https://panel.example.com/", ("https://other.example.com",)) is allowed


def test_a_denied_token_stays_denied_and_a_later_one_of_the_same_user_does_not() -> None:
    denials = Denials()
    denials.deny(["j"], NOW)
    old, new, other = (
        Claims(SERVER, frozenset("*"), NOW + 600, issued, jti=jti) for issued, jti in ((NOW - 1, "j"), (NOW + 1, "j"), (NOW, "k"))
    )
    assert [denials.has(claims) for claims in (old, new, other)] == [True, False, False]


def test_denials_never_grow_without_end_and_outlive_a_clock_that_is_set() -> None:
    denials = Denials()
    for number in range(30_000):
        denials.deny([str(number)], NOW + number / 1000)
    assert len(denials) <= 20_000
    denials.deny(["last"], NOW + 200_000)
    assert denials.has(Claims(SERVER, frozenset("*"), NOW + 600, NOW, jti="29999"))
