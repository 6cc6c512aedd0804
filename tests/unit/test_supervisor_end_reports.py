# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine told is kept by run, until that is judged."""

from __future__ import annotations

from ansible_collections.fleet.power.plugins.module_utils._power.engine.event_stream import ContainerEvent
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import Run
from ansible_collections.fleet.power.plugins.module_utils._supervisor.verdict import EndReports

SECOND = 10**9
#: 2026-01-01T00:00:00Z
BEGAN = 1767225600 * SECOND
FIRST = Run("c", "2026-01-01T00:00:00.5Z")
SECOND_RUN = Run("c", "2026-01-01T00:01:00.000000001Z")


def event(action: str, seconds: float, container: str = "c", **fields: int) -> ContainerEvent:
    return ContainerEvent(BEGAN + int(seconds * SECOND), action, container, **fields)


def heard(*events: ContainerEvent) -> EndReports:
    reports = EndReports()
    for each in events:
        reports.add(each)
    return reports


def test_a_signal_that_stops_counts_if_it_came_shortly_before() -> None:
    for signal, seconds, expected in ((15, 4, True), (9, 4, True), (2, 4, True), (1, 4, False), (15, 6, False), (15, 0.1, False)):
        found = heard(event("kill", seconds, signal=signal), event("die", 5, exit_code=0)).end_of(FIRST, None)
        assert found is not None and found.signalled is expected, (signal, seconds)
    old = heard(event("kill", 4, signal=15), event("die", 60, exit_code=0)).end_of(FIRST, None)
    assert old is not None and not old.signalled


def test_a_signal_that_was_outlived_says_nothing_any_more() -> None:
    reports = heard(
        event("kill", 4, signal=15),
        event("kill", 500, signal=15, container="d"),
        event("kill", 4, signal=15, container="e"),
        event("die", 5, container="e"),
    )
    moment = BEGAN + 5 * SECOND
    assert reports.signalled_before(moment) == ["c"]
    assert [reports.disobeyed(each, moment) for each in ("c", "d", "e", "unheard of")] == [BEGAN + 4 * SECOND, None, None, None]
    assert reports.signalled_before(moment) == []
    reports.add(event("die", 606, exit_code=137))
    found = reports.end_of(FIRST, 15)
    assert found is not None and not found.warned
    for seconds, warned in ((590, True), (610, False)):
        late = heard(event("kill", 4, signal=15), event("die", seconds, exit_code=143)).end_of(FIRST, 15)
        assert late is not None and (late.signalled, late.warned) == (False, warned)
    slow = heard(event("kill", 4, signal=15), event("die", 1500, exit_code=1)).end_of(FIRST, 15, obeys_within=1800)
    assert slow is not None and slow.warned


def test_the_containers_own_stop_signal_stops_it_whichever_it_is() -> None:
    found = heard(event("kill", 4, signal=37), event("die", 5)).end_of(FIRST, 37)
    assert found is not None and found.signalled


def test_an_end_is_that_of_the_run_it_follows() -> None:
    reports = heard(event("die", 61, exit_code=3))
    assert reports.end_of(FIRST, None, before=SECOND_RUN) is None
    assert reports.end_of(SECOND_RUN, None) is not None
    assert reports.end_of(Run("other", FIRST.started_at), None) is None
    assert heard(event("die", 0.2)).end_of(FIRST, None) is None


def test_what_is_told_twice_counts_once_and_what_is_judged_is_forgotten() -> None:
    reports = heard(*[event("kill", 4, signal=15), event("die", 5, exit_code=0)] * 2, event("die", 65, exit_code=1))
    assert reports.earliest() == BEGAN - 25 * SECOND
    reports.forget(FIRST)
    assert reports.end_of(FIRST, None, before=SECOND_RUN) is None
    found = reports.end_of(SECOND_RUN, None)
    assert found is not None and found.exit_code == 1 and not found.signalled
    reports.forget(SECOND_RUN)
    assert (reports.earliest(), reports.latest) == (BEGAN + 35 * SECOND, BEGAN + 65 * SECOND)


def test_memory_is_bounded() -> None:
    reports = heard(*(event("die", 5, container=str(number)) for number in range(10_050)))
    assert reports.end_of(Run("0", FIRST.started_at), None) is None
    assert reports.end_of(Run("10049", FIRST.started_at), None) is not None
