# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of an endpoint: its address, its token, its answers and its calls."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint import call as call_module
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.answers import Seen, read_operation, read_server, read_servers
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.call import AtEndpoint, at_endpoint, check_options, describe_at
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.client import Endpoint
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.follow import RunChanges
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import SILENT, Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import CheckCancelled, no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    EndpointError,
    EndpointUnreachable,
    Frozen,
    InterruptedBySignal,
    PowerError,
    ServerNotFound,
    SettingsInvalid,
    Suspended,
    UnsupportedByEndpoint,
)
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Answer, Web
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web_fault import WebFault
from ansible_collections.fleet.power.tests.integration.panel_server import Recorder
from ansible_collections.fleet.power.tests.unit.endpoint_support import OFFLINE, RUNNING, request, seen

TOKEN = "the-token-of-the-node-alone"
UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
TWIN = "0f4c5ad2-aaaa-4c39-8a6e-3f2b7d10c002"
OTHER = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"


def answer(status: int, value: Any = None, text: str = "", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): each for name, each in headers.items()}, value, text)


def server(uuid: str, name: str, state: str = "running") -> dict[str, Any]:
    return {"state": state, "configuration": {"uuid": uuid, "meta": {"name": name}}}


class Scripted(Web):
    """A web with scripted answers. It records the requested ``paths``."""

    def __init__(self, *answers: Answer | WebFault) -> None:
        super().__init__("http://127.0.0.1:1", "")
        self.answers = list(answers)
        self.paths: list[str] = []
        self.params: list[object] = []

    def ask(self, method: str, path: str, **_fields: Any) -> Answer:
        self.paths.append(path)
        self.params.append(_fields.get("params"))
        said = self.answers.pop(0)
        if isinstance(said, WebFault):
            raise said
        return said


class Answering(Endpoint):
    def __init__(self, *answers: Answer | WebFault, url: str = "https://node1.example.test:8080") -> None:
        super().__init__(url, TOKEN)
        self.web = self.scripted = Scripted(*answers)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://node1",
        "https://alice:password-of-alice@node1",
        "https://node1?token=1",
    ],
)
def test_an_invalid_address_is_refused_and_the_message_holds_no_secret(url: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        Endpoint(url, TOKEN)
    assert "password-of-alice" not in str(refusal.value)
    assert TOKEN not in str(refusal.value)


@pytest.mark.parametrize(
    "url, warns",
    [
        ("http://node1:8080", True),
        ("https://node1", False),
        ("http://127.0.0.1:8080", False),
        ("http://localhost", False),
        ("http://[::1]:1", False),
    ],
)
def test_a_token_over_plain_http_to_another_machine_causes_a_warning(url: str, warns: bool) -> None:
    assert bool(Endpoint(url, TOKEN).warnings) is warns


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_requests_to_this_machine_bypass_the_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with closing(Recorder()) as proxy, closing(Recorder()) as wings:
        monkeypatch.setenv("http_proxy", proxy.url)
        wings.fault(lambda answering: answering.json(200, LISTED))
        assert len(Endpoint(f"http://{host}:{wings.port}", TOKEN).servers()) == len(LISTED)
        assert proxy.asked == []
        proxy.fault(lambda answering: answering.json(200, []))
        assert Endpoint("http://node1.example.test", TOKEN).servers() == []
        assert [asked.path for asked in proxy.asked] == ["http://node1.example.test/api/servers"]


@pytest.mark.parametrize(
    "said, error, part",
    [
        (answer(401, {"error": "The required authorization heads were not present in the request."}), EndpointError, "without token_id"),
        (answer(404, {"error": "The requested resource does not exist on this instance."}), ServerNotFound, UUID),
        (answer(400, {"error": "Cannot start or restart a server that is suspended."}), Suspended, "suspended"),
        (
            answer(409, {"error": "Cannot restart server x: the node is frozen", "code": "frozen"}),
            Frozen,
            "^Cannot restart server x: the node",
        ),
        (answer(409, {"error": ["\x1b"], "code": "frozen"}), Frozen, f"Cannot restart server {UUID}: the endpoint says that it is frozen"),
        (answer(409, {"error": "conflict", "code": "other"}), EndpointError, "answers 409"),
        (answer(422, {"error": "The power action provided was not valid"}), EndpointError, "not valid"),
        (answer(500, None, ""), EndpointError, "answers 500"),
        (answer(503, {"error": "queue full"}), EndpointError, "queue full"),
        (answer(200, None, "<html>"), EndpointUnreachable, "may have been accepted"),
        (WebFault("no answer within 5 s"), EndpointUnreachable, "may have been accepted"),
    ],
)
def test_a_refused_action_raises_an_error_with_the_reason(said: Answer | WebFault, error: type[PowerError], part: str) -> None:
    with pytest.raises(error, match=part):
        Answering(said).act(UUID, request("restart"))


@pytest.mark.parametrize(
    "location, path",
    [
        (f"/api/servers/{UUID}/operations/op-1", f"/api/servers/{UUID}/operations/op-1"),
        (f"/wings/api/servers/{UUID}/operations/op-1", f"/api/servers/{UUID}/operations/op-1"),
        ("", f"/api/servers/{UUID}/operations/op-1"),
        ("https://elsewhere.example.test/steal", f"/api/servers/{UUID}/operations/op-1"),
        ("/../../steal", f"/api/servers/{UUID}/operations/op-1"),
        ("@elsewhere.example.test/", f"/api/servers/{UUID}/operations/op-1"),
    ],
)
def test_the_client_asks_only_its_endpoint_for_an_operation(location: str, path: str) -> None:
    endpoint = Answering(answer(202, x_operation_id="op-1", location=location), url="https://node1.example.test/wings")
    assert endpoint.act(UUID, request("stop")).path == path


LISTED = [server(OTHER, "Cobalt"), server(TWIN, "Twin"), server(UUID, "Twin"), server("99999999-0000-4000-8000-000000000000", "Cobalt two")]


def described(names: list[str], endpoint: Answering, tail: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """The facts of servers and the warnings. The list of an endpoint is always complete."""
    found = describe_at(names, endpoint, tail=tail)
    assert found.complete
    return found.entries, list(found.warnings)


def test_the_end_of_a_log_is_masked_and_has_no_control_characters() -> None:
    value = server(UUID, "Twin")
    value["configuration"]["environment"] = {"RCON": "secret-of-rcon", "PORT": 25565, "HALF": "half-\ud800"}
    lines = ["one", f"password is secret-of-rcon, token {TOKEN}", "\x1b[31mred\x00", "\ud800", 7]
    endpoint = Answering(answer(200, value), answer(200, {"data": lines}))
    entries, faults = described([UUID], endpoint, tail=3)
    assert (entries[0]["log"], faults) == (["password is ********, token ********", "red", "?"], [])
    assert (endpoint.scripted.paths[1:], endpoint.scripted.params[1:]) == ([f"/api/servers/{UUID}/logs"], [{"size": 3}])
    assert "secret-of-rcon" not in repr(read_server(value))


def entry_of(**fields: Any) -> dict[str, Any]:
    configuration = {"uuid": UUID, "meta": {"name": "Cobalt"}, "environment": {"RCON": "rcon-secret"}, "container": {"image": "echo:1"}}
    utilization = {"memory_bytes": 7, "cpu_absolute": 12.307, "uptime": 93500, "network": {"rx_bytes": 1}, "state": "stopping"}
    return {"state": "running", "is_suspended": False, "utilization": utilization, "configuration": configuration, **fields}


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"state": "up"}, {"state": ["running"]}, entry_of(configuration={"uuid": OTHER})],
    ids=str,
)
def test_an_invalid_answer_about_a_server_raises_an_error(value: object) -> None:
    with pytest.raises(ValueError):
        read_server(value, UUID)


def test_a_token_is_masked_in_all_texts_of_the_endpoint() -> None:
    token = "secrettoken"
    text = f"a {token} b"

    def masked(said: str) -> str:
        return said.replace(token, "*")

    value = {
        "outcome": "failed",
        **dict.fromkeys(("id", "server", "action", "msg"), text),
        "code": token,
        "stop": {"how": text, "forced": False, "seconds": 1},
        "lock": {"holder": {text: text, token: 7}},
        "preboot": [{"step": text, "msg": text}],
        "log": [text, "x" * 990 + token],
    }
    operation = read_operation(value, masked)
    assert (token[:6] in repr(operation), operation.msg, operation.code) == (False, "a * b", "")
    server = entry_of(configuration={"uuid": UUID, "meta": {"name": text}, "container": {"image": text}})
    assert [token in repr(each) for each in (read_server(server, UUID, masked), read_servers([server], masked))] == [False, False]


FREEZE = {
    "is_frozen": True,
    "until": "2026-01-31T06:00:00.000Z",
    "at": "x",
    "origin": "alice",
    "reason": "a\x1b",
    "supervisor": False,
    "node": True,
}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None),
        (FREEZE, {**FREEZE, "reason": "a"}),
        # A value that is no freeze does not prove that there is none.
        *((wrong, dict.fromkeys(FREEZE)) for wrong in (7, [], "x", {}, {"is_frozen": "no", "until": 5})),
    ],
)
def test_a_freeze_that_cannot_be_read_is_unknown(value: object, found: object) -> None:
    assert read_server(entry_of(freeze=value), UUID).entry()["freeze"] == found
    assert "freeze" not in read_server(entry_of(), UUID).entry()


#: An observation, the time of its request, and the time of its answer.
Look = tuple[Seen, float, float]


def verdicts(before: Seen, *looks: Look) -> list[bool]:
    runs = RunChanges(before)
    return [runs.began_after(each, sent, at) for each, sent, at in looks]


def up(uptime: int, sent: float, at: float | None = None) -> Look:
    return seen(RUNNING, uptime), sent, sent if at is None else at


def down(sent: float) -> Look:
    return seen(OFFLINE), sent, sent


def test_the_age_of_a_run_counts_from_the_time_of_the_request() -> None:
    # The offline answer came too early: the old process, of unknown age, still runs.
    assert verdicts(seen(RUNNING), down(0.2), up(5000, 1, at=9)) == [False, False]
    assert verdicts(seen(RUNNING), down(0.2), up(5000, 6, at=9)) == [False, True]


@pytest.mark.parametrize("seed", range(30))
def test_lags_delays_and_single_wrong_uptimes_do_not_look_like_a_restart(seed: int) -> None:
    chance = random.Random(seed)
    age = chance.choice([0.3, 1.0, 3.0, 60.0])

    def figure(moment: float, sampled: float) -> int:
        return max(0, int((age + min(moment, sampled)) * 1000))

    runs, now, sampled = RunChanges(seen(RUNNING, figure(0, 0))), 0.0, 0.0
    for _look in range(200):
        now += chance.uniform(0.05, 1.0)
        if chance.random() < 0.5:
            sampled = now
        uptime = figure(now, sampled)
        if chance.random() < 0.1:
            # The next figure is true again.
            uptime, sampled = chance.choice([0, 1, 500, uptime // 2]), now
            wrong = RunChanges.began_after(runs, *up(uptime, now, at=now + chance.uniform(0, 9)))
            assert not wrong
            now += 0.1
            uptime = figure(now, now)
        assert not runs.began_after(*up(uptime, now, at=now + chance.uniform(0, 9)))


ELSEWHERE = "https://node1.example.test:8080"
HERE = "http://127.0.0.1:8080"
OURS, WINGS = "endpoint-token-of-the-settings", "token-of-wings"


def token(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, Any], **options: str) -> str:
    taken: list[str] = []
    monkeypatch.setattr(call_module, "Endpoint", lambda _url, token, **_unused: taken.append(token))
    parsed = parse_settings(settings, where="the settings")
    url = options.get("api_url", parsed.endpoint_url)
    assert url
    at_endpoint(url, options, parsed, SILENT)
    return taken[0]


def test_the_token_comes_from_the_task_the_endpoint_settings_or_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {"endpoint": {"url": ELSEWHERE, "token": OURS}, "token": WINGS}
    assert token(monkeypatch, settings, api_token="given") == "given"
    assert token(monkeypatch, settings) == OURS
    del settings["endpoint"]["token"]
    assert token(monkeypatch, settings) == WINGS


@pytest.mark.parametrize("url", [ELSEWHERE, "http://127.0.0.1.example.test", "https://localhost.example.test", "https://10.0.0.7"])
def test_a_token_of_the_settings_does_not_go_to_an_address_of_the_task(url: str) -> None:
    settings = parse_settings({"endpoint": {"url": "https://node2.example.test", "token": OURS}, "token": WINGS}, where="x")
    with pytest.raises(SettingsInvalid, match="give api_token") as refusal:
        at_endpoint(url, {"api_url": url}, settings, SILENT)
    assert OURS not in str(refusal.value) and WINGS not in str(refusal.value)


@pytest.mark.parametrize("given", ["", "  ", "\n"])
@pytest.mark.parametrize("url", [HERE, ELSEWHERE])
def test_an_empty_token_is_refused_without_a_fallback(url: str, given: str) -> None:
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
        self.web = Silent()


def test_a_signal_ends_a_search_for_all_servers_or_for_named_servers() -> None:
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
        {"retry_reverted": True},
        {"on_failed_start": "leave"},
        {"settle": 0},
    ],
    ids=lambda given: next(iter(given)),
)
def test_an_option_that_endpoints_do_not_support_is_refused_by_name(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedByEndpoint, match=next(iter(given))):
        check_options(given)
