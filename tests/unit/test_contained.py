# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in containers, and clients of the engine for many threads."""

from __future__ import annotations

import contextlib
import socket
import subprocess
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
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_calls import PLACES, EngineCalls
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_commands import CommandEnd, CommandRunner, _read, end_session
from ansible_collections.fleet.power.plugins.module_utils._power.engine.engine_version import EngineVersion
from ansible_collections.fleet.power.plugins.module_utils._power.host.machine import boot_seconds
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline, wait_until
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import SYSTEM_CLOCK
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock, FakeOutput

CONTAINER = "c" * 64


class Hanging:
    """A process with its own session, and a child in that session."""

    def __init__(self) -> None:
        self.since = boot_seconds()
        self.leader = subprocess.Popen(
            ["sh", "-c", "sleep 1001 & echo $!; wait"], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.leader.stdout is not None
        self.child = int(self.leader.stdout.readline())

    @property
    def lives(self) -> bool:
        """Whether both processes live. A zombie does not."""
        return self.leader.poll() is None and self._child_lives()

    @property
    def is_over(self) -> bool:
        self.leader.wait(20)
        return wait_until(lambda: not self._child_lives(), Deadline.after(SYSTEM_CLOCK, 20.0), every=0.01)

    def _child_lives(self) -> bool:
        try:
            with open(f"/proc/{self.child}/stat", encoding="utf-8") as source:
                return source.read().rpartition(")")[2].split()[0] not in ("Z", "X")
        except (FileNotFoundError, ProcessLookupError):
            return False

    def end(self) -> None:
        engine_commands.end_session(self.leader.pid, CONTAINER, 0.0)
        self.leader.wait(20)
        assert self.leader.stdout is not None
        self.leader.stdout.close()


@pytest.fixture(name="hanging")
def in_a_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    found = Hanging()
    yield found
    monkeypatch.setattr(engine_commands, "text_of", lambda _path: CONTAINER)
    found.end()


def test_the_end_of_a_command_ends_its_whole_session(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_commands, "text_of", lambda _path: CONTAINER)
    end_session(hanging.leader.pid, CONTAINER, hanging.since)
    assert hanging.is_over


@pytest.mark.parametrize(("which", "container"), [("child", CONTAINER), ("leader", "c"), ("leader", ""), ("zero", CONTAINER)])
def test_a_wrong_process_id_or_container_id_ends_no_process(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch, which: str, container: str
) -> None:
    monkeypatch.setattr(engine_commands, "text_of", lambda _path: CONTAINER)
    end_session({"child": hanging.child, "leader": hanging.leader.pid, "zero": 0}[which], container, hanging.since)
    assert hanging.lives


def frame(payload: bytes) -> bytes:
    return b"\1\0\0\0" + len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    ("chunks", "read"),
    [
        ((frame(b"3"), b"\1\0\0", b"\0\0\0\0\2/4", b""), b"3/4"),
        ((b"",), b""),
        ((frame(b"3"), None), CommandEnd(None, why="has not ended in time")),
        ((frame(b"x" * 101), b""), CommandEnd(None, why="prints more than 100 bytes")),
        ((b"\1\0\0\0\xff\xff\xff\xff" + b"x" * 5000, b""), CommandEnd(None, why="prints more than 100 bytes")),
        ((frame(b"") * 200, b""), CommandEnd(None, why="prints more than 100 bytes")),
        ((*[frame(b"x")] * 100, b""), b"x" * 100),
    ],
    ids=range(7),
)
def test_output_of_a_command_is_read_up_to_a_time_and_size_limit(chunks: tuple[bytes | None, ...], read: object) -> None:
    clock = FakeClock()
    assert _read(FakeOutput(clock, *chunks), Deadline.after(clock, 3.0), 100) == read


class Client:
    api_version = "1.45"

    def __init__(self) -> None:
        self.closed = False
        self.timeout = 60.0

    def close(self) -> None:
        self.closed = True


class Made:
    """Lists the clients and the versions they were made for. Each takes 10 ms to make."""

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
    monkeypatch.setattr(Connection, "version", lambda _connection, _sdk: EngineVersion("28.5.2", "1.51", "1.51"))
    return made


def test_a_client_is_used_again_after_a_refusal_but_not_after_a_broken_call(made: Made) -> None:
    clients = EngineCalls(Connection())
    with pytest.raises(OSError, match="cut"), clients.one() as broken:
        raise OSError("cut")
    with pytest.raises(clients.sdk.api_error), clients.one() as refused:
        raise clients.sdk.api_error("no")
    with clients.one() as third:
        assert third is refused is not broken
    assert (broken.closed, refused.closed) == (True, False)


def test_unanswered_calls_delay_others_by_a_second_and_a_kill_not_at_all(made: Made) -> None:
    clients, answered = EngineCalls(Connection()), threading.Event()
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
def test_a_silent_engine_makes_each_call_time_out(tmp_path: Path, call: Callable[[DockerEngine], object]) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen(10)
        engine = DockerEngine(Connection(host=f"unix://{tmp_path}/engine.sock", timeout=1, api_version="1.41"))
        asked: list[str] = []

        def ask() -> None:
            with pytest.raises(EngineUnreachable, match=r"no answer within [12](\.\d*)? s"):
                call(engine)
            asked.append("timed out")

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(10.0)
        assert asked == ["timed out"]


class ForgetfulEngine:
    """An engine and its client. The first command hangs. With ``forgets``, all later commands print a number and end."""

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


def test_a_command_that_the_engine_has_forgotten_does_not_block_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_commands, "_END_SECONDS", 0.05)
    engine = ForgetfulEngine()
    runner = CommandRunner(engine, local=False)  # type: ignore[arg-type]
    assert runner.run("c", ["count"], seconds=0.05, most_bytes=10).why == "has not ended in time"
    assert runner.run("c", ["count"], seconds=0.05, most_bytes=10).why == "was not run: the one before still runs in its container"
    engine.forgets = True
    assert runner.run("c", ["count"], seconds=5.0, most_bytes=10) == CommandEnd(0, b"3\n")
