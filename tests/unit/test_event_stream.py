# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of engine events: a stream ends when it is closed, and raises when it breaks."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import DockerEventStream
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.tests.unit.scripted_engine import HEAD, ScriptedEngine

LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(number: int) -> bytes:
    fields = {"Type": "container", "Action": "die", "Actor": {"ID": f"{number:064x}", "Attributes": {}}, "timeNano": number}
    return json.dumps(fields).encode() + b"\n"


#: The library warns about certificates that it does not check.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


@pytest.fixture(name="engine")
def streaming_engine(scripted: ScriptedEngine) -> ScriptedEngine:
    scripted.answer = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    return scripted


def follow(engine: ScriptedEngine, since: int | None = None, timeout: int = 5) -> DockerEventStream:
    return DockerEngine(replace(engine.connection, timeout=timeout)).events.follow(since)


def test_events_arrive_from_split_chunks_and_other_data_is_skipped(engine: ScriptedEngine) -> None:
    stream = follow(engine, 5)
    text = event(1) + b'{"Type": "network"}\n[]\n' + event(2)
    for piece in (text[:7], text[7:8], text[8:300], text[300:]):
        engine.say(chunk(piece))
    engine.say(LAST)
    assert [each.at for each in stream] == [1, 2]
    assert list(stream) == []
    asked = parse_qs(urlsplit(engine.asked[0]).query)
    assert asked["since"] == ["0.000000005"]
    assert json.loads(asked["filters"][0]) == {"type": ["container"], "event": ["start", "die", "kill", "destroy", "health_status"]}


@pytest.mark.parametrize("said", [b"", chunk(event(1))[:30], chunk(event(1)[:30])])
def test_a_broken_stream_raises_once_and_ends(engine: ScriptedEngine, said: bytes) -> None:
    stream = follow(engine)
    engine.say(said)
    engine.hang_up()
    with pytest.raises(EngineUnreachable, match="Cannot follow the engine's events: "):
        next(stream)
    assert list(stream) == []


def test_closing_a_stream_ends_its_blocked_reader_and_its_connection(engine: ScriptedEngine) -> None:
    stream = follow(engine, timeout=1)
    engine.say(chunk(event(1) + event(2)))
    assert next(stream).at == 1
    ended = threading.Event()

    def read() -> None:
        assert [each.at for each in stream] == [2]
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    # Longer than the timeout of a call: the stream does not end by itself.
    assert not ended.wait(1.5)
    began = time.monotonic()
    stream.close()
    assert ended.wait(20)
    assert time.monotonic() - began < 5
    reader.join()
    stream.close()
    assert list(stream) == []
    assert engine.link is not None and engine.link.recv(10) == b"", "the connection is closed"
