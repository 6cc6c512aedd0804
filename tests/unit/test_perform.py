# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power actions: the checks before the stop, the checks after it, and the events that end an action."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter, Slot
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import Node, Observed
from ansible_collections.fleet.power.plugins.module_utils._power.actions.turn.perform import perform
from ansible_collections.fleet.power.plugins.module_utils._power.journal.journal import Intent
from ansible_collections.fleet.power.plugins.module_utils._power.locking.lock import PowerLock
from ansible_collections.fleet.power.plugins.module_utils._power.model.caller import Caller
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import timestamp
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase, Result
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Run, Server
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode


def ending(result: Result) -> tuple[str, str, bool]:
    return result.outcome.value, result.code, result.changed


def release_after(fake: FakeNode, seconds: float, lock: PowerLock) -> None:
    fake.clock.after(seconds, lock.release)


class TestBeforeTheStop:
    @pytest.mark.parametrize("action", ["start", "restart"])
    def test_a_start_or_restart_of_a_suspended_server_is_refused(self, fake: FakeNode, action: str) -> None:
        run = (fake.up() if action == "restart" else fake.down()).run
        fake.define(suspended=True)
        result = fake.perform(action)
        assert ending(result) == ("refused", "suspended", False)
        assert (fake.seen().run, fake.engine.calls) == (run, [])
        assert result.msg.startswith(f"Cannot {action} server {UUID}: it is suspended")

    @pytest.mark.parametrize("action", ["stop", "kill"])
    def test_a_suspended_server_may_be_stopped_and_killed(self, fake: FakeNode, action: str) -> None:
        fake.up()
        fake.define(suspended=True)
        assert ending(fake.perform(action)) == ("done", "", True)

    def test_an_invalid_definition_is_refused(self, fake: FakeNode) -> None:
        fake.up()
        fake.file.write_text('{"settings": {"uuid": 5}}')
        result = fake.perform("restart")
        assert ending(result) == ("refused", "definition_invalid", False)
        assert fake.live

    def test_a_missing_definition_is_refused(self, fake: FakeNode) -> None:
        fake.up()
        fake.file.unlink()
        assert ending(fake.perform("restart")) == ("refused", "server_not_found", False)
        assert fake.live


def test_a_result_names_the_run_that_the_action_started_or_found_up(fake: FakeNode) -> None:
    started = fake.perform("start")
    run = fake.seen().run
    assert started.run == run
    assert fake.perform("start").run == run
    again = fake.perform("restart")
    assert again.run == fake.seen().run != run
    assert fake.perform("stop").run is None
    keyed = fake.perform("start", idempotency_key="rollout 1", reason="rollout 1")
    assert fake.perform("start", idempotency_key="rollout 1", reason="rollout 1").run == keyed.run == fake.seen().run


def test_a_fault_of_ours_in_the_last_observation_does_not_lose_the_outcome(fake: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.up()
    observe = Node.observe

    def broken(node: Node, uuid: str) -> Observed:
        if not fake.live:
            raise RuntimeError("a fault of ours")
        return observe(node, uuid)

    monkeypatch.setattr(Node, "observe", broken)
    result = fake.perform("stop")
    assert (result.state, fake.live) == (None, False)
    (operation,) = fake.node.journal.operations.of(UUID)[:1]
    assert operation.outcome == result.outcome.value == "done"


class TestStartOfARunningServer:
    def test_a_start_of_a_running_server_needs_no_lock_and_no_definition(self, fake: FakeNode) -> None:
        fake.up()
        fake.file.write_text("{ broken")
        os.rename(fake.root / "locks", fake.root / "locked")
        result = fake.perform("start")
        assert ending(result) == ("unchanged", "", False)
        assert result.msg == "it is up already"
        assert not (fake.root / "locks" / f"{UUID}.lock").exists()

    def test_a_start_of_a_running_server_never_overwrites_a_newer_intent(self, fake: FakeNode) -> None:
        fake.up()
        request = fake.request("start")
        fake.clock.sleep(5)
        fake.node.journal.intents.set(Server(UUID), Intent(False, "newer", "bob", timestamp(fake.clock.now())))
        perform(request, fake.node)
        intent = fake.node.journal.intents.of(UUID)
        assert intent is not None
        assert intent.operation == "newer"

    def test_a_start_waits_while_another_action_holds_the_lock(self, fake: FakeNode) -> None:
        fake.up()
        release_after(fake, 4, fake.lock("stop"))
        fake.clock.after(3, lambda: fake.engine.end(UUID))
        result = fake.perform("start")
        assert ending(result) == ("done", "", True)
        assert result.state_before == "offline"
        assert fake.live


class TestStartOfAStoppingServer:
    def test_the_start_waits_for_the_exit_and_boots(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.up().run, "stop")
        fake.clock.after(6, lambda: fake.engine.end(UUID))
        result = fake.perform("start")
        assert ending(result) == ("done", "", True)
        assert result.state_before == "stopping"
        assert fake.live
        assert fake.node.locks.look(UUID)[1] is None

    def test_a_stop_longer_than_wait_seconds_refuses_the_start_and_names_its_origin(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.up().run, "restart")
        result = fake.perform("start", wait_seconds=5)
        assert ending(result) == ("refused", "lock_timeout", False)
        assert "the stop was sent by restart by bob@web2 at 2026-03-01T12:00:00.000Z" in result.msg
        assert 5.0 <= fake.clock.monotonic() <= 5.5
        left = fake.node.locks.look(UUID)[1]
        assert left is not None
        assert left.action == "restart"

    def test_a_signal_ends_the_wait(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.up().run, "stop")
        fake.clock.after(2, lambda: setattr(fake, "interrupted", True))
        assert ending(fake.perform("start")) == ("skipped", "interrupted_by_signal", False)
        assert fake.node.observe(UUID).stop_left

    def test_a_kill_cancels_the_start(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.up().run, "stop")
        fake.clock.after(2, fake.kill_elsewhere)
        assert ending(fake.perform("start")) == ("cancelled", "cancelled_by_kill", False)


class TestLock:
    def test_a_wait_of_more_than_a_second_reads_the_definition_again(self, fake: FakeNode) -> None:
        fake.up()
        release_after(fake, 3, fake.lock("start"))
        fake.clock.after(2, lambda: fake.define(suspended=True))
        result = fake.perform("restart")
        assert ending(result) == ("refused", "suspended", False)
        assert fake.live
        assert 3.0 <= result.waited_seconds <= 3.1

    @pytest.mark.parametrize("seconds", [0, 2])
    def test_a_lock_held_for_longer_refuses_the_action_and_names_its_holder(self, fake: FakeNode, seconds: int) -> None:
        fake.up()
        with fake.lock("stop"):
            result = fake.perform("restart", wait_seconds=seconds)
        assert ending(result) == ("refused", "lock_timeout", False)
        assert result.holder is not None
        assert (result.holder["action"], result.holder["origin"], result.holder["pid"]) == ("stop", "bob@web2", os.getpid())
        assert result.waited_seconds == seconds
        assert "stop by bob@web2 (" in result.msg
        assert fake.live

    def test_the_action_works_on_the_state_after_the_wait(self, fake: FakeNode) -> None:
        fake.up()
        release_after(fake, 4, fake.lock("stop"))
        fake.clock.after(3, lambda: fake.engine.end(UUID))
        result = fake.perform("stop")
        assert ending(result) == ("unchanged", "", False)
        assert (result.state_before, result.state) == ("offline", "offline")


class TestAfterTheStop:
    def test_a_restart_does_not_boot_a_server_that_was_suspended_during_a_long_stop(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 5.0
        fake.up()
        fake.clock.after(2, lambda: fake.define(suspended=True))
        result = fake.perform("restart")
        assert ending(result) == ("failed", "suspended", True)
        assert (result.state, fake.live) == ("offline", False)

    def test_an_unusable_definition_after_the_stop_does_not_keep_the_server_down(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 5.0
        fake.up()
        fake.clock.after(2, lambda: fake.file.write_text("{ broken"))
        result = fake.perform("restart")
        assert ending(result) == ("done", "", True)
        assert any("its definition after the stop cannot be used" in warning for warning in result.warnings)
        assert fake.live

    def test_a_missing_image_after_the_stop_does_not_keep_the_server_down(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 5.0
        fake.up()
        fake.configure(docker={"pull": "never", "network": {"network_mode": "none"}})
        fake.clock.after(2, lambda: fake.define(container={"image": "game:9"}))
        result = fake.perform("restart")
        assert ending(result) == ("done", "", True)
        assert any("game:9" in warning for warning in result.warnings)
        assert fake.seen().image == "game:1"

    def test_a_failed_stop_starts_no_server(self, fake: FakeNode) -> None:
        run = fake.up().run
        fake.engine.refuse("signal")
        result = fake.perform("restart")
        assert ending(result) == ("failed", "stop_failed", False)
        assert fake.seen().run == run
        assert result.state == "running"

    def test_a_restart_boots_the_definition_that_it_finds_after_a_long_stop(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 5.0
        fake.up()
        fake.clock.after(2, lambda: fake.define(environment={"MODE": "hard"}))
        assert fake.perform("restart").outcome.value == "done"
        assert "MODE=hard" in fake.seen().environment


class TestKillDuringAnAction:
    def test_an_action_that_waits_for_the_lock_gives_up(self, fake: FakeNode) -> None:
        fake.up()
        release_after(fake, 20, fake.lock("start"))
        fake.clock.after(2, fake.kill_elsewhere)
        assert ending(fake.perform("restart")) == ("cancelled", "cancelled_by_kill", False)
        assert fake.clock.monotonic() <= 2.1

    def test_an_action_requested_before_the_kill_does_not_wait(self, fake: FakeNode) -> None:
        fake.up()
        request = fake.request("restart")
        fake.kill_elsewhere()
        assert ending(perform(request, fake.node)) == ("cancelled", "cancelled_by_kill", False)
        assert fake.engine.calls == []

    def test_a_restart_in_its_stop_ends_within_a_second_and_starts_no_server(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 100.0
        fake.up()
        fake.clock.after(10, fake.kill_elsewhere)
        assert ending(fake.perform("restart")) == ("cancelled", "cancelled_by_kill", True)
        assert fake.clock.monotonic() <= 11.0
        assert "start" not in fake.engine.changes()

    @pytest.mark.parametrize("action, end", [("stop", ("done", "")), ("restart", ("cancelled", "cancelled_by_kill"))])
    def test_a_stop_that_the_kill_ends_is_reported_as_forced(self, fake: FakeNode, action: str, end: tuple[str, str]) -> None:
        fake.engine.stop_seconds = 100.0
        fake.up()
        fake.clock.after(9, lambda: fake.progress("kill", origin="bob@web2").begin(fake.node.journal))
        fake.clock.after(10, fake.kill_elsewhere)
        fake.clock.after(10, lambda: fake.engine.end(UUID, 137))
        result = fake.perform(action)
        assert ending(result) == (*end, True)
        assert result.stop is not None and result.stop.forced
        assert (result.stop.how, result.stop.seconds < 11, result.state) == ("signal", True, PowerState.OFFLINE)
        assert action == "restart" or result.msg == "a kill by bob@web2 ended it"

    def test_a_stop_does_not_report_a_kill_that_came_to_nothing(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 20.0
        fake.up()
        fake.clock.after(9, fake.kill_elsewhere)
        result = fake.perform("stop")
        assert result.stop is not None and (result.msg, result.stop.forced) == ("", False)

    def test_a_stop_does_not_report_an_earlier_kill(self, fake: FakeNode) -> None:
        fake.kill_elsewhere()
        fake.engine.stop_seconds = 100.0
        fake.up()
        # For example, the kernel needs memory.
        fake.clock.after(10, lambda: fake.engine.end(UUID, 137))
        result = fake.perform("stop", generations={UUID: 0})
        assert result.stop is not None and (result.msg, result.stop.forced) == ("", False)


class TestSignal:
    def test_a_signal_ends_a_wait_for_the_lock(self, fake: FakeNode) -> None:
        fake.up()
        release_after(fake, 20, fake.lock("start"))
        fake.clock.after(2, lambda: setattr(fake, "interrupted", True))
        assert ending(fake.perform("stop")) == ("skipped", "interrupted_by_signal", False)
        assert fake.clock.monotonic() <= 2.1
        assert fake.live

    def test_an_action_that_has_begun_finishes(self, fake: FakeNode) -> None:
        fake.engine.stop_seconds = 30.0
        fake.up()
        fake.clock.after(2, lambda: setattr(fake, "interrupted", True))
        assert ending(fake.perform("restart")) == ("done", "", True)
        assert fake.live


class TestLeftover:
    @pytest.mark.parametrize(
        "action, outcome, changes", [("stop", "done", ["remove"]), ("start", "done", ["remove", "create", "rename", "start"])]
    )
    def test_an_action_first_undoes_a_start_that_never_arrived(self, fake: FakeNode, action: str, outcome: str, changes: list[str]) -> None:
        fake.leave(Phase.START, fake.down().run)
        result = fake.perform(action)
        assert ending(result) == (outcome, "", True)
        assert fake.engine.changes() == changes
        assert fake.live == (action == "start")
        assert result.msg == ("an unfinished start was undone" if action == "stop" else "")

    def test_a_stop_ends_a_start_that_arrived_late(self, fake: FakeNode) -> None:
        before = fake.down().run
        fake.clock.sleep(1)
        fake.engine.execute_start(UUID)
        fake.leave(Phase.START, before)
        assert ending(fake.perform("stop")) == ("done", "", True)
        assert not fake.live

    def test_the_next_action_settles_a_start_without_an_answer(self, fake: FakeNode) -> None:
        fake.down()
        fake.engine.witness = lambda call: fake.engine.silence("inspect", times=3) if call == "start" else None
        fake.engine.silence("start")
        assert ending(fake.perform("start"))[:2] == ("failed", "engine_unreachable")
        fake.engine.before.clear()
        fake.engine.witness = lambda call: None
        assert fake.node.locks.look(UUID)[1] is not None
        assert ending(fake.perform("start")) == ("done", "", True)
        assert fake.live


class TestEngine:
    # A kill does not inspect the server first: test_kill.py covers it.
    @pytest.mark.parametrize(
        "action", [action for action in PowerAction if action is not PowerAction.KILL], ids=lambda action: action.value
    )
    def test_a_silent_engine_fails_the_action_and_gets_no_further_requests(self, fake: FakeNode, action: PowerAction) -> None:
        fake.up()
        fake.engine.silence("inspect", times=2)
        result = fake.perform(action.value)
        assert ending(result) == ("failed", "engine_unreachable", False)
        assert fake.engine.calls == []
        assert len(fake.engine.before["inspect"]) == 1


def tree(root: Path) -> dict[str, float]:
    return {str(path): path.lstat().st_mtime_ns for path in sorted(root.rglob("*"))}


class TestCheckMode:
    @pytest.mark.parametrize("action", list(PowerAction), ids=lambda action: action.value)
    def test_a_dry_run_writes_no_file_and_sends_no_request(self, fake: FakeNode, action: PowerAction) -> None:
        before = tree(fake.root)
        result = fake.perform(action.value, check=True)
        assert result.outcome.value == ("done" if action.boots else "unchanged")
        assert result.changed == action.boots
        assert (tree(fake.root), fake.engine.calls) == (before, [])

    # What a change of limits plans is in test_limits.py: it depends on the container.
    @pytest.mark.parametrize("action", [each for each in PowerAction if each is not PowerAction.LIMIT], ids=lambda action: action.value)
    def test_a_dry_run_leaves_a_running_server_alone_and_reports_the_plan(self, fake: FakeNode, action: PowerAction) -> None:
        run = fake.up().run
        generation = fake.node.generations.read(UUID)
        result = fake.perform(action.value, check=True)
        assert result.changed == (action.value != "start") == bool(result.plan)
        assert result.state == "running"
        after = "offline" if action.traits.should_be_up is False else "running"
        assert result.state_planned == (after if result.plan else None)
        assert (fake.seen().run, fake.engine.calls) == (run, [])
        assert fake.node.generations.read(UUID) == generation

    def test_a_dry_run_reports_certain_refusals(self, fake: FakeNode) -> None:
        fake.define(suspended=True)
        assert ending(fake.perform("start", check=True)) == ("refused", "suspended", False)


class TestWings:
    @pytest.mark.parametrize("action", ["start", "stop", "restart"])
    def test_running_wings_refuses_actions_unless_the_settings_allow_it(self, fake: FakeNode, action: str) -> None:
        fake.up()
        fake.wings = 4711
        result = fake.perform(action)
        assert ending(result) == ("refused", "wings_active", False)
        assert "(pid 4711)" in result.msg and "stop Wings" in result.msg and "HTTP endpoint" in result.msg
        assert ending(fake.perform(action, check=True)) == ("refused", "wings_active", False)
        assert fake.engine.calls == []
        fake.configure(system={"allow_wings": True})
        assert fake.perform(action).outcome.value in ("done", "unchanged")

    @pytest.mark.parametrize("action, outcome", [("start", "refused"), ("restart", "refused"), ("stop", "done"), ("kill", "done")])
    def test_a_stop_and_a_kill_do_not_need_to_know_whether_wings_runs(self, fake: FakeNode, action: str, outcome: str) -> None:
        fake.up()
        fake.wings_unknown = True
        result = fake.perform(action)
        assert ending(result) == (outcome, "wings_unknown" if outcome == "refused" else "", outcome == "done")
        told = result.msg if outcome == "refused" else "; ".join(result.warnings)
        assert told.endswith("Cannot tell whether Wings runs: Too many open files")
        assert fake.live == (outcome == "refused")


class TestOneOfMany:
    @pytest.mark.parametrize("action", ["start", "restart"])
    @pytest.mark.parametrize("of_all, outcome", [(True, "skipped"), (False, "refused")])
    def test_a_suspended_server_is_skipped_in_all_and_refused_by_name(
        self, fake: FakeNode, action: str, of_all: bool, outcome: str
    ) -> None:
        run = (fake.up() if action == "restart" else fake.down()).run
        fake.define(suspended=True)
        assert ending(fake.perform(action, one_of_all=of_all)) == (outcome, "suspended", False)
        assert (fake.seen().run, fake.engine.calls) == (run, [])

    @pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
    @pytest.mark.parametrize("asked, outcome", [("Cobalt", "skipped"), (UUID[:8], "skipped"), (UUID, "refused"), (UUID.upper(), "refused")])
    def test_a_deleted_server_is_skipped_unless_the_task_gave_its_uuid(self, fake: FakeNode, action: str, asked: str, outcome: str) -> None:
        fake.file.unlink()
        result = perform(fake.request(action, server=asked), fake.node, Server(UUID, "Cobalt"))
        assert ending(result) == (outcome, "server_not_found", False)

    @pytest.mark.parametrize("action", ["start", "stop", "restart", "kill"])
    def test_a_server_in_an_unselected_state_is_skipped_without_a_trace(self, fake: FakeNode, action: str) -> None:
        run = fake.up().run
        before = fake.node.journal.operations.of(UUID)
        result = fake.perform(action, only=frozenset({PowerState.OFFLINE, PowerState.STOPPING}))
        assert ending(result) == ("skipped", "not_selected", False)
        assert result.msg == f"Cannot {action} server {UUID}: it is running, and only offline, stopping is asked for"
        assert (fake.seen().run, fake.engine.calls) == (run, [])
        assert fake.node.journal.operations.of(UUID) == before
        assert not fake.node.locks.has_record(UUID)
        assert fake.node.generations.read(UUID) == 0

    def test_a_server_that_leaves_the_selected_state_during_the_lock_wait_is_skipped(self, fake: FakeNode) -> None:
        fake.up()
        release_after(fake, 2, fake.lock("stop"))
        fake.clock.after(1, lambda: fake.engine.end(UUID))
        result = fake.perform("restart", only=frozenset({PowerState.RUNNING}))
        assert (ending(result), result.state) == (("skipped", "not_selected", False), PowerState.OFFLINE)
        assert fake.engine.calls == []
        row = fake.node.journal.operations.last(UUID)
        assert row is not None
        assert (row.id, row.outcome, row.code, row.under_way) == (result.operation, "skipped", "not_selected", False)
        intent = fake.node.journal.intents.of(UUID)
        assert intent is not None and intent.operation != result.operation


class TestRecord:
    @pytest.mark.parametrize("action, up", [("start", True), ("restart", True), ("stop", False), ("kill", False)])
    def test_a_successful_action_records_whether_the_server_should_be_up(self, fake: FakeNode, action: str, up: bool) -> None:
        (fake.down if up else fake.up)()
        result = fake.perform(action)
        intent = fake.node.journal.intents.of(UUID)
        assert intent is not None
        assert (intent.up, intent.operation, intent.origin) == (up, result.operation, "alice@web1")

    @pytest.mark.parametrize(
        "first, again", [("stop", "stop"), ("stop", "kill"), ("kill", "stop"), ("kill", "kill"), ("start", "start"), ("restart", "start")]
    )
    def test_an_unchanged_action_keeps_the_intent_of_an_action_after_its_request(self, fake: FakeNode, first: str, again: str) -> None:
        (fake.up if first in ("stop", "kill") else fake.down)()
        asked = fake.request(again, origin="bob@web2 (maintenance)")
        fake.clock.sleep(5)
        assert fake.perform(first, origin="alice@web1").outcome.value == "done"
        before = fake.node.journal.intents.of(UUID)
        assert before is not None and before.origin == "alice@web1"
        fake.clock.sleep(5)
        assert perform(asked, fake.node).outcome.value == "unchanged"
        assert fake.node.journal.intents.of(UUID) == before

    @pytest.mark.parametrize("action", ["stop", "kill", "start"])
    def test_an_unchanged_action_records_its_intent(self, fake: FakeNode, action: str) -> None:
        (fake.up if action == "start" else fake.down)()
        fake.node.journal.intents.set(Server(UUID), Intent(action == "start", "op", "(maintenance)", timestamp(fake.clock.now())))
        fake.clock.sleep(5)
        assert fake.perform(action, origin="bob@web2").outcome.value == "unchanged"
        intent = fake.node.journal.intents.of(UUID)
        assert intent is not None and intent.origin == "bob@web2"


def test_messages_and_logs_mask_secrets_of_the_environment(fake: FakeNode) -> None:
    fake.define(environment={"RCON_PASSWORD": "hunter22"})
    fake.engine.crash = 1
    fake.engine.after["start"].append(lambda: fake.engine.logs.update({fake.seen().id: b"login with hunter22\n"}))
    result = fake.perform("start")
    assert ending(result) == ("failed", "start_failed", True)
    assert "hunter22" not in repr(result)
    assert result.log == ("login with ********",)
    assert Run(fake.seen().id, fake.seen().started_at) == fake.seen().run


class TestIfItShouldBeUp:
    def record_intent(self, fake: FakeNode, up: bool) -> None:
        fake.node.journal.intents.set(Server(UUID, "Cobalt"), Intent(up, "op", "bob@web2", timestamp(fake.clock.now())))

    def test_a_server_that_should_be_up_starts(self, fake: FakeNode) -> None:
        self.record_intent(fake, True)
        assert fake.perform("start", should_be_up=frozenset({UUID})).outcome.value == "done"

    def test_a_server_that_should_be_down_is_skipped_without_a_trace(self, fake: FakeNode) -> None:
        self.record_intent(fake, False)
        result = fake.perform("start", should_be_up=frozenset({UUID}))
        assert (result.outcome.value, result.code) == ("skipped", "not_selected")
        assert "by bob@web2" in result.msg
        assert fake.node.journal.operations.last(UUID) is None and not fake.live

    def test_a_server_stopped_during_the_lock_wait_stays_down(self, fake: FakeNode) -> None:
        self.record_intent(fake, True)
        lock = fake.lock("stop")

        def stopped() -> None:
            self.record_intent(fake, False)
            lock.release()

        fake.clock.after(1.0, stopped)
        result = fake.perform("start", should_be_up=frozenset({UUID}))
        assert (result.outcome.value, result.code) == ("skipped", "not_selected")
        assert not fake.live


class TestStagger:
    @pytest.fixture
    def slot(self) -> Slot:
        limiter = Limiter(stagger=3600)
        limiter.slot().await_stagger("another", no_check)
        return limiter.slot()

    @pytest.mark.parametrize("action", ["start", "stop", "restart"])
    def test_an_action_that_waits_for_its_stagger_takes_no_lock_and_writes_no_record(self, fake: FakeNode, slot: Slot, action: str) -> None:
        fake.up()
        if action == "start":
            fake.engine.end(UUID)
        before = fake.node.journal.operations.last(UUID)
        seen: list[object] = []

        def interrupted() -> bool:
            # Called at the beginning, before the wait, and during the wait.
            seen.append(fake.node.locks.holder(UUID))
            return len(seen) > 3

        node = replace(fake.node, caller=Caller(interrupted))
        result = perform(fake.request(action), node, None, slot)
        assert (result.outcome.value, result.code) == ("skipped", "interrupted_by_signal")
        assert set(seen) == {None}
        assert before is not None and fake.node.journal.operations.of(UUID)[1].id == before.id
