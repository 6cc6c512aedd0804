# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slow readers over real sockets, output that no client can hold up, and the stream of the engine's events."""

from __future__ import annotations

import asyncio
import json
import socket as socket_module
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.shared_node import SharedNode
from ansible_collections.fleet.power.plugins.module_utils._http_shim.http.listener import BoundedConnection
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket import rooms as changes_file
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.console import Follower
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.member import Member
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.rooms import Changes
from ansible_collections.fleet.power.plugins.module_utils._power.engine.output import Output
from ansible_collections.fleet.power.plugins.module_utils._power.engine.readiness import Matchers
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Snapshot
from ansible_collections.fleet.power.tests.unit.thread_support import block_until

LINE = "x" * 1000


async def serve(handler: Callable[[web.BaseRequest], Any]) -> tuple[web.Server, str]:
    server = web.Server(handler)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


def test_a_client_that_does_not_read_is_dropped_and_a_reading_client_gets_all() -> None:
    boxes: dict[str, Member] = {}
    dropped: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        opened, name = web.WebSocketResponse(compress=False), request.rel_url.query_string
        await opened.prepare(request)
        transport = request.transport
        assert transport is not None

        def drop() -> None:
            dropped.append(name)
            transport.abort()

        boxes[name] = Member(opened, drop, "r", "127.0.0.1", lambda _member: None)
        async for _message in opened:
            pass
        await boxes[name].left()
        return opened

    async def story() -> None:
        server, url = await serve(handler)
        async with aiohttp.ClientSession() as session:
            good = await session.ws_connect(f"{url}?good")
            # The client sends its handshake and then reads nothing.
            bad = socket_module.socket()
            bad.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 4096)
            bad.connect(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])))
            bad.sendall(
                b"GET /?bad HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
            )
            while len(boxes) < 2:
                await asyncio.sleep(0.01)
            sent = 0
            while not dropped:
                for box in boxes.values():
                    box.put(f"{sent} {LINE}")
                sent += 1
                assert sent < 50_000
                message = await asyncio.wait_for(good.receive(), 20.0)
                assert message.data == f"{sent - 1} {LINE}"
            assert dropped == ["bad"]
            assert boxes["bad"].over
            boxes["good"].close(1001, "bye")
            assert (await good.receive()).data == 1001
            bad.close()
        await server.shutdown(1.0)

    asyncio.run(story())


class Pipe(Output):
    def __init__(self) -> None:
        self.theirs, ours = socket_module.socketpair()
        super().__init__(ours)

    def write(self, text: str) -> None:
        payload = text.encode()
        self.theirs.sendall(b"\x01\0\0\0" + len(payload).to_bytes(4, "big") + payload)


class OneContainer:
    def __init__(self, log: str = "") -> None:
        self.log = log
        self.pipe = Pipe()
        self.fault: Exception | None = None

    def attach(self, _name: str) -> Output:
        if self.fault is not None:
            raise self.fault
        return self.pipe

    def of_run(self, _run: Run) -> bytes:
        return self.log.encode()


class Heard:
    def __init__(self, engine: OneContainer, matchers: Matchers | None = None, *, begin: bool = False) -> None:
        self.frames: list[str] = []
        self.said: list[str] = []
        console = SimpleNamespace(
            loop=SimpleNamespace(call_soon_threadsafe=lambda call, *arguments: call(*arguments)),
            attached=SimpleNamespace(set=lambda: self.said.append("attached")),
            tell=self._tell,
            forget=lambda _follower: self.said.append("ended"),
        )
        snapshot = Snapshot(id="c", name="n", live=True, started_at="1")
        self.follower = Follower(cast("Any", console), cast("Any", engine), snapshot, matchers, begin=begin)
        self.follower.start()

    def _tell(self, frames: Sequence[str]) -> None:
        self.frames += frames

    @property
    def lines(self) -> list[str]:
        found = [json.loads(text) for text in self.frames]
        return [each["args"][0] for each in found if each["event"] == "console output"]


def test_fast_output_is_read_completely_and_shown_in_part() -> None:
    engine = OneContainer()
    heard = Heard(engine)
    began = time.monotonic()
    for _unused in range(200):
        engine.pipe.write(f"{'y' * 200}\n" * 200)
    assert time.monotonic() - began < 10.0
    time.sleep(1.1)
    engine.pipe.write("calm\n")
    block_until(lambda: "calm" in heard.lines)
    engine.pipe.theirs.close()
    assert sum(map(len, heard.lines)) < 3_000_000
    assert any("lines are not shown" in text for text in heard.frames)


class Sink(asyncio.Transport, asyncio.Protocol):
    """The data that a connection passed on, and whether it was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)


@pytest.mark.parametrize(("each", "passed"), [(0, 64), (100, 3)])
def test_input_is_passed_on_in_pieces_until_the_message_queue_is_full(each: int, passed: int) -> None:
    sink = Sink()

    async def story() -> None:
        connection = BoundedConnection(lambda: sink, lambda _lost: None, 60.0)
        connection.connection_made(sink)
        connection.begin_websocket(lambda: each * len(sink.pieces))
        connection.data_received(b"x" * 256 * 1024)

    asyncio.run(story())
    assert (len(sink.pieces), sink.aborted) == (passed, passed < 64)
    assert max(map(len, sink.pieces)) <= 4096


class Stream:
    """An engine whose events a test makes. It stands for a `SharedNode`."""

    local = True

    def __init__(self) -> None:
        self.coming: list[str] = []
        self.windows: list[tuple[float, float]] = []
        self.fault: Exception | None = None
        self.short = False

    @property
    def engine(self) -> Stream:
        return self

    @property
    def events(self) -> Stream:
        return self

    def now(self) -> Stream:
        return self

    def changed_servers(self, since: float, until: float) -> Iterator[str]:
        self.windows.append((since, until))
        while not self.short and time.time() < until:
            if self.fault is not None:
                raise self.fault
            while self.coming:
                yield self.coming.pop(0)
            time.sleep(0.005)


@pytest.fixture(name="stream")
def quick_stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    monkeypatch.setattr(changes_file, "_WINDOW_SECONDS", 0.2)
    monkeypatch.setattr(changes_file, "_SLACK_SECONDS", 0.05)
    monkeypatch.setattr(changes_file, "_BLIND_SECONDS", 0.05)
    return Stream()


def reading(stream: Stream) -> tuple[Changes, list[str | None]]:
    changed: list[str | None] = []
    changes = Changes(cast(SharedNode, stream), changed.append)
    changes.want(True)
    return changes, changed


def readers() -> int:
    return sum(thread.name == "changes" for thread in threading.enumerate())


@pytest.mark.parametrize("trouble", ["fault", "short", "far"])
def test_without_engine_events_all_servers_are_checked_until_events_return(stream: Stream, trouble: str) -> None:
    stream.fault = EngineUnreachable("gone") if trouble == "fault" else None
    stream.short, stream.local = trouble == "short", trouble != "far"
    changes, changed = reading(stream)
    block_until(lambda: len(changed) >= 3)
    stream.fault, stream.short, stream.local = None, False, True
    stream.coming.append("a")
    block_until(lambda: changed[-1:] == ["a"])
    assert set(changed) == {None, "a"}
    changes.want(False)
    block_until(lambda: readers() == 0)
