# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GET /api/events of the HTTP shim: its answers, its token, its waits, and many or hostile clients."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

from .lab import Lab, wait_until
from .shim import NO_ENGINE, TOKEN, Answer, Shim, configure, shim_on

LOBBY = Server("aaaaaaaa-0000-4000-8000-000000000001", "lobby")
AT = "2026-03-01T12:00:00.250Z"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("node"), NO_ENGINE, None)


@pytest.fixture(scope="module")
def shared_shim(shared: Lab) -> Iterator[Shim]:
    with shim_on(shared) as shim:
        yield shim


@pytest.fixture
def journal(shared: Lab) -> Iterator[Journal]:
    """The node's journal as another process opens it, with a fresh outbox."""
    yield from outbox_of(shared)


@pytest.fixture
def shim(shared_shim: Shim, journal: Journal) -> Iterator[Shim]:
    del journal
    faults = len(shared_shim.events("fault"))
    yield shared_shim
    assert len(shared_shim.events("fault")) == faults


@pytest.fixture(name="node")
def bare_node(tmp_path: Path) -> Lab:
    return Lab(tmp_path, NO_ENGINE, None)


def outbox_of(node: Lab) -> Iterator[Journal]:
    with contextlib.closing(node.node().journal) as journal:
        journal.events.close()
        journal.events.open()
        yield journal


def write(journal: Journal, *numbers: int) -> None:
    for number in numbers:
        assert journal.events.write(Event(EventType.SERVER_CRASHED, AT, {"consecutive_crashes": number}, LOBBY, f"id-{number}"))


def read(shim: Shim, after: str = "", *, wait: int = 0, limit: int = 100) -> dict[str, Any]:
    answer = shim.ask("GET", f"/api/events?after={after}&wait={wait}&limit={limit}")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def numbers(answer: dict[str, Any]) -> list[int]:
    return [event["data"]["consecutive_crashes"] for event in answer["events"]]


class Waiting:
    def __init__(self, shim: Shim, after: str, wait: int = 60, token: str = TOKEN) -> None:
        self.answers: list[Answer] = []
        self.seconds = 0.0
        begun = time.monotonic()

        def ask() -> None:
            self.answers.append(shim.ask("GET", f"/api/events?after={after}&wait={wait}", token=token))
            self.seconds = time.monotonic() - begun

        self._thread = threading.Thread(target=ask, daemon=True)
        self._thread.start()

    def answer(self, seconds: float = 10.0) -> Answer:
        self._thread.join(seconds)
        assert self.answers, "the shim has not answered"
        return self.answers[0]


def readers(shim: Shim) -> int:
    text = shim.ask("GET", "/metrics").body.decode()
    return int(float(next(line for line in text.splitlines() if line.startswith("fleet_power_event_readers ")).split()[1]))


def test_events_are_cloudevents_and_the_cursor_continues_after_them(shim: Shim, journal: Journal) -> None:
    write(journal, 1, 2, 3)
    first = read(shim, limit=2)
    assert (numbers(first), first["dropped"], first["reset"]) == ([1, 2], 0, False)
    assert first["events"][0] == {
        "specversion": "1.0",
        "id": "id-1",
        "source": first["events"][0]["source"],
        "type": "server.crashed",
        "time": AT,
        "datacontenttype": "application/json",
        "subject": LOBBY.uuid,
        "sequence": "1".zfill(20),
        "data": {"consecutive_crashes": 1, "server": {"uuid": LOBBY.uuid, "name": "lobby"}},
    }
    second = read(shim, first["cursor"])
    assert numbers(second) == [3]
    assert numbers(read(shim, second["cursor"])) == []
    assert read(shim, second["cursor"])["cursor"] == second["cursor"] == read(shim, "now")["cursor"]


def test_events_need_the_token(shim: Shim, journal: Journal) -> None:
    write(journal, 1)
    assert shim.ask("GET", "/api/events", token=None).status == 401
    assert shim.ask("GET", "/api/events", token="another").status == 403


def test_a_reader_that_waits_during_a_change_of_the_token_gets_403(node: Lab) -> None:
    with shim_on(node) as shim:
        for journal in outbox_of(node):
            waiting = Waiting(shim, "now")
            wait_until(lambda: readers(shim) == 1, "the reader waits")
            configure(node, token="another-token")
            wait_until(lambda: shim.events("settings_reloaded"), "the new token counts")
            write(journal, 1)
            assert waiting.answer().status == 403


def test_hundreds_of_waiting_readers_get_an_event_in_two_seconds_and_delay_no_client(shim: Shim, journal: Journal) -> None:
    request = f"GET /api/events?after=now&wait=60 HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(shim.address, timeout=20.0)) for _reader in range(400)]
        for connection in connections:
            connection.sendall(request)
        wait_until(lambda: readers(shim) == 400, "all readers wait")
        begun = time.monotonic()
        assert shim.ask("GET", "/healthz").status == 200
        assert time.monotonic() - begun < 5.0
        write(journal, 1)
        written = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            received = list(threads.map(lambda connection: connection.recv(65536), connections))
        assert time.monotonic() - written < 2.0
        assert all(b"200 OK" in each and b'"id":"id-1"' in each for each in received)
        # Readers that hang up free their places.
        for connection in connections:
            connection.sendall(request)
        wait_until(lambda: readers(shim) == 400, "all readers wait again")
    wait_until(lambda: readers(shim) == 0, "no reader waits")


def test_the_end_of_the_process_answers_all_waiting_readers(node: Lab) -> None:
    with shim_on(node) as shim:
        for journal in outbox_of(node):
            write(journal, 1)
        cursor = read(shim, "now")["cursor"]
        waiting = [Waiting(shim, cursor) for _reader in range(20)]
        wait_until(lambda: readers(shim) == 20, "all readers wait")
        begun = time.monotonic()
        assert shim.end() == 0
        assert time.monotonic() - begun < 20.0
        for each in waiting:
            answer = each.answer()
            assert (answer.status, answer.json["events"], answer.json["cursor"]) == (200, [], cursor)
            # The next read must use another connection.
            assert answer.headers["connection"] == "close"
        assert not shim.events("fault")


def test_a_hostile_server_name_stays_text(shim: Shim, journal: Journal) -> None:
    name = '"},{"id":"x</script>\u2028\udcff'
    assert journal.events.write(Event(EventType.SERVER_CRASHED, AT, {"note": name}, Server(LOBBY.uuid, name)))
    (event,) = json.loads(shim.ask("GET", "/api/events").body)["events"]
    assert event["data"]["server"]["name"].startswith('"},{"id":"x</script>\u2028')
