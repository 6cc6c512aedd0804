# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stop of the servers before the machine or its engine stops, and what is refused meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils import node_stop
from ansible_collections.fleet.power.plugins.module_utils._power.host.pauses import NODE_STOPPING_FILE
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import Request
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import NODE_STOP_ORIGIN, Verdict
from ansible_collections.fleet.power.plugins.module_utils._supervisor.connection_watch import pause_of
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode
from ansible_collections.fleet.power.tests.unit.watched_support import Watched

RESTART = "  901 docker.service  restart waiting\n"
SHUTDOWN = "  901 docker.service  stop  waiting\n  902 basic.target  stop  waiting\n  903 reboot.target start waiting\n"
SECONDS = 660


class Stopping:
    """A node on a fake engine, the jobs of its systemd, and the lines of its log."""

    def __init__(self, fake: FakeNode, programs: Path) -> None:
        self.fake = fake
        self.lines: list[str] = []
        self._jobs = programs / "jobs"
        self.dead = programs / "dead"
        script = f"if [ $1 = is-active ]; then ! test -e {self.dead}; else exec cat {self._jobs}; fi"
        (programs / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "systemctl").chmod(0o755)
        self.queue(SHUTDOWN)
        fake.engine.local = True
        fake.engine.facts = lambda: {"LiveRestoreEnabled": False}

    @property
    def file(self) -> Path:
        return self.fake.root / "locks" / NODE_STOPPING_FILE

    def queue(self, jobs: str) -> None:
        self._jobs.write_text(jobs)

    def begin(self) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.touch()

    def end(self) -> None:
        self.file.unlink()

    def run(self, seconds: int = SECONDS) -> int:
        return node_stop.main(["docker.service", str(seconds)])

    def seconds_since(self, began: float) -> int:
        return round(self.fake.clock.monotonic() - began)

    def intent(self) -> bool:
        intent = self.fake.node.journal.intents.of(UUID)
        assert intent is not None
        return intent.up

    def row(self) -> tuple[str, bool]:
        row = self.fake.node.journal.ended_runs.newest_of_each([UUID])[UUID]
        return row.verdict.value, row.due


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeNode]:
    node = FakeNode(tmp_path)
    yield node
    node.close()


@pytest.fixture
def stopping(fake: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stopping:
    programs = tmp_path / "programs"
    programs.mkdir()
    found = Stopping(fake, programs)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(node_stop, "build_node", lambda _options: fake.build())
    monkeypatch.setattr(node_stop, "announce_line", lambda line, warn=False: found.lines.append(line))
    return found


@pytest.mark.parametrize(
    "jobs, stops",
    [
        ("", False),
        (RESTART, True),
        (SHUTDOWN, True),
        ("1 docker.service stop running", True),
        ("1 docker.service start waiting\n2 docker.service reload waiting\n", False),
        ("1 docker.service.mount stop waiting\n2 my-docker.service stop waiting\n3 dockerxservice stop waiting\n", False),
        ("1 fleet-power-stop.service restart running\n", False),
        ("1 fleet-power-stop.service stop running\n2 docker.service verify-active waiting\n", False),
    ],
)
def test_a_queued_stop_or_restart_of_the_engines_unit_is_a_stop_of_the_node(jobs: str, stops: bool) -> None:
    assert node_stop.stops("docker.service", f"{jobs}\n") is stops


class TestNothing:
    @pytest.mark.parametrize(
        "change, why",
        [
            (
                lambda stopping: stopping.queue("  9 fleet-power-stop.service restart running\n"),
                "neither the machine nor docker.service stops",
            ),
            (lambda stopping: setattr(stopping.fake.engine, "local", False), "the engine is on another machine"),
            (lambda stopping: stopping.dead.touch(), "docker.service does not run"),
            (lambda stopping: setattr(stopping.fake, "wings", 7), "Wings is alive on this node"),
        ],
    )
    def test_a_stop_of_anything_else_stops_nothing_and_says_why(
        self, stopping: Stopping, change: Callable[[Stopping], object], why: str
    ) -> None:
        stopping.fake.up()
        change(stopping)
        assert stopping.run() == 0
        assert stopping.lines == [f"no server is stopped: {why}"]
        assert (stopping.fake.live, stopping.fake.engine.calls, stopping.file.exists()) == (True, [], False)

    def test_live_restore_keeps_servers_up_unless_the_machine_stops(self, stopping: Stopping) -> None:
        stopping.fake.engine.facts = lambda: {"LiveRestoreEnabled": True}
        stopping.fake.up()
        stopping.queue(RESTART)
        assert stopping.run() == 0
        assert (stopping.fake.live, stopping.lines) == (True, ["no server is stopped: live-restore keeps them up without docker.service"])
        stopping.queue(SHUTDOWN)
        assert (stopping.run(), stopping.fake.live) == (0, False)

    def test_unreadable_processes_do_not_prevent_the_stop(self, stopping: Stopping) -> None:
        stopping.fake.up()
        stopping.fake.wings_unknown = True
        assert (stopping.run(), stopping.fake.live) == (0, False)


class TestStop:
    def test_a_server_stops_by_its_own_way_and_its_intent_and_its_due_start_stay(self, stopping: Stopping) -> None:
        stopping.fake.define(process={"stop": {"type": "command", "value": "stop"}})
        stopping.fake.up()
        stopping.fake.engine.stop_seconds = 20.0
        assert stopping.run() == 0
        assert [call for call in stopping.fake.engine.calls if call[0] != "forbid_restart"] == [("write_stdin", "stop\n")]
        assert (stopping.fake.live, stopping.intent(), stopping.row()) == (False, True, ("engine_stopped", True))
        (row, *_earlier) = stopping.fake.node.journal.operations.of(UUID, 5)
        assert (row.action, row.outcome, row.origin) == ("stop", "done", NODE_STOP_ORIGIN)

    def test_a_server_that_is_down_stays_untouched(self, stopping: Stopping) -> None:
        stopping.fake.up()
        stopping.fake.perform("stop")
        before = stopping.fake.node.journal.operations.of(UUID, 5)
        stopping.fake.engine.calls.clear()
        assert stopping.run() == 0
        assert (stopping.fake.engine.calls, stopping.intent()) == ([], False)
        assert stopping.fake.node.journal.operations.of(UUID, 5) == before

    def test_a_server_that_ignores_its_stop_gets_sigkill_at_its_own_timeout(self, stopping: Stopping) -> None:
        stopping.fake.define(process={"stop": {"type": "signal", "value": "SIGTERM", "timeout": 40}})
        stopping.fake.up()
        stopping.fake.engine.heeds = set()
        began = stopping.fake.clock.monotonic()
        assert stopping.run() == 0
        assert (stopping.fake.live, stopping.seconds_since(began)) == (False, 40)

    def test_a_server_that_is_left_gets_sigkill_thirty_seconds_before_the_end(self, stopping: Stopping) -> None:
        stopping.fake.up()
        stopping.fake.engine.heeds = set()
        began = stopping.fake.clock.monotonic()
        assert stopping.run(seconds=100) == 0
        assert (stopping.fake.live, stopping.seconds_since(began)) == (False, 70)
        assert (stopping.intent(), stopping.row()) == (True, ("engine_stopped", True))

    def test_a_server_with_a_held_lock_gets_sigkill_then_and_the_log_names_it(self, stopping: Stopping) -> None:
        stopping.fake.up()
        with stopping.fake.lock("stop"):
            assert stopping.run(seconds=100) == 1
        assert not stopping.fake.live
        assert stopping.lines == [f"server {UUID} gets SIGKILL, because the time for the stop of the node is over"]

    def test_a_server_with_a_refused_stop_is_left_to_the_engine(self, stopping: Stopping) -> None:
        stopping.fake.up()
        stopping.fake.engine.refuse("signal")
        assert stopping.run() == 1
        assert stopping.fake.live and ("signal", "SIGKILL") not in stopping.fake.engine.calls

    def test_a_kill_works_during_the_stop_and_keeps_the_server_down(self, stopping: Stopping) -> None:
        stopping.fake.up()
        stopping.fake.engine.heeds = set()
        stopping.fake.clock.after(5, stopping.fake.kill_elsewhere)
        stopping.fake.clock.after(6, lambda: stopping.fake.engine.end(UUID, 137))
        assert stopping.run() == 0
        assert stopping.row() == ("stopped", False)

    def test_a_start_with_a_request_under_way_is_stopped_too(self, stopping: Stopping) -> None:
        stopping.fake.down()
        lock = stopping.fake.lock("start")
        lock.enter(Phase.START, run=stopping.fake.seen().run)
        stopping.fake.clock.after(1, lambda: stopping.fake.engine.execute_start(UUID))
        stopping.fake.clock.after(2, lock.release)
        assert (stopping.run(), stopping.fake.live) == (0, False)
        assert ("signal", "SIGTERM") in stopping.fake.engine.calls

    @pytest.mark.parametrize("action, ended", [("stop", ("stopped", False)), ("restart", ("restarting", True))])
    def test_the_node_stop_completes_the_stop_of_a_dead_action(self, stopping: Stopping, action: str, ended: tuple[str, bool]) -> None:
        stopping.fake.leave(Phase.STOP, stopping.fake.up().run, action)
        assert stopping.run() == 0
        assert (stopping.fake.live, stopping.row()) == (False, ended)

    def test_a_node_stop_that_died_leaves_no_intent_to_be_down(self, stopping: Stopping) -> None:
        run = stopping.fake.up().run
        asked = Request(UUID, stopping.fake.request("stop").action, "", stopping.fake.clock.now(), origin=NODE_STOP_ORIGIN)
        lock = stopping.fake.node.locks.acquire(UUID, asked, wait_seconds=0, clock=stopping.fake.clock)
        lock.enter(Phase.STOP, run=run)
        lock.keep()
        lock.release()
        stopping.fake.engine.end(UUID)
        assert stopping.fake.perform("start").outcome.value == "done"
        row = stopping.fake.node.journal.ended_runs.of_run(run)
        assert row is not None and row.verdict is Verdict.ENGINE_STOPPED and stopping.intent()

    def test_hooks_do_not_run(self, stopping: Stopping) -> None:
        hook = {"command": ["/no-such-program"], "user": "nobody"}
        stopping.fake.up()
        stopping.fake.configure(hooks=[{"server": "all", "post_stop": hook}])
        assert (stopping.run(), stopping.fake.live) == (0, False)

    def test_without_its_file_servers_stop_all_the_same(self, stopping: Stopping, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: object) -> int:
            raise OSError(28, "No space left on device")

        stopping.fake.up()
        monkeypatch.setattr(node_stop, "open_or_make", fail)
        assert (stopping.run(), stopping.fake.live) == (0, False)
        assert stopping.lines == [f"Cannot refuse starts while the node stops: {stopping.file} cannot be made: No space left on device"]

    def test_an_engine_that_falls_silent_is_one_sentence(self, stopping: Stopping, capsys: pytest.CaptureFixture[str]) -> None:
        stopping.fake.engine.fail("listed", EngineUnreachable("Cannot list the containers: no answer"))
        assert stopping.run() == 1
        assert capsys.readouterr().err == "Cannot list the containers: no answer\n"


class TestRefusal:
    @pytest.mark.parametrize("action", ["start", "restart"])
    def test_a_start_is_refused_until_the_file_is_gone(self, stopping: Stopping, action: str) -> None:
        stopping.fake.down()
        stopping.fake.engine.calls.clear()
        stopping.begin()
        for fields in ({}, {"check": True}, {"ignores_freeze": True}):
            result = stopping.fake.perform(action, **fields)
            assert (result.outcome.value, result.code, result.changed) == ("refused", "node_stopping", False)
        assert result.msg.startswith(f"Cannot {action} server {UUID}: its node or the engine there stops; wait until it is up again")
        assert stopping.fake.engine.calls == []
        stopping.end()
        assert stopping.fake.perform(action).outcome.value == "done"

    @pytest.mark.parametrize("action", ["stop", "kill"])
    def test_a_stop_and_a_kill_still_work(self, stopping: Stopping, action: str) -> None:
        stopping.fake.up()
        stopping.begin()
        assert stopping.fake.perform(action).outcome.value == "done"
        assert (stopping.fake.live, stopping.intent()) == (False, False)

    def test_a_restart_finishes_its_stop_and_its_start_comes_after_the_boot(self, stopping: Stopping) -> None:
        stopping.fake.up()
        stopping.fake.engine.stop_seconds = 10.0
        stopping.fake.clock.after(5, stopping.begin)
        result = stopping.fake.perform("restart")
        assert (result.outcome.value, result.code, stopping.fake.live) == ("failed", "node_stopping", False)
        assert stopping.fake.engine.calls.count(("signal", "SIGTERM")) == 1
        assert (stopping.intent(), stopping.row()) == (True, ("restarting", True))

    def test_a_start_that_waits_for_a_lock_is_refused(self, stopping: Stopping) -> None:
        stopping.fake.down()
        lock = stopping.fake.lock("stop")
        stopping.fake.clock.after(2, stopping.begin)
        stopping.fake.clock.after(20, lock.release)
        result = stopping.fake.perform("start", wait_seconds=30)
        assert (result.outcome.value, result.code) == ("refused", "node_stopping")
        assert stopping.fake.clock.monotonic() < 10


class TestSupervisor:
    def test_the_supervisor_is_paused_until_the_file_is_gone(self, stopping: Stopping) -> None:
        assert pause_of(stopping.fake.node, in_trouble=False) == ""
        stopping.begin()
        assert pause_of(stopping.fake.node, in_trouble=False) == "node_stopping"
        (stopping.fake.root / "state").mkdir(exist_ok=True)
        (stopping.fake.root / "state" / "maintenance.json").write_text(json.dumps({"phase": "stop"}))
        assert pause_of(stopping.fake.node, in_trouble=False) == "node_stopping"
        stopping.end()
        assert pause_of(stopping.fake.node, in_trouble=False) == "maintenance"

    def test_a_due_start_waits_for_the_end_without_back_off(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        watched = Watched(tmp_path, monkeypatch)
        row = watched.crash()
        file = tmp_path / "locks" / NODE_STOPPING_FILE
        file.touch()
        watched.starter.begin()
        watched.starter.join()
        after = watched.fake.node.journal.ended_runs.of_run(row.run)
        assert after is not None and (after.due, after.tries, after.code, watched.fake.live) == (True, 0, "", False)
        file.unlink()
        watched.await_start()
        assert watched.fake.live
        watched.fake.close()
