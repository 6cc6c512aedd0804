# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of the engine for many threads, and commands that the engine forgets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine import engine_commands
from ansible_collections.fleet.power.plugins.module_utils._power.engine.connection import Connection
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_calls import PLACES, EngineClients
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_commands import CommandEnd, CommandRunner
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable


class Client:
    api_version = "1.45"

    def __init__(self) -> None:
        self.closed = False
        self.timeout = 60.0

    def close(self) -> None:
        self.closed = True


class Made:
    """The clients that were made, and the versions they were made for; each takes a moment."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.versions: list[str | None] = []

    def client(self, _sdk: Any, version: str | None) -> Client:
        self.versions.append(version)
        time.sleep(0.01)
        self.clients.append(Client())
        return self.clients[-1]


@pytest.fixture(name="made")
def make(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    monkeypatch.setattr(Connection, "client", made.client)
    return made


def test_a_client_whose_call_broke_off_is_not_used_again_but_one_that_was_refused_is(made: Made) -> None:
    clients = EngineClients(Connection())
    with pytest.raises(OSError, match="cut"), clients.one() as broken:
        raise OSError("cut")
    with pytest.raises(clients.sdk.api_error), clients.one() as refused:
        raise clients.sdk.api_error("no")
    with clients.one() as third:
        assert third is refused is not broken
    assert (broken.closed, refused.closed) == (True, False)


def test_unanswered_calls_delay_others_by_a_second_and_a_kill_not_at_all(made: Made) -> None:
    clients, answered = EngineClients(Connection()), threading.Event()
    all_wait = threading.Barrier(PLACES + 1)

    def hang() -> None:
        with clients.one():
            all_wait.wait(10)
            answered.wait(20)

    with ThreadPoolExecutor(PLACES) as pool:
        hung = [pool.submit(hang) for _unused in range(PLACES)]
        all_wait.wait(10)
        took = []
        for urgent in (True, False):
            began = time.monotonic()
            with clients.one(urgent=urgent):
                took.append(time.monotonic() - began)
        answered.set()
        for each in hung:
            each.result(10)
    assert took[0] < 0.5 < took[1] < 5
    assert [client.closed for client in made.clients].count(False) == PLACES


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.write_stdin("c", "stop\n"),
        lambda engine: engine.logs.attach("c"),
        lambda engine: list(engine.events.changed_servers(time.time(), time.time() + 0.1)),
    ],
    ids=["stdin", "attach", "events"],
)
def test_no_call_waits_for_ever_for_an_engine_that_is_silent(tmp_path: Path, call: Callable[[DockerEngine], object]) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen(10)
        engine = DockerEngine(Connection(host=f"unix://{tmp_path}/engine.sock", timeout=1, api_version="1.41"))
        asked: list[str] = []

        def ask() -> None:
            with pytest.raises(EngineUnreachable, match=r"no answer within [12](\.\d*)? s"):
                call(engine)
            asked.append("told")

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(10.0)
        assert asked == ["told"]


class ForgetfulEngine:
    """An engine, and its client, whose first command hangs; once it has forgotten that, the next ones print a number and end."""

    timeout = 1.0

    def __init__(self) -> None:
        self.forgets = False
        self._number = 0
        self._ends: list[socket.socket] = []

    @contextlib.contextmanager
    def asking(self, what: str, *, own_seconds: float) -> Iterator[ForgetfulEngine]:
        yield self

    def exec_create(self, container: str, words: list[str], **_streams: bool) -> dict[str, Any]:
        self._number += 1
        return {"Id": str(self._number)}

    def exec_start(self, command: str, **_way: bool) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._ends.append(theirs)
        if self.forgets:
            theirs.sendall(b"\1\0\0\0\0\0\0\2" + b"3\n")
            theirs.close()
        return ours

    def exec_inspect(self, command: str) -> dict[str, Any]:
        if command != "1":
            return {"Running": False, "ExitCode": 0}
        if self.forgets:
            raise EngineError("Cannot end a command: No such exec instance", status=404)
        return {"Running": True, "ExitCode": None}


def test_one_that_the_engine_has_forgotten_keeps_no_other_from_being_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_commands, "_END_SECONDS", 0.05)
    engine = ForgetfulEngine()
    runner = CommandRunner(engine, local=False)  # type: ignore[arg-type]
    assert runner.run("c", ["count"], seconds=0.05, most_bytes=10).why == "has not ended in time"
    assert runner.run("c", ["count"], seconds=0.05, most_bytes=10).why == "was not run: the one before still runs in its container"
    engine.forgets = True
    assert runner.run("c", ["count"], seconds=5.0, most_bytes=10) == CommandEnd(0, b"3\n")
