# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receivers: their settings, their filters, and one bounded POST to each receiver with any answer."""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.definition import parse_definition
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.receiver_keys import read_receiver_rules
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import MissingLibrary, SettingsInvalid
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.receivers.receiver import (
    Posted,
    Receiver,
    Taking,
    WebhookClient,
    message_of,
    receivers_of,
)
from ansible_collections.fleet.power.tests.integration.panel_server import (
    Answering,
    Behaviour,
    Recorder,
    dripping,
    dripping_headers,
    endless,
    redirect,
    silent,
    truncated,
)

LOBBY = Server("9d0e4d0c-aaaa-4000-8000-000000000001", "Lobby")
SECRET = "whsec_" + base64.b64encode(os.urandom(24)).decode()
TAKEN = Posted(Taking.TAKEN)


def crash(server: Server = LOBBY) -> Event:
    return Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.250Z", {"exit_code": 1}, server)


def receiver(**keys: Any) -> Receiver:
    (found,) = receivers_of(read_receiver_rules([{"name": "pager", "url": "http://127.0.0.1:9/", **keys}], "receivers"))
    return found


@pytest.fixture
def server(no_proxies: None) -> Iterator[Recorder]:
    with closing(Recorder()) as server:
        yield server


def post(server: Recorder, behaviour: Behaviour | None = None, *, seconds: float = 5.0, path: str = "/hook") -> Posted:
    if behaviour is not None:
        server.fault(behaviour)
    client = WebhookClient(receiver(url=server.url + path))
    try:
        return client.post(message_of(receiver(), [crash()], "/fleet.power/nodes/n", "n"), seconds=seconds)
    finally:
        client.close()


def in_settings(*receivers: Any) -> Any:
    return parse_settings({"events": {"receivers": list(receivers)}}, where="config.yml")


@pytest.mark.parametrize(
    "keys, sentence",
    [
        ({}, "events.receivers[0].name is missing"),
        ({"name": "../x", "url": "http://x"}, "expected a name of at most 64 letters"),
        ({"name": "a", "url": "http://x", "url_file": "/x"}, "has both of url and url_file"),
        ({"name": "a", "url": "http://x", "types": ["server.gone"]}, "expected action.ended"),
        ({"name": "a", "url": "http://x", "servers": [{}]}, "selects no server"),
        ({"name": "a", "url": "http://x", "format": "discord", "secret_file": "/x"}, "expected none with format discord"),
    ],
)
def test_the_error_names_the_wrong_setting_of_a_receiver(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        in_settings(keys)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("keys", [{"secret": SECRET}, {"type": ["rollout.begun"]}, {"servers": [{"server": "a", "lable": {"of": "b"}}]}])
def test_an_unknown_key_of_a_receiver_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid, match=r"events\.receivers\[0\]\S+ is not a key of a receiver") as caught:
        in_settings({"name": "a", "url": "http://x", **keys})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "s").write_text(SECRET)
    (tmp_path / "s").chmod(mode)
    for keys in ({"url": "http://x", "secret_file": str(tmp_path / "s")}, {"url_file": str(tmp_path / "s")}):
        with pytest.raises(SettingsInvalid, match=f"pager: its .*_file .*has mode {mode:04o}, so that others may read it; expected 0600"):
            receivers_of(read_receiver_rules([{"name": "pager", **keys}], "receivers"))


@pytest.mark.parametrize("text", ["", "   \n", "x" * 9000, "\xff", "hunter2-hunter2"])
def test_a_file_without_a_valid_secret_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "s").write_bytes(text.encode("latin-1"))
    (tmp_path / "s").chmod(0o600)
    with pytest.raises(SettingsInvalid) as caught:
        receiver(secret_file=str(tmp_path / "s"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["x", "ftp://a/b", "http://a:b@c/", "http://a:99999/", "http://[::", "http://a/\x7f"])
def test_an_invalid_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="Cannot send events to receiver pager: its address cannot be used: ") as caught:
        receiver(url=url)
    assert url in ("x", "http://") or url not in str(caught.value)


def test_without_the_requests_library_a_client_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(MissingLibrary, match="python3-requests"):
        WebhookClient(Receiver("pager", "http://x/"))


def definition(**settings: Any) -> Any:
    raw = {"settings": {"uuid": LOBBY.uuid, "container": {"image": "x"}, **settings}, "process_configuration": {}}
    return parse_definition(raw, where="x")


@pytest.mark.parametrize(
    "keys, wants_crash, wants_freeze",
    [
        ({}, True, True),
        ({"types": ["action.ended"]}, False, False),
        ({"servers": [{"server": "Arena"}]}, False, False),
        ({"servers": [{"server": "Arena"}, {"server": LOBBY.uuid.upper()}]}, True, False),
        ({"servers": [{"label": {"kind": "lobby"}}]}, True, False),
        ({"servers": [{"label": {"kind": "game"}}]}, False, False),
        ({"servers": [{"server": "Arena", "label": {"kind": "lobby"}}]}, False, False),
    ],
)
def test_a_receiver_filters_by_type_and_server(keys: dict[str, Any], wants_crash: bool, wants_freeze: bool) -> None:
    found = receiver(**keys)
    # It may name servers of others.
    freeze = Event(EventType.NODE_FROZEN, "", {})
    definitions = {LOBBY: definition(labels={"kind": "lobby"})}
    assert (found.wants(crash(), definitions.get), found.wants(freeze, definitions.get)) == (wants_crash, wants_freeze)
    assert found.wants(Event(EventType.EVENTS_DROPPED, "", {}), definitions.get)


def test_a_post_sends_the_expected_body_and_headers(server: Recorder) -> None:
    assert post(server, path="/a/b?c=d%20e") == TAKEN
    (asked,) = server.asked
    message = message_of(receiver(), [crash()], "/fleet.power/nodes/n", "n")
    assert (asked.method, asked.path) == ("POST", "/a/b?c=d%20e")
    assert asked.headers["content-type"] == "application/cloudevents+json"
    assert asked.headers["user-agent"] == "fleet.power"
    assert len(asked.body) == len(message.body)
    assert "authorization" not in asked.headers


@pytest.mark.parametrize("status", [400, 404, 500, 304])
def test_another_status_is_a_failure_and_its_body_is_not_shown(server: Recorder, status: int) -> None:
    posted = post(server, lambda answer: answer.raw(status, b"hunter2"))
    assert posted == Posted(Taking.FAILED, f"it answered with status {status}")


def test_a_redirect_is_not_followed(server: Recorder) -> None:
    with closing(Recorder()) as other:
        posted = post(server, redirect(f"{other.url}/stolen", 307))
        assert posted.taking is Taking.FAILED and "which is not followed" in posted.reason
        assert not other.asked


def megabytes(answer: Answering) -> None:
    answer.raw(200, b"x" * 8_000_000)


def silent_body(answer: Answering) -> None:
    answer.raw(200, b"", promised=10)
    answer.closing.wait()


@pytest.mark.parametrize("behaviour", [endless, dripping, megabytes, silent_body, truncated], ids=lambda each: each.__name__)
def test_the_status_decides_despite_a_bad_body(server: Recorder, behaviour: Behaviour) -> None:
    began = time.monotonic()
    assert post(server, behaviour, seconds=20.0) == TAKEN
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("behaviour", [silent, dripping_headers], ids=lambda each: each.__name__)
def test_an_answer_without_complete_headers_ends_at_the_timeout(server: Recorder, behaviour: Behaviour) -> None:
    began = time.monotonic()
    assert post(server, behaviour, seconds=0.6) == Posted(Taking.FAILED, "no answer within 0.6 s")
    assert time.monotonic() - began < 10
