# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on being told says what is sent: its examples are run, and its table is held against the code."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.fleet.power.plugins.module_utils._events.delivery_worker import DeliveryWorker
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.events import begun_event, closing_event
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.report import result
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.events.webhook import cloudevent, headers_of, key_of, node_source
from ansible_collections.fleet.power.plugins.module_utils._power.journal import row_events
from ansible_collections.fleet.power.plugins.module_utils._power.journal.outbox import Delivery
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Limits, Verdict
from ansible_collections.fleet.power.plugins.module_utils._power.receivers.receiver import Receiver, message_of
from ansible_collections.fleet.power.plugins.module_utils._power.receivers.webhook_client import Taking, WebhookClient
from ansible_collections.fleet.power.tests.unit.docs_support import GUIDES, csv_tables, examples, literals
from ansible_collections.fleet.power.tests.unit.rollout_support import fleet, opened
from ansible_collections.fleet.power.tests.unit.told_support import SECRET

PAGE = GUIDES / "events_guide.rst"
TABLE = {literals(row[0])[0]: literals(row[2]) for row in csv_tables(PAGE)["Events"]}
LOBBY = Server("9823beb1-0000-4000-8000-000000000001", "Lobby")


def blocks(language: str) -> list[str]:
    return [example.text for example in examples(PAGE) if example.language == language]


def crash() -> EndedRun:
    return EndedRun(
        run=Run("4d2f1b", "2026-01-31T12:02:08.000000000Z"),
        server=LOBBY,
        ended_at="2026-01-31T12:03:10.000000000Z",
        exit_code=137,
        oom_killed=True,
        seconds=62.0,
        verdict=Verdict.CRASHED,
        due=True,
        consecutive_crashes=2,
        at="2026-01-31T12:03:10.250Z",
    )


# ----- the table


def sent() -> Iterator[Event]:
    """An event of each type, as the code that writes it makes it; but for countdowns, of which `test_regard` has one."""
    row: Mapping[str, Any] = defaultdict(str, outcome="failed", name="Lobby", uuid=LOBBY.uuid)
    yield from row_events.of_operation(row, "2026-01-31T12:03:10.250Z")
    yield from row_events.of_end(crash(), Limits(max_restarts=1))
    yield row_events.of_recovery(crash(), Run("other", "2026-01-31T12:04:00.000000000Z"))
    delivery_worker = SimpleNamespace(_receiver=Receiver("pager", "http://h/"), _around=SimpleNamespace(clock=SYSTEM_CLOCK))
    yield DeliveryWorker._dropped_event(delivery_worker, Delivery("outbox", 0, untold=3))  # type: ignore[arg-type]
    begun = begun_event(opened(fleet(1, 1)))
    assert begun is not None
    yield begun
    for run, stopped in (("00000002", "why"), ("1b2c3d4e", "")):
        record = opened(fleet(1, 1), run=run)
        record.stopped = stopped
        yield closing_event(record, result(record, ended_at="2026-01-31T13:00:00.000Z", seconds=1, resume_file=None))


def test_the_table_has_every_type_in_the_order_of_the_code() -> None:
    assert list(TABLE) == [each.value for each in EventType]


def test_the_data_of_each_type_are_those_that_the_table_has() -> None:
    found = {event.type.value: sorted(cloudevent(event, "s")["data"]) for event in sent()}
    assert set(TABLE) - set(found) == {"countdown.begun"}
    assert found == {kind: sorted(names) for kind, names in TABLE.items() if kind in found}


def test_the_message_that_is_shown_is_what_is_sent() -> None:
    (text,) = blocks("json")
    (event, *_more) = row_events.of_end(crash(), Limits())
    shown = json.loads(text)
    made = cloudevent(Event(event.type, event.at, event.data, event.server, shown["id"], 42), node_source("node-1"))
    assert list(made.items()) == list(shown.items())


# ----- receivers


def receivers() -> list[dict[str, Any]]:
    return [document for text in blocks("yaml") for document in [yaml.safe_load(text)] if isinstance(document, dict)]


# ----- programs


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The programs of the page, one after the other in one file, with a secret and a page that is written down."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    script = tmp_path / "page"
    script.write_text(f'#!/bin/sh\ntest ! -e {tmp_path}/broken || exit 1\necho "$1" >> {tmp_path}/pages\n')
    script.chmod(0o755)
    source = "\n".join(blocks("python")).replace("/etc/pager/secret", str(tmp_path / "secret")).replace("/usr/local/bin/page", str(script))
    made = types.ModuleType("pager")
    monkeypatch.setitem(sys.modules, "pager", made)
    exec(compile(source, "pager.py", "exec"), made.__dict__)
    return made


def test_the_program_verifies_what_is_sent_and_nothing_else(program: types.ModuleType) -> None:
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


def test_the_pager_pages_once_and_again_where_that_failed_and_lets_nobody_else_in(program: types.ModuleType, tmp_path: Path) -> None:
    program.Pager.log_message = lambda *_arguments: None
    with ThreadingHTTPServer(("127.0.0.1", 0), program.Pager) as server:
        server.handle_error = lambda *_arguments: None  # type: ignore[method-assign]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        for event in sent():
            receiver = Receiver("pager", url, key_of(SECRET))
            message, client = message_of(receiver, [event], "s", "node-1"), WebhookClient(receiver)
            (tmp_path / "broken").touch()
            assert client.post(message).taking is Taking.FAILED
            (tmp_path / "broken").unlink()
            assert [client.post(message).taking for _time in range(2)] == [Taking.TAKEN] * 2
            assert WebhookClient(Receiver("stranger", url)).post(message).reason == "it answered with status 401"
        server.shutdown()
    pages = (tmp_path / "pages").read_text().splitlines()
    assert len(pages) == len(list(sent())) and pages[1].startswith("server.crashed Lobby")
    assert pages[-1].startswith("rollout.ended restart 1b2c3d4e restart of 1")
