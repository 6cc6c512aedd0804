# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions on a node with a Panel, beside Wings, and after an unfinished action."""

from __future__ import annotations

import errno
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.many.server_facts import FactOptions, describe
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.run_end import fence_start, recover_unfinished
from ansible_collections.fleet.power.plugins.module_utils._power.call import _OnNode as on_node
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.answers import read_operation
from ansible_collections.fleet.power.plugins.module_utils._power.host.pauses import Remembered, wings_pid
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable, SourceUnreachable, WingsUnknown
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Detail, entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Downtime, Phase, Result, RunEnd
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.plugins.module_utils._power.sources.panel import Panel, PanelUnavailable
from ansible_collections.fleet.power.plugins.module_utils._power.sources.source_set import SourceSet
from ansible_collections.fleet.power.plugins.module_utils._power.sources.sources import Sources
from ansible_collections.fleet.power.plugins.module_utils._power.sources.web import Answer
from ansible_collections.fleet.power.tests.unit.fake_engine import NOON, FakeClock
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode


class Managed:
    """A server on a Panel. The class is also the Panel's interface: one page has all servers."""

    address = "http://panel.test"

    def __init__(self, fake: FakeNode) -> None:
        self.fake = fake
        fake.file.unlink()
        self.raw: Any = fake.definition()
        self.is_listed, self.is_up = True, True
        self.asked: list[object] = []
        self.call()

    def call(self, *task: object, allow_stale: bool = False) -> None:
        settings = replace(self.fake.node.settings, allow_stale=allow_stale)
        panel = Panel(settings, self.fake.clock, self)  # type: ignore[arg-type]
        self.fake.node = replace(self.fake.node, sources=Sources(SourceSet(settings, task=task, containers=lambda: (), panel=panel)))

    def act(self, action: str, **fields: Any) -> tuple[str, str]:
        result: Result = self.fake.perform(action, **fields)
        return result.outcome.value, result.code

    def move(self) -> None:
        """Give the server to another node. The Panel still returns its definition to any node."""
        self.is_listed = False

    def suspend(self) -> None:
        self.raw = self.fake.definition(suspended=True)

    def delete(self) -> None:
        self.raw, self.is_listed = None, False

    def page(self, number: int, patience: Any, check_cancelled: Any) -> Any:
        self._ask(number)
        return Answer(200, {}, {"data": [{"uuid": UUID, **self.raw}] if self.is_listed else [], "meta": {"last_page": 1}}, "")

    def server(self, uuid: str, patience: Any, check_cancelled: Any) -> Any:
        self._ask(uuid)
        return self.raw

    def unreachable(self, what: str, reason: object) -> Exception:
        return SourceUnreachable(f"Cannot fetch {what}: {reason}")

    def _ask(self, what: object) -> None:
        self.asked.append(what)
        if not self.is_up:
            raise PanelUnavailable("connection refused")


@pytest.fixture
def managed(fake: FakeNode) -> Managed:
    return Managed(fake)


def up(managed: Managed) -> None:
    assert managed.act("start") == ("done", "")
    managed.call()
    managed.asked.clear()


@pytest.mark.parametrize("source", ["the Panel", "what was kept of it", "the task"])
def test_only_a_definition_of_the_panel_starts_without_a_mount_that_is_not_allowed(managed: Managed, source: str) -> None:
    managed.raw = managed.fake.definition(mounts=[{"source": "/outside", "target": "/maps"}])
    if source == "what was kept of it":
        assert managed.act("start") == ("done", "")
        assert managed.act("stop") == ("done", "")
        managed.is_up = False
        managed.call(allow_stale=True)
    if source == "the task":
        managed.call(managed.raw)
        assert managed.act("start") == ("refused", "mount_not_allowed")
        return
    result = managed.fake.perform("start")
    assert (result.outcome.value, result.code) == ("done", "")
    warning = f"server {UUID}: settings.mounts[0]: /outside is not mounted: it is outside the settings' allowed_mounts"
    assert warning in result.warnings
    found = describe([UUID], managed.fake.node, FactOptions(), remember=lambda _uuid, _run: None)
    assert warning in found.warnings


def test_a_server_moved_away_during_other_actions_is_not_booted(managed: Managed) -> None:
    up(managed)
    managed.fake.node.sources.definition(UUID)
    managed.move()
    managed.fake.clock.sleep(11)
    assert managed.act("restart") == ("refused", "server_not_found")
    assert managed.fake.live and UUID not in managed.asked


@pytest.mark.parametrize("seconds", [2.0, 12.0])
def test_a_server_suspended_or_deleted_during_its_stop_is_not_booted(managed: Managed, seconds: float) -> None:
    up(managed)
    managed.fake.engine.stop_seconds = seconds
    managed.fake.clock.after(1, managed.suspend)
    assert managed.act("restart") == ("failed", "suspended")
    assert managed.asked == [1, UUID if seconds == 2.0 else 1]
    managed.raw = managed.fake.definition()
    managed.call()
    assert managed.act("start") == ("done", "")
    managed.fake.clock.after(1, managed.delete)
    assert managed.act("restart") == ("failed", "server_not_found")
    assert not managed.fake.live


def test_a_panel_that_is_down_after_the_stop_does_not_keep_the_server_down(managed: Managed) -> None:
    up(managed)
    managed.fake.engine.stop_seconds = 12.0
    managed.fake.clock.after(5, lambda: setattr(managed, "is_up", False))
    assert managed.act("restart") == ("done", "")


def test_a_server_moved_away_is_not_started_when_the_panel_is_down(managed: Managed) -> None:
    up(managed)
    managed.act("stop")
    managed.move()
    managed.call()
    assert managed.act("start") == ("refused", "server_not_found")
    managed.is_up = False
    managed.call(allow_stale=True)
    assert managed.act("start") == ("refused", "server_not_found")
    assert not managed.fake.live


@pytest.mark.parametrize(("check", "expected"), [(False, []), (True, [UUID])])
def test_a_start_of_all_keeps_the_list_if_the_list_would_become_empty(managed: Managed, check: bool, expected: list[str]) -> None:
    up(managed)
    managed.act("kill")
    managed.fake.engine.containers.remove(UUID, volumes=False)
    managed.move()
    asked = managed.fake.request("start", check=check)
    assert on_node(managed.fake.node).targets(["all"], asked) == []
    assert json.loads((managed.fake.root / "state" / "panel.json").read_text())["servers"] == expected


OF_SERVER, OF_WINGS, UNKNOWN = "a" * 64, "b" * 64, "c" * 64


def process(proc: Path, pid: int, comm: str | None, uid: int = 0, container: str = "") -> None:
    directory = proc / str(pid)
    directory.mkdir()
    if comm is not None:
        (directory / "comm").write_text(f"{comm}\n")
        (directory / "status").write_text(f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{pid}\n")
        (directory / "cgroup").write_text(f"0::/system.slice/docker-{container}.scope\n" if container else "0::/init.scope\n")


def test_wings_is_found_among_other_processes(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    (tmp_path / "uptime").write_text("1 1\n")
    process(tmp_path, 1, "systemd")
    process(tmp_path, 4711, "wings")
    assert wings_pid(str(tmp_path)) == 4711


@pytest.mark.parametrize("comm", ["java", "wingsx", "not wings", "Wings", ""])
def test_only_a_process_named_exactly_wings_counts(tmp_path: Path, comm: str) -> None:
    process(tmp_path, 4711, comm)
    assert wings_pid(str(tmp_path)) is None


def test_a_process_that_ends_during_the_search_is_skipped(tmp_path: Path) -> None:
    process(tmp_path, 17, None)
    process(tmp_path, 18, "wings")
    assert wings_pid(str(tmp_path)) == 18


def test_a_servers_process_with_the_name_wings_is_ignored(tmp_path: Path) -> None:
    # The directory of a process that cannot be traced belongs to root.
    process(tmp_path, 4711, "wings", uid=988)
    assert wings_pid(str(tmp_path)) is None


@pytest.mark.parametrize("place, found", [(OF_SERVER, None), (OF_WINGS, 4711), (UNKNOWN, 4711), (f"{OF_SERVER}/{OF_WINGS}", None)])
def test_wings_of_root_counts_in_a_container_of_its_own_but_in_no_servers(tmp_path: Path, place: str, found: int | None) -> None:
    def is_server(container: str) -> bool:
        if container == UNKNOWN:
            raise EngineUnreachable("The engine does not answer")
        return container == OF_SERVER

    process(tmp_path, 4711, "wings", container=place)
    assert wings_pid(str(tmp_path), is_server) == found


@pytest.mark.parametrize("missing", ["the list", "a process"])
def test_wings_is_unknown_without_a_free_descriptor(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: object, **_options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    process(tmp_path, 17, "wings", uid=988)
    with monkeypatch.context() as patched:
        if missing == "the list":
            patched.setattr(os, "listdir", fail)
        else:
            patched.setattr("builtins.open", fail)
        with pytest.raises(WingsUnknown) as caught:
            wings_pid(str(tmp_path))
    assert str(caught.value) == "Cannot tell whether Wings runs: Too many open files"


class TestRemembered:
    def test_many_threads_that_ask_at_once_search_once(self) -> None:
        looks: list[None] = []

        def find() -> int:
            time.sleep(0.05)
            looks.append(None)
            return 4711

        remembered = Remembered(find, 1.0, lambda: 0.0)
        with ThreadPoolExecutor(20) as pool:
            assert set(pool.map(lambda _number: remembered(), range(20))) == {4711}
        assert len(looks) == 1

    def test_a_search_is_repeated_after_a_second(self) -> None:
        clock, found = FakeClock(), iter([None, 4711])
        remembered = Remembered(lambda: next(found), 1.0, clock.monotonic)
        assert remembered() is None
        clock.sleep(0.9)
        assert remembered() is None
        clock.sleep(0.1)
        assert remembered() == 4711


def settled(fake: FakeNode) -> tuple[bool, bool]:
    """Do what the next holder does with unfinished work. Return whether it fenced a start, and whether work remains."""
    with fake.lock() as lock:
        fenced = recover_unfinished(fake.node, Server(UUID), lock)
    return fenced, fake.node.locks.look(UUID)[1] is not None


def test_an_empty_record_sends_no_request_to_the_engine(fake: FakeNode) -> None:
    fake.engine.silence("inspect")
    assert settled(fake) == (False, False)


class TestStart:
    def test_a_start_that_never_arrived_is_fenced_by_removing_its_container(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, fake.down().run)
        assert settled(fake) == (True, False)
        assert fake.engine.find(UUID) is None
        assert fake.engine.calls == [("remove", "alone")]

    def test_an_executed_start_is_left_alone(self, fake: FakeNode) -> None:
        before = fake.down().run
        fake.engine.execute_start(UUID)
        fake.leave(Phase.START, before)
        assert settled(fake) == (False, False)
        assert fake.live

    def test_the_start_time_proves_an_executed_start_that_has_ended(self, fake: FakeNode) -> None:
        before = fake.down().run
        fake.clock.sleep(1)
        fake.engine.execute_start(UUID)
        fake.engine.end(UUID)
        fake.leave(Phase.START, before)
        assert settled(fake) == (False, False)
        assert fake.engine.calls == []

    def test_a_start_without_its_container_can_never_arrive(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, Run("gone", "0001-01-01T00:00:00Z"))
        assert settled(fake) == (False, False)

    def test_a_start_that_arrives_just_before_the_removal_is_found_running(self, fake: FakeNode) -> None:
        before = fake.down().run
        fake.engine.before["remove"].append(lambda: fake.engine.execute_start(UUID))
        fake.leave(Phase.START, before)
        assert settled(fake) == (False, False)
        assert fake.live

    def test_a_start_that_arrives_and_ends_before_the_removal_is_seen(self, fake: FakeNode) -> None:
        before = fake.down().run

        def arrive() -> None:
            fake.engine.execute_start(UUID)
            fake.clock.after(0.01, lambda: fake.engine.end(UUID))

        fake.engine.before["remove"].append(arrive)
        assert fence_start(fake.node, Server(UUID), before) is False
        assert fake.engine.find(UUID) is not None

    def test_a_refused_removal_is_retried_until_the_start_cannot_arrive(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, fake.down().run)
        # Like an engine that has begun the start and does not show it yet.
        fake.engine.before["remove"] += [lambda: fake.engine.change(UUID, live=True)]
        fake.engine.before["inspect"] += [lambda: None] * 1 + [lambda: fake.engine.change(UUID, live=False)]
        assert settled(fake) == (True, False)
        assert fake.engine.changes() == ["remove", "remove"]

    @pytest.mark.parametrize("call", ["inspect", "remove"])
    def test_a_start_that_cannot_be_fenced_stays_for_the_next_holder(self, fake: FakeNode, call: str) -> None:
        fake.leave(Phase.START, fake.down().run)
        fake.engine.silence(call)
        with pytest.raises(EngineUnreachable):
            settled(fake)
        left = fake.node.locks.look(UUID)[1]
        assert left is not None
        assert (left.phase, left.action, left.origin) == (Phase.START, "start", "bob@web2")
        assert settled(fake) == (True, False)


class TestStop:
    def test_a_stop_of_a_live_run_stays_in_the_record(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.up().run, "stop")
        assert settled(fake) == (False, True)
        assert fake.live

    def test_a_stop_of_an_ended_run_is_settled(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.down().run, "stop")
        assert settled(fake) == (False, False)
        assert fake.engine.find(UUID) is not None

    def test_a_stop_of_an_earlier_run_is_settled_though_the_server_runs(self, fake: FakeNode) -> None:
        earlier = fake.down().run
        fake.clock.sleep(1)
        fake.engine.execute_start(UUID)
        fake.leave(Phase.STOP, earlier, "stop")
        assert settled(fake) == (False, False)
        assert fake.live

    def test_a_stop_of_a_removed_container_is_settled(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, Run("gone", "2026-01-01T00:00:00Z"), "stop")
        assert settled(fake) == (False, False)


READY = {"startup": {"done": ["regex:^ready$"]}}


def shown(result: Result, detail: Detail = Detail.WHOLE, *, timed: bool = False) -> dict[str, object]:
    return entry(result, check=False, all_steps=False, detail=detail, timed=timed)


def engine_says(seconds: float) -> str:
    return f"{NOON + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%f}000Z"


class TestDowntimeOfAnAction:
    def test_a_restart_measures_its_downtime_by_the_engines_times(self, fake: FakeNode) -> None:
        fake.define(process=READY)
        fake.up()
        fake.engine.stop_seconds = 4.0
        # The work between the two runs takes 3 s.
        fake.engine.before["start"].append(lambda: fake.clock.sleep(3))
        fake.clock.after(10, lambda: fake.engine.logs.__setitem__(fake.seen().id, b"ready\n"))
        result = fake.perform("restart", wait_for="running")
        assert result.outcome.value == "done"
        assert result.downtime is not None and result.downtime.seconds == pytest.approx(3, abs=0.6)
        assert result.downtime.ready_seconds == pytest.approx(7, abs=1.2)
        assert shown(result)["downtime"] == {"seconds": result.downtime.seconds, "ready_seconds": result.downtime.ready_seconds}

    @pytest.mark.parametrize("action", ["stop", "kill"])
    def test_a_stop_or_kill_reports_the_start_of_the_downtime(self, fake: FakeNode, action: str) -> None:
        fake.up()
        result = fake.perform(action)
        assert shown(result)["downtime"] == {"since": fake.seen().finished_at}
        assert "downtime" not in shown(result, Detail.BRIEF)

    @pytest.mark.parametrize("detail", Detail)
    def test_a_restart_that_fails_to_start_reports_the_start_of_the_downtime(self, fake: FakeNode, detail: Detail) -> None:
        fake.up()
        fake.engine.refuse("start")
        result = fake.perform("restart")
        assert result.outcome.value == "failed"
        assert shown(result, detail)["downtime"] == {"since": fake.seen().finished_at}


class TestPhases:
    def test_a_result_lists_the_phases_in_order_with_their_start_times(self, fake: FakeNode) -> None:
        fake.define(process=READY)
        fake.up()
        fake.engine.stop_seconds = 4.0
        fake.clock.after(10, lambda: fake.engine.logs.__setitem__(fake.seen().id, b"ready\n"))
        result = fake.perform("restart", wait_for="running")
        names = [name for name, _at in result.phases]
        # After a long stop, the restart checks the image again.
        assert names == ["pull", "stop", "pull", "preboot", "start", "ready"]
        moments = [at for _name, at in result.phases]
        assert moments == sorted(moments) and moments[-1] <= result.seconds
        assert dict(result.phases)["preboot"] == pytest.approx(4, abs=0.6)
        row = fake.node.journal.operations.last(UUID)
        assert row is not None and row.phases == result.phases


class TestDowntime:
    def test_a_clock_set_between_two_times_leaves_the_downtime_unknown(self) -> None:
        begun = Downtime.since_end(RunEnd(engine_says(100)))
        assert begun is not None
        assert begun.until(engine_says(103), at=5.0).seconds == 3.0
        # The clock goes back by an hour, then forward by an hour. The action took 5 s.
        assert begun.until(engine_says(-3500), at=5.0).seconds is None
        assert begun.until(engine_says(3700), at=5.0).seconds is None
        assert begun.until(engine_says(3700), at=5.0).ready(9.0).facts() == {}

    @pytest.mark.parametrize("finished_at", ["", "0001-01-01T00:00:00Z", "yesterday"])
    def test_an_unobserved_end_begins_no_downtime(self, finished_at: str) -> None:
        assert Downtime.since_end(RunEnd(finished_at)) is None
        assert RunEnd(finished_at).seconds_since(engine_says(0)) is None

    def test_a_removed_or_restarted_container_leaves_no_end(self, fake: FakeNode) -> None:
        snapshot = fake.up()
        assert fake.node.await_end(Run(snapshot.id, "another"), 5, lambda: None) == RunEnd()
        assert fake.node.await_end(Run("gone", ""), 5, lambda: None) == RunEnd()

    @pytest.mark.parametrize(
        "downtime, expected",
        [
            ({"seconds": 1.5, "ready_seconds": 7}, {"seconds": 1.5, "ready_seconds": 7}),
            ({"since": "2026-03-01T12:00:00Z"}, {"since": "2026-03-01T12:00:00Z"}),
            *((wrong, None) for wrong in (None, [], {}, {"seconds": "1"}, {"seconds": True}, {"ready_seconds": 1})),
        ],
    )
    def test_a_result_takes_over_the_downtime_of_an_endpoint(self, downtime: object, expected: object) -> None:
        found = read_operation({"outcome": "done", "downtime": downtime}).facts["downtime"]
        assert (None if found is None else found.facts()) == expected
