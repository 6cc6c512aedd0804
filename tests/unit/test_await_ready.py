# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a started server to be ready: what ends the wait, and what is said of each end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.await_ready import await_ready
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.startup import AwaitedRun
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.progress import Progress
from ansible_collections.fleet.power.plugins.module_utils._power.engine.output import Output
from ansible_collections.fleet.power.plugins.module_utils._power.engine.readiness import Matchers
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill, StartFailed, StartTimeout, Superseded
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import EndedRun, Verdict
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeOutput
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode

READY = ("regex:^ready$",)


class Waiting:
    """A server that has just been started, and the wait for it."""

    def __init__(self, fake: FakeNode) -> None:
        fake.define(process={"startup": {"done": list(READY)}})
        fake.up()
        self.fake = fake
        self.progress: Progress = fake.progress()

    def wait(self, wait_for: str = "running", done: tuple[str, ...] = READY, output: Output | None = None, **fields: Any) -> float:
        """Wait; the seconds it took."""
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
    def test_a_line_in_the_output_ends_the_wait_wherever_chunks_end(self, fake: FakeNode, waiting: Waiting) -> None:
        output = FakeOutput(fake.clock, b"loading\r\nrea", None, b"dy\r", b"\n")
        assert waiting.wait(output=output) == pytest.approx(0.1)
        assert waiting.matched

    @pytest.mark.parametrize("chunks", [(), (b"",)], ids=["nothing comes", "the stream is lost"])
    def test_a_line_that_the_output_missed_is_found_in_the_log(self, fake: FakeNode, waiting: Waiting, chunks: tuple[bytes, ...]) -> None:
        waiting.later(3, lambda: waiting.log(b"loading\r\nready\r\n"))
        assert 3.0 <= waiting.wait(output=FakeOutput(fake.clock, *chunks)) <= 4.3
        assert waiting.matched

    def test_a_pattern_that_takes_too_long_is_never_ready_and_named(self, fake: FakeNode, waiting: Waiting) -> None:
        done = ("regex:^(a|aa)+$",)
        output = FakeOutput(fake.clock, b"a" * 60 + b"b\n")
        with pytest.raises(StartTimeout):
            waiting.wait(done=done, output=output, wait_timeout=5)
        (warning,) = waiting.progress.warnings
        assert UUID in warning and done[0] in warning and "takes too long" in warning

    def test_without_lines_a_live_process_is_enough(self, waiting: Waiting) -> None:
        assert waiting.wait(done=()) == 0.0


class TestHealthy:
    def test_it_is_when_the_engine_says_so(self, fake: FakeNode, waiting: Waiting) -> None:
        fake.engine.change(UUID, health="starting")
        waiting.later(3, lambda: fake.engine.change(UUID, health="unhealthy"))
        waiting.later(7, lambda: fake.engine.change(UUID, health="healthy"))
        assert 7.0 <= waiting.wait("healthy", done=()) <= 7.7

    def test_without_a_health_check_it_means_running_with_a_warning(self, fake: FakeNode, waiting: Waiting) -> None:
        assert waiting.wait("healthy", output=FakeOutput(fake.clock, b"ready\n")) == 0.0
        assert "has no HEALTHCHECK" in waiting.progress.warnings[0]


@pytest.mark.parametrize("seconds", [0, 30, 300])
def test_a_wait_that_is_too_long_leaves_the_server_up(fake: FakeNode, waiting: Waiting, seconds: int) -> None:
    with pytest.raises(StartTimeout, match=f"not ready {seconds} s after its start"):
        waiting.wait(wait_timeout=seconds)
    assert fake.live
    assert seconds <= fake.clock.monotonic() <= seconds + 0.3


def test_a_signal_ends_the_wait_alone(fake: FakeNode, waiting: Waiting) -> None:
    waiting.later(2, lambda: setattr(fake, "interrupted", True))
    assert 2.0 <= waiting.wait() <= 2.3
    assert "a signal ended the wait" in waiting.progress.warnings[0]
    assert fake.live


def test_the_end_of_a_service_does_not_end_the_wait(fake: FakeNode, waiting: Waiting) -> None:
    """Its result would say done of a server that is not ready, to whoever asks the next process."""
    fake.node = replace(fake.node, caller=replace(fake.node.caller, handed_on=lambda: fake.interrupted))
    fake.interrupted = True
    waiting.later(2, lambda: waiting.log(b"ready\r\n"))
    assert 2.0 <= waiting.wait() <= 3.3
    assert waiting.progress.warnings == []


class TestEnd:
    def test_a_process_that_ends_by_itself_is_a_start_that_failed(self, fake: FakeNode, waiting: Waiting) -> None:
        waiting.log(b"out of luck\r\n")
        waiting.later(2, lambda: fake.engine.end(UUID, 7))
        with pytest.raises(StartFailed, match="exit code 7"):
            waiting.wait()
        assert (waiting.progress.exit_code, waiting.progress.log) == (7, ("out of luck",))
        assert fake.clock.monotonic() <= 2.7

    def test_a_kill_cancels_it(self, fake: FakeNode, waiting: Waiting) -> None:
        waiting.later(2, fake.kill_elsewhere)
        waiting.later(2, lambda: fake.engine.end(UUID, 137))
        with pytest.raises(CancelledByKill):
            waiting.wait()

    def test_somebodys_stop_supersedes_it_at_once_and_is_named(self, fake: FakeNode, waiting: Waiting) -> None:
        lock = fake.lock("stop")
        waiting.later(2, lambda: lock.enter(Phase.STOP, run=fake.seen().run))
        with pytest.raises(Superseded, match="another action took it by stop by bob@web2"):
            waiting.wait()
        lock.release()
        assert 2.0 <= fake.clock.monotonic() <= 2.7
        assert fake.live

    def test_another_run_of_the_container_supersedes_it(self, fake: FakeNode, waiting: Waiting) -> None:
        def again() -> None:
            fake.engine.end(UUID)
            fake.engine.execute_start(UUID)

        waiting.later(2, again)
        with pytest.raises(Superseded):
            waiting.wait()


class TestEndInTheJournal:
    """The run that is waited for has ended, and the supervisor, or somebody else, has started another."""

    @staticmethod
    def ended(fake: FakeNode, verdict: Verdict, again: bool = True) -> None:
        run = fake.seen().run
        fake.engine.end(UUID, 7)
        row = EndedRun(Server(UUID), run, verdict, exit_code=7, oom_killed=True, log=("out of luck", "bye"), due=verdict is Verdict.CRASHED)
        assert fake.node.journal.ended_runs.write(row)
        if again:
            fake.engine.execute_start(UUID)

    @pytest.mark.parametrize("verdict", [Verdict.CRASHED, Verdict.ENDED, Verdict.PENDING])
    def test_a_run_that_ended_by_itself_is_a_start_that_failed_although_another_is_up(
        self, fake: FakeNode, waiting: Waiting, verdict: Verdict
    ) -> None:
        waiting.later(2, lambda: self.ended(fake, verdict))
        with pytest.raises(StartFailed, match="its process ended with exit code 7, out of memory; see its log"):
            waiting.wait()
        assert (waiting.progress.exit_code, waiting.progress.log) == (7, ("out of luck", "bye"))

    @pytest.mark.parametrize("verdict", [Verdict.STOPPED, Verdict.RESTARTING, Verdict.STOPPED_EXTERNALLY, Verdict.ENGINE_STOPPED])
    def test_a_run_that_somebody_ended_is_superseded(self, fake: FakeNode, waiting: Waiting, verdict: Verdict) -> None:
        waiting.later(2, lambda: self.ended(fake, verdict))
        with pytest.raises(Superseded):
            waiting.wait()

    def test_a_kill_comes_before_what_the_journal_says(self, fake: FakeNode, waiting: Waiting) -> None:
        waiting.later(2, fake.kill_elsewhere)
        waiting.later(2, lambda: self.ended(fake, Verdict.CRASHED))
        with pytest.raises(CancelledByKill):
            waiting.wait()
