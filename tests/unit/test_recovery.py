# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What another action left unfinished is settled before anything else: a start that may still arrive, a stop that is under way."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.run_end import fence_start, recover_unfinished
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import EngineUnreachable
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Phase
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run, Server
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
