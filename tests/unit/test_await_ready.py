# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a started server to be ready."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.await_ready import await_ready
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.container import Staged
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.startup import AwaitedRun, start_container
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.progress import Progress
from ansible_collections.fleet.power.plugins.module_utils._power.engine.output import Output
from ansible_collections.fleet.power.plugins.module_utils._power.engine.readiness import Matchers
from ansible_collections.fleet.power.plugins.module_utils._power.locking.holder import EndedHere, Holder
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import (
    CancelledByKill,
    EngineUnreachable,
    StartFailed,
    StartTimeout,
    Superseded,
)
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Verdict
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeOutput
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

READY = ("regex:^ready$",)


class Waiting:
    def __init__(self, fake: FakeNode) -> None:
        fake.define(process={"startup": {"done": list(READY)}})
        fake.up()
        self.fake = fake
        self.progress: Progress = fake.progress()

    def wait(self, wait_for: str = "running", done: tuple[str, ...] = READY, output: Output | None = None, **fields: Any) -> float:
        self.progress = self.fake.progress("start", wait_for=wait_for, **fields)
        began = self.fake.clock.monotonic()
        matchers = Matchers(done, strip=False)
        await_ready(self.fake.context(self.progress), AwaitedRun(self.fake.seen(), matchers, output))
        return self.fake.clock.monotonic() - began

    def later(self, seconds: float, happening: Any) -> None:
        self.fake.clock.after(seconds, happening)

    def log(self, text: bytes) -> None:
        self.fake.engine.logs[self.fake.seen().id] += text

    @property
    def matched(self) -> bool:
        run = self.fake.node.journal.runs.of(UUID)
        return run is not None and run.matched


@pytest.fixture(name="waiting")
def started_server(fake: FakeNode) -> Waiting:
    return Waiting(fake)


class TestRunning:
    def test_a_line_in_the_output_ends_the_wait_regardless_of_chunk_ends(self, fake: FakeNode, waiting: Waiting) -> None:
        output = FakeOutput(fake.clock, b"loading\r\nrea", None, b"dy\r", b"\n")
        assert waiting.wait(output=output) == pytest.approx(0.1)
        assert waiting.matched

    @pytest.mark.parametrize("chunks", [(), (b"",)], ids=["nothing comes", "the stream is lost"])
    def test_a_line_that_the_output_missed_is_found_in_the_log(self, fake: FakeNode, waiting: Waiting, chunks: tuple[bytes, ...]) -> None:
        waiting.later(3, lambda: waiting.log(b"loading\r\nready\r\n"))
        assert 3.0 <= waiting.wait(output=FakeOutput(fake.clock, *chunks)) <= 4.3
        assert waiting.matched

    def test_a_pattern_that_takes_too_long_never_matches_and_is_named(self, fake: FakeNode, waiting: Waiting) -> None:
        done = ("regex:^(a|aa)+$",)
        output = FakeOutput(fake.clock, b"a" * 60 + b"b\n")
        with pytest.raises(StartTimeout):
            waiting.wait(done=done, output=output, wait_timeout=5)
        (warning,) = waiting.progress.warnings
        assert UUID in warning and done[0] in warning and "takes too long" in warning

    def test_a_live_process_is_ready_without_readiness_lines(self, waiting: Waiting) -> None:
        assert waiting.wait(done=()) == 0.0


class TestHealthy:
    def test_the_wait_ends_with_the_engines_health_check(self, fake: FakeNode, waiting: Waiting) -> None:
        fake.engine.change(UUID, health="starting")
        waiting.later(3, lambda: fake.engine.change(UUID, health="unhealthy"))
        waiting.later(7, lambda: fake.engine.change(UUID, health="healthy"))
        assert 7.0 <= waiting.wait("healthy", done=()) <= 7.7

    def test_a_server_without_a_health_check_counts_as_healthy_with_a_warning(self, fake: FakeNode, waiting: Waiting) -> None:
        assert waiting.wait("healthy", output=FakeOutput(fake.clock, b"ready\n")) == 0.0
        assert "has no HEALTHCHECK" in waiting.progress.warnings[0]


@pytest.mark.parametrize("seconds", [0, 30, 300])
def test_a_timeout_leaves_the_server_up(fake: FakeNode, waiting: Waiting, seconds: int) -> None:
    with pytest.raises(StartTimeout, match=f"not ready {seconds} s after its start"):
        waiting.wait(wait_timeout=seconds)
    assert fake.live
    assert seconds <= fake.clock.monotonic() <= seconds + 0.3


def test_a_timeout_quotes_the_line_that_did_not_come_and_the_end_of_the_log(fake: FakeNode, waiting: Waiting) -> None:
    fake.engine.change(UUID, environment=("TOKEN=hunter22",))
    waiting.log(b"one\nloading\nthe token is hunter22\nstill loading\n")
    with pytest.raises(StartTimeout, match='after its start, without a line like "Done", "regex:\\^ready\\$"; it is left up'):
        waiting.wait(done=("Done", *READY), wait_timeout=3)
    assert waiting.progress.log == ("loading", "the token is ********", "still loading")


def test_a_timeout_of_a_health_check_misses_no_line(fake: FakeNode, waiting: Waiting) -> None:
    fake.engine.change(UUID, health="starting")
    with pytest.raises(StartTimeout, match="is healthy: not ready 3 s after its start; it is left up"):
        waiting.wait("healthy", output=FakeOutput(fake.clock, b"ready\n"), wait_timeout=3)


def test_a_signal_ends_only_the_wait(fake: FakeNode, waiting: Waiting) -> None:
    waiting.later(2, lambda: setattr(fake, "interrupted", True))
    assert 2.0 <= waiting.wait() <= 2.3
    assert "a signal ended the wait" in waiting.progress.warnings[0]
    assert fake.live


def test_the_end_of_a_service_does_not_end_the_wait(fake: FakeNode, waiting: Waiting) -> None:
    fake.node = replace(fake.node, caller=replace(fake.node.caller, handed_on=lambda: fake.interrupted))
    fake.interrupted = True
    waiting.later(2, lambda: waiting.log(b"ready\r\n"))
    assert 2.0 <= waiting.wait() <= 3.3
    assert waiting.progress.warnings == ()


class TestEnd:
    def test_a_process_that_ends_by_itself_fails_the_start(self, fake: FakeNode, waiting: Waiting) -> None:
        waiting.log(b"out of luck\r\n")
        waiting.later(2, lambda: fake.engine.end(UUID, 7))
        with pytest.raises(StartFailed, match="exit code 7"):
            waiting.wait()
        assert (waiting.progress.exit_code, waiting.progress.log) == (7, ("out of luck",))
        assert fake.clock.monotonic() <= 2.7

    def test_a_kill_cancels_the_wait(self, fake: FakeNode, waiting: Waiting) -> None:
        waiting.later(2, fake.kill_elsewhere)
        waiting.later(2, lambda: fake.engine.end(UUID, 137))
        with pytest.raises(CancelledByKill):
            waiting.wait()

    def test_another_actions_stop_supersedes_the_wait_at_once_and_is_named(self, fake: FakeNode, waiting: Waiting) -> None:
        lock = fake.lock("stop")
        waiting.later(2, lambda: lock.enter(Phase.STOP, run=fake.seen().run))
        with pytest.raises(Superseded, match="another action took it over: stop by bob@web2"):
            waiting.wait()
        lock.release()
        assert 2.0 <= fake.clock.monotonic() <= 2.7
        assert fake.live

    def test_another_run_of_the_container_supersedes_the_wait(self, fake: FakeNode, waiting: Waiting) -> None:
        def again() -> None:
            fake.engine.end(UUID)
            fake.engine.execute_start(UUID)

        waiting.later(2, again)
        with pytest.raises(Superseded):
            waiting.wait()


class TestEndInTheJournal:
    """The awaited run has ended. Mostly the supervisor or another action has started a new run."""

    @staticmethod
    def ended(fake: FakeNode, verdict: Verdict, again: bool = True) -> None:
        run = fake.seen().run
        fake.engine.end(UUID, 7)
        row = EndedRun(Server(UUID), run, verdict, exit_code=7, oom_killed=True, log=("out of luck", "bye"), due=verdict is Verdict.CRASHED)
        assert fake.node.journal.ended_runs.write(row)
        if again:
            fake.engine.execute_start(UUID)

    @pytest.mark.parametrize("verdict", [Verdict.CRASHED, Verdict.ENDED, Verdict.PENDING])
    def test_a_run_that_ended_by_itself_fails_the_start_although_a_new_run_is_up(
        self, fake: FakeNode, waiting: Waiting, verdict: Verdict
    ) -> None:
        waiting.later(2, lambda: self.ended(fake, verdict))
        with pytest.raises(StartFailed, match="its process ended with exit code 7, out of memory; server_power_info with crashes=1 shows"):
            waiting.wait()
        assert (waiting.progress.exit_code, waiting.progress.log) == (7, ("out of luck", "bye"))

    @pytest.mark.parametrize("verdict", [Verdict.STOPPED, Verdict.RESTARTING, Verdict.STOPPED_EXTERNALLY, Verdict.ENGINE_STOPPED])
    def test_a_run_that_did_not_end_by_itself_and_a_new_run_supersede_the_wait(
        self, fake: FakeNode, waiting: Waiting, verdict: Verdict
    ) -> None:
        waiting.later(2, lambda: self.ended(fake, verdict))
        with pytest.raises(Superseded):
            waiting.wait()

    @pytest.mark.parametrize("verdict", [Verdict.STOPPED, Verdict.RESTARTING])
    def test_another_action_that_ended_the_run_and_started_none_supersedes_the_wait(
        self, fake: FakeNode, waiting: Waiting, verdict: Verdict
    ) -> None:
        waiting.later(2, lambda: self.ended(fake, verdict, again=False))
        with pytest.raises(Superseded):
            waiting.wait()

    def test_a_stop_that_only_the_locks_record_has_supersedes_the_wait(self, fake: FakeNode, waiting: Waiting) -> None:
        def stop() -> None:
            with fake.lock("stop") as lock:
                lock.clear(carry=EndedHere(fake.seen().run, "stop"))
            fake.engine.end(UUID, 143)

        waiting.later(2, stop)
        with pytest.raises(Superseded):
            waiting.wait()

    def test_a_stopping_holder_that_vanishes_after_the_look_supersedes_the_wait(
        self, fake: FakeNode, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock, look = fake.lock("stop"), fake.node.locks.holder

        def look_then_release(uuid: str) -> Holder | None:
            holder = look(uuid)
            if holder is not None and holder.phase == Phase.STOP.value:
                lock.release()
            return holder

        waiting.later(2, lambda: lock.enter(Phase.STOP, run=fake.seen().run))
        monkeypatch.setattr(fake.node.locks, "holder", look_then_release)
        with pytest.raises(Superseded, match="stop by bob@web2"):
            waiting.wait()
        assert fake.live

    def test_a_kill_takes_precedence_over_the_journal(self, fake: FakeNode, waiting: Waiting) -> None:
        waiting.later(2, fake.kill_elsewhere)
        waiting.later(2, lambda: self.ended(fake, Verdict.CRASHED))
        with pytest.raises(CancelledByKill):
            waiting.wait()


class Attempt:
    """A container that has run before and is offline, one start of it, and the result."""

    def __init__(self, fake: FakeNode) -> None:
        self.before: Run = fake.down().run
        fake.clock.sleep(1)
        self.fake = fake
        self.progress: Progress = fake.progress()
        self.phase_after = ""

    def start(self, *, attach: bool = False) -> tuple[Snapshot, Output | None]:
        fake = self.fake
        with fake.lock("start") as lock:
            try:
                staged = Staged(self.before.container, None, waiting=False)
                return start_container(fake.context(self.progress), lock, staged, attach=attach)
            finally:
                holder = fake.node.locks.holder(UUID)
                self.phase_after = "" if holder is None else holder.phase

    @property
    def left_over(self) -> Run | None:
        left = self.fake.node.locks.look(UUID)[1]
        return None if left is None or left.phase is not Phase.START else left.run


@pytest.fixture(name="attempt")
def prepared_attempt(fake: FakeNode) -> Attempt:
    return Attempt(fake)


def test_an_answered_start_is_the_new_run_and_leaves_no_leftover(fake: FakeNode, attempt: Attempt) -> None:
    snapshot, output = attempt.start()
    assert snapshot.live
    assert snapshot == fake.seen()
    assert snapshot.run != attempt.before
    assert output is None
    assert attempt.progress.changed
    assert attempt.phase_after == "observe"
    assert attempt.left_over is None


def test_the_record_names_container_and_last_start_before_the_request_is_sent(fake: FakeNode, attempt: Attempt) -> None:
    seen = []
    fake.engine.witness = lambda call: seen.append((call, fake.node.locks.holder(UUID)))
    attempt.start()
    assert [(call, holder.phase, holder.run) for call, holder in seen if holder is not None] == [("start", "start", attempt.before)]


def test_the_output_is_attached_before_the_start_request(fake: FakeNode, attempt: Attempt) -> None:
    _snapshot, output = attempt.start(attach=True)
    assert output is fake.engine.output
    assert not fake.engine.output.closed
    assert fake.engine.changes() == ["attach", "start"]


def test_a_removed_container_is_not_started(fake: FakeNode, attempt: Attempt) -> None:
    fake.engine.containers.clear()
    with pytest.raises(StartFailed, match="removed by somebody else"):
        attempt.start()
    assert not attempt.progress.changed
    assert fake.engine.calls == []


def test_a_start_that_the_engine_refuses_fails_with_its_reason(fake: FakeNode, attempt: Attempt) -> None:
    fake.engine.refuse("start", "no such executable")
    with pytest.raises(StartFailed, match="no such executable"):
        attempt.start(attach=True)
    assert fake.engine.output.closed
    assert attempt.left_over is None
    assert fake.engine.find(UUID) is not None


class TestNoAnswer:
    def test_a_start_without_an_answer_that_was_not_executed_is_fenced(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.silence("start")
        with pytest.raises(EngineUnreachable):
            attempt.start(attach=True)
        assert fake.engine.find(UUID) is None
        assert fake.engine.changes() == ["attach", "remove"]
        assert attempt.progress.changed
        assert attempt.left_over is None
        fake.engine.execute_start(attempt.before.container)
        assert not fake.live

    def test_a_start_without_an_answer_that_was_executed_continues_with_a_warning(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.silence("start", late=True)
        snapshot, _output = attempt.start()
        assert snapshot.live
        assert "did not answer the start, but carried it out" in attempt.progress.warnings[0]
        assert attempt.left_over is None

    def test_a_start_executed_during_the_fencing_continues(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.silence("start")
        fake.engine.before["remove"].append(lambda: fake.engine.execute_start(UUID))
        snapshot, _output = attempt.start()
        assert snapshot.live
        assert fake.engine.changes() == ["remove"]
        assert attempt.left_over is None

    def test_a_start_without_an_answer_with_an_early_exit_fails(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.crash = 3
        fake.engine.silence("start", late=True)
        with pytest.raises(StartFailed, match="exit code 3"):
            attempt.start()

    def test_a_kill_during_a_start_without_an_answer_kills_the_process(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.silence("start", late=True)
        fake.engine.witness = lambda call: fake.kill_elsewhere() if call == "start" else None
        with pytest.raises(CancelledByKill):
            attempt.start()
        assert not fake.live

    @pytest.mark.parametrize("call", ["inspect", "remove"])
    def test_a_start_that_cannot_be_fenced_stays_in_the_record(self, fake: FakeNode, attempt: Attempt, call: str) -> None:
        fake.engine.witness = lambda name: fake.engine.silence(call) if name == "start" else None
        fake.engine.silence("start")
        with pytest.raises(EngineUnreachable):
            attempt.start()
        assert attempt.left_over == attempt.before
        assert attempt.progress.changed, "the engine may have carried it out"
        assert fake.node.locks.holder(UUID) is None

    @pytest.mark.parametrize("is_there", [True, False], ids=["a silent engine", "a removed container"])
    def test_a_start_that_may_have_been_executed_is_a_change(self, fake: FakeNode, attempt: Attempt, is_there: bool) -> None:
        def after_the_start(call: str) -> None:
            if call == "start" and is_there:
                # The first look is that of the fence.
                fake.engine.before["inspect"].append(lambda: None)
                fake.engine.silence("inspect")
            elif call == "start":
                fake.engine.before["inspect"].append(fake.engine.containers.clear)

        fake.engine.witness = after_the_start
        fake.engine.silence("start", late=True)
        with pytest.raises(EngineUnreachable):
            attempt.start()
        assert attempt.progress.changed

    def test_a_start_behind_a_gateway_that_gave_up_is_fenced(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.refuse("start", "gateway timeout", status=504)
        with pytest.raises(StartFailed, match="gateway timeout"):
            attempt.start()
        assert fake.engine.find(UUID) is None

    @pytest.mark.parametrize("status", [400, 500])
    def test_a_refused_start_keeps_the_container(self, fake: FakeNode, attempt: Attempt, status: int) -> None:
        fake.engine.refuse("start", "port is in use", status=status)
        with pytest.raises(StartFailed, match="port is in use"):
            attempt.start()
        assert fake.engine.find(UUID) is not None
        assert not attempt.progress.changed

    def test_a_start_without_a_connection_is_no_change(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.fail("start", EngineUnreachable("connection refused", no_effect=True))
        with pytest.raises(EngineUnreachable):
            attempt.start()
        assert not attempt.progress.changed
        assert attempt.left_over is None
        assert fake.engine.find(UUID) is not None


def test_a_kill_before_the_request_prevents_the_start(fake: FakeNode, attempt: Attempt) -> None:
    fake.kill_elsewhere()
    with pytest.raises(CancelledByKill):
        attempt.start(attach=True)
    assert fake.engine.changes() == ["attach"]
    assert fake.engine.output.closed
    assert not attempt.progress.changed
    assert attempt.left_over is None


@pytest.mark.parametrize("late", [False, True], ids=["while the request is under way", "between the start and the look"])
def test_a_cancelled_start_kills_its_process(fake: FakeNode, attempt: Attempt, late: bool) -> None:
    (fake.engine.after if late else fake.engine.before)["start"].append(fake.kill_elsewhere)
    with pytest.raises(CancelledByKill):
        attempt.start()
    assert not fake.live
    assert fake.engine.calls == [("start",), ("signal", "SIGKILL")]
    assert attempt.progress.changed


def test_a_process_that_ends_at_once_fails_with_exit_code_and_masked_log(fake: FakeNode, attempt: Attempt) -> None:
    fake.engine.crash = 0
    fake.engine.change(UUID, environment=("PASSWORD=hunter22", "MODE=fast"), oom_killed=True)
    fake.engine.logs[attempt.before.container] = b"opening hunter22\r\n" * 30 + b"\x1b[31mno memory, mode fast\r\n"
    with pytest.raises(StartFailed, match="ended with exit code 0, out of memory; server_power_info with tail=20 shows"):
        attempt.start(attach=True)
    assert attempt.progress.exit_code == 0
    assert attempt.progress.log == ("opening ********",) * 19 + ("no memory, mode fast",)
    assert fake.engine.output.closed


def test_a_container_removed_right_after_the_start_is_named_in_the_error(fake: FakeNode, attempt: Attempt) -> None:
    fake.engine.after["start"].append(fake.engine.containers.clear)
    with pytest.raises(StartFailed, match="removed right after the start"):
        attempt.start()
