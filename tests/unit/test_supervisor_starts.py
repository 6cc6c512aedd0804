# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's starts of a server that ends repeatedly, and refused starts."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.bulk import Act, Target
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.limiter import Limiter, Slot
from ansible_collections.fleet.power.plugins.module_utils._power.journal.runs import EndedRuns
from ansible_collections.fleet.power.plugins.module_utils._power.journal.schema import JournalUnusable
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineError, EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import WaitFor
from ansible_collections.fleet.power.plugins.module_utils._supervisor import service, starter
from ansible_collections.fleet.power.plugins.module_utils._supervisor.service import due_after_boot
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.thread_support import in_threads
from ansible_collections.fleet.power.tests.unit.watched_support import Watched


@pytest.fixture(name="watched")
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(tmp_path, monkeypatch)
    yield watched
    watched.fake.close()


class TestLoop:
    def test_a_crashing_server_starts_at_once_and_then_with_growing_waits(self, watched: Watched) -> None:
        watched.fake.configure(supervisor={"max_restarts": 4})
        watched.begin_anew()
        watched.up()
        waits = []
        for number in range(1, 8):
            row = watched.end()
            assert (row.verdict.value, row.consecutive_crashes, row.due) == ("crashed", number, True)
            waits.append(watched.await_start())
            assert watched.fake.live
        assert waits == [0, 10, 20, 40, 3600, 3600, 3600]
        assert watched.starts == 8

    def test_only_a_run_of_ten_minutes_resets_the_count(self, watched: Watched) -> None:
        watched.up()
        for after, consecutive_crashes in ((1, 1), (1, 2), (599, 3), (600, 1), (1, 2)):
            assert watched.end(after=after).consecutive_crashes == consecutive_crashes, after
            watched.await_start()

    def test_a_start_by_a_user_ends_the_crash_loop_and_closes_the_row(self, watched: Watched) -> None:
        watched.fake.configure(supervisor={"max_restarts": 1})
        watched.begin_anew()
        assert watched.crash_twice().consecutive_crashes == 2
        watched.up()
        assert not watched.row.due
        watched.pass_seconds(3600)
        watched.turn()
        assert watched.starts == 3
        row = watched.end()
        assert (row.consecutive_crashes, watched.await_start()) == (1, 0)

    def test_a_stop_by_a_user_closes_the_row_at_the_next_try(self, watched: Watched) -> None:
        watched.crash_twice()
        assert watched.fake.perform("stop").outcome.value == "unchanged"
        watched.await_start()
        assert (watched.fake.live, watched.row.due, watched.starts) == (False, False, 2)

    def test_a_changed_definition_ends_the_wait_of_a_crash_loop(self, watched: Watched) -> None:
        watched.fake.configure(supervisor={"max_restarts": 1})
        watched.begin_anew()
        watched.crash_twice()
        watched.starter.free_changed(watched.fake.node)
        assert watched.starter.seconds_left() == 3600
        watched.fake.define(environment={"FIXED": "yes"})
        watched.starter.free_changed(watched.fake.node)
        assert watched.starter.seconds_left() == 0
        assert watched.turn()
        assert watched.end().consecutive_crashes == 1


class TestSurvival:
    def test_the_count_and_the_next_try_survive_a_restart_of_the_supervisor(self, watched: Watched) -> None:
        watched.up()
        for number in range(1, 5):
            assert watched.end().consecutive_crashes == number
            watched.begin_anew()
            assert watched.await_start() == (0, 10, 20, 40)[number - 1]
            watched.begin_anew()

    @pytest.mark.parametrize("hours", [-30, -1, 1, 30])
    def test_a_change_of_the_wall_clock_changes_no_wait(self, watched: Watched, hours: int) -> None:
        watched.crash_twice()
        watched.fake.clock._passed += hours * 3600
        for _look in range(2):
            assert watched.starter.seconds_left() == 10
            assert not watched.turn()
            watched.begin_anew()
        watched.seconds += 10
        assert watched.turn()
        assert watched.end().consecutive_crashes == 3

    @pytest.mark.parametrize("max_restarts, wait", [(1, 3600), (2, 10)])
    def test_after_a_boot_a_row_is_due_at_once_and_the_count_continues(self, watched: Watched, max_restarts: int, wait: int) -> None:
        watched.fake.configure(supervisor={"max_restarts": max_restarts})
        watched.begin_anew()
        watched.crash_twice()
        assert watched.starter.seconds_left() == wait
        assert boot(watched)
        assert watched.end().consecutive_crashes == 3

    @pytest.mark.parametrize("dies", ["before the start", "right after the start"])
    def test_a_supervisor_that_dies_in_a_start_keeps_the_count_and_starts_once(
        self, watched: Watched, dies: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        row = watched.crash_twice()
        assert row.consecutive_crashes == 2
        watched.pass_seconds(10)
        assert watched.fake.node.journal.ended_runs.note_attempt(row.number, "op")
        if dies == "right after the start":
            watched.fake.engine.start(UUID)
        watched.begin_anew()
        watched.observer.look(UUID)
        watched.turn()
        assert watched.fake.live and watched.starts == 3
        found = watched.fake.node.journal.ended_runs.history([UUID], 10, watched.fake.clock.now())
        assert found is not None
        rows = found.latest[UUID]
        assert [(each.consecutive_crashes, each.due) for each in rows] == [(2, False), (1, False)]
        assert rows[0].next_run == watched.fake.seen().run
        assert watched.end().consecutive_crashes == 3


REFUSED = {
    "suspended": {"suspended": True},
    "definition_invalid": {"environment": 3},
}


class TestRefused:
    @pytest.mark.parametrize("code", REFUSED)
    def test_a_refused_start_is_tried_until_it_succeeds_and_is_not_counted(self, watched: Watched, code: str) -> None:
        watched.crash()
        watched.fake.define(**REFUSED[code])
        waits = [watched.await_start() for _try in range(8)]
        assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
        row = watched.row
        assert (row.due, row.code, row.consecutive_crashes, row.tries, watched.starts) == (True, code, 1, 8, 1)
        assert UUID in row.msg
        watched.fake.define()
        watched.await_start()
        assert (watched.fake.live, watched.row.due, watched.row.code) == (True, False, "")
        assert watched.end().consecutive_crashes == 2


class TestTrouble:
    @pytest.mark.parametrize("write, seconds", [("note_attempt", 1), ("put_off", 10)])
    def test_a_failed_write_is_reported_and_the_row_stays_due(
        self, watched: Watched, write: str, seconds: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched.crash()
        if write == "put_off":
            watched.fake.define(suspended=True)
        with monkeypatch.context() as patched:
            patched.setattr(EndedRuns, write, lambda *_given: False)
            watched.await_start()
        assert (watched.troubles, watched.fake.live) == (1, False)
        watched.fake.define()
        assert watched.await_start() == pytest.approx(seconds, abs=0.1)
        assert watched.fake.live

    def test_a_row_that_cannot_be_closed_counts_no_refused_try(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        watched.crash()
        watched.fake.node.journal.store.execute("UPDATE intents SET up = 0", {})
        with monkeypatch.context() as patched:
            patched.setattr(EndedRuns, "close", lambda *_given: False)
            watched.await_start()
        assert (watched.troubles, watched.row.due, watched.row.tries, watched.row.code) == (1, True, 0, "")
        assert watched.await_start() == pytest.approx(1, abs=0.1)
        assert (watched.fake.live, watched.row.due, watched.row.code) == (False, False, "not_selected")

    def test_a_new_journal_with_equal_row_numbers_causes_no_wrong_start(self, watched: Watched) -> None:
        watched.crash()
        other = "11111111-1111-4111-8111-111111111111"
        journal = watched.fake.node.journal
        row = watched.row
        journal.store.write(lambda connection: connection.execute("UPDATE ended_runs SET uuid = ?, container = 'c'", (other,)))
        watched.starter.begin()
        watched.starter.join()
        assert not watched.fake.live
        assert [(each.server.uuid, each.number) for each in journal.ended_runs.due()] == [(other, row.number)]

    @pytest.mark.parametrize("tries", [None, 3], ids=["closed", "put off"])
    def test_without_a_kill_generation_the_row_in_the_journal_counts(self, watched: Watched, tries: int | None) -> None:
        row = watched.crash()
        ended_runs = watched.fake.node.journal.ended_runs
        assert ended_runs.close(row.number) if tries is None else ended_runs.put_off(replace(row, tries=tries))
        (watched.fake.root / "state" / f"{UUID}.kills").mkdir()
        watched.await_start()
        assert (watched.troubles, watched.starts) == (0, 1)
        if tries is None:
            assert watched.starter.seconds_left() is None
        else:
            assert (watched.row.due, watched.row.tries) == (True, tries + 1)

    def test_a_server_with_a_held_lock_starts_only_after_the_release(self, watched: Watched) -> None:
        watched.crash()
        with watched.fake.lock("stop"):
            watched.starter.begin()
            assert watched.starts == 1
        watched.pass_seconds(2)
        assert watched.turn()

    def test_simultaneous_threads_make_one_start(self, watched: Watched) -> None:
        watched.crash()
        in_threads(4, lambda _number: watched.starter.begin())
        watched.turn()
        assert watched.starts == 2

    def test_the_end_of_a_group_of_starts_does_not_end_a_later_group(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        gates, number = [threading.Event(), threading.Event()], itertools.count()
        tried = threading.Event()

        def perform_each(targets: Sequence[Target], act: Act, *_unused: object, **_options: object) -> None:
            gate = gates[next(number)]
            if gate is gates[0]:
                act(targets[0], Slot())
                tried.set()
            # The first group waits for another server, and the later group still runs.
            gate.wait(5)

        monkeypatch.setattr(starter, "perform_each", perform_each)
        watched.crash()
        watched.fake.engine.refuse("start", "no room")
        watched.starter.begin()
        assert tried.wait(5)
        first = threading.Thread(target=watched.starter.join)
        first.start()
        watched.pass_seconds(watched.starter.seconds_left() or 0)
        watched.starter.begin()
        gates[0].set()
        first.join()
        assert watched.starter.seconds_left() is None
        gates[1].set()
        watched.starter.join()


POLICIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the node": ({"enabled": False}, {}),
    "a rule for the server": ({"rules": [{"server": UUID, "supervise": False}]}, {}),
    "a rule for an egg": ({"rules": [{"egg": "e1", "supervise": False}]}, {"egg": {"id": "e1"}}),
    "a rule for a label": ({"rules": [{"label": {"once": "yes"}, "supervise": False}]}, {"labels": {"once": "yes"}}),
    "the definition": ({}, {"crash_detection_enabled": False}),
}


class TestPolicy:
    @pytest.mark.parametrize("level", POLICIES)
    def test_a_crash_of_an_unsupervised_server_has_a_row_and_no_start(self, watched: Watched, level: str) -> None:
        settings, definition = POLICIES[level]
        watched.fake.configure(supervisor=settings)
        watched.fake.define(**definition)
        watched.begin_anew()
        row = watched.crash()
        assert (row.verdict.value, row.due) == ("crashed", False)
        watched.turn()
        assert watched.starts == 1

    @pytest.mark.parametrize("ready, clean_exit, due", [(True, "leave", False), (True, "restart", True), (False, "restart", False)])
    def test_a_clean_exit_of_a_ready_server_causes_a_start_only_if_configured(
        self, watched: Watched, ready: bool, clean_exit: str, due: bool
    ) -> None:
        self.run_until_ready(watched, clean_exit)
        watched.fake.engine.logs[watched.fake.seen().id] = b"it is ready\r\n" if ready else b"it boots\r\n"
        row = watched.end(0)
        assert (row.verdict.value, row.due) == ("ended", due)
        assert watched.turn() is due

    @pytest.mark.parametrize(
        "log, rotated, error, due",
        [
            (b"players: 3\r\n", True, None, True),
            (b"it boots\r\n", False, None, False),
            (b"it boots\r\n", False, EngineError("this log driver keeps nothing"), True),
            # The engine may rotate only a log with lines.
            (b"", True, None, False),
        ],
    )
    def test_only_a_log_from_its_beginning_shows_that_a_server_was_not_ready(
        self, watched: Watched, log: bytes, rotated: bool, error: Exception | None, due: bool
    ) -> None:
        self.run_until_ready(watched)
        watched.fake.engine.logs[watched.fake.seen().id] = log
        watched.fake.engine.logs.rotated = rotated
        if error is not None:
            watched.fake.engine.fail("log", error)
        assert watched.end(0).due is due

    def test_a_clean_end_is_judged_later_if_the_engine_does_not_answer(self, watched: Watched) -> None:
        self.run_until_ready(watched)
        watched.fake.engine.logs[watched.fake.seen().id] = b"it is ready\r\n"
        watched.fake.engine.silence("log")
        with pytest.raises(EngineUnreachable):
            watched.end(0)
        (row,) = watched.observer.look(UUID).rows
        assert (row.verdict.value, row.due) == ("ended", True)

    def run_until_ready(self, watched: Watched, clean_exit: str = "restart") -> None:
        watched.fake.configure(supervisor={"clean_exit": clean_exit})
        watched.fake.define(process={"startup": {"done": ["is ready"]}})
        watched.begin_anew()
        watched.up()


class TestOtherStarts:
    def begin_maintenance(self, watched: Watched) -> Path:
        watched.crash()
        record = Path(watched.fake.node.settings.state_directory) / "maintenance.json"
        record.write_text('{"phase": "stop"}')
        assert not watched.turn()
        assert watched.row.due
        return record

    def test_a_waiting_start_is_not_made_during_maintenance(self, watched: Watched) -> None:
        record = self.begin_maintenance(watched)
        assert watched.row.tries == 0
        record.unlink()
        watched.pass_seconds(2)
        assert watched.turn()

    def test_a_start_at_the_engine_after_a_refused_try_begins_a_new_count(self, watched: Watched) -> None:
        record = self.begin_maintenance(watched)
        watched.fake.engine.start(UUID)
        watched.observer.look(UUID)
        assert not watched.row.due
        record.unlink()
        assert watched.end().consecutive_crashes == 1

    def test_a_pending_end_is_due_after_a_failed_start_by_a_user(self, watched: Watched) -> None:
        watched.up()
        watched.pass_seconds(1)
        watched.fake.engine.end(UUID, 3)
        # A user's start creates a new container, and then fails.
        watched.fake.define(environment={"CHANGED": "1"})
        watched.fake.engine.refuse("start")
        assert watched.fake.perform("start").outcome.value == "failed"
        row = watched.row
        assert row.verdict.value == "pending"
        watched.observer.look(UUID)
        assert (watched.row.verdict.value, watched.row.due) == ("crashed", True)


def boot(watched: Watched) -> bool:
    """Boot the machine and run the supervisor; return whether it starts the server."""
    watched.boot, watched.seconds = "b2", 20.0
    watched.begin_anew()
    watched.observer.look(UUID)
    watched.starter.remember(due_after_boot(watched.fake.node))
    return watched.turn()


def stay_down(watched: Watched) -> None:
    watched.up()
    assert not watched.end(0).due
    assert not watched.turn()


def test_a_server_that_stayed_down_starts_after_a_boot(watched: Watched) -> None:
    stay_down(watched)
    assert boot(watched)
    assert watched.starts == 2


def test_a_run_that_the_engine_lost_in_a_power_cut_is_started_again(watched: Watched) -> None:
    watched.crash()
    before = watched.fake.seen()
    watched.await_start()
    assert watched.fake.live
    # The engine's file of the container still has the run before.
    watched.fake.engine.put(before)
    assert boot(watched)
    assert watched.starts == 3


def boot_down(watched: Watched) -> None:
    stay_down(watched)
    watched.boot, watched.seconds = "b2", 20.0
    watched.begin_anew()


def begun_starts(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Limiter, bool]]:
    """Let one server start at a time. Return a list that gets the limiter of each later group of starts, and whether it has tiers."""
    groups: list[tuple[Limiter, bool]] = []
    perform_each = starter.perform_each

    def note(targets: Sequence[Target], act: Act, limiter: Limiter, tiers: Sequence[int] | None, **options: bool) -> object:
        # A slot is free when its server counts as up.
        assert {target.request.wait_for for target in targets} == {WaitFor.RUNNING}
        groups.append((limiter, tiers is not None))
        return perform_each(targets, act, limiter, tiers, **options)

    monkeypatch.setattr(starter, "perform_each", note)
    options = starter.StartOptions(max_parallel=1, wait_for=WaitFor.RUNNING)
    watched.starter = starter.Starter(lambda: watched.fake.node, options, lambda: None)
    return groups


def test_only_starts_after_a_boot_are_in_tiers_and_staggered(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    boot_down(watched)
    groups = begun_starts(watched, monkeypatch)
    watched.starter.remember(due_after_boot(watched.fake.node))
    assert watched.turn()
    watched.end()
    assert watched.turn()
    assert [(limiter.stagger is not None, has_tiers) for limiter, has_tiers in groups] == [(True, True), (False, False)]
    # They share the limit.
    groups[0][0].slot().begin()
    assert groups[1][0].whole is not None and not groups[1][0].whole.try_take()


@pytest.mark.parametrize("verdict", ["ended", "engine_stopped"])
def test_a_retry_of_a_start_in_tiers_has_no_tiers_and_no_stagger(watched: Watched, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boot_down(watched)
    watched.fake.node.journal.store.execute("UPDATE ended_runs SET verdict = :verdict", {"verdict": verdict})
    groups = begun_starts(watched, monkeypatch)
    watched.starter.remember(due_after_boot(watched.fake.node))
    watched.fake.define(suspended=True)
    assert not watched.turn()
    watched.fake.define()
    assert watched.await_start() == 1
    assert [(limiter.stagger is not None, has_tiers) for limiter, has_tiers in groups] == [(True, True), (False, False)]


def test_new_tiers_begin_after_the_end_of_old_tiers(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, perform_each = threading.Event(), starter.perform_each

    def late(*given: Any, **options: Any) -> object:
        gate.wait(5)
        return perform_each(*given, **options)

    boot_down(watched)
    monkeypatch.setattr(starter, "perform_each", late)
    (row,) = due_after_boot(watched.fake.node)
    watched.starter.remember([row])
    watched.starter.begin()
    watched.starter.remember([replace(row, number=row.number + 1)])
    assert watched.starter.seconds_left() is None
    # The engine ends: the rest of the old tiers is interrupted, and due for the new ones.
    watched.starter.end_tiers()
    gate.set()
    watched.starter.join()
    assert (watched.fake.live, watched.row.tries, watched.starter.seconds_left()) == (False, 0, 0)
    assert watched.turn()


@pytest.mark.parametrize("is_over", [False, True])
def test_a_start_that_fails_as_the_engine_ends_is_not_put_off(watched: Watched, is_over: bool) -> None:
    boot_down(watched)
    engine = watched.fake.engine

    def end() -> None:
        engine.events.serving = not is_over
        raise EngineUnreachable("no answer")

    watched.starter.remember(due_after_boot(watched.fake.node))
    engine.before["start"].append(end)
    assert not watched.turn()
    assert (watched.row.tries, watched.row.attempt, watched.starter.seconds_left()) == ((0, "", 0) if is_over else (1, "", 1))
    assert not watched.turn()
    engine.events.serving = True
    assert watched.turn() is is_over


@pytest.mark.parametrize("signal", [False, True])
def test_only_a_signal_ends_a_wait_for_ready_in_tiers(watched: Watched, signal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, left = watched.fake, []
    fake.define(process={"startup": {"done": ["ready"]}})
    boot_down(watched)
    begun_starts(watched, monkeypatch)
    (row,) = due_after_boot(fake.node)
    watched.starter.remember([row])
    fake.clock.after(2, lambda: end_tiers(watched, signal))
    fake.clock.after(3, lambda: watched.starter.remember([replace(row, number=row.number + 1)]))
    fake.clock.after(4, lambda: left.append(watched.starter.seconds_left()))
    fake.clock.after(5, lambda: fake.engine.logs.update({fake.seen().id: b"ready\n"}))
    watched.turn()
    assert (left, round(fake.clock.monotonic())) == (([], 3) if signal else ([None], 6))


def end_tiers(watched: Watched, signal: bool) -> None:
    watched.fake.interrupted = signal
    watched.starter.end_tiers()


@pytest.mark.parametrize("signal, code, tries", [(None, "lock_timeout", 1), (False, "", 0), (True, "interrupted_by_signal", 0)])
def test_a_tier_waits_for_a_held_lock(watched: Watched, signal: bool | None, code: str, tries: int) -> None:
    boot_down(watched)
    watched.starter.remember(due_after_boot(watched.fake.node))
    if signal is not None:
        watched.fake.clock.after(2, lambda: end_tiers(watched, signal))
    with watched.fake.lock("stop"):
        watched.turn()
    assert (watched.fake.node.journal.operations.of(UUID)[0].code, watched.row.tries) == (code, tries)


def test_a_boot_makes_starts_due_before_the_first_start(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(service, "call_off_all_abandoned", lambda _node: None)
    monkeypatch.setattr(service.Supervisor, "_bring_back", lambda *_given: [steps.append("due")])
    supervisor: Any = object.__new__(service.Supervisor)
    supervisor._interrupted = iter([False, False, True]).__next__
    supervisor._node = SimpleNamespace(now=lambda: watched.fake.node)
    supervisor._turn(SimpleNamespace(paused="", turn=lambda: steps.append("turn")))
    assert steps == ["due", "turn", "turn"]


def test_the_line_of_a_boot_counts_also_starts_that_were_due_before(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(service, "announce_line", said.append)
    watched.crash()
    watched.fake.node.journal.supervisor.set_values([(service.BOOT, "b0")])
    supervisor: Any = object.__new__(service.Supervisor)
    supervisor._node, supervisor._starter = SimpleNamespace(now=lambda: watched.fake.node), watched.starter
    assert supervisor._bring_back(SimpleNamespace())
    assert said == ["the machine has booted; servers that should be up, now due for a start: 1"]


def test_a_stopped_server_stays_down_after_a_boot(watched: Watched) -> None:
    watched.up()
    assert watched.fake.perform("stop").outcome.value == "done"
    assert not boot(watched)


def test_a_server_killed_without_an_intent_stays_down_after_a_boot(watched: Watched) -> None:
    """A power cut during a kill leaves only the synced generation."""
    watched.up()
    watched.fake.node.generations.raise_for(UUID)
    watched.fake.engine.end(UUID, 137)
    watched.pass_seconds(60)
    assert not boot(watched)
    intent = watched.fake.node.journal.intents.of(UUID)
    assert intent is not None and not intent.up


def test_a_server_stopped_at_the_engine_stays_down_after_a_boot(watched: Watched) -> None:
    watched.up()
    row = watched.end(143, signalled=True)
    assert (row.verdict.value, row.due) == ("stopped_externally", False)
    assert not boot(watched)


@pytest.mark.parametrize("signalled, verdict", [(False, "crashed"), (True, "stopped_externally")])
def test_only_a_crash_is_an_end_without_memory(watched: Watched, signalled: bool, verdict: str) -> None:
    watched.up()
    # The engine's mark from the end of a mere child.
    watched.fake.engine.change(UUID, oom_killed=True)
    row = watched.end(137, signalled=signalled)
    assert (row.verdict.value, row.oom_killed) == (verdict, not signalled)


@pytest.mark.parametrize("ever_run", [True, False])
def test_a_server_without_a_container_starts_after_a_boot_if_it_should_be_up(watched: Watched, ever_run: bool) -> None:
    watched.up()
    watched.fake.engine.end(UUID)
    found = watched.fake.engine.find(UUID)
    assert found is not None
    del watched.fake.engine.containers[found.id]
    if not ever_run:
        watched.fake.node.journal.store.write(lambda connection: connection.execute("DELETE FROM runs"))
    assert boot(watched)
    assert watched.starts == 2
    # The supervisor did not see the end.
    assert watched.fake.node.journal.operations.of(UUID)[0].reason == "the machine has booted"


def test_without_readable_intents_no_server_starts_after_a_boot(watched: Watched) -> None:
    stay_down(watched)
    file = watched.fake.root / "state" / "journal.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM intents")
        connection.commit()
    assert not boot(watched)
    watched.fake.close()
    file.unlink()
    file.symlink_to("elsewhere")
    with pytest.raises((JournalUnusable, OSError)):
        due_after_boot(watched.fake.build())


def test_an_end_after_the_boot_keeps_its_verdict(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.up()
    watched.boot, watched.seconds = "b2", 1e9
    watched.begin_anew()
    assert not watched.end(0).due
    watched.starter.remember(due_after_boot(watched.fake.node))
    assert not watched.turn()
