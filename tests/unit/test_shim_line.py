# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line of a server's accepted actions: every order of events keeps its rules."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.acceptance.queue import MOST_WAITING, ActionQueue, Ticket
from ansible_collections.fleet.power.plugins.module_utils._power.journal.acceptance import Acceptance
from ansible_collections.fleet.power.plugins.module_utils._power.model.request import PowerAction
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Server
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SERVER = Server("aaaaaaaa-0000-4000-8000-000000000001")


def ticket(action: str, *, kept: bool = True, once: bool = False, deadline: float = 30.0) -> Ticket:
    acceptance = Acceptance(action, SERVER, PowerAction(action), "", NOON, NOON, 30, NOON)
    return Ticket(acceptance, deadline, once=once, kept=kept)


def line_of(*tickets: Ticket) -> ActionQueue:
    line = ActionQueue()
    for each in tickets:
        line.take(each)
    return line


def test_what_is_not_on_the_disk_does_not_begin_and_nobody_overtakes_it() -> None:
    first, second = ticket("start", kept=False), ticket("stop")
    line = line_of(first, second)
    assert line.next() == []
    first.kept = True
    assert line.next() == [first]


def test_a_kill_begins_at_once_cancels_those_before_and_delays_those_after() -> None:
    running, waiting, kill, after = ticket("stop"), ticket("start"), ticket("kill"), ticket("start")
    line = line_of(running, waiting)
    assert line.next() == [running]
    line.take(kill)
    line.take(after)
    assert line.cancelled_by(kill) == [waiting]
    assert line.next() == [kill]
    line.remove(running)
    assert line.next() == []
    line.remove(kill)
    assert line.next() == [after]


@pytest.mark.parametrize("running", [0, 1])
def test_sixteen_may_wait(running: int) -> None:
    line = line_of(*(ticket("stop") for _unused in range(running)))
    line.next()
    for _unused in range(MOST_WAITING):
        assert line.has_room(kill=False)
        line.take(ticket("start", kept=False))
    assert not line.has_room(kill=False)
    assert line.has_room(kill=True)


def test_who_waited_too_long_leaves_and_who_has_begun_does_not() -> None:
    running, late, patient = ticket("stop", deadline=1.0), ticket("start", deadline=2.0), ticket("start", deadline=9.0)
    line = line_of(running, late, patient)
    line.next()
    assert line.late(2.0) == [late]
    assert line.tickets == [running, patient]


EVENTS = st.lists(st.tuples(st.sampled_from(["take", "kill", "end", "pass"]), st.integers(0, 3)), max_size=40)


@given(EVENTS)
def test_whatever_happens_actions_begin_in_order_one_at_a_time_and_none_is_lost(events: list[tuple[str, int]]) -> None:
    line, now = ActionQueue(), 0.0
    taken: list[Ticket] = []
    running: list[Ticket] = []
    over: list[Ticket] = []
    begun: list[Ticket] = []
    for event, number in events:
        if event in ("take", "kill"):
            new = ticket("kill" if event == "kill" else "start", once=number == 0, deadline=now + number)
            line.take(new)
            taken.append(new)
            over += line.cancelled_by(new) if event == "kill" else []
        elif event == "end" and running:
            ended = running.pop(number % len(running))
            line.remove(ended)
            over.append(ended)
        elif event == "pass":
            now += 1.0
        ready = line.next()
        begun += ready
        running += ready
        over += line.late(now)
        ready = line.next()
        begun += ready
        running += ready
        assert sum(not each.is_kill for each in running) <= 1
        assert sorted(taken, key=id) == sorted([*over, *line.tickets], key=id)
    order = [taken.index(each) for each in begun if not each.is_kill]
    assert order == sorted(order)
