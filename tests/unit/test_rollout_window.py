# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of a rollout: which time is meant in any zone, and which text is no time."""

from __future__ import annotations

import os
import time
import zoneinfo
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.values import RolloutError
from ansible_collections.fleet.power.plugins.module_utils._fleet.rollout.window import Window, moment_in, read_window
from hypothesis import given, settings
from hypothesis import strategies as st

BERLIN = "Europe/Berlin"
#: Zones with whole hours, halves and quarters, one whose summer time is half an hour, one without any, one that has skipped a day.
ZONES = (BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Apia", "America/Havana", "UTC")


@pytest.fixture(autouse=True)
def _in_berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = BERLIN
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold).timestamp()


def window(now: str, **given: Any) -> tuple[str | None, str | None]:
    """The window that variables mean at a time in Berlin, as clocks show it in UTC."""
    facts = read_window(given, at(now)).facts()
    return facts["not_before"], facts["deadline"]


@pytest.mark.parametrize(
    ("now", "given", "meant"),
    [
        # Today if it is still to come, else tomorrow.
        ("2026-01-31 01:00", {"not_before": "02:00"}, ("2026-01-31T01:00:00Z", None)),
        ("2026-01-31 02:00", {"not_before": "02:00"}, ("2026-02-01T01:00:00Z", None)),
        ("2026-01-31 07:00", {"deadline": "06:00"}, (None, "2026-02-01T05:00:00Z")),
        # A window of a night, before it, in its first half, in its second, and after it.
        ("2026-01-31 20:00", {"not_before": "22:00", "deadline": "06:00"}, ("2026-01-31T21:00:00Z", "2026-02-01T05:00:00Z")),
        ("2026-01-31 23:00", {"not_before": "22:00", "deadline": "06:00"}, (None, "2026-02-01T05:00:00Z")),
        ("2026-02-01 05:59", {"not_before": "22:00", "deadline": "06:00"}, (None, "2026-02-01T05:00:00Z")),
        ("2026-02-01 06:00", {"not_before": "22:00", "deadline": "06:00"}, ("2026-02-01T21:00:00Z", "2026-02-02T05:00:00Z")),
        # In another zone than the controller's.
        ("2026-01-31 01:00", {"not_before": "02:00 UTC"}, ("2026-01-31T02:00:00Z", None)),
        # With a date.
        ("2026-01-31 01:00", {"not_before": "2026-02-03T02:00"}, ("2026-02-03T01:00:00Z", None)),
        ("2026-01-31 01:00", {"not_before": "2026-02-03T02:00:00.500+05:30"}, ("2026-02-02T20:30:00Z", None)),
        # As YAML reads what is not in quotes.
        ("2026-01-31 01:00", {"not_before": datetime(2026, 2, 3, 2, tzinfo=timezone.utc)}, ("2026-02-03T02:00:00Z", None)),
        # The deadline of a day belongs to the beginning of a day, be that over.
        ("2026-01-31 12:00", {"not_before": "2026-01-30T22:00", "deadline": "06:00"}, ("2026-01-30T21:00:00Z", "2026-01-31T05:00:00Z")),
        # Over: nothing is begun.
        ("2026-01-31 20:00", {"deadline": "2026-01-31T06:00"}, (None, "2026-01-31T05:00:00Z")),
        ("2026-01-31 20:00", {"not_before": "", "deadline": None}, (None, None)),
    ],
)
def test_a_window_is_the_next_one_or_the_one_that_is_open(now: str, given: dict[str, Any], meant: tuple[str | None, str | None]) -> None:
    assert window(now, **given) == meant


@settings(max_examples=80, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    now=st.integers(650_000_000, 2_100_000_000),
    begin=st.times().map(lambda each: each.replace(microsecond=0)),
    end=st.times().map(lambda each: each.replace(microsecond=0)),
)
def test_a_window_of_two_times_of_day_is_open_or_opens_within_a_day_and_always_ends(zone: str, now: int, begin: Any, end: Any) -> None:
    alone = read_window({"not_before": f"{begin} {zone}"}, now)
    assert alone.not_before is not None
    assert now < alone.not_before
    try:
        found = read_window({"not_before": f"{begin} {zone}", "deadline": f"{end} {zone}"}, now)
    except RolloutError:
        assert alone.not_before == read_window({"deadline": f"{end} {zone}"}, now).deadline
        return
    assert found.deadline is not None
    opens = now if found.not_before is None else found.not_before
    # A night in which clocks are put back has an hour more; Samoa went without a day.
    assert now <= opens <= now + 2 * 86400
    assert opens < found.deadline <= opens + 2 * 86400


@pytest.mark.parametrize(
    "value",
    [
        *("2:00", "24:00", "02", "now", "x" * 10_000, "02:00\nEurope/Berlin x", "2026-02-30T02:00", "9999-12-31T23:59", "1769860800"),
        *(
            "02:00Z",
            "2026-01-31T02:00+24:00",
            "02:00 Mars/Olympus",
            "02:00 ../../etc/passwd",
            "\u0660\u0662:00",
            1320,
            True,
            2.5,
            [],
            b"02:00",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("name", ["not_before", "deadline"])
def test_what_is_no_moment_is_refused_in_one_sentence(name: str, value: object) -> None:
    with pytest.raises(RolloutError) as raised:
        read_window({name: value}, at("2026-01-31 01:00"))
    said = str(raised.value)
    assert said.startswith(f"Cannot use rollout_{name}=")
    assert said.isprintable()
    assert len(said) < 250


@given(st.text() | st.binary() | st.integers() | st.floats() | st.lists(st.text()))
def test_whatever_is_given_is_understood_or_refused(value: Any) -> None:
    try:
        read_window({"not_before": value, "deadline": value}, at("2026-01-31 01:00"))
    except RolloutError as error:
        assert str(error).isprintable()


def test_a_beginning_that_is_far_away_and_an_end_that_is_no_later_are_mistakes() -> None:
    with pytest.raises(RolloutError, match="Cannot use rollout_not_before=2062-01-31T02:00: it is more than 31 days ahead"):
        window("2026-01-31 01:00", not_before="2062-01-31T02:00")
    with pytest.raises(
        RolloutError, match="Cannot use rollout_deadline=2026-01-31T02:00: it is not later than rollout_not_before=2026-02-01T02"
    ):
        window("2026-01-31 01:00", not_before="2026-02-01T02:00", deadline="2026-01-31T02:00")
    with pytest.raises(
        RolloutError, match="Cannot use rollout_deadline=22:00: it is not later than rollout_not_before=22:00 when that comes"
    ):
        window("2026-01-31 01:00", not_before="22:00", deadline="22:00")
    # Not from now on, which would be outside of it: in that night it has no length.
    with pytest.raises(
        RolloutError, match="Cannot use rollout_deadline=03:00: it is not later than rollout_not_before=02:00 when that comes"
    ):
        window("2026-03-29 00:00", not_before="02:00", deadline="03:00")


def test_a_window_is_the_same_after_it_was_written() -> None:
    there = read_window({"not_before": "22:00", "deadline": "06:00"}, at("2026-01-31 12:00"))
    assert Window.of_facts(there.facts()) == there
    assert Window.of_facts({}) == Window()
    assert moment_in("2026-01-31T21:00:00Z") == at("2026-01-31 22:00")
