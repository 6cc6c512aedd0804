# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The route that a request takes, and who is let in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http import replies
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.replies import (
    PathMatch,
    PathTable,
    client_address,
    cors_headers,
    refusal,
)
from ansible_collections.fleet.power.plugins.module_utils._http_shim.service import ROUTES
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import Settings, parse_settings

UUID = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"
PATHS = PathTable((route.name, route.method, route.path) for route in ROUTES)


def settings(**values: object) -> Settings:
    return replace(parse_settings({}, where="a test"), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method, target, route",
    [
        ("GET", "/api/servers", PathMatch("servers")),
        ("POST", f"/api/servers/{UUID}/power", PathMatch("power", {"server": UUID})),
        ("GET", "/api/servers/a%2Db", PathMatch("server", {"server": "a-b"})),
        ("GET", "/api/servers/a%2Fws", PathMatch("websocket", {"server": "a"})),
        ("GET", f"/api/servers/{UUID}/power", None),
        ("GET", "/api/./servers", None),
    ],
)
def test_a_request_takes_the_route_of_its_method_and_path(method: str, target: str, route: PathMatch | None) -> None:
    assert PATHS.find(method, target) == route


def test_an_empty_token_lets_nobody_in() -> None:
    assert refusal("Bearer ", "") is replies.WRONG_TOKEN
    assert refusal("Bearer x", "x") is None
    assert refusal("Bearer x ", "x") is replies.WRONG_TOKEN


def test_the_origin_of_the_panel_is_told_to_all_and_a_star_lets_all_in() -> None:
    panel = settings(remote="https://panel.example.com")
    assert dict(cors_headers(None, panel))["Access-Control-Allow-Origin"] == "https://panel.example.com"
    assert dict(cors_headers("https://evil.example.com", panel))["Access-Control-Allow-Origin"] == "https://panel.example.com"
    slash = replace(panel, remote="https://panel.example.com/")
    assert cors_headers("https://panel.example.com", slash) == cors_headers("https://panel.example.com", panel)
    anybody = replace(panel, allowed_origins=("*",), allow_cors_private_network=True)
    told = dict(cors_headers("https://evil.example.com", anybody))
    assert (told["Access-Control-Allow-Origin"], told["Access-Control-Request-Private-Network"]) == ("*", "true")


@pytest.mark.parametrize(
    "peer, forwarded, address",
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
    ],
)
def test_only_proxies_that_are_trusted_say_who_asks(peer: str, forwarded: list[str], address: str) -> None:
    assert client_address(peer, forwarded, ("10.0.0.0/8",)) == address
