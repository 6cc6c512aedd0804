# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sender of events with real receivers, and the events of real servers."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

from .event_sending import EventReceiver, SendingNode, await_true
from .lab import Lab, wait_until
from .panel_server import Answering, Behaviour, dripping, dripping_headers, endless, redirect, silent
from .supervisors import Supervising, await_run_after, crash

SERVERS = [Server(f"9d0e4d0c-aaaa-4000-8000-00000000000{number}", f"Server{number}") for number in range(4)]
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the proxies of the machine that runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def receivers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def receiver(receivers: ExitStack, **options: Any) -> EventReceiver:
    found = EventReceiver(**options)
    receivers.callback(found.close)
    return found


def assert_in_order(received: EventReceiver, servers: list[Server], first: int = 1) -> None:
    """Assert that all events came, each server's in order. Repeated events do not count."""
    once = list(dict.fromkeys(received.numbers))
    assert sorted(once) == list(range(first, first + len(servers)))
    for server in SERVERS:
        own = [number for number in once if servers[number - first] == server]
        assert own == sorted(own)


def test_the_reference_libraries_read_and_verify_a_sent_event(tmp_path: Path, receivers: ExitStack) -> None:
    from cloudevents.http import from_http
    from standardwebhooks.webhooks import Webhook

    received, secret = receiver(receivers), tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    with SendingNode(tmp_path, pager={"url": received.url, "secret_file": str(secret)}) as node:
        node.write(SERVERS[0], exit_code=137)
        await_true(lambda: received.asked, "the event is there")
    (asked,) = received.asked
    Webhook(SECRET).verify(asked.body.decode(), dict(asked.headers))
    event = from_http(dict(asked.headers), asked.body)
    assert (event["type"], event["subject"], event["source"]) == ("server.crashed", SERVERS[0].uuid, "/fleet.power/nodes/node-1")
    assert event["id"] == asked.headers["webhook-id"]


def killed_at_random(tmp_path: Path, receivers: ExitStack, events: int, seed: int) -> None:
    chance = random.Random(seed)
    received, other = receiver(receivers), receiver(receivers)
    received.fault(lambda answer: answer.raw(chance.choice((200, 200, 200, 500)), b""))
    node = SendingNode(tmp_path, pager={"url": received.url}, other={"url": other.url})
    with node:
        servers = [chance.choice(SERVERS) for _unused in range(events)]
        for start in range(0, events, 5):
            before = len(other.asked)
            node.write(*servers[start : start + 5])
            # Mostly the kill comes while it sends, sometimes before.
            if chance.random() < 0.7:
                await_true(lambda before=before: len(other.asked) > before, "it sends")  # type: ignore[misc]
            time.sleep(chance.random() * 0.3)
            node.kill()
            node.begin(ready=False)
        received.well()
        for each in (received, other):
            await_true(lambda each=each: len(set(each.numbers)) == events, "all have come", 60)  # type: ignore[misc]
            assert_in_order(each, servers)
        assert set(received.numbers) == set(range(1, events + 1))


def test_events_of_a_sender_killed_at_random_arrive_in_order(tmp_path: Path, receivers: ExitStack) -> None:
    killed_at_random(tmp_path, receivers, 20, 1)


def test_an_orderly_end_of_the_sender_loses_and_repeats_no_event(tmp_path: Path, receivers: ExitStack) -> None:
    received = receiver(receivers)
    with SendingNode(tmp_path, pager={"url": received.url}) as node:
        for _unused in range(2):
            node.write(*SERVERS)
            time.sleep(0.2)
            assert node.end() == 0
            node.begin()
        await_true(lambda: len(received.asked) >= 8, "all have come")
    assert sorted(received.numbers) == list(range(1, 9))


def answers(status: int, **headers: str) -> Behaviour:
    def behave(answer: Answering) -> None:
        answer.raw(status, b"x" * 100, **headers)

    return behave


def slow(answer: Answering) -> None:
    answer.closing.wait(3)
    answer.raw(200, b"")


def megabytes(answer: Answering) -> None:
    answer.raw(200, b"x" * 20_000_000)


HOSTILE: dict[str, Behaviour] = {
    "slow": slow,
    "500": answers(500),
    "410": answers(410),
    "429": answers(429, Retry_After="3600"),
    "redirects": redirect("http://127.0.0.1:9/"),
    "silent": silent,
    "head without end": dripping_headers,
    "body without end": endless,
    "dripping body": dripping,
    "megabytes": megabytes,
}
_TAKEN_AT_THE_HEAD = ("body without end", "megabytes", "dripping body")
_BESIDE = 12


def test_a_hostile_receiver_does_not_delay_or_harm_another_receiver(tmp_path: Path, receivers: ExitStack) -> None:
    hostile = {}
    for number, behaviour in enumerate(HOSTILE.values()):
        found = hostile[f"hostile{number}"] = receiver(receivers)
        found.fault(behaviour)
    down = receiver(receivers)
    down.close()
    good = receiver(receivers)
    urls = {name: {"url": each.url} for name, each in hostile.items()}
    with SendingNode(tmp_path, down={"url": down.url}, **urls, good={"url": good.url}) as node:
        seconds = []
        for count in range(1, _BESIDE + 1):
            node.write(SERVERS[count % 4])
            began = time.monotonic()
            await_true(lambda wanted=count: len(good.asked) >= wanted, "it is there", 10)  # type: ignore[misc]
            seconds.append(time.monotonic() - began)
        assert_in_order(good, [SERVERS[count % 4] for count in range(1, _BESIDE + 1)])
        assert len(good.asked) == _BESIDE
        median = sorted(seconds)[_BESIDE // 2]
        print("beside eleven hostile receivers:", f"{median:.3f} at the median, {max(seconds):.3f} at most")
        assert median < 1
        named = dict(zip(HOSTILE, hostile))
        # The sender cuts such a connection after a second.
        await_true(lambda: all(node.deliveries()[named[name]]["sent"] for name in _TAKEN_AT_THE_HEAD), "each has taken an event")
        deliveries = node.deliveries()
        assert (deliveries["down"]["waiting"], deliveries["down"]["error"]) == (_BESIDE, "connection refused")
        assert deliveries[named["410"]]["off"] and len(hostile[named["410"]].asked) == 1
        assert len(hostile[named["429"]].asked) == 1
        assert "which is not followed" in deliveries[named["redirects"]]["error"]
        assert not any(deliveries[named[name]]["error"] for name in _TAKEN_AT_THE_HEAD)
        assert node.end() == 0


def test_no_secret_of_the_node_is_in_any_request(tmp_path: Path, receivers: ExitStack) -> None:
    received, persons = receiver(receivers), receiver(receivers)
    secret, address = tmp_path / "secret", tmp_path / "address"
    secret.write_text(SECRET)
    address.write_text(f"{persons.url}/api/webhooks/1/PlantedToken")
    secret.chmod(0o600)
    address.chmod(0o600)
    keys = {"pager": {"url": received.url, "secret_file": str(secret)}, "chat": {"url_file": str(address), "format": "discord"}}
    with SendingNode(tmp_path, **keys) as node:
        settings = json.loads(node.config.read_text())
        settings.update(token="PlantedPanelToken", token_id="x", remote="http://127.0.0.1:9")
        node.config.write_text(json.dumps(settings))
        journal = node.journal()
        for kind in EventType:
            journal.events.write(Event(kind, "2026-03-01T12:00:00.000Z", {"action": "start"}, SERVERS[0]))
        journal.close()
        await_true(lambda: len(received.asked) == len(EventType) and node.deliveries()["chat"]["sent"] == len(EventType), "both have them")
        said = json.dumps(node.deliveries())
    for asked in (*received.asked, *persons.asked):
        text = asked.body.decode() + json.dumps(dict(asked.headers))
        assert "Planted" not in text and SECRET[6:] not in text
    assert "Planted" not in said and SECRET[6:] not in said


@pytest.mark.long
def test_only_one_process_sends(tmp_path: Path, receivers: ExitStack) -> None:
    received = receiver(receivers)
    with SendingNode(tmp_path, pager={"url": received.url}) as node:
        second = node.run()
        assert second.returncode == 1
        assert second.stderr.startswith("Cannot send events: process ") and "fleet-power-events" in second.stderr
        assert node.run("--forget").returncode == 1


#: Stands in each place for a secret; the last part names the place.
NODE_SECRET = "s3cr3t-of-the-{}"


@pytest.fixture(name="receiver")
def open_receiver() -> Iterator[EventReceiver]:
    receiver = EventReceiver()
    yield receiver
    receiver.close()


def sending(lab: Lab, receiver: EventReceiver) -> SendingNode:
    lab.write_settings(events={"receivers": [{"name": "all", "url": receiver.url}]})
    return SendingNode.beside(lab.root, lab.config)


def events_of(receiver: EventReceiver, uuid: str) -> list[dict[str, Any]]:
    """The events of one server; the receiver also gets crashes of other tests' servers."""
    return [event for event in receiver.got if event["subject"] == uuid]


def test_events_report_each_change_of_a_server_without_its_secrets(lab: Lab, receiver: EventReceiver) -> None:
    uuid = lab.server(
        name="Lobby",
        BOOT_SECONDS=0.2,
        SAY=NODE_SECRET.format("log"),
        DB_PASSWORD=NODE_SECRET.format("environment"),
        RCON_TOKEN=NODE_SECRET.format("token"),
    )
    lab.write_settings(supervisor={"max_restarts": 1, "reset_after": 3600}, token=NODE_SECRET.format("node"))

    def types() -> list[str]:
        return [event["type"] for event in events_of(receiver, uuid)]

    with sending(lab, receiver), Supervising(lab) as supervising:
        supervising.await_ready()
        assert lab.power("start", uuid, origin="alice@web1", reason="update").outcome.value == "done"
        before = crash(lab, uuid)
        await_run_after(lab, uuid, before, 30)
        wait_until(lambda: len(types()) == 4, "an event reports that it is up again", 30)
        crash(lab, uuid)
        wait_until(lambda: "server.crash_loop" in types(), "an event reports the crash loop", 30)
        lab.edit(uuid, suspended=True)
        assert lab.power("start", uuid).outcome.value == "refused"
        assert lab.power("stop", uuid).outcome.value == "unchanged"
        lab.edit(uuid, suspended=False)
        assert lab.power("start", uuid).outcome.value == "done"
        wait_until(lambda: len(types()) == 8, "the start has an event; the refusal and the stop without a change have no event")
    found = [(event["type"], event["data"].get("outcome")) for event in events_of(receiver, uuid)]
    # The end of the supervisor's start comes before or after the recovery of the server.
    assert sorted(found[2:4]) == [("action.ended", "done"), ("server.recovered", None)]
    assert found[:2] + found[4:6] == [
        ("action.ended", "done"),
        ("server.crashed", None),
        ("server.crashed", None),
        ("server.crash_loop", None),
    ]
    assert sorted(found[6:]) == [("action.ended", "done"), ("server.recovered", None)]
    first = events_of(receiver, uuid)[0]
    assert (first["subject"], first["data"]["server"]["name"]) == (uuid, "Lobby")
    assert (first["data"]["origin"], first["data"]["reason"]) == ("alice@web1", "update")
    sent = b"".join(asked.body + repr(asked.headers).encode() for asked in receiver.asked)
    assert b"s3cr3t-of-the" not in sent
