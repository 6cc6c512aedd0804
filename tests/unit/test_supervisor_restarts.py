# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor's restarts of a server that hangs: what they do, what refuses them, and what remains in the journal."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.journal.freezes import freeze, thaw
from ansible_collections.fleet.power.plugins.module_utils._power.journal.store import JournalStore
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import HANGS, Verdict
from ansible_collections.fleet.power.plugins.module_utils._supervisor import connection_watch, restarter
from ansible_collections.fleet.power.plugins.module_utils._supervisor.connection_watch import EngineWatch
from ansible_collections.fleet.power.plugins.module_utils._supervisor.engine_link import EngineLink, EventReader
from ansible_collections.fleet.power.tests.unit.fake_node import UUID
from ansible_collections.fleet.power.tests.unit.thread_support import few_threads
from ansible_collections.fleet.power.tests.unit.watched_support import Watched

OTHER = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(name="watched")
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(tmp_path, monkeypatch)
    watched.fake.configure(supervisor={"restart_unhealthy": True})
    watched.begin_anew()
    watched.up()
    watched.fake.engine.change(UUID, health="starting", health_seconds=30.0)
    yield watched
    watched.fake.close()


@pytest.fixture(name="lines")
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the system log that report what is left up."""
    lines: list[str] = []
    monkeypatch.setattr(restarter, "announce_line", lambda line, **_options: lines.append(line))
    return lines


def look(watched: Watched) -> None:
    """Look at the server as the loop does, and take in the result."""
    looked = watched.observer.look(UUID)
    watched.starter.remember([*looked.due, *looked.rows])
    watched.restarter.saw(UUID, looked.snapshot)
    watched.restarter.note()


def turn(watched: Watched) -> None:
    watched.restarter.begin()
    watched.restarter.join()
    look(watched)


def hang(watched: Watched, seconds: float = 30.0, between: Callable[[], object] = lambda: None) -> None:
    """Let the server be unhealthy for that long, ``between`` the first and the second look, and do the due restarts."""
    watched.fake.engine.change(UUID, health="unhealthy")
    look(watched)
    watched.pass_seconds(seconds)
    between()
    look(watched)
    turn(watched)


def left(watched: Watched) -> str:
    return str(json.loads(watched.fake.node.journal.supervisor.value(HANGS) or "{}").get(UUID, ""))


class TestRestart:
    def test_a_server_that_hangs_is_restarted_once_and_counts_as_a_crash(self, watched: Watched) -> None:
        before = watched.fake.seen().run
        hang(watched, 29.9)
        assert watched.fake.seen().run == before
        watched.pass_seconds(0.1)
        assert watched.restarter.to_look_at() == [UUID]
        look(watched)
        turn(watched)
        row = watched.row
        assert watched.fake.live and watched.fake.seen().run != before and watched.starts == 2
        assert (row.run, row.verdict, row.due, row.consecutive_crashes, row.origin) == (before, Verdict.HUNG, False, 1, "supervisor")
        assert row.next_run == watched.fake.seen().run
        operation = watched.fake.node.journal.operations.last(UUID)
        assert operation is not None
        assert (operation.action, operation.outcome, operation.reason) == ("restart", "done", "unhealthy for 30 s")
        intent = watched.fake.node.journal.intents.of(UUID)
        assert intent is not None and intent.up and intent.origin == "alice@web1"
        turn(watched)
        assert watched.starts == 2

    def test_without_a_thread_the_next_turn_restarts_it(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            few_threads(patch)
            hang(watched)
        assert watched.starts == 1
        turn(watched)
        assert watched.starts == 2

    def test_the_stop_has_the_timeout_of_the_settings_and_then_sigkill(self, watched: Watched) -> None:
        watched.fake.configure(supervisor={"restart_unhealthy": True, "unhealthy_stop_timeout": 7})
        watched.fake.engine.heeds = set()
        began = watched.fake.clock.monotonic()
        hang(watched)
        signals = [call[1] for call in watched.fake.engine.calls if call[0] == "signal"]
        assert signals == ["SIGTERM", "SIGKILL"] and watched.fake.live
        assert watched.fake.clock.monotonic() - began == pytest.approx(37, abs=1)

    def test_a_server_that_recovers_during_the_pull_is_left_alone(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        watched.fake.configure(supervisor={"restart_unhealthy": True}, docker={"pull": "always"})
        recover = functools.partial(watched.fake.engine.change, UUID, health="healthy")
        monkeypatch.setattr(watched.fake.engine.images, "pull", lambda *_of_the_image: recover())
        before = watched.fake.seen().run
        hang(watched)
        assert watched.fake.seen().run == before
        assert "signal" not in [call[0] for call in watched.fake.engine.calls]

    def test_no_hook_runs_after_the_stop(self, watched: Watched) -> None:
        hook = {"command": ["/no/such/program"]}
        watched.fake.configure(supervisor={"restart_unhealthy": True}, hooks=[{"server": "all", "post_stop": hook}])
        hang(watched)
        assert watched.starts == 2

    def test_the_interval_of_its_own_check_counts(self, watched: Watched) -> None:
        watched.fake.engine.change(UUID, health_seconds=5.0)
        hang(watched, 5.0)
        assert watched.starts == 2

    def test_back_off_and_count_go_on_and_a_crash_after_a_hang_waits(self, watched: Watched) -> None:
        watched.fake.engine.change(UUID, health_seconds=1.0)
        hang(watched, 1.0)
        hang(watched, 1.0)
        assert watched.starts == 2
        watched.pass_seconds(9)
        look(watched)
        turn(watched)
        assert (watched.starts, watched.row.consecutive_crashes) == (3, 2)
        row = watched.end()
        assert (row.verdict, row.consecutive_crashes) == (Verdict.CRASHED, 3)
        assert watched.starter.seconds_left() == 20

    def test_the_back_off_counts_from_the_start_of_the_run(self, watched: Watched) -> None:
        watched.fake.engine.change(UUID, health_seconds=1.0)
        hang(watched, 1.0)
        watched.pass_seconds(9)
        hang(watched, 1.0)
        assert (watched.starts, watched.row.consecutive_crashes) == (3, 2)

    def test_a_calm_run_begins_the_count_again(self, watched: Watched) -> None:
        watched.fake.engine.change(UUID, health_seconds=5.0)
        watched.fake.configure(supervisor={"restart_unhealthy": True, "max_restarts": 1})
        hang(watched, 5.0)
        watched.pass_seconds(700)
        # Without the calm run, this would be the second in a row, and a crash loop.
        hang(watched, 5.0)
        assert (watched.starts, watched.row.consecutive_crashes) == (3, 1)

    def test_if_the_start_fails_the_row_is_due_with_back_off(self, watched: Watched) -> None:
        watched.fake.engine.refuse("start", "no room")
        hang(watched)
        row = watched.row
        assert not watched.fake.live and (row.verdict, row.due, row.consecutive_crashes) == (Verdict.HUNG, True, 1)
        watched.await_start()
        assert watched.fake.live and watched.row.next_run == watched.fake.seen().run
        assert watched.end().consecutive_crashes == 2

    def test_in_a_crash_loop_it_is_restarted_once_an_hour(self, watched: Watched) -> None:
        watched.fake.configure(supervisor={"restart_unhealthy": True, "max_restarts": 0})
        hang(watched, 3599)
        assert watched.starts == 1
        watched.pass_seconds(60)
        look(watched)
        turn(watched)
        assert watched.starts == 2

    def test_the_events_tell_of_the_hang_and_of_the_recovery(self, watched: Watched) -> None:
        events = watched.fake.node.journal.events
        events.open()
        hang(watched)
        page = events.after(0, 100)
        assert page is not None
        found = [(each.type.value, each.data.get("verdict")) for each in page.events]
        assert ("server.crashed", "hung") in found and ("server.recovered", None) in found


class TestRefused:
    @pytest.mark.parametrize(
        "change",
        [
            lambda watched: watched.fake.engine.change(UUID, health="healthy"),
            lambda watched: watched.fake.engine.change(UUID, paused=True),
            lambda watched: watched.fake.perform("restart"),
            lambda watched: watched.fake.perform("stop"),
            lambda watched: watched.fake.leave(Phase.STOP, watched.fake.seen().run, "stop"),
        ],
        ids=["healthy", "paused", "restarted", "stopped", "a stop under way"],
    )
    def test_the_restart_looks_again_under_the_lock(self, watched: Watched, change: Callable[[Watched], object]) -> None:
        watched.fake.engine.change(UUID, health="unhealthy")
        look(watched)
        watched.pass_seconds(30)
        look(watched)
        # It comes after the first look of the restart, which has no lock yet.
        watched.fake.engine.after["inspect"].append(lambda: change(watched))
        watched.restarter.begin()
        watched.restarter.join()
        starts = watched.starts
        look(watched)
        turn(watched)
        assert watched.starts == starts and not hung(watched)

    def test_a_kill_that_has_begun_wins(self, watched: Watched) -> None:
        hang(watched, between=watched.fake.kill_elsewhere)
        assert watched.starts == 1 and not hung(watched)

    def test_a_run_that_the_journal_does_not_know_is_left_alone(self, watched: Watched) -> None:
        watched.fake.node.journal.store.execute("UPDATE runs SET container = 'another'", {})
        watched.restarter.saw(UUID, watched.fake.engine.change(UUID, health="unhealthy"))
        watched.pass_seconds(30)
        watched.restarter.saw(UUID, watched.fake.seen())
        watched.restarter.begin()
        watched.restarter.join()
        assert watched.starts == 1

    def test_without_a_wish_to_be_up_it_is_left_alone(self, watched: Watched) -> None:
        watched.fake.node.journal.store.execute("UPDATE intents SET up = 0", {})
        hang(watched)
        watched.fake.node.journal.store.execute("DELETE FROM intents", {})
        hang(watched, 60)
        assert watched.starts == 1

    @pytest.mark.parametrize(
        "settings", [{}, {"restart_unhealthy": True, "rules": [{"server": UUID, "restart_unhealthy": False}]}], ids=str
    )
    def test_without_the_rule_it_is_left_alone(self, watched: Watched, settings: dict[str, object]) -> None:
        watched.fake.configure(supervisor=settings)
        hang(watched)
        assert watched.starts == 1

    def test_an_exempt_server_is_left_alone(self, watched: Watched) -> None:
        watched.fake.configure(supervisor={"restart_unhealthy": True, "enabled": False})
        hang(watched)
        assert watched.starts == 1

    def test_a_rule_allows_it_for_one_server(self, watched: Watched) -> None:
        watched.fake.configure(supervisor={"rules": [{"server": "Cobalt", "restart_unhealthy": True}]})
        hang(watched)
        assert watched.starts == 2

    def test_a_freeze_forbids_it_and_a_minute_after_its_end_it_comes(self, watched: Watched) -> None:
        node = watched.fake.node
        freeze(node.journal.freezes, (), until=node.clock.now() + timedelta(hours=1), reason="final", origin="alice")
        hang(watched)
        assert watched.starts == 1 and node.journal.operations.last(UUID).action == "start"  # type: ignore[union-attr]
        thaw(node.journal.freezes, None, origin="alice")
        watched.pass_seconds(60)
        look(watched)
        turn(watched)
        assert watched.starts == 2

    def test_a_held_lock_delays_it(self, watched: Watched) -> None:
        with watched.fake.lock("limit"):
            hang(watched)
        operation = watched.fake.node.journal.operations.last(UUID)
        assert watched.starts == 1 and operation is not None and operation.action == "start"
        watched.pass_seconds(60)
        look(watched)
        turn(watched)
        assert watched.starts == 2

    def test_a_refused_restart_is_repeated_with_back_off_and_stops_nothing(self, watched: Watched) -> None:
        watched.fake.define(suspended=True)
        hang(watched)
        run = watched.fake.seen().run
        rows = len(watched.fake.node.journal.operations.of(UUID, 100))
        for wait in (10, 20, 40):
            assert watched.restarter.seconds_left() == pytest.approx(wait, abs=0.1)
            watched.pass_seconds(wait)
            look(watched)
            turn(watched)
        assert watched.fake.seen().run == run
        assert len(watched.fake.node.journal.operations.of(UUID, 100)) == rows
        watched.fake.define()
        watched.pass_seconds(80)
        look(watched)
        turn(watched)
        assert watched.starts == 2

    def test_without_a_journal_nothing_is_stopped(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_store: JournalStore) -> None:
            raise OSError("no space")

        monkeypatch.setattr(JournalStore, "rewrite", fail)
        with pytest.raises(OSError, match="no space"):
            hang(watched)
        assert watched.starts == 1 and watched.fake.live


def hung(watched: Watched) -> int:
    """The number of restarts for a hang in the journal."""
    return watched.fake.node.journal.ended_runs.hung_since(UUID, watched.fake.clock.now() - timedelta(days=1))


class TestLeft:
    def test_three_restarts_an_hour_then_it_is_reported_once_and_left(self, watched: Watched, lines: list[str]) -> None:
        for number in range(1, 4):
            watched.pass_seconds(650)
            hang(watched)
            assert (watched.starts, left(watched)) == (number + 1, "")
        for _look in range(3):
            hang(watched, 60)
        assert (watched.starts, left(watched), len(lines)) == (4, "too_often", 1)
        assert UUID in lines[0] and "3 times" in lines[0]
        # An hour after the first one there is room for another.
        watched.pass_seconds(2300)
        look(watched)
        turn(watched)
        assert (watched.starts, left(watched), len(lines)) == (5, "", 1)

    def test_with_most_of_the_node_it_is_suspect_reported_once_and_left(self, watched: Watched, lines: list[str]) -> None:
        watched.restarter.saw(OTHER, watched.fake.seen())
        other = watched.fake.engine.change(UUID, health="unhealthy")
        watched.restarter.saw(OTHER, other)
        for _look in range(3):
            hang(watched, 60)
        assert (watched.starts, left(watched), len(lines)) == (1, "suspect", 1)
        assert "2 of 2 servers" in lines[0]
        watched.restarter.saw(OTHER, watched.fake.engine.change(UUID, health="healthy"))
        look(watched)
        assert left(watched) == ""
        hang(watched)
        assert watched.starts == 2

    def test_the_next_supervisor_clears_what_the_last_one_recorded(self, watched: Watched) -> None:
        watched.fake.node.journal.supervisor.set_values([(HANGS, json.dumps({UUID: "suspect"}))])
        watched.begin_anew()
        look(watched)
        assert left(watched) == ""


class TestDeath:
    @pytest.mark.parametrize("stops", [True, False], ids=["after its stop", "before its end"])
    def test_a_supervisor_that_dies_in_a_restart_leaves_a_hang_that_counts(self, watched: Watched, stops: bool) -> None:
        run = watched.fake.seen().run
        watched.fake.engine.change(UUID, health="unhealthy")
        request = watched.fake.request("restart", origin="supervisor")
        with watched.fake.node.locks.acquire(UUID, request, wait_seconds=0, clock=watched.fake.clock) as lock:
            lock.enter(Phase.STOP, run=run)
            lock.keep()
        if stops:
            watched.fake.engine.end(UUID, 143)
        watched.begin_anew()
        if not stops:
            hang(watched)
        else:
            look(watched)
            watched.await_start()
        assert watched.fake.live and watched.starts == 2
        assert (watched.row.run, watched.row.verdict, watched.row.consecutive_crashes) == (run, Verdict.HUNG, 1)


class NoEvents:
    def next(self, seconds: float) -> None:
        return None

    def close(self) -> None:
        pass


def connect(watched: Watched) -> EngineWatch:
    reader: EventReader = cast("EventReader", NoEvents())
    life = "00000000-0000-4000-8000-000000000000/1/1"
    watch = EngineWatch(
        lambda: watched.fake.node,
        EngineLink(life),
        reader,
        watched.reports,
        watched.starter,
        watched.restarter,
        watched.prover,
        lambda _why: None,
    )
    watch.first_look()
    return watch


class TestOff:
    def test_without_any_rule_no_look_takes_place_and_nothing_is_reported(self, watched: Watched, lines: list[str]) -> None:
        watched.fake.configure(supervisor={"restart_unhealthy": False, "rules": [{"server": UUID, "restart_unhealthy": False}]})
        watch = connect(watched)
        watched.restarter.saw(OTHER, watched.fake.engine.change(UUID, health="unhealthy"))
        watch._next_all = connection_watch._NOW
        watch.turn()
        assert not watched.restarter.changed(watched.fake.engine.listed())
        assert (list(watched.restarter.health.unhealthy), lines, left(watched)) == ([], [], "")


class TestLoop:
    def hang(self, watched: Watched) -> EngineWatch:
        watch = connect(watched)
        watched.fake.engine.change(UUID, health="unhealthy")
        # Its event was lost. The list of all servers shows it.
        watch._next_all = connection_watch._NOW
        watch.turn()
        assert set(watched.restarter.health.unhealthy) == {UUID}
        watched.pass_seconds(30)
        return watch

    def test_a_lost_event_is_made_up_for_by_the_list_of_all_servers(self, watched: Watched) -> None:
        watch = self.hang(watched)
        watch.turn()
        watched.restarter.join()
        assert watched.starts == 2

    def test_a_lost_recovery_too(self, watched: Watched) -> None:
        watch = self.hang(watched)
        watched.restarter.health.put_off(UUID, watched.fake.seen().run, 10**9)
        watched.fake.engine.change(UUID, health="healthy")
        watch._next_all = connection_watch._NOW
        watch.turn()
        assert not watched.restarter.health.unhealthy

    @pytest.mark.parametrize("paused", ["wings", "maintenance", "journal"])
    def test_a_pause_delays_it(self, watched: Watched, paused: str, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = self.hang(watched)
        pauses = [paused]
        monkeypatch.setattr(connection_watch, "pause_of", lambda _node, *, in_trouble: pauses[0])
        watch._next_pause = watch._next_due_pause = connection_watch._NOW
        watch.turn()
        watched.restarter.join()
        assert watched.starts == 1

    def test_trouble_with_the_journal_pauses_all_starts(self, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = self.hang(watched)

        def fail(_store: JournalStore) -> None:
            raise OSError("no space")

        monkeypatch.setattr(JournalStore, "rewrite", fail)
        watch.turn()
        assert watch.in_trouble and watched.starts == 1
