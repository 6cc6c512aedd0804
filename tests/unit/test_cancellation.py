# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for something with a deadline: asked at once, at its end, and in between, and given up where the work must not go on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.model.cancellation import Deadline, no_check, wait_until
from ansible_collections.fleet.power.tests.unit.fake_engine import FakeClock


@pytest.fixture(name="clock")
def clock_of_the_test() -> FakeClock:
    return FakeClock()


#: Where everything that waits is, and the one file of it that reckons with moments to come.
MODULE_UTILS = Path(__file__).resolve().parents[2] / "plugins" / "module_utils"
DEADLINES = MODULE_UTILS / "_power" / "model" / "cancellation.py"


def asks_the_clock(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "monotonic"


def test_who_asks_for_the_time_makes_no_deadline_of_it_by_hand() -> None:
    """How long ago something was may be reckoned anywhere, what is to come as a `Deadline` alone."""
    by_hand = [
        f"{path.relative_to(MODULE_UTILS)}:{node.lineno}"
        for path in sorted(MODULE_UTILS.rglob("*.py"))
        if path != DEADLINES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.BinOp) and (asks_the_clock(node.right) or (isinstance(node.op, ast.Add) and asks_the_clock(node.left)))
    ]
    assert by_hand == []


class TestDeadline:
    def test_it_is_waited_out_with_a_check_before_each_pause(self, clock: FakeClock) -> None:
        checked: list[float] = []
        deadline = Deadline.after(clock, 1.2)
        for _unused in range(2):
            deadline.wait_out(lambda: checked.append(clock.monotonic()), every=0.5)
            assert (clock.monotonic(), checked) == (1.2, [0.0, 0.5, 1.0])


class TestWaitUntil:
    def test_it_looks_once_without_time_and_once_more_at_the_deadline(self, clock: FakeClock) -> None:
        asked: list[float] = []

        def never() -> bool:
            asked.append(clock.monotonic())
            return False

        assert not wait_until(never, Deadline.after(clock, 0), every=0.5)
        assert asked == [0.0]
        asked.clear()
        assert not wait_until(never, Deadline.after(clock, 1.2), no_check, every=0.5)
        assert asked == [0.0, 0.5, 1.0, 1.2]

    def test_it_is_given_up_where_the_work_must_not_go_on(self, clock: FakeClock) -> None:
        class Cancelled(Exception):
            pass

        def check() -> None:
            if clock.monotonic() >= 1.0:
                raise Cancelled

        with pytest.raises(Cancelled):
            wait_until(lambda: False, Deadline.after(clock, 60), check, every=0.5)
        assert clock.monotonic() == 1.0
