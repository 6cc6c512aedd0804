# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint's client: which address it takes, where its token goes, what an answer means, and which server is meant."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint import server_list
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.client import Endpoint
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.facts import describe_at, identify_at
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.seen import read_server
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    EndpointError,
    EndpointUnreachable,
    InterruptedBySignal,
    PowerError,
    ServerNotFound,
    SettingsInvalid,
    Suspended,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Answer, Web, WebFault
from ansible_collections.fleet.power.tests.integration.panel_server import Recorder, closing

TOKEN = "the-token-of-the-node-alone"
UUID = "0f4c5ad2-9a1b-4c39-8a6e-3f2b7d10c001"
TWIN = "0f4c5ad2-aaaa-4c39-8a6e-3f2b7d10c002"
OTHER = "566bf9d7-c55a-45f8-91a6-e55e9b9b1325"


def answer(status: int, value: Any = None, text: str = "", **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): each for name, each in headers.items()}, value, text)


def server(uuid: str, name: str, state: str = "running") -> dict[str, Any]:
    return {"state": state, "configuration": {"uuid": uuid, "meta": {"name": name}}}


class Scripted(Web):
    """A web whose next answers are given; ``paths`` are those asked for."""

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
        self._connection.web = self.scripted = Scripted(*answers)


# ----- address and token


@pytest.mark.parametrize(
    "url",
    [
        "",
        "node1:8080",
        "ftp://node1",
        "http://[::1",
        "https://alice:password-of-alice@node1",
        "https://node1?token=1",
    ],
)
def test_an_address_that_is_none_is_refused_without_what_is_secret_in_it(url: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        Endpoint(url, TOKEN)
    assert "password-of-alice" not in str(refusal.value)
    assert TOKEN not in str(refusal.value)


@pytest.mark.parametrize("token", ["", "  ", "\n", "two\nlines", "ümlaut\u2028"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        Endpoint("https://node1", token)
    assert token.strip() not in str(refusal.value) or not token.strip()


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
def test_a_token_that_leaves_the_machine_in_the_clear_is_a_warning(url: str, warns: bool) -> None:
    assert bool(Endpoint(url, TOKEN).warnings) is warns


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_is_asked_of_this_machine_does_not_leave_it_by_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


# ----- what an answer means


@pytest.mark.parametrize(
    "said, error, part",
    [
        (answer(401, {"error": "The required authorization heads were not present in the request."}), EndpointError, "without token_id"),
        (answer(404, {"error": "The requested resource does not exist on this instance."}), ServerNotFound, UUID),
        (answer(404, None, "404 page not found"), EndpointError, "is its address right"),
        (answer(400, {"error": "Cannot start or restart a server that is suspended."}), Suspended, "suspended"),
        (answer(422, {"error": "The power action provided was not valid"}), EndpointError, "not valid"),
        (answer(500, None, ""), EndpointError, "answers 500"),
        (answer(503, {"error": "queue full"}), EndpointError, "queue full"),
        (answer(200, None, "<html>"), EndpointUnreachable, "may have been taken"),
        (WebFault("no answer within 5 s"), EndpointUnreachable, "may have been taken"),
    ],
)
def test_a_request_for_an_action_that_is_not_accepted_says_why(said: Answer | WebFault, error: type[PowerError], part: str) -> None:
    with pytest.raises(error, match=part):
        Answering(said).act(UUID, PowerAction.RESTART, 30)


def test_a_token_or_a_control_character_that_the_endpoint_repeats_is_not_shown() -> None:
    with pytest.raises(EndpointError) as error:
        Answering(answer(500, {"error": f"bad token {TOKEN}\x1b[31m\n{'x' * 2000}"})).look(UUID)
    assert TOKEN not in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("field", ["name", "how", "holder", "step", "id"])
def test_a_token_is_shown_in_no_field_that_the_endpoint_tells(field: str) -> None:
    ended = {
        "outcome": "done",
        "stop": {"how": TOKEN, "forced": False, "seconds": 1},
        "lock": {"holder": {"origin": TOKEN}},
        "preboot": [{"step": TOKEN, "changed": True, "msg": TOKEN}],
    }
    told = server(UUID, f"by {TOKEN}")
    endpoint = Answering(
        answer(200, told), answer(200, [told]), answer(202, x_operation_id=TOKEN, location=f"/{TOKEN}"), answer(200, ended)
    )
    shown = {
        "name": (endpoint.look(UUID), endpoint.servers()),
        "id": endpoint.act(UUID, PowerAction.STOP, 0),
        **dict.fromkeys(("how", "holder", "step"), endpoint.operation("/x", wait_seconds=0)),
    }
    assert TOKEN not in repr(shown[field])


@pytest.mark.parametrize("value", [None, [], {}, {"state": "up"}, server(OTHER, "Other")], ids=str)
def test_an_answer_that_is_no_server_is_no_usable_answer(value: object) -> None:
    with pytest.raises(EndpointUnreachable):
        Answering(answer(200, value)).look(UUID)


# ----- operations


@pytest.mark.parametrize(
    "location, path",
    [
        (f"/api/servers/{UUID}/operations/op-1", f"/api/servers/{UUID}/operations/op-1"),
        (f"/wings/api/servers/{UUID}/operations/op-1", f"/api/servers/{UUID}/operations/op-1"),
        ("", f"/api/servers/{UUID}/operations/op-1"),
        ("https://elsewhere.example.test/steal", f"/api/servers/{UUID}/operations/op-1"),
        ("//elsewhere.example.test/steal", f"/api/servers/{UUID}/operations/op-1"),
        ("/../../steal", f"/api/servers/{UUID}/operations/op-1"),
        ("@elsewhere.example.test/", f"/api/servers/{UUID}/operations/op-1"),
    ],
)
def test_an_operation_is_looked_for_on_the_endpoint_itself_whatever_the_answer_says(location: str, path: str) -> None:
    endpoint = Answering(answer(202, x_operation_id="op-1", location=location), url="https://node1.example.test/wings")
    assert endpoint.act(UUID, PowerAction.STOP, 30).path == path


# ----- which server


LISTED = [server(OTHER, "Cobalt"), server(TWIN, "Twin"), server(UUID, "Twin"), server("99999999-0000-4000-8000-000000000000", "Cobalt two")]


@pytest.mark.parametrize("text", ["../etc", "cobalt", "x" * 100_000, "a\x00b"], ids=lambda text: text[:9])
def test_what_nobody_is_called_is_not_found(text: str) -> None:
    with pytest.raises(ServerNotFound) as error:
        identify_at(text, Answering(answer(200, LISTED)))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


def test_one_who_waits_for_the_list_of_another_looks_up_and_may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_list, "_LOOK_SECONDS", 0.02)
    endpoint, answered, asking = Answering(), threading.Event(), threading.Event()

    def ask(*_unused: object, **_also_unused: object) -> Answer:
        asking.set()
        answered.wait(10)
        return answer(200, LISTED)

    def leave() -> None:
        raise InterruptedBySignal("a signal")

    monkeypatch.setattr(endpoint.scripted, "ask", ask)
    first = threading.Thread(target=endpoint.listed)
    first.start()
    assert asking.wait(10)
    try:
        with pytest.raises(InterruptedBySignal):
            identify_at("Cobalt", endpoint, leave)
    finally:
        answered.set()
        first.join()
    assert len(endpoint.listed()) == len(LISTED)


# ----- what is read of servers


def described(names: list[str], endpoint: Answering, tail: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """What is told of servers, and the sentences beside it; an endpoint's list is whole or none."""
    told = describe_at(names, endpoint, tail=tail)
    assert told.complete
    return told.entries, list(told.warnings)


def test_named_servers_are_described_once_each() -> None:
    entries, faults = described(["Cobalt", OTHER, "nobody", UUID[:-1] + "9"], Answering(answer(200, LISTED)))
    assert [entry["server"] for entry in entries] == [OTHER]
    assert len(faults) == 2
    assert "nobody" in faults[0]


def test_the_end_of_a_log_is_asked_for_masked_and_fit_for_a_terminal() -> None:
    told = server(UUID, "Twin")
    told["configuration"]["environment"] = {"RCON": "secret-of-rcon", "PORT": 25565, "HALF": "half-\ud800"}
    lines = ["one", f"password is secret-of-rcon, token {TOKEN}", "\x1b[31mred\x00", "\ud800", 7]
    endpoint = Answering(answer(200, told), answer(200, {"data": lines}))
    entries, faults = described([UUID], endpoint, tail=3)
    assert (entries[0]["log"], faults) == (["password is ********, token ********", "red", "?"], [])
    assert (endpoint.scripted.paths[1:], endpoint.scripted.params[1:]) == ([f"/api/servers/{UUID}/logs"], [{"size": 3}])
    assert "secret-of-rcon" not in repr(read_server(told))


@pytest.mark.parametrize("state, sentences", [("offline", 0), ("running", 1)])
def test_a_log_that_cannot_be_read_hides_nothing_else(state: str, sentences: int) -> None:
    said = answer(500, {"error": "An unexpected error was encountered"})
    listed = [server(OTHER, "Cobalt"), server(UUID, "Twin", state)]
    entries, faults = described([], Answering(answer(200, listed), said, answer(200, {"data": ["ready"]})), tail=9)
    assert ([entry["log"] for entry in entries], len(faults)) == ([None if sentences else [], ["ready"]], sentences)


# ----- what an endpoint cannot see itself


def test_a_listed_server_whose_state_is_not_told_is_listed_all_the_same() -> None:
    unseen = {**server(OTHER, "Cobalt"), "state": None, "code": "engine_error", "msg": "Cannot inspect container: no"}
    mute = {**server(UUID, "Twin"), "state": "undead"}
    for names in ([], ["Cobalt", UUID]):
        entries, warnings = described(names, Answering(answer(200, [unseen, mute])), tail=0)
        told = {entry["server"]: entry for entry in entries}
        assert told[OTHER] == {
            "server": OTHER,
            "short_id": OTHER[:8],
            "name": "Cobalt",
            "state": None,
            "suspended": None,
            "code": "engine_error",
            "msg": "Cannot inspect container: no",
        }
        assert (told[UUID]["state"], told[UUID]["code"]) == (None, "endpoint_error")
        assert sorted(warnings) == sorted(entry["msg"] for entry in entries)
