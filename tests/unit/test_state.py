# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power state: what follows from snapshot, stop under way and what is known of the run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.fleet.power.plugins.module_utils._power.actions.node.node import age_seconds, derive_state
from ansible_collections.fleet.power.plugins.module_utils._power.model.clock import engine_time
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Run, Snapshot
from ansible_collections.fleet.power.plugins.module_utils._power.model.supervision import SeenRun

STARTED_AT = "2026-03-01T12:00:00.123456789Z"
NOW = datetime(2026, 3, 1, 12, 5, tzinfo=timezone.utc)
WINDOW = 900
LIVE = Snapshot("c1", "name", live=True, started_at=STARTED_AT)
ENDED = Snapshot("c1", "name", live=False, started_at=STARTED_AT)
EARLIER = Run("c1", "2026-03-01T11:00:00Z")
ELSEWHERE = Run("c2", STARTED_AT)


def state_of(
    snapshot: Snapshot | None, *, stopping: Run | None = None, started: SeenRun | None = None, now: datetime = NOW
) -> tuple[str, str]:
    state, startup = derive_state(snapshot, stopping=stopping, started=started, now=now, startup_window=WINDOW)
    return state.value, startup.value


def ours(run: Run = LIVE.run, *, matchers: bool = True, matched: bool = False) -> SeenRun:
    return SeenRun(run, matchers=matchers, matched=matched)


@pytest.mark.parametrize("snapshot", [None, ENDED], ids=["no container", "ended"])
@pytest.mark.parametrize("stopping", [None, LIVE.run])
@pytest.mark.parametrize("started", [None, ours()])
def test_what_has_no_process_is_offline_whatever_else_is_known(
    snapshot: Snapshot | None, stopping: Run | None, started: SeenRun | None
) -> None:
    assert state_of(snapshot, stopping=stopping, started=started) == ("offline", "unknown")


@pytest.mark.parametrize(
    "started, state, startup",
    [
        (None, "running", "unknown"),
        (ours(), "starting", "waiting"),
        (ours(matched=True), "running", "matched"),
        (ours(matchers=False), "running", "unknown"),
        (ours(EARLIER), "running", "unknown"),
        (ours(ELSEWHERE), "running", "unknown"),
        (ours(EARLIER, matched=True), "running", "unknown"),
    ],
)
def test_a_live_server_is_starting_only_while_its_line_is_awaited(started: SeenRun | None, state: str, startup: str) -> None:
    assert state_of(LIVE, started=started) == (state, startup)


@pytest.mark.parametrize("seconds, state", [(0, "starting"), (WINDOW - 1, "starting"), (WINDOW, "running"), (10 * WINDOW, "running")])
def test_a_line_that_never_comes_does_not_mean_starting_for_ever(seconds: int, state: str) -> None:
    began = engine_time(STARTED_AT)
    assert began is not None
    assert state_of(LIVE, started=ours(), now=began + timedelta(seconds=seconds)) == (state, "waiting")


def test_a_start_time_that_cannot_be_read_is_not_starting_for_ever() -> None:
    unread = Snapshot("c1", "name", live=True, started_at="some day")
    assert state_of(unread, started=ours(unread.run)) == ("running", "waiting")


@pytest.mark.parametrize("started", [None, ours(), ours(matched=True)])
def test_a_stop_under_way_for_this_run_is_stopping_whether_ready_or_not(started: SeenRun | None) -> None:
    assert state_of(LIVE, stopping=LIVE.run, started=started)[0] == "stopping"


@pytest.mark.parametrize("stopping", [EARLIER, ELSEWHERE])
def test_a_stop_of_another_run_says_nothing_of_this_one(stopping: Run) -> None:
    assert state_of(LIVE, stopping=stopping)[0] == "running"


@pytest.mark.parametrize("paused", [True, False])
def test_a_paused_server_is_running(paused: bool) -> None:
    assert state_of(Snapshot("c1", "name", live=True, started_at=STARTED_AT, paused=paused))[0] == PowerState.RUNNING.value


@pytest.mark.parametrize(
    "text, moment",
    [
        ("2026-03-01T12:00:00.123456789Z", datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)),
        ("2026-03-01T12:00:00.5Z", datetime(2026, 3, 1, 12, 0, 0, 500000, tzinfo=timezone.utc)),
        ("2026-03-01T12:00:00.999999999Z", datetime(2026, 3, 1, 12, 0, 0, 999999, tzinfo=timezone.utc)),
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)),
    ],
)
def test_the_engines_time_is_read_with_as_many_digits_as_it_has(text: str, moment: datetime) -> None:
    assert engine_time(text) == moment


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000001Z", "", "yesterday", "2026-13-41T12:00:00Z", "2026-03-01T12:00:00+01:00"]
)
def test_a_time_that_is_none_is_none(text: str) -> None:
    assert engine_time(text) is None
    assert age_seconds(text, NOW) is None


def test_an_age_is_in_seconds_and_may_be_negative_where_clocks_differ() -> None:
    assert age_seconds("2026-03-01T12:04:58.5Z", NOW) == 1.5
    assert age_seconds("2026-03-01T12:05:01Z", NOW) == -1.0
