# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A call at an endpoint: which token it uses, which options it refuses, and how a signal ends a search."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint import call as call_module
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.call import AtEndpoint, at_endpoint, check_options
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import SILENT, Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import CheckCancelled, no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    InterruptedBySignal,
    SettingsInvalid,
    UnsupportedByEndpoint,
)
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web_answers import Answer
from ansible_collections.fleet.power.tests.unit.endpoint_support import request
from ansible_collections.fleet.power.tests.unit.test_endpoint import LISTED, Answering, Scripted, answer

ELSEWHERE = "https://node1.example.test:8080"
HERE = "http://127.0.0.1:8080"
OURS, WINGS = "endpoint-token-of-the-settings", "token-of-wings"


def token(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, Any], **options: str) -> str:
    """The token that goes to the endpoint of these settings and options."""
    taken: list[str] = []
    monkeypatch.setattr(call_module, "Endpoint", lambda _url, token, **_unused: taken.append(token))
    parsed = parse_settings(settings, where="the settings")
    url = options.get("api_url", parsed.endpoint_url)
    assert url
    at_endpoint(url, options, parsed, SILENT)
    return taken[0]


def test_an_address_of_the_settings_gets_the_token_of_task_endpoint_or_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"endpoint": {"url": ELSEWHERE, "token": OURS}, "token": WINGS}
    assert token(monkeypatch, settings, api_token="given") == "given"
    assert token(monkeypatch, settings) == OURS
    del settings["endpoint"]["token"]
    assert token(monkeypatch, settings) == WINGS


@pytest.mark.parametrize("url", [ELSEWHERE, "http://127.0.0.1.example.test", "https://localhost.example.test", "https://10.0.0.7"])
def test_a_token_of_the_settings_goes_to_no_other_address_that_a_task_names(url: str) -> None:
    settings = parse_settings({"endpoint": {"url": "https://node2.example.test", "token": OURS}, "token": WINGS}, where="x")
    with pytest.raises(SettingsInvalid, match="give api_token") as refusal:
        at_endpoint(url, {"api_url": url}, settings, SILENT)
    assert OURS not in str(refusal.value) and WINGS not in str(refusal.value)


@pytest.mark.parametrize("given", ["", "  ", "\n"])
@pytest.mark.parametrize("url", [HERE, ELSEWHERE])
def test_a_token_that_is_given_but_empty_is_refused_and_no_other_takes_its_place(url: str, given: str) -> None:
    settings = parse_settings({"endpoint": {"token": OURS}}, where="x")
    with pytest.raises(SettingsInvalid, match="api_token is empty"):
        at_endpoint(url, {"api_url": url, "api_token": given}, settings, SILENT)


class Silent(Scripted):
    def ask(self, method: str, path: str, *, check_cancelled: CheckCancelled = no_check, **_unused: Any) -> Answer:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            check_cancelled()
            time.sleep(0.01)
        return answer(200, LISTED)


class Unanswering(Answering):
    def __init__(self) -> None:
        super().__init__()
        self._connection.web = Silent()


def test_a_signal_ends_the_search_for_all_servers_and_is_told_by_each_that_was_named() -> None:
    call = AtEndpoint(Unanswering(), parse_settings({}, where="x"), Caller(lambda: True))
    began = time.monotonic()
    with pytest.raises(InterruptedBySignal, match="nothing was done"):
        call.targets(["all"], request("stop"))
    assert [target.server for target in call.targets(["Cobalt"], request("stop"))] == [None]
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "given",
    [
        {"stop_timeout": 0},
        {"definitions": [{}]},
        {"outdated": True},
    ],
    ids=lambda given: next(iter(given)),
)
def test_an_option_that_no_endpoint_can_honour_is_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedByEndpoint, match=next(iter(given))):
        check_options(given)
