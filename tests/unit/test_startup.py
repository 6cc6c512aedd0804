# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a container: whatever the engine answers, or does not, nothing comes up behind anybody's back."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.container import Staged
from ansible_collections.fleet.power.plugins.module_utils._power.actions.boot.startup import start_container
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.progress import Progress
from ansible_collections.fleet.power.plugins.module_utils._power.engine.output import Output
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill, EngineUnreachable, StartFailed
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Snapshot
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode


class Attempt:
    """A container that has run before and is offline, one start of it, and what that came to."""

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
        left = self.fake.node.locks.leftover(UUID)
        return None if left is None or left.phase is not Phase.START else left.run


@pytest.fixture(name="attempt")
def prepared_attempt(fake: FakeNode) -> Attempt:
    return Attempt(fake)


def test_a_start_that_is_answered_is_the_new_run_and_leaves_nothing_over(fake: FakeNode, attempt: Attempt) -> None:
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


def test_output_is_attached_before_the_request_so_that_nothing_is_missed(fake: FakeNode, attempt: Attempt) -> None:
    _snapshot, output = attempt.start(attach=True)
    assert output is fake.engine.output
    assert not fake.engine.output.closed
    assert fake.engine.changes() == ["attach", "start"]


def test_a_container_that_was_removed_meanwhile_is_not_started(fake: FakeNode, attempt: Attempt) -> None:
    fake.engine.containers.clear()
    with pytest.raises(StartFailed, match="removed by somebody else"):
        attempt.start()
    assert not attempt.progress.changed
    assert fake.engine.calls == []


def test_a_start_that_the_engine_refuses_failed_with_its_reason(fake: FakeNode, attempt: Attempt) -> None:
    fake.engine.refuse("start", "no such executable")
    with pytest.raises(StartFailed, match="no such executable"):
        attempt.start(attach=True)
    assert fake.engine.output.closed
    assert attempt.left_over is None
    assert fake.engine.find(UUID) is not None


class TestNoAnswer:
    def test_and_not_carried_out_the_request_is_fenced(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.silence("start")
        with pytest.raises(EngineUnreachable):
            attempt.start(attach=True)
        assert fake.engine.find(UUID) is None
        assert fake.engine.changes() == ["attach", "remove"]
        assert attempt.progress.changed
        assert attempt.left_over is None
        fake.engine.execute_start(attempt.before.container)
        assert not fake.live

    def test_but_carried_out_the_start_goes_on_with_a_warning(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.silence("start", late=True)
        snapshot, _output = attempt.start()
        assert snapshot.live
        assert "did not answer the start in time, but carried it out" in attempt.progress.warnings[0]
        assert attempt.left_over is None

    def test_but_carried_out_while_it_is_fenced_the_start_goes_on(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.silence("start")
        fake.engine.before["remove"].append(lambda: fake.engine.execute_start(UUID))
        snapshot, _output = attempt.start()
        assert snapshot.live
        assert fake.engine.changes() == ["remove"]
        assert attempt.left_over is None

    def test_but_carried_out_and_ended_at_once_is_a_start_that_failed(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.crash = 3
        fake.engine.silence("start", late=True)
        with pytest.raises(StartFailed, match="exit code 3"):
            attempt.start()

    def test_but_carried_out_and_killed_meanwhile_kills_what_it_started(self, fake: FakeNode, attempt: Attempt) -> None:
        fake.engine.silence("start", late=True)
        fake.engine.witness = lambda call: fake.kill_elsewhere() if call == "start" else None
        with pytest.raises(CancelledByKill):
            attempt.start()
        assert not fake.live

    @pytest.mark.parametrize("call", ["inspect", "remove"])
    def test_nor_to_the_fencing_the_request_stays_in_the_record_for_the_next_one(self, fake: FakeNode, attempt: Attempt, call: str) -> None:
        fake.engine.witness = lambda name: fake.engine.silence(call) if name == "start" else None
        fake.engine.silence("start")
        with pytest.raises(EngineUnreachable):
            attempt.start()
        assert attempt.left_over == attempt.before
        assert fake.node.locks.holder(UUID) is None


def test_a_kill_before_the_request_keeps_it_from_being_sent(fake: FakeNode, attempt: Attempt) -> None:
    fake.kill_elsewhere()
    with pytest.raises(CancelledByKill):
        attempt.start(attach=True)
    assert fake.engine.changes() == ["attach"]
    assert fake.engine.output.closed
    assert not attempt.progress.changed
    assert attempt.left_over is None


@pytest.mark.parametrize("late", [False, True], ids=["while the request is under way", "between the start and the look"])
def test_a_start_that_is_killed_kills_what_it_started(fake: FakeNode, attempt: Attempt, late: bool) -> None:
    (fake.engine.after if late else fake.engine.before)["start"].append(fake.kill_elsewhere)
    with pytest.raises(CancelledByKill):
        attempt.start()
    assert not fake.live
    assert fake.engine.calls == [("start",), ("signal", "SIGKILL")]
    assert attempt.progress.changed


def test_a_process_that_ends_at_once_failed_with_exit_code_and_masked_log(fake: FakeNode, attempt: Attempt) -> None:
    fake.engine.crash = 0
    fake.engine.change(UUID, environment=("PASSWORD=hunter22", "MODE=fast"), oom_killed=True)
    fake.engine.logs[attempt.before.container] = b"opening hunter22\r\n" * 30 + b"\x1b[31mno memory, mode fast\r\n"
    with pytest.raises(StartFailed, match="ended with exit code 0, out of memory; see its log"):
        attempt.start(attach=True)
    assert attempt.progress.exit_code == 0
    assert attempt.progress.log == ("opening ********",) * 19 + ("no memory, mode fast",)
    assert fake.engine.output.closed


def test_a_container_removed_right_after_the_start_is_said_to_be(fake: FakeNode, attempt: Attempt) -> None:
    fake.engine.after["start"].append(fake.engine.containers.clear)
    with pytest.raises(StartFailed, match="removed right after the start"):
        attempt.start()
