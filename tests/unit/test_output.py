# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container output as it comes from the engine's socket: chunks that end anywhere, silence, and the end."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.output import Deframer, Output
from ansible_collections.fleet.power.tests.unit.scripted_engine import ScriptedEngine
from hypothesis import given, settings
from hypothesis import strategies as st


def frame(payload: bytes, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8), st.data())
def test_frames_come_apart_the_same_however_the_stream_is_cut(frames: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(frame(payload, number) for number, payload in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    deframer = Deframer()
    payload = b"".join(deframer.feed(stream[start:end]) for start, end in zip([0, *cuts], [*cuts, len(stream)]))
    assert payload == b"".join(payload for _number, payload in frames)


@pytest.fixture(name="pair")
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_output_is_what_came_nothing_or_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    output = Output(pair[0])
    assert output.read(0.01) is None
    pair[1].sendall(b"ready")
    assert output.read(5) == b"ready"
    pair[1].close()
    assert output.read(5) == b""
    output.close()
    assert output.read(0.01) == b""
    output.close()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("first", [frame(b"first\n"), frame(b"first\n")[:5], frame(b"x" * 100_000), b""], ids=len)
def test_what_comes_along_with_the_head_of_the_answer_is_read_as_all_that_follows(scripted: ScriptedEngine, first: bytes) -> None:
    scripted.answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + first
    output = DockerEngine(scripted.connection).logs.attach("a")
    assert read(output, len(first)) == first
    assert output.read(0.01) is None
    scripted.say(b"second")
    assert read(output, 6) == b"second"
    scripted.hang_up()
    assert output.read(5) == b""
    output.close()


def read(output: Output, size: int) -> bytes:
    found = b""
    while len(found) < size:
        chunk = output.read(5)
        assert chunk, found
        found += chunk
    return found
