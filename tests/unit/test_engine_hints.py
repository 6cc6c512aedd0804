# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for the end of a run with an engine that tells of ends: fewer looks, but the engine's state decides."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import no_check
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Snapshot
from ansible_collections.fleet.power.tests.unit.fake_node import FakeNode


class Hints:
    """An engine that tells of ends: when it is listened to, after how many seconds it tells, and whether it ever does."""

    def __init__(self, fake: FakeNode, *, tells: bool = True) -> None:
        self.fake, self.tells = fake, tells
        self.listening = False
        self.inspects = 0
        fake.engine.hints = self.wait
        inspect = fake.engine.inspect

        def counted(name: str) -> Snapshot | None:
            self.inspects += 1
            return inspect(name)

        fake.engine.inspect = counted  # type: ignore[method-assign]

    def wait(self, container: str, seconds: float, begin: bool) -> bool | None:
        self.listening = self.listening or begin
        if not self.listening:
            return None
        until = self.fake.clock.monotonic() + seconds
        while self.fake.clock.monotonic() < until:
            self.fake.clock.sleep(0.01)
            found = self.fake.engine.find(container)
            if self.tells and (found is None or not found.live):
                return True
        return False


def ending_after(fake: FakeNode, seconds: float) -> Snapshot:
    """The server, up; its process ends by itself."""
    snapshot = fake.up()
    fake.clock.after(seconds, lambda: fake.engine.end(snapshot.id))
    return snapshot


def test_a_long_stop_is_told_of_at_once_and_looked_at_every_two_seconds(fake: FakeNode) -> None:
    snapshot = ending_after(fake, 10.6)
    hints = Hints(fake)
    began = fake.clock.monotonic()
    assert fake.node.await_end(snapshot.run, 60, no_check)
    assert fake.clock.monotonic() - began == pytest.approx(10.6, abs=0.1)
    assert hints.inspects <= 6 + 10.6 / 2 + 2


def test_an_end_that_is_told_of_but_did_not_happen_is_not_believed(fake: FakeNode) -> None:
    snapshot = ending_after(fake, 5)
    told = iter([True, True, None])
    fake.engine.hints = lambda container, seconds, begin: next(told, None)
    assert fake.node.await_end(snapshot.run, 60, no_check)
    assert fake.clock.monotonic() >= 5


def test_the_time_limit_holds_and_the_kill_generation_is_looked_at_every_half_second(fake: FakeNode) -> None:
    Hints(fake)
    snapshot, looks = fake.up(), [fake.clock.monotonic()]
    began = fake.clock.monotonic()
    assert not fake.node.await_end(snapshot.run, 7.3, lambda: looks.append(fake.clock.monotonic()))
    assert fake.clock.monotonic() - began == pytest.approx(7.3, abs=0.05)
    assert max(later - earlier for earlier, later in zip(looks, looks[1:])) <= 0.55


def test_a_look_that_raises_ends_the_wait(fake: FakeNode) -> None:
    hints, snapshot = Hints(fake), fake.up()

    def look() -> None:
        if fake.clock.monotonic() > 3:
            raise CancelledByKill("Cannot go on")

    with pytest.raises(CancelledByKill):
        fake.node.await_end(snapshot.run, 60, look)
    assert hints.listening
    assert fake.clock.monotonic() < 4
