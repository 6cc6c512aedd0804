# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over a websocket, how often, and which changes of a server's state a client sees."""

from __future__ import annotations

import pytest
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.client_messages import of_ending
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.frames import ClientMessage, Rates, joined, read_frame
from ansible_collections.fleet.power.plugins.module_utils._http_shim.websocket.stats import ServerView, state_changes
from ansible_collections.fleet.power.plugins.module_utils._power.model.errors import all_codes
from ansible_collections.fleet.power.plugins.module_utils._power.model.result import Outcome
from ansible_collections.fleet.power.plugins.module_utils._power.model.server import PowerState, Snapshot, Startup
from hypothesis import given
from hypothesis import strategies as st

OFFLINE, STARTING, RUNNING, STOPPING = PowerState.OFFLINE, PowerState.STARTING, PowerState.RUNNING, PowerState.STOPPING


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"event":"send command","args":["say ","hello"]}', ClientMessage("send command", "say hello")),
        ('{"event":"send logs","args":null}', ClientMessage("send logs")),
        ('{"event":"send logs","args":[],"more":1}', ClientMessage("send logs")),
        ('{"event":"Auth","args":["x"]}', None),
        ('{"event":"auth","args":{"a":1}}', None),
        ("[" * 4000, None),
    ],
)
def test_a_frame_is_read_or_passed_over(text: str, message: ClientMessage | None) -> None:
    assert read_frame(text) == message


@pytest.mark.parametrize("code", [*sorted(all_codes()), "", None, "of a later release"])
def test_what_ended_tells_tenants_nothing_of_the_node_whatever_the_code(code: str | None) -> None:
    secret = "/srv/secret registry.example.com pid 7"
    for outcome in Outcome:
        ended = {"id": "i", "action": "stop", "outcome": outcome.value, "code": code, "msg": secret, "warnings": [secret]}
        (text,) = of_ending(ended, whole=False)
        assert secret not in text
        assert "[i]" in text
        assert secret in "".join(of_ending(ended, whole=True))


@given(st.lists(st.integers(), unique=True, max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_a_log_and_the_output_heard_since_before_it_was_read_are_one_story(numbers: list[int], heard_from: int, read_until: int) -> None:
    lines = [str(number).encode() for number in numbers]
    heard_from, read_until = min(heard_from, len(lines)), min(read_until, len(lines))
    # Output is heard before the log is read: nothing lies between.
    read_until = max(heard_from, read_until)
    assert joined(lines[:read_until], lines[heard_from:]) == lines


def test_frames_that_come_too_quickly_are_looked_at_later_and_events_that_do_are_not() -> None:
    rates = Rates(0.0)
    assert sum(rates.pause(0.0) > 0 for _unused in range(20)) == 10
    assert [rates.allows("auth", 0.0) for _unused in range(3)] == [True, True, False]
    assert [rates.allows("auth", moment) for moment in (4.9, 5.1)] == [False, True]
    assert sum(rates.allows("send command", 0.0) for _unused in range(20)) == 10
    assert sum(rates.allows("set state", 0.0) for _unused in range(20)) == 4
    assert sum(rates.tells(0.0) for _unused in range(20)) == 2


def snapshot(run: str) -> Snapshot:
    return Snapshot(id="c", name="n", live=bool(run), started_at=run)


def sight(state: PowerState, run: str = "", startup: Startup = Startup.UNKNOWN) -> ServerView:
    return ServerView(state, startup, snapshot(run))


@pytest.mark.parametrize(
    ("before", "after", "states"),
    [
        (None, sight(RUNNING, "1", Startup.MATCHED), [RUNNING]),
        (sight(OFFLINE), sight(STARTING, "1", Startup.WAITING), [STARTING]),
        (sight(OFFLINE), sight(RUNNING, "1", Startup.MATCHED), [STARTING, RUNNING]),
        (sight(STARTING, "1", Startup.WAITING), sight(RUNNING, "1", Startup.MATCHED), [RUNNING]),
        (sight(RUNNING, "1"), sight(RUNNING, "2"), [OFFLINE, RUNNING]),
        (sight(STOPPING, "1"), sight(RUNNING, "2", Startup.MATCHED), [OFFLINE, STARTING, RUNNING]),
        (sight(RUNNING, "1"), sight(STOPPING, "1"), [STOPPING]),
        (sight(OFFLINE), sight(STOPPING, "1", Startup.WAITING), [STARTING, STOPPING]),
        (sight(RUNNING, "1"), sight(STOPPING, "2", Startup.MATCHED), [OFFLINE, STARTING, RUNNING, STOPPING]),
        (sight(STOPPING, "1"), sight(OFFLINE), [OFFLINE]),
    ],
)
def test_every_change_is_told_also_those_that_were_too_quick_to_be_seen(
    before: ServerView | None, after: ServerView, states: list[PowerState]
) -> None:
    assert state_changes(before, after) == states


def test_a_run_said_to_run_is_not_said_to_start_when_a_start_takes_it_over() -> None:
    by_others, taken_over, ready = sight(RUNNING, "1"), sight(STARTING, "1", Startup.WAITING), sight(RUNNING, "1", Startup.MATCHED)
    assert state_changes(by_others, taken_over, RUNNING) == []
    assert state_changes(taken_over, ready, RUNNING) == []
    assert state_changes(taken_over, sight(STOPPING, "1", Startup.MATCHED), RUNNING) == [STOPPING]
