# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events as receivers get them: CloudEvents and signatures that the reference libraries read and verify, and lines of Discord."""

from __future__ import annotations

import base64
import json
import os
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.events.discord import MOST_LINES, discord_line, discord_message
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.events.webhook import (
    CONTENT_TYPE,
    SecretFault,
    cloudevent_body,
    headers_of,
    key_of,
    node_source,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

LOBBY = Server("9d0e4d0c-aaaa-4000-8000-000000000001", "Lobby")
AT = "2026-03-01T12:00:00.250Z"
SOURCE = node_source("node-1")
STOPPED = {"run": "a1b2", "action": "restart", "ok": False, "msg": "restart of 3: 1 failed, 2 not done; stopped: 1 failed, 0 allowed"}
BEGUN = {"run": "a1b2", "action": "restart", "servers": 3, "nodes": 2, "by": "alice@ops", "reason": "update"}
DATA: dict[EventType, dict[str, Any]] = {
    EventType.ACTION_ENDED: {"action": "start", "outcome": "failed", "code": "start_failed", "msg": "Cannot start", "origin": "tofu"},
    EventType.SERVER_CRASHED: {"exit_code": 137, "oom_killed": True, "seconds": 62.4, "consecutive_crashes": 2},
    EventType.SERVER_CRASH_LOOP: {"exit_code": 1, "consecutive_crashes": 5},
    EventType.SERVER_RECOVERED: {"consecutive_crashes": 3},
    EventType.COUNTDOWN_BEGUN: {
        "action": "stop",
        "ends_at": "2026-03-01T12:05:00.000Z",
        "players": 3,
        "origin": "cron",
        "reason": "backup",
    },
    EventType.EVENTS_DROPPED: {"receiver": "pager", "count": 12},
    EventType.ROLLOUT_BEGUN: BEGUN,
    EventType.ROLLOUT_STOPPED: STOPPED,
    EventType.ROLLOUT_ENDED: {"run": "a1b2", "action": "restart", "ok": True, "msg": "restart of 3: 3 done"},
}


def event(kind: EventType, *, server: Server | None = LOBBY, number: int = 7, **data: Any) -> Event:
    has_server = kind.value.startswith(("action.", "server.", "countdown."))
    return Event(kind, AT, {**DATA[kind], **data}, server if has_server else None, number=number)


def secret(size: int = 24) -> str:
    return "whsec_" + base64.b64encode(os.urandom(size)).decode()


def content(*events: Event) -> str:
    return str(json.loads(discord_message(events, "node-1").body)["content"])


@pytest.mark.parametrize("kind", EventType)
def test_the_library_of_cloudevents_reads_every_type(kind: EventType) -> None:
    library = pytest.importorskip("cloudevents.http")
    told = event(kind)
    read = library.from_http({"content-type": CONTENT_TYPE}, cloudevent_body(told, SOURCE))
    names = ("specversion", "id", "source", "type", "time", "sequence", "datacontenttype")
    expected = ["1.0", told.id, "/fleet.power/nodes/node-1", kind.value, AT, "00000000000000000007", "application/json"]
    assert [read[name] for name in names] == expected
    assert read.get("subject") == (told.server.uuid if told.server else None)
    assert read.data == {**told.data, **({"server": {"uuid": LOBBY.uuid, "name": "Lobby"}} if told.server else {})}


@pytest.mark.parametrize("size", [24, 32, 64])
def test_the_library_of_standard_webhooks_verifies_the_signature(size: int) -> None:
    library = pytest.importorskip("standardwebhooks.webhooks")
    given, told = secret(size), event(EventType.SERVER_CRASHED)
    body = cloudevent_body(told, SOURCE)
    headers = headers_of(told.id, int(datetime.now(timezone.utc).timestamp()), body, key_of(given))
    assert library.Webhook(given).verify(body.decode(), headers)["id"] == told.id
    for wrong_body, wrong_secret in ((body.replace(b"137", b"138"), given), (body, secret())):
        with pytest.raises(library.WebhookVerificationError):
            library.Webhook(wrong_secret).verify(wrong_body.decode(), headers)


@pytest.mark.parametrize(
    "text",
    ["", "hunter2", "whsec_aGk=", "whsec_%%%", secret(23), secret(65)],
    ids=[
        "empty",
        "a word",
        "short",
        "no base64",
        "23 bytes",
        "65 bytes",
    ],  # the same in every process that collects
)
def test_what_is_no_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SecretFault) as caught:
        key_of(text)
    assert len(text) < 6 or text == "whsec_" or text not in str(caught.value)


def test_a_name_formats_nothing_and_mentions_nobody() -> None:
    evil = Server(LOBBY.uuid, "**x** @everyone <@1> [a](http://b) `c`\n# d")
    message = json.loads(discord_message([event(EventType.SERVER_CRASHED, server=evil)], "node-1").body)
    assert message["allowed_mentions"] == {"parse": []}
    assert r"\*\*x\*\* \@everyone \<\@1\> \[a\]\(http\://b\) \`c\` \# d" in message["content"]


def test_many_events_are_one_message_in_their_order_and_within_what_discord_takes() -> None:
    events = [event(EventType.SERVER_RECOVERED, server=Server(LOBBY.uuid, f"Lobby{number:02}")) for number in range(60)]
    message = discord_message(events, "node-1")
    lines = json.loads(message.body)["content"].split("\n")
    assert len(lines) == message.events == MOST_LINES
    assert [f"Lobby{number:02}" in line for number, line in enumerate(lines)] == [True] * MOST_LINES


@pytest.mark.parametrize("character", ["x", "*", "\U0001f525", "\ud800", "\n"])
def test_no_text_makes_a_message_too_long_or_empty(character: str) -> None:
    long = event(EventType.ACTION_ENDED, server=Server(LOBBY.uuid, character * 500), msg=character * 5000, reason=character * 900)
    message = discord_message([long] * 30, character * 300)
    text = json.loads(message.body)["content"]
    assert 1 <= message.events == text.count("\n") + 1
    assert len(text.encode("utf-16-le", "surrogatepass")) // 2 <= 2000


def test_whatever_data_says_becomes_a_line() -> None:
    for kind in EventType:
        for value in (None, [], {"a": 1}, "x", -1, 2.5, True):
            discord_line(Event(kind, "yesterday", dict.fromkeys(DATA[kind], value), LOBBY), "n")
        discord_line(Event(kind, "", {}), "n")
