# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deadlines: waits end at their moment, and a cancellation ends them earlier."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline, wait_until
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import CancelledByKill
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock


def test_a_deadline_is_over_from_its_moment_on() -> None:
    clock = FakeClock()
    deadline = Deadline.after(clock, 2.0)
    assert (deadline.is_over, deadline.left) == (False, 2.0)
    clock.sleep(2.0)
    assert (deadline.is_over, deadline.left) == (True, 0.0)
    clock.sleep(1.0)
    assert deadline.left == 0.0
    assert Deadline(clock, float("nan")).is_over


def test_a_pause_ends_at_the_deadline() -> None:
    clock = FakeClock()
    Deadline.after(clock, 2.0).pause(10.0)
    assert clock.monotonic() == 2.0


def test_a_wait_checks_for_a_cancellation_before_each_pause() -> None:
    clock = FakeClock()

    def check() -> None:
        if clock.monotonic() >= 3.0:
            raise CancelledByKill("x")

    with pytest.raises(CancelledByKill):
        Deadline.after(clock, 10.0).wait_out(check, every=1.0)
    assert clock.monotonic() == 3.0
    assert not wait_until(lambda: False, Deadline.after(clock, 2.0), every=1.0)
    assert clock.monotonic() == 5.0
