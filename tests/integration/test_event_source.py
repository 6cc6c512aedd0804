# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source of Event-Driven Ansible at a real HTTP shim: kills and restarts lose no event."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Journal
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server

from .lab import Lab, free_port, wait_until
from .shim import NO_ENGINE, TOKEN, Shim, again, configure

LOBBY = Server("aaaaaaaa-0000-4000-8000-000000000001", "lobby")
AT = "2026-03-01T12:00:00.250Z"
READER = Path(__file__).with_name("event_reader.py")


class Reader:
    """A process that runs the source, and all events that it and earlier processes have taken."""

    def __init__(self, root: Path, **arguments: Any) -> None:
        self.output = root / "taken"
        self.child = subprocess.Popen([sys.executable, READER, self.output], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.child.stdin is not None
        with self.child.stdin:
            json.dump(arguments, self.child.stdin)

    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()] if self.output.exists() else []

    def ids(self) -> list[str]:
        return [entry["payload"]["id"] for entry in self.taken()]

    def end(self, number: int = signal.SIGTERM) -> None:
        self.child.send_signal(number)
        self.child.wait(20.0)

    def said(self) -> str:
        """Its standard error, after its end."""
        assert self.child.stderr is not None
        return self.child.stderr.read()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_unused: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        if self.child.stderr is not None:
            self.child.stderr.close()


@pytest.fixture
def node(tmp_path: Path) -> Lab:
    """A node whose HTTP shim keeps its address across restarts."""
    lab = Lab(tmp_path, NO_ENGINE, None)
    configure(lab, api={"port": free_port()})
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return lab


@pytest.fixture
def journal(node: Lab) -> Iterator[Journal]:
    with contextlib.closing(node.node().journal) as journal:
        journal.events.open()
        yield journal


@pytest.fixture
def shim(node: Lab, journal: Journal) -> Iterator[Shim]:
    del journal
    with again(node) as shim:
        yield shim


def arguments(node: Lab, url: str, **more: Any) -> dict[str, Any]:
    given = {"url": url, "token_file": str(node.root / "token"), "cursor_file": str(node.root / "cursor"), "after": "oldest"}
    return {**given, **more}


def write(journal: Journal, *numbers: int) -> None:
    for number in numbers:
        assert journal.events.write(Event(EventType.SERVER_CRASHED, AT, {"consecutive_crashes": number}, LOBBY, f"id-{number}"))


def ids(*numbers: int) -> list[str]:
    return [f"id-{number}" for number in numbers]


def test_events_arrive_soon_and_in_order_and_a_rulebook_resumes(node: Lab, shim: Shim, journal: Journal) -> None:
    write(journal, 1, 2)
    with Reader(node.root, **arguments(node, shim.url)) as reader:
        wait_until(lambda: reader.ids() == ids(1, 2), "earlier events arrive")
        for number in (3, 4):
            time.sleep(0.3)
            written = time.monotonic()
            write(journal, number)
            wait_until(lambda: reader.ids()[2:], "the event arrives")
            assert time.monotonic() - written < 1.5
        wait_until(lambda: len(reader.ids()) == 4, "all events arrive")
        reader.end()
    write(journal, 5)
    with Reader(node.root, **arguments(node, shim.url)) as reader:
        wait_until(lambda: reader.ids() == ids(1, 2, 3, 4, 5), "the next event arrives")
        last = reader.taken()[-1]
        reader.end()
    assert last["payload"]["type"] == "server.crashed"
    assert last["payload"]["data"]["server"] == {"uuid": LOBBY.uuid, "name": "lobby"}
    assert last["meta"] == {"uuid": "id-5", "url": shim.url, "cursor": (node.root / "cursor").read_text().strip()}


@pytest.mark.long
def test_a_wrong_token_ends_the_rulebook_and_a_changed_token_does_not(node: Lab, shim: Shim, journal: Journal) -> None:
    (node.root / "token").write_text("another\n")
    with Reader(node.root, **arguments(node, shim.url)) as reader:
        assert reader.child.wait(20.0) == 1
        assert "the node does not know this token" in reader.said()
    (node.root / "token").write_text(f"{TOKEN}\n")
    with Reader(node.root, **arguments(node, shim.url, wait=1)) as reader:
        write(journal, 1)
        wait_until(lambda: reader.ids() == ids(1), "the shim accepts the token")
        port = shim.address[1]
        configure(node, token="the-new-token-of-the-node", api={"port": port})
        wait_until(lambda: shim.events("settings_reloaded"), "the shim has the new token")
        write(journal, 2)
        time.sleep(1.5)
        assert reader.ids() == ids(1)
        (node.root / "token").write_text("the-new-token-of-the-node\n")
        wait_until(lambda: reader.ids() == ids(1, 2), "the shim accepts the new token", 30.0)


@pytest.mark.parametrize("rounds", [2, pytest.param(40, marks=pytest.mark.long)])
def test_kills_and_restarts_of_both_sides_lose_no_event(node: Lab, journal: Journal, rounds: int) -> None:
    chance, written, over = random.Random(17), [0], threading.Event()

    def go_on_writing() -> None:
        while not over.wait(chance.uniform(0.001, 0.04)):
            write(journal, written[0] + 1)
            written[0] += 1

    writer = threading.Thread(target=go_on_writing, daemon=True)
    kills = 0
    with contextlib.ExitStack() as stack:
        shim = stack.enter_context(again(node))
        given = arguments(node, shim.url)
        reader = stack.enter_context(Reader(node.root, **given))
        writer.start()
        for number in range(rounds):
            time.sleep(chance.uniform(0.3, 1.5))
            if number % 4 == 3:
                shim.kill() if number % 8 == 3 else shim.end()
                shim = stack.enter_context(again(node))
            else:
                is_kill = number % 2 == 0
                reader.end(signal.SIGKILL if is_kill else signal.SIGTERM)
                kills += is_kill
                reader = stack.enter_context(Reader(node.root, **given))
        over.set()
        writer.join()
        wanted = ids(*range(1, written[0] + 1))
        wait_until(lambda: reader.ids()[-1:] == wanted[-1:], "all events arrive", 60.0)
        taken = reader.ids()
    assert list(dict.fromkeys(taken)) == wanted
    doubled = [event for event, times in Counter(taken).items() if times > 1]
    assert len(taken) - len(wanted) == len(doubled) <= kills
    # A repeated event follows itself: only the last event before a kill is repeated.
    assert all(taken[taken.index(event) + 1] == event for event in doubled)
