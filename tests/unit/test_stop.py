# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The graceful stop, text for the standard input, and output of the container."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.progress import Progress
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.stop import stop_run
from ansible_collections.fleet.power.plugins.module_utils._power.engine.docker_engine import DockerEngine
from ansible_collections.fleet.power.plugins.module_utils._power.engine.output import Deframer, Output, write_once
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    CancelledByKill,
    EngineError,
    EngineUnreachable,
    StopFailed,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase, StopReport
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Snapshot
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.scripted_engine import ScriptedEngine, listening
from hypothesis import given, settings
from hypothesis import strategies as st


def frame(payload: bytes, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8), st.data())
def test_frames_are_separated_regardless_of_the_cuts_in_the_stream(frames: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(frame(payload, number) for number, payload in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    deframer = Deframer()
    payload = b"".join(deframer.feed(stream[start:end]) for start, end in zip([0, *cuts], [*cuts, len(stream)]))
    assert payload == b"".join(payload for _number, payload in frames)


@pytest.fixture(name="duplex")
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_read_returns_the_output_or_none_or_the_end(duplex: tuple[socket.socket, socket.socket]) -> None:
    output = Output(duplex[0])
    assert output.read(0.01) is None
    duplex[1].sendall(b"ready")
    assert output.read(5) == b"ready"
    duplex[1].close()
    assert output.read(5) == b""
    output.close()
    assert output.read(0.01) == b""
    output.close()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("first", [frame(b"first\n"), frame(b"first\n")[:5], frame(b"x" * 100_000), b""], ids=len)
def test_bytes_after_the_head_of_the_answer_belong_to_the_output(scripted: ScriptedEngine, first: bytes) -> None:
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


def stop(fake: FakeNode, progress: Progress | None = None, **fields: Any) -> Progress:
    progress = progress or fake.progress("stop", **fields)
    with fake.lock("stop") as lock:
        stop_run(fake.context(progress), lock, fake.seen())
    return progress


def up(fake: FakeNode, stop_way: object, **fields: Any) -> Snapshot:
    fake.define(process={"stop": stop_way})
    return fake.up(**fields)


COMMAND = {"type": "command", "value": "stop"}
SIGINT = {"type": "signal", "value": "^C"}
NATIVE = {"type": "stop"}


class TestTimeoutInForce:
    @pytest.mark.parametrize(
        "made_with, now, task, given, seconds, source",
        [
            (20, 40, None, None, 20, "container"),
            (None, 40, None, None, 50, "settings"),
            (20, 40, 30, None, 30, "definition"),
            (20, 40, 30, 10, 10, "task"),
            (20, None, None, 0, 0, "task"),
        ],
    )
    @pytest.mark.parametrize("action", ["stop", "restart"])
    def test_a_dry_run_names_the_timeout_and_the_stop_uses_it(
        self, fake: FakeNode, action: str, made_with: object, now: object, task: object, given: object, seconds: int, source: str
    ) -> None:
        fake.configure(system={"stop_timeout": 50})
        up(fake, {**NATIVE, "timeout": made_with})
        fake.define(process={"stop": {**NATIVE, "timeout": now}})
        if task is not None:
            fake.task = [fake.definition(process={"stop": {**NATIVE, "timeout": task}})]
            fake.configure(system={"stop_timeout": 50})
        checked = fake.perform(action, check=True, stop_timeout=given)
        assert checked.stop_timeout is not None
        assert checked.stop_timeout.facts() == {"seconds": seconds, "from": source}
        assert checked.msg.startswith(f"stop timeout {seconds} s, from the ")
        assert fake.engine.changes() == []
        fake.engine.stop_seconds = 1000.0
        done = fake.perform(action, stop_timeout=given)
        assert done.stop is not None
        assert (done.stop.forced, round(done.stop.seconds), done.stop_timeout) == (True, seconds, None)


class TestWay:
    @pytest.mark.parametrize(
        "way, how, call",
        [
            (COMMAND, "command", ("write_stdin", "stop\n")),
            (SIGINT, "signal", ("signal", "SIGINT")),
            (NATIVE, "native", ("signal", "SIGTERM")),
        ],
    )
    def test_a_run_is_stopped_the_way_its_container_was_created_with(
        self, fake: FakeNode, way: object, how: str, call: tuple[str, ...]
    ) -> None:
        up(fake, way)
        fake.define(process={"stop": {"type": "signal", "value": "SIGUSR1"}})
        progress = stop(fake)
        assert fake.engine.calls == [call]
        assert progress.stop == StopReport(how, forced=False, seconds=0.0)
        assert (progress.changed, progress.warnings) == (True, ())


class TestGrace:
    @pytest.mark.parametrize("asked, own, seconds", [(7, 5, 7.0), (None, 5, 5.0), (None, None, 600.0), (600, 5, 600.0)])
    def test_the_timeout_comes_from_the_request_then_the_definition_then_the_node(
        self, fake: FakeNode, asked: int | None, own: int | None, seconds: float
    ) -> None:
        fake.engine.heeds = set()
        up(fake, NATIVE if own is None else {**NATIVE, "timeout": own})
        progress = stop(fake, stop_timeout=asked)
        assert progress.stop == StopReport("native", forced=True, seconds=seconds)
        assert fake.engine.calls == [("signal", "SIGTERM"), ("signal", "SIGKILL")]
        assert not fake.live

    @pytest.mark.parametrize("asked, own", [(0, 5), (None, 0)])
    def test_a_timeout_of_zero_kills_at_once_without_a_stop_request(self, fake: FakeNode, asked: int | None, own: int) -> None:
        up(fake, {**COMMAND, "timeout": own})
        progress = stop(fake, stop_timeout=asked)
        assert fake.engine.calls == [("signal", "SIGKILL")]
        assert progress.stop == StopReport("kill", forced=True, seconds=0.0)

    def test_a_stop_ends_only_with_the_process(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 42.0
        up(fake, COMMAND)
        progress = stop(fake)
        assert progress.stop is not None
        assert not progress.stop.forced
        assert 42.0 <= progress.stop.seconds <= 42.5


class TestOrder:
    def test_the_stop_disables_the_engines_restart_policy_first(self, fake: FakeNode) -> None:
        up(fake, NATIVE, restart_policy="always", paused=True)
        stop(fake)
        assert fake.engine.changes() == ["forbid_restart", "unpause", "signal"]


class TestFailure:
    @pytest.mark.parametrize("way, call", [(COMMAND, "write_stdin"), (SIGINT, "signal")])
    def test_a_refused_stop_kills_no_process(self, fake: FakeNode, way: object, call: str) -> None:
        up(fake, way)
        fake.engine.refuse(call, "invalid signal")
        progress = fake.progress("stop")
        with pytest.raises(StopFailed, match="the engine refused the stop: invalid signal"):
            stop(fake, progress)
        assert fake.live
        assert not progress.changed
        assert fake.engine.calls == []

    @pytest.mark.parametrize("timeout", [None, 0], ids=["stop", "kill at once"])
    def test_an_error_of_the_server_leaves_a_stop_in_progress(self, fake: FakeNode, timeout: int | None) -> None:
        up(fake, NATIVE)
        fake.engine.refuse("signal", "did not receive an exit event", status=500)
        progress = fake.progress("stop", stop_timeout=timeout)
        with pytest.raises((StopFailed, EngineError), match="did not receive an exit event"):
            stop(fake, progress)
        assert fake.node.observe(UUID).stop_left
        assert progress.changed

    @pytest.mark.parametrize("way, call", [(COMMAND, "write_stdin"), (SIGINT, "signal")])
    def test_a_run_without_its_container_has_ended(self, fake: FakeNode, way: object, call: str) -> None:
        up(fake, way)
        fake.engine.before[call].append(fake.engine.containers.clear)
        progress = fake.progress("stop")
        stop(fake, progress)
        assert progress.stop is not None and not progress.stop.forced
        assert not fake.node.locks.has_record(UUID)

    def test_a_process_that_survives_sigkill_fails_the_stop_and_stays_stopping(self, fake: FakeNode) -> None:
        fake.engine.immortal = True
        fake.engine.heeds = set()
        run = up(fake, NATIVE).run
        with pytest.raises(StopFailed, match="still runs 60 s after SIGKILL"):
            stop(fake, stop_timeout=5)
        left = fake.node.locks.look(UUID)[1]
        assert left is not None
        assert (left.phase, left.run) == (Phase.STOP, run)
        assert fake.node.observe(UUID).state.value == "stopping"

    @pytest.mark.parametrize("call", ["signal", "inspect"])
    def test_an_unconfirmed_stop_stays_in_the_record(self, fake: FakeNode, call: str) -> None:
        fake.engine.stop_seconds = 5.0
        up(fake, NATIVE)
        if call == "signal":
            fake.engine.silence("signal", late=True)
        else:
            fake.engine.witness = lambda name: fake.engine.silence("inspect")
        progress = fake.progress("stop")
        with pytest.raises(EngineUnreachable):
            stop(fake, progress)
        assert fake.node.observe(UUID).stop_left
        assert progress.changed

    @pytest.mark.parametrize("call", ["forbid_restart", "unpause"])
    def test_a_silent_engine_before_the_stop_request_leaves_no_stop_in_progress(self, fake: FakeNode, call: str) -> None:
        up(fake, NATIVE, restart_policy="always", paused=True)
        fake.engine.silence(call, late=True)
        with pytest.raises(EngineUnreachable):
            stop(fake)
        assert fake.node.observe(UUID).state.value == "running"
        assert not fake.node.locks.has_record(UUID)

    @pytest.mark.parametrize(
        "way, call, timeout",
        [(COMMAND, "write_stdin", None), (NATIVE, "signal", None), (NATIVE, "signal", 0)],
        ids=["command", "signal", "kill at once"],
    )
    def test_an_unsent_request_leaves_no_stop_in_progress(self, fake: FakeNode, way: object, call: str, timeout: int | None) -> None:
        up(fake, way)
        fake.engine.fail(call, EngineUnreachable("connection refused", no_effect=True))
        progress = fake.progress("stop", stop_timeout=timeout)
        with pytest.raises(EngineUnreachable):
            stop(fake, progress)
        assert not fake.node.locks.has_record(UUID)
        assert not progress.changed

    @pytest.mark.parametrize("timeout", [None, 0], ids=["stop", "kill at once"])
    def test_a_lost_connection_after_the_request_leaves_a_stop_in_progress(self, fake: FakeNode, timeout: int | None) -> None:
        fake.engine.stop_seconds = 5.0
        up(fake, NATIVE)
        refused = EngineUnreachable("connection refused", no_effect=True)
        fake.engine.after["signal"].append(lambda: fake.engine.fail("inspect", refused))
        progress = fake.progress("stop", stop_timeout=timeout)
        with pytest.raises(EngineUnreachable):
            stop(fake, progress)
        assert fake.node.observe(UUID).stop_left
        assert progress.changed

    def test_a_cancelled_wait_reports_the_stop_request_as_a_change(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 30.0
        up(fake, NATIVE)
        fake.clock.after(3, fake.kill_elsewhere)
        progress = fake.progress("restart")
        with pytest.raises(CancelledByKill):
            stop(fake, progress)
        assert progress.changed
        assert 3.0 <= fake.clock.monotonic() <= 3.6
        assert fake.node.observe(UUID).stop_left


MORE_THAN_FITS = b"x" * 8_000_000


@pytest.mark.parametrize("attached", [False, True])
def test_a_command_is_unsent_until_the_engine_answers_the_attach(tmp_path: Path, attached: bool) -> None:
    with listening("unix", tmp_path) as scripted:
        if attached:
            scripted.answer = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        engine = DockerEngine(replace(scripted.connection, timeout=1, api_version="1.45"))
        with pytest.raises(EngineUnreachable, match="no answer within 1 s") as caught:
            engine.write_stdin("a", MORE_THAN_FITS.decode())
        assert caught.value.facts == {"no_effect": not attached}


@pytest.fixture(name="pair")
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_input_that_is_read_to_its_end_is_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    read: list[bytes] = []

    def engine() -> None:
        while chunk := theirs.recv(65536):
            read.append(chunk)
        theirs.close()

    thread = threading.Thread(target=engine)
    thread.start()
    assert write_once(ours, MORE_THAN_FITS, 20.0, until_taken=True)
    thread.join()
    assert b"".join(read) == MORE_THAN_FITS


@pytest.mark.parametrize("text", [b"say\n", MORE_THAN_FITS], ids=["fits", "more than fits"])
def test_unread_input_is_not_taken_within_its_time(pair: tuple[socket.socket, socket.socket], text: bytes) -> None:
    began = time.monotonic()
    assert not write_once(pair[0], text, 0.3, until_taken=True)
    assert 0.2 < time.monotonic() - began < 5.0
    assert pair[0].fileno() == -1


def test_a_write_without_until_taken_waits_only_for_the_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _theirs = pair
    assert write_once(ours.dup(), b"stop\n", 60.0, until_taken=False)
    with pytest.raises(socket.timeout):
        write_once(ours, MORE_THAN_FITS, 0.2, until_taken=False)
    assert ours.fileno() == -1


def test_a_closed_reader_ends_the_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(b"before")
    theirs.shutdown(socket.SHUT_WR)
    assert write_once(ours, b"say\n", 60.0, until_taken=True)
