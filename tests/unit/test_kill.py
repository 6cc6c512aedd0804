# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kill ends the server under any lock holder, and reports success only for a server that stays down."""

from __future__ import annotations

import errno
import os

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Slot
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn import kill
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.call import _OnNode
from ansible_collections.fleet.power.plugins.module_utils._power.host import machine
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.lock_support import syncs


def generation(fake: FakeNode) -> int:
    return fake.node.generations.read(UUID)


def test_a_kill_ends_a_live_server_and_cancels_earlier_requests(fake: FakeNode) -> None:
    fake.up()
    earlier = fake.request("restart")
    result = fake.perform("kill")
    assert (result.outcome.value, result.code, result.changed, result.state) == ("done", "", True, "offline")
    assert fake.context(fake.progress("restart")).killed is False
    assert fake.node.generations.changed_since(UUID, earlier.generation(UUID))
    assert set(fake.engine.calls) == {("signal", "SIGKILL")}


def test_sigkill_waits_for_no_disk_but_the_kill_syncs_before_it_ends(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.up()
    synced = syncs(monkeypatch)
    before_signals: list[int] = []
    fake.engine.witness = lambda call: before_signals.append(len(synced))
    assert fake.perform("kill").outcome.value == "done"
    assert before_signals[0] == 0
    assert (str(fake.root / "state" / f"{UUID}.kills"), 1) in synced
    assert (str(fake.root / "state"), None) in synced


def test_a_kill_on_a_faulty_disk_is_done_with_a_warning(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.up()

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    result = fake.perform("kill")
    assert (result.outcome.value, result.code, result.state) == ("done", "", "offline")
    assert [warning for warning in result.warnings if "Input/output error" in warning and "power" in warning]


def test_a_kill_of_an_offline_server_changes_no_process_but_cancels_other_actions(fake: FakeNode) -> None:
    fake.down()
    result = fake.perform("kill")
    assert (result.outcome.value, result.changed, result.msg) == ("unchanged", False, "it is offline already")
    assert generation(fake) == 1


class TestHeldLock:
    def test_a_kill_ends_the_process_at_once_and_waits_for_the_lock_afterwards(self, fake: FakeNode) -> None:
        fake.up()
        killed_at = []
        fake.engine.witness = lambda call: killed_at.append(fake.clock.monotonic())
        with fake.lock("restart") as lock:
            fake.clock.after(5, lock.release)
            result = fake.perform("kill")
        assert killed_at[0] == 0.0
        assert result.outcome.value == "done"
        assert 5.0 <= result.waited_seconds <= 5.1

    @pytest.mark.parametrize("action", ["start", "restart"])
    def test_a_boot_that_holds_the_lock_is_cancelled_before_its_process_runs(self, fake: FakeNode, action: str) -> None:
        with fake.lock(action) as lock:
            fake.clock.after(1, lock.release)
            result = fake.perform("kill")
        assert (result.outcome.value, result.changed, result.cancelled) == ("done", False, action)

    def test_a_stop_that_holds_the_lock_is_not_reported_as_cancelled(self, fake: FakeNode) -> None:
        with fake.lock("stop") as lock:
            fake.clock.after(1, lock.release)
            result = fake.perform("kill")
        assert (result.outcome.value, result.cancelled) == ("unchanged", None)

    def test_a_kill_that_ends_a_stop_reports_the_server_as_stopping_before(self, fake: FakeNode) -> None:
        run, lock = fake.up().run, fake.lock("stop")
        lock.enter(Phase.STOP, run=run)
        fake.engine.after["signal"].append(lock.release)
        assert fake.perform("kill").state_before == "stopping"

    def test_a_server_that_the_holder_starts_is_killed_under_the_lock(self, fake: FakeNode) -> None:
        fake.down()
        with fake.lock("restart") as lock:
            fake.clock.after(2, lambda: fake.engine.execute_start(UUID))
            fake.clock.after(3, lock.release)
            result = fake.perform("kill")
        assert (result.outcome.value, result.changed, result.state) == ("done", True, "offline")
        assert not fake.live

    def test_a_kill_raises_the_generation_for_each_new_holder(self, fake: FakeNode) -> None:
        first = fake.lock("restart", "first")

        def next_holder() -> None:
            first.release()
            second = fake.lock("restart", "second")
            fake.clock.after(5, second.release)

        fake.clock.after(5, next_holder)
        fake.perform("kill")
        assert generation(fake) == 3

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_boot_that_gives_up_around_the_try_of_the_lock_is_reported_as_cancelled(
        self, fake: FakeNode, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        lock, locks, generations = fake.lock("start"), fake.node.locks, fake.node.generations
        owner, name = (generations, "raise_for") if moment == "before" else (locks, "holder")
        wrapped = getattr(owner, name)

        def give_up(uuid: str) -> object:
            if moment == "after":
                lock.release()
            found = wrapped(uuid)
            lock.release()
            return found

        monkeypatch.setattr(owner, name, give_up)
        result = fake.perform("kill")
        assert (result.outcome.value, result.cancelled) == ("done", "start")

    @pytest.mark.parametrize("suspended, outcome", [(False, "done"), (True, "unchanged")], ids=["done", "refused"])
    def test_a_boot_that_ends_by_itself_is_not_reported_as_cancelled(
        self, fake: FakeNode, monkeypatch: pytest.MonkeyPatch, suspended: bool, outcome: str
    ) -> None:
        fake.define(suspended=suspended)
        request = fake.request("start")
        with fake.lock("start", request.operation):
            record = fake.node.locks.look(UUID)

        def end_after_the_look(_uuid: str) -> object:
            monkeypatch.undo()
            perform(request, fake.node)
            return record

        monkeypatch.setattr(fake.node.locks, "look", end_after_the_look)
        result = fake.perform("kill")
        assert (result.outcome.value, result.cancelled) == (outcome, None)

    @pytest.mark.parametrize("action", ["start", "stop"])
    def test_a_boot_that_gives_up_before_its_own_kill_of_all_is_reported_as_cancelled(
        self, fake: FakeNode, monkeypatch: pytest.MonkeyPatch, action: str
    ) -> None:
        fake.down()
        lock, raise_for_all = fake.lock(action), fake.node.generations.raise_for_all

        def raise_and_notice() -> None:
            raise_for_all()
            lock.release()

        monkeypatch.setattr(fake.node.generations, "raise_for_all", raise_and_notice)
        call = _OnNode(fake.node)
        (target,) = call.targets(["all"], fake.request("kill"))
        result = call.act(target, Slot())
        expected = ("done", "start") if action == "start" else ("unchanged", None)
        assert (result.outcome.value, result.cancelled) == expected

    def test_a_boot_begun_during_a_kill_of_all_counts_as_cancelled(self, fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        fake.down()
        begun, raise_for_all = [], fake.node.generations.raise_for_all

        def begin_and_raise() -> None:
            begun.append(fake.lock("start"))
            raise_for_all()

        monkeypatch.setattr(fake.node.generations, "raise_for_all", begin_and_raise)
        call = _OnNode(fake.node)
        (target,) = call.targets(["all"], fake.request("kill"))
        begun[0].release()
        result = call.act(target, Slot())
        assert (result.outcome.value, result.cancelled) == ("done", "start")

    def test_a_holder_that_keeps_the_lock_leaves_the_kill_unsettled_and_is_named(self, fake: FakeNode) -> None:
        fake.up()
        with fake.lock("restart"):
            result = fake.perform("kill")
        assert (result.outcome.value, result.code, result.changed) == ("failed", "kill_unsettled", True)
        assert 70.0 <= fake.clock.monotonic() <= 70.5
        assert result.holder is not None
        assert result.holder["origin"] == "bob@web2"
        assert "restart by bob@web2" in result.msg
        assert not fake.live


class TestLeftover:
    def test_a_start_that_never_arrived_is_fenced(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, fake.down().run)
        result = fake.perform("kill")
        assert (result.outcome.value, result.changed, result.state) == ("done", True, "offline")
        assert ("remove", "alone") in fake.engine.calls
        assert fake.node.locks.look(UUID)[1] is None

    def test_a_start_that_arrives_while_it_is_fenced_is_killed(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, fake.down().run)
        fake.engine.before["remove"].append(lambda: fake.engine.execute_start(UUID))
        result = fake.perform("kill")
        assert (result.outcome.value, result.state) == ("done", "offline")
        assert not fake.live
        assert fake.engine.changes().count("signal") == 3

    def test_a_kill_after_which_a_start_arrives_late_names_the_time_limit(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, fake.down().run)

        def arrive() -> None:
            fake.engine.execute_start(UUID)
            fake.engine.before["inspect"] += [lambda: None, lambda: fake.clock.sleep(fake.engine.timeout)]

        fake.engine.before["remove"].append(arrive)
        result = fake.perform("kill")
        assert (result.outcome.value, result.code, result.state) == ("failed", "kill_unsettled", "running")
        assert "it came up again, and the time limit of 60 s is over; find what starts it, and kill it again" in result.msg

    def test_an_executed_start_is_killed_and_settled(self, fake: FakeNode) -> None:
        before = fake.down().run
        fake.clock.sleep(1)
        fake.engine.execute_start(UUID)
        fake.leave(Phase.START, before)
        assert fake.perform("kill").outcome.value == "done"
        assert fake.engine.find(UUID) is not None
        assert fake.node.locks.look(UUID)[1] is None

    def test_a_stop_under_way_ends_with_its_run(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.up().run, "stop")
        result = fake.perform("kill")
        assert (result.outcome.value, result.state_before, result.state) == ("done", "stopping", "offline")
        assert fake.node.locks.look(UUID)[1] is None

    def test_a_start_that_cannot_be_settled_stays_and_fails_the_kill(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, fake.down().run)
        fake.engine.silence("remove")
        result = fake.perform("kill")
        assert (result.outcome.value, result.code) == ("failed", "engine_unreachable")
        assert fake.node.locks.look(UUID)[1] is not None


class TestUnguarded:
    def test_a_kill_without_a_lock_file_reports_unguarded(self, fake: FakeNode) -> None:
        fake.up()
        blocked = fake.root / "blocked"
        blocked.write_text("")
        fake.configure(system={"lock_directory": str(blocked / "locks")})
        result = fake.perform("kill")
        assert (result.outcome.value, result.code, result.changed, result.state) == ("done", "unguarded", True, "offline")
        assert any("could not be guarded" in warning for warning in result.warnings)

    def test_a_kill_without_a_lock_file_still_syncs_its_generation(self, fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
        fake.up()
        blocked = fake.root / "blocked"
        blocked.write_text("")
        fake.configure(system={"lock_directory": str(blocked / "locks")})
        synced: list[str] = []
        monkeypatch.setattr(fake.node.generations, "keep", synced.append)
        assert fake.perform("kill").code == "unguarded"
        assert synced == [UUID]

    def test_a_kill_that_cannot_write_its_generation_reports_unguarded(self, fake: FakeNode) -> None:
        fake.up()
        (fake.root / "state" / f"{UUID}.kills").mkdir()
        result = fake.perform("kill")
        assert (result.outcome.value, result.code, result.state) == ("done", "unguarded", "offline")
        assert any("might start the server again" in warning for warning in result.warnings)


class TestEngine:
    def test_a_process_that_outlives_sigkill_is_unsettled(self, fake: FakeNode) -> None:
        fake.up()
        fake.engine.immortal = True
        result = fake.perform("kill")
        assert (result.outcome.value, result.code, result.state) == ("failed", "kill_unsettled", "running")

    def test_a_process_that_ends_late_is_reported_as_offline(self, fake: FakeNode) -> None:
        fake.up()
        fake.engine.immortal = True
        fake.clock.after(7, lambda: fake.engine.end(UUID))
        result = fake.perform("kill")
        assert (result.outcome.value, result.state) == ("done", "offline")
        assert fake.clock.monotonic() >= 7

    def test_a_kill_sends_sigkill_before_it_inspects(self, fake: FakeNode) -> None:
        fake.up()
        fake.engine.before["inspect"].append(lambda: fake.engine.calls.append(("look",)))
        assert fake.perform("kill").outcome.value == "done"
        assert fake.engine.calls[:2] == [("signal", "SIGKILL"), ("look",)]

    @pytest.mark.parametrize("fault", ["refused", "no answer"])
    def test_a_kill_that_cannot_inspect_the_server_is_unsettled(self, fake: FakeNode, fault: str) -> None:
        fake.up()
        error = EngineError("Cannot inspect: refused", status=500) if fault == "refused" else EngineUnreachable("Cannot inspect: no answer")
        fake.engine.fail("inspect", error, times=2)
        result = fake.perform("kill")
        assert not fake.live
        assert (result.outcome.value, result.code, result.changed, result.state_before) == ("failed", "kill_unsettled", True, None)
        assert f"Cannot tell that server {UUID} is down: it was killed, but then the engine could not be asked ({error})" in result.msg
        # A silent engine gets no further request.
        assert result.state == ("offline" if fault == "refused" else None)

    @pytest.mark.parametrize("error", [EngineError("gateway timeout", status=504), EngineUnreachable("no answer")])
    def test_a_sigkill_that_may_have_been_sent_is_a_change(self, fake: FakeNode, error: EngineError | EngineUnreachable) -> None:
        fake.up()
        fake.engine.fail("signal", error)
        result = fake.perform("kill")
        assert (result.outcome.value, result.code, result.changed) == ("failed", error.code, True)

    def test_an_engine_that_refuses_the_second_sigkill_leaves_the_kill_unsettled(self, fake: FakeNode) -> None:
        fake.up()
        fake.engine.before["inspect"].append(lambda: fake.engine.fail("signal", EngineUnreachable("Cannot send: no answer")))
        result = fake.perform("kill")
        assert (result.outcome.value, result.code, result.changed) == ("failed", "kill_unsettled", True)

    def test_a_kill_of_an_offline_server_that_cannot_be_inspected_fails(self, fake: FakeNode) -> None:
        fake.down()
        fake.engine.silence("inspect", times=2)
        result = fake.perform("kill")
        assert (result.outcome.value, result.code, result.changed) == ("failed", "engine_unreachable", False)

    def test_a_kill_without_an_answer_fails(self, fake: FakeNode) -> None:
        fake.up()
        fake.engine.silence("signal")
        result = fake.perform("kill")
        assert (result.outcome.value, result.code) == ("failed", "engine_unreachable")
        assert generation(fake) == 1


class TestNoEngine:
    @pytest.mark.parametrize(
        "found, expected",
        [(True, ("done", "unguarded")), (False, ("failed", "engine_unreachable")), (None, ("failed", "engine_unreachable"))],
    )
    def test_a_kill_ends_the_processes_of_the_last_known_run(
        self, fake: FakeNode, monkeypatch: pytest.MonkeyPatch, found: bool | None, expected: tuple[str, str]
    ) -> None:
        run, asked = fake.up().run, []

        def end(container: str, _seconds: float) -> bool:
            asked.append(container)
            if found is None:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            return found

        monkeypatch.setattr(kill, "end_processes_of", end)
        fake.engine.fail("signal", EngineUnreachable("Cannot reach the engine: connection refused"))
        result = fake.perform("kill")
        intent = fake.node.journal.intents.of(UUID)
        assert ((result.outcome.value, result.code), asked) == (expected, [run.container])
        assert ("without the engine: Operation not permitted; Cannot reach the engine" in result.msg) is (found is None)
        assert result.state is None, "another look at a silent engine would take its timeout again"
        # The engine may have another container of the server, or a restart policy.
        assert result.msg.startswith("its last known container is down, but the engine or an action") is (found is True)
        assert intent is not None and intent.up is not found
        ended = fake.node.journal.ended_runs.history([UUID], 1, fake.clock.now())
        assert ended is not None and [row.verdict.value for row in ended.latest.get(UUID, ())] == ["stopped"] * (found is True)

    @pytest.mark.parametrize("container", ["", "/", "0", "a" * 63, "A" * 64, f"{'a' * 64}\n"])
    def test_a_damaged_id_of_a_container_ends_nothing(self, monkeypatch: pytest.MonkeyPatch, container: str) -> None:
        monkeypatch.setattr(machine, "text_of", lambda _path: f"0::/docker/{container}")
        monkeypatch.setattr(os, "kill", lambda *_unused: pytest.fail("it ended a process"))
        assert not machine.end_processes_of(container, 1)


def test_a_kill_needs_no_definition_if_a_container_or_a_record_exists(fake: FakeNode) -> None:
    fake.up()
    fake.file.write_text("{ broken")
    assert fake.perform("kill").outcome.value == "done"
    fake.engine.containers.clear()
    fake.file.unlink()
    (fake.root / "state" / "definitions" / f"{UUID}.json").unlink()
    assert (fake.perform("kill").code, generation(fake)) == ("server_not_found", 2)
    with fake.lock("start") as lock:
        fake.clock.after(1, lock.release)
        assert fake.perform("kill").outcome.value == "done"


def test_a_kill_beside_wings_works_with_a_warning(fake: FakeNode) -> None:
    fake.up()
    fake.wings = 4711
    result = fake.perform("kill")
    assert result.outcome.value == "done"
    assert any("Wings (pid 4711)" in warning for warning in result.warnings)
    fake.configure(system={"allow_wings": True})
    assert fake.perform("kill").warnings == ()
