# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events as receivers get them, and the guide that describes them."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import types
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils._events.delivery_worker import DeliveryWorker
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.events import begun_event, closing_event
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.report import result
from ansible_collections.fleet.power.plugins.module_utils._power.events.discord import MOST_LINES, discord_line, discord_message
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.events.webhook import (
    CONTENT_TYPE,
    SecretFault,
    cloudevent,
    cloudevent_body,
    headers_of,
    key_of,
    node_source,
)
from ansible_collections.fleet.power.plugins.module_utils._power.journal import rows
from ansible_collections.fleet.power.plugins.module_utils._power.journal.freezes import freeze, thaw
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import Delivery
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Limits, Verdict
from ansible_collections.fleet.power.plugins.module_utils._power.receivers.receiver import Receiver, Taking, WebhookClient, message_of
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, csv_tables, examples, literals
from ansible_collections.fleet.power.tests.unit.receiver_support import SECRET
from ansible_collections.fleet.power.tests.unit.rollout_support import fleet, opened

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
    EventType.NODE_FROZEN: {
        "node": False,
        "servers": ["1", "2"],
        "until": "2026-03-01T18:00:00.000Z",
        "origin": "alice@ops",
        "reason": "final",
        "supervisor": False,
    },
    EventType.NODE_THAWED: {"origin": "alice@ops", "node": True, "servers": []},
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
    return str(json.loads(discord_message(events, "node-1")[0])["content"])


@pytest.mark.parametrize("kind", EventType)
def test_the_library_of_cloudevents_reads_every_type(kind: EventType) -> None:
    library = pytest.importorskip("cloudevents.http")
    made = event(kind)
    read = library.from_http({"content-type": CONTENT_TYPE}, cloudevent_body(made, SOURCE))
    names = ("specversion", "id", "source", "type", "time", "sequence", "datacontenttype")
    expected = ["1.0", made.id, "/fleet.power/nodes/node-1", kind.value, AT, "00000000000000000007", "application/json"]
    assert [read[name] for name in names] == expected
    assert read.get("subject") == (made.server.uuid if made.server else None)
    assert read.data == {**made.data, **({"server": {"uuid": LOBBY.uuid, "name": "Lobby"}} if made.server else {})}


@pytest.mark.parametrize("size", [24, 32, 64])
def test_the_library_of_standard_webhooks_verifies_the_signature(size: int) -> None:
    library = pytest.importorskip("standardwebhooks.webhooks")
    given, made = secret(size), event(EventType.SERVER_CRASHED)
    body = cloudevent_body(made, SOURCE)
    headers = headers_of(made.id, int(datetime.now(timezone.utc).timestamp()), body, key_of(given))
    assert library.Webhook(given).verify(body.decode(), headers)["id"] == made.id
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
    ],  # equal in each process of pytest
)
def test_an_invalid_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SecretFault) as caught:
        key_of(text)
    assert len(text) < 6 or text == "whsec_" or text not in str(caught.value)


def test_a_server_name_cannot_format_text_or_mention_users() -> None:
    evil = Server(LOBBY.uuid, "**x** @everyone <@1> [a](http://b) `c`\n# d")
    message = json.loads(discord_message([event(EventType.SERVER_CRASHED, server=evil)], "node-1")[0])
    assert message["allowed_mentions"] == {"parse": []}
    assert r"\*\*x\*\* \@everyone \<\@1\> \[a\]\(http\://b\) \`c\` \# d" in message["content"]


def test_many_events_give_one_ordered_message_within_discords_limit() -> None:
    events = [event(EventType.SERVER_RECOVERED, server=Server(LOBBY.uuid, f"Lobby{number:02}")) for number in range(60)]
    body, count = discord_message(events, "node-1")
    lines = json.loads(body)["content"].split("\n")
    assert len(lines) == count == MOST_LINES
    assert [f"Lobby{number:02}" in line for number, line in enumerate(lines)] == [True] * MOST_LINES


@pytest.mark.parametrize("character", ["x", "*", "\U0001f525", "\ud800", "\n"])
def test_long_texts_keep_a_message_within_discords_limit(character: str) -> None:
    long = event(EventType.ACTION_ENDED, server=Server(LOBBY.uuid, character * 500), msg=character * 5000, reason=character * 900)
    body, count = discord_message([long] * 30, character * 300)
    text = json.loads(body)["content"]
    assert 1 <= count == text.count("\n") + 1
    assert len(text.encode("utf-16-le", "surrogatepass")) // 2 <= 2000


def test_unexpected_data_still_gives_a_line() -> None:
    for kind in EventType:
        for value in (None, [], {"a": 1}, "x", -1, 2.5, True):
            discord_line(Event(kind, "yesterday", dict.fromkeys(DATA[kind], value), LOBBY), "n")
        discord_line(Event(kind, "", {}), "n")


def test_a_hang_is_no_crash_in_a_message() -> None:
    assert "**hung** (" in content(event(EventType.SERVER_CRASHED, verdict="hung"))
    assert "**crashed** (" in content(event(EventType.SERVER_CRASHED, verdict="crashed"))


def test_a_freeze_of_servers_names_their_number_and_a_freeze_of_the_node_does_not() -> None:
    few, whole, over = (
        content(event(EventType.NODE_FROZEN)),
        content(event(EventType.NODE_FROZEN, node=True, servers=[])),
        content(event(EventType.NODE_THAWED, origin=None)),
    )
    assert "**node-1**: **frozen** (2 servers) until <t:1772388000:f> (alice\\@ops, final)" in few
    assert "**node-1**: **frozen** until <t:1772388000:f>" in whole
    assert over.endswith("**node-1**: no longer frozen")


PAGE = GUIDES / "events_guide.rst"
TABLE = {literals(row[0])[0]: literals(row[2]) for row in csv_tables(PAGE)["Events"]}
GUIDE_LOBBY = Server("9823beb1-0000-4000-8000-000000000001", "Lobby")


def blocks(language: str) -> list[str]:
    return [example.text for example in examples(PAGE) if example.language == language]


def crash() -> EndedRun:
    return EndedRun(
        run=Run("4d2f1b", "2026-01-31T12:02:08.000000000Z"),
        server=GUIDE_LOBBY,
        ended_at="2026-01-31T12:03:10.000000000Z",
        exit_code=137,
        oom_killed=True,
        seconds=62.0,
        verdict=Verdict.CRASHED,
        due=True,
        consecutive_crashes=2,
        at="2026-01-31T12:03:10.250Z",
    )


def of_freezes(state: Path) -> Sequence[Event]:
    """The events of a freeze and of its end."""
    with closing(Journal(str(state), str(state), "no-such-group", SYSTEM_CLOCK)) as journal:
        journal.events.open()
        freeze(journal.freezes, [], until=SYSTEM_CLOCK.now() + timedelta(hours=1), reason="final", origin="alice@ops")
        thaw(journal.freezes, None, origin="alice@ops")
        page = journal.events.after(0, 9)
    assert page is not None
    return page.events


def sent(state: Path) -> Iterator[Event]:
    """An event of each type but countdowns, made by the code that writes it."""
    yield from of_freezes(state)
    row: Mapping[str, Any] = defaultdict(str, outcome="failed", name="Lobby", uuid=GUIDE_LOBBY.uuid)
    yield from rows.of_operation(row, "2026-01-31T12:03:10.250Z")
    yield from rows.of_end(crash(), Limits(max_restarts=1))
    yield rows.of_recovery(crash(), Run("other", "2026-01-31T12:04:00.000000000Z"))
    delivery_worker = SimpleNamespace(_receiver=Receiver("pager", "http://h/"), _around=SimpleNamespace(clock=SYSTEM_CLOCK))
    yield DeliveryWorker._dropped_event(delivery_worker, Delivery("outbox", 0, unreported=3))  # type: ignore[arg-type]
    begun = begun_event(opened(fleet(1, 1)))
    assert begun is not None
    yield begun
    for run, stopped in (("00000002", "why"), ("1b2c3d4e", "")):
        record = opened(fleet(1, 1), run=run)
        record.stopped = stopped
        yield closing_event(record, result(record, ended_at="2026-01-31T13:00:00.000Z", seconds=1, resume_file=None))


def test_the_table_has_every_type_in_the_order_of_the_code() -> None:
    assert list(TABLE) == [each.value for each in EventType]


def test_the_table_lists_the_data_of_each_type(tmp_path: Path) -> None:
    found = {event.type.value: sorted(cloudevent(event, "s")["data"]) for event in sent(tmp_path)}
    assert set(TABLE) - set(found) == {"countdown.begun"}
    assert found == {kind: sorted(names) for kind, names in TABLE.items() if kind in found}


def test_the_example_message_matches_the_real_one() -> None:
    (text,) = blocks("json")
    (event, *_more) = rows.of_end(crash(), Limits())
    shown = json.loads(text)
    made = cloudevent(Event(event.type, event.at, event.data, event.server, shown["id"], 42), node_source("node-1"))
    assert list(made.items()) == list(shown.items())


def receivers() -> list[dict[str, Any]]:
    return [document for text in blocks("yaml") for document in [yaml.safe_load(text)] if isinstance(document, dict)]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The programs of the page in one module, with a secret and a page command that writes to a file."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    script = tmp_path / "page"
    script.write_text(f'#!/bin/sh\ntest ! -e {tmp_path}/broken || exit 1\necho "$1" >> {tmp_path}/pages\n')
    script.chmod(0o755)
    source = "\n".join(blocks("python")).replace("/etc/pager/secret", str(tmp_path / "secret")).replace("/usr/local/bin/page", str(script))
    made = types.ModuleType("pager")
    monkeypatch.setitem(sys.modules, "pager", made)
    exec(compile(source, "pager.py", "exec"), made.__dict__)
    return made


def test_the_program_accepts_only_signed_messages(program: types.ModuleType) -> None:
    now = int(datetime.now(timezone.utc).timestamp())
    program.verify(SECRET, headers_of("id", now, b"{}", key_of(SECRET)), b"{}")
    rotated = headers_of("id", now, b"{}", key_of(SECRET))
    rotated["webhook-signature"] = "v1,AAAA v2,other " + rotated["webhook-signature"]
    program.verify(SECRET, rotated, b"{}")
    other = key_of("whsec_" + "A" * 32)
    for headers, body in (
        (headers_of("id", now, b"{}", key_of(SECRET)), b"{ }"),
        ({**headers_of("id", now, b"{}", key_of(SECRET)), "webhook-id": "another"}, b"{}"),
        (headers_of("id", now, b"{}", other), b"{}"),
        (headers_of("id", now - 400, b"{}", key_of(SECRET)), b"{}"),
    ):
        with pytest.raises(ValueError, match="not signed"):
            program.verify(SECRET, headers, body)
    with pytest.raises(KeyError):
        program.verify(SECRET, headers_of("id", now, b"{}", None), b"{}")


def test_the_pager_pages_once_repeats_a_failed_page_and_refuses_strangers(program: types.ModuleType, tmp_path: Path) -> None:
    program.Pager.log_message = lambda *_arguments: None
    with ThreadingHTTPServer(("127.0.0.1", 0), program.Pager) as server:
        server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        events = list(sent(tmp_path / "state"))
        for event in events:
            receiver = Receiver("pager", url, key_of(SECRET))
            message, client = message_of(receiver, [event], "s", "node-1"), WebhookClient(receiver)
            (tmp_path / "broken").touch()
            assert client.post(message).taking is Taking.FAILED
            (tmp_path / "broken").unlink()
            assert [client.post(message).taking for _time in range(2)] == [Taking.TAKEN] * 2
            assert WebhookClient(Receiver("stranger", url)).post(message).reason == "it answered with status 401"
        server.shutdown()
    pages = (tmp_path / "pages").read_text().splitlines()
    assert len(pages) == len(events) and pages[3].startswith("server.crashed Lobby")
    assert pages[-1].startswith("rollout.ended restart 1b2c3d4e restart of 1")
