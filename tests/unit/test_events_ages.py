# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How old events are: by the time that their node ran, whatever its clock says, and through its boots."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.fleet.power.plugins.module_utils._events import service
from ansible_collections.fleet.power.plugins.module_utils._events.service import MARK_SECONDS, OutboxAges, Sender
from ansible_collections.fleet.power.plugins.module_utils._power.definitions.settings import parse_settings
from ansible_collections.fleet.power.plugins.module_utils._power.events.event import Event, EventType
from ansible_collections.fleet.power.tests.unit.journal_support import ALPHA

DAY, HOUR = 86400.0, 3600.0


def test_events_grow_old_as_their_node_runs_and_seem_younger_by_minutes_at_most() -> None:
    ages = OutboxAges()
    for second in range(0, int(DAY), 10):
        # An event every ten seconds.
        ages.pass_to("boot", float(second), 1 + second // 10)
        if second % 3600 == 0:
            found = ages.older_than(HOUR)
            assert max(0.0, second - HOUR - MARK_SECONDS - 20) / 10 <= found <= max(0.0, second - HOUR) / 10 + 1


def test_a_boot_takes_no_age_away_and_adds_only_the_time_since_then() -> None:
    ages = OutboxAges()
    ages.pass_to("one", 1000.0, 7)
    ages.pass_to("one", 1000.0 + DAY / 2, 7)
    ages = OutboxAges.read(ages.written())
    ages.pass_to("two", DAY / 2 - 10, 7)
    assert ages.older_than(DAY) == 0
    ages.pass_to("two", DAY / 2 + 10, 7)
    assert ages.older_than(DAY) == 7


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"boot": "b", "seconds": "x", "marks": []}', '{"boot": "b", "seconds": 1, "marks": [1]}']
)
def test_of_what_cannot_be_read_all_events_are_new(text: str) -> None:
    ages = OutboxAges.read(text)
    ages.pass_to("b", 1e9, 5)
    assert ages.older_than(0.0) == 0


class SetClock:
    """The real time, and a wall clock that is set."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.fixture(name="clock")
def wall_clock() -> SetClock:
    return SetClock()


@pytest.fixture(name="sender")
def sender_of_a_node(tmp_path: Path, clock: SetClock) -> Iterator[Sender]:
    """A sender without receivers; what waits is for those that read the outbox."""
    system = {"state_directory": str(tmp_path / "state"), "lock_directory": str(tmp_path / "locks")}
    settings = parse_settings({"system": system}, where="config.yml")
    sender = Sender(settings, lambda: False, clock)
    yield sender
    sender._journal.close()


def looked(sender: Sender) -> int:
    """Have it look, and tidy up; return how many events there are."""
    sender._tidy_at = service.Deadline(service.SYSTEM_CLOCK, 0.0)
    sender._look()
    assert not sender._in_trouble
    page = sender._journal.events.after(0, 100)
    assert page is not None
    return len(page.events)


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_wrong_by_days_for_a_moment_leaves_the_outbox(sender: Sender, clock: SetClock, days: int) -> None:
    assert looked(sender) == 0
    sender._journal.events.write(Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.000Z", {}, ALPHA))
    assert looked(sender) == 1
    clock.ahead = timedelta(days=days)
    assert (looked(sender), sender._watch.sight.too_old) == (1, 0)
    sender._journal.events.write(Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.000Z", {}, ALPHA))
    clock.ahead = timedelta()
    assert (looked(sender), sender._watch.sight.too_old) == (2, 0)


def pass_seconds(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    later = service.boot_seconds() + seconds
    monkeypatch.setattr(service, "boot_seconds", lambda: later)


def test_events_that_cannot_be_dropped_keep_their_age_and_are_dropped_later(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    for _each in range(2):
        looked(sender)
        sender._journal.events.write(Event(EventType.SERVER_CRASHED, "2026-03-01T12:00:00.000Z", {}, ALPHA))
        pass_seconds(monkeypatch, MARK_SECONDS)
        looked(sender)
        pass_seconds(monkeypatch, DAY - HOUR)
    pass_seconds(monkeypatch, HOUR)
    with monkeypatch.context() as patched:
        patched.setattr(type(sender._journal.events), "drop_through", lambda _events, _number: False)
        assert looked(sender) == 2
    assert looked(sender) == 1
