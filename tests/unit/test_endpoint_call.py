# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A call at an endpoint: whose token goes where, which options are refused, and that a signal ends the search for servers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.bulk import perform_each
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint import call as call_module
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.call import AtEndpoint, at_endpoint, check_options
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.seen import Seen
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import SILENT, Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import CheckCancelled, no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    InterruptedBySignal,
    SettingsInvalid,
    UnsupportedByEndpoint,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Answer
from ansible_collections.fleet.power.tests.unit.endpoint_support import UUID, FakeEndpoint, request, seen
from ansible_collections.fleet.power.tests.unit.test_endpoint import LISTED, OTHER, Answering, Scripted, answer

ELSEWHERE = "https://node1.example.test:8080"
HERE = "http://127.0.0.1:8080"
OURS, WINGS = "endpoint-token-of-the-settings", "token-of-wings"


# ----- tokens


def token(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, Any], **options: str) -> str:
    """The token that goes to the endpoint of these settings and options."""
    taken: list[str] = []
    monkeypatch.setattr(call_module, "Endpoint", lambda _url, token, **_unused: taken.append(token))
    parsed = parse_settings(settings, where="the settings")
    url = options.get("api_url", parsed.endpoint_url)
    assert url
    at_endpoint(url, options, parsed, SILENT)
    return taken[0]


def test_an_address_in_the_settings_gets_the_tasks_token_or_the_endpoints_or_the_nodes_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"endpoint": {"url": ELSEWHERE, "token": OURS}, "token": WINGS}
    assert token(monkeypatch, settings, api_token="given") == "given"
    assert token(monkeypatch, settings) == OURS
    del settings["endpoint"]["token"]
    assert token(monkeypatch, settings) == WINGS


@pytest.mark.parametrize("url", [HERE, "http://localhost:8080", "https://[::1]"])
def test_a_token_of_the_settings_goes_to_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert token(monkeypatch, {"endpoint": {"token": OURS}, "token": WINGS}, api_url=url) == OURS
    assert token(monkeypatch, {"token": WINGS}, api_url=url) == WINGS


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


def test_an_empty_token_in_the_settings_is_refused_and_the_nodes_own_does_not_take_its_place() -> None:
    settings = parse_settings({"endpoint": {"url": ELSEWHERE, "token": ""}, "token": WINGS}, where="x")
    with pytest.raises(SettingsInvalid, match="it has no token"):
        at_endpoint(ELSEWHERE, {}, settings, SILENT)


# ----- which servers


class Silent(Scripted):
    """A web that never answers, but looks up as it promises."""

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


def test_two_names_of_one_server_are_both_refused_where_the_list_failed() -> None:
    endpoint = Answering(answer(502, {"error": "x"}), *[answer(200, LISTED)] * 3)
    call = AtEndpoint(endpoint, parse_settings({}, where="x"), SILENT)
    targets = call.targets(["Cobalt", OTHER[:8]], request("stop"))
    results = perform_each(targets, call.act, Limiter())
    assert [(result.outcome.value, result.code) for result in results] == [("failed", "endpoint_error")] * 2
    assert (len({result.msg for result in results}), endpoint.scripted.paths) == (1, ["/api/servers"])


def test_a_restart_of_all_that_are_offline_is_refused_as_on_a_node() -> None:
    call = AtEndpoint(Answering(answer(200, LISTED)), parse_settings({}, where="x"), SILENT)
    with pytest.raises(SettingsInvalid, match="restart of all"):
        call.targets(["all"], request("restart", only=frozenset({PowerState.OFFLINE})))


# ----- faults of ours


class Faulty(FakeEndpoint):
    def look(self, uuid: str, *, seconds: float | None = None, check_cancelled: CheckCancelled = no_check) -> Seen:
        raise RuntimeError("a fault of ours, with a secret in it")


def test_a_fault_of_ours_is_told_and_hides_no_other_server() -> None:
    call = AtEndpoint(Faulty(seen(PowerState.RUNNING)), parse_settings({}, where="x"), SILENT)
    results = perform_each(call.targets([UUID, OTHER], request("stop", check=True)), call.act, Limiter())
    assert [(result.server.uuid, result.code) for result in results] == [(UUID, "internal_error"), (OTHER, "internal_error")]
    assert "secret" not in results[0].msg


# ----- options


@pytest.mark.parametrize(
    "given",
    [
        {"stop_timeout": 0},
        {"definitions": [{}]},
        {"definitions_dir": "/d"},
        {"adopt": True},
        {"if_meant_up": True},
        {"outdated": True},
    ],
    ids=lambda given: next(iter(given)),
)
def test_an_option_that_no_endpoint_can_honour_is_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedByEndpoint, match=next(iter(given))):
        check_options(given)


def test_several_options_are_refused_in_one_sentence_that_says_the_way_out() -> None:
    with pytest.raises(UnsupportedByEndpoint, match=r"stop_timeout .*, adopt .*; leave them out, or act on the node with api_url empty"):
        check_options({"stop_timeout": 3, "adopt": True})


# ----- in order


def test_a_server_named_by_its_uuid_is_found_by_its_name_and_nobody_is_asked_where_no_name_is_given() -> None:
    endpoint = Answering(answer(200, LISTED))
    call = AtEndpoint(endpoint, parse_settings({}, where="x"), SILENT)
    targets = call.targets([OTHER], request("stop"))
    assert call.priorities(targets, {OTHER: 3}) == [3] and endpoint.scripted.paths == []
    assert call.priorities(targets, {"Cobalt": 4}) == [4] and endpoint.scripted.paths == ["/api/servers"]


def test_a_signal_ends_the_search_for_names() -> None:
    call = AtEndpoint(Unanswering(), parse_settings({}, where="x"), Caller(lambda: True))
    with pytest.raises(InterruptedBySignal):
        call.priorities(call.targets([OTHER], request("stop")), {"Cobalt": 4})


def test_nobody_can_tell_who_is_meant_to_be_up_at_an_endpoint() -> None:
    with pytest.raises(UnsupportedByEndpoint, match="meant to be up"):
        AtEndpoint(Answering(), parse_settings({}, where="x"), SILENT).meant_up()


@pytest.mark.parametrize(
    ("lacking", "action", "is_whole"),
    [
        ("", "start", True),
        ("source_unreachable", "start", False),
        ("source_unreachable", "restart", False),
        # Whatever is up has a container.
        ("source_denied", "stop", True),
        ("engine_unreachable", "stop", False),
    ],
)
def test_an_action_on_all_is_incomplete_where_the_endpoint_could_not_list_who_is_meant(lacking: str, action: str, is_whole: bool) -> None:
    call = AtEndpoint(Answering(answer(200, LISTED, x_unlisted=lacking)), parse_settings({}, where="x"), SILENT)
    assert call.targets(["all"], request(action))
    assert (call.unlisted() == []) is is_whole
