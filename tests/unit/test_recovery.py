# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An unfinished action is settled first, and the downtime of an action is measured."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.run_end import fence_start, recover_unfinished
from ansible_collections.fleet.power.plugins.module_utils._power.endpoint.operation import read_operation
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.report import Detail, entry
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Downtime, Phase, Result, RunEnd
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
from ansible_collections.fleet.power.tests.unit.fake_engine import NOON
from ansible_collections.fleet.power.tests.unit.fake_node import UUID, FakeNode


def settled(fake: FakeNode) -> tuple[bool, bool]:
    """Settle as the next holder: whether a start was fenced, and whether anything is left over for the one after."""
    with fake.lock() as lock:
        fenced = recover_unfinished(fake.node, Server(UUID), lock)
    return fenced, fake.node.locks.leftover(UUID) is not None


def test_nothing_left_over_asks_the_engine_nothing(fake: FakeNode) -> None:
    fake.engine.silence("inspect")
    assert settled(fake) == (False, False)


class TestStart:
    def test_a_start_that_never_arrived_is_fenced_by_removing_its_container(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, fake.down().run)
        assert settled(fake) == (True, False)
        assert fake.engine.find(UUID) is None
        assert fake.engine.calls == [("remove", "alone")]

    def test_one_that_was_carried_out_is_left_alone(self, fake: FakeNode) -> None:
        before = fake.down().run
        fake.engine.execute_start(UUID)
        fake.leave(Phase.START, before)
        assert settled(fake) == (False, False)
        assert fake.live

    def test_one_that_was_carried_out_and_has_ended_is_known_by_its_start_time(self, fake: FakeNode) -> None:
        before = fake.down().run
        fake.clock.sleep(1)
        fake.engine.execute_start(UUID)
        fake.engine.end(UUID)
        fake.leave(Phase.START, before)
        assert settled(fake) == (False, False)
        assert fake.engine.calls == []

    def test_one_whose_container_is_gone_can_never_arrive(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, Run("gone", "0001-01-01T00:00:00Z"))
        assert settled(fake) == (False, False)

    def test_one_that_arrives_just_before_the_removal_is_found_running(self, fake: FakeNode) -> None:
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

    def test_a_removal_refused_for_a_moment_is_tried_again_until_the_start_cannot_arrive(self, fake: FakeNode) -> None:
        fake.leave(Phase.START, fake.down().run)
        # As an engine that has begun the start, but shows nothing of it yet.
        fake.engine.before["remove"] += [lambda: fake.engine.change(UUID, live=True)]
        fake.engine.before["inspect"] += [lambda: None] * 1 + [lambda: fake.engine.change(UUID, live=False)]
        assert settled(fake) == (True, False)
        assert fake.engine.changes() == ["remove", "remove"]

    @pytest.mark.parametrize("call", ["inspect", "remove"])
    def test_one_that_cannot_be_fenced_stays_for_whoever_comes_next(self, fake: FakeNode, call: str) -> None:
        fake.leave(Phase.START, fake.down().run)
        fake.engine.silence(call)
        with pytest.raises(EngineUnreachable):
            settled(fake)
        left = fake.node.locks.leftover(UUID)
        assert left is not None
        assert (left.phase, left.action, left.origin) == (Phase.START, "start", "bob@web2")
        assert settled(fake) == (True, False)


class TestStop:
    def test_one_of_a_run_that_still_lives_stays_in_the_record(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.up().run, "stop")
        assert settled(fake) == (False, True)
        assert fake.live

    def test_one_of_a_run_that_has_ended_is_settled(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, fake.down().run, "stop")
        assert settled(fake) == (False, False)
        assert fake.engine.find(UUID) is not None

    def test_one_of_an_earlier_run_is_settled_though_the_server_lives(self, fake: FakeNode) -> None:
        earlier = fake.down().run
        fake.clock.sleep(1)
        fake.engine.execute_start(UUID)
        fake.leave(Phase.STOP, earlier, "stop")
        assert settled(fake) == (False, False)
        assert fake.live

    def test_one_of_a_container_that_is_gone_is_settled(self, fake: FakeNode) -> None:
        fake.leave(Phase.STOP, Run("gone", "2026-01-01T00:00:00Z"), "stop")
        assert settled(fake) == (False, False)


READY = {"startup": {"done": ["regex:^ready$"]}}


def shown(result: Result, detail: Detail = Detail.WHOLE, *, timed: bool = False) -> dict[str, object]:
    return entry(result, check=False, all_steps=False, detail=detail, timed=timed)


def engine_says(seconds: float) -> str:
    return f"{NOON + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%f}000Z"


class TestOfAnAction:
    def test_a_restart_tells_it_by_the_engines_times(self, fake: FakeNode) -> None:
        fake.define(process=READY)
        fake.up()
        fake.engine.stop_seconds = 4.0
        # What is done between the two runs takes its time.
        fake.engine.before["start"].append(lambda: fake.clock.sleep(3))
        fake.clock.after(10, lambda: fake.engine.logs.__setitem__(fake.seen().id, b"ready\n"))
        result = fake.perform("restart", wait_for="running")
        assert result.outcome.value == "done"
        assert result.downtime is not None and result.downtime.seconds == pytest.approx(3, abs=0.6)
        assert result.downtime.ready_seconds == pytest.approx(7, abs=1.2)
        assert shown(result)["downtime"] == {"seconds": result.downtime.seconds, "ready_seconds": result.downtime.ready_seconds}

    @pytest.mark.parametrize("action", ["stop", "kill"])
    def test_what_is_taken_down_is_down_since(self, fake: FakeNode, action: str) -> None:
        fake.up()
        result = fake.perform(action)
        assert shown(result)["downtime"] == {"since": fake.seen().finished_at}
        assert "downtime" not in shown(result, Detail.BRIEF)

    @pytest.mark.parametrize("detail", Detail)
    def test_a_restart_that_does_not_come_up_again_says_since_when(self, fake: FakeNode, detail: Detail) -> None:
        fake.up()
        fake.engine.refuse("start")
        result = fake.perform("restart")
        assert result.outcome.value == "failed"
        assert shown(result, detail)["downtime"] == {"since": fake.seen().finished_at}


class TestPhases:
    def test_each_is_told_in_its_order_with_its_beginning(self, fake: FakeNode) -> None:
        fake.define(process=READY)
        fake.up()
        fake.engine.stop_seconds = 4.0
        fake.clock.after(10, lambda: fake.engine.logs.__setitem__(fake.seen().id, b"ready\n"))
        result = fake.perform("restart", wait_for="running")
        names = [name for name, _at in result.phases]
        # What was staged before a long stop is looked at once more.
        assert names == ["pull", "stop", "pull", "preboot", "start", "ready"]
        moments = [at for _name, at in result.phases]
        assert moments == sorted(moments) and moments[-1] <= result.seconds
        assert dict(result.phases)["preboot"] == pytest.approx(4, abs=0.6)
        row = fake.node.journal.operations.last(UUID)
        assert row is not None and row.phases == result.phases


class TestDowntime:
    def test_times_between_which_the_clock_was_set_tell_nothing(self) -> None:
        begun = Downtime.since_end(RunEnd(engine_says(100)))
        assert begun is not None
        assert begun.until(engine_says(103), at=5.0).seconds == 3.0
        # Back by an hour; forward by one, although the action took 5 s.
        assert begun.until(engine_says(-3500), at=5.0).seconds is None
        assert begun.until(engine_says(3700), at=5.0).seconds is None
        assert begun.until(engine_says(3700), at=5.0).ready(9.0).facts() == {}

    @pytest.mark.parametrize("finished_at", ["", "0001-01-01T00:00:00Z", "yesterday"])
    def test_an_end_that_nobody_saw_begins_none(self, finished_at: str) -> None:
        assert Downtime.since_end(RunEnd(finished_at)) is None
        assert RunEnd(finished_at).seconds_since(engine_says(0)) is None

    def test_a_container_that_is_gone_or_runs_again_leaves_no_end(self, fake: FakeNode) -> None:
        snapshot = fake.up()
        assert fake.node.await_end(Run(snapshot.id, "another"), 5, lambda: None) == RunEnd()
        assert fake.node.await_end(Run("gone", ""), 5, lambda: None) == RunEnd()

    @pytest.mark.parametrize(
        "told, expected",
        [
            ({"seconds": 1.5, "ready_seconds": 7}, {"seconds": 1.5, "ready_seconds": 7}),
            ({"since": "2026-03-01T12:00:00Z"}, {"since": "2026-03-01T12:00:00Z"}),
            *((wrong, None) for wrong in (None, [], {}, {"seconds": "1"}, {"seconds": True}, {"ready_seconds": 1})),
        ],
    )
    def test_what_an_endpoint_tells_is_taken_over(self, told: object, expected: object) -> None:
        found = read_operation({"outcome": "done", "downtime": told}).downtime
        assert (None if found is None else found.facts()) == expected
